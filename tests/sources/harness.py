"""Shared by the tests of sources: reading sources to their end, and following growing files."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import anyio.lowlevel
import numpy as np

from streamnet.samples import Block, DeadLetter, Position, Schema
from streamnet.sources import Columns, Source, open_files


class Content(NamedTuple):
    """All that a source gave, as plain values that don't show how it was cut into blocks."""

    samples: list[tuple[Any, ...]]
    letters: list[DeadLetter]


class Place(NamedTuple):
    """A place to resume at, and what has to come from there on."""

    position: Position
    state: str  # as JSON
    rest: Content


async def drain(
    source: Source, after: Position | None = None, state: str | None = None
) -> tuple[Schema, list[Block]]:
    """The schema of a source and all its blocks."""
    blocks = []
    try:
        if state is not None:
            source.restore_state(json.loads(state))
        schema = await source.open(after)
        while (block := await source.receive()) is not None:
            blocks.append(block)
    finally:
        await source.aclose()
    return schema, blocks


def read(source: Source, after: Position | None = None) -> tuple[Schema, list[Block]]:
    """The schema of a source and all its blocks, in an event loop of its own."""
    return anyio.run(drain, source, after)


def content(blocks: list[Block]) -> Content:
    """The samples and letters of some blocks."""
    samples: list[tuple[Any, ...]] = []
    letters: list[DeadLetter] = []
    for block in blocks:
        letters += block.rejected
        samples += [sample(block, row) for row in range(len(block))]
    return Content(samples, letters)


def sample(block: Block, row: int) -> tuple[Any, ...]:
    """One sample, numbers to the bit."""
    sparse = None
    if block.sparse is not None:
        used = int(block.sparse.count[row])
        sparse = tuple(block.sparse.index[row, :used]), tuple(block.sparse.value[row, :used])
    return (
        block.source,
        tuple(block.marks[row].tolist()),
        block.schema.fields,
        bits(block.numbers[row]),
        tuple(column[row] for column in block.words),
        None if block.target is None else repr(block.target[row]),
        sparse,
        block.scored,
    )


def bits(numbers: Any) -> bytes:
    """The bits of some numbers."""
    return struct.pack(f"{len(numbers)}d", *numbers)


def places(make: Callable[[], Source]) -> list[Place]:
    """Every place at which a source can be resumed: its start, and behind each sample."""
    return anyio.run(_places, make())


async def _places(source: Source) -> list[Place]:
    found: list[tuple[Position, str, int, int]] = []
    whole = Content([], [])
    await source.open()
    found.append((Position(), json.dumps(source.export_state(None)), 0, 0))
    while (block := await source.receive()) is not None:
        for stop in range(0 if len(block) == 0 else 1, len(block) + 1):
            part = block.part(0, stop)
            state = json.dumps(source.export_state(part.end))
            samples = len(whole.samples) + len(part)
            found.append((part.end, state, samples, len(whole.letters) + len(part.rejected)))
        more = content([block])
        whole = Content(whole.samples + more.samples, whole.letters + more.letters)
    await source.aclose()
    return [
        Place(position, state, Content(whole.samples[samples:], whole.letters[letters:]))
        for position, state, samples, letters in found
    ]


def resumed(source: Source, place: Place) -> Content:
    """What a source gives from a place on."""
    return content(anyio.run(drain, source, place.position, place.state)[1])


def assert_resumes_everywhere(make: Callable[[], Source], found: list[Place]) -> None:
    """New sources give from each place on what has to come; all of them in one event loop."""

    async def go_on() -> None:
        for place in found:
            _, blocks = await drain(make(), place.position, place.state)
            assert content(blocks) == place.rest

    anyio.run(go_on)


def numbers(blocks: list[Block], column: int = 0) -> list[float]:
    """A column of the numbers of all blocks."""
    return [float(number) for block in blocks for number in block.numbers[:, column]]


def reasons(blocks: list[Block]) -> list[tuple[int | None, str]]:
    """Line and reason of each rejected record."""
    return [(letter.line, letter.reason) for block in blocks for letter in block.rejected]


def write(folder: Path, name: str, data: str | bytes) -> str:
    """A file with that content."""
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return str(path)


def assert_cuts_agree(make: Callable[[int], Source], sizes: tuple[int, ...]) -> Content:
    """The content of a source, which must not depend on how much is read at once."""
    first, *others = [content(read(make(size))[1]) for size in sizes]
    for other in others:
        assert other == first
    return first


async def drain_in_moments(source: Source, seconds: float) -> list[Block]:
    """The blocks of an open source, each waited for again and again, for so long at a time."""
    blocks: list[Block] = []
    ended = False
    while not ended:
        with anyio.move_on_after(seconds):
            block = await source.receive()
            ended = block is None
            blocks += [] if block is None else [block]
        await anyio.lowlevel.checkpoint()
    return blocks


class FrameRow:
    """What a row of a data frame of pandas is like: no mapping, but with names."""

    ndim = 1

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values
        self.dtype = np.dtype(object)

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values.values())

    def keys(self) -> np.ndarray:
        return np.array(list(self._values), object)

    def to_dict(self) -> dict[str, Any]:
        return self._values.copy()


SECONDS = 15


class Left(NamedTuple):
    """Where a source was left."""

    position: Position
    state: str  # as JSON


async def take(source: Source, records: int, seconds: float = SECONDS) -> list[Block]:
    """The blocks of the next records, good and rejected ones together; each must be there."""
    blocks: list[Block] = []
    with anyio.fail_after(seconds):
        while sum(len(block) + len(block.rejected) for block in blocks) < records:
            block = await source.receive()
            assert block is not None
            blocks.append(block)
    return blocks


async def is_quiet(source: Source, seconds: float = 0.3) -> bool:
    """Whether nothing comes for a while."""
    with anyio.move_on_after(seconds):
        await source.receive()
        return False
    return True


def left(source: Source, block: Block) -> Left:
    """What is kept of a source behind a block."""
    return Left(block.end, json.dumps(source.export_state(block.end)))


async def go_on(source: Source, place: Left) -> Source:
    """A new source where another one was left."""
    source.restore_state(json.loads(place.state))
    await source.open(place.position)
    return source


def firsts(blocks: list[Block]) -> list[float]:
    """The first number of each sample."""
    return [float(n) for block in blocks for n in block.numbers[:, 0]]


def letters(blocks: list[Block]) -> list[Any]:
    """The rejected records."""
    return content(blocks).letters


def rows(*numbers: int) -> str:
    return "".join(f"{number},a\n" for number in numbers)


def follow(path: Path, **options: Any) -> Source:
    return open_files([path], columns=Columns(target="y"), follow=True, **options)


def put(path: Path, text: str) -> None:
    path.write_text(text)


def delete(path: Path) -> None:
    path.unlink()


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def followed(
    log: Path, accident: Callable[[], object], *, records: int, on_gap: str = "stop", text: str = ""
) -> tuple[list[float], list[Any]]:
    """Numbers and rejected records that come after an accident, when 1, 2 and 3 were read."""

    async def main() -> tuple[list[float], list[Any]]:
        put(log, "x,y\n" + (text or rows(1, 2, 3)))
        source = follow(log, on_gap=on_gap)
        try:
            with anyio.fail_after(10):
                await source.open()
            assert firsts(await take(source, 3)) == [1, 2, 3]
            assert await is_quiet(source, 0.1)
            accident()
            blocks = await take(source, records)
            return firsts(blocks), letters(blocks)
        finally:
            await source.aclose()

    return anyio.run(main)


def after_a_stop(
    log: Path, accident: Callable[[], object], *, records: int, on_gap: str = "stop"
) -> tuple[list[float], list[Any]]:
    """The same for an accident between two runs."""

    async def main() -> tuple[list[float], list[Any]]:
        put(log, "x,y\n" + rows(1, 2, 3))
        source = follow(log)
        await source.open()
        place = left(source, (await take(source, 3))[-1])
        await source.aclose()
        accident()
        with anyio.fail_after(10):
            source = await go_on(follow(log, on_gap=on_gap), place)
        try:
            blocks = await take(source, records)
            return firsts(blocks), letters(blocks)
        finally:
            await source.aclose()

    return anyio.run(main)


def rotate(log: Path, to: str, *, text: str = "", more: str = "") -> None:
    """Write some more, rename the file, and begin a new one."""
    append(log, more)
    log.rename(log.with_name(to))
    log.write_text(text)

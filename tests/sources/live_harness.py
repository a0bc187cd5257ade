"""What the tests of sources without end share: taking so many samples, and going on later."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import anyio

from streamnet.samples import Block, Position
from streamnet.sources import Columns, Source, open_files
from tests.sources.harness import content

SECONDS = 15


class Left(NamedTuple):
    """Where a source was left."""

    position: Position
    state: str  # as JSON


async def take(source: Source, records: int) -> list[Block]:
    """The blocks of the next records, good and rejected ones together; each must be there."""
    blocks: list[Block] = []
    with anyio.fail_after(SECONDS):
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
    """The same, where it happens while nobody reads."""

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

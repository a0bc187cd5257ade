"""What the tests of sources share: reading a source to its end, and content without cuts."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from typing import NamedTuple

import anyio

from streamnet.samples import Block
from streamnet.samples import DeadLetter
from streamnet.samples import Position
from streamnet.samples import Schema
from streamnet.sources import Source


class Content(NamedTuple):
    """All that a source gave, as plain values that don't show how it was cut into blocks."""

    samples: list[tuple[Any, ...]]
    letters: list[DeadLetter]


async def drained(source: Source, after: Position | None = None) -> tuple[Schema, list[Block]]:
    """The schema of a source and all its blocks."""
    blocks = []
    try:
        schema = await source.open(after)
        while (block := await source.receive()) is not None:
            blocks.append(block)
    finally:
        await source.aclose()
    return schema, blocks


def read(source: Source, after: Position | None = None) -> tuple[Schema, list[Block]]:
    """The schema of a source and all its blocks, in an event loop of its own."""
    return anyio.run(drained, source, after)


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


def cuts_agree(make: Callable[[int], Source], sizes: tuple[int, ...]) -> Content:
    """The content of a source, which must not depend on how much is read at once."""
    first, *others = [content(read(make(size))[1]) for size in sizes]
    for other in others:
        assert other == first
    return first

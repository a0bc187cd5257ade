"""Parts: the samples to learn, those that choose, and those that are reported."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np

from streamnet.datasets import Set
from streamnet.datasets import split
from streamnet.engine.settings import EngineSettings
from streamnet.errors import ConfigurationError
from streamnet.errors import DataError
from streamnet.samples import Block
from streamnet.samples import DeadLetter
from streamnet.samples import Schema
from streamnet.samples import Task
from streamnet.sources import Columns
from streamnet.sources import open_files
from streamnet.sources.bytestreams import STANDARD_INPUT
from streamnet.sources.widening import joined

__all__ = ("Data", "Parts", "Whole", "parts_of", "whole_of")

Path = str | os.PathLike[str]
Data = Set | Block | Sequence[Block] | Path | Sequence[Path]
"""What an engine can learn: a set, blocks, or files."""


class Whole(NamedTuple):
    """All samples that have a target, and what could not be read."""

    block: Block
    rejected: tuple[DeadLetter, ...]


class Parts(NamedTuple):
    """The samples, dealt."""

    training: Block
    validation: Block
    test: Block | None  # None where validation is reported

    @property
    def reported(self) -> Block:
        """The part that tells how good the outcome is."""
        return self.validation if self.test is None else self.test

    def sizes(self) -> dict[str, int]:
        """How many samples each part has."""
        parts = self._asdict().items()
        return {name: len(part) for name, part in parts if part is not None}


async def whole_of(data: Data, columns: Columns, **shape: Any) -> Whole:
    """Read everything.

    Args:
        data: A set, blocks, or files.
        columns: Which columns of files are used, and as what; without a target, the last one is.
        shape: Of files, see `open_files`.

    Raises:
        DataError: If a file can't be read, or there is no sample with a target.
        ConfigurationError: If no target is known, or the data are something else.
    """
    if isinstance(data, Set):
        blocks: Sequence[Block] = [data.block()]
    elif isinstance(data, Block):
        blocks = [data]
    else:
        blocks, files = _told_apart([data] if isinstance(data, str | os.PathLike) else data)
        if not blocks:
            blocks = await _read(files, columns, shape)
    rejected = tuple(letter for block in blocks for letter in block.rejected)
    full = [block for block in blocks if len(block)]
    if not full:
        first = f": {rejected[0].source}, {rejected[0].detail}" if rejected else ""
        raise DataError(f"there are no samples to learn{first}")
    return Whole(_labelled(joined(full, _widest(full))), rejected)


def _told_apart(data: Any) -> tuple[list[Block], list[Path]]:
    """The blocks, or the files: there can't be both, of which the schemas may differ."""
    if not isinstance(data, Sequence):
        raise ConfigurationError(
            f"data is of type {type(data).__name__}, but must be a Set, blocks, or names of files"
        )
    blocks = [block for block in data if isinstance(block, Block)]
    for other in data:
        if not isinstance(other, str | os.PathLike | Block):
            raise ConfigurationError(
                f"data has {other!r:.80}, but must have blocks or names of files"
            )
        if blocks and not isinstance(other, Block):
            raise ConfigurationError(
                f"data has {os.fspath(other)!r} beside blocks, but must be all blocks or all files"
            )
    return blocks, [] if blocks else list(data)


async def _read(files: Sequence[Path], columns: Columns, shape: dict[str, Any]) -> list[Block]:
    if columns.target is None:
        columns = columns.with_target(await _last_column(files, columns, shape))
    source = open_files(files, columns=columns, **shape)
    blocks = []
    try:
        await source.open()
        while (block := await source.receive()) is not None:
            blocks.append(block)
    finally:
        await source.aclose()
    return blocks


async def _last_column(
    files: Sequence[Path], columns: Columns, shape: dict[str, Any]
) -> str | None:
    """The name of the last column; None where the format knows its target, as libSVM does."""
    if STANDARD_INPUT in files:
        return "last"  # it can't be read twice; of most formats the source finds it itself
    source = open_files(files, columns=columns, **shape)
    try:
        schema = await source.open()
    finally:
        await source.aclose()
    return schema.fields[-1].name if schema.target is None else None


def _widest(blocks: Sequence[Block]) -> Schema:
    """The schema of the last one: schemas only ever grow."""
    return blocks[-1].schema


def _labelled(block: Block) -> Block:
    """The samples that have a target."""
    if block.target is None or block.schema.task is None:
        raise ConfigurationError("the data have no target, but learning needs one")
    if block.schema.task is Task.REGRESSION:
        there = np.isfinite(block.target)
    else:
        there = np.array([label is not None for label in block.target], np.bool_)
    if not there.any():
        raise DataError("no sample has a target, so there is nothing to learn")
    return block if there.all() else block.take(np.flatnonzero(there))


def parts_of(block: Block, settings: EngineSettings) -> Parts:
    """Deal the samples, by class or by quantile.

    Raises:
        ConfigurationError: If a part would be empty.
    """
    assert block.schema.task is not None
    assert block.target is not None
    share = settings.training_split
    left = round(1.0 - share, 12)  # the decimal that is meant
    rest = [left] if settings.is_gophers else [round(left / 2.0, 12)] * 2
    indices = split(
        block.target,
        (share, *rest),
        task=block.schema.task,
        seed=settings.seed,
        ordered=settings.ordered,
    )
    # In the order of the file: shuffling is the epochs' business.
    training, validation, *test = (block.take(np.sort(part)) for part in indices)
    return Parts(training, validation, test[0] if test else None)

"""The engine's data: read, split into parts, encoded and replayed for several epochs."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, final

import numpy as np
from msgspec.structs import replace

from streamnet.datasets import Set, split
from streamnet.errors import ConfigurationError, DataError
from streamnet.features.columns.target import NO_TARGETS
from streamnet.features.encoder import Encoded, Encoder, EncoderSnapshot
from streamnet.pipeline.reader import SplitBlock
from streamnet.randomness import derive_key, permutation
from streamnet.samples import Block, DeadLetter, Position, Schema, Task, concatenate_blocks
from streamnet.settings.engine import EngineSettings
from streamnet.sources import Columns, open_files
from streamnet.sources.base import Source
from streamnet.sources.files.byte_stream import STANDARD_INPUT
from streamnet.validation import check_seed

__all__ = (
    "Data",
    "DataSplit",
    "EpochCutter",
    "Epochs",
    "FittedEncoder",
    "LabeledData",
    "read_data",
    "split_data",
)


Path = str | os.PathLike[str]
Data = Set | Block | Sequence[Block] | Path | Sequence[Path]
"""What an engine can learn: a set, blocks, or files."""


class LabeledData(NamedTuple):
    """All samples that have a target, and what could not be read."""

    block: Block
    rejected: tuple[DeadLetter, ...]


class DataSplit(NamedTuple):
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


async def read_data(data: Data, columns: Columns, **shape: Any) -> LabeledData:
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
        blocks, files = _separate([data] if isinstance(data, str | os.PathLike) else data)
        if not blocks:
            blocks = await _read(files, columns, shape)
    rejected = tuple(letter for block in blocks for letter in block.rejected)
    full = [block for block in blocks if len(block)]
    if not full:
        first = f": {rejected[0].source}, {rejected[0].detail}" if rejected else ""
        raise DataError(f"there are no samples to learn{first}")
    return LabeledData(_drop_unlabeled(concatenate_blocks(full, _last_schema(full))), rejected)


def _separate(data: Any) -> tuple[list[Block], list[Path]]:
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


def _last_schema(blocks: Sequence[Block]) -> Schema:
    """The schema of the last one: schemas only ever grow."""
    return blocks[-1].schema


def _drop_unlabeled(block: Block) -> Block:
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


def split_data(block: Block, settings: EngineSettings) -> DataSplit:
    """Deal the samples, by class or by quantile.

    Raises:
        ConfigurationError: If a part would be empty.
    """
    assert block.schema.task is not None
    assert block.target is not None
    share = settings.training_split
    left = round(1.0 - share, 12)  # the decimal that is meant
    rest = [left] if settings.follows_gopher else [round(left / 2.0, 12)] * 2
    indices = split(
        block.target,
        (share, *rest),
        task=block.schema.task,
        seed=settings.seed,
        ordered=settings.ordered,
    )
    # In the order of the file: shuffling is the epochs' business.
    training, validation, *test = (block.take(np.sort(part)) for part in indices)
    return DataSplit(training, validation, test[0] if test else None)


SALT = 0x45504F4348  # keeps these random numbers apart from others of the same seed


@final
class Epochs(Source):
    """Gives the training part, then what is held out, and so on for some epochs.

    Args:
        training: Samples to learn.
        held_out: Samples to be answered behind each epoch, but not learned; None for none.
        epochs: How many times.
        shuffled: Whether each epoch has an order of its own, which only seed and epoch decide;
            otherwise all have the order of ``training``.
        seed: See ``shuffled``.
        iterations: Most samples to give for learning, over all epochs; None is no limit. The last
            epoch may be cut short by it.

    >>> import anyio
    >>> from streamnet.sources.columns import Columns
    >>> from streamnet.sources.rows import RowReader
    >>> block = RowReader(Columns(target="y")).read([{"x": i, "y": "a"} for i in range(4)])
    >>> async def lengths(**settings):
    ...     source = Epochs(block.part(0, 3), block.part(3, 4), epochs=2, **settings)
    ...     await source.open()
    ...     return [len(await source.receive()) for _ in range(4)]
    >>> anyio.run(lambda: lengths()), anyio.run(lambda: lengths(iterations=4))
    ([3, 1, 3, 1], [3, 1, 1, 1])
    """

    def __init__(
        self,
        training: Block,
        held_out: Block | None,
        *,
        epochs: int,
        shuffled: bool = True,
        seed: int = 0,
        iterations: int | None = None,
    ) -> None:
        self._training = replace(training, rejected=(), scored=False)
        self._held_out = held_out and replace(held_out, rejected=(), learned=False)
        self._shuffled = shuffled
        self._seed = check_seed(seed)
        self._total = epochs * len(training)
        if iterations is not None:
            self._total = min(self._total, iterations)
        self._given = 0
        self._waiting: deque[Block] = deque()

    async def open(self, after: Position | None = None) -> Schema:
        """What the set's columns are; it can't be gone on with ``after`` some of it."""
        del after
        return self._training.schema

    async def receive(self) -> Block | None:
        """The next part, whole; None behind the last epoch."""
        if not self._waiting and self._given < self._total:
            self._waiting.append(self._next())
            if self._held_out is not None:
                self._waiting.append(self._held_out)
        return self._waiting.popleft() if self._waiting else None

    def _next(self) -> Block:
        n = len(self._training)
        epoch = self._given // n
        left = min(n, self._total - self._given)
        self._given += left
        if not self._shuffled:
            return self._training.part(0, left)
        return self._training.take(permutation(derive_key(self._seed, SALT, epoch), n)[:left])

    def progress(self) -> float:
        """Share of all samples to learn that was given."""
        return self._given / self._total


@final
class EpochCutter:
    """Cuts the parts of an epoch to blocks, of which the last one ends a round.

    Args:
        block_size: Most samples of a block.
        held_out: Whether a part that is not learned ends each epoch.
    """

    def __init__(self, *, block_size: int, held_out: bool) -> None:
        self.block_size = block_size
        self.number = 0  # of the next sample
        self._held_out = held_out

    def cut(self, block: Block) -> Iterator[SplitBlock]:
        """The pieces of a part, in order."""
        last = not (self._held_out and block.learned)
        for start in range(0, len(block), self.block_size):
            stop = min(start + self.block_size, len(block))
            self.number += stop - start
            yield SplitBlock(block.part(start, stop), last and stop == len(block))


@final
class FittedEncoder:
    """Encodes the same samples alike in every epoch, with what the training part has told.

    A label that the training part lacks gets a number behind all classes that can be answered, so
    that it is always missed.

    Args:
        encoder: What learns ``training``.
        training: The only samples that anything is learned from.
        held_out: Samples that will be encoded as well, whose labels are to have numbers.

    Raises:
        DataError: If they have more labels than there may be.

    >>> from streamnet.sources.columns import Columns
    >>> from streamnet.sources.rows import RowReader
    >>> rows = [{"x": 1.0, "y": "a"}, {"x": 3.0, "y": "b"}, {"x": 9.0, "y": "c"}]
    >>> block = RowReader(Columns(target="y")).read(rows)
    >>> parts = block.part(0, 2), block.part(2, 3)
    >>> fitted = FittedEncoder(Encoder(task=Task.CLASSIFICATION), *parts)
    >>> encoded = fitted.encode(block)
    >>> encoded.label.tolist(), encoded.known.tolist(), encoded.inputs.dense[:, 0].tolist()
    ([0, 1, 2], [2, 2, 2], [-1.0, 1.0, 7.0])
    """

    def __init__(self, encoder: Encoder, training: Block, held_out: Block | None = None) -> None:
        if len(encoder.encode(training).block) < len(training):
            assert training.target is not None
            raise DataError(
                f"target {training.schema.target!r} has {len(set(training.target.tolist())):,} "
                f"labels in the training part, but there may be {len(encoder.labels):,}; "
                "task regression predicts numbers"
            )
        self._encoder = encoder
        labels = dict.fromkeys(encoder.labels)
        if encoder.task is Task.CLASSIFICATION and held_out is not None:
            assert held_out.target is not None
            labels |= dict.fromkeys(held_out.target.tolist())
        self._numbers = {label: number for number, label in enumerate(labels)}

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label, those that can be answered first."""
        return tuple(self._numbers)

    def refused(self, block: Block) -> list[int]:
        """The samples that `encode` would refuse: none, a new label is no target."""
        del block
        return []

    def encode(self, block: Block) -> Encoded:
        """Inputs and targets of samples; all of them must have a target."""
        assert block.target is not None
        if self._encoder.task is Task.REGRESSION:
            return self._encoder.apply(block)
        inputs, n = self._encoder.transform(block), len(block)
        label = np.fromiter(map(self._numbers.__getitem__, block.target.tolist()), np.int32, n)
        known = np.full(n, len(self._encoder.labels), np.int32)
        return Encoded(block, inputs, label, known, *NO_TARGETS)

    def snapshot(self) -> EncoderSnapshot:
        """What was learned from the training part."""
        return self._encoder.snapshot()

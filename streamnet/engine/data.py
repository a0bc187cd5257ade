"""The engine's data: read, split into parts, encoded and replayed for several epochs."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple, final

import numpy as np
from msgspec.structs import replace

from streamnet.datasets import Set, split
from streamnet.errors import ConfigurationError, DataError
from streamnet.features.columns.target import NO_TARGETS
from streamnet.features.encoder import Encoded, Encoder
from streamnet.features.snapshot import EncoderSnapshot
from streamnet.pipeline.reader import SplitBlock
from streamnet.randomness import derive_key, permutation
from streamnet.samples import Block, DeadLetter, Position, Schema, Task, concatenate_blocks
from streamnet.settings.engine import EngineSettings
from streamnet.sources import Columns, open_files
from streamnet.sources.base import Source
from streamnet.sources.roles import WeightedSource, check_weights, weigh
from streamnet.sources.storage.raw import STANDARD_INPUT

Path = str | os.PathLike[str]
Data = Set | Block | Sequence[Block] | Path | Sequence[Path]
"""Data that an engine can train on: a set, blocks, or files."""


class LabeledData(NamedTuple):
    """All samples with a target, and the rejected records."""

    block: Block
    rejected: tuple[DeadLetter, ...]


class DataSplit(NamedTuple):
    """The samples, split into parts."""

    training: Block
    validation: Block
    test: Block | None  # None where validation is reported

    @property
    def reported(self) -> Block:
        """The part on which the model is evaluated."""
        return self.validation if self.test is None else self.test

    def sizes(self) -> dict[str, int]:
        """Return the number of samples in each part."""
        parts = self._asdict().items()
        return {name: len(part) for name, part in parts if part is not None}


async def read_data(data: Data, columns: Columns, **shape: Any) -> LabeledData:
    """Read all data; without a target in ``columns``, the last column of files becomes it.

    Raises:
        DataError: If a file cannot be read, or there is no sample with a target.
        ConfigurationError: If there is no target, or the data are of another type.
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
    # The last schema is the most complete one: schemas only grow.
    return LabeledData(_drop_unlabeled(concatenate_blocks(full, full[-1].schema)), rejected)


def _separate(data: Any) -> tuple[list[Block], list[Path]]:
    """Return blocks or files; a mix is refused, since their schemas may differ."""
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
    source: Source = open_files(files, columns=columns, **shape)
    if columns.weight is not None:
        source = WeightedSource(source, columns.weight)
    blocks = []
    async with aclosing(source):
        await source.open()
        while (block := await source.receive()) is not None:
            blocks.append(block)
    return blocks


async def _last_column(
    files: Sequence[Path], columns: Columns, shape: dict[str, Any]
) -> str | None:
    """Return the name of the last column; None if the format determines the target (libSVM)."""
    if STANDARD_INPUT in files:
        return "last"  # it cannot be read twice; for most formats the source finds the column
    async with aclosing(open_files(files, columns=columns, **shape)) as source:
        schema = await source.open()
    names = [name for name, _ in schema.fields if name != columns.weight]
    return names[-1] if schema.target is None else None


def _drop_unlabeled(block: Block) -> Block:
    """Return the samples with a target, which those of weight 0 have lost."""
    if block.weight is not None:
        block = weigh(block, check_weights(block.weight, len(block)))
    if block.target is None or block.schema.task is None:
        raise ConfigurationError("the data have no target, but learning needs one")
    there = block.find_targets()
    if not there.any():
        raise DataError("no sample has a target, so there is nothing to learn")
    return block if there.all() else block.take(np.flatnonzero(there))


def split_data(block: Block, settings: EngineSettings) -> DataSplit:
    """Split the samples, stratified by class or quantile.

    Raises:
        ConfigurationError: If a part would be empty.
    """
    assert block.schema.task is not None
    assert block.target is not None
    share = settings.training_split
    left = round(1.0 - share, 12)  # without rounding errors of the subtraction
    rest = [left] if settings.follows_gopher else [round(left / 2.0, 12)] * 2
    indices = split(
        block.target,
        (share, *rest),
        task=block.schema.task,
        seed=settings.seed,
        ordered=settings.ordered,
    )
    # In file order; `Epochs` shuffles.
    training, validation, *test = (block.take(np.sort(part)) for part in indices)
    return DataSplit(training, validation, test[0] if test else None)


SALT = 0x45504F4348  # separates these random numbers from others of the same seed


@final
class Epochs(Source):
    """Replays the training part for several epochs, each followed by the holdout part.

    Shuffling depends on seed and epoch only. ``iterations`` is the largest number of samples to
    learn over all epochs, which may cut the last one short.

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
        self._seed = seed
        self._total = epochs * len(training)
        if iterations is not None:
            self._total = min(self._total, iterations)
        self._given = 0
        self._waiting: deque[Block] = deque()

    async def open(self, after: Position | None = None) -> Schema:
        """Return the schema; resuming ``after`` a position is not supported."""
        del after
        return self._training.schema

    async def receive(self) -> Block | None:
        """Return the next part as one block; None after the last epoch."""
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
        """Return the fraction of all samples to learn that was delivered."""
        return self._given / self._total


@final
class EpochCutter:
    """Splits the parts of an epoch into blocks; the last block of an epoch ends a round."""

    def __init__(self, *, block_size: int, held_out: bool) -> None:
        self.block_size: int = block_size
        self.number: int = 0  # of the next sample
        self._held_out = held_out

    def cut(self, block: Block) -> Iterator[SplitBlock]:
        """Yield the blocks of a part, in order."""
        last = not (self._held_out and block.learned)
        for start in range(0, len(block), self.block_size):
            stop = min(start + self.block_size, len(block))
            self.number += stop - start
            yield SplitBlock(block.part(start, stop), last and stop == len(block))


@final
class FittedEncoder:
    """An encoder fitted on the training part; it encodes samples the same way in every epoch.

    Labels absent from the training part get class indices after all others, which no network
    predicts.

    Raises:
        DataError: If there are too many labels.

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
        """All labels, those of the training part first."""
        return tuple(self._numbers)

    def refused(self, block: Block) -> list[int]:
        """Return the rows that `encode` would reject: none."""
        del block
        return []

    def encode(self, block: Block) -> Encoded:
        """Encode samples, all of which must have a target."""
        assert block.target is not None
        if self._encoder.task is Task.REGRESSION:
            return self._encoder.apply(block)
        inputs, n = self._encoder.transform(block), len(block)
        label = np.fromiter(map(self._numbers.__getitem__, block.target.tolist()), np.int32, n)
        known = np.full(n, len(self._encoder.labels), np.int32)
        return Encoded(block, inputs, label, known, *NO_TARGETS, weight=block.weight)

    def snapshot(self) -> EncoderSnapshot:
        """Return a snapshot of the fitted encoder."""
        return self._encoder.snapshot()

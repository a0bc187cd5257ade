"""Columns that are no features: weights of samples, and their ids."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple, final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError, SchemaError
from streamnet.samples import MAX_WEIGHT, Block, DeadLetter, Position, Schema, Task
from streamnet.sources.base import Reason, Rejection, Source, drop_rejected
from streamnet.sources.wrappers import SourceWrapper


def weigh(block: Block, weight: NDArray[np.float64]) -> Block:
    """Give weights to the samples of a block, all of them valid.

    The target of a sample of weight 0 is taken away, so that it is predicted, but neither learned
    nor scored.
    """
    target = block.target
    if target is not None and not weight.all():
        # A label of a new class must not become known, nor a number one of the last targets.
        target = target.copy()
        target[weight == 0.0] = np.nan if block.schema.task is Task.REGRESSION else None
    return replace(block, weight=weight, target=target)


def find_invalid_weights(weight: NDArray[np.float64]) -> dict[int, str]:
    """Why some weights are invalid, by their index.

    >>> find_invalid_weights(np.array([1.0, -0.5, np.nan]))
    {1: 'is -0.5, but must be from 0 to 1e+09', 2: 'is missing'}
    """
    found = {}
    for i in np.flatnonzero(~((weight >= 0.0) & (weight <= MAX_WEIGHT))).tolist():
        value = float(weight[i])
        rule = f"is {value:g}, but must be from 0 to {MAX_WEIGHT:g}"
        found[i] = "is missing" if np.isnan(value) else rule
    return found


class _Split(NamedTuple):
    """A schema with and without a column, and the place of that column in its array."""

    whole: Schema
    rest: Schema
    place: int | None


class _RoleColumn(ABC):
    """Takes a column that is no feature out of blocks."""

    def __init__(self, role: str, name: str) -> None:
        if not isinstance(name, str):
            raise ConfigurationError(f"{role} is {name!r}, but must be the name of a column")
        self._name = name
        none = Schema(())
        self._split = _Split(none, none, None)

    @abstractmethod
    def take(self, block: Block) -> Block:
        """Take the column out of a block."""

    @abstractmethod
    def _find_place(self, schema: Schema) -> int | None:
        """The place of the column in its array; None if there is none of that name."""

    def without(self, schema: Schema) -> Schema:
        """A schema without the column."""
        return self._find(schema).rest

    def _find(self, schema: Schema) -> _Split:
        """The split of a schema; that of the last one is kept, since most blocks share it."""
        if schema is not self._split.whole:
            place = self._find_place(schema)
            fields = tuple(field for field in schema.fields if field.name != self._name)
            rest = Schema(fields, schema.target, schema.task)
            if rest == self._split.rest:
                rest = self._split.rest
            self._split = _Split(schema, rest, place)
        return self._split


@final
class IdColumn(_RoleColumn):
    """Takes the column of ids out of blocks, where it is no feature; see `Block.ids`.

    Args:
        name: Name of the column.

    >>> from streamnet.samples import Kind
    >>> from streamnet.sources.columns import Columns
    >>> from streamnet.sources.rows import RowReader
    >>> columns = Columns(target="y", id="order")
    >>> block = RowReader(columns).read([{"order": 7, "x": 1, "y": "a"}, {"x": 2, "y": "b"}])
    >>> block = IdColumn("order").take(block)
    >>> block.ids.tolist(), block.schema.words
    (['7', None], ())
    """

    def __init__(self, name: str) -> None:
        super().__init__("id", name)

    def take(self, block: Block) -> Block:
        """Take the column out of a block; ids that its samples have already stay."""
        _, rest, place = self._find(block.schema)
        words = block.words
        if place is None:
            ids = np.full(len(block), None, np.object_)
        else:
            ids, words = words[place], (*words[:place], *words[place + 1 :])
        if block.ids is not None:
            ids = np.where(block.ids == None, ids, block.ids)  # noqa: E711 - elementwise
        return replace(block, schema=rest, words=words, ids=ids)

    def _find_place(self, schema: Schema) -> int | None:
        if self._name in schema.numbers:
            raise SchemaError(f"id is {self._name!r}, but must be read as a category")
        return schema.words.index(self._name) if self._name in schema.words else None


@final
class WeightColumn(_RoleColumn):
    """Takes the column of weights out of blocks, where it is no feature.

    Samples whose weight is negative or above 1e9 are rejected, and those with a target whose weight
    is missing. Without a target, which may come later, a missing weight is 1.

    Args:
        name: Name of the column.

    >>> from streamnet.sources.columns import Columns
    >>> from streamnet.sources.rows import RowReader
    >>> rows = [{"x": 1, "w": 2.5, "y": "a"}, {"x": 2, "w": -1.0, "y": "b"}]
    >>> block = WeightColumn("w").take(RowReader(Columns(target="y")).read(rows))
    >>> block.weight.tolist(), block.schema.numbers, block.rejected[0].detail
    ([2.5], ('x',), "the weight 'w' is -1, but must be from 0 to 1e+09")
    """

    def __init__(self, name: str) -> None:
        super().__init__("weight", name)

    def take(self, block: Block) -> Block:
        """Take the column out of a block.

        Raises:
            SchemaError: If it is not a column of numbers.
        """
        _, rest, place = self._find(block.schema)
        if place is None:
            weight, numbers = np.full(len(block), np.nan), block.numbers
        else:
            weight = np.ascontiguousarray(block.numbers[:, place])
            numbers = np.delete(block.numbers, place, axis=1)
        block = replace(block, schema=rest, numbers=numbers)
        if np.isnan(weight).any():
            weight[np.isnan(weight) & ~block.find_targets()] = 1.0
        invalid = find_invalid_weights(weight)
        if invalid:
            before, letters = block.rejected, self._reject(block, weight, invalid)
            block = drop_rejected(block, letters)
            records = sorted((*before, *block.rejected), key=lambda letter: letter.offset)
            block = replace(block, rejected=tuple(records))
            weight = np.delete(weight, list(letters))
        return weigh(block, weight)

    def _reject(
        self, block: Block, weight: NDArray[np.float64], invalid: Mapping[int, str]
    ) -> dict[int, DeadLetter]:
        """The rejected records of samples with an invalid weight."""
        return {
            i: Rejection(Reason.WEIGHT, f"the weight {self._name!r} {why}").letter(
                block.source, block.marks[i], f"{weight[i]:g}"
            )
            for i, why in invalid.items()
        }

    def _find_place(self, schema: Schema) -> int | None:
        if self._name in schema.words:
            raise SchemaError(f"weight is {self._name!r}, but must be a column of numbers")
        return schema.numbers.index(self._name) if self._name in schema.numbers else None


class _SplitSource(SourceWrapper):
    """A source one of whose columns is no feature."""

    def __init__(self, source: Source, column: _RoleColumn) -> None:
        super().__init__(source)
        self._column = column

    async def open(self, after: Position | None = None) -> Schema:
        """Open the source; its schema is returned without the column."""
        return self._column.without(await self._source.open(after))

    async def receive(self) -> Block | None:
        """The next block, without the column."""
        block = await self._source.receive()
        return None if block is None else self._column.take(block)


@final
class IdentifiedSource(_SplitSource):
    """A source one of whose columns holds the ids of samples, which predictions have, too.

    The column is no feature. It has to be read as a category, see `Columns`.

    Args:
        source: The source.
        ids: Name of the column.

    Raises:
        ConfigurationError: If the name is not a text.
    """

    def __init__(self, source: Source, ids: str) -> None:
        super().__init__(source, IdColumn(ids))


@final
class WeightedSource(_SplitSource):
    """A source one of whose columns holds the weights of samples.

    A weight multiplies the gradient of its sample and its part in all scores: one of 2 counts like
    the sample twice. A sample of weight 0 is predicted, but neither learned nor scored. One whose
    weight is negative, not finite or above 1e9 is rejected, and so is one with a target whose
    weight is missing. The column is no feature.

    Args:
        source: The source.
        weight: Name of the column.

    Raises:
        ConfigurationError: If the name is not a text.
    """

    def __init__(self, source: Source, weight: str) -> None:
        super().__init__(source, WeightColumn(weight))


def check_weights(given: Any, n: int) -> NDArray[np.float64]:
    """Validate the weights of n samples, shape=(n,).

    Raises:
        ConfigurationError: If they are not n numbers from 0 to 1e9.
    """
    try:
        weight = np.array(given, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ConfigurationError(
            f"sample_weight is {given!r:.80}, but must be a number for each sample"
        ) from None
    if weight.shape != (n,):
        raise ConfigurationError(
            f"sample_weight has shape {weight.shape}, but must have ({n},), one for each sample"
        )
    for i, why in find_invalid_weights(weight).items():
        raise ConfigurationError(f"sample_weight[{i}] {why}")
    return weight

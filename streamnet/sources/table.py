"""Table: the columns of a data frame as those of a block."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any
from typing import final

import numpy as np
from numpy.typing import NDArray

from streamnet.samples import TIMES
from streamnet.samples import Kind
from streamnet.samples import Schema
from streamnet.samples import Task
from streamnet.sources.columns import Columns
from streamnet.sources.kinds import WHITESPACE
from streamnet.sources.kinds import kind_of
from streamnet.sources.reasons import Problem
from streamnet.sources.reasons import Reason
from streamnet.sources.values import column_of
from streamnet.sources.values import number_of
from streamnet.sources.values import reader_of
from streamnet.sources.values import target_number_of
from streamnet.sources.values import word_of

if TYPE_CHECKING:
    from polars import DataFrame
    from polars import Series

__all__ = ("Table", "is_feature", "kind_of_column", "values_of")

MICROSECONDS = 1e6


def is_feature(column: Series) -> bool:
    """Whether the type of a column is one that can be learned from: nothing nested or binary."""
    import polars as pl

    return not column.dtype.is_nested() and column.dtype not in (pl.Binary, pl.Object)


def kind_of_column(head: Series, values: Callable[[], Sequence[Any]]) -> Kind:
    """The kind of a column by its type; of texts, by the first values."""
    import polars as pl

    if head.dtype.is_numeric() or head.dtype == pl.Duration:
        return Kind.NUMBER
    if head.dtype in (pl.Date, pl.Datetime):
        return Kind.TIME
    return kind_of(values(), typed=True)


def values_of(head: Series, columns: Columns) -> list[Any]:
    """The values of a column, those that stand for missing left out."""
    reading = columns.reading(typed=True)
    values = [v for v in _plain(head).to_list() if not reading.is_missing(v)]
    return [v.strip(WHITESPACE) if isinstance(v, str) else v for v in values]


@final
class Table:
    """Rows of a data frame; `problems` says what is wrong with some of them."""

    def __init__(self, frame: DataFrame, schema: Schema, columns: Columns) -> None:
        self._frame = frame
        self._schema = schema
        self._columns = columns
        self._reading = columns.reading(typed=True)
        self.problems: dict[int, Problem] = {}
        numeric = {
            name: self._times(name, kind) if kind in TIMES else self._numbers(name)
            for name, kind in schema.fields
            if name in schema.numbers
        }
        self.numbers = np.empty((frame.height, len(schema.numbers)), np.float64)
        for at, name in enumerate(schema.numbers):
            self.numbers[:, at] = numeric[name]
        self.words = tuple(self._words(name) for name in schema.words)
        self.target = None if schema.target is None else self._target(schema.target)

    def _numbers(self, name: str) -> NDArray[np.float64]:
        import polars as pl

        column = self._frame[name]
        if column.dtype == pl.Duration:
            column = column.dt.total_microseconds() / MICROSECONDS
        if not column.dtype.is_numeric():
            return self._one_by_one(name, number_of)
        numbers = column.cast(pl.Float64).to_numpy()
        infinite = np.isinf(numbers)
        if infinite.any():
            for row in np.flatnonzero(infinite).tolist():
                self._note(row, Problem.of_value(Reason.NOT_FINITE, name, numbers[row]))
        return numbers

    def _times(self, name: str, kind: Kind) -> NDArray[np.float64]:
        import polars as pl

        column = self._frame[name]
        if column.dtype not in (pl.Date, pl.Datetime):
            return self._one_by_one(name, reader_of(kind))
        moments = column.cast(pl.Datetime("us")).to_physical().to_list()
        return np.array([math.nan if m is None else m / MICROSECONDS for m in moments])

    def _words(self, name: str) -> NDArray[np.object_]:
        found = []
        for row, value in enumerate(_plain(self._frame[name]).to_list()):
            word = word_of(value, self._reading)
            if isinstance(word, Reason):
                self._note(row, Problem.of_value(word, name, value))
            found.append(word)
        return column_of(found)

    def _target(self, name: str) -> NDArray[Any]:
        target: NDArray[Any]
        if self._schema.task is Task.REGRESSION:
            target = self._one_by_one(name, target_number_of)
            gaps = np.isnan(target)
        else:
            target = self._words(name)
            gaps = np.array([word is None for word in target], np.bool_)
        if not self._columns.target_optional:
            for row in np.flatnonzero(gaps).tolist():
                self._note(row, Problem.of_value(Reason.TARGET_MISSING, name, None))
        return target

    def _one_by_one(self, name: str, read: Any) -> NDArray[np.float64]:
        values: Sequence[Any] = _plain(self._frame[name]).to_list()
        numbers = np.full(len(values), math.nan)
        reading = self._columns.reading_of(name, self._reading)
        for row, value in enumerate(values):
            number = read(value, reading)
            if isinstance(number, Reason):
                self._note(row, Problem.of_value(number, name, value))
            else:
                numbers[row] = number
        return numbers

    def _note(self, row: int, problem: Problem) -> None:
        self.problems.setdefault(row, problem)


def _plain(column: Series) -> Series:
    """A column of values that Python knows: categories and times of day as text."""
    import polars as pl

    if column.dtype in (pl.Categorical, pl.Enum, pl.Time):
        return column.cast(pl.String)
    if column.dtype == pl.Duration:
        return column.dt.total_microseconds() / MICROSECONDS
    return column

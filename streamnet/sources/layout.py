"""Layout: the columns of a delimited file in their order, and blocks made of its records."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import final

import numpy as np
from numpy.typing import NDArray

from streamnet.samples import TIMES
from streamnet.samples import Block
from streamnet.samples import Kind
from streamnet.samples import Schema
from streamnet.samples import Task
from streamnet.sources.columns import Columns
from streamnet.sources.distinct import distinct
from streamnet.sources.fields import FieldReader
from streamnet.sources.fields import Fields
from streamnet.sources.fields import load_kernel
from streamnet.sources.kinds import is_not_finite
from streamnet.sources.kinds import is_number
from streamnet.sources.reasons import Problem
from streamnet.sources.reasons import Reason
from streamnet.sources.reasons import shown
from streamnet.sources.records import Rules
from streamnet.sources.textformat import Chunk
from streamnet.sources.values import column_of
from streamnet.sources.values import reader_of

__all__ = ("Layout", "load_kernels")

Column = NDArray[np.object_]  # of words: each a str, or None where missing

REMEMBERED = 4096  # different words of a column that are kept, so that equal ones are one object


class _Words(dict[bytes, str | None]):
    """The words of a column by their bytes; one that is looked up is there."""

    def __init__(self, missing: frozenset[str]) -> None:
        super().__init__()
        self._gaps = missing

    def __missing__(self, raw: bytes) -> str | None:
        text = raw.decode()
        word = self[raw] = None if text in self._gaps else text
        return word


@final
class Layout:
    """Makes blocks of the records of a file whose columns have these names, in this order.

    Times and labels are read as words first, the target of a regression as one more number.
    """

    def __init__(
        self,
        names: Sequence[str],
        schema: Schema,
        columns: Columns,
        rules: Rules,
        decimal: str = ".",
    ) -> None:
        kinds = dict(schema.fields)
        real = schema.target if schema.task is Task.REGRESSION else None
        label = schema.target if schema.task is Task.CLASSIFICATION else None
        times = [name for name, kind in schema.fields if kind in TIMES]
        self._numbers = [name for name in schema.numbers if kinds[name] is Kind.NUMBER]
        self._words = [*schema.words, *times]
        if real is not None:
            self._numbers.append(real)
        if label is not None:
            self._words.append(label)
        self._schema = schema
        self._kinds = kinds
        self._columns = columns
        self._reading = columns.reading()
        self._decimal = decimal
        self._order = _places(names)
        self._number_of, self._word_of = _places(self._numbers), _places(self._words)
        self._memory = [_Words(self._reading.missing) for _ in self._words]
        self._few = [kinds.get(name, Kind.CATEGORY) is Kind.CATEGORY for name in self._words]
        plan = np.full(len(names), -1, np.int64)
        for column, name in enumerate(self._numbers):
            plan[self._order[name]] = FieldReader.number(column)
        for column, name in enumerate(self._words):
            plan[self._order[name]] = FieldReader.word(column)
        markers = [text.encode() for text in columns.missing]
        self._reader = FieldReader(plan, rules.delimiter, rules.quote, markers, ord(decimal))
        self._doubled = bytes([rules.quote] * 2) if rules.quote >= 0 else b""

    def block(self, chunk: Chunk) -> Block:
        """The samples among the records of a chunk."""
        good = chunk.good()
        fields = self._reader.read(chunk.data, chunk.records, good)
        found = dict(self._troubles(chunk, fields))
        words = [self._column(chunk, fields, at) for at in range(len(self._words))]
        schema = self._schema
        numbers = fields.numbers
        if len(self._numbers) != len(schema.numbers) or len(self._words) > len(schema.words):
            numbers = self._arranged(fields, words, good, found)
        target = self._target(fields, words, good, found)
        problems = {row: problem for row, (_, problem) in found.items()}
        columns = tuple(words[: len(schema.words)])
        return chunk.block(schema, numbers, columns, target, problems)

    def _troubles(self, chunk: Chunk, fields: Fields) -> Iterator[tuple[int, tuple[int, Problem]]]:
        """Of each record the first number that is none, those that come first last."""
        order = self._order
        names = self._numbers
        for trouble in sorted(fields.troubles, key=lambda t: -order[names[t.column]]):
            name = names[trouble.column]
            text = chunk.data[trouble.begin : trouble.end].decode()
            reason = Reason.NUMBER
            if trouble.huge or is_not_finite(text):
                reason = Reason.NOT_FINITE
            if name == self._schema.target:
                reason = Reason.TARGET_NUMBER
            problem = Problem.of_value(reason, name, text)
            if not trouble.huge and is_number(text):  # 1.5 among decimal commas
                rule = "which is not a number with a decimal comma"
                problem = Problem(reason, f"column {name!r} has {shown(text)}, {rule}")
            yield trouble.row, (order[name], problem)

    def _column(self, chunk: Chunk, fields: Fields, column: int) -> Column:
        """The words of a column, None where missing."""
        data, spans, escaped = chunk.data, fields.span[column], fields.escaped[column]
        if escaped.any():
            return column_of(self._escaped_texts(data, spans, escaped))
        found = distinct(data, spans) if self._few[column] else None
        if found is None:
            self._few[column] = False
            return column_of(self._texts(data, spans, column))
        first, number = found
        few: Column = column_of(self._texts(data, spans[first], column))[number]
        return few

    def _texts(self, data: bytes, spans: NDArray[np.int64], column: int) -> list[str | None]:
        memory = self._memory[column]
        if len(memory) > REMEMBERED:
            memory.clear()
        ends = spans[:, 1].tolist()
        raws = [data[begin:end] for begin, end in zip(spans[:, 0].tolist(), ends, strict=True)]
        return list(map(memory.__getitem__, raws))

    def _escaped_texts(
        self, data: bytes, spans: NDArray[np.int64], escaped: NDArray[np.uint8]
    ) -> list[str | None]:
        single = self._doubled[:1]
        words: list[str | None] = []
        for (begin, end), doubled in zip(spans.tolist(), escaped.tolist(), strict=True):
            raw = data[begin:end]
            text = (raw.replace(self._doubled, single) if doubled else raw).decode()
            words.append(None if text in self._reading.missing else text)
        return words

    def _arranged(
        self,
        fields: Fields,
        words: list[Column],
        good: NDArray[np.bool_],
        found: dict[int, tuple[int, Problem]],
    ) -> NDArray[np.float64]:
        """The numbers and times in the order of the schema."""
        names = self._schema.numbers
        numbers = np.empty((len(good), len(names)), np.float64)
        for at, name in enumerate(names):
            if name in self._number_of:
                numbers[:, at] = fields.numbers[:, self._number_of[name]]
            else:
                column = words[self._word_of[name]]
                numbers[:, at] = self._times(name, column, good, found)
        return numbers

    def _times(
        self,
        name: str,
        column: Column,
        good: NDArray[np.bool_],
        found: dict[int, tuple[int, Problem]],
    ) -> list[float]:
        seconds, read = [np.nan] * len(column), reader_of(self._kinds[name])
        for row, text in enumerate(column.tolist()):
            if text is None or not good[row]:
                continue
            moment = read(text, self._reading)
            if isinstance(moment, Reason):  # of seconds, as a comma is no point in April 3, 2026
                moment = read(text.replace(self._decimal, "."), self._reading)
            if isinstance(moment, Reason):
                problem = Problem.of_value(moment, name, text)
                self._note(found, row, self._order[name], problem)
            else:
                seconds[row] = moment
        return seconds

    def _target(
        self,
        fields: Fields,
        words: list[Column],
        good: NDArray[np.bool_],
        found: dict[int, tuple[int, Problem]],
    ) -> NDArray[Any] | None:
        name = self._schema.target
        if name is None:
            return None
        target: NDArray[Any]
        if self._schema.task is Task.REGRESSION:
            target = fields.numbers[:, -1].copy()
            gaps = np.isnan(target)
        else:
            target = words[-1]
            gaps = np.array([word is None for word in target.tolist()], np.bool_)
        if not self._columns.target_optional:
            problem = Problem.of_value(Reason.TARGET_MISSING, name, None)
            for row in np.flatnonzero(gaps & good).tolist():
                self._note(found, row, self._order[name], problem)
        return target

    @staticmethod
    def _note(
        found: dict[int, tuple[int, Problem]], row: int, order: int, problem: Problem
    ) -> None:
        """Keep the problem of the column that comes first."""
        if row not in found or order < found[row][0]:
            found[row] = order, problem


def _places(names: Sequence[str]) -> dict[str, int]:
    """Where each name stands: to look for each of thousands takes time by their square."""
    return {name: place for place, name in enumerate(names)}


def load_kernels() -> None:
    """Load what reads records, or compile it, so that the first ones don't wait for that."""
    load_kernel()
    distinct(b"", np.empty((0, 2), np.int64))

"""RowReader: dicts, one or many, as columns."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import isfinite
from operator import itemgetter
from typing import Any
from typing import final

import numpy as np
from msgspec import json
from numpy.typing import NDArray

from streamnet.samples import TIMES
from streamnet.samples import Block
from streamnet.samples import Field
from streamnet.samples import Sample
from streamnet.samples import Schema
from streamnet.sources.columns import Columns
from streamnet.sources.conversion import Conversion
from streamnet.sources.conversion import only
from streamnet.sources.plainschema import plain_schema
from streamnet.sources.plainschema import schema_from
from streamnet.sources.reasons import printed
from streamnet.sources.reasons import without

__all__ = ("RowReader",)

PLAIN = {float, int}
MARKED = 256  # records whose marks are made at a time, for those that come one by one


@final
class RowReader:
    """Turns samples that are dicts into blocks; a feature that is new extends the schema.

    A feature gets its kind from the first value that is there (None, NaN and the texts of
    ``columns.missing`` are not): a number, a time, a word or a text. A sample that brings more than
    ``columns.most_fields`` is rejected. If the task is not given, the
    first target tells it: a float is a regression, anything else a label. Values that can't be
    read raise nothing; their samples become `Block.rejected` and change nothing.

    A reader that is ``closed`` leaves out features that it does not know.

    >>> reader = RowReader(Columns(target="y"))
    >>> block = reader.read([{"age": 39, "job": "clerk", "y": True}])
    >>> block.numbers, block.words[0].tolist(), block.target.tolist()
    (array([[39.]]), ['clerk'], ['true'])
    """

    def __init__(
        self, columns: Columns, *, name: str = "rows", typed: bool = False, closed: bool = False
    ) -> None:
        self._closed = closed
        self._conversion = Conversion(columns, columns.reading(typed=typed))
        self._name = name
        self._records = 0
        self._fast_schema: Schema | None = None
        self._marks, self._marked = _marks_from(0, MARKED), 0  # of records from which number on
        self._prepare()

    @property
    def schema(self) -> Schema:
        """The columns known so far."""
        return self._conversion.schema

    @property
    def records(self) -> int:
        """Samples read so far, good and bad ones."""
        return self._records

    def read(self, samples: Sequence[Sample], targets: Sequence[Any] | None = None) -> Block:
        """The first of these samples as a block: those before the schema grows again.

        One sample always comes back whole. Of several, the block ends before the first that brings
        a new feature, unless that is the very first; `blocks` reads them all.

        Args:
            samples: The features by name, and the target unless ``targets`` has it.
            targets: One a sample.
        """
        if len(samples) == 1 and self._fast_schema is not None:
            block = self._read_one(samples[0], targets)
            if block is not None:
                return block
        if self._closed:
            names = frozenset(field.name for field in self.schema.fields)
            samples = [only(names, sample) for sample in samples]
        return self._read(samples, targets)

    def blocks(
        self, samples: Sequence[Sample], targets: Sequence[Any] | None = None
    ) -> Iterator[Block]:
        """All of these samples: a block, and one more each time the schema grows."""
        start = 0
        while start < len(samples):
            before = self._records
            yield self.read(samples[start:], None if targets is None else targets[start:])
            start += self._records - before

    def turn_to(self, fields: tuple[Field, ...]) -> None:
        """Know these features, in place of those that were known."""
        self._conversion.schema = replace(self.schema, fields=fields)
        self._prepare()

    def export_state(self) -> dict[str, Any]:
        """The schema and the number of the next sample."""
        return {**plain_schema(self.schema), "records": self._records}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on where the reader that exported ``state`` stood."""
        self._conversion.schema = schema_from(state)
        self._records = state["records"]
        self._prepare()

    def _read(self, samples: Sequence[Sample], targets: Sequence[Any] | None) -> Block:
        rows = self._conversion.convert(samples, targets)
        if rows.schema is not self._fast_schema:
            self._prepare()
        marks = _marks_from(self._records, rows.used)
        self._records += rows.used
        block = Block(rows.schema, self._name, rows.numbers, rows.words, rows.target, marks)
        letters = {
            row: problem.letter(self._name, marks[row], _raw(samples[row]))
            for row, problem in rows.problems.items()
        }
        return without(block, letters)

    def _prepare(self) -> None:
        """Set up the short way for a single sample of finite numbers and texts."""
        schema = self._conversion.schema
        learns = schema.target is not None
        known = schema.task is not None or not learns
        plain = bool(schema.fields) and all(kind not in TIMES for _, kind in schema.fields)
        self._fast_schema = schema if plain and known else None
        self._numbers = _taking(schema.numbers)
        self._words = _taking(schema.words) if schema.words else None

    def _read_one(self, sample: Sample, targets: Sequence[Any] | None) -> Block | None:
        """The block of a dict of finite numbers and texts only; None sends it the long way."""
        if type(sample) is not dict:
            return None  # it may have values for names that aren't in it, as a Counter does
        schema, target = self._fast_schema, None
        assert schema is not None
        names = len(schema.fields)
        try:
            if schema.target is not None:
                if targets is None:
                    targets = (sample[schema.target],)
                    names += 1
                target = self._conversion.target_array(targets[0])
            if len(sample) != names or (target is None) != (schema.target is None):
                return None
            numbers = self._numbers(sample)
            # No sum is finite with a number in it that is not.
            if not (PLAIN.issuperset(map(type, numbers)) and isfinite(sum(numbers))):
                return None
            array = np.array((numbers,), np.float64)
            words: tuple[NDArray[np.object_], ...] = ()
            if self._words is not None:
                words = tuple(map(self._conversion.word_array, self._words(sample)))
        except (KeyError, TypeError, OverflowError, AttributeError):
            return None
        return Block(schema, self._name, array, words, target, self._next_marks())

    def _next_marks(self) -> NDArray[np.int64]:
        """The marks of one record, which is counted."""
        record = self._records
        if not 0 <= (at := record - self._marked) < MARKED:
            self._marks, self._marked, at = _marks_from(record, MARKED), record, 0
        self._records = record + 1
        return self._marks[at : at + 2]


def _marks_from(record: int, count: int) -> NDArray[np.int64]:
    """Marks of so many records; see `Block`."""
    marks = np.zeros((count + 1, 3), np.int64)
    marks[:, :2] = np.arange(record, record + count + 1)[:, None]
    return marks


def _taking(names: Sequence[str]) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
    """What takes the values of these names out of a sample."""
    if len(names) > 1:
        return itemgetter(*names)
    return partial(_values, names)


def _values(names: Sequence[str], sample: dict[str, Any]) -> tuple[Any, ...]:
    return tuple([sample[name] for name in names])


def _raw(sample: Any) -> str:
    """The text of a sample for a dead letter: JSON where that can be had."""
    try:
        return json.encode(sample).decode()
    except (TypeError, ValueError, OverflowError, RecursionError):
        return printed(sample)

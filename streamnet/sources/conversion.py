"""Conversion: samples that are dicts as arrays, with the problems of those that can't be."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any
from typing import NamedTuple
from typing import final

import numpy as np
from numpy.typing import NDArray

from streamnet.samples import NUMERIC
from streamnet.samples import Field
from streamnet.samples import Kind
from streamnet.samples import Sample
from streamnet.samples import Schema
from streamnet.samples import Task
from streamnet.sources.columns import Columns
from streamnet.sources.kinds import WHITESPACE
from streamnet.sources.kinds import kind_of
from streamnet.sources.reasons import Problem
from streamnet.sources.reasons import Reason
from streamnet.sources.reasons import shown
from streamnet.sources.times import may_be_time
from streamnet.sources.times import seconds_of_number
from streamnet.sources.values import Reading
from streamnet.sources.values import column_of
from streamnet.sources.values import number_of
from streamnet.sources.values import reader_of
from streamnet.sources.values import target_number_of
from streamnet.sources.values import word_of

__all__ = ("Conversion", "Rows", "as_kept", "as_sample", "only")

PLAIN = {float, int}
UNCLEAR = (
    "%r is taken as words, since %s may be a date in two ways: its kind, day_first or month_first, "
    "tells what comes first"
)
logger = logging.getLogger("streamnet.sources")
WORDS = {str, int}  # types of labels that can always be read
GAPS = {float, int, type(None)}
Problems = dict[int, tuple[int, Problem]]  # by row: the column that comes first, and what it has


def as_sample(given: Any) -> Any:
    """A row of a data frame (of pandas) as a dict of its values by name; all else as it is."""
    if isinstance(given, Mapping):
        return given
    is_row = getattr(given, "ndim", None) == 1 and hasattr(given, "to_dict")
    return given.to_dict() if is_row else given


def as_kept(given: Any) -> Any:
    """A dict that nobody else can change any more; all else as it is.

    Whoever gives samples one after the other may fill the same dict again and again.
    """
    if type(given) is dict:  # most of them, and in a third of the time
        return given.copy()
    return copy(given) if isinstance(given, dict) else given


def only(names: Collection[str], row: Any) -> Any:
    """What is known of a sample; whatever is no sample stays, to be complained about."""
    row = as_sample(row)
    if not isinstance(row, Mapping):
        return row
    return {name: value for name, value in row.items() if name in names}


class Rows(NamedTuple):
    """Samples as columns; a row in ``problems`` is there, but means nothing."""

    schema: Schema
    used: int  # samples that were read: the next one brings a new feature
    numbers: NDArray[np.float64]
    words: tuple[NDArray[np.object_], ...]
    target: NDArray[Any] | None
    problems: dict[int, Problem]


@final
class Conversion:
    """Reads the columns of dicts one after the other and keeps the schema that they have shown."""

    def __init__(self, columns: Columns, reading: Reading) -> None:
        self._columns = columns
        self._reading = reading
        known = columns.schema
        fields = () if known is None else known.fields
        self.schema = Schema(fields, columns.target, columns.task)

    @property
    def schema(self) -> Schema:
        """The columns known so far."""
        return self._schema

    @schema.setter
    def schema(self, schema: Schema) -> None:
        self._schema = schema
        fields = (field.name for field in schema.fields)
        targets = (t for t in (schema.target, self._columns.target) if t is not None)
        self._known = frozenset((*fields, *targets, *self._columns.drop))

    def convert(self, samples: Sequence[Sample], targets: Sequence[Any] | None = None) -> Rows:
        """The first samples, up to the one that brings a new feature; at least one.

        Args:
            samples: At least one.
            targets: One a sample, or None: the target is a value of the sample.
        """
        if any(type(sample) is not dict for sample in samples):
            samples = [as_sample(sample) for sample in samples]
        if targets is not None and self._schema.target is None:
            self.schema = replace(self._schema, target="target")
        if self._schema.target is not None and self._schema.task is None:
            return self._first_target(samples, targets)
        start = self._first_stranger(samples)
        if start == 0:
            return self._grow(samples, targets)
        return self._columns_of(samples[:start], None if targets is None else targets[:start])

    def none(self) -> Rows:
        """No samples."""
        return self._columns_of((), None)

    def word_array(self, text: str) -> NDArray[np.object_]:
        """A column of one text."""
        word = text.strip(WHITESPACE)
        return _alone(None if word in self._reading.missing else word)

    def target_array(self, target: Any) -> NDArray[Any] | None:
        """A column of one target, None if it is missing or can't be read."""
        if type(target) in WORDS and self._schema.task is Task.CLASSIFICATION:
            word = word_of(target, self._reading)
            if word is None or isinstance(word, Reason):
                return None
            return _alone(word)
        problems: Problems = {}
        found = self._target([target], problems)
        return None if problems else found

    def _first_target(self, samples: Sequence[Sample], targets: Sequence[Any] | None) -> Rows:
        """Like `convert` while the task is not known: the first good sample tells it."""
        first: Any = samples[0]
        value = first.get(self._schema.target) if isinstance(first, Mapping) else None
        if targets is not None:
            value = targets[0]
        before = self.schema
        if not self._reading.is_missing(value):
            number = not isinstance(number_of(value, self._reading), Reason)
            real = number and isinstance(value, float | np.floating)
            task = Task.REGRESSION if real else Task.CLASSIFICATION
            self.schema = replace(before, task=task)
            rows = self.convert(samples, targets)
            if 0 in rows.problems:
                self.schema = replace(rows.schema, task=None)
                return rows._replace(schema=self.schema)
            return rows
        self.schema = replace(before, task=Task.CLASSIFICATION)
        rows = self.convert(samples[:1], None if targets is None else targets[:1])
        self.schema = replace(rows.schema, task=None)
        return rows._replace(schema=self.schema)

    def _first_stranger(self, samples: Sequence[Sample]) -> int:
        """The first sample with a feature that is not known yet."""
        if not self._columns.grows and (self._columns.schema or self._schema.fields):
            return len(samples)
        known = self._known
        given: Sequence[Any] = samples
        for row, sample in enumerate(given):
            # What is none is complained about as it is converted; a frame has keys, too.
            if type(sample) is not dict and not isinstance(sample, Mapping):
                continue
            if sample.keys() <= known:
                continue
            if any(not self._reading.is_missing(sample[k]) for k in sample if k not in known):
                return row
        return len(samples)

    def _grow(self, samples: Sequence[Sample], targets: Sequence[Any] | None) -> Rows:
        """Like `convert` where the first sample brings features: they count if it is good."""
        before = self.schema
        first = None if targets is None else targets[:1]
        strangers = {k: v for k, v in samples[0].items() if k not in self._known}
        try:
            fields = [f for f in map(self._field, *_pairs(strangers)) if f]
        except TypeError as error:
            rows = self._columns_of(samples[:1], first)
            return rows._replace(problems={0: Problem(Reason.TYPE, str(error))})
        unwanted = self._unwanted(fields)
        if unwanted is not None:
            rows = self._columns_of(samples[:1], first)
            return rows._replace(problems={0: unwanted})
        self.schema = before.extended(fields)
        rows = self._columns_of(samples[:1], first)
        if rows.problems:
            self.schema = before
            return self._columns_of(samples[:1], first)._replace(problems=rows.problems)
        stop = 1 + self._first_stranger(samples[1:])
        if stop == 1:
            return rows
        return self._columns_of(samples[:stop], None if targets is None else targets[:stop])

    def _unwanted(self, fields: Sequence[Field]) -> Problem | None:
        """Why a sample must not bring new features, None if it may."""
        most = self._columns.most_fields
        new = f"{fields[0].name!r} is a new feature"
        if self._columns.drift.new in ("reject", "stop") and self._schema.fields:
            return Problem(Reason.NEW_COLUMN, f"{new}, but there must be none (drift.new)")
        if len(self._schema.fields) + len(fields) > most:
            return Problem(Reason.FIELDS, f"{new}, but there may be {most} (most_fields)")
        return None

    def _absences(self, rows: Sequence[Any], problems: Problems) -> None:
        """Note the samples that lack a feature, where that is not a missing value."""
        if self._columns.drift.missing not in ("reject", "stop"):
            return
        for row, sample in enumerate(rows):
            absent = [name for name, _ in self._schema.fields if name not in sample]
            if absent and row not in problems:
                detail = f"the feature {absent[0]!r} is absent, but must not be (drift.missing)"
                problems[row] = -1, Problem(Reason.MISSING_COLUMN, detail)

    def _field(self, name: object, value: object) -> Field | None:
        if not isinstance(name, str):
            raise TypeError(f"the name {name!r} is not text")
        if self._reading.is_missing(value):
            return None
        if word_of(value, self._reading) is Reason.TYPE:
            raise TypeError(Problem.of_value(Reason.TYPE, name, value).detail)
        text = value.strip(WHITESPACE) if isinstance(value, str) else value
        if (kind := self._columns.kind_for(name)) is None:
            kind = kind_of((text,), typed=self._reading.typed)
            if kind is Kind.CATEGORY and isinstance(text, str) and may_be_time(text):
                logger.warning(UNCLEAR, name, shown(text))
        return Field(name, Kind(kind))

    def _columns_of(self, samples: Sequence[Sample], targets: Sequence[Any] | None) -> Rows:
        problems: Problems = {}
        rows: list[Any] = list(samples)
        if not all(isinstance(sample, Mapping) for sample in rows):
            strange = Problem(Reason.TYPE, "the sample is not a mapping of names to values")
            problems = {i: (-1, strange) for i, s in enumerate(rows) if not isinstance(s, Mapping)}
            rows = [{} if i in problems else sample for i, sample in enumerate(rows)]
        self._absences(rows, problems)
        schema = self._schema
        numbers = np.full((len(rows), len(schema.numbers)), math.nan)
        present = self._present(rows)
        words = []
        at = 0
        for order, (name, kind) in enumerate(schema.fields):
            column = [sample.get(name) for sample in rows] if name in present else None
            if kind in NUMERIC:
                if column is not None:
                    numbers[:, at] = self._numbers(name, kind, column, order, problems)
                at += 1
            elif column is None:
                words.append(np.full(len(rows), None, np.object_))
            else:
                words.append(self._words(name, column, order, problems))
        target = None
        if schema.target is not None:
            given = [s.get(schema.target) for s in rows] if targets is None else list(targets)
            target = self._target(given, problems)
        found = {row: problem for row, (_, problem) in problems.items()}
        return Rows(schema, len(rows), numbers, tuple(words), target, found)

    def _present(self, rows: Sequence[Any]) -> Collection[str]:
        """Names that the samples may have: of thousands that are known a few, or all."""
        few = sum(map(len, rows)) < len(self._schema.fields)
        return set().union(*rows) if few and {dict}.issuperset(map(type, rows)) else self._known

    def _numbers(
        self, name: str, kind: Kind, column: list[Any], order: int, problems: Problems
    ) -> Any:
        types = set(map(type, column))
        if types <= GAPS and (kind is Kind.NUMBER or types <= PLAIN):
            try:
                array = np.array(column, np.float64)  # None becomes NaN
            except OverflowError:
                pass
            else:
                if not np.isinf(array).any():
                    return array if kind is Kind.NUMBER else list(map(seconds_of_number, array))
        read = reader_of(kind)
        reading = self._columns.reading_of(name, self._reading)
        found = [read(value, reading) for value in column]
        return self._separated(name, column, found, order, problems, math.nan)

    def _words(
        self, name: str, column: list[Any], order: int, problems: Problems
    ) -> NDArray[np.object_]:
        missing = self._reading.missing
        if set(map(type, column)) == {str}:
            found = [None if (t := v.strip(WHITESPACE)) in missing else t for v in column]
        else:
            read = [word_of(value, self._reading) for value in column]
            found = self._separated(name, column, read, order, problems, None)
        return column_of(found)

    def _target(self, column: list[Any], problems: Problems) -> NDArray[Any] | None:
        schema = self._schema
        order = len(schema.fields)
        name = str(schema.target)
        if schema.task is Task.REGRESSION:
            if set(map(type, column)) == {float} and all(map(math.isfinite, column)):
                return np.array(column, np.float64)
            reading = self._columns.reading_of(name, self._reading)
            found = [target_number_of(value, reading) for value in column]
            numbers = self._separated(name, column, found, order, problems, math.nan)
            self._require(name, column, [n != n for n in numbers], order, problems)
            return np.array(numbers, np.float64)
        words = self._words(name, column, order, problems)
        self._require(name, column, [word is None for word in words], order, problems)
        return words

    def _require(
        self, name: str, column: list[Any], gaps: list[bool], order: int, problems: Problems
    ) -> None:
        if self._columns.target_optional or True not in gaps:
            return
        for row, gap in enumerate(gaps):
            if gap:
                problem = Problem.of_value(Reason.TARGET_MISSING, name, column[row])
                problems.setdefault(row, (order, problem))

    def _separated(
        self,
        name: str,
        column: list[Any],
        found: Sequence[Any],
        order: int,
        problems: Problems,
        filler: Any,
    ) -> list[Any]:
        """What was found, with a filler where it is a reason; that goes to the problems."""
        for row, value in enumerate(found):
            if isinstance(value, Reason):
                problem = Problem.of_value(value, name, column[row])
                problems.setdefault(row, (order, problem))
        return [filler if isinstance(value, Reason) else value for value in found]


def _pairs(mapping: Mapping[Any, Any]) -> tuple[list[Any], list[Any]]:
    return list(mapping), list(mapping.values())


def _alone(word: str | None) -> NDArray[np.object_]:
    """A column of one word, in a third of the time of `column_of`."""
    column = np.empty(1, np.object_)
    column[0] = word
    return column

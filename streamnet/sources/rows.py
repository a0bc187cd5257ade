"""Dicts as blocks: `RowReader` converts rows to columns and grows the schema as needed."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from math import isfinite
from operator import itemgetter
from typing import Any, NamedTuple, final

import numpy as np
from msgspec import json
from numpy.typing import NDArray

from streamnet.samples import (
    NUMERIC,
    TIMES,
    Block,
    Field,
    Kind,
    Sample,
    Schema,
    Task,
    schema_from_dict,
    schema_to_dict,
)
from streamnet.sources.columns import (
    Columns,
    ParseOptions,
    choose_parser,
    make_object_column,
    parse_number,
    parse_target_number,
    parse_word,
)
from streamnet.sources.dates import is_any_time, number_to_seconds
from streamnet.sources.inference import WHITESPACE, infer_kind
from streamnet.sources.rejection import Reason, Rejection, drop_rejected, shorten, to_text

__all__ = (
    "ConvertedRows",
    "RowConverter",
    "RowReader",
    "copy_sample",
    "select_names",
    "to_mapping",
)


NUMBER_TYPES = {float, int}
AMBIGUOUS_DATE = (
    "%r is taken as words, since %s may be a date in two ways: its kind, day_first or month_first, "
    "tells what comes first"
)
logger = logging.getLogger("streamnet.sources")
LABEL_TYPES = {str, int}  # types of labels that can always be read
GAP_TYPES = {float, int, type(None)}
Problems = dict[int, tuple[int, Rejection]]  # by row: the column that comes first, and what it has


def to_mapping(given: Any) -> Any:
    """A row of a data frame (of pandas) as a dict of its values by name; all else as it is."""
    if isinstance(given, Mapping):
        return given
    is_row = getattr(given, "ndim", None) == 1 and hasattr(given, "to_dict")
    return given.to_dict() if is_row else given


def copy_sample(given: Any) -> Any:
    """A dict that nobody else can change any more; all else as it is.

    Whoever gives samples one after the other may fill the same dict again and again.
    """
    if type(given) is dict:  # most of them, and in a third of the time
        return given.copy()
    return copy(given) if isinstance(given, dict) else given


def select_names(names: Collection[str], row: Any) -> Any:
    """What is known of a sample; whatever is no sample stays, to be complained about."""
    row = to_mapping(row)
    if not isinstance(row, Mapping):
        return row
    return {name: value for name, value in row.items() if name in names}


class ConvertedRows(NamedTuple):
    """Samples as columns; a row in ``problems`` is there, but means nothing."""

    schema: Schema
    used: int  # samples that were read: the next one brings a new feature
    numbers: NDArray[np.float64]
    words: tuple[NDArray[np.object_], ...]
    target: NDArray[Any] | None
    problems: dict[int, Rejection]


@final
class RowConverter:
    """Reads the columns of dicts one after the other and keeps the schema that they have shown."""

    def __init__(self, columns: Columns, reading: ParseOptions) -> None:
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

    def convert(
        self, samples: Sequence[Sample], targets: Sequence[Any] | None = None
    ) -> ConvertedRows:
        """The first samples, up to the one that brings a new feature; at least one.

        Args:
            samples: At least one.
            targets: One a sample, or None: the target is a value of the sample.
        """
        if any(type(sample) is not dict for sample in samples):
            samples = [to_mapping(sample) for sample in samples]
        if targets is not None and self._schema.target is None:
            self.schema = replace(self._schema, target="target")
        if self._schema.target is not None and self._schema.task is None:
            return self._first_target(samples, targets)
        start = self._find_new_field(samples)
        if start == 0:
            return self._grow(samples, targets)
        return self._convert_columns(samples[:start], None if targets is None else targets[:start])

    def none(self) -> ConvertedRows:
        """No samples."""
        return self._convert_columns((), None)

    def word_array(self, text: str) -> NDArray[np.object_]:
        """A column of one text."""
        word = text.strip(WHITESPACE)
        return _single_word_column(None if word in self._reading.missing else word)

    def target_array(self, target: Any) -> NDArray[Any] | None:
        """A column of one target, None if it is missing or can't be read."""
        if type(target) in LABEL_TYPES and self._schema.task is Task.CLASSIFICATION:
            word = parse_word(target, self._reading)
            if word is None or isinstance(word, Reason):
                return None
            return _single_word_column(word)
        problems: Problems = {}
        found = self._target([target], problems)
        return None if problems else found

    def _first_target(
        self, samples: Sequence[Sample], targets: Sequence[Any] | None
    ) -> ConvertedRows:
        """Like `convert` while the task is not known: the first good sample tells it."""
        first: Any = samples[0]
        value = first.get(self._schema.target) if isinstance(first, Mapping) else None
        if targets is not None:
            value = targets[0]
        before = self.schema
        if not self._reading.is_missing(value):
            number = not isinstance(parse_number(value, self._reading), Reason)
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

    def _find_new_field(self, samples: Sequence[Sample]) -> int:
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

    def _grow(self, samples: Sequence[Sample], targets: Sequence[Any] | None) -> ConvertedRows:
        """Like `convert` where the first sample brings features: they count if it is good."""
        before = self.schema
        first = None if targets is None else targets[:1]
        strangers = {k: v for k, v in samples[0].items() if k not in self._known}
        try:
            fields = [f for f in map(self._field, *_split_items(strangers)) if f]
        except TypeError as error:
            rows = self._convert_columns(samples[:1], first)
            return rows._replace(problems={0: Rejection(Reason.TYPE, str(error))})
        unwanted = self._check_new_fields(fields)
        if unwanted is not None:
            rows = self._convert_columns(samples[:1], first)
            return rows._replace(problems={0: unwanted})
        self.schema = before.extended(fields)
        rows = self._convert_columns(samples[:1], first)
        if rows.problems:
            self.schema = before
            return self._convert_columns(samples[:1], first)._replace(problems=rows.problems)
        stop = 1 + self._find_new_field(samples[1:])
        if stop == 1:
            return rows
        return self._convert_columns(samples[:stop], None if targets is None else targets[:stop])

    def _check_new_fields(self, fields: Sequence[Field]) -> Rejection | None:
        """Why a sample must not bring new features, None if it may."""
        most = self._columns.most_fields
        new = f"{fields[0].name!r} is a new feature"
        if self._columns.drift.new in ("reject", "stop") and self._schema.fields:
            return Rejection(Reason.NEW_COLUMN, f"{new}, but there must be none (drift.new)")
        if len(self._schema.fields) + len(fields) > most:
            return Rejection(Reason.FIELDS, f"{new}, but there may be {most} (most_fields)")
        return None

    def _reject_absent(self, rows: Sequence[Any], problems: Problems) -> None:
        """Note the samples that lack a feature, where that is not a missing value."""
        if self._columns.drift.missing not in ("reject", "stop"):
            return
        for row, sample in enumerate(rows):
            absent = [name for name, _ in self._schema.fields if name not in sample]
            if absent and row not in problems:
                detail = f"the feature {absent[0]!r} is absent, but must not be (drift.missing)"
                problems[row] = -1, Rejection(Reason.MISSING_COLUMN, detail)

    def _field(self, name: object, value: object) -> Field | None:
        if not isinstance(name, str):
            raise TypeError(f"the name {name!r} is not text")
        if self._reading.is_missing(value):
            return None
        if parse_word(value, self._reading) is Reason.TYPE:
            raise TypeError(Rejection.for_value(Reason.TYPE, name, value).detail)
        text = value.strip(WHITESPACE) if isinstance(value, str) else value
        if (kind := self._columns.kind_for(name)) is None:
            kind = infer_kind((text,), typed=self._reading.typed)
            if kind is Kind.CATEGORY and isinstance(text, str) and is_any_time(text):
                logger.warning(AMBIGUOUS_DATE, name, shorten(text))
        return Field(name, Kind(kind))

    def _convert_columns(
        self, samples: Sequence[Sample], targets: Sequence[Any] | None
    ) -> ConvertedRows:
        problems: Problems = {}
        rows: list[Any] = list(samples)
        if not all(isinstance(sample, Mapping) for sample in rows):
            strange = Rejection(Reason.TYPE, "the sample is not a mapping of names to values")
            problems = {i: (-1, strange) for i, s in enumerate(rows) if not isinstance(s, Mapping)}
            rows = [{} if i in problems else sample for i, sample in enumerate(rows)]
        self._reject_absent(rows, problems)
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
        return ConvertedRows(schema, len(rows), numbers, tuple(words), target, found)

    def _present(self, rows: Sequence[Any]) -> Collection[str]:
        """Names that the samples may have: of thousands that are known a few, or all."""
        few = sum(map(len, rows)) < len(self._schema.fields)
        return set().union(*rows) if few and {dict}.issuperset(map(type, rows)) else self._known

    def _numbers(
        self, name: str, kind: Kind, column: list[Any], order: int, problems: Problems
    ) -> Any:
        types = set(map(type, column))
        if types <= GAP_TYPES and (kind is Kind.NUMBER or types <= NUMBER_TYPES):
            try:
                array = np.array(column, np.float64)  # None becomes NaN
            except OverflowError:
                pass
            else:
                if not np.isinf(array).any():
                    return array if kind is Kind.NUMBER else list(map(number_to_seconds, array))
        read = choose_parser(kind)
        reading = self._columns.parse_options_for(name, self._reading)
        found = [read(value, reading) for value in column]
        return self._separated(name, column, found, order, problems, math.nan)

    def _words(
        self, name: str, column: list[Any], order: int, problems: Problems
    ) -> NDArray[np.object_]:
        missing = self._reading.missing
        if set(map(type, column)) == {str}:
            found = [None if (t := v.strip(WHITESPACE)) in missing else t for v in column]
        else:
            read = [parse_word(value, self._reading) for value in column]
            found = self._separated(name, column, read, order, problems, None)
        return make_object_column(found)

    def _target(self, column: list[Any], problems: Problems) -> NDArray[Any] | None:
        schema = self._schema
        order = len(schema.fields)
        name = str(schema.target)
        if schema.task is Task.REGRESSION:
            if set(map(type, column)) == {float} and all(map(math.isfinite, column)):
                return np.array(column, np.float64)
            reading = self._columns.parse_options_for(name, self._reading)
            found = [parse_target_number(value, reading) for value in column]
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
                problem = Rejection.for_value(Reason.TARGET_MISSING, name, column[row])
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
                problem = Rejection.for_value(value, name, column[row])
                problems.setdefault(row, (order, problem))
        return [filler if isinstance(value, Reason) else value for value in found]


def _split_items(mapping: Mapping[Any, Any]) -> tuple[list[Any], list[Any]]:
    return list(mapping), list(mapping.values())


def _single_word_column(word: str | None) -> NDArray[np.object_]:
    """A column of one word, in a third of the time of `make_object_column`."""
    column = np.empty(1, np.object_)
    column[0] = word
    return column


PLAIN_TYPES = {float, int}
MARKS_CACHED = 256  # records whose marks are made at a time, for those that come one by one


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
        self._conversion = RowConverter(columns, columns.reading(typed=typed))
        self._name = name
        self._records = 0
        self._fast_schema: Schema | None = None
        self._marks, self._marked = (
            _make_marks(0, MARKS_CACHED),
            0,
        )  # of records from which number on
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
            samples = [select_names(names, sample) for sample in samples]
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
        return {**schema_to_dict(self.schema), "records": self._records}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on where the reader that exported ``state`` stood."""
        self._conversion.schema = schema_from_dict(state)
        self._records = state["records"]
        self._prepare()

    def _read(self, samples: Sequence[Sample], targets: Sequence[Any] | None) -> Block:
        rows = self._conversion.convert(samples, targets)
        if rows.schema is not self._fast_schema:
            self._prepare()
        marks = _make_marks(self._records, rows.used)
        self._records += rows.used
        block = Block(rows.schema, self._name, rows.numbers, rows.words, rows.target, marks)
        letters = {
            row: problem.letter(self._name, marks[row], _encode_sample(samples[row]))
            for row, problem in rows.problems.items()
        }
        return drop_rejected(block, letters)

    def _prepare(self) -> None:
        """Set up the short way for a single sample of finite numbers and texts."""
        schema = self._conversion.schema
        learns = schema.target is not None
        known = schema.task is not None or not learns
        plain = bool(schema.fields) and all(kind not in TIMES for _, kind in schema.fields)
        self._fast_schema = schema if plain and known else None
        self._numbers = _make_getter(schema.numbers)
        self._words = _make_getter(schema.words) if schema.words else None

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
            if not (PLAIN_TYPES.issuperset(map(type, numbers)) and isfinite(sum(numbers))):
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
        if not 0 <= (at := record - self._marked) < MARKS_CACHED:
            self._marks, self._marked, at = _make_marks(record, MARKS_CACHED), record, 0
        self._records = record + 1
        return self._marks[at : at + 2]


def _make_marks(record: int, count: int) -> NDArray[np.int64]:
    """Marks of so many records; see `Block`."""
    marks = np.zeros((count + 1, 3), np.int64)
    marks[:, :2] = np.arange(record, record + count + 1)[:, None]
    return marks


def _make_getter(names: Sequence[str]) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
    """What takes the values of these names out of a sample."""
    if len(names) > 1:
        return itemgetter(*names)
    return partial(_get_values, names)


def _get_values(names: Sequence[str], sample: dict[str, Any]) -> tuple[Any, ...]:
    return tuple([sample[name] for name in names])


def _encode_sample(sample: Any) -> str:
    """The text of a sample for a dead letter: JSON where that can be had."""
    try:
        return json.encode(sample).decode()
    except (TypeError, ValueError, OverflowError, RecursionError):
        return to_text(sample)

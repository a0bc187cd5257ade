"""Rows of Python values as columns: `RowReader` makes blocks and extends the schema as needed."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple, final

import numpy as np
from msgspec import json
from numpy.typing import NDArray

from streamnet.samples import (
    NUMERIC,
    QUANTITIES,
    TIMES,
    Block,
    DeadLetter,
    Field,
    Kind,
    Sample,
    Schema,
    SparseRows,
    Task,
    make_marks,
    schema_from_dict,
    schema_to_dict,
)
from streamnet.sources.base import Reason, Rejection, drop_rejected, shorten, to_text
from streamnet.sources.columns import (
    Columns,
    ParseOptions,
    choose_parser,
    make_object_column,
    parse_number,
    parse_target_number,
    parse_word,
)
from streamnet.sources.inference import WHITESPACE, infer_kind, is_any_time, number_to_seconds
from streamnet.sources.number_styles import parse_marked_number

NUMBER_TYPES = {float, int}
GAP_TYPES = {float, int, type(None)}
LABEL_TYPES = {str, int}  # types of labels that can always be parsed
MARKS_CACHED = 256  # records whose marks are made at a time, for samples that come one by one
AMBIGUOUS_DATE = (
    "%r is taken as words, since %s may be a date in two ways: its kind, day_first or month_first, "
    "tells what comes first"
)

logger: logging.Logger = logging.getLogger("streamnet.sources")

Problems = dict[int, tuple[int, Rejection]]
"""By row, the problem of the first column that has one, and the order of that column."""


def note_problem(problems: Problems, row: int, order: int, problem: Rejection) -> None:
    """Keep the problem of a row unless an earlier column has one."""
    if row not in problems or order < problems[row][0]:
        problems[row] = order, problem


def note_missing_targets(
    problems: Problems,
    name: str,
    rows: Sequence[int],
    order: int,
    values: Sequence[object] | None = None,
) -> None:
    """Note that these rows have no target; ``values`` has what stands in its place, by row."""
    for row in rows:
        value = None if values is None else values[row]
        problem = Rejection.for_value(Reason.TARGET_MISSING, name, value)
        note_problem(problems, row, order, problem)


@final
class ColumnParser:
    """Parses columns of Python values and notes which rows have a problem.

    >>> problems: Problems = {}
    >>> parser = ColumnParser(Columns(), Columns().parse_options())
    >>> parser.numbers("x", Kind.NUMBER, ["1.5", None, "a"], 0, problems)
    [1.5, nan, nan]
    >>> problems[2][1].detail
    "column 'x' has 'a', which is not a number"
    """

    def __init__(self, columns: Columns, options: ParseOptions) -> None:
        self._columns = columns
        self.options = options

    def numbers(
        self, name: str, kind: Kind, values: Sequence[Any], order: int, problems: Problems
    ) -> NDArray[np.float64] | list[float]:
        """Numbers or seconds, shape=(n,); NaN where missing or invalid, which is noted.

        ``order`` is the place of the column among all columns: the first problem of a row counts.
        """
        types = set(map(type, values))
        if types <= GAP_TYPES and (kind in QUANTITIES or types <= NUMBER_TYPES):
            try:
                array = np.array(values, np.float64)  # None becomes NaN
            except OverflowError:
                pass
            else:
                if not np.isinf(array).any():
                    return array if kind in QUANTITIES else list(map(number_to_seconds, array))
        parse = choose_parser(kind)
        options = self._columns.parse_options_for(name, self.options)
        found = [parse(value, options) for value in values]
        return self._replace_invalid(name, values, found, order, problems, math.nan)

    def words(
        self, name: str, values: Sequence[Any], order: int, problems: Problems
    ) -> NDArray[np.object_]:
        """Words or texts, shape=(n,); None where missing or invalid."""
        missing = self.options.missing
        if set(map(type, values)) == {str}:
            found = [None if (t := v.strip(WHITESPACE)) in missing else t for v in values]
        else:
            parsed = [parse_word(value, self.options) for value in values]
            found = self._replace_invalid(name, values, parsed, order, problems, None)
        return make_object_column(found)

    def target(self, schema: Schema, values: Sequence[Any], problems: Problems) -> NDArray[Any]:
        """The targets, in the last column, shape=(n,): float64 for a regression, else objects."""
        name = str(schema.target)
        order = len(schema.fields)
        target: NDArray[Any]
        if schema.task is Task.REGRESSION:
            if set(map(type, values)) == {float} and all(map(math.isfinite, values)):
                return np.array(values, np.float64)
            options = self._columns.parse_options_for(name, self.options)
            found = [parse_target_number(value, options) for value in values]
            numbers = self._replace_invalid(name, values, found, order, problems, math.nan)
            gaps = [row for row, number in enumerate(numbers) if number != number]
            target = np.array(numbers, np.float64)
        else:
            target = self.words(name, values, order, problems)
            gaps = [row for row, word in enumerate(target) if word is None]
        if gaps and self._columns.labels_required:
            note_missing_targets(problems, name, gaps, order, values)
        return target

    @staticmethod
    def _replace_invalid(
        name: str,
        values: Sequence[Any],
        parsed: Sequence[Any],
        order: int,
        problems: Problems,
        filler: Any,
    ) -> list[Any]:
        """Replace each `Reason` by a filler, and note it as the problem of its row."""
        for row, value in enumerate(parsed):
            if isinstance(value, Reason):
                note_problem(problems, row, order, Rejection.for_value(value, name, values[row]))
        return [filler if isinstance(value, Reason) else value for value in parsed]


def to_mapping(given: Any) -> Any:
    """Convert a row of a pandas data frame to a dict by name; return anything else as it is."""
    if isinstance(given, Mapping):
        return given
    is_row = getattr(given, "ndim", None) == 1 and hasattr(given, "to_dict")
    return given.to_dict() if is_row else given


def copy_sample(given: Any) -> Any:
    """Copy a sample that is a dict; return anything else as it is.

    A producer of samples may reuse one dict for all of them.
    """
    if type(given) is dict:  # the usual case, in a third of the time
        return given.copy()
    return copy(given) if isinstance(given, dict) else given


def select_names(names: Collection[str], row: Any) -> Any:
    """Keep the values of a sample whose names are known; return anything else as it is."""
    row = to_mapping(row)
    if not isinstance(row, Mapping):
        return row
    return {name: value for name, value in row.items() if name in names}


class ConvertedRows(NamedTuple):
    """Samples as columns. A row in ``problems`` is present, but its values are meaningless."""

    schema: Schema
    used: int  # samples that were converted: the next one has a new feature
    numbers: NDArray[np.float64]
    words: tuple[NDArray[np.object_], ...]
    target: NDArray[Any] | None
    problems: Problems
    sparse: SparseRows | None = None

    def block(
        self,
        source: str,
        marks: NDArray[np.int64],
        raw: Callable[[int], str | bytes],
        letters: Mapping[int, DeadLetter] | None = None,
    ) -> Block:
        """Make a block; rows with problems, and those in ``letters``, are rejected records."""
        rejected = dict(letters or {})
        for row, (_, problem) in self.problems.items():
            if row not in rejected:
                rejected[row] = problem.letter(source, marks[row], raw(row))
        columns = self.numbers, self.words, self.target
        return drop_rejected(Block(self.schema, source, *columns, marks, self.sparse), rejected)


@final
class RowConverter:
    """Converts dicts column by column and keeps the schema found so far.

    Features that are ``undecided`` had no value yet: they extend the schema with their first one,
    whatever is done with new features.
    """

    def __init__(
        self, columns: Columns, options: ParseOptions, undecided: Iterable[str] = ()
    ) -> None:
        self.undecided: frozenset[str] = frozenset(undecided)
        self._columns = columns
        self._options = options
        self._parser = ColumnParser(columns, options)
        known = columns.schema
        fields = () if known is None else known.fields
        self.schema = Schema(fields, columns.target, columns.task)

    @property
    def schema(self) -> Schema:
        """The columns found so far."""
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
        """Convert the first samples, up to the next one with a new feature; at least one if any.

        ``targets`` has one target per sample; None takes them from the samples.
        """
        if not samples:
            return self._convert_columns((), None)
        if any(type(sample) is not dict for sample in samples):
            samples = [to_mapping(sample) for sample in samples]
        if targets is not None and self._schema.target is None:
            self.schema = replace(self._schema, target="target")
        if self._schema.target is not None and self._schema.task is None:
            return self._infer_task(samples, targets)
        start = self._find_new_field(samples)
        if start == 0:
            return self._grow(samples, targets)
        return self._convert_columns(samples[:start], None if targets is None else targets[:start])

    def word_array(self, text: str) -> NDArray[np.object_]:
        """Convert one text to a column."""
        word = text.strip(WHITESPACE)
        return _single_word_column(None if word in self._options.missing else word)

    def target_array(self, target: Any) -> NDArray[Any] | None:
        """Convert one target to a column; None if it is missing or invalid."""
        if type(target) in LABEL_TYPES and self._schema.task is Task.CLASSIFICATION:
            word = parse_word(target, self._options)
            if word is None or isinstance(word, Reason):
                return None
            return _single_word_column(word)
        problems: Problems = {}
        found = self._parser.target(self._schema, [target], problems)
        return None if problems else found

    def _infer_task(
        self, samples: Sequence[Sample], targets: Sequence[Any] | None
    ) -> ConvertedRows:
        """Like `convert` while the task is unknown: the first valid target decides it."""
        first: Any = samples[0]
        value = first.get(self._schema.target) if isinstance(first, Mapping) else None
        if targets is not None:
            value = targets[0]
        missing = self._options.is_missing(value)
        if missing:
            samples, targets = samples[:1], None if targets is None else targets[:1]
        number = not isinstance(parse_number(value, self._options), Reason)
        real = not missing and number and isinstance(value, float | np.floating)
        task = Task.REGRESSION if real else Task.CLASSIFICATION
        self.schema = replace(self.schema, task=task)
        rows = self.convert(samples, targets)
        if missing or 0 in rows.problems:
            self.schema = replace(rows.schema, task=None)
            return rows._replace(schema=self.schema)
        return rows

    def _find_new_field(self, samples: Sequence[Sample]) -> int:
        """Index of the first sample with a new feature; the number of samples if there is none."""
        if self._is_closed and not self.undecided:
            return len(samples)
        given: Sequence[Any] = samples
        for row, sample in enumerate(given):
            # Anything else is rejected when it is converted; a data frame has keys, too.
            if type(sample) is not dict and not isinstance(sample, Mapping):
                continue
            if sample.keys() <= self._known:
                continue
            if not all(map(self._options.is_missing, self._select_unknown(sample).values())):
                return row
        return len(samples)

    @property
    def _is_closed(self) -> bool:
        """Whether features that are not known are left out."""
        return not self._columns.grows and bool(self._columns.schema or self._schema.fields)

    def _select_unknown(self, sample: Sample) -> dict[str, Any]:
        """The features of a sample that may extend the schema."""
        there = self.undecided.intersection(sample) if self._is_closed else sample
        return {name: sample[name] for name in there if name not in self._known}

    def _grow(self, samples: Sequence[Sample], targets: Sequence[Any] | None) -> ConvertedRows:
        """Like `convert` where the first sample has new features: they count if it is valid."""
        before = self.schema
        first = None if targets is None else targets[:1]
        fields = self._infer_new_fields(samples[0])
        if isinstance(fields, Rejection):
            rows = self._convert_columns(samples[:1], first)
            return rows._replace(problems={0: (-1, fields)})
        self.schema = before.extended(fields)
        rows = self._convert_columns(samples[:1], first)
        if rows.problems:
            self.schema = before
            return self._convert_columns(samples[:1], first)._replace(problems=rows.problems)
        self.undecided -= {field.name for field in fields}
        stop = 1 + self._find_new_field(samples[1:])
        if stop == 1:
            return rows
        return self._convert_columns(samples[:stop], None if targets is None else targets[:stop])

    def _infer_new_fields(self, sample: Sample) -> list[Field] | Rejection:
        """The new features of a sample, or why it must not bring them."""
        unknown = self._select_unknown(sample)
        try:
            fields = [f for f in map(self._infer_field, unknown, unknown.values()) if f]
        except TypeError as error:
            return Rejection(Reason.TYPE, str(error))
        if not fields:
            return []
        most = self._columns.most_fields
        names = [field.name for field in fields]
        new = f"{names[0]!r} is a new feature"
        forbidden = self._columns.drift.new in ("reject", "stop") and self._schema.fields
        if forbidden and not self.undecided.issuperset(names):
            return Rejection(Reason.NEW_COLUMN, f"{new}, but there must be none (drift.new)")
        if len(self._schema.fields) + len(fields) > most:
            return Rejection(Reason.FIELDS, f"{new}, but there may be {most} (most_fields)")
        return fields

    def _reject_absent(self, rows: Sequence[Any], problems: Problems) -> None:
        """Note samples without a feature, where an absent one is not a missing value."""
        if self._columns.drift.missing not in ("reject", "stop"):
            return
        for row, sample in enumerate(rows):
            absent = [name for name, _ in self._schema.fields if name not in sample]
            if absent and row not in problems:
                detail = f"the feature {absent[0]!r} is absent, but must not be (drift.missing)"
                problems[row] = -1, Rejection(Reason.MISSING_COLUMN, detail)

    def _infer_field(self, name: object, value: object) -> Field | None:
        if not isinstance(name, str):
            raise TypeError(f"the name {name!r} is not text")
        if self._options.is_missing(value):
            return None
        if parse_word(value, self._options) is Reason.TYPE:
            raise TypeError(Rejection.for_value(Reason.TYPE, name, value).detail)
        text = value.strip(WHITESPACE) if isinstance(value, str) else value
        if (kind := self._columns.kind_for(name)) is None:
            if (kind := infer_kind((text,), typed=self._options.typed)) is None:
                return None
            if kind not in NUMERIC and self._is_marked_number(text):
                return Field(name, Kind.NUMBER)
            if kind is Kind.CATEGORY and isinstance(text, str) and is_any_time(text):
                logger.warning(AMBIGUOUS_DATE, name, shorten(text))
        return Field(name, Kind(kind))

    def _is_marked_number(self, value: object) -> bool:
        """Whether a value is the text of a number with marks, such as $1,234.50."""
        if self._options.typed or not isinstance(value, str):
            return False
        return parse_marked_number(value, self._options.thousands) is not None

    def _convert_columns(
        self, samples: Sequence[Sample], targets: Sequence[Any] | None
    ) -> ConvertedRows:
        problems: Problems = {}
        rows: list[Any] = list(samples)
        if not all(isinstance(sample, Mapping) for sample in rows):
            invalid = Rejection(Reason.TYPE, "the sample is not a mapping of names to values")
            problems = {i: (-1, invalid) for i, s in enumerate(rows) if not isinstance(s, Mapping)}
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
                    numbers[:, at] = self._parser.numbers(name, kind, column, order, problems)
                at += 1
            elif column is None:
                words.append(np.full(len(rows), None, np.object_))
            else:
                words.append(self._parser.words(name, column, order, problems))
        target = None
        if schema.target is not None:
            given = [s.get(schema.target) for s in rows] if targets is None else list(targets)
            target = self._parser.target(schema, given, problems)
        return ConvertedRows(schema, len(rows), numbers, tuple(words), target, problems)

    def _present(self, rows: Sequence[Any]) -> Collection[str]:
        """Names to look up: those in the samples if they are few, else all known ones."""
        few = sum(map(len, rows)) < len(self._schema.fields)
        return set().union(*rows) if few and {dict}.issuperset(map(type, rows)) else self._known


def _single_word_column(word: str | None) -> NDArray[np.object_]:
    """Like `make_object_column` for one word, in a third of the time."""
    column = np.empty(1, np.object_)
    column[0] = word
    return column


@final
class RowReader:
    """Converts dicts to blocks; new features extend the schema unless it is ``closed``.

    The kind of a feature is inferred from its first value that is not missing: a number, a time, a
    category or a text. None, NaN and the texts of ``columns.missing`` are missing values. If no
    task is given, the first target decides it: a float means regression, anything else
    classification. Samples with invalid values, or with more than ``columns.most_fields`` features,
    raise nothing: they are in `Block.rejected` and do not change the schema.

    >>> reader = RowReader(Columns(target="y"))
    >>> block = reader.read([{"age": 39, "job": "clerk", "y": True}])
    >>> block.numbers, block.words[0].tolist(), block.target.tolist()
    (array([[39.]]), ['clerk'], ['true'])
    """

    def __init__(
        self, columns: Columns, *, name: str = "rows", typed: bool = False, closed: bool = False
    ) -> None:
        self._closed = closed
        self._conversion = RowConverter(columns, columns.parse_options(typed=typed))
        self._name = name
        self._records = 0
        self._fast_schema: Schema | None = None
        self._marks = make_marks(0, MARKS_CACHED)
        self._marked = 0  # record of the first mark
        self._prepare()

    @property
    def schema(self) -> Schema:
        """The columns found so far."""
        return self._conversion.schema

    @property
    def records(self) -> int:
        """Number of samples read so far, including rejected ones."""
        return self._records

    def read(self, samples: Sequence[Sample], targets: Sequence[Any] | None = None) -> Block:
        """Convert the first of these samples to a block: those before the schema grows again.

        A single sample is always converted. Of several, the block ends before the second sample
        that has new features, or before the first unless it is ``samples[0]``.
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
        """Convert all samples: one block, and another one each time the schema grows."""
        start = 0
        while start < len(samples):
            before = self._records
            yield self.read(samples[start:], None if targets is None else targets[start:])
            start += self._records - before

    def set_fields(self, fields: tuple[Field, ...]) -> None:
        """Replace the features of the schema."""
        self._conversion.schema = replace(self.schema, fields=fields)
        self._prepare()

    def export_state(self) -> dict[str, Any]:
        """The schema and the number of the next sample."""
        return {**schema_to_dict(self.schema), "records": self._records}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Continue from the state that another reader exported."""
        self._conversion.schema = schema_from_dict(state)
        self._records = state["records"]
        self._prepare()

    def _read(self, samples: Sequence[Sample], targets: Sequence[Any] | None) -> Block:
        rows = self._conversion.convert(samples, targets)
        if rows.schema is not self._fast_schema:
            self._prepare()
        marks = make_marks(self._records, rows.used)
        self._records += rows.used
        return rows.block(self._name, marks, lambda row: _encode_sample(samples[row]))

    def _prepare(self) -> None:
        """Set up the fast path for a single sample of finite numbers and texts."""
        schema = self._conversion.schema
        known = schema.task is not None or schema.target is None
        plain = bool(schema.fields) and all(kind not in TIMES for _, kind in schema.fields)
        self._fast_schema = schema if plain and known else None
        self._numbers = _make_getter(schema.numbers)
        self._words = _make_getter(schema.words) if schema.words else None

    def _read_one(self, sample: Sample, targets: Sequence[Any] | None) -> Block | None:
        """Convert a dict of finite numbers and texts; None for anything else."""
        if type(sample) is not dict:
            return None  # such as a Counter, which has a value for every name
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
            # A sum is finite only if each of its terms is.
            if not (NUMBER_TYPES.issuperset(map(type, numbers)) and math.isfinite(sum(numbers))):
                return None
            array = np.array((numbers,), np.float64)
            words: tuple[NDArray[np.object_], ...] = ()
            if self._words is not None:
                words = tuple(map(self._conversion.word_array, self._words(sample)))
        except (KeyError, TypeError, OverflowError, AttributeError):
            return None
        return Block(schema, self._name, array, words, target, self._next_marks())

    def _next_marks(self) -> NDArray[np.int64]:
        """Count one record and return its marks."""
        record = self._records
        if not 0 <= (at := record - self._marked) < MARKS_CACHED:
            self._marks, self._marked, at = make_marks(record, MARKS_CACHED), record, 0
        self._records = record + 1
        return self._marks[at : at + 2]


def _make_getter(names: Sequence[str]) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
    """Make a function that gets the values of these names from a sample."""
    if len(names) > 1:
        return itemgetter(*names)
    return partial(_get_values, names)


def _get_values(names: Sequence[str], sample: dict[str, Any]) -> tuple[Any, ...]:
    return tuple([sample[name] for name in names])


def _encode_sample(sample: Any) -> str:
    """The text of a sample for a dead letter: JSON if possible."""
    try:
        return json.encode(sample).decode()
    except (TypeError, ValueError, OverflowError, RecursionError):
        return to_text(sample)

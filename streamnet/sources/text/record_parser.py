"""Parses the records of delimited text to blocks."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from streamnet.samples import TIMES, Block, Kind, Schema, Task
from streamnet.sources.base import Reason, Rejection, shorten
from streamnet.sources.columns import Columns, choose_parser, make_object_column
from streamnet.sources.inference import is_not_finite, is_number
from streamnet.sources.number_styles import NumberStyle, find_style
from streamnet.sources.rows import ConvertedRows, Problems, note_missing_targets, note_problem
from streamnet.sources.text.fields import FieldReader, Fields, factorize
from streamnet.sources.text.records import Chunk, RecordRules

logger: logging.Logger = logging.getLogger("streamnet.sources")

Column = NDArray[np.object_]  # of words: each a str, or None if missing

MAX_CACHED_WORDS = 4096  # distinct words of a column that are cached, to share equal objects


class _WordCache(dict[bytes, str | None]):
    """The words of a column by their bytes, decoded when they are looked up."""

    def __init__(self, missing: frozenset[str]) -> None:
        super().__init__()
        self._missing = missing

    def __missing__(self, raw: bytes) -> str | None:
        text = raw.decode()
        word = self[raw] = None if text in self._missing else text
        return word


@final
class RecordParser:
    """Parses the records of a file to blocks.

    Times and labels are parsed as words first, and the target of a regression as another number.
    Columns that are ``undecided`` had no value yet; only their first value is looked for. Columns
    whose numbers have marks have a style. A column of words that becomes one of numbers causes a
    warning.
    """

    def __init__(
        self,
        names: Sequence[str],
        schema: Schema,
        columns: Columns,
        rules: RecordRules,
        decimal: str = ".",
        undecided: Sequence[str] = (),
        styles: Mapping[str, NumberStyle] = MappingProxyType({}),
    ) -> None:
        kinds = dict(schema.fields)
        # With another decimal separator, even numbers without marks would be misread.
        foreign = [name for name, style in styles.items() if style.decimal != decimal]
        later = [name for name in schema.numbers if kinds[name] in TIMES or name in foreign]
        self._numbers = [name for name in schema.numbers if name not in later]
        self._words = [*schema.words, *later]
        self._is_target_number = schema.task is Task.REGRESSION and schema.target not in foreign
        if schema.target is not None:
            (self._numbers if self._is_target_number else self._words).append(schema.target)
        self._schema = schema
        self._undecided = undecided
        self._styles = styles
        self._kinds = kinds
        self._columns = columns
        self._options = columns.parse_options()
        self._gaps = frozenset(text.lower() for text in columns.missing)
        self._decimal = decimal
        self._order = _index_names(names)
        self._number_index, self._word_index = map(_index_names, (self._numbers, self._words))
        given = {*columns.kinds, *columns.known, *later, schema.target}
        doubted = [n for n in self._words if n not in given and columns.schema is None]
        self._watches = {name: NumberWatch(name) for name in doubted}
        self._caches = [_WordCache(self._options.missing) for _ in self._words]
        self._factorized = [kinds.get(name, Kind.CATEGORY) is Kind.CATEGORY for name in self._words]
        plan = np.full(len(names), -1, np.int64)
        for column, name in enumerate(self._numbers):
            plan[self._order[name]] = column
        for column, name in enumerate((*self._words, *undecided)):
            plan[self._order[name]] = FieldReader.word(column)
        markers = [text.encode() for text in columns.missing]
        self._reader = FieldReader(plan, rules.delimiter, rules.quote, markers, ord(decimal))
        self._doubled = bytes([rules.quote] * 2) if rules.quote >= 0 else b""

    def read(self, chunk: Chunk) -> Fields:
        """Find the fields of the records of a chunk."""
        return self._reader.read(chunk.data, chunk.records, chunk.good())

    def find_first_value(self, chunk: Chunk, fields: Fields) -> tuple[int, dict[str, str]] | None:
        """Find the first record in which undecided columns have a value, and these values."""
        found: dict[int, dict[str, str]] = {}
        for column, name in enumerate(self._undecided, start=len(self._words)):
            spans = fields.span[column]
            for row in np.flatnonzero(spans[:, 0] < spans[:, 1]).tolist():
                text = chunk.data[slice(*spans[row])].decode()
                if not (text.lower() in self._gaps or is_not_finite(text)):
                    found.setdefault(row, {})[name] = text
                    break
        return min(found.items(), default=None)

    def parse(self, chunk: Chunk, fields: Fields) -> Block:
        """Parse the fields of the records of a chunk."""
        good = chunk.good()
        problems: Problems = {}
        self._note_bad_numbers(chunk, fields, problems)
        words = [self._column(chunk, fields, at) for at in range(len(self._words))]
        for name, watch in self._watches.items():
            watch.look_at(chunk.source, words[self._word_index[name]])
        schema = self._schema
        numbers = fields.numbers
        if len(self._numbers) != len(schema.numbers) or len(self._words) > len(schema.words):
            numbers = self._arrange_numbers(fields, words, good, problems)
        target = self._target(fields, words, good, problems)
        columns = tuple(words[: len(schema.words)])
        return chunk.block(ConvertedRows(schema, len(chunk), numbers, columns, target, problems))

    def _note_bad_numbers(self, chunk: Chunk, fields: Fields, problems: Problems) -> None:
        for bad in fields.bad_numbers:
            name = self._numbers[bad.column]
            text = chunk.data[bad.begin : bad.end].decode()
            number = None if bad.huge else self._parse_marked(name, text)
            if number is not None:
                fields.numbers[bad.row, bad.column] = number
                continue
            reason = Reason.NUMBER
            if bad.huge or is_not_finite(text):
                reason = Reason.NOT_FINITE
            if name == self._schema.target:
                reason = Reason.TARGET_NUMBER
            problem = Rejection.for_value(reason, name, text)
            if not bad.huge and is_number(text):  # such as 1.5 where decimals have commas
                rule = "which is not a number with a decimal comma"
                problem = Rejection(reason, f"column {name!r} has {shorten(text)}, {rule}")
            note_problem(problems, bad.row, self._order[name], problem)

    def _parse_marked(self, name: str, text: str) -> float | None:
        """Parse a number with marks; None if it is not a finite number in the column's style."""
        style = self._styles.get(name)
        if style is None:
            given = self._columns.thousands
            style = find_style((text,), thousands=given, decimal=self._decimal)
        number = None if style is None else style.normalize(text)
        value = math.nan if number is None else float(number)
        return value if math.isfinite(value) else None

    def _column(self, chunk: Chunk, fields: Fields, column: int) -> Column:
        """Parse the words of a column; None where missing."""
        data, spans, escaped = chunk.data, fields.span[column], fields.escaped[column]
        if escaped.any():
            return make_object_column(self._escaped_texts(data, spans, escaped))
        found = factorize(data, spans) if self._factorized[column] else None
        if found is None:
            self._factorized[column] = False
            return make_object_column(self._texts(data, spans, column))
        first, number = found
        few: Column = make_object_column(self._texts(data, spans[first], column))[number]
        return few

    def _texts(self, data: bytes, spans: NDArray[np.int64], column: int) -> list[str | None]:
        cache = self._caches[column]
        if len(cache) > MAX_CACHED_WORDS:
            cache.clear()
        ends = spans[:, 1].tolist()
        raws = [data[begin:end] for begin, end in zip(spans[:, 0].tolist(), ends, strict=True)]
        return list(map(cache.__getitem__, raws))

    def _escaped_texts(
        self, data: bytes, spans: NDArray[np.int64], escaped: NDArray[np.uint8]
    ) -> list[str | None]:
        single = self._doubled[:1]
        words: list[str | None] = []
        for (begin, end), doubled in zip(spans.tolist(), escaped.tolist(), strict=True):
            raw = data[begin:end]
            text = (raw.replace(self._doubled, single) if doubled else raw).decode()
            words.append(None if text in self._options.missing else text)
        return words

    def _arrange_numbers(
        self, fields: Fields, words: list[Column], good: NDArray[np.bool_], problems: Problems
    ) -> NDArray[np.float64]:
        """Put numbers and times in the order of the schema."""
        names = self._schema.numbers
        numbers = np.empty((len(good), len(names)), np.float64)
        for at, name in enumerate(names):
            if name in self._number_index:
                numbers[:, at] = fields.numbers[:, self._number_index[name]]
            else:
                column = words[self._word_index[name]]
                parse = self._times if self._kinds[name] in TIMES else self._marked_numbers
                numbers[:, at] = parse(name, column, good, problems)
        return numbers

    def _times(
        self, name: str, column: Column, good: NDArray[np.bool_], problems: Problems
    ) -> list[float]:
        seconds, parse = [np.nan] * len(column), choose_parser(self._kinds[name])
        for row, text in enumerate(column.tolist()):
            if text is None or not good[row]:
                continue
            moment = parse(text, self._options)
            if isinstance(moment, Reason):  # a number: the comma of "April 3, 2026" is no decimal
                moment = parse(text.replace(self._decimal, "."), self._options)
            if isinstance(moment, Reason):
                problem = Rejection.for_value(moment, name, text)
                note_problem(problems, row, self._order[name], problem)
            else:
                seconds[row] = moment
        return seconds

    def _marked_numbers(
        self, name: str, column: Column, good: NDArray[np.bool_], problems: Problems
    ) -> list[float]:
        numbers = [np.nan] * len(column)
        wrong = Reason.TARGET_NUMBER if name == self._schema.target else Reason.NUMBER
        for row, text in enumerate(column.tolist()):
            if text is None or not good[row] or text.lower() in self._gaps:
                continue
            number = self._parse_marked(name, text)
            if number is None:
                problem = Rejection.for_value(wrong, name, text)
                note_problem(problems, row, self._order[name], problem)
            else:
                numbers[row] = number
        return numbers

    def _target(
        self, fields: Fields, words: list[Column], good: NDArray[np.bool_], problems: Problems
    ) -> NDArray[Any] | None:
        name = self._schema.target
        if name is None:
            return None
        numeric = self._schema.task is Task.REGRESSION
        target: NDArray[Any] = fields.numbers[:, -1].copy() if self._is_target_number else words[-1]
        if numeric and not self._is_target_number:
            target = np.array(self._marked_numbers(name, target, good, problems))
        if self._columns.labels_required:
            gaps = np.isnan(target) if numeric else [word is None for word in target.tolist()]
            rows = np.flatnonzero(gaps & good).tolist()
            note_missing_targets(problems, name, rows, self._order[name])
        return target


WATCHED_ROWS = 128  # of a block, far apart
WATCHED_VALUES = 200  # from which a column is judged
MAX_NUMBERS_AT_FIRST = 0.5  # of the first values of a column of words
MIN_NUMBERS_NOW = 0.95  # of later ones, if the column has changed


@final
class NumberWatch:
    """Warns, once, that a column of words has become one of numbers.

    Some values of each block are looked at; what is read does not depend on them.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._seen = self._numbers = 0  # values of the current stretch, and numbers among them
        self._is_first = True  # whether that is the first stretch
        self._done = False

    def look_at(self, source: str, words: Column) -> None:
        """Look at some values of a block of the column."""
        if self._done:
            return
        some = words[:: 1 + len(words) // WATCHED_ROWS].tolist()
        known = [word for word in some if word is not None]
        self._seen += len(known)
        self._numbers += sum(map(is_number, known))
        if self._seen < WATCHED_VALUES:
            return
        share = self._numbers / self._seen
        if self._is_first:
            self._done = share > MAX_NUMBERS_AT_FIRST
        elif share >= MIN_NUMBERS_NOW:
            self._done = True
            rule = (
                "%s: column %r is taken as words, as its first values are, but by now its values "
                "are numbers, such as %s: --kind %s=number reads them"
            )
            logger.warning(rule, source, self._name, shorten(known[-1]), self._name)
        self._is_first = False
        self._seen = self._numbers = 0


def _index_names(names: Sequence[str]) -> dict[str, int]:
    """The index of each name; searching for each of thousands would take quadratic time."""
    return {name: index for index, name in enumerate(names)}

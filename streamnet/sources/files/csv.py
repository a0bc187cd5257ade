"""CSV, TSV and other delimited text."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError, DataError, SchemaError
from streamnet.samples import TIMES, Block, Kind, Schema, Task
from streamnet.sources.columns import (
    LAST_COLUMN,
    Columns,
    choose_parser,
    format_names,
    make_missing_column_error,
    make_object_column,
)
from streamnet.sources.inference import infer_kind, infer_task, is_not_finite, is_number
from streamnet.sources.rejection import Reason, Rejection, shorten
from streamnet.sources.text.dialect import (
    DELIMITERS,
    HeadTable,
    detect_decimal,
    has_header,
    normalize_decimals,
    rank_delimiters,
    read_sep_line,
    split_head,
)
from streamnet.sources.text.fields import FieldReader, Fields, factorize, load_kernel
from streamnet.sources.text.format import MAX_RECORD_BYTES, Chunk, Head, TextFormat
from streamnet.sources.text.inference_warnings import (
    warn_of_misread_columns,
    warn_of_thousands_separators,
)
from streamnet.sources.text.records import RecordRules, Records

__all__ = (
    "CsvFormat",
    "RecordParser",
    "load_kernels",
)


Column = NDArray[np.object_]  # of words: each a str, or None where missing

MAX_CACHED_WORDS = (
    4096  # different words of a column that are kept, so that equal ones are one object
)


class _WordCache(dict[bytes, str | None]):
    """The words of a column by their bytes; one that is looked up is there."""

    def __init__(self, missing: frozenset[str]) -> None:
        super().__init__()
        self._gaps = missing

    def __missing__(self, raw: bytes) -> str | None:
        text = raw.decode()
        word = self[raw] = None if text in self._gaps else text
        return word


@final
class RecordParser:
    """Makes blocks of the records of a file whose columns have these names, in this order.

    Times and labels are read as words first, the target of a regression as one more number.
    """

    def __init__(
        self,
        names: Sequence[str],
        schema: Schema,
        columns: Columns,
        rules: RecordRules,
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
        self._order = _index_names(names)
        self._number_of, self._word_of = _index_names(self._numbers), _index_names(self._words)
        self._memory = [_WordCache(self._reading.missing) for _ in self._words]
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

    def _troubles(
        self, chunk: Chunk, fields: Fields
    ) -> Iterator[tuple[int, tuple[int, Rejection]]]:
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
            problem = Rejection.for_value(reason, name, text)
            if not trouble.huge and is_number(text):  # 1.5 among decimal commas
                rule = "which is not a number with a decimal comma"
                problem = Rejection(reason, f"column {name!r} has {shorten(text)}, {rule}")
            yield trouble.row, (order[name], problem)

    def _column(self, chunk: Chunk, fields: Fields, column: int) -> Column:
        """The words of a column, None where missing."""
        data, spans, escaped = chunk.data, fields.span[column], fields.escaped[column]
        if escaped.any():
            return make_object_column(self._escaped_texts(data, spans, escaped))
        found = factorize(data, spans) if self._few[column] else None
        if found is None:
            self._few[column] = False
            return make_object_column(self._texts(data, spans, column))
        first, number = found
        few: Column = make_object_column(self._texts(data, spans[first], column))[number]
        return few

    def _texts(self, data: bytes, spans: NDArray[np.int64], column: int) -> list[str | None]:
        memory = self._memory[column]
        if len(memory) > MAX_CACHED_WORDS:
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
        found: dict[int, tuple[int, Rejection]],
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
        found: dict[int, tuple[int, Rejection]],
    ) -> list[float]:
        seconds, read = [np.nan] * len(column), choose_parser(self._kinds[name])
        for row, text in enumerate(column.tolist()):
            if text is None or not good[row]:
                continue
            moment = read(text, self._reading)
            if isinstance(moment, Reason):  # of seconds, as a comma is no point in April 3, 2026
                moment = read(text.replace(self._decimal, "."), self._reading)
            if isinstance(moment, Reason):
                problem = Rejection.for_value(moment, name, text)
                self._note(found, row, self._order[name], problem)
            else:
                seconds[row] = moment
        return seconds

    def _target(
        self,
        fields: Fields,
        words: list[Column],
        good: NDArray[np.bool_],
        found: dict[int, tuple[int, Rejection]],
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
            problem = Rejection.for_value(Reason.TARGET_MISSING, name, None)
            for row in np.flatnonzero(gaps & good).tolist():
                self._note(found, row, self._order[name], problem)
        return target

    @staticmethod
    def _note(
        found: dict[int, tuple[int, Rejection]], row: int, order: int, problem: Rejection
    ) -> None:
        """Keep the problem of the column that comes first."""
        if row not in found or order < found[row][0]:
            found[row] = order, problem


def _index_names(names: Sequence[str]) -> dict[str, int]:
    """Where each name stands: to look for each of thousands takes time by their square."""
    return {name: place for place, name in enumerate(names)}


def load_kernels() -> None:
    """Load what reads records, or compile it, so that the first ones don't wait for that."""
    load_kernel()
    factorize(b"", np.empty((0, 2), np.int64))


MAX_HEADER_LINES = 3  # records that may be the header which somebody meant

logger = logging.getLogger("streamnet.sources")


@final
class CsvFormat(TextFormat):
    r"""Delimited text. What is not given is told by the first records of the first file.

    A field is quoted if the quote is its very first byte; a doubled quote inside stands for one.
    A column of an unnamed file is called f0, f1 and so on; its target may also be given as a
    number from 0, as -1 or as 'last'.

    Args:
        columns: Which columns are used, and as what.
        delimiter: One ASCII character between fields.
        header: Whether the first record names the columns.
        quote: One ASCII character, None if quotes mean nothing.
        max_record_bytes: Longer records are rejected.

    >>> from streamnet.sources.text.format import Head
    >>> head = Head("f.csv", b"age;income\n39;low\n50;high\n", 0, True)
    >>> CsvFormat(Columns(target="income")).begin(head).fields
    (Field(name='age', kind=<Kind.NUMBER: 'number'>),)
    """

    def __init__(
        self,
        columns: Columns,
        *,
        delimiter: str | None = None,
        header: bool | None = None,
        quote: str | None = '"',
        max_record_bytes: int = MAX_RECORD_BYTES,
    ) -> None:
        for name, value in (("delimiter", delimiter), ("quote", quote)):
            if value is not None and (len(value) != 1 or not value.isascii() or value in "\r\n"):
                raise ConfigurationError(f"{name} is {value!r}, but must be one ASCII character")
        if delimiter is not None and delimiter == quote:
            raise ConfigurationError(f"quote is {quote!r}, but must not be the delimiter")
        self._columns = columns
        self._delimiters = DELIMITERS if delimiter is None else (delimiter,)
        self._header = header
        self._is_told = header is not None
        self._rules = RecordRules(
            quote=-1 if quote is None else ord(quote), longest=max_record_bytes, fields=0
        )
        self._decimal = "."
        self._layout: RecordParser
        self._names: tuple[str, ...] = ()
        self._schema = Schema(())

    @property
    def name(self) -> str:
        """Name of the format, whatever the delimiter."""
        return "csv"

    @property
    def rules(self) -> RecordRules:
        """What separates the records of the file that was started."""
        return self._rules

    def head_rules(self) -> Sequence[RecordRules]:
        """The rules with each possible delimiter."""
        return [self._rules._replace(delimiter=ord(d)) for d in self._delimiters]

    @property
    def fewest(self) -> int:
        """A header and a record, unless it is known that there is no header."""
        return 1 if self._header is False else 2

    def begin(self, head: Head) -> Schema:
        """Tell delimiter, header, names, kinds and task from the head of the first file."""
        head, told = read_sep_line(head)
        if told is not None and len(self._delimiters) > 1:
            self._delimiters = (told,)
        table = self._table(head)
        self._decimal = detect_decimal(table, self._columns.missing)
        written = table
        if self._decimal == ",":
            table = normalize_decimals(table)
        if self._header is None:
            self._header = self._has_header(table)
        self._names = self._find_names(head, table)
        fields = len(self._names)
        body = table.rows[self._header :]
        rows = [row for row in body if len(row) == fields]
        self._rules = self._rules._replace(delimiter=ord(table.delimiter))
        first = head.records(self._rules, 2)
        if first.begin.size == self._header and first.overlong:
            raise head.overlong(self._rules)
        if first.begin.size == self._header and head.final:
            raise DataError(f"{head.file} holds no samples, only a header")
        try:
            if body and not rows:
                raise SchemaError(
                    f"{head.file} has {fields} columns by its header, {format_names(self._names)},"
                    f" but {table.fields} fields in its records"
                )
            self._schema = self._schema_of(head.file, rows)
            if self._decimal == ",":
                columns = zip(*(r for r in written.rows if len(r) == fields), strict=True)
                warn_of_thousands_separators(
                    head.file, self._schema, dict(zip(self._names, columns, strict=False))
                )
        except SchemaError as error:
            raise SchemaError(f"{error}{self._hint(head)}") from None
        load_kernels()
        return self._schema

    def export_state(self) -> dict[str, Any]:
        """Delimiter, decimal sign, header and names."""
        return {
            "delimiter": chr(self._rules.delimiter),
            "decimal": self._decimal,
            "header": self._header,
            "names": list(self._names),
        }

    def restore_state(self, state: Mapping[str, Any], schema: Schema) -> None:
        """Take over delimiter, decimal sign, header and names."""
        self._rules = self._rules._replace(delimiter=ord(state["delimiter"]))
        self._decimal = state.get("decimal", ".")  # which earlier states lack
        self._header = state["header"]
        self._names = tuple(state["names"])
        self._columns = self._columns.with_target(schema.target)
        self._schema = schema
        load_kernels()

    def start(self, head: Head, *, again: bool = False) -> Records:
        """Read the header of a file, whose columns may stand in another order."""
        names = self._names
        head, told = read_sep_line(head)
        rows = split_head(head, self._rules, 1).rows
        sample = bool(rows) and set(self._names).isdisjoint(rows[0])
        header = bool(self._header) and not (again and sample)
        if header and head.records(self._rules, 1).begin.size:
            if sample and set(self._names).isdisjoint(_fill_empty_names(rows[0])):
                raise self._make_form_error(head)
            names = self._read_header(head, chr(self._rules.delimiter))
            self._check_names(head.file, names)
        self._rules = self._rules._replace(fields=len(names))
        self._layout = RecordParser(names, self._schema, self._columns, self._rules, self._decimal)
        top = head.records(self._rules, 1 if header else 0)
        return top if told is None else top._replace(lines=top.lines + 1)

    def _make_form_error(self, head: Head) -> SchemaError:
        """The error that says why the first record of a later file has none of the names."""
        for table in rank_delimiters(head, self._rules, DELIMITERS, 1):
            if table.rows and not set(self._names).isdisjoint(table.rows[0]):
                return SchemaError(
                    f"{head.file} is delimited by {table.delimiter!r}, but the first file by "
                    f"{chr(self._rules.delimiter)!r}; all files must be written alike"
                )
        return SchemaError(
            f"{head.file} has no header, but the first file has: none of its names, "
            f"{format_names(self._names)}, is in the first record"
        )

    def read(self, chunk: Chunk) -> tuple[Block, int]:
        """The samples of a chunk: all its records are used."""
        wrong = np.flatnonzero(chunk.records.fields != self._rules.fields).tolist()
        for row in wrong:
            fields = int(chunk.records.fields[row])
            detail = f"the record has {fields} fields, but there are {self._rules.fields} columns"
            chunk.letters.setdefault(row, chunk.letter(row, Rejection(Reason.ARITY, detail)))
        return self._layout.block(chunk), len(chunk)

    def _has_header(self, table: HeadTable) -> bool:
        first, fields = table.rows[0], table.fields
        if len(first) == fields:
            rows = [row for row in table.rows if len(row) == fields]
            return has_header(rows, self._wanted(fields))
        return not self._wanted(fields).isdisjoint(first)

    def _table(self, head: Head) -> HeadTable:
        """The head under the likeliest delimiter; one that gives wanted names is likelier."""
        tables = rank_delimiters(head, self._rules, self._delimiters, self._columns.head + 1)
        if not head.records(self._rules, 1).begin.size:
            raise head.empty(self._rules)
        # Under a wrong delimiter each quote is a bad one, and no row is left.
        tables = [table for table in tables if table.rows]
        if not tables:
            raise DataError(f"{head.file} has a bad quote in each of its first records")
        return max(
            tables, key=lambda table: len(self._wanted(table.fields).intersection(table.rows[0]))
        )

    def _wanted(self, fields: int) -> set[str]:
        """Names that were asked for, but not a target that may be the number of a column."""
        named = set(self._columns.named)
        target = self._columns.target
        if target is not None and _column_index(target, fields) >= 0:
            named.discard(target)
        return named

    def _find_names(self, head: Head, table: HeadTable) -> tuple[str, ...]:
        if self._header:
            names = self._read_header(head, table.delimiter)
        else:
            names = tuple(f"f{number}" for number in range(table.fields))
        target = self._columns.target
        if target is not None and target not in names:
            place = _column_index(target, len(names))
            if target in LAST_COLUMN:
                self._columns = self._columns.with_target(names[place])
            elif place >= 0 and not self._header:
                self._columns = self._columns.with_target(names[place])
                rule = "%s has no header: target %s is column %r, counted from 0"
                logger.warning(rule, head.file, target, names[place])
        return names

    def _read_header(self, head: Head, delimiter: str) -> tuple[str, ...]:
        rules = self._rules._replace(delimiter=ord(delimiter))
        records = head.records(rules, 1)
        for begin, end in zip(records.begin.tolist(), records.end.tolist(), strict=True):
            _check_encoding(head.file, begin, head.data[begin:end])
        rows = split_head(head, rules, 1).rows
        if not rows:
            raise SchemaError(f"the header of {head.file} has a quote that is not closed")
        names = _fill_empty_names(rows[0])
        double = sorted(name for name, times in Counter(names).items() if times > 1)
        if double:
            raise SchemaError(f"the header of {head.file} has {format_names(double)} twice")
        return names

    def _hint(self, head: Head) -> str:
        """What may be wrong where a column is missing: the header is elsewhere, or looks like none.

        That ends the sentence of an error.
        """
        records = head.records(self._rules, MAX_HEADER_LINES)
        wanted = [name for name in self._columns.named if name not in self._names]
        if self._is_told or len(wanted) < len(self._columns.named):
            wanted = []  # the header is where it should be
        for begin, line in zip(records.begin.tolist(), records.line.tolist(), strict=True):
            rows = split_head(head._replace(start=begin), self._rules, 1).rows
            for name in wanted:
                if line > 0 and rows and name in rows[0]:
                    where = 1 + line + head.data.count(b"\n", 0, head.start)
                    return f" Line {where} has {name!r}: nothing may stand above the header."
        if self._header:
            return ""
        first = head.data[records.begin[0] : records.end[0]]
        return f" (its first record, {shorten(first)}, was not taken as a header)"

    def _schema_of(self, file: str, rows: list[list[str]]) -> Schema:
        missing = frozenset(self._columns.missing)
        gaps = frozenset(text.lower() for text in missing)
        places = {name: at for at, name in enumerate(self._names)}
        found: dict[str, list[str]] = {}

        def values(name: str) -> list[str]:
            """What may be numbers if it is mostly that, else all words."""
            at = places[name]
            numbers = [row[at] for row in rows if row[at].lower() not in gaps]
            if infer_kind(numbers) is not Kind.NUMBER:
                numbers = [row[at] for row in rows if row[at] not in missing]
            found[name] = numbers
            return numbers

        schema = self._columns.build_schema(
            file,
            self._names,
            lambda name: infer_kind(values(name)),
            lambda: infer_task(values(str(self._columns.target))),
        )
        for name, kind in schema.fields:
            if kind in TIMES and name not in found:
                values(name)
        warn_of_misread_columns(file, schema, found, self._columns.missing)
        return schema

    def _check_names(self, file: str, names: tuple[str, ...]) -> None:
        """Compare the header of a later file with the first one's."""
        used = {self._schema.target, *(field.name for field in self._schema.fields)}
        there, known = frozenset(names), frozenset(self._names)
        for name in self._names:
            if name in used and name not in there:
                raise make_missing_column_error(file, name, "which the first file has", names)
        other = [name for name in names if name not in known]
        if other and self._columns.grows:
            raise SchemaError(
                f"{file} has {format_names(other)}, but the first file has only "
                f"{format_names(self._names)} (drift.new 'ignore' would leave them out)"
            )


def _check_encoding(file: str, begin: int, header: bytes) -> None:
    try:
        header.decode()
    except UnicodeDecodeError as error:
        raise SchemaError(
            f"the header of {file} is not UTF-8: byte {begin + error.start} is "
            f"0x{header[error.start]:02x} (iconv -f latin1 -t utf-8 may make it that)"
        ) from None


def _fill_empty_names(header: Sequence[str]) -> tuple[str, ...]:
    """The names in a header; an empty one becomes f0, f1 and so on, by its place if that is free.

    >>> _fill_empty_names(("", "f0", "", "y"))
    ('f1', 'f0', 'f2', 'y')
    """
    names, taken = list(header), set(header)
    for number, name in enumerate(names):
        if not name:
            names[number] = next(n for n in map("f{}".format, count(number)) if n not in taken)
            taken.add(names[number])
    return tuple(names)


def _column_index(target: str, fields: int) -> int:
    """The number of the column that a target names by number or 'last', -1 if it does not."""
    if target in LAST_COLUMN:
        return fields - 1
    return int(target) if target.isdecimal() and int(target) < fields else -1

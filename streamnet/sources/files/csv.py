"""CSV, TSV and other delimited text."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError, DataError, SchemaError
from streamnet.samples import TIMES, Block, Field, Kind, Schema, Task
from streamnet.sources.base import Reason, Rejection, shorten
from streamnet.sources.columns import (
    LAST_COLUMN,
    Columns,
    check_same_columns,
    choose_parser,
    format_names,
    make_object_column,
)
from streamnet.sources.files.byte_stream import display_name
from streamnet.sources.files.detection import TextFileFormat, TextOptions
from streamnet.sources.inference import (
    infer_kind,
    infer_task,
    is_any_time,
    is_not_finite,
    is_number,
)
from streamnet.sources.rows import (
    AMBIGUOUS_DATE,
    ConvertedRows,
    Problems,
    note_missing_targets,
    note_problem,
)
from streamnet.sources.text.fields import FieldReader, Fields, factorize, load_kernels
from streamnet.sources.text.records import Chunk, Head, RecordRules, Records, TextFormat
from streamnet.sources.text.schema import (
    DELIMITERS,
    HeadTable,
    detect_decimal,
    has_header,
    normalize_decimal,
    normalize_decimals,
    rank_delimiters,
    read_sep_line,
    split_head,
    warn_of_misread_columns,
    warn_of_thousands_separators,
)

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
    Columns that are ``undecided`` had no value yet; only their first value is looked for.
    """

    def __init__(
        self,
        names: Sequence[str],
        schema: Schema,
        columns: Columns,
        rules: RecordRules,
        decimal: str = ".",
        undecided: Sequence[str] = (),
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
        self._undecided = undecided
        self._kinds = kinds
        self._columns = columns
        self._options = columns.parse_options()
        self._gaps = frozenset(text.lower() for text in columns.missing)
        self._decimal = decimal
        self._order = _index_names(names)
        self._number_index, self._word_index = map(_index_names, (self._numbers, self._words))
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
                numbers[:, at] = self._times(name, column, good, problems)
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

    def _target(
        self, fields: Fields, words: list[Column], good: NDArray[np.bool_], problems: Problems
    ) -> NDArray[Any] | None:
        name = self._schema.target
        if name is None:
            return None
        target: NDArray[Any]
        numeric = self._schema.task is Task.REGRESSION
        target = fields.numbers[:, -1].copy() if numeric else words[-1]
        if self._columns.labels_required:
            gaps = np.isnan(target) if numeric else [word is None for word in target.tolist()]
            rows = np.flatnonzero(gaps & good).tolist()
            note_missing_targets(problems, name, rows, self._order[name])
        return target


def _index_names(names: Sequence[str]) -> dict[str, int]:
    """The index of each name; searching for each of thousands would take quadratic time."""
    return {name: index for index, name in enumerate(names)}


MAX_HEADER_LINES = 3  # first records in which a misplaced header is looked for

logger: logging.Logger = logging.getLogger("streamnet.sources")


@final
class CsvFormat(TextFormat):
    r"""Delimited text. Settings that are None are inferred from the first records.

    A field is quoted if the quote is its very first byte; a doubled quote inside stands for one.
    Without a header, columns are called f0, f1 and so on; the target may also be given as a number
    from 0, as -1 or as 'last'. A column without a value in the first records extends the schema
    with its first value, which determines its kind.

    >>> from streamnet.sources.text.records import Head
    >>> head = Head("f.csv", b"age;income\n39;low\n50;high\n", 0, True)
    >>> CsvFormat(TextOptions(Columns(target="income"))).infer_schema(head).fields
    (Field(name='age', kind=<Kind.NUMBER: 'number'>),)
    """

    name = "csv"

    def __init__(self, options: TextOptions) -> None:
        columns, delimiter, header, quote, longest = options
        for name, value in (("delimiter", delimiter), ("quote", quote)):
            if value is not None and (len(value) != 1 or not value.isascii() or value in "\r\n"):
                raise ConfigurationError(f"{name} is {value!r}, but must be one ASCII character")
        if delimiter is not None and delimiter == quote:
            raise ConfigurationError(f"quote is {quote!r}, but must not be the delimiter")
        self._columns = columns
        self._delimiters = DELIMITERS if delimiter is None else (delimiter,)
        self._header = header
        self._is_header_given = header is not None
        if header is not False:
            self.min_head_records = 2  # the header and a record
        self._rules = RecordRules(quote=-1 if quote is None else ord(quote), longest=longest)
        self._decimal = "."
        self._parser: RecordParser
        self._names: tuple[str, ...] = ()
        self._undecided: tuple[str, ...] = ()  # columns that had no value yet
        self._schema = Schema(())

    @property
    def rules(self) -> RecordRules:
        """What separates the records of the current file."""
        return self._rules

    def head_rules(self) -> Sequence[RecordRules]:
        """The rules with each possible delimiter."""
        return [self._rules._replace(delimiter=ord(d)) for d in self._delimiters]

    def infer_schema(self, head: Head) -> Schema:
        """Infer delimiter, header, names, kinds and the task from the head of the first file."""
        head, delimiter = read_sep_line(head)
        if delimiter is not None and len(self._delimiters) > 1:
            self._delimiters = (delimiter,)
        table = self._choose_table(head)
        self._decimal = detect_decimal(table, self._columns.missing)
        original = table
        if self._decimal == ",":
            table = normalize_decimals(table)
        if self._header is None:
            self._header = self._detect_header(table)
        self._names = self._find_names(head, table)
        fields = len(self._names)
        body = table.rows[self._header :]
        rows = [row for row in body if len(row) == fields]
        self._rules = self._rules._replace(delimiter=ord(table.delimiter))
        first = head.records(self._rules, 2)
        if first.begin.size == self._header and first.overlong:
            raise head.make_overlong_error(self._rules)
        if first.begin.size == self._header and head.final:
            raise DataError(f"{head.file} holds no samples, only a header")
        try:
            if body and not rows:
                raise SchemaError(
                    f"{head.file} has {fields} columns by its header, {format_names(self._names)},"
                    f" but {table.fields} fields in its records"
                )
            self._schema = self._build_schema(head.file, rows)
            if self._decimal == ",":
                columns = zip(*(r for r in original.rows if len(r) == fields), strict=True)
                warn_of_thousands_separators(
                    head.file, self._schema, dict(zip(self._names, columns, strict=False))
                )
        except SchemaError as error:
            raise SchemaError(f"{error}{self._explain_header(head)}") from None
        load_kernels()
        return self._schema

    def export_state(self) -> dict[str, Any]:
        """Delimiter, decimal separator, header, names, and columns without a value so far."""
        state: dict[str, Any] = {
            "delimiter": chr(self._rules.delimiter),
            "decimal": self._decimal,
            "header": self._header,
            "names": list(self._names),
        }
        return {**state, "undecided": list(self._undecided)} if self._undecided else state

    def restore_state(self, state: Mapping[str, Any], schema: Schema) -> None:
        """Restore what was inferred from the first records."""
        self._rules = self._rules._replace(delimiter=ord(state["delimiter"]))
        self._decimal = state["decimal"]
        self._header = state["header"]
        self._names = tuple(state["names"])
        self._undecided = tuple(state.get("undecided", ()))
        self._columns = self._columns.with_target(schema.target)
        self._schema = schema
        load_kernels()

    def start(self, head: Head, *, again: bool = False) -> Records:
        """Read the header of a file, whose columns may be in another order."""
        names = self._names
        head, delimiter = read_sep_line(head)
        rows = split_head(head, self._rules, 1).rows
        is_sample = bool(rows) and set(self._names).isdisjoint(rows[0])
        header = bool(self._header) and not (again and is_sample)
        if header and head.records(self._rules, 1).begin.size:
            if is_sample and set(self._names).isdisjoint(_fill_empty_names(rows[0])):
                raise self._make_dialect_error(head)
            names = self._read_header(head, chr(self._rules.delimiter))
            used = {self._schema.target, *self._schema.numbers, *self._schema.words}
            used.update(self._undecided)
            names_used = [name for name in self._names if name in used]
            check_same_columns(head.file, names, self._names, names_used, self._columns)
        self._rules = self._rules._replace(fields=len(names))
        self._file_names = names
        self._make_parser()
        top = head.records(self._rules, 1 if header else 0)
        return top if delimiter is None else top._replace(lines=top.lines + 1)

    def _make_parser(self) -> None:
        self._parser = RecordParser(
            self._file_names,
            self._schema,
            self._columns,
            self._rules,
            self._decimal,
            self._undecided,
        )

    def _make_dialect_error(self, head: Head) -> SchemaError:
        """The error for a later file without any of the names in its first record."""
        for table in rank_delimiters(head, self._rules, DELIMITERS, 1):
            if table.rows and not set(self._names).isdisjoint(table.rows[0]):
                return SchemaError(
                    f"{head.file} is delimited by {table.delimiter!r}, but the first file by "
                    f"{chr(self._rules.delimiter)!r}; all files must have one delimiter"
                )
        return SchemaError(
            f"{head.file} has no header, but the first file has: none of its names, "
            f"{format_names(self._names)}, is in the first record"
        )

    def read(self, chunk: Chunk) -> tuple[Block, int]:
        """Convert the records of a chunk, up to the next one with the first value of a column."""
        wrong = np.flatnonzero(chunk.records.fields != self._rules.fields).tolist()
        for row in wrong:
            there = int(chunk.records.fields[row])
            detail = f"the record has {there} fields, but there are {self._rules.fields} columns"
            chunk.letters.setdefault(row, chunk.letter(row, Rejection(Reason.ARITY, detail)))
        fields = self._parser.read(chunk)
        while (found := self._parser.find_first_value(chunk, fields)) is not None:
            row, values = found
            if row == 0:
                self._decide(chunk, values)
            else:
                chunk = chunk.first(row)
            fields = self._parser.read(chunk)
        return self._parser.parse(chunk, fields), len(chunk)

    def _decide(self, chunk: Chunk, values: Mapping[str, str]) -> None:
        """Extend the schema by columns whose first values are in the first record of a chunk."""
        place = f"{display_name(chunk.source)}, line {int(chunk.marks[0, 2])}"
        fields = []
        for name, text in values.items():
            plain = normalize_decimal(text) if self._decimal == "," else text
            kind = infer_kind([plain]) or Kind.CATEGORY
            fields.append(Field(name, kind))
            rule = "%s: column %r has its first value there, %s, so its kind is %s"
            logger.warning(rule, place, name, shorten(text), kind)
            if kind is Kind.CATEGORY and is_any_time(text):
                logger.warning(AMBIGUOUS_DATE, name, shorten(text))
        self._schema = self._schema.extended(fields)
        self._undecided = tuple(name for name in self._undecided if name not in values)
        self._make_parser()

    def _detect_header(self, table: HeadTable) -> bool:
        first, fields = table.rows[0], table.fields
        if len(first) == fields:
            rows = [row for row in table.rows if len(row) == fields]
            return has_header(rows, self._requested_names(fields))
        return not self._requested_names(fields).isdisjoint(first)

    def _choose_table(self, head: Head) -> HeadTable:
        """Split the head at the likeliest delimiter, preferring one that yields requested names."""
        tables = rank_delimiters(head, self._rules, self._delimiters, self._columns.head + 1)
        if not head.records(self._rules, 1).begin.size:
            raise head.make_empty_error(self._rules)
        # With a wrong delimiter every quote is bad, and no row is left.
        tables = [table for table in tables if table.rows]
        if not tables:
            raise DataError(f"{head.file} has a bad quote in each of its first records")
        return max(
            tables,
            key=lambda table: len(self._requested_names(table.fields).intersection(table.rows[0])),
        )

    def _requested_names(self, fields: int) -> set[str]:
        """Names in the settings, except a target that may be the number of a column."""
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

    def _explain_header(self, head: Head) -> str:
        """The end of an error about a missing column, if the header may be elsewhere or absent."""
        records = head.records(self._rules, MAX_HEADER_LINES)
        wanted = [name for name in self._columns.named if name not in self._names]
        if self._is_header_given or len(wanted) < len(self._columns.named):
            wanted = []  # the header is where it belongs
        for begin, line in zip(records.begin.tolist(), records.line.tolist(), strict=True):
            rows = split_head(head._replace(start=begin), self._rules, 1).rows
            for name in wanted:
                if line > 0 and rows and name in rows[0]:
                    where = 1 + line + head.data.count(b"\n", 0, head.start)
                    return f" Line {where} has {name!r}: nothing may precede the header."
        if self._header:
            return ""
        first = head.data[records.begin[0] : records.end[0]]
        return f" (its first record, {shorten(first)}, was not taken as a header)"

    def _build_schema(self, file: str, rows: list[list[str]]) -> Schema:
        missing = frozenset(self._columns.missing)
        gaps = frozenset(text.lower() for text in missing)
        places = {name: at for at, name in enumerate(self._names)}
        found: dict[str, list[str]] = {}

        def values(name: str) -> list[str]:
            """The values that are not missing: by the rules for numbers, or else for words."""
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
            lambda: infer_task(values(str(self._columns.target))) if rows else Task.CLASSIFICATION,
        )
        if self._columns.schema is None:
            used = {schema.target, *schema.numbers, *schema.words, *self._columns.drop}
            self._undecided = tuple(name for name in self._names if name not in used)
        for name, kind in schema.fields:
            if kind in TIMES and name not in found:
                values(name)
        warn_of_misread_columns(file, schema, found, self._columns.missing)
        return schema


def _check_encoding(file: str, begin: int, header: bytes) -> None:
    try:
        header.decode()
    except UnicodeDecodeError as error:
        raise SchemaError(
            f"the header of {file} is not UTF-8: byte {begin + error.start} is "
            f"0x{header[error.start]:02x} (iconv -f latin1 -t utf-8 may convert it)"
        ) from None


def _fill_empty_names(header: Sequence[str]) -> tuple[str, ...]:
    """Replace empty names in a header by f0, f1 and so on, by their index if it is free.

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
    """The index of the column that a target gives by number or as 'last'; -1 if it is a name."""
    if target in LAST_COLUMN:
        return fields - 1
    return int(target) if target.isdecimal() and int(target) < fields else -1


def _make_tsv(options: TextOptions) -> CsvFormat:
    return CsvFormat(options._replace(delimiter=options.delimiter or "\t"))


CSV = TextFileFormat("csv", (".csv",), CsvFormat)
TSV = TextFileFormat("tsv", (".tsv",), _make_tsv)
FORMATS = (CSV, TSV)

"""CSV, TSV and other delimited text."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, final

import numpy as np

from streamnet.errors import ConfigurationError, DataError, SchemaError
from streamnet.samples import NUMERIC, TIMES, Block, Field, Kind, Schema, Task
from streamnet.sources.base import Reason, Rejection, shorten
from streamnet.sources.columns import LAST_COLUMN, Columns, check_same_columns, format_names
from streamnet.sources.files.detection import TextFileFormat, TextOptions
from streamnet.sources.inference import are_ids, infer_kind, infer_task, is_any_time, is_number
from streamnet.sources.number_styles import NumberStyle, build_style, find_style, infer_target
from streamnet.sources.rows import AMBIGUOUS_DATE
from streamnet.sources.storage.raw import display_name
from streamnet.sources.text.fields import load_kernels
from streamnet.sources.text.record_parser import RecordParser
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
    warn_of_marked_numbers,
    warn_of_misread_columns,
    warn_of_thousands_separators,
)

MAX_HEADER_LINES = 3  # first records in which a misplaced header is looked for

logger: logging.Logger = logging.getLogger("streamnet.sources")


@final
class HeadColumns:
    """The columns of the first records: their values, kinds, and how their numbers are written.

    Args:
        file: Name of the file in messages.
        names: Names of the columns.
        rows: Fields of each record, with decimal points.
        originals: The same fields as they are in the file.
        columns: Settings of the columns.
        decimal: The decimal separator of the file.
    """

    def __init__(
        self,
        file: str,
        names: Sequence[str],
        rows: Sequence[Sequence[str]],
        originals: Sequence[Sequence[str]],
        columns: Columns,
        decimal: str,
    ) -> None:
        self._file, self._rows, self._originals = file, rows, originals
        self._columns, self._decimal = columns, decimal
        self._missing = frozenset(columns.missing)
        self._gaps = frozenset(text.lower() for text in columns.missing)
        self._places = {name: at for at, name in enumerate(names)}
        self._found: dict[str, list[str]] = {}  # values by column
        self._styles: dict[str, NumberStyle] = {}

    def kind(self, name: str) -> Kind | None:
        """Infer the kind of a column; None without a value."""
        kind = infer_kind(self._values(name))
        if kind is Kind.NUMBER and are_ids(self._values(name)):
            kind = Kind.ID
        kind = self._columns.refine_kind(name, kind, self._values(name))
        if kind is None or kind in NUMERIC:
            return kind
        style = self._find_style(name)
        if style is None:
            return kind
        self._styles[name] = style
        return Kind.NUMBER

    def task(self) -> Task | None:
        """Infer the task; None without a value of the target."""
        name = str(self._columns.target)
        if not self._rows:
            return Task.CLASSIFICATION
        task = infer_task(self._values(name))
        if task is Task.CLASSIFICATION:
            task, style = infer_target(
                self._file,
                name,
                self._written(name),
                thousands=self._columns.thousands,
                decimal=self._decimal,
            )
            if style is not None and task is Task.REGRESSION:
                self._styles[name] = style
        return task

    def find_styles(self, schema: Schema) -> dict[str, NumberStyle]:
        """Styles of the columns whose numbers have marks, also of those whose kind was given."""
        numbers = [name for name, kind in schema.fields if kind is Kind.NUMBER]
        if schema.task is Task.REGRESSION:
            numbers.append(str(schema.target))
        for name in numbers:
            given = name not in self._found
            if given and not all(map(is_number, self._known(name))):
                style = self._find_style(name)
                self._styles |= {} if style is None else {name: style}
        return self._styles

    def warn(self, schema: Schema) -> None:
        """Warn of what may be misread, and of what has two readings elsewhere."""
        for name, kind in schema.fields:
            if kind in TIMES:
                self._values(name)
        if self._columns.thousands is None:
            written = {name: self._written(name) for name in self._styles}
            warn_of_marked_numbers(self._file, self._styles, written)
        warn_of_misread_columns(self._file, schema, self._found, self._columns.missing)

    def _values(self, name: str) -> list[str]:
        """The values that are not missing: by the rules for numbers, or else for words."""
        if name not in self._found:
            at = self._places[name]
            found = self._known(name)
            if infer_kind(found) is not Kind.NUMBER:
                found = [row[at] for row in self._rows if row[at] not in self._missing]
            self._found[name] = found
        return self._found[name]

    def _known(self, name: str) -> list[str]:
        """The values that are not missing by the rules for numbers."""
        at = self._places[name]
        return [row[at] for row in self._rows if row[at].lower() not in self._gaps]

    def _written(self, name: str) -> list[str]:
        """The values that are not missing, as they are in the file."""
        at = self._places[name]
        return [row[at] for row in self._originals if row[at].lower() not in self._gaps]

    def _find_style(self, name: str) -> NumberStyle | None:
        thousands = self._columns.thousands
        return find_style(self._written(name), thousands=thousands, decimal=self._decimal)


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
        self._styles: dict[str, NumberStyle] = {}  # of columns whose numbers have marks
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
        self._decimal = self._detect_decimal(table)
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
            plain = [row for row in original.rows[self._header :] if len(row) == fields]
            self._schema = self._build_schema(head.file, rows, plain)
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
        if self._undecided:
            state["undecided"] = list(self._undecided)
        if self._styles:
            state["styles"] = {name: list(style) for name, style in self._styles.items()}
        return state

    def restore_state(self, state: Mapping[str, Any], schema: Schema) -> None:
        """Restore what was inferred from the first records."""
        self._rules = self._rules._replace(delimiter=ord(state["delimiter"]))
        self._decimal = state["decimal"]
        self._header = state["header"]
        self._names = tuple(state["names"])
        self._undecided = tuple(state.get("undecided", ()))
        styles = state.get("styles", {})
        self._styles = {name: NumberStyle(*style) for name, style in styles.items()}
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
            self._styles,
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
            style = None if kind in NUMERIC else self._find_style([text])
            if style is not None:
                kind, self._styles[name] = Kind.NUMBER, style
            fields.append(Field(name, kind))
            rule = "%s: column %r has its first value there, %s, so its kind is %s"
            logger.warning(rule, place, name, shorten(text), kind)
            if kind is Kind.CATEGORY and is_any_time(text):
                logger.warning(AMBIGUOUS_DATE, name, shorten(text))
        self._schema = self._schema.extended(fields)
        self._undecided = tuple(name for name in self._undecided if name not in values)
        self._make_parser()

    def _detect_decimal(self, table: HeadTable) -> str:
        if self._columns.thousands is not None:
            return build_style(self._columns.thousands).decimal
        return detect_decimal(table, self._columns.missing)

    def _find_style(self, texts: Sequence[str]) -> NumberStyle | None:
        return find_style(texts, thousands=self._columns.thousands, decimal=self._decimal)

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

    def _build_schema(self, file: str, rows: list[list[str]], originals: list[list[str]]) -> Schema:
        """Build the schema from records, with decimal points, and as they are in the file."""
        first = HeadColumns(file, self._names, rows, originals, self._columns, self._decimal)
        schema = self._columns.build_schema(file, self._names, first.kind, first.task)
        if self._columns.schema is None:
            used = {schema.target, *schema.numbers, *schema.words, *self._columns.drop}
            self._undecided = tuple(name for name in self._names if name not in used)
        self._styles = first.find_styles(schema)
        first.warn(schema)
        return schema


def _check_encoding(file: str, begin: int, header: bytes) -> None:
    try:
        header.decode()
    except UnicodeDecodeError as error:
        raise SchemaError(
            f"the header of {file} is not UTF-8: byte {begin + error.start} is "
            f"0x{header[error.start]:02x} (--encoding names the encoding of a file)"
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

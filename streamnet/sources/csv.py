"""CsvFormat: delimited text with or without a header, such as CSV and TSV."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from collections.abc import Sequence
from itertools import count
from typing import Any
from typing import final

import numpy as np

from streamnet.errors import ConfigurationError
from streamnet.errors import DataError
from streamnet.errors import SchemaError
from streamnet.samples import TIMES
from streamnet.samples import Block
from streamnet.samples import Kind
from streamnet.samples import Schema
from streamnet.sources.columns import LAST
from streamnet.sources.columns import Columns
from streamnet.sources.columns import columns_named
from streamnet.sources.columns import missing_column
from streamnet.sources.dialect import DELIMITERS
from streamnet.sources.dialect import Table
from streamnet.sources.dialect import decimal_of
from streamnet.sources.dialect import table_of
from streamnet.sources.dialect import tables_of
from streamnet.sources.dialect import told_delimiter
from streamnet.sources.dialect import with_points
from streamnet.sources.doubts import tell_doubts
from streamnet.sources.doubts import tell_marks
from streamnet.sources.headers import has_header
from streamnet.sources.kinds import kind_of
from streamnet.sources.kinds import task_of
from streamnet.sources.layout import Layout
from streamnet.sources.layout import load_kernels
from streamnet.sources.reasons import Problem
from streamnet.sources.reasons import Reason
from streamnet.sources.reasons import shown
from streamnet.sources.records import Records
from streamnet.sources.records import Rules
from streamnet.sources.textformat import MAX_RECORD_BYTES
from streamnet.sources.textformat import Chunk
from streamnet.sources.textformat import Head
from streamnet.sources.textformat import TextFormat

__all__ = ("CsvFormat",)

HEADER_LOOKED_FOR = 3  # records that may be the header which somebody meant

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

    >>> from streamnet.sources.textformat import Head
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
        self._rules = Rules(
            quote=-1 if quote is None else ord(quote), longest=max_record_bytes, fields=0
        )
        self._decimal = "."
        self._layout: Layout
        self._names: tuple[str, ...] = ()
        self._schema = Schema(())

    @property
    def name(self) -> str:
        """Name of the format, whatever the delimiter."""
        return "csv"

    @property
    def rules(self) -> Rules:
        """What separates the records of the file that was started."""
        return self._rules

    def head_rules(self) -> Sequence[Rules]:
        """The rules with each possible delimiter."""
        return [self._rules._replace(delimiter=ord(d)) for d in self._delimiters]

    @property
    def fewest(self) -> int:
        """A header and a record, unless it is known that there is no header."""
        return 1 if self._header is False else 2

    def begin(self, head: Head) -> Schema:
        """Tell delimiter, header, names, kinds and task from the head of the first file."""
        head, told = told_delimiter(head)
        if told is not None and len(self._delimiters) > 1:
            self._delimiters = (told,)
        table = self._table(head)
        self._decimal = decimal_of(table, self._columns.missing)
        written = table
        if self._decimal == ",":
            table = with_points(table)
        if self._header is None:
            self._header = self._has_header(table)
        self._names = self._names_of(head, table)
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
                    f"{head.file} has {fields} columns by its header, {columns_named(self._names)},"
                    f" but {table.fields} fields in its records"
                )
            self._schema = self._schema_of(head.file, rows)
            if self._decimal == ",":
                columns = zip(*(r for r in written.rows if len(r) == fields), strict=True)
                tell_marks(head.file, self._schema, dict(zip(self._names, columns, strict=False)))
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
        head, told = told_delimiter(head)
        rows = table_of(head, self._rules, 1).rows
        sample = bool(rows) and set(self._names).isdisjoint(rows[0])
        header = bool(self._header) and not (again and sample)
        if header and head.records(self._rules, 1).begin.size:
            if sample and set(self._names).isdisjoint(_all_named(rows[0])):
                raise self._other_form(head)
            names = self._header_of(head, chr(self._rules.delimiter))
            self._check_names(head.file, names)
        self._rules = self._rules._replace(fields=len(names))
        self._layout = Layout(names, self._schema, self._columns, self._rules, self._decimal)
        top = head.records(self._rules, 1 if header else 0)
        return top if told is None else top._replace(lines=top.lines + 1)

    def _other_form(self, head: Head) -> SchemaError:
        """The error that says why the first record of a later file has none of the names."""
        for table in tables_of(head, self._rules, DELIMITERS, 1):
            if table.rows and not set(self._names).isdisjoint(table.rows[0]):
                return SchemaError(
                    f"{head.file} is delimited by {table.delimiter!r}, but the first file by "
                    f"{chr(self._rules.delimiter)!r}; all files must be written alike"
                )
        return SchemaError(
            f"{head.file} has no header, but the first file has: none of its names, "
            f"{columns_named(self._names)}, is in the first record"
        )

    def read(self, chunk: Chunk) -> tuple[Block, int]:
        """The samples of a chunk: all its records are used."""
        wrong = np.flatnonzero(chunk.records.fields != self._rules.fields).tolist()
        for row in wrong:
            fields = int(chunk.records.fields[row])
            detail = f"the record has {fields} fields, but there are {self._rules.fields} columns"
            chunk.letters.setdefault(row, chunk.letter(row, Problem(Reason.ARITY, detail)))
        return self._layout.block(chunk), len(chunk)

    def _has_header(self, table: Table) -> bool:
        first, fields = table.rows[0], table.fields
        if len(first) == fields:
            rows = [row for row in table.rows if len(row) == fields]
            return has_header(rows, self._wanted(fields))
        return not self._wanted(fields).isdisjoint(first)

    def _table(self, head: Head) -> Table:
        """The head under the likeliest delimiter; one that gives wanted names is likelier."""
        tables = tables_of(head, self._rules, self._delimiters, self._columns.head + 1)
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
        if target is not None and _place(target, fields) >= 0:
            named.discard(target)
        return named

    def _names_of(self, head: Head, table: Table) -> tuple[str, ...]:
        if self._header:
            names = self._header_of(head, table.delimiter)
        else:
            names = tuple(f"f{number}" for number in range(table.fields))
        target = self._columns.target
        if target is not None and target not in names:
            place = _place(target, len(names))
            if target in LAST:
                self._columns = self._columns.with_target(names[place])
            elif place >= 0 and not self._header:
                self._columns = self._columns.with_target(names[place])
                rule = "%s has no header: target %s is column %r, counted from 0"
                logger.warning(rule, head.file, target, names[place])
        return names

    def _header_of(self, head: Head, delimiter: str) -> tuple[str, ...]:
        rules = self._rules._replace(delimiter=ord(delimiter))
        records = head.records(rules, 1)
        for begin, end in zip(records.begin.tolist(), records.end.tolist(), strict=True):
            _check_encoding(head.file, begin, head.data[begin:end])
        rows = table_of(head, rules, 1).rows
        if not rows:
            raise SchemaError(f"the header of {head.file} has a quote that is not closed")
        names = _all_named(rows[0])
        double = sorted(name for name, times in Counter(names).items() if times > 1)
        if double:
            raise SchemaError(f"the header of {head.file} has {columns_named(double)} twice")
        return names

    def _hint(self, head: Head) -> str:
        """What may be wrong where a column is missing: the header is elsewhere, or looks like none.

        That ends the sentence of an error.
        """
        records = head.records(self._rules, HEADER_LOOKED_FOR)
        wanted = [name for name in self._columns.named if name not in self._names]
        if self._is_told or len(wanted) < len(self._columns.named):
            wanted = []  # the header is where it should be
        for begin, line in zip(records.begin.tolist(), records.line.tolist(), strict=True):
            rows = table_of(head._replace(start=begin), self._rules, 1).rows
            for name in wanted:
                if line > 0 and rows and name in rows[0]:
                    where = 1 + line + head.data.count(b"\n", 0, head.start)
                    return f" Line {where} has {name!r}: nothing may stand above the header."
        if self._header:
            return ""
        first = head.data[records.begin[0] : records.end[0]]
        return f" (its first record, {shown(first)}, was not taken as a header)"

    def _schema_of(self, file: str, rows: list[list[str]]) -> Schema:
        missing = frozenset(self._columns.missing)
        gaps = frozenset(text.lower() for text in missing)
        places = {name: at for at, name in enumerate(self._names)}
        found: dict[str, list[str]] = {}

        def values(name: str) -> list[str]:
            """What may be numbers if it is mostly that, else all words."""
            at = places[name]
            numbers = [row[at] for row in rows if row[at].lower() not in gaps]
            if kind_of(numbers) is not Kind.NUMBER:
                numbers = [row[at] for row in rows if row[at] not in missing]
            found[name] = numbers
            return numbers

        schema = self._columns.schema_of(
            file,
            self._names,
            lambda name: kind_of(values(name)),
            lambda: task_of(values(str(self._columns.target))),
        )
        for name, kind in schema.fields:
            if kind in TIMES and name not in found:
                values(name)
        tell_doubts(file, schema, found, self._columns.missing)
        return schema

    def _check_names(self, file: str, names: tuple[str, ...]) -> None:
        """Compare the header of a later file with the first one's."""
        used = {self._schema.target, *(field.name for field in self._schema.fields)}
        there, known = frozenset(names), frozenset(self._names)
        for name in self._names:
            if name in used and name not in there:
                raise missing_column(file, name, "which the first file has", names)
        other = [name for name in names if name not in known]
        if other and self._columns.grows:
            raise SchemaError(
                f"{file} has {columns_named(other)}, but the first file has only "
                f"{columns_named(self._names)} (drift.new 'ignore' would leave them out)"
            )


def _check_encoding(file: str, begin: int, header: bytes) -> None:
    try:
        header.decode()
    except UnicodeDecodeError as error:
        raise SchemaError(
            f"the header of {file} is not UTF-8: byte {begin + error.start} is "
            f"0x{header[error.start]:02x} (iconv -f latin1 -t utf-8 may make it that)"
        ) from None


def _all_named(header: Sequence[str]) -> tuple[str, ...]:
    """The names in a header; an empty one becomes f0, f1 and so on, by its place if that is free.

    >>> _all_named(("", "f0", "", "y"))
    ('f1', 'f0', 'f2', 'y')
    """
    names, taken = list(header), set(header)
    for number, name in enumerate(names):
        if not name:
            names[number] = next(n for n in map("f{}".format, count(number)) if n not in taken)
            taken.add(names[number])
    return tuple(names)


def _place(target: str, fields: int) -> int:
    """The number of the column that a target names by number or 'last', -1 if it does not."""
    if target in LAST:
        return fields - 1
    return int(target) if target.isdecimal() and int(target) < fields else -1

"""Dialect: what separates the fields of a delimited file, and the fractions of its numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from collections.abc import Sequence
from typing import NamedTuple

from streamnet.samples import Kind
from streamnet.sources.kinds import WHITESPACE
from streamnet.sources.kinds import is_number
from streamnet.sources.kinds import kind_of
from streamnet.sources.records import GOOD
from streamnet.sources.records import Rules
from streamnet.sources.textformat import Head

__all__ = (
    "DELIMITERS",
    "Table",
    "decimal_of",
    "grouped_of",
    "table_of",
    "tables_of",
    "told_delimiter",
    "with_points",
)

DELIMITERS = (",", "\t", ";", "|")
"""The candidates, the likelier ones first."""

_SEP = re.compile(rb'"?sep=([\x20-\x7e\t])"?\r?\n', re.IGNORECASE)
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")
_GROUPED = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:\.[0-9]{3})+(?:,[0-9]*)?")  # points are marks


class Table(NamedTuple):
    """The first records of a file, split at a delimiter."""

    delimiter: str
    rows: list[list[str]]  # fields without quotes and outer space
    agreement: float  # share of the records that have the most frequent number of fields

    @property
    def fields(self) -> int:
        """The most frequent number of fields; the larger one of two that are equally frequent."""
        counts = Counter(map(len, self.rows))
        return max(counts, key=lambda n: (counts[n], n), default=0)


def tables_of(head: Head, rules: Rules, delimiters: Sequence[str], most: int) -> list[Table]:
    """The head of a file split at each of these delimiters, the likeliest first.

    Likelier is what gives more records the same number of fields, then what gives more fields;
    what gives but one field comes last.
    """
    tables = [table_of(head, rules._replace(delimiter=ord(d)), most) for d in delimiters]
    return sorted(tables, key=lambda t: (t.fields > 1, t.agreement, t.fields), reverse=True)


def table_of(head: Head, rules: Rules, most: int) -> Table:
    """The first good records of a file, split as the rules say."""
    records = head.records(rules._replace(fields=0), most)
    quote = chr(rules.quote) if rules.quote >= 0 else None
    rows = [
        _split(_text(head.data[begin:end]), chr(rules.delimiter), quote)
        for begin, end, state in zip(
            records.begin.tolist(), records.end.tolist(), records.state.tolist(), strict=True
        )
        if state == GOOD
    ]
    counts = Counter(map(len, rows))
    agreement = max(counts.values(), default=0) / max(1, len(records.begin))
    return Table(chr(rules.delimiter), rows, agreement)


def told_delimiter(head: Head) -> tuple[Head, str | None]:
    r"""The head behind a line such as ``sep=;``, which spreadsheets write, and what that tells.

    >>> told_delimiter(Head("f.csv", b"sep=;\na;b\n", 0, True))
    (Head(file='f.csv', data=b'sep=;\na;b\n', start=6, final=True), ';')
    """
    found = _SEP.match(head.data, head.start)
    return (head, None) if found is None else (head._replace(start=found.end()), found[1].decode())


def decimal_of(table: Table, missing: Collection[str]) -> str:
    r"""What the numbers of a file have before their fraction: a comma or a point.

    It is a comma if no comma separates the fields, and some column is one of numbers, see
    `kind_of`, if a comma is read as a point, but not as one between thousands. Then points are
    marks between thousands; so a column whose points can't be that speaks against it.

    >>> decimal_of(Table(";", [["a", "z"], ["1", "1,5"]], 1.0), ())
    ','
    >>> decimal_of(Table(";", [["a", "z"], ["1", "1,500"]], 1.0), ())
    '.'
    >>> decimal_of(Table("\t", [["price", "items"], ["1.21", "2,5"]], 1.0), ())
    '.'
    """
    if table.delimiter == ",":
        return "."
    body = [row for row in table.rows[1:] if len(row) == table.fields] or table.rows[:1]
    found = "."
    for column in zip(*body, strict=True):
        values = [value for value in column if value not in missing]
        if kind_of(map(_with_point, values)) is not Kind.NUMBER:
            continue
        commas = sum("," in v and not _THOUSANDS.fullmatch(v) for v in values)
        points = sum("." in v and not _GROUPED.fullmatch(v) for v in values)
        if points > commas:
            return "."
        if commas:
            found = ","
    return found


def with_points(table: Table) -> Table:
    """The same table, its decimal commas as points, and without points between thousands."""
    return table._replace(rows=[list(map(_with_point, row)) for row in table.rows])


def grouped_of(values: Sequence[str]) -> str | None:
    """The first value that were a fraction if its point were no mark between thousands, or None.

    >>> grouped_of(["446", "1.234,5", "2.784"])
    '2.784'
    """
    return next((v for v in values if is_number(v) and _GROUPED.fullmatch(v)), None)


def _with_point(text: str) -> str:
    if _GROUPED.fullmatch(text):
        return text.replace(".", "").replace(",", ".")
    pointed = text.replace(",", ".", 1) if "," in text else text
    return pointed if pointed is text or is_number(pointed) else text


def _split(text: str, delimiter: str, quote: str | None) -> list[str]:
    """The fields of a good record, without quotes and outer space.

    >>> _split('1, "a;b" ;"say ""x"", y"', ";", '"')
    ['1, "a', 'b"', 'say "x", y']
    """
    if quote is None or quote not in text:
        return [field.strip(WHITESPACE) for field in text.split(delimiter)]
    fields = []
    rest: str | None = text
    while rest is not None:
        if rest.startswith(quote):
            body, rest = _unquoted(rest[1:], quote)
            _, found, behind = rest.partition(delimiter)
        else:
            body, found, behind = rest.partition(delimiter)
        fields.append(body.strip(WHITESPACE))
        rest = behind if found else None
    return fields


def _unquoted(text: str, quote: str) -> tuple[str, str]:
    """The body of a field whose opening quote was taken away, and what stands behind it."""
    at = 0
    while (at := text.find(quote, at)) >= 0:
        if not text.startswith(quote, at + 1):
            return text[:at].replace(quote * 2, quote), text[at + 1 :]
        at += 2
    return text.replace(quote * 2, quote), ""


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")

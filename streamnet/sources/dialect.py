"""Dialect: what separates the fields of a delimited file, and whether it has a header."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from collections.abc import Sequence
from typing import NamedTuple

from streamnet.sources.kinds import MISSING
from streamnet.sources.kinds import WHITESPACE
from streamnet.sources.kinds import is_not_finite
from streamnet.sources.kinds import is_number
from streamnet.sources.records import GOOD
from streamnet.sources.records import Rules
from streamnet.sources.textformat import Head

__all__ = ("DELIMITERS", "Table", "has_header", "table_of", "tables_of")

DELIMITERS = (",", "\t", ";", "|")
"""The candidates, the likelier ones first."""

_NAME = re.compile(r"[^\W\d][\w .:/()%#\[\]-]{0,63}")


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


def has_header(rows: Sequence[Sequence[str]], known: Collection[str]) -> bool:
    """Whether the first of these records names the columns.

    It does if one of the names in ``known`` is in it; or if it has a name in a column that has
    nothing but numbers below; or if all of it are different names that occur nowhere below.

    Args:
        rows: The first records, all with the same number of fields.
        known: Names of columns that somebody asked for.
    """
    if not rows:
        return False
    first, below = rows[0], rows[1:]
    if not set(known).isdisjoint(first):
        return True
    columns = list(zip(*below, strict=True)) or [()] * len(first)
    pairs = list(zip(first, columns, strict=True))
    if any(_is_name(name) and _are_numbers(values) for name, values in pairs):
        return True
    if len(set(first)) < len(first) or not all(map(_is_name, first)):
        return False
    return not any(name in values for name, values in pairs)


def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None and text not in MISSING and not is_not_finite(text)


def _are_numbers(values: Sequence[str]) -> bool:
    """Whether there are numbers among values, and nothing else but what stands for missing."""
    filled = [v for v in values if v not in MISSING and not is_not_finite(v)]
    return bool(filled) and all(map(is_number, filled))


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

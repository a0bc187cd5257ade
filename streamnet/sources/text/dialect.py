"""The dialect of a delimited file: delimiter, decimal separator and header."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

from streamnet.samples import Kind
from streamnet.sources.dates import is_any_time
from streamnet.sources.inference import MISSING, WHITESPACE, infer_kind, is_not_finite, is_number
from streamnet.sources.text.format import Head
from streamnet.sources.text.records import GOOD, RecordRules

__all__ = (
    "DELIMITERS",
    "HeadTable",
    "detect_decimal",
    "find_grouped_number",
    "has_header",
    "normalize_decimals",
    "rank_delimiters",
    "read_sep_line",
    "split_head",
)


DELIMITERS = (",", "\t", ";", "|")
"""The candidates, the likelier ones first."""

_SEP = re.compile(rb'"?sep=([\x20-\x7e\t])"?\r?\n', re.IGNORECASE)
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")
_GROUPED = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:\.[0-9]{3})+(?:,[0-9]*)?")  # points are marks


class HeadTable(NamedTuple):
    """The first records of a file, split at a delimiter."""

    delimiter: str
    rows: list[list[str]]  # fields without quotes and outer space
    agreement: float  # share of the records that have the most frequent number of fields

    @property
    def fields(self) -> int:
        """The most frequent number of fields; the larger one of two that are equally frequent."""
        counts = Counter(map(len, self.rows))
        return max(counts, key=lambda n: (counts[n], n), default=0)


def rank_delimiters(
    head: Head, rules: RecordRules, delimiters: Sequence[str], most: int
) -> list[HeadTable]:
    """The head of a file split at each of these delimiters, the likeliest first.

    Likelier is what gives more records the same number of fields, then what gives more fields;
    what gives but one field comes last.
    """
    tables = [split_head(head, rules._replace(delimiter=ord(d)), most) for d in delimiters]
    return sorted(tables, key=lambda t: (t.fields > 1, t.agreement, t.fields), reverse=True)


def split_head(head: Head, rules: RecordRules, most: int) -> HeadTable:
    """The first good records of a file, split as the rules say."""
    records = head.records(rules._replace(fields=0), most)
    quote = chr(rules.quote) if rules.quote >= 0 else None
    rows = [
        _split(_decode(head.data[begin:end]), chr(rules.delimiter), quote)
        for begin, end, state in zip(
            records.begin.tolist(), records.end.tolist(), records.state.tolist(), strict=True
        )
        if state == GOOD
    ]
    counts = Counter(map(len, rows))
    agreement = max(counts.values(), default=0) / max(1, len(records.begin))
    return HeadTable(chr(rules.delimiter), rows, agreement)


def read_sep_line(head: Head) -> tuple[Head, str | None]:
    r"""The head behind a line such as ``sep=;``, which spreadsheets write, and what that tells.

    >>> read_sep_line(Head("f.csv", b"sep=;\na;b\n", 0, True))
    (Head(file='f.csv', data=b'sep=;\na;b\n', start=6, final=True), ';')
    """
    found = _SEP.match(head.data, head.start)
    return (head, None) if found is None else (head._replace(start=found.end()), found[1].decode())


def detect_decimal(table: HeadTable, missing: Collection[str]) -> str:
    r"""What the numbers of a file have before their fraction: a comma or a point.

    It is a comma if no comma separates the fields, and some column is one of numbers, see
    `infer_kind`, if a comma is read as a point, but not as one between thousands. Then points are
    marks between thousands; so a column whose points can't be that speaks against it.

    >>> detect_decimal(HeadTable(";", [["a", "z"], ["1", "1,5"]], 1.0), ())
    ','
    >>> detect_decimal(HeadTable(";", [["a", "z"], ["1", "1,500"]], 1.0), ())
    '.'
    >>> detect_decimal(HeadTable("\t", [["price", "items"], ["1.21", "2,5"]], 1.0), ())
    '.'
    """
    if table.delimiter == ",":
        return "."
    body = [row for row in table.rows[1:] if len(row) == table.fields] or table.rows[:1]
    found = "."
    for column in zip(*body, strict=True):
        values = [value for value in column if value not in missing]
        if infer_kind(map(_normalize_decimal, values)) is not Kind.NUMBER:
            continue
        commas = sum("," in v and not _THOUSANDS.fullmatch(v) for v in values)
        points = sum("." in v and not _GROUPED.fullmatch(v) for v in values)
        if points > commas:
            return "."
        if commas:
            found = ","
    return found


def normalize_decimals(table: HeadTable) -> HeadTable:
    """The same table, its decimal commas as points, and without points between thousands."""
    return table._replace(rows=[list(map(_normalize_decimal, row)) for row in table.rows])


def find_grouped_number(values: Sequence[str]) -> str | None:
    """The first value that were a fraction if its point were no mark between thousands, or None.

    >>> find_grouped_number(["446", "1.234,5", "2.784"])
    '2.784'
    """
    return next((v for v in values if is_number(v) and _GROUPED.fullmatch(v)), None)


def _normalize_decimal(text: str) -> str:
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


def _decode(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


# A short name may be a single letter and a number; a question is known by its words.
_NAME = re.compile(r"[^\W\d][\w .:/()%#\[\]-]*|.*[^\W\d_]{2}.*", re.DOTALL)
DIGITS = 18  # of a whole number that may begin a run
_GENERATED = re.compile("f[0-9]+")  # what a column is called where there is no header
_WHOLE = re.compile(r"[+-]?[0-9]+")


def has_header(rows: Sequence[Sequence[str]], known: Collection[str]) -> bool:
    """Whether the first of these records names the columns.

    It does if one of the names in ``known`` is in it; or if it counts the columns, see
    `_numbers_columns`; or if it has a name in a column that has nothing but numbers below; or if
    all of it are different names that occur nowhere below. In front of them there may be an empty
    name, as above the numbers of the records. The last sign counts for nothing if all names in
    ``known`` are such as only columns without a name have.

    Args:
        rows: The first records, all with the same number of fields.
        known: Names of columns that somebody asked for.
    """
    if not rows:
        return False
    first, below = rows[0], rows[1:]
    if not set(known).isdisjoint(first) or _numbers_columns(first, below):
        return True
    columns = list(zip(*below, strict=True)) or [()] * len(first)
    pairs = list(zip(first, columns, strict=True))
    if any(_is_name(name) and _are_numbers(values) for name, values in pairs):
        return True
    if known and all(map(_GENERATED.fullmatch, known)):
        return False
    if len(pairs) > 1 and not first[0] and _is_count(columns[0]):
        pairs = pairs[1:]
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names) or not all(map(_is_name, names)):
        return False
    return not any(name in values or _is_date_of(name, values) for name, values in pairs)


def _numbers_columns(first: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Whether the first record counts the columns from 0 or 1, as those of an array without names.

    A sample may do so too, by chance. Then the next one may go on counting, the same one may come
    again, or there are so few numbers, all of them whole, that it is no wonder.
    """
    names = first if first[0] else first[1:]
    if len(names) < 2 or not below or not _is_count(names):
        return False
    if not first[0]:
        return all(row[0] for row in below)
    if _is_run(below[0]):
        return False
    if not all(_WHOLE.fullmatch(value) or _is_missing(value) for row in below for value in row):
        return True
    return len(names) > 2 and list(first) not in map(list, below)


def _is_count(values: Sequence[str]) -> bool:
    """Whether these are 0, 1, 2 and so on, or 1, 2, 3."""
    return _is_run(values) and values[0] in ("0", "1")


def _is_run(values: Sequence[str]) -> bool:
    """Whether these are whole numbers, each larger by one than the one before."""
    if not values or len(values[0]) > DIGITS or not _WHOLE.fullmatch(values[0]):
        return False
    start = int(values[0])
    return all(value == str(start + number) for number, value in enumerate(values))


def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None and not _is_missing(text)


def _is_date_of(name: str, values: Sequence[str]) -> bool:
    """Whether a text that could be a name is one more date above dates."""
    return is_any_time(name) and any(map(is_any_time, values))


def _are_numbers(values: Sequence[str]) -> bool:
    """Whether there are numbers among values, and little else but what stands for missing."""
    return infer_kind([value for value in values if value not in MISSING]) is Kind.NUMBER


def _is_missing(text: str) -> bool:
    return text in MISSING or is_not_finite(text)

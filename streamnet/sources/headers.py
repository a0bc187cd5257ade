"""Headers: whether the first record of a delimited file names its columns."""

from __future__ import annotations

import re
from collections.abc import Collection
from collections.abc import Sequence

from streamnet.samples import Kind
from streamnet.sources.kinds import MISSING
from streamnet.sources.kinds import is_not_finite
from streamnet.sources.kinds import kind_of
from streamnet.sources.times import may_be_time

__all__ = ("has_header",)

# A short name may be a single letter and a number; a question is known by its words.
_NAME = re.compile(r"[^\W\d][\w .:/()%#\[\]-]*|.*[^\W\d_]{2}.*", re.DOTALL)
DIGITS = 18  # of a whole number that may begin a run
_GENERATED = re.compile("f[0-9]+")  # what a column is called where there is no header
_WHOLE = re.compile(r"[+-]?[0-9]+")


def has_header(rows: Sequence[Sequence[str]], known: Collection[str]) -> bool:
    """Whether the first of these records names the columns.

    It does if one of the names in ``known`` is in it; or if it counts the columns, see `_counts`;
    or if it has a name in a column that has nothing but numbers below; or if all of it are
    different names that occur nowhere below. In front of them there may be an empty name, as above
    the numbers of the records. The last sign counts for nothing if all names in ``known`` are such
    as only columns without a name have.

    Args:
        rows: The first records, all with the same number of fields.
        known: Names of columns that somebody asked for.
    """
    if not rows:
        return False
    first, below = rows[0], rows[1:]
    if not set(known).isdisjoint(first) or _counts(first, below):
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


def _counts(first: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
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
    if not all(_WHOLE.fullmatch(value) or _is_gap(value) for row in below for value in row):
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
    return _NAME.fullmatch(text) is not None and not _is_gap(text)


def _is_date_of(name: str, values: Sequence[str]) -> bool:
    """Whether a text that could be a name is one more date above dates."""
    return may_be_time(name) and any(map(may_be_time, values))


def _are_numbers(values: Sequence[str]) -> bool:
    """Whether there are numbers among values, and little else but what stands for missing."""
    return kind_of([value for value in values if value not in MISSING]) is Kind.NUMBER


def _is_gap(text: str) -> bool:
    return text in MISSING or is_not_finite(text)

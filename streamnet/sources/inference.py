"""Inference of column kinds and of the task, and parsing of dates and timestamps."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np

from streamnet.samples import Kind, Task

MISSING = ("", "?", "NA", "N/A", "n/a", "NULL", "null", "None", "\\N")
"""Texts that stand for a missing value by default. Case is ignored among the numbers of a delimited
file, but not among words, since na or none may be a word."""

WHITESPACE = " \t\r\n\v\f"
"""Characters stripped from both ends of texts: ASCII only, so that bytes and text agree."""

NUMERIC_TYPES = (int, float, np.integer, np.floating, Decimal)
MIN_TEXT_WORDS = 4
MAX_NUMERIC_CLASSES = 20
MIN_NUMBERS = 20  # in a column that may have strays
MAX_STRAY_FRACTION = 0.05
MIN_IDS = 256  # values from which ids are recognized,
MIN_DISTINCT_IDS = 65  # of so many or more different ones
MAX_ID_DENSITY = 0.01  # of the whole numbers between the smallest and the largest id
MIN_ID_SPREAD = 0.05  # of the range, between the quartiles of different ids
MIN_REPEATED_IDS = 0.25  # of the values, whose id comes again
MIN_ID_DISORDER = 0.1  # of the values that are smaller than the one before, and of larger ones

_TRUTHS = {"false": False, "true": True}  # by the encoder's spelling
_DIGITS = frozenset("-0123456789")  # first characters of finite numbers
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_DIGIT = re.compile("[0-9]")
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)


def is_number(text: str) -> bool:
    """Whether a stripped text is a decimal number: not hexadecimal, ``1_000`` or NaN."""
    return _NUMBER.fullmatch(text) is not None


def is_not_finite(text: str) -> bool:
    """Whether a stripped text is one of the words for NaN and infinity."""
    return _NOT_FINITE.fullmatch(text) is not None


def is_numeric(value: object) -> bool:
    """Whether a value has a numeric type. Durations are not numeric, unlike in numpy."""
    return isinstance(value, NUMERIC_TYPES) and not isinstance(value, np.timedelta64)


def to_float(value: Any) -> float:
    """Convert a number, or the text of one, to a float; infinity if that is impossible."""
    try:
        return float(value)
    except (OverflowError, ValueError):  # a huge integer, a signaling NaN
        return math.inf


def to_number(label: int | float | str) -> int | float | None:
    """Convert a label to the number that it is, or whose text it is; None otherwise.

    >>> [to_number(label) for label in (7, "7", "0.5", "true", "007", "yes")]
    [7, 7, 0.5, True, None, None]
    """
    if not isinstance(label, str):
        return label
    text = label.strip(WHITESPACE)
    if text[:1] in _DIGITS:
        for kind in (int, float):
            with suppress(ValueError):
                number = kind(text)
                if repr(number) == text:
                    return number
    return _TRUTHS.get(text)


def infer_kind(values: Iterable[object], *, typed: bool = False) -> Kind | None:
    """Infer the kind of a column from its first values that are not missing; texts are stripped.

    NUMBER if all are numbers, or all but a few strays (see `find_strays`). TIME if all are dates or
    timestamps (see `parse_seconds`); DAY_FIRST or MONTH_FIRST if they can be parsed in that order
    only. Otherwise TEXT if the median value has at least four words, else CATEGORY, as for
    Booleans. The words for NaN and infinity are ignored; without any other value the kind is
    unknown, None. If the format tells numbers from texts (``typed``), no text is a number.
    """
    known = [v for v in values if not (isinstance(v, str) and is_not_finite(v))]
    if not known:
        return None
    if any(isinstance(v, bool | np.bool_) for v in known):
        return Kind.CATEGORY
    texts = [v for v in known if isinstance(v, str)]
    if len(texts) < len(known):
        return _infer_object_kind(known) if not texts else Kind.CATEGORY
    if not typed and find_strays(texts) is not None:
        return Kind.NUMBER
    if (kind := infer_time_kind(texts)) is not None:
        return kind
    words = sorted(len(text.split()) for text in texts)
    return Kind.TEXT if words[len(words) // 2] >= MIN_TEXT_WORDS else Kind.CATEGORY


def infer_task(values: Iterable[object], *, typed: bool = False) -> Task | None:
    """Infer the task from the first values of the target that are not missing; None without any.

    REGRESSION for numbers that are not all whole, or of which more than 20 are distinct.
    """
    known = list(values)
    kind = infer_kind(known, typed=typed)
    if kind is not Kind.NUMBER:
        return None if kind is None else Task.CLASSIFICATION
    numbers = {to_float(v) for v in known if not isinstance(v, str) or is_number(v)}
    return Task.CLASSIFICATION if _may_be_codes(numbers) else Task.REGRESSION


def are_ids(values: Sequence[object]) -> bool:
    """Whether numbers stand for something, such as users, rather than count or measure it.

    They are whole, and many; most come again, and yet are far apart, all over their range, and in
    no order. Numbers of neighboring ids, such as 1 to 150, can't be told from measurements.

    >>> from random import Random
    >>> draw = Random(1)
    >>> ids = [draw.randrange(10**6) for _ in range(200)]
    >>> are_ids(draw.choices(ids, k=1000)), are_ids(draw.choices(range(200), k=1000))
    (True, False)
    """
    try:
        numbers = np.array(values, np.float64)
    except (TypeError, ValueError, OverflowError):  # there are strays, or huge integers
        return False
    if len(numbers) < MIN_IDS or not np.isfinite(numbers).all() or (numbers % 1.0).any():
        return False
    distinct, counts = np.unique(numbers, return_counts=True)
    span = distinct[-1] - distinct[0]
    if len(distinct) < MIN_DISTINCT_IDS or len(distinct) > MAX_ID_DENSITY * span:
        return False
    low, high = np.quantile(distinct, (0.25, 0.75))
    steps = np.diff(numbers)
    repeated = counts[counts > 1].sum() / len(numbers)
    return bool(
        repeated >= MIN_REPEATED_IDS
        and high - low >= MIN_ID_SPREAD * span
        and min((steps > 0).mean(), (steps < 0).mean()) >= MIN_ID_DISORDER
    )


def find_strays(texts: Iterable[str]) -> list[str] | None:
    """Find the texts in a column of numbers that are not numbers; None if it is no such column.

    There may be at most 5 % of them, without digits, beside at least 20 numbers that are not codes:
    not all whole, or more than 20 distinct. So "bad" among measurements is a stray, but "A" among
    "1" and "2", or "V27" among "250", makes the column one of words.
    """
    texts = list(texts)
    strays = [text for text in texts if not is_number(text)]
    if not strays:
        return []
    fewest = max(MIN_NUMBERS, (1 - MAX_STRAY_FRACTION) * len(texts))
    if len(texts) - len(strays) < fewest or any(map(_DIGIT.search, strays)):
        return None
    return None if _may_be_codes({float(text) for text in texts if is_number(text)}) else strays


def _may_be_codes(numbers: set[float]) -> bool:
    """Whether these distinct numbers may be codes for something else."""
    few = len(numbers) <= MAX_NUMERIC_CLASSES
    return few and all(number.is_integer() for number in numbers)


def _infer_object_kind(values: list[object]) -> Kind:
    if all(map(is_numeric, values)):
        return Kind.NUMBER
    if all(isinstance(value, date | np.datetime64) for value in values):
        return Kind.TIME
    return Kind.CATEGORY


_UNIT_BOUNDS = (1e11, 1e14, 1e17)  # of a number of milliseconds, microseconds, nanoseconds
_UNITS_PER_SECOND = (1.0, 1e3, 1e6, 1e9)  # of a second

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - to subtract from times without a zone
_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)
_ISO = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)

_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_MONTH_NUMBERS = {name[:3]: number for number, name in enumerate(_MONTHS, start=1)}
_MONTH_NUMBERS |= {name: number for number, name in enumerate(_MONTHS, start=1)} | {"sept": 9}

_YEAR, _MONTH, _DAY = r"(?P<year>[0-9]{4})", r"(?P<month>[0-9]{1,2})", r"(?P<day>[0-9]{1,2})"
_NAME, _NTH = r"(?P<name>[a-z]{3,9})[.,]?", rf"{_DAY}(?:st|nd|rd|th|\.)?"
_WEEKDAY = r"(?:(?:mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|sat(?:ur)?|sun)(?:day)?[.,]? )?"
_HOURS = (
    r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,](?P<part>[0-9]+))?)?"
    r"(?:[ \u202f]?(?P<half>[ap])\.?m\.?)?(?: ?(?P<zone>Z|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?))?"
)
_CLOCK = rf"(?:(?:T|:|[.,]? ){_HOURS})?"


def _forms(*dates: str, clock: str = _CLOCK) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(date + clock, re.IGNORECASE | re.ASCII) for date in dates)


_UNAMBIGUOUS_FORMS = (
    *_forms(
        rf"{_YEAR}(?P<mark>[-/]){_MONTH}(?P=mark){_DAY}",
        rf"{_YEAR}\.(?P<month>[0-9]{{2}})\.(?P<day>[0-9]{{2}})",
        rf"{_DAY}\.{_MONTH}\.{_YEAR}",  # with dots, the day is always first
        rf"{_WEEKDAY}{_NTH}(?P<mark>[ /-]){_NAME}(?P=mark){_YEAR}",
        rf"{_WEEKDAY}{_NAME} {_NTH},? {_YEAR}",
    ),
    *_forms(rf"{_WEEKDAY}{_NAME}  ?{_DAY} {_HOURS} {_YEAR}", clock=""),
    *_forms(rf"{_YEAR}:(?P<month>[0-9]{{2}}):(?P<day>[0-9]{{2}}) {_HOURS}", clock=""),  # EXIF
)
_FORMS = {
    Kind.TIME: _UNAMBIGUOUS_FORMS,
    Kind.DAY_FIRST: (
        *_forms(rf"{_DAY}(?P<mark>[-/]){_MONTH}(?P=mark){_YEAR}"),
        *_UNAMBIGUOUS_FORMS,
    ),
    Kind.MONTH_FIRST: (
        *_forms(rf"{_MONTH}(?P<mark>[-/]){_DAY}(?P=mark){_YEAR}"),
        *_UNAMBIGUOUS_FORMS,
    ),
}


def is_unambiguous_time(text: str) -> bool:
    """Whether a stripped text is a valid date or timestamp with a single interpretation."""
    return parse_seconds(text) is not None


def is_any_time(text: str) -> bool:
    """Whether a stripped text is a valid date or timestamp of any kind of times."""
    return any(parse_seconds(text, kind) is not None for kind in _FORMS)


def infer_time_kind(texts: Collection[str]) -> Kind | None:
    """Infer the kind of times of these texts; None if they are not times, or ambiguous.

    >>> infer_time_kind(["3/4/2026", "13/4/2026"]), infer_time_kind(["3/4/2026"])
    (<Kind.DAY_FIRST: 'day_first'>, None)
    """
    found = [kind for kind in _FORMS if all(parse_seconds(t, kind) is not None for t in texts)]
    return found[0] if Kind.TIME in found or len(found) == 1 else None


def parse_seconds(text: str, kind: Kind = Kind.TIME) -> float | None:
    """Parse a stripped text that is a date, maybe with a time, to seconds since 1970; else None.

    Dates: ISO 8601, with or without leading zeros (2026-04-03, 2026/4/3); with dots (3.4.2026,
    2026.04.03); of photographs (2026:04:03 09:05:30); with an English month (3 Apr 2026,
    3-Apr-2026, Fri, 3 April 2026, April 3rd, 2026, Fri Apr  3 09:05:30 2026); and 3/4/2026 or
    3-4-2026 if ``kind`` gives the order. A time follows a T, a space or a colon (9:05, 09:05:30.5,
    9:05 pm), and may be followed by an offset (Z, UTC, GMT, +02, +02:00, +0200); the default is
    UTC.

    >>> parse_seconds("1970-01-02"), parse_seconds("1970-01-01T01:00:00.5+01:00")
    (86400.0, 0.5)
    >>> parse_seconds("2/1/1970 12:30 am", Kind.DAY_FIRST), parse_seconds("Jan 2, 1970")
    (88200.0, 86400.0)
    """
    try:
        if _ISO.fullmatch(text) is not None:
            return to_seconds(datetime.fromisoformat(text))
        if text.replace(".", "", 1).isdigit():  # a timestamp: trying all forms would take longer
            return None
        for form in _FORMS[kind]:
            if (found := form.fullmatch(text)) is not None:
                return _combine_parts(found.groupdict())
    except (ValueError, OverflowError):  # no such day, hour or month
        pass
    return None


def _combine_parts(parts: Mapping[str, str | None]) -> float:
    """Convert the groups of a matched form to seconds; a `ValueError` if there is no such time."""
    year, day, hour, minute, second = (
        int(parts[name] or 0) for name in ("year", "day", "hour", "minute", "second")
    )
    month = int(parts.get("month") or _MONTH_NUMBERS.get(str(parts.get("name")).lower(), 0))
    if half := parts["half"]:
        if not 1 <= hour <= 12:
            raise ValueError(f"{hour} is not an hour on a 12-hour clock")
        hour = hour % 12 + 12 * (half in "pP")
    moment = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - UTC without zone
    return to_seconds(moment) + float(f"0.{parts['part'] or 0}") - _parse_offset(parts["zone"])


def _parse_offset(zone: str | None) -> float:
    """Offset of a time zone from UTC, in seconds."""
    if zone is None or zone.isalpha():
        return 0.0
    hours, minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or 0)
    if hours > 23 or minutes > 59:
        raise ValueError(f"{zone} is not an offset")
    ahead = 3600.0 * hours + 60.0 * minutes
    return -ahead if zone[0] == "-" else ahead


def to_seconds(moment: date) -> float:
    """Convert a date or datetime to seconds since 1970; without a zone it is UTC."""
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day)  # noqa: DTZ001 - UTC without zone
    epoch = _EPOCH if moment.tzinfo is None else _EPOCH_UTC
    return (moment - epoch).total_seconds()


def number_to_seconds(number: float) -> float:
    """Convert a timestamp in s, ms, µs or ns since 1970 to seconds.

    Its absolute value determines the unit: below 1e11 it is seconds (up to the year 5138), below
    1e14 milliseconds, below 1e17 microseconds, else nanoseconds (each from March 1973 on).

    >>> [number_to_seconds(n) for n in (-0.5, 1.7e9, 1.7e12, 1.7e15, 1.7e18)]
    [-0.5, 1700000000.0, 1700000000.0, 1700000000.0, 1700000000.0]
    """
    return number / _UNITS_PER_SECOND[bisect_right(_UNIT_BOUNDS, abs(number))]

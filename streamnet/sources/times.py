"""Dates and timestamps as seconds since 1970-01-01 UTC."""

from __future__ import annotations

import re
from bisect import bisect_right
from datetime import UTC
from datetime import date
from datetime import datetime

__all__ = ("is_time", "seconds_of", "seconds_of_number", "seconds_of_text")

_LEAST = (1e11, 1e14, 1e17)  # of a number of milliseconds, microseconds, nanoseconds
_PARTS = (1.0, 1e3, 1e6, 1e9)  # of a second

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - to subtract from times without a zone
_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)
_ISO = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)


def is_time(text: str) -> bool:
    """Whether a stripped text is an ISO 8601 date or timestamp that exists."""
    return seconds_of_text(text) is not None


def seconds_of_text(text: str) -> float | None:
    """Seconds of an ISO 8601 text, None if it is none. Without an offset it is UTC.

    >>> seconds_of_text("1970-01-02"), seconds_of_text("1970-01-01T01:00:00.5+01:00")
    (86400.0, 0.5)
    """
    if _ISO.fullmatch(text) is None:
        return None
    try:
        return seconds_of(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


def seconds_of(moment: date) -> float:
    """Seconds of a date or datetime. Without a zone it is UTC."""
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day)  # noqa: DTZ001 - UTC without zone
    epoch = _EPOCH if moment.tzinfo is None else _EPOCH_UTC
    return (moment - epoch).total_seconds()


def seconds_of_number(number: float) -> float:
    """Seconds of a number of seconds since 1970, or of thousandths, millionths or billionths.

    Its size, whatever the sign, tells which: below 1e11 it is seconds (to the year 5138), below
    1e14 milliseconds, below 1e17 microseconds, else nanoseconds (each from March 1973 on).

    >>> [seconds_of_number(n) for n in (-0.5, 1.7e9, 1.7e12, 1.7e15, 1.7e18)]
    [-0.5, 1700000000.0, 1700000000.0, 1700000000.0, 1700000000.0]
    """
    return number / _PARTS[bisect_right(_LEAST, abs(number))]

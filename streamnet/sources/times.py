"""Dates and timestamps as seconds since 1970-01-01 UTC."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection
from collections.abc import Mapping
from datetime import UTC
from datetime import date
from datetime import datetime

from streamnet.samples import Kind

__all__ = (
    "is_time",
    "kind_of_times",
    "may_be_time",
    "seconds_of",
    "seconds_of_number",
    "seconds_of_text",
)

_LEAST = (1e11, 1e14, 1e17)  # of a number of milliseconds, microseconds, nanoseconds
_PARTS = (1.0, 1e3, 1e6, 1e9)  # of a second

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
_NUMBER_OF_MONTH = {name[:3]: number for number, name in enumerate(_MONTHS, start=1)}
_NUMBER_OF_MONTH |= {name: number for number, name in enumerate(_MONTHS, start=1)} | {"sept": 9}

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


_CLEAR = (
    *_forms(
        rf"{_YEAR}(?P<mark>[-/]){_MONTH}(?P=mark){_DAY}",
        rf"{_YEAR}\.(?P<month>[0-9]{{2}})\.(?P<day>[0-9]{{2}})",
        rf"{_DAY}\.{_MONTH}\.{_YEAR}",  # with dots nobody puts the month first
        rf"{_WEEKDAY}{_NTH}(?P<mark>[ /-]){_NAME}(?P=mark){_YEAR}",
        rf"{_WEEKDAY}{_NAME} {_NTH},? {_YEAR}",
    ),
    *_forms(rf"{_WEEKDAY}{_NAME}  ?{_DAY} {_HOURS} {_YEAR}", clock=""),
)
_FORMS = {
    Kind.TIME: _CLEAR,
    Kind.DAY_FIRST: (*_forms(rf"{_DAY}(?P<mark>[-/]){_MONTH}(?P=mark){_YEAR}"), *_CLEAR),
    Kind.MONTH_FIRST: (*_forms(rf"{_MONTH}(?P<mark>[-/]){_DAY}(?P=mark){_YEAR}"), *_CLEAR),
}


def is_time(text: str) -> bool:
    """Whether a stripped text is a date or timestamp that exists and can be read in one way."""
    return seconds_of_text(text) is not None


def may_be_time(text: str) -> bool:
    """Whether a stripped text is a date or timestamp of any kind: one may have to say which."""
    return any(seconds_of_text(text, kind) is not None for kind in _FORMS)


def kind_of_times(texts: Collection[str]) -> Kind | None:
    """The kind of times that all these texts are; None if they are none, or of two kinds alike.

    >>> kind_of_times(["3/4/2026", "13/4/2026"]), kind_of_times(["3/4/2026"])
    (<Kind.DAY_FIRST: 'day_first'>, None)
    """
    found = [kind for kind in _FORMS if all(seconds_of_text(t, kind) is not None for t in texts)]
    return found[0] if Kind.TIME in found or len(found) == 1 else None


def seconds_of_text(text: str, kind: Kind = Kind.TIME) -> float | None:
    """Seconds of a stripped text that is a date, maybe with a time; None if it is none.

    Dates are those of ISO 8601, with or without zeros: 2026-04-03, 2026/4/3; with dots 3.4.2026 or
    2026.04.03; with an English month 3 Apr 2026, 3-Apr-2026, Fri, 3 April 2026, April 3rd, 2026, or
    Fri Apr  3 09:05:30 2026; and 3/4/2026 or 3-4-2026 where ``kind`` tells what comes first. A time
    follows a T, a blank or a colon: 9:05, 09:05:30.5, 9:05 pm; then an offset may, as Z, UTC, GMT,
    +02, +02:00 or +0200; without one it is UTC.

    >>> seconds_of_text("1970-01-02"), seconds_of_text("1970-01-01T01:00:00.5+01:00")
    (86400.0, 0.5)
    >>> seconds_of_text("2/1/1970 12:30 am", Kind.DAY_FIRST), seconds_of_text("Jan 2, 1970")
    (88200.0, 86400.0)
    """
    try:
        if _ISO.fullmatch(text) is not None:
            return seconds_of(datetime.fromisoformat(text))
        if text.replace(".", "", 1).isdigit():  # seconds since 1970: to try all forms takes longer
            return None
        for form in _FORMS[kind]:
            if (found := form.fullmatch(text)) is not None:
                return _seconds_of_parts(found.groupdict())
    except (ValueError, OverflowError):  # no such day, hour or month
        pass
    return None


def _seconds_of_parts(parts: Mapping[str, str | None]) -> float:
    """Seconds of what a form found.

    Raises:
        ValueError: If there is no such moment.
    """
    year, day, hour, minute, second = (
        int(parts[name] or 0) for name in ("year", "day", "hour", "minute", "second")
    )
    month = int(parts.get("month") or _NUMBER_OF_MONTH.get(str(parts.get("name")).lower(), 0))
    if half := parts["half"]:
        if not 1 <= hour <= 12:
            raise ValueError(f"{hour} is no hour of half a day")
        hour = hour % 12 + 12 * (half in "pP")
    moment = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - UTC without zone
    return seconds_of(moment) + float(f"0.{parts['part'] or 0}") - _offset(parts["zone"])


def _offset(zone: str | None) -> float:
    """Seconds that clocks of a zone are ahead of UTC."""
    if zone is None or zone.isalpha():
        return 0.0
    hours, minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or 0)
    if hours > 23 or minutes > 59:
        raise ValueError(f"{zone} is no offset")
    ahead = 3600.0 * hours + 60.0 * minutes
    return -ahead if zone[0] == "-" else ahead


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

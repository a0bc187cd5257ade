"""Single values of Python, numpy and JSON as numbers, times and words."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamnet.samples import TIMES
from streamnet.samples import Kind
from streamnet.sources.kinds import WHITESPACE
from streamnet.sources.kinds import is_not_finite
from streamnet.sources.kinds import is_number
from streamnet.sources.kinds import is_numeric
from streamnet.sources.kinds import number_from
from streamnet.sources.reasons import Reason
from streamnet.sources.times import seconds_of
from streamnet.sources.times import seconds_of_number
from streamnet.sources.times import seconds_of_text

__all__ = (
    "Reading",
    "column_of",
    "number_of",
    "reader_of",
    "target_number_of",
    "time_of",
    "word_of",
)

Number = Callable[[object, "Reading"], "float | Reason"]

# Tuples, since a union in a call is made anew at each, which takes longer than the call.
FLOATS = (float, np.floating)
TRUTHS = (bool, np.bool_)

FIRST, BEHIND = -62_135_596_800, 253_402_300_800  # seconds of the years 1 and 10000

UNORDERED = (*FLOATS, date, np.datetime64)
"""Types with a value that is not equal to itself: NaN and NaT."""

WORDS = (*TRUTHS, date, np.datetime64)
"""Types that can be words or times, but are no numbers."""


class Reading(NamedTuple):
    """How values are read."""

    missing: frozenset[str]  # texts that stand for a missing value
    typed: bool  # the format tells numbers from texts: a text is never a number

    def is_missing(self, value: object) -> bool:
        """Whether ``value`` stands for a missing one. NaN does."""
        if isinstance(value, str):
            return value.strip(WHITESPACE) in self.missing
        if isinstance(value, UNORDERED):
            return bool(value != value)
        if isinstance(value, Decimal):
            return value.is_nan()  # a signalling one can't be compared
        return value is None or type(value).__name__ == "NAType"  # that of pandas


def number_of(value: object, reading: Reading) -> float | Reason:
    """A number, NaN for a missing one, or the reason why it is none."""
    if reading.is_missing(value):
        return math.nan
    if isinstance(value, str):
        return _number_of_text(value.strip(WHITESPACE), reading)
    if is_numeric(value) and not isinstance(value, bool):
        return _finite(value)
    return Reason.NUMBER if isinstance(value, WORDS) else Reason.TYPE


def time_of(value: object, reading: Reading, kind: Kind = Kind.TIME) -> float | Reason:
    """Seconds since 1970 UTC of a time, a date, a text, or a number of seconds or parts of it.

    See `seconds_of_text` for texts and kinds of times, and `seconds_of_number` for numbers.
    """
    if reading.is_missing(value):
        return math.nan
    if isinstance(value, str):
        text = value.strip(WHITESPACE)
        seconds = seconds_of_text(text, kind)
        if seconds is not None:
            return seconds
        if reading.typed or not is_number(text):
            return Reason.TIME
        return _moment(text)
    if isinstance(value, np.datetime64):
        whole = int(value.astype("M8[s]").astype(np.int64))
        # Beyond the years 1 to 9999 there is no `date`, and microseconds would overflow.
        if not FIRST <= whole < BEHIND:
            return float(whole)
        value = value.astype("M8[us]").item()
    if isinstance(value, date):
        return seconds_of(value)
    if is_numeric(value) and not isinstance(value, bool):
        return _moment(value)
    return Reason.TIME if isinstance(value, TRUTHS) else Reason.TYPE


def target_number_of(value: object, reading: Reading) -> float | Reason:
    """The target of a regression, NaN for a missing one, or the reason why it is none."""
    number = number_of(value, reading)
    return Reason.TARGET_NUMBER if isinstance(number, Reason) else number


def word_of(value: object, reading: Reading) -> str | Reason | None:
    """A word or text, None for a missing one, or the reason why it is none.

    A whole number is the same word whichever type it has: one gap makes floats of a whole column.
    """
    if isinstance(value, str):
        text = str(value.strip(WHITESPACE))
        return None if text in reading.missing else text
    if type(value) is int:  # the short way for most labels: none is missing
        return _written(value)
    if reading.is_missing(value):
        return None
    if isinstance(value, TRUTHS):
        return "true" if value else "false"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, np.datetime64):
        return str(value)
    return _written(value) if is_numeric(value) else Reason.TYPE


def column_of(words: Sequence[object]) -> NDArray[np.object_]:
    """Words as a column, shape=(n,), each of them the object that it was."""
    column = np.empty(len(words), np.object_)
    column[:] = words
    return column


def reader_of(kind: Kind) -> Number:
    """What reads the values of a numeric kind."""
    return partial(time_of, kind=kind) if kind in TIMES else number_of


def _number_of_text(text: str, reading: Reading) -> float | Reason:
    if is_not_finite(text):
        return Reason.NOT_FINITE
    if reading.typed or not is_number(text):
        return Reason.NUMBER
    return _finite(text)


def _moment(value: object) -> float | Reason:
    number = _finite(value)
    return number if isinstance(number, Reason) else seconds_of_number(number)


def _written(number: object) -> str | Reason:
    whole = isinstance(number, FLOATS) and number.is_integer()
    try:
        return str(int(number) if whole else number)  # type: ignore[call-overload]  # a float
    except ValueError:  # more digits than Python writes
        return Reason.NOT_FINITE


def _finite(value: object) -> float | Reason:
    number = number_from(value)
    return number if math.isfinite(number) else Reason.NOT_FINITE

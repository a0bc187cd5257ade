"""Inference of column kinds and of the task from the first values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np

from streamnet.samples import Kind, Task
from streamnet.sources.dates import infer_time_kind

__all__ = (
    "MISSING",
    "WHITESPACE",
    "find_strays",
    "infer_kind",
    "infer_task",
    "is_not_finite",
    "is_number",
    "is_numeric",
    "to_float",
)

MISSING = ("", "?", "NA", "N/A", "n/a", "NULL", "null", "None", "\\N")
"""What stands for a missing value, unless said otherwise. Among the numbers of a delimited file it
counts in capitals or not; among words it does not, as na or none may be one."""

WHITESPACE = " \t\r\n\v\f"
"""What is stripped from both sides of every text: ASCII only, so bytes and text agree."""

NUMERIC_TYPES = (int, float, np.integer, np.floating, Decimal)
MIN_TEXT_WORDS = 4
MAX_NUMERIC_CLASSES = 20
MIN_NUMBERS = 20  # of a column that may have strays
MAX_STRAY_SHARE = 0.05

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_DIGIT = re.compile("[0-9]")
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)


def is_number(text: str) -> bool:
    """Whether a stripped text is a decimal number: no hexadecimal, no ``1_000``, no NaN."""
    return _NUMBER.fullmatch(text) is not None


def is_not_finite(text: str) -> bool:
    """Whether a stripped text is one of the words for NaN and infinity."""
    return _NOT_FINITE.fullmatch(text) is not None


def is_numeric(value: object) -> bool:
    """Whether a value is of a type of numbers. A duration is none, though numpy calls it whole."""
    return isinstance(value, NUMERIC_TYPES) and not isinstance(value, np.timedelta64)


def to_float(value: Any) -> float:
    """A number, or a text that is one, as a float; infinite where it is too large, or no value."""
    try:
        return float(value)
    except (OverflowError, ValueError):  # a whole number without end, a signalling NaN
        return math.inf


def infer_kind(values: Iterable[object], *, typed: bool = False) -> Kind:
    """The kind of a column by its first values, those that stand for missing left out.

    Numbers only, or with few strays, see `find_strays`: NUMBER. Dates and timestamps only, see
    `seconds_of_text`: TIME, or DAY_FIRST or MONTH_FIRST if that is the only way to read them.
    Otherwise words: TEXT where the median value has at least four of them, else CATEGORY, also for
    truth values and for no values at all. The words for NaN and infinity decide nothing.

    Args:
        values: Texts (stripped), or values of Python and numpy types.
        typed: The format tells numbers from texts, so a text is never a number.
    """
    known = [v for v in values if not (isinstance(v, str) and is_not_finite(v))]
    if not known or any(isinstance(v, bool | np.bool_) for v in known):
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


def infer_task(values: Iterable[object], *, typed: bool = False) -> Task:
    """The task that a target poses by its first values, those that stand for missing left out.

    REGRESSION for numbers that are not all whole or of which more than 20 are distinct.
    """
    known = list(values)
    if infer_kind(known, typed=typed) is not Kind.NUMBER:
        return Task.CLASSIFICATION
    numbers = {to_float(v) for v in known if not isinstance(v, str) or is_number(v)}
    return Task.CLASSIFICATION if _may_be_codes(numbers) else Task.REGRESSION


def find_strays(texts: Iterable[str]) -> list[str] | None:
    """The texts of a column of numbers that are none, None if it is no column of numbers.

    Those are at most 5 % beside at least 20 numbers, without a digit in them, and the numbers are
    no codes: not all of them whole, or more than 20 distinct. So "bad" among measurements is a
    stray; "A" among "1" and "2" or "V27" among "250" is one more word.
    """
    texts = list(texts)
    strays = [text for text in texts if not is_number(text)]
    if not strays:
        return []
    fewest = max(MIN_NUMBERS, (1 - MAX_STRAY_SHARE) * len(texts))
    if len(texts) - len(strays) < fewest or any(map(_DIGIT.search, strays)):
        return None
    return None if _may_be_codes({float(text) for text in texts if is_number(text)}) else strays


def _may_be_codes(numbers: set[float]) -> bool:
    """Whether these different numbers may stand for something else."""
    few = len(numbers) <= MAX_NUMERIC_CLASSES
    return few and all(number.is_integer() for number in numbers)


def _infer_object_kind(values: list[object]) -> Kind:
    if all(map(is_numeric, values)):
        return Kind.NUMBER
    if all(isinstance(value, date | np.datetime64) for value in values):
        return Kind.TIME
    return Kind.CATEGORY

"""The rule that says what kind a column is of, and what task its target poses."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np

from streamnet.samples import Kind
from streamnet.samples import Task
from streamnet.sources.times import kind_of_times

__all__ = (
    "MISSING",
    "WHITESPACE",
    "is_not_finite",
    "is_number",
    "is_numeric",
    "kind_of",
    "number_from",
    "strays_of",
    "task_of",
)

MISSING = ("", "?", "NA", "N/A", "n/a", "NULL", "null", "None", "\\N")
"""What stands for a missing value, unless said otherwise. Among the numbers of a delimited file it
counts in capitals or not; among words it does not, as na or none may be one."""

WHITESPACE = " \t\r\n\v\f"
"""What is stripped from both sides of every text: ASCII only, so bytes and text agree."""

NUMERIC = (int, float, np.integer, np.floating, Decimal)
WORDS_OF_A_TEXT = 4
CLASSES_OF_NUMBERS = 20
FEWEST_NUMBERS = 20  # of a column that may have strays
MOST_STRAYS = 0.05

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
    return isinstance(value, NUMERIC) and not isinstance(value, np.timedelta64)


def number_from(value: Any) -> float:
    """A number, or a text that is one, as a float; infinite where it is too large, or no value."""
    try:
        return float(value)
    except (OverflowError, ValueError):  # a whole number without end, a signalling NaN
        return math.inf


def kind_of(values: Iterable[object], *, typed: bool = False) -> Kind:
    """The kind of a column by its first values, those that stand for missing left out.

    Numbers only, or with few strays, see `strays_of`: NUMBER. Dates and timestamps only, see
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
        return _kind_of_objects(known) if not texts else Kind.CATEGORY
    if not typed and strays_of(texts) is not None:
        return Kind.NUMBER
    if (kind := kind_of_times(texts)) is not None:
        return kind
    words = sorted(len(text.split()) for text in texts)
    return Kind.TEXT if words[len(words) // 2] >= WORDS_OF_A_TEXT else Kind.CATEGORY


def task_of(values: Iterable[object], *, typed: bool = False) -> Task:
    """The task that a target poses by its first values, those that stand for missing left out.

    REGRESSION for numbers that are not all whole or of which more than 20 are distinct.
    """
    known = list(values)
    if kind_of(known, typed=typed) is not Kind.NUMBER:
        return Task.CLASSIFICATION
    numbers = {number_from(v) for v in known if not isinstance(v, str) or is_number(v)}
    return Task.CLASSIFICATION if _may_be_codes(numbers) else Task.REGRESSION


def strays_of(texts: Iterable[str]) -> list[str] | None:
    """The texts of a column of numbers that are none, None if it is no column of numbers.

    Those are at most 5 % beside at least 20 numbers, without a digit in them, and the numbers are
    no codes: not all of them whole, or more than 20 distinct. So "bad" among measurements is a
    stray; "A" among "1" and "2" or "V27" among "250" is one more word.
    """
    texts = list(texts)
    strays = [text for text in texts if not is_number(text)]
    if not strays:
        return []
    fewest = max(FEWEST_NUMBERS, (1 - MOST_STRAYS) * len(texts))
    if len(texts) - len(strays) < fewest or any(map(_DIGIT.search, strays)):
        return None
    return None if _may_be_codes({float(text) for text in texts if is_number(text)}) else strays


def _may_be_codes(numbers: set[float]) -> bool:
    """Whether these different numbers may stand for something else."""
    few = len(numbers) <= CLASSES_OF_NUMBERS
    return few and all(number.is_integer() for number in numbers)


def _kind_of_objects(values: list[object]) -> Kind:
    if all(map(is_numeric, values)):
        return Kind.NUMBER
    if all(isinstance(value, date | np.datetime64) for value in values):
        return Kind.TIME
    return Kind.CATEGORY

"""Numbers with separators of thousands, signs of units, or typographic minus signs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from streamnet.errors import DataError
from streamnet.samples import Task
from streamnet.sources.inference import MAX_NUMERIC_CLASSES, infer_task, is_number

SPACES = " \u00a0\u202f\u2009"  # some of them do not break lines
QUOTES = "'\u2019"
UNITS = f"$€£¥₹₽₩₺%{SPACES}"
MINUS = str.maketrans("\u2212\u2013", "--")  # typographic minus signs
CODES = "EUR|USD|GBP|CHF|JPY|CNY|INR|AUD|CAD|SEK|NOK|DKK|PLN|CZK|HUF|RUB|BRL|ZAR|TRY|MXN|NZD"
_CODE = re.compile(rf"^(?:{CODES})(?![A-Z])|(?<![A-Z])(?:{CODES})$")
MAX_OTHER_FRACTION = 0.05  # of texts that are not written in the style of their column
MIN_GROUPED = 3  # distinct numbers like 1,234 that tell how they are meant


class NumberStyle(NamedTuple):
    """How numbers are written.

    >>> english, german = STYLES[0], STYLES[2]
    >>> english.normalize("-$1,234.50"), german.normalize("1.234,50 €"), english.normalize("12 %")
    ('-1234.50', '1234.50', '12')
    >>> english.normalize("(12.50)"), english.normalize("15.00 EUR"), english.normalize("1,5")
    ('-12.50', '15.00', None)
    """

    thousands: str  # characters that may separate thousands
    decimal: str

    def normalize(self, text: str) -> str | None:
        """Remove unit signs and separators of thousands from a number; None if it is not one."""
        written = self.split(text)
        return None if written is None else written.number

    def find_separator(self, texts: Iterable[str]) -> str | None:
        """Find the separator of thousands that texts in this style use; None without any."""
        written = filter(None, map(self.split, texts))
        return next((one.marks[0] for one in written if one.marks), None)

    def split(self, text: str) -> Written | None:
        """Take apart a number; None if the text is not one in this style."""
        plain = text.translate(MINUS)
        if plain.startswith("(") and plain.endswith(")"):  # a negative amount in accounting
            plain = f"-{plain[1:-1]}"
        sign = plain[:1] if plain[:1] in ("+", "-") else ""
        bare = plain.removeprefix(sign).strip(UNITS)
        amount = _CODE.sub("", bare, count=1).strip(UNITS)
        whole, point, part = amount.partition(self.decimal)
        groups = re.split(f"[{self.thousands}]", whole) if self.thousands else [whole]
        if len(groups) > 1 and (groups[0].startswith("0") or any(len(g) != 3 for g in groups[1:])):
            return None
        digits = "".join(groups)
        number = f"{sign}{digits}{point and '.'}{part}"
        if (self.decimal != "." and "." in digits) or not is_number(number):
            return None
        marks = whole[len(groups[0]) :: 4] if len(groups) > 1 else ""
        return Written(number, marks, bool(point), amount != text.removeprefix(sign))


class Written(NamedTuple):
    """A number that was taken apart."""

    number: str  # in plain form
    marks: str  # its separators of thousands
    has_decimal: bool  # whether it has a decimal separator
    has_sign: bool  # of a unit, or a minus sign that is not plain

    @property
    def is_clear(self) -> bool:
        """Whether its separators can be meant in one way only."""
        return len(self.marks) > 1 or (bool(self.marks) and self.has_decimal)

    @property
    def is_doubtful(self) -> bool:
        """Whether its only separator may be a decimal one, as in 1,234 and 1.234."""
        if self.has_decimal:
            whole, _, part = self.number.lstrip("+-").partition(".")
            return not self.marks and len(part) == 3 and 0 < len(whole) < 4 and whole[0] != "0"
        return self.marks in (".", ",")


STYLES = (
    NumberStyle(f",{QUOTES}{SPACES}", "."),
    NumberStyle("", ","),
    NumberStyle(f".{QUOTES}{SPACES}", ","),
)
"""Likelier ones first."""


SEPARATORS = frozenset(f",.{QUOTES}{SPACES}")
"""Characters that may separate thousands."""


def build_style(thousands: str) -> NumberStyle:
    """The style with a given separator of thousands; a space stands for all spaces."""
    return NumberStyle(
        SPACES if thousands in SPACES else thousands, "," if thousands == "." else "."
    )


def find_style(
    texts: Sequence[str], *, thousands: str | None = None, decimal: str = "."
) -> NumberStyle | None:
    """Find the style in which nearly all texts are numbers; None if there is none, or a doubt.

    Args:
        texts: Values of a column.
        thousands: The separator of thousands, if it is known.
        decimal: The decimal separator of the other columns.

    >>> find_style(["$1,234.50", "$8"]) == STYLES[0], find_style(["1.234,5"]) == STYLES[2]
    (True, True)
    >>> find_style(["1,234"]), find_style(["1,5"]), find_style(["1.234 €"])
    (None, None, None)
    >>> find_style(["1,234", "12,345", "999", "1,000"]) == STYLES[0]
    True
    """
    if thousands is not None:
        style = build_style(thousands)
        return None if _split_all(texts, style) is None else style
    styles = STYLES[2:] if decimal == "," else STYLES
    readings = [(s, found) for s in styles if (found := _split_all(texts, s)) is not None]
    if not readings:
        return None
    style, written = readings[0]
    if any(one.is_clear for one in written) or decimal == ",":
        return style
    doubtful = [one for one in written if one.is_doubtful]
    if doubtful and not all(one.is_doubtful for one in written if one.marks or one.has_decimal):
        doubtful = []  # such as 12.50 beside 1.250
    if not doubtful:
        return style if any(one.has_sign for one in written) or _are_spaced(written) else None
    return style if _are_thousands(written, doubtful) else None


def infer_target(
    source: str,
    target: str,
    values: Sequence[object],
    *,
    typed: bool = False,
    thousands: str | None = None,
    decimal: str = ".",
) -> tuple[Task | None, NumberStyle | None]:
    """Infer the task from values of the target, and how its numbers are written.

    Args:
        source: Name of the source in messages.
        target: Name of the target.
        values: Its first values that are not missing.
        typed: Whether the format distinguishes numbers from texts.
        thousands: The separator of thousands, if it is known.
        decimal: The decimal separator of the other columns.

    Raises:
        DataError: If they are numbers with marks that have two readings; they would become labels.
    """
    task = infer_task(values, typed=typed)
    texts = [value for value in values if isinstance(value, str)]
    if task is not Task.CLASSIFICATION or len(texts) < len(values):
        return task, None
    style = None if typed else find_style(texts, thousands=thousands, decimal=decimal)
    if style is not None:
        numbers = filter(None, map(style.normalize, texts))
        return infer_task(numbers), style
    if len(set(texts)) > MAX_NUMERIC_CLASSES and (found := find_marked_number(texts)) is not None:
        hint = "--task regression" if typed else "--thousands with their separator of thousands"
        raise DataError(
            f"the target {target!r} of {source} has {found[0]!r}, which may be the number "
            f"{found[1]}: {hint} reads such texts as numbers, --task classification as labels"
        )
    return task, None


def parse_marked_number(text: str, thousands: str | None = None) -> str | None:
    """Convert a number to plain form; None if it is not one, or if it has two readings.

    >>> parse_marked_number("-2.5e3"), parse_marked_number("$1,200.5"), parse_marked_number("1,200")
    ('-2.5e3', '1200.5', None)
    >>> parse_marked_number("1,200", ",")
    '1200'
    """
    if is_number(text):
        return text
    style = find_style((text,), thousands=thousands)
    return None if style is None else style.normalize(text)


def find_marked_number(texts: Sequence[str]) -> tuple[str, str] | None:
    """Find the first number with marks, and its value, if nearly all texts are numbers."""
    for style in STYLES:
        if _split_all(texts, style) is not None:
            for text in texts:
                number = style.normalize(text)
                if number is not None and number != text:
                    return text, number
    return None


def _split_all(texts: Sequence[str], style: NumberStyle) -> list[Written] | None:
    """Take nearly all texts apart; None if too many are not numbers in this style."""
    found, others = [], 0
    for text in texts:
        written = style.split(text)
        if written is not None:
            found.append(written)
            continue
        others += 1
        if others > MAX_OTHER_FRACTION * len(texts):
            return None
    return found


def _are_thousands(written: Sequence[Written], doubtful: Sequence[Written]) -> bool:
    """Whether commas before three digits separate thousands.

    Decimal commas would not be absent from numbers below 1,000 only, with three digits behind them
    elsewhere.
    """
    if any(one.has_decimal for one in doubtful):
        return False
    plain = [abs(float(one.number)) for one in written if not one.marks]
    distinct = len({one.number for one in doubtful})
    return distinct >= MIN_GROUPED and max(plain, default=math.inf) < 1000.0


def _are_spaced(written: Sequence[Written]) -> bool:
    """Whether spaces or quotes separate thousands, without any other evidence."""
    return len({one.number for one in written if one.marks}) >= MIN_GROUPED

"""Compiled parser for the fields of delimited records: numbers, words and distinct values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import kernel
from streamnet.sources.text.records import Records

SKIPPED = -1  # in a plan: 0 and above are columns of numbers, -2 and below columns of words
NUMBER, HARD, WORD = 0, 1, 2  # content of a field of numbers; a HARD one is left to Python

SPACE, TAB, RETURN, DOT, PLUS, MINUS, ZERO, NINE = 32, 9, 13, 46, 43, 45, 48, 57
GROUP = 3  # digits between two separators of thousands
MAX_GROUPED_BYTES = 512  # of a number with separators of thousands
EXPONENT = 101
DIGITS_KEPT = 19  # in 64 bits
EXACT = np.uint64(2**53)  # below it, whole numbers are exact, as are powers of ten up to 10**22
Bytes = NDArray[np.uint8]
Whole = NDArray[np.int64]
Missing = tuple[Bytes, Whole, Bytes]  # texts joined, where each ends, and 1 for their first bytes

POWERS = 10.0 ** np.arange(23)


class BadNumber(NamedTuple):
    """A field that should be a number but is not."""

    row: int
    column: int  # of the numbers
    begin: int
    end: int
    huge: bool  # a number, but too large for 64 bits


class Fields(NamedTuple):
    """The parsed fields of n records."""

    numbers: NDArray[np.float64]  # shape=(n, numbers), NaN where missing or bad
    span: NDArray[np.int64]  # shape=(words, n, 2), begin and end without quotes and space
    escaped: NDArray[np.uint8]  # shape=(words, n), 1 where quotes are doubled
    bad_numbers: list[BadNumber]


class FieldReader:
    """Parses the fields of records by a plan: a number, a word or nothing for each field.

    The plan, shape=(fields,), has the column of a number, `word` of the column of a word, or
    `SKIPPED`. ``missing`` are texts for a missing number, in any case. Unless the decimal separator
    is a dot, dots separate thousands.
    """

    def __init__(
        self,
        plan: NDArray[np.int64],
        delimiter: int,
        quote: int,
        missing: Iterable[bytes],
        decimal: int = DOT,
    ) -> None:
        """Set up the parser."""
        self._plan = plan
        self._numbers = int(max(0, plan.max(initial=-1) + 1))
        self._words = int(max(0, -1 - plan.min(initial=-1)))
        self._delimiter = delimiter
        self._quote = quote
        self._decimal = decimal
        texts = sorted({text.lower() for text in missing})
        self._missing = np.frombuffer(b"".join(texts), np.uint8)
        self._missing_ends = np.cumsum([0, *map(len, texts)]).astype(np.int64)
        self._starts_missing = np.zeros(256, np.uint8)
        starts = [start for text in texts for start in (text[:1], text[:1].upper())]
        self._starts_missing[list(b"".join(starts))] = 1

    @staticmethod
    def word(column: int) -> int:
        """The entry of a plan for a field that is column ``column`` of the words."""
        return -2 - column

    def read(self, data: bytes, records: Records, good: NDArray[np.bool_]) -> Fields:
        """Parse the fields of the good ones among these records of ``data``."""
        count = len(records.begin)
        numbers = np.full((count, self._numbers), np.nan)
        span = np.zeros((self._words, count, 2), np.int64)
        escaped = np.zeros((self._words, count), np.uint8)
        trouble = np.empty((count * self._numbers, 5), np.int64)
        found = _read(
            np.frombuffer(data, np.uint8),
            (records.begin, records.end, good),
            (self._plan, self._delimiter, self._quote, self._decimal),
            (self._missing, self._missing_ends, self._starts_missing),
            (numbers, span, escaped, trouble, np.empty(MAX_GROUPED_BYTES, np.uint8)),
        )
        bad = self._parse_hard_numbers(data, numbers, trouble[:found])
        return Fields(numbers, span, escaped, bad)

    def _parse_hard_numbers(
        self, data: bytes, numbers: NDArray[np.float64], trouble: NDArray[np.int64]
    ) -> list[BadNumber]:
        """Parse the numbers that the kernel left; the rest is invalid or not finite."""
        hard = trouble[:, 4] == HARD
        found = trouble[hard]
        texts = [data[low:high] for low, high in found[:, 2:4].tolist()]
        if self._decimal != DOT:
            texts = [text.replace(b".", b"").replace(b",", b".") for text in texts]
        values = np.array([float(text) for text in texts])
        huge = np.isinf(values)
        numbers[found[:, 0], found[:, 1]] = np.where(huge, np.nan, values)
        return [
            BadNumber(row, column, begin, end, what == HARD)
            for row, column, begin, end, what in np.vstack((found[huge], trouble[~hard])).tolist()
        ]


def load_kernels() -> None:
    """Compile or load the kernels, so that the first records do not wait for them."""
    nothing = np.empty(0, np.int64)
    records = Records(nothing, nothing, nothing, nothing, nothing, 0, 0, False)
    FieldReader(nothing, 0, 0, ()).read(b"", records, np.empty(0, np.bool_))
    factorize(b"", np.empty((0, 2), np.int64))


@kernel
def _read(
    data: Bytes,
    records: tuple[Whole, Whole, NDArray[np.bool_]],
    form: tuple[Whole, int, int, int],
    missing: Missing,
    out: tuple[NDArray[np.float64], Whole, Bytes, Whole, Bytes],
) -> int:
    begin, end, good = records
    plan, delimiter, quote, decimal = form
    texts, ends, starts = missing
    numbers, span, escaped, trouble, text = out
    found = 0
    for row in range(len(begin)):
        if not good[row]:
            continue
        at = begin[row]
        for field in range(len(plan)):
            low, high, doubled, at = _field(data, at, end[row], delimiter, quote)
            column = plan[field]
            if column == SKIPPED:
                continue
            while low < high and _is_space(data[low]):
                low += 1
            while low < high and _is_space(data[high - 1]):
                high -= 1
            if column < 0:
                span[-2 - column, row, 0] = low
                span[-2 - column, row, 1] = high
                escaped[-2 - column, row] = doubled
                continue
            if (low == high or starts[data[low]]) and _is_missing(data, low, high, texts, ends):
                continue
            what, number = _number(data, low, high, decimal)
            if what == WORD and decimal != DOT and _is_grouped(data, low, high):
                what, number = _number(text, 0, _copy_without_dots(data, low, high, text), decimal)
            if what == NUMBER:
                numbers[row, column] = number
            else:
                trouble[found, 0] = row
                trouble[found, 1] = column
                trouble[found, 2] = low
                trouble[found, 3] = high
                trouble[found, 4] = what
                found += 1
    return found


@kernel
def _field(data: Bytes, at: int, end: int, delimiter: int, quote: int) -> tuple[int, int, int, int]:
    """Begin and end of the field at ``at``, whether its quotes are doubled, and the next field."""
    doubled = 0
    if at < end and data[at] == quote:
        low = at + 1
        at = low
        while data[at] != quote or (at + 1 < end and data[at + 1] == quote):
            if data[at] == quote:
                doubled = 1
                at += 1
            at += 1
        high = at
        while at < end and data[at] != delimiter:
            at += 1
        return low, high, doubled, at + 1
    low = at
    while at < end and data[at] != delimiter:
        at += 1
    return low, at, doubled, at + 1


@kernel
def _number(data: Bytes, low: int, high: int, decimal: int) -> tuple[int, float]:
    """What is between ``low`` and ``high``, and its value if that is a simple number."""
    if low == high:
        return WORD, 0.0
    at = low
    negative = data[at] == MINUS
    if negative or data[at] == PLUS:
        at += 1
    mantissa = np.uint64(0)
    kept = 0  # digits in the mantissa, without leading zeros
    digits = 0
    scale = 0
    behind = False  # whether the decimal point was passed
    while at < high:
        byte = data[at]
        if ZERO <= byte <= NINE:
            digits += 1
            if kept < DIGITS_KEPT:
                mantissa = mantissa * np.uint64(10) + np.uint64(byte - ZERO)
                kept += 1 if mantissa > 0 else 0
                scale -= 1 if behind else 0
            else:
                scale += 0 if behind else 1
                kept = DIGITS_KEPT + 1  # a digit was dropped: not simple
        elif byte == decimal and not behind:
            behind = True
        else:
            break
        at += 1
    if digits == 0:
        return WORD, 0.0
    if at < high:
        ok, power = _exponent(data, at, high)
        if not ok:
            return WORD, 0.0
        scale += power
    if kept > DIGITS_KEPT or mantissa > EXACT or scale < -22 or scale > 22:
        return HARD, 0.0
    number = float(mantissa)
    number = number * POWERS[scale] if scale >= 0 else number / POWERS[-scale]
    return NUMBER, -number if negative else number


@kernel
def _is_grouped(data: Bytes, low: int, high: int) -> bool:
    """Whether dots separate thousands, and nothing else, as in 1.234.567,8."""
    if not 0 < high - low <= MAX_GROUPED_BYTES:
        return False
    at = low + 1 if data[low] in (PLUS, MINUS) else low
    if at == high or data[at] == ZERO:
        return False
    digits, dots = 0, 0
    while at < high and (data[at] == DOT or ZERO <= data[at] <= NINE):
        if data[at] == DOT:
            if digits == 0 or digits > GROUP or (dots and digits < GROUP):
                return False
            digits = 0
            dots += 1
        else:
            digits += 1
        at += 1
    while at < high and data[at] != DOT:
        at += 1
    return dots > 0 and digits == GROUP and at == high


@kernel
def _copy_without_dots(data: Bytes, low: int, high: int, text: Bytes) -> int:
    """Copy everything but the dots from ``low`` to ``high``; return the length."""
    size = 0
    for at in range(low, high):
        if data[at] != DOT:
            text[size] = data[at]
            size += 1
    return size


@kernel
def _exponent(data: Bytes, at: int, high: int) -> tuple[bool, int]:
    """Whether there is an exponent from ``at`` to ``high``, and its value, at most 100,000."""
    if data[at] | 32 != EXPONENT:
        return False, 0
    at += 1
    negative = at < high and data[at] == MINUS
    if at < high and (negative or data[at] == PLUS):
        at += 1
    if at == high:
        return False, 0
    power = 0
    while at < high:
        if not ZERO <= data[at] <= NINE:
            return False, 0
        power = min(power * 10 + (int(data[at]) - ZERO), 100_000)
        at += 1
    return True, -power if negative else power


@kernel
def _is_missing(data: Bytes, low: int, high: int, texts: Bytes, ends: Whole) -> bool:
    for text in range(len(ends) - 1):
        if ends[text + 1] - ends[text] == high - low:
            at = 0
            while at < high - low and texts[ends[text] + at] == _lower(data[low + at]):
                at += 1
            if at == high - low:
                return True
    return False


@kernel
def _lower(byte: int) -> int:
    return byte + 32 if 65 <= byte <= 90 else byte


@kernel
def _is_space(byte: int) -> bool:
    return byte == SPACE or TAB <= byte <= RETURN


MAX_DISTINCT = 1024  # distinct texts that are numbered
SLOTS = 4 * MAX_DISTINCT  # a power of two
START, PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)  # of FNV-1a


def factorize(
    data: bytes, span: NDArray[np.int64]
) -> tuple[NDArray[np.intp], NDArray[np.intp]] | None:
    """Number distinct texts, ``data[slice(*span[i])]``, in the order of their first occurrence.

    Returns the first row of each distinct text, and the number of the text in each row, shape=(n,);
    None if there are more than `MAX_DISTINCT`.

    >>> first, number = factorize(b"on,off,on", np.array([[0, 2], [3, 6], [7, 9]]))
    >>> first.tolist(), number.tolist()
    ([0, 1], [0, 1, 0])
    """
    first, number = np.empty(MAX_DISTINCT, np.intp), np.empty(len(span), np.intp)
    count = _factorize(np.frombuffer(data, np.uint8), span, np.zeros(SLOTS, np.intp), first, number)
    return None if count < 0 else (first[:count], number)


@kernel
def _factorize(
    data: NDArray[np.uint8],
    span: NDArray[np.int64],
    slots: NDArray[np.intp],  # shape=(SLOTS,): 1 + number of a text, 0 if free
    first: NDArray[np.intp],  # shape=(MAX_DISTINCT,), written
    number: NDArray[np.intp],  # shape=(n,), written
) -> int:
    """Number of distinct texts; -1 if there are more than `MAX_DISTINCT`."""
    count = 0
    for row in range(span.shape[0]):
        code = START
        for at in range(span[row, 0], span[row, 1]):
            code = (code ^ np.uint64(data[at])) * PRIME
        slot = np.intp(code >> np.uint64(32)) % SLOTS
        while slots[slot] > 0 and not _equal(data, span, first[slots[slot] - 1], row):
            slot = (slot + 1) % SLOTS
        if slots[slot] == 0:
            if count == MAX_DISTINCT:
                return -1
            first[count] = row
            count += 1
            slots[slot] = count
        number[row] = slots[slot] - 1
    return count


@kernel
def _equal(data: NDArray[np.uint8], span: NDArray[np.int64], row: int, other: int) -> bool:
    size = span[row, 1] - span[row, 0]
    if span[other, 1] - span[other, 0] != size:
        return False
    at = 0
    while at < size and data[span[row, 0] + at] == data[span[other, 0] + at]:
        at += 1
    return bool(at == size)

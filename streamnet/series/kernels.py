"""Kernels of series: a hash table of last targets, and forecasts from these."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import exact_inlined, exact_kernel
from streamnet.randomness import mix_key

MAX_NUMBERS = 32  # columns of numbers, from the first one on,
MAX_CATEGORIES = 32  # and of categories
PAIRED = 4  # categories whose pairs are columns as well
PAIRS = PAIRED * (PAIRED - 1) // 2
COLUMNS = MAX_NUMBERS + MAX_CATEGORIES + PAIRS
NUMBERS_TRIED = 1_024  # values of a column of numbers, of which one has to come again
FADING = 0.999  # of losses
MIN_SCORES = 30.0  # faded number of scored forecasts before those of a column are used
RATE = 0.1  # of the mean change from one target of a series to the next
MAX_LOG_CHANGE = 1.0
LARGEST_WHOLE = 2.0**53
_KEY = 0x5E21E5
OUTPUTS = 2  # forecasts: by the mean difference, and by the mean ratio


class Table(NamedTuple):
    """The last target of each value of each column, by open addressing."""

    key: NDArray[np.uint64]  # shape=(slots,), 0 for an empty one
    column: NDArray[np.int16]  # shape=(slots,)
    last: NDArray[np.float64]  # shape=(slots,)


class Columns(NamedTuple):
    """What is known of columns; all arrays have shape=(COLUMNS,) or (COLUMNS, OUTPUTS)."""

    left: NDArray[np.uint8]  # 1 once a column has no series
    values: NDArray[np.int64]  # different ones
    again: NDArray[np.int64]  # samples whose value had come before
    change: NDArray[np.float64]  # mean difference, and mean logarithm of the ratio
    loss: NDArray[np.float64]  # sums of faded absolute errors,
    faded: NDArray[np.float64]  # and of their weights


def new_table(slots: int) -> Table:
    """An empty table; ``slots`` is a power of two."""
    return Table(np.zeros(slots, np.uint64), np.zeros(slots, np.int16), np.zeros(slots))


def new_columns() -> Columns:
    """Columns before the first sample."""
    return Columns(
        np.zeros(COLUMNS, np.uint8),
        np.zeros(COLUMNS, np.int64),
        np.zeros(COLUMNS, np.int64),
        np.zeros((COLUMNS, OUTPUTS)),
        np.zeros((COLUMNS, OUTPUTS)),
        np.zeros((COLUMNS, OUTPUTS)),
    )


@exact_inlined
def _find_slot(keys: NDArray[np.uint64], key: Any) -> Any:
    """The slot of a key, or the one where it belongs."""
    mask = keys.size - 1
    slot = np.int64(key & np.uint64(mask))
    while keys[slot] != np.uint64(0) and keys[slot] != key:
        slot = (slot + 1) & mask
    return slot


@exact_inlined
def _make_key(column: int, value: Any) -> Any:
    key = mix_key(mix_key(np.uint64(_KEY), np.uint64(column)), np.uint64(value))
    return key if key != np.uint64(0) else np.uint64(1)


@exact_inlined
def _write_number_keys(
    numbers: NDArray[np.float64], left: NDArray[np.uint8], keys: NDArray[np.uint64]
) -> None:
    """Write the keys of whole numbers; a column with any other one has no series."""
    for j in range(min(numbers.size, MAX_NUMBERS)):
        x = numbers[j]
        if left[j] != 0 or math.isnan(x):
            continue
        if abs(x) > LARGEST_WHOLE or x != math.floor(x):
            left[j] = 1
        else:
            keys[j] = _make_key(j, np.int64(x))


@exact_inlined
def _write_category_keys(
    rows: NDArray[np.int32],
    fields: NDArray[np.int32],
    left: NDArray[np.uint8],
    keys: NDArray[np.uint64],
    paired: NDArray[np.int64],
) -> None:
    """Write the keys of categories by their rows; a column of texts has no series."""
    for e in range(rows.size):
        if rows[e] >= fields.size or fields[rows[e]] >= MAX_CATEGORIES:
            continue
        field = fields[rows[e]]
        c = MAX_NUMBERS + field
        if keys[c] != np.uint64(0):
            left[c] = 1
        keys[c] = _make_key(c, rows[e])
        if field < PAIRED:
            paired[field] = rows[e]


@exact_inlined
def _write_keys(
    numbers: NDArray[np.float64],
    rows: NDArray[np.int32],
    fields: NDArray[np.int32],
    left: NDArray[np.uint8],
    keys: NDArray[np.uint64],
    paired: NDArray[np.int64],
) -> None:
    """Write the key of a sample in each column, 0 for none; ``rows`` are its active rows."""
    for c in range(keys.size):
        keys[c] = np.uint64(0)
    for a in range(PAIRED):
        paired[a] = -1
    _write_number_keys(numbers, left, keys)
    _write_category_keys(rows, fields, left, keys, paired)
    c = MAX_NUMBERS + MAX_CATEGORIES
    for a in range(PAIRED):
        for b in range(a):
            texts = left[MAX_NUMBERS + a] + left[MAX_NUMBERS + b]
            if texts == 0 and paired[a] >= 0 and paired[b] >= 0:
                keys[c] = mix_key(_make_key(c, paired[a]), np.uint64(paired[b])) | np.uint64(1)
            c += 1
    for c in range(keys.size):
        if left[c] != 0:
            keys[c] = np.uint64(0)


@exact_inlined
def _forecast(last: float, change: NDArray[np.float64], output: int) -> float:
    return last + change[0] if output == 0 else last * math.exp(change[1])


@exact_inlined
def _learn_column(
    c: int,
    key: Any,
    y: float,
    spread: float,
    most: int,
    table_key: NDArray[np.uint64],
    table_column: NDArray[np.int16],
    table_last: NDArray[np.float64],
    left: NDArray[np.uint8],
    values: NDArray[np.int64],
    again: NDArray[np.int64],
    change: NDArray[np.float64],
    loss: NDArray[np.float64],
    faded: NDArray[np.float64],
) -> int:
    """Learn the target of a sample in a column; return how many slots were taken."""
    slot = _find_slot(table_key, key)
    if table_key[slot] == np.uint64(0):
        tried = c < MAX_NUMBERS and values[c] >= NUMBERS_TRIED and again[c] == 0
        if tried or values[c] >= most:
            left[c] = 1
            return 0
        values[c] += 1
        table_key[slot], table_column[slot], table_last[slot] = key, c, y
        return 1
    last = table_last[slot]
    for k in range(OUTPUTS):
        loss[c, k] = FADING * loss[c, k] + abs(_forecast(last, change[c], k) - y)
        faded[c, k] = FADING * faded[c, k] + 1.0
    again[c] += 1
    change[c, 0] += RATE * min(max(y - last - change[c, 0], -spread), spread)
    if y > 0.0 and last > 0.0:
        step = min(max(math.log(y / last), -MAX_LOG_CHANGE), MAX_LOG_CHANGE)
        change[c, 1] += RATE * (step - change[c, 1])
    table_last[slot] = y
    return 0


@exact_kernel
def predict_then_learn(
    unscaled: NDArray[np.float64],  # this and the next four as in Inputs
    row: NDArray[np.int32],
    count: NDArray[np.int32],
    fields: NDArray[np.int32],
    lags: int,
    target: NDArray[np.float64],  # shape=(n,), NaN for none; empty: nothing is learned
    spread: NDArray[np.float64],  # shape=(n,), standard deviation of the targets
    start: int,  # the first sample
    most: int,  # values of a column
    taken: NDArray[np.int64],  # shape=(1,): slots, counted on
    table_key: NDArray[np.uint64],  # this and the next two are a Table
    table_column: NDArray[np.int16],
    table_last: NDArray[np.float64],
    left: NDArray[np.uint8],  # this and the next five are Columns
    values: NDArray[np.int64],
    again: NDArray[np.int64],
    change: NDArray[np.float64],
    loss: NDArray[np.float64],
    faded: NDArray[np.float64],
    answers: NDArray[np.float64],  # shape=(OUTPUTS, n), written
    present: NDArray[np.uint8],  # shape=(OUTPUTS, n), set where there is a forecast
    keys: NDArray[np.uint64],  # shape=(COLUMNS,), working memory
    paired: NDArray[np.int64],  # shape=(PAIRED,), working memory
) -> int:
    """Predict samples, each before it is learned, by the best column of which its value is known.

    Returns:
        The number of samples done: fewer than all if the table has to grow first.
    """
    for i in range(start, count.size):
        if target.size > 0 and 2 * (taken[0] + COLUMNS) > table_key.size:
            return i
        own = max(count[i] - lags, 0)
        _write_keys(unscaled[i], row[i, :own], fields, left, keys, paired)
        for k in range(OUTPUTS):
            lowest = np.inf
            for c in range(COLUMNS):
                if keys[c] == np.uint64(0) or faded[c, k] < MIN_SCORES:
                    continue
                mean = loss[c, k] / faded[c, k]
                if not mean < lowest:
                    continue
                slot = _find_slot(table_key, keys[c])
                if table_key[slot] != np.uint64(0):
                    forecast = _forecast(table_last[slot], change[c], k)
                    if math.isfinite(forecast):
                        lowest = mean
                        answers[k, i], present[k, i] = forecast, 1
        if target.size == 0 or not math.isfinite(target[i]):
            continue
        for c in range(COLUMNS):
            if keys[c] != np.uint64(0):
                sample = c, keys[c], target[i], spread[i], most
                table = table_key, table_column, table_last
                known = left, values, again
                taken[0] += _learn_column(*sample, *table, *known, change, loss, faded)
    return count.size


@exact_kernel
def insert(
    key: NDArray[np.uint64],  # this and the next two are a Table
    column: NDArray[np.int16],
    last: NDArray[np.float64],
    keep: NDArray[np.uint8],  # shape=(COLUMNS,): columns whose entries are inserted
    table_key: NDArray[np.uint64],  # this and the rest are the Table to insert into
    table_column: NDArray[np.int16],
    table_last: NDArray[np.float64],
) -> int:
    """Insert all entries of columns that are kept; return their number."""
    taken = 0
    for s in range(key.size):
        if key[s] != np.uint64(0) and keep[column[s]] != 0:
            slot = _find_slot(table_key, key[s])
            table_key[slot], table_column[slot], table_last[slot] = key[s], column[s], last[s]
            taken += 1
    return taken

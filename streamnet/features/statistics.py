"""Statistics of standardized inputs: running moments, and distinct values that act as categories.

Moments are Welford's (1962), made robust: outliers are clipped, a changed scale is adopted after
one window, and from a million values on earlier ones fade.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from streamnet.errors import ModelFileError
from streamnet.jit import flush_subnormal, jit

# Columns of the moments: count, mean and squared deviations; the origin that is subtracted from
# values; and the same three of the window, and the number of outliers in it.
COUNT, MEAN, SQUARES, ORIGIN, RECENT, RECENT_MEAN, RECENT_SQUARES, RECENT_OUTLIERS = range(8)
MOMENT_COLUMNS = 8

MAX_MAGNITUDE = 1e100  # larger values are clipped, so that no square overflows
MAX_COUNT = 1e6  # largest effective number of values; earlier ones fade
MIN_TRUSTED_COUNT = 10.0  # number of values from which on moments identify outliers
OUTLIER_DEVIATIONS = 30.0
WINDOW = 64.0
SHRUNKEN_SCALE = 1e-3


@jit
def standard_deviation(count: float, mean: float, squares: float) -> float:
    """Standard deviation, or 0 where it is negligible."""
    if count < 2:
        return 0.0
    deviation = float(np.sqrt(squares / count))
    if deviation <= 1e-150 or deviation <= 1e-13 * abs(mean):
        return 0.0
    return deviation


@jit
def update_moments(moments: NDArray[np.float64], m: int, x: float) -> None:
    """Update row ``m`` of the moments with a finite value, at most `MAX_MAGNITUDE` in size."""
    count = moments[m, COUNT]
    delta = x - moments[m, MEAN]
    if count >= MIN_TRUSTED_COUNT:
        farthest = OUTLIER_DEVIATIONS * np.sqrt(moments[m, SQUARES] / count)
        if abs(delta) > farthest:
            moments[m, RECENT_OUTLIERS] += 1.0
            if farthest > 0.0:
                delta = farthest if delta > 0.0 else -farthest
    if count >= MAX_COUNT:
        moments[m, MEAN] = flush_subnormal(moments[m, MEAN])
        moments[m, SQUARES] = flush_subnormal(moments[m, SQUARES] * ((MAX_COUNT - 1.0) / count))
        count = MAX_COUNT - 1.0
    count += 1.0
    moments[m, COUNT] = count
    moments[m, MEAN] += delta / count
    moments[m, SQUARES] += delta * delta * (1.0 - 1.0 / count)

    recent = moments[m, RECENT] + 1.0
    moments[m, RECENT] = recent
    delta = x - moments[m, RECENT_MEAN]
    moments[m, RECENT_MEAN] += delta / recent
    moments[m, RECENT_SQUARES] += delta * delta * (1.0 - 1.0 / recent)
    if recent == WINDOW:
        _adopt_new_scale(moments, m)


@jit
def _adopt_new_scale(moments: NDArray[np.float64], m: int) -> None:
    """Start another window, and adopt the moments of the last one if the scale has changed."""
    recent = moments[m, RECENT_MEAN], moments[m, RECENT_SQUARES]
    spread = standard_deviation(WINDOW, recent[0], recent[1])
    usual = np.sqrt(moments[m, SQUARES] / moments[m, COUNT])
    if 2.0 * moments[m, RECENT_OUTLIERS] > WINDOW or 0.0 < spread < SHRUNKEN_SCALE * usual:
        moments[m, COUNT] = WINDOW
        moments[m, MEAN] = recent[0]
        moments[m, SQUARES] = recent[1]
    for column in range(RECENT, MOMENT_COLUMNS):
        moments[m, column] = 0.0


def restore_array(
    values: Any, dtype: DTypeLike, shape: tuple[int, ...], misfit: str
) -> NDArray[Any]:
    """Copy an exported array; another shape is a ModelFileError with the message ``misfit``."""
    restored = np.array(values, dtype)
    if restored.shape != shape:
        raise ModelFileError(misfit)
    return restored


@final
class GrowingArray:
    """Rows of an array whose capacity doubles when it is exhausted.

    Reallocating for each row takes quadratic time: 20,000 columns took minutes.

    >>> pairs = GrowingArray((2,), np.float64)
    >>> pairs.append([1.0, 2.0])
    >>> pairs.rows.tolist(), len(pairs)
    ([[1.0, 2.0]], 1)
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self._buffer = np.zeros((0, *shape), dtype)
        # All rows, shape=(n, ...), readable and writable; `append` may replace the array.
        self.rows: NDArray[Any] = self._buffer

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A copied or pickled view is not a view any more, but rows must be part of the buffer.
        self._buffer = self.rows = state["rows"]

    def __len__(self) -> int:
        return len(self.rows)

    def append(self, row: Any) -> None:
        """Add a row."""
        used = len(self)
        if used == len(self._buffer):
            buffer = np.zeros((max(2 * used, 1), *self._buffer.shape[1:]), self._buffer.dtype)
            buffer[:used] = self._buffer
            self._buffer = buffer
        self.rows = self._buffer[: used + 1]
        self.rows[used] = row


MISSING = 0  # code of a missing value in every field; codes of values start at 1

# Columns of a plan of standardized inputs: which column of a block goes where.
SOURCE, STATISTIC, DENSE, KEY, BASE = range(5)

# Columns of a table: number of distinct values, whether one is a fraction, whether they are many
# and close together, the first value.
DISTINCT, FRACTION, CROWDED, FIRST_VALUE = range(4)

MAX_FRACTIONS = 12  # fractions are categories up to so many distinct values,
MIN_REPETITIONS = 2  # once each occurred so often on average
MAX_CLOSE = 64  # whole numbers are categories up to so many distinct values, and beyond that
MAX_DENSITY = 0.05  # if they are so few of those in their range
MAX_INTEGER = 2.0**31  # larger whole numbers count as fractions
MIN_DISTINCT = 3  # two values are already told apart by their standardized number
FINITE = np.finfo(np.float64).max
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def as_float64(values: NDArray[Any]) -> NDArray[np.float64]:
    """Convert to the only array type that kernels are compiled for; copies only if needed."""
    if values.flags.carray and values.dtype == np.float64:
        return values
    return np.array(values, np.float64, order="C")


@jit
def _are_crowded(bits: NDArray[np.int64]) -> bool:
    """Whether distinct whole numbers, given as bits, are a larger part of those in their range."""
    values = bits.view(np.float64)
    return bool(values.size > MAX_DENSITY * (values.max() - values.min()))


@jit
def _category_code(
    x: float, bits: int, count: float, tables: NDArray[np.int64], m: int, limit: int, learn: bool
) -> int:
    """Number (from 1) of the value ``x`` with these bits in the table of row ``m``, or 0.

    A table row holds the number of distinct values (-1: not a category any more), whether one is a
    fraction, whether they are many and close together, the bits of the values in order of
    appearance, and their open-addressing index. ``count`` is the number of samples with a value.
    """
    first = FIRST_VALUE + limit
    mask = np.uint64(tables.shape[1] - first - 1)
    place = (np.uint64(bits) * GOLDEN) >> np.uint64(40)
    while True:
        slot = first + np.int64(place & mask)
        number = int(tables[m, slot])
        if number == 0 or tables[m, FIRST_VALUE + number - 1] == bits:
            break
        place += np.uint64(1)
    if number == 0 and learn:
        if tables[m, DISTINCT] == limit:
            tables[m, DISTINCT] = -1
            return 0
        number = int(tables[m, DISTINCT]) + 1
        tables[m, DISTINCT] = number
        tables[m, FIRST_VALUE + number - 1] = bits
        tables[m, slot] = number
        tables[m, FRACTION] |= not abs(x) < MAX_INTEGER or np.floor(x) != x
        if number > MAX_CLOSE:
            tables[m, CROWDED] = _are_crowded(tables[m, FIRST_VALUE : FIRST_VALUE + number])
    few = tables[m, DISTINCT]
    if tables[m, FRACTION] and few > MAX_FRACTIONS:
        tables[m, DISTINCT] = -1 if learn else few
        return 0
    if few < MIN_DISTINCT or tables[m, CROWDED]:
        return 0
    if (tables[m, FRACTION] or few > MAX_CLOSE) and count < MIN_REPETITIONS * few:
        return 0
    return number


@jit
def standardize(
    values: NDArray[np.float64],
    plan: NDArray[np.int64],
    moments: NDArray[np.float64],
    tables: NDArray[np.int64],
    limit: int,
    clip: float,
    learn: bool,
    dense: NDArray[np.floating],
    keys: NDArray[np.int64],
    splined: NDArray[np.int32],
) -> int:
    """Write the standardized numbers to ``dense`` and their rows' keys to ``keys``, -1 for none.

    Returns the number of keys written. Dense inputs with more than two values so far are added to
    ``splined``, in place of the first -1. With ``learn`` moments and tables are updated with each
    sample before it is standardized; without, only these three arrays change.
    """
    written = 0
    bits = values.view(np.int64)
    for i in range(values.shape[0]):
        curves = 0
        while curves < splined.shape[1] and splined[i, curves] >= 0:
            curves += 1
        for c in range(plan.shape[0]):
            m = plan[c, STATISTIC]
            x = values[i, plan[c, SOURCE]] if plan[c, SOURCE] >= 0 else np.nan
            z = 0.0
            key = -1
            if not abs(x) <= FINITE:
                key = int(plan[c, BASE])
            else:
                if tables[m, DISTINCT] >= 0:
                    same = bits[i, plan[c, SOURCE]] if x != 0.0 else 0  # and not that of -0
                    count = moments[m, COUNT] + (1.0 if learn else 0.0)
                    number = _category_code(x, same, count, tables, m, limit, learn)
                    if number > 0:
                        key = int(plan[c, BASE]) + number
                if tables[m, DISTINCT] < 0 or tables[m, DISTINCT] >= MIN_DISTINCT:
                    splined[i, curves] = plan[c, DENSE]
                    curves += 1
                if learn and np.isnan(moments[m, ORIGIN]):
                    moments[m, ORIGIN] = x
                x = min(max(x - moments[m, ORIGIN], -MAX_MAGNITUDE), MAX_MAGNITUDE)
                if learn:
                    update_moments(moments, m, x)
                mean = moments[m, MEAN]
                deviation = standard_deviation(moments[m, COUNT], mean, moments[m, SQUARES])
                if deviation > 0.0:
                    z = min(max((x - mean) / deviation, -clip), clip)
            dense[i, plan[c, DENSE]] = z
            if plan[c, KEY] >= 0:
                keys[i, plan[c, KEY]] = key
                written += key >= 0
    return written


def _distinct_values(tables: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Copy the first values of all tables, which only grow, one table after the other."""
    values = [
        table[FIRST_VALUE : FIRST_VALUE + max(count, 0)].view(np.float64)
        for table, count in zip(tables, counts, strict=True)
    ]
    return np.concatenate((np.empty(0), *values))


@final
class NumberStatistics:
    """Running moments of every standardized input, and distinct values of those with categories.

    >>> statistics = NumberStatistics(category_limit=64)
    >>> statistics.append(category=True, origin=0.0)
    >>> len(statistics)
    1
    """

    def __init__(self, *, category_limit: int) -> None:
        self.limit = category_limit
        index = 1 << (2 * category_limit - 1).bit_length()
        self._moments = GrowingArray((MOMENT_COLUMNS,), np.float64)
        self._tables = GrowingArray((FIRST_VALUE + category_limit + index,), np.int64)

    def __len__(self) -> int:
        return len(self._moments)

    @property
    def moments(self) -> NDArray[np.float64]:
        """Moments, shape=(inputs, 8): see the constants of this module."""
        return self._moments.rows

    @property
    def tables(self) -> NDArray[np.int64]:
        """Distinct values, shape=(inputs, ...): see `_category_code`."""
        return self._tables.rows

    def append(self, *, category: bool, origin: float) -> None:
        """Add an input; an ``origin`` of NaN is replaced by the first value."""
        self._tables.append(0)
        self.tables[-1, DISTINCT] = 0 if category and self.limit >= MIN_DISTINCT else -1
        self._moments.append(0.0)
        self.moments[-1, ORIGIN] = origin

    def is_splined(self, m: int) -> bool:
        """Whether an input has had more than two values."""
        return not 0 <= self.tables[m, DISTINCT] < MIN_DISTINCT

    def list_categories(self, m: int) -> dict[float, int]:
        """Codes of an input's values, as far as they act as categories."""
        bits = self.tables[m, FIRST_VALUE : FIRST_VALUE + max(self.tables[m, DISTINCT], 0)]
        known = self.tables, m, self.limit, False
        values = zip(bits.view(np.float64).tolist(), bits.tolist(), strict=True)
        count = self.moments[m, COUNT]
        codes = {x: int(_category_code(x, same, count, *known)) for x, same in values}
        return {x: code for x, code in codes.items() if code > 0}

    def export_state(self) -> dict[str, Any]:
        """Copy the moments; distinct values are copied later."""
        counts = self.tables[:, DISTINCT].copy()
        return {
            "moments": self.moments.copy(),
            "distinct_count": counts,
            "distinct": partial(_distinct_values, self.tables, counts),
        }

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Restore moments and distinct values of as many inputs."""
        misfit = "the moments of the encoder do not fit"
        moments = restore_array(state["moments"], np.float64, self.moments.shape, misfit)
        misfit = "the encoder's counts do not fit its fields"
        counts = restore_array(state["distinct_count"], np.int64, (len(self),), misfit)
        distinct = np.array(state["distinct"], np.float64)
        used = counts.clip(0)
        fits = distinct.shape == (used.sum(),) and used.max(initial=0) <= self.limit
        if not fits or not np.isfinite(distinct).all():
            raise ModelFileError("the encoder's distinct values do not fit their counts")
        self.moments[:] = moments
        tables, ends = self.tables, used.cumsum()
        for m, (start, end) in enumerate(zip(ends - used, ends, strict=True)):
            tables[m] = 0
            for x in distinct[start:end]:
                bits = int(x.view(np.int64))
                _category_code(float(x), bits, 0.0, tables, m, self.limit, True)
            if tables[m, DISTINCT] != used[m]:
                raise ModelFileError("the encoder's distinct values are not distinct")
            tables[m, DISTINCT] = counts[m]

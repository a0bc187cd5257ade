"""Numeric columns: running moments, standardised inputs, numbers that act as categories."""

from __future__ import annotations

from typing import Any
from typing import final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ModelFileError
from streamnet.jit import jit

__all__ = ("MISSING", "Measures", "plain", "spread_of", "standardise")

MISSING = 0  # code of a missing value in every field; codes of values start at 1

# Columns of a plan of measures: which column of a block goes where.
SOURCE, MEASURE, DENSE, KEY, BASE = range(5)

# Columns of a table: how many distinct values, whether one is a fraction, the first of them.
DISTINCT, FRACTION, FIRST = range(3)

# Columns of the moments.
COUNT, MEAN, SQUARES, ORIGIN = range(4)

LARGEST = 1e100  # beyond it a value counts as this large, so that no square overflows
FRACTIONS = 12  # fractions are categories up to so many values,
OFTEN = 2  # once each of them came so often on average
WHOLE = 2.0**31  # larger whole numbers count as fractions
FEWEST = 3  # a column of two values says the same as its standardised number
TRUSTED = 10.0  # values from which on moments are trusted to tell wild values
WILD = 30.0  # standard deviations beyond which a value enters the moments as this far away
FINITE = np.finfo(np.float64).max
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def plain(values: NDArray[Any]) -> NDArray[np.float64]:
    """``values`` as the one array type the kernels are compiled for, copied only if need be."""
    if values.flags.carray and values.dtype == np.float64:
        return values
    return np.array(values, np.float64, order="C")


@jit
def spread_of(count: float, mean: float, squares: float) -> float:
    """Standard deviation, or 0 where there is none to speak of."""
    if count < 2:
        return 0.0
    deviation = float(np.sqrt(squares / count))
    if deviation <= 1e-150 or deviation <= 1e-13 * abs(mean):
        return 0.0
    return deviation


@jit
def _ordinal(
    x: float, bits: int, count: float, tables: NDArray[np.int64], m: int, limit: int, learn: bool
) -> int:
    """Number (from 1) of the value ``x`` with these bits in the table of measure ``m``, or 0.

    A table row holds how many distinct values there are (-1: no longer a category), whether one was
    a fraction, the bits of the values in order of appearance, and an open-addressing index of them.
    ``count`` samples had a value.
    """
    first = FIRST + limit
    mask = np.uint64(tables.shape[1] - first - 1)
    place = (np.uint64(bits) * GOLDEN) >> np.uint64(40)
    while True:
        slot = first + np.int64(place & mask)
        number = int(tables[m, slot])
        if number == 0 or tables[m, FIRST + number - 1] == bits:
            break
        place += np.uint64(1)
    if number == 0 and learn:
        if tables[m, DISTINCT] == limit:
            tables[m, DISTINCT] = -1
            return 0
        number = int(tables[m, DISTINCT]) + 1
        tables[m, DISTINCT] = number
        tables[m, FIRST + number - 1] = bits
        tables[m, slot] = number
        tables[m, FRACTION] |= not abs(x) < WHOLE or np.floor(x) != x
    few = tables[m, DISTINCT]
    if tables[m, FRACTION] and few > FRACTIONS:
        tables[m, DISTINCT] = -1 if learn else few
        return 0
    if few < FEWEST or (tables[m, FRACTION] and count < OFTEN * few):
        return 0
    return number


@jit
def _tamed(delta: float, count: float, squares: float) -> float:
    """A distance from the mean as it enters the moments: one wild value must not rule them."""
    if count < TRUSTED or squares <= 0.0:
        return delta
    farthest = WILD * np.sqrt(squares / count)
    return float(min(max(delta, -farthest), farthest))


@jit
def standardise(
    values: NDArray[np.float64],
    plan: NDArray[np.int64],
    moments: NDArray[np.float64],
    tables: NDArray[np.int64],
    limit: int,
    clip: float,
    learn: bool,
    dense: NDArray[np.floating],
    keys: NDArray[np.int64],
) -> int:
    """Write the standardised numbers to ``dense`` and their rows' keys to ``keys``, -1 for none.

    Returns how many keys were written. With ``learn`` the moments and tables take in each sample
    before it is standardised; without, nothing but ``dense`` and ``keys`` changes.
    """
    written = 0
    bits = values.view(np.int64)
    for i in range(values.shape[0]):
        for c in range(plan.shape[0]):
            m = plan[c, MEASURE]
            x = values[i, plan[c, SOURCE]] if plan[c, SOURCE] >= 0 else np.nan
            z = 0.0
            key = -1
            if not abs(x) <= FINITE:
                key = int(plan[c, BASE])
            else:
                if tables[m, DISTINCT] >= 0:
                    same = bits[i, plan[c, SOURCE]] if x != 0.0 else 0  # and not that of -0
                    count = moments[m, COUNT] + (1.0 if learn else 0.0)
                    number = _ordinal(x, same, count, tables, m, limit, learn)
                    if number > 0:
                        key = int(plan[c, BASE]) + number
                if learn and np.isnan(moments[m, ORIGIN]):
                    moments[m, ORIGIN] = x
                x = min(max(x - moments[m, ORIGIN], -LARGEST), LARGEST)
                if learn:
                    delta = _tamed(x - moments[m, MEAN], moments[m, COUNT], moments[m, SQUARES])
                    moments[m, COUNT] += 1.0
                    moments[m, MEAN] += delta / moments[m, COUNT]
                    moments[m, SQUARES] += delta * delta * (1.0 - 1.0 / moments[m, COUNT])
                mean = moments[m, MEAN]
                deviation = spread_of(moments[m, COUNT], mean, moments[m, SQUARES])
                if deviation > 0.0:
                    z = min(max((x - mean) / deviation, -clip), clip)
            dense[i, plan[c, DENSE]] = z
            if plan[c, KEY] >= 0:
                keys[i, plan[c, KEY]] = key
                written += key >= 0
    return written


@final
class Measures:
    """Running moments of every standardised input, and the values of those that are categories.

    >>> measures = Measures(category_limit=64)
    >>> measures.append(category=True, origin=0.0)
    >>> len(measures)
    1
    """

    def __init__(self, *, category_limit: int) -> None:
        self.limit = category_limit
        self.moments = np.empty((0, 4), np.float64)  # count, mean, squared deviations, origin
        index = 1 << (2 * category_limit).bit_length()
        self.tables = np.empty((0, FIRST + category_limit + index), np.int64)

    def __len__(self) -> int:
        return len(self.moments)

    def append(self, *, category: bool, origin: float) -> None:
        """Add a measure; an ``origin`` of NaN is replaced by the first value."""
        table = np.zeros((1, self.tables.shape[1]), np.int64)
        table[0, 0] = 0 if category and self.limit >= FEWEST else -1
        moments = np.array([[0.0, 0.0, 0.0, origin]])
        self.tables = np.vstack((self.tables, table))
        self.moments = np.vstack((self.moments, moments))

    def restore_state(
        self,
        moments: NDArray[np.float64],
        distinct_count: NDArray[np.int64],
        distinct: NDArray[np.float64],
    ) -> None:
        """Take over moments and distinct values of as many measures, as a snapshot keeps them."""
        moments, counts = np.array(moments, np.float64), np.array(distinct_count, np.int64)
        distinct = np.array(distinct, np.float64)
        if moments.shape != self.moments.shape or counts.shape != (len(self),):
            raise ModelFileError("the encoder's moments do not fit its fields")
        used = counts.clip(0)
        fits = distinct.shape == (used.sum(),) and used.max(initial=0) <= self.limit
        if not fits or not np.isfinite(distinct).all():
            raise ModelFileError("the encoder's distinct values do not fit their counts")
        self.moments = moments
        ends = used.cumsum()
        for m, (start, end) in enumerate(zip(ends - used, ends, strict=True)):
            self.tables[m] = 0
            for x in distinct[start:end]:
                bits = int(x.view(np.int64))
                _ordinal(float(x), bits, 0.0, self.tables, m, self.limit, True)
            if self.tables[m, DISTINCT] != used[m]:
                raise ModelFileError("the encoder's distinct values are not distinct")
            self.tables[m, DISTINCT] = counts[m]

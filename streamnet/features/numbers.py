"""Numeric columns: running moments, standardised inputs, numbers that act as categories."""

from __future__ import annotations

from typing import Any
from typing import final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ModelFileError
from streamnet.features.growing import Growing
from streamnet.features.moments import COLUMNS
from streamnet.features.moments import COUNT
from streamnet.features.moments import LARGEST
from streamnet.features.moments import MEAN
from streamnet.features.moments import ORIGIN
from streamnet.features.moments import SQUARES
from streamnet.features.moments import restored
from streamnet.features.moments import spread_of
from streamnet.features.moments import take_in
from streamnet.jit import jit

__all__ = ("FINITE", "MISSING", "Measures", "plain", "standardise")

MISSING = 0  # code of a missing value in every field; codes of values start at 1

# Columns of a plan of measures: which column of a block goes where.
SOURCE, MEASURE, DENSE, KEY, BASE = range(5)

# Columns of a table: how many distinct values, whether one is a fraction, the first of them.
DISTINCT, FRACTION, FIRST = range(3)

FRACTIONS = 12  # fractions are categories up to so many values,
OFTEN = 2  # once each of them came so often on average
WHOLE = 2.0**31  # larger whole numbers count as fractions
FEWEST = 3  # a column of two values says the same as its standardised number
FINITE = np.finfo(np.float64).max
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def plain(values: NDArray[Any]) -> NDArray[np.float64]:
    """``values`` as the one array type the kernels are compiled for, copied only if need be."""
    if values.flags.carray and values.dtype == np.float64:
        return values
    return np.array(values, np.float64, order="C")


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
    splined: NDArray[np.int32],
) -> int:
    """Write the standardised numbers to ``dense`` and their rows' keys to ``keys``, -1 for none.

    Returns how many keys were written. The numbers of the dense inputs that had more than two
    values so far are added to ``splined``, in place of the first -1. With ``learn`` the moments and
    tables take in each sample before it is standardised; without, nothing changes but these three.
    """
    written = 0
    bits = values.view(np.int64)
    for i in range(values.shape[0]):
        curves = 0
        while curves < splined.shape[1] and splined[i, curves] >= 0:
            curves += 1
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
                if tables[m, DISTINCT] < 0 or tables[m, DISTINCT] >= FEWEST:
                    splined[i, curves] = plan[c, DENSE]
                    curves += 1
                if learn and np.isnan(moments[m, ORIGIN]):
                    moments[m, ORIGIN] = x
                x = min(max(x - moments[m, ORIGIN], -LARGEST), LARGEST)
                if learn:
                    take_in(moments, m, x)
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
        index = 1 << (2 * category_limit).bit_length()
        self._moments = Growing((COLUMNS,), np.float64)
        self._tables = Growing((FIRST + category_limit + index,), np.int64)

    def __len__(self) -> int:
        return len(self._moments)

    @property
    def moments(self) -> NDArray[np.float64]:
        """Of each measure, shape=(measures, 8), see `features.moments`."""
        return self._moments.rows

    @property
    def tables(self) -> NDArray[np.int64]:
        """Distinct values of each measure, shape=(measures, ...), see `_ordinal`."""
        return self._tables.rows

    def append(self, *, category: bool, origin: float) -> None:
        """Add a measure; an ``origin`` of NaN is replaced by the first value."""
        self._tables.append(0)
        self.tables[-1, DISTINCT] = 0 if category and self.limit >= FEWEST else -1
        self._moments.append(0.0)
        self.moments[-1, ORIGIN] = origin

    def restore_state(
        self,
        moments: NDArray[np.float64],
        distinct_count: NDArray[np.int64],
        distinct: NDArray[np.float64],
    ) -> None:
        """Take over moments and distinct values of as many measures, as a snapshot keeps them."""
        moments = restored(moments, len(self), "the encoder")
        counts, distinct = np.array(distinct_count, np.int64), np.array(distinct, np.float64)
        if counts.shape != (len(self),):
            raise ModelFileError("the encoder's counts do not fit its fields")
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
                _ordinal(float(x), bits, 0.0, tables, m, self.limit, True)
            if tables[m, DISTINCT] != used[m]:
                raise ModelFileError("the encoder's distinct values are not distinct")
            tables[m, DISTINCT] = counts[m]

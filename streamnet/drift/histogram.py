"""The exponential histogram: a window of any length in logarithmic memory, as in ADWIN.

Row r holds its oldest bucket first; each bucket stands for 2**r values by their mean and sum of
squared deviations, so that a window is never a difference of large sums.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import exact

__all__ = ("MAX_ROWS", "find_split", "insert", "insert_all", "remove_oldest", "summarize")

MAX_ROWS = 40  # with one bucket a row already 10**12 values; beyond, the oldest are dropped


@exact
def _shift(means: NDArray[np.float64], squares: NDArray[np.float64], by: int) -> None:
    for j in range(means.size - by):
        means[j] = means[j + by]
        squares[j] = squares[j + by]
    means[means.size - by :] = 0.0
    squares[means.size - by :] = 0.0


@exact
def insert(
    held: NDArray[np.int64],  # shape=(ROWS,), buckets in each row
    means: NDArray[np.float64],  # shape=(ROWS, most + 1)
    squares: NDArray[np.float64],  # shape=(ROWS, most + 1)
    x: float,
) -> None:
    """Add a value; where a row has more than ``most`` buckets, its oldest two become one."""
    most = means.shape[1] - 1
    mean = x
    square = 0.0
    for r in range(MAX_ROWS):
        means[r, held[r]] = mean
        squares[r, held[r]] = square
        held[r] += 1
        if held[r] <= most:
            return
        apart = means[r, 1] - means[r, 0]
        mean = means[r, 0] + apart / 2.0
        square = squares[r, 0] + squares[r, 1] + apart * apart * 2.0**r / 2.0
        drop = 2 if r < MAX_ROWS - 1 else 1
        _shift(means[r], squares[r], drop)
        held[r] -= drop


@exact
def insert_all(
    held: NDArray[np.int64],
    means: NDArray[np.float64],
    squares: NDArray[np.float64],
    values: NDArray[np.float64],
    low: float,
    high: float,
) -> None:
    """Add all finite values, each brought within ``low`` and ``high``."""
    for i in range(values.size):
        if math.isfinite(values[i]):
            insert(held, means, squares, min(max(values[i], low), high))


@exact
def remove_oldest(
    held: NDArray[np.int64], means: NDArray[np.float64], squares: NDArray[np.float64], count: int
) -> None:
    """Remove the ``count`` oldest buckets."""
    for r in range(MAX_ROWS - 1, -1, -1):
        drop = min(count, held[r])
        if drop > 0:
            _shift(means[r], squares[r], drop)
            held[r] -= drop
            count -= drop


@exact
def summarize(
    held: NDArray[np.int64],
    means: NDArray[np.float64],
    squares: NDArray[np.float64],
    since: NDArray[np.float64],  # shape=(3, at least held.sum()), written
) -> int:
    """Count, mean and sum of squares of all values from each bucket on, the oldest bucket first.

    Returns:
        The number of buckets.
    """
    buckets = held.sum()
    n = 0.0
    mean = 0.0
    square = 0.0
    at = buckets
    for r in range(MAX_ROWS):
        size = 2.0**r
        for j in range(held[r] - 1, -1, -1):
            at -= 1
            n += size
            apart = means[r, j] - mean
            mean += apart * (size / n)
            square += squares[r, j] + apart * apart * ((n - size) * (size / n))
            since[0, at] = n
            since[1, at] = mean
            since[2, at] = square
    return int(buckets)


@exact
def find_split(since: NDArray[np.float64], buckets: int, towards: float) -> int:
    """The first bucket of the new part where the values fall best into two, by least squares.

    ``towards`` is the sign of the change that is looked for, or 0 for any. There have to be two
    buckets.
    """
    best = 1
    most = -np.inf
    width, mean = since[0, 0], since[1, 0]
    for cut in range(1, buckets):
        new = since[0, cut]
        apart = (since[1, cut] - mean) * math.sqrt(width / (width - new) * new)
        apart = abs(apart) if towards == 0.0 else towards * apart
        if apart > most:
            best = cut
            most = apart
    return best

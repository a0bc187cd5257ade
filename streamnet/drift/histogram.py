"""The exponential histogram: a window of any length in logarithmic memory, as in ADWIN.

Row r holds its oldest bucket first; each bucket stands for 2**r values by their mean and sum of
squared deviations, so that a window is never a difference of large sums.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import exact

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
    row_sizes: NDArray[np.int64],  # shape=(MAX_ROWS,), buckets in each row
    means: NDArray[np.float64],  # shape=(MAX_ROWS, max_buckets + 1)
    squares: NDArray[np.float64],  # shape=(MAX_ROWS, max_buckets + 1)
    x: float,
) -> None:
    """Add a value; a row with more than ``max_buckets`` buckets merges its oldest two."""
    max_buckets = means.shape[1] - 1
    mean = x
    square = 0.0
    for r in range(MAX_ROWS):
        means[r, row_sizes[r]] = mean
        squares[r, row_sizes[r]] = square
        row_sizes[r] += 1
        if row_sizes[r] <= max_buckets:
            return
        difference = means[r, 1] - means[r, 0]
        mean = means[r, 0] + difference / 2.0
        square = squares[r, 0] + squares[r, 1] + difference * difference * 2.0**r / 2.0
        drop = 2 if r < MAX_ROWS - 1 else 1
        _shift(means[r], squares[r], drop)
        row_sizes[r] -= drop


@exact
def insert_all(
    row_sizes: NDArray[np.int64],
    means: NDArray[np.float64],
    squares: NDArray[np.float64],
    values: NDArray[np.float64],
    low: float,
    high: float,
) -> None:
    """Add all finite values, each clipped to ``low`` and ``high``."""
    for i in range(values.size):
        if math.isfinite(values[i]):
            insert(row_sizes, means, squares, min(max(values[i], low), high))


@exact
def remove_oldest(
    row_sizes: NDArray[np.int64],
    means: NDArray[np.float64],
    squares: NDArray[np.float64],
    count: int,
) -> None:
    """Remove the ``count`` oldest buckets."""
    for r in range(MAX_ROWS - 1, -1, -1):
        drop = min(count, row_sizes[r])
        if drop > 0:
            _shift(means[r], squares[r], drop)
            row_sizes[r] -= drop
            count -= drop


@exact
def summarize(
    row_sizes: NDArray[np.int64],
    means: NDArray[np.float64],
    squares: NDArray[np.float64],
    suffixes: NDArray[np.float64],  # shape=(3, at least row_sizes.sum()), written
) -> int:
    """Compute count, mean and sum of squares of every suffix of the buckets, the longest first.

    Returns:
        The number of buckets.
    """
    buckets = row_sizes.sum()
    n = 0.0
    mean = 0.0
    square = 0.0
    at = buckets
    for r in range(MAX_ROWS):
        size = 2.0**r
        for j in range(row_sizes[r] - 1, -1, -1):
            at -= 1
            n += size
            difference = means[r, j] - mean
            mean += difference * (size / n)
            square += squares[r, j] + difference * difference * ((n - size) * (size / n))
            suffixes[0, at] = n
            suffixes[1, at] = mean
            suffixes[2, at] = square
    return int(buckets)


@exact
def find_split(suffixes: NDArray[np.float64], buckets: int, sign: float) -> int:
    """Find the least-squares split into an old and a new part: the first bucket of the new part.

    There must be at least two buckets. ``sign`` is 1 for a rise, -1 for a fall, 0 for either.
    """
    best = 1
    best_gain = -np.inf
    width, mean = suffixes[0, 0], suffixes[1, 0]
    for cut in range(1, buckets):
        new = suffixes[0, cut]
        gain = (suffixes[1, cut] - mean) * math.sqrt(width / (width - new) * new)
        gain = abs(gain) if sign == 0.0 else sign * gain
        if gain > best_gain:
            best = cut
            best_gain = gain
    return best

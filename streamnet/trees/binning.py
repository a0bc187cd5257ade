"""Columns of samples in bins, and the order of categories."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import exact_inlined, exact_kernel
from streamnet.trees.growth import BINS

LEAST_CATEGORY = 3  # samples of a category that has a rank
PRIOR = 10.0  # samples of the mean target that are added to each category


def bin_columns(values: NDArray[np.float64]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Divide each column into bins of about as many samples; the first is for missing values.

    Args:
        values: shape=(n, columns), NaN for missing ones.

    Returns:
        Bins, shape=(n, columns); the largest value of each bin, shape=(columns, BINS).

    >>> bins, threshold = bin_columns(np.array([[3.0], [np.nan], [1.0], [3.0]]))
    >>> bins.ravel().tolist(), threshold[0, :3].tolist()
    ([2, 0, 1, 2], [-inf, 2.0, inf])
    """
    n, columns = values.shape
    bins = np.empty((n, columns), np.uint8)
    threshold = np.full((columns, BINS), np.inf)
    ascending = values.T.copy(order="C")
    ascending.sort()
    _fill_bins(values, ascending, bins, threshold)
    return bins, threshold


@exact_inlined
def _write_edges(ascending: NDArray[np.float64], edge: NDArray[np.float64]) -> int:
    """Write at most `BINS` - 2 values between others, ascending, and return how many.

    They are halfway between neighbors if these are few, or else close to quantiles.
    """
    count = ascending.size
    while count > 0 and math.isnan(ascending[count - 1]):  # the last ones
        count -= 1
    distinct = min(count, 1)
    for s in range(1, count):
        distinct += ascending[s] > ascending[s - 1]
    edges, last = 0, 0
    for b in range(1, min(distinct, BINS - 1)):
        if distinct >= BINS:
            rank = b * count // (BINS - 1) - 1
            if rank < last:  # the edge before is above it
                continue
            last = rank
        while last + 1 < count and ascending[last + 1] == ascending[last]:
            last += 1
        if last + 1 < count:
            edge[edges] = ascending[last] / 2.0 + ascending[last + 1] / 2.0
            edges += 1
            last += 1
    return edges


@exact_kernel
def _fill_bins(
    values: NDArray[np.float64],  # shape=(n, columns)
    ascending: NDArray[np.float64],  # shape=(columns, n), sorted, NaN last
    bins: NDArray[np.uint8],  # shape=(n, columns), written
    threshold: NDArray[np.float64],  # shape=(columns, BINS), infinite; edges are written
) -> None:
    for j in range(threshold.shape[0]):
        threshold[j, 0] = -np.inf
        edges = _write_edges(ascending[j], threshold[j, 1:])
        for i in range(values.shape[0]):
            x = values[i, j]
            low, step = 0, BINS // 2
            while step > 0:  # how many edges are below the value
                if low + step <= edges and threshold[j, low + step] < x:
                    low += step
                step //= 2
            bins[i, j] = 0 if math.isnan(x) else low + 1


def rank_categories(
    rows: NDArray[np.float64], target: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Order the categories of each column by their mean target (Fisher 1958), smoothed.

    Args:
        rows: shape=(n, columns), number of the category in each column, NaN for none; no number is
            in two columns.
        target: shape=(n,), numbers, or whether a label is a certain one.
        weight: shape=(n,), of each sample.

    Returns:
        Rank of each category in its column, NaN for rare ones.

    >>> rows = np.array([[0.0], [1.0], [2.0]] * 3)
    >>> rank_categories(rows, np.array([5.0, 1.0, 3.0] * 3), np.ones(9)).tolist()
    [2.0, 0.0, 1.0]
    """
    highest = int(np.nanmax(rows)) if np.isfinite(rows).any() else -1
    rank = np.full(highest + 1, np.nan)
    # Sums of the largest numbers would be infinite; a power of two leaves the order as it is.
    target = np.ldexp(target, min(0, 900 - int(np.frexp(np.abs(target).max())[1])))
    mean = float(np.average(target, weights=weight))
    sample, column = np.nonzero(np.isfinite(rows))
    category = rows[sample, column].astype(np.intp)
    count = np.bincount(category, minlength=len(rank))
    shares = np.bincount(category, weights=weight[sample], minlength=len(rank))
    sums = np.bincount(category, weights=(weight * target)[sample], minlength=len(rank))
    means = (sums + PRIOR * mean) / (shares + PRIOR)
    home = np.zeros(len(rank), np.intp)
    home[category] = column
    found = np.flatnonzero(count)
    found = found[np.argsort(home[found], kind="stable")]
    for own in np.split(found, np.searchsorted(home[found], np.arange(1, rows.shape[1]))):
        frequent = own[np.argsort(-count[own], kind="stable")[: BINS - 1]]
        frequent = frequent[count[frequent] >= LEAST_CATEGORY]
        order = np.argsort(means[frequent], kind="stable")
        rank[frequent[order]] = np.arange(len(order))
    return rank

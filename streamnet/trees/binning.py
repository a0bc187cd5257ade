"""Columns of samples in bins, and the order of categories."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamnet.trees.kernels import BINS

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
    bins = np.zeros((n, columns), np.uint8)
    threshold = np.full((columns, BINS), np.inf)
    threshold[:, 0] = -np.inf
    for j in range(columns):
        column = values[:, j]
        known = ~np.isnan(column)
        edges = _find_edges(column[known])
        threshold[j, 1 : 1 + len(edges)] = edges
        bins[known, j] = 1 + np.searchsorted(edges, column[known])
    return bins, threshold


def _find_edges(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """At most `BINS` - 2 values between others, ascending: none is in the values if they are few.

    They are halfway between neighbors, or close to quantiles.
    """
    ascending = np.sort(values)
    distinct = ascending[np.flatnonzero(np.diff(ascending, prepend=-np.inf))]
    if len(distinct) < BINS:
        return distinct[:-1] / 2.0 + distinct[1:] / 2.0
    ranks = np.arange(1, BINS - 1) * len(ascending) // (BINS - 1)
    lower = np.unique(ascending[ranks - 1])
    place = np.searchsorted(distinct, lower)
    lower, upper = lower[place + 1 < len(distinct)], distinct[place[place + 1 < len(distinct)] + 1]
    return lower / 2.0 + upper / 2.0


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
    for column in rows.T:
        known = np.isfinite(column)
        if not known.any():
            continue
        own, place, count = np.unique(
            column[known].astype(np.intp), return_inverse=True, return_counts=True
        )
        shares = np.bincount(place, weights=weight[known])
        sums = np.bincount(place, weights=weight[known] * target[known])
        frequent = np.argsort(-count, kind="stable")[: BINS - 1]
        frequent = frequent[count[frequent] >= LEAST_CATEGORY]
        means = (sums[frequent] + PRIOR * mean) / (shares[frequent] + PRIOR)
        order = np.argsort(means, kind="stable")
        rank[own[frequent[order]]] = np.arange(len(order))
    return rank

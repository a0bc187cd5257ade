"""Outcomes of a run: a confusion matrix of labels, or a histogram of residuals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamnet.reporting.report import Confusion, Residuals

MAX_LABELS = 30
OTHERS = "(others)"
HISTOGRAM_BINS = 25
MAX_RESIDUAL = 1e308  # larger residuals are clipped to it


def build_confusion_matrix(counts: NDArray[np.float64], labels: list[str]) -> Confusion:
    """Count samples by true label (row) and predicted label (column).

    With more than 30 labels, the 29 most frequent ones keep their order and the rest are counted
    together as the last one. Samples without a prediction are in no column.

    Args:
        counts: Shape (labels, labels + 1), as returned by `ClassificationEvaluator.confusion`.
        labels: Names of the labels, at least as many as there are rows.

    >>> build_confusion_matrix(np.array([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0]]), ["a", "b"])
    Confusion(labels=['a', 'b'], matrix=[[3, 1], [0, 2]])
    """
    square = counts[:, :-1]
    names = list(labels[: len(square)])
    if len(square) > MAX_LABELS:
        # A stable sort, so that of equally frequent labels the earlier ones are kept.
        order = np.argsort(-counts.sum(axis=1), kind="stable")[: MAX_LABELS - 1]
        kept = np.sort(order)
        groups = np.full(len(square), len(kept))
        groups[kept] = np.arange(len(kept))
        folded = np.zeros((len(kept) + 1, len(kept) + 1))
        np.add.at(folded, (groups[:, None], groups[None, :]), square)
        square, names = folded, [*(names[i] for i in kept), OTHERS]
    return Confusion(names, square.astype(np.int64).tolist())


def build_residual_histogram(pairs: NDArray[np.float64]) -> Residuals:
    """Histogram of the residuals (prediction minus true value) in 25 bins of equal width.

    The edges are symmetric about 0 and span 98 % of the residuals; the outermost bins count
    everything beyond them.

    Args:
        pairs: True values and predictions, finite, shape (n, 2), as returned by
            `RegressionEvaluator.recent`.

    >>> pairs = [[1.0, 0.0], [2.0, 2.0], [3.0, 3.0], [0.0, 1.0]]
    >>> histogram = build_residual_histogram(np.array(pairs))
    >>> histogram.counts[12], sum(histogram.counts), len(histogram.edges)
    (2, 4, 26)
    """
    if not len(pairs):
        return Residuals([], [])
    with np.errstate(over="ignore"):
        residuals = np.clip(pairs[:, 1] - pairs[:, 0], -MAX_RESIDUAL, MAX_RESIDUAL)
    reach = float(np.quantile(np.abs(residuals), 0.98)) or float(np.abs(residuals).max()) or 1.0
    edges = reach * np.linspace(-1.0, 1.0, HISTOGRAM_BINS + 1)
    counts, _ = np.histogram(np.clip(residuals, -reach, reach), edges)
    return Residuals(edges.tolist(), counts.tolist())

"""Outcomes: what was answered beside what was true, in a bounded shape."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamnet.evaluation import ClassificationEvaluator
from streamnet.learning.learner import Learner

__all__ = ("confusion_of", "outcomes_of", "residuals_of")

MOST_LABELS = 30
OTHERS = "(others)"
BINS = 25
LARGEST = 1e308  # a residual beyond it counts as this one


def outcomes_of(learner: Learner) -> dict[str, Any]:
    """Of what a learner served: a confusion matrix of all samples, or residuals of the last ones.

    Its ``kind`` is ``"confusion"`` or ``"residuals"``; see `confusion_of` and `residuals_of`.
    """
    server = learner.server
    evaluator = server.alternatives.scores.evaluator
    if isinstance(evaluator, ClassificationEvaluator):
        counts = evaluator.confusion(server.serves)
        return {"kind": "confusion", **confusion_of(counts, learner.encoder.labels)}
    return {"kind": "residuals", **residuals_of(evaluator.recent(server.serves))}


def confusion_of(counts: NDArray[np.float64], labels: list[str]) -> dict[str, Any]:
    """A matrix with one row for each true label and one column for each answer.

    Of more than 30 labels the most frequent 29 are kept, in their order, and the others count as
    one, the last. Samples without an answer are in no column.

    Args:
        counts: shape=(labels, labels + 1), as `ClassificationEvaluator.confusion` gives it.
        labels: Their names, at least as many.

    >>> confusion_of(np.array([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0]]), ["a", "b"])
    {'labels': ['a', 'b'], 'matrix': [[3, 1], [0, 2]]}
    """
    square = counts[:, :-1]
    names = list(labels[: len(square)])
    if len(square) > MOST_LABELS:
        # Stable, so that of equally frequent labels the earlier ones are kept.
        order = np.argsort(-counts.sum(axis=1), kind="stable")[: MOST_LABELS - 1]
        kept = np.sort(order)
        groups = np.full(len(square), len(kept))
        groups[kept] = np.arange(len(kept))
        folded = np.zeros((len(kept) + 1, len(kept) + 1))
        np.add.at(folded, (groups[:, None], groups[None, :]), square)
        square, names = folded, [*(names[i] for i in kept), OTHERS]
    return {"labels": names, "matrix": square.astype(np.int64).tolist()}


def residuals_of(pairs: NDArray[np.float64]) -> dict[str, Any]:
    """A histogram: ``counts[i]`` lie between ``edges[i]`` and ``edges[i + 1]``, in 25 equal bins.

    A residual is an answer minus its truth. The edges are symmetric about 0 and hold 98 % of the
    residuals; those beyond are counted in the outermost bins.

    Args:
        pairs: Truth and answer, finite, shape=(n, 2), as `RegressionEvaluator.recent` gives them.

    >>> histogram = residuals_of(np.array([[1.0, 0.0], [2.0, 2.0], [3.0, 3.0], [0.0, 1.0]]))
    >>> histogram["counts"][12], sum(histogram["counts"]), len(histogram["edges"])
    (2, 4, 26)
    """
    if not len(pairs):
        return {"edges": [], "counts": []}
    with np.errstate(over="ignore"):
        residuals = np.clip(pairs[:, 1] - pairs[:, 0], -LARGEST, LARGEST)
    reach = float(np.quantile(np.abs(residuals), 0.98)) or float(np.abs(residuals).max()) or 1.0
    edges = reach * np.linspace(-1.0, 1.0, BINS + 1)
    counts, _ = np.histogram(np.clip(residuals, -reach, reach), edges)
    return {"edges": edges.tolist(), "counts": counts.tolist()}

"""Measures: how right the answers were that each sample got before it was learned."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import DataError
from tests.benchmarks.peers.peer import Answers, Scored
from tests.benchmarks.peers.rows import Rows

__all__ = (
    "accuracy",
    "balanced_accuracy",
    "has_rare_labels",
    "kappa",
    "kappa_temporal",
    "measures_of",
    "pr_auc",
)


def accuracy(truth: NDArray, answers: NDArray) -> float:
    """Share of right answers."""
    return float((truth == answers).mean())


def kappa(truth: NDArray, answers: NDArray) -> float:
    """Accuracy above that of the same answers dealt out at random; NaN if that is 1.

    >>> kappa(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]))
    0.5
    """
    labels = np.unique(np.concatenate([truth, answers]))
    chance = sum((truth == label).mean() * (answers == label).mean() for label in labels)
    return _above(accuracy(truth, answers), float(chance))


def kappa_temporal(truth: NDArray, answers: NDArray) -> float:
    """Accuracy above that of repeating the last label, which has no answer to the first sample.

    >>> kappa_temporal(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]))
    0.5
    """
    repeated = float((truth[1:] == truth[:-1]).sum() / len(truth))
    return _above(accuracy(truth, answers), repeated)


def _above(value: float, base: float) -> float:
    return (value - base) / (1 - base) if base < 1 else float("nan")


def balanced_accuracy(truth: NDArray, answers: NDArray) -> float:
    """Mean over the labels of the share of their samples that were answered right.

    >>> balanced_accuracy(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0]))
    0.5
    """
    return float(np.mean([(answers[truth == label] == label).mean() for label in np.unique(truth)]))


def pr_auc(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Area under the curve of precision over recall, as the mean of the precision at each positive.

    >>> pr_auc(np.array([True, False, True, False]), np.array([0.9, 0.8, 0.7, 0.1]))
    0.8333333333333333
    """
    values, place = np.unique(-scores, return_inverse=True)  # equal scores are one point
    found = np.bincount(place, weights=positive, minlength=len(values))
    precision = found.cumsum() / np.bincount(place).cumsum()
    return float((precision * found).sum() / found.sum())


def has_rare_labels(rows: Rows) -> bool:
    """Whether some label is less than half as frequent as if all were equally frequent."""
    if not rows.classification:
        return False
    counts = np.bincount(rows.target)
    counts = counts[counts > 0]
    return bool(2 * counts.min() * len(counts) < len(rows.target))


def measures_of(rows: Rows, given: Answers | Scored) -> dict[str, float]:
    """The measures that suit the task, by name, the main one first.

    Raises:
        DataError: If not each sample has an answer, or an answer is no number.
    """
    answers = np.asarray(given.answers if isinstance(given, Scored) else given)
    if len(answers) != len(rows.target):
        raise DataError(f"{len(answers)} answers to {len(rows.target)} samples")
    if not rows.classification:
        if not np.isfinite(answers).all():
            raise DataError(f"{np.sum(~np.isfinite(answers))} answers are not finite")
        return {"mae": float(np.abs(rows.target - answers).mean())}
    measures = {
        "accuracy": accuracy(rows.target, answers),
        "kappa": kappa(rows.target, answers),
        "kappa_temporal": kappa_temporal(rows.target, answers),
    }
    if has_rare_labels(rows):
        measures["balanced_accuracy"] = balanced_accuracy(rows.target, answers)
        if isinstance(given, Scored) and len(np.unique(rows.target)) == 2:
            measures["pr_auc"] = pr_auc(rows.target == rows.rarest, np.asarray(given.scores))
    return measures

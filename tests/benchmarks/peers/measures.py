"""Measures: how right the answers were that each sample got before it was learned."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import DataError
from tests.benchmarks.peers.rows import Rows

__all__ = ("accuracy", "kappa", "kappa_temporal", "measures_of")


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


def measures_of(rows: Rows, answers: NDArray) -> dict[str, float]:
    """The measures that suit the task, by name.

    Raises:
        DataError: If not each sample has an answer, or an answer is no number.
    """
    if len(answers) != len(rows.target):
        raise DataError(f"{len(answers)} answers to {len(rows.target)} samples")
    if rows.classification:
        return {
            "accuracy": accuracy(rows.target, answers),
            "kappa": kappa(rows.target, answers),
            "kappa_temporal": kappa_temporal(rows.target, answers),
        }
    if not np.isfinite(answers).all():
        raise DataError(f"{np.sum(~np.isfinite(answers))} answers are not finite")
    return {"mae": float(np.abs(rows.target - answers).mean())}

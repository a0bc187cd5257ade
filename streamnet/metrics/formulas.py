"""Metrics as pure functions of counts and sums.

Every function takes arrays with any leading axes (one track or all of them at once) and returns an
array of those axes. A metric of no samples is NaN; other undefined values are stated with it.
"""

from __future__ import annotations

from math import isfinite
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = (
    "ConfusionCounts",
    "accuracy",
    "balanced_accuracy",
    "cohen_kappa",
    "kappa_temporal",
    "macro_f1",
    "matthews_corrcoef",
    "mean",
    "micro_f1",
    "nan_to_none",
    "r2_score",
    "root_mean_squared_error",
    "weighted_f1",
)

Values = NDArray[np.float64]

# A reference that leaves less than this share to chance leaves only rounding errors to measure.
NEGLIGIBLE = 1e-12
_LEAST_SQUARE = float(np.finfo(np.float64).tiny)  # a smaller one has lost digits


class ConfusionCounts(NamedTuple):
    """What the measures of a classifier need of its confusion matrix: diagonal and margins.

    >>> confusion = np.array([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0]])  # last column: no answer
    >>> ConfusionCounts.of(confusion).answers
    array([3., 3., 1.])
    """

    hits: Values  # shape=(..., C), right answers by class
    truths: Values  # shape=(..., C), samples by true class
    answers: Values  # shape=(..., C + 1), samples by answered class; last: no answer

    @classmethod
    def of(cls, confusion: Values) -> ConfusionCounts:
        """Counts of matrices of shape (..., C, C + 1): rows truth, columns answer, last none."""
        hits = np.diagonal(confusion, axis1=-2, axis2=-1)
        return cls(hits, confusion.sum(-1), confusion.sum(-2))


def accuracy(counts: ConfusionCounts) -> Values:
    """Share of right answers: ``sum(hits) / n``."""
    return _ratio(counts.hits.sum(-1), counts.truths.sum(-1))


def balanced_accuracy(counts: ConfusionCounts) -> Values:
    """Mean recall ``hits[c] / truths[c]`` over the classes that occur as truth.

    Brodersen, Ong, Stephan and Buhmann, "The balanced accuracy and its posterior distribution",
    ICPR 2010; for several classes as in scikit-learn.
    """
    recall = _ratio(counts.hits, counts.truths, otherwise=0.0)
    return _ratio(recall.sum(-1), (counts.truths > 0).sum(-1))


def macro_f1(counts: ConfusionCounts) -> Values:
    """Mean of ``2 hits[c] / (truths[c] + answers[c])`` over classes that are truth or answer.

    van Rijsbergen, "Information Retrieval", 1979; the mean of the F1 of classes, not the F1 of
    mean precision and recall. No answer is not a class: it only lowers the recall of the truth.
    """
    either = counts.truths + counts.answers[..., :-1]
    return _ratio(_ratio(2.0 * counts.hits, either, otherwise=0.0).sum(-1), (either > 0).sum(-1))


def micro_f1(counts: ConfusionCounts) -> Values:
    """F1 of all classes counted together: ``2 sum(hits) / (sum(truths) + sum(answers))``.

    It is the accuracy if there always is an answer.
    """
    given = counts.truths.sum(-1) + counts.answers[..., :-1].sum(-1)
    return _ratio(2.0 * counts.hits.sum(-1), given)


def weighted_f1(counts: ConfusionCounts) -> Values:
    """Mean of the F1 of classes as in `macro_f1`, each weighted by ``truths[c]``."""
    either = counts.truths + counts.answers[..., :-1]
    f1 = _ratio(2.0 * counts.hits, either, otherwise=0.0)
    return _ratio((f1 * counts.truths).sum(-1), counts.truths.sum(-1))


def cohen_kappa(counts: ConfusionCounts) -> Values:
    """Agreement beyond chance: ``(p0 - pe) / (1 - pe)``.

    p0 is the accuracy and ``pe = sum(truths[c] answers[c]) / n**2``. Cohen, "A coefficient of
    agreement for nominal scales", 1960. It is 0 where the formula gives 0 / 0: a single class,
    always answered (scikit-learn: NaN).
    """
    n = counts.truths.sum(-1)
    by_chance = (counts.truths * counts.answers[..., :-1]).sum(-1)
    possible = n - _ratio(by_chance, n)  # n (1 - pe)
    gained = counts.hits.sum(-1) - _ratio(by_chance, n)  # n (p0 - pe)
    return _defined(n, _ratio(gained, possible, otherwise=0.0, least=NEGLIGIBLE * n))


def matthews_corrcoef(counts: ConfusionCounts) -> Values:
    """Correlation of truth and answer (MCC), from -1 to 1.

    ``(n sum(hits) - sum(t a)) / sqrt((n**2 - sum(t**2)) (n**2 - sum(a**2)))`` with truths t and
    answers a. Matthews, "Comparison of the predicted and observed secondary structure of T4 phage
    lysozyme", 1975; for several classes Gorodkin, "Comparing two K-category assignments by a
    K-category correlation coefficient", 2004. It is 0 where truth or answer never changes.
    """
    # In shares instead of counts, so that one threshold of rounding errors fits any n.
    n = counts.truths.sum(-1)
    truths = _ratio(counts.truths, n[..., None])
    answers = _ratio(counts.answers, counts.answers.sum(-1)[..., None])
    together = accuracy(counts) - (truths * answers[..., :-1]).sum(-1)
    spread = 1.0 - (truths**2).sum(-1), 1.0 - (answers**2).sum(-1)
    varied = (spread[0] > NEGLIGIBLE) & (spread[1] > NEGLIGIBLE)
    scale = np.sqrt(np.where(varied, spread[0] * spread[1], 0.0))
    return _defined(n, _ratio(together, scale, otherwise=0.0))


def kappa_temporal(wrong: Values, no_change_wrong: Values, weight: Values) -> Values:
    """Gain over repeating the last label: ``(p0 - p') / (1 - p') = 1 - wrong / no_change_wrong``.

    p0 is the accuracy and p' that of the no-change answers to the same samples. Žliobaitė, Bifet,
    Read, Pfahringer and Holmes, "Evaluation methods and decision theory for classification of
    streaming data with temporal dependence", Machine Learning 98, 2015. Where no change is always
    right it is 0 for a track that is always right too, and NaN (unbounded) for any other.
    """
    perfect = np.where(wrong > 0, np.nan, 0.0)
    value = 1.0 - _ratio(wrong, no_change_wrong, otherwise=1.0)
    return _defined(weight, np.where(no_change_wrong > 0, value, perfect))


def mean(total: Values, weight: Values) -> Values:
    """``total / weight``: of log-losses, of Brier scores, of absolute errors.

    Brier, "Verification of forecasts expressed in terms of probability", 1950: the score of a
    sample is the sum over classes of ``(p[c] - y[c])**2``, from 0 to 2.
    """
    return _ratio(total, weight)


def root_mean_squared_error(mean_square: Values) -> Values:
    """``sqrt(mean((y - a)**2))`` of truths y and answers a."""
    return np.sqrt(mean_square)


def r2_score(
    mean_square: Values, variance: Values, absolute: Values, count: NDArray[np.int64]
) -> Values:
    """Share of the variance of the truth that is explained: ``1 - mean_square / variance``.

    NaN for less than two samples; for a truth that never changes 1 if every answer was exact, else
    0 (all as scikit-learn). NaN also where squares are too large or too small for float64: where
    one of the two means is not finite, or the variance is subnormal.

    Args:
        mean_square: Of the errors.
        variance: Of the truth; 0 of one that never changes, NaN if nothing is known of it.
        absolute: Mean absolute error, which is above 0 even where its square no longer is.
        count: Samples.
    """
    constant = np.where(absolute > 0, 0.0, 1.0)
    value = 1.0 - _ratio(mean_square, variance, otherwise=1.0)
    told = np.isfinite(mean_square) & ((variance == 0) | (variance >= _LEAST_SQUARE))
    told &= np.isfinite(variance) & (count >= 2)
    return np.where(told, np.where(variance > 0, value, constant), np.nan)


def _ratio(
    above: ArrayLike, below: ArrayLike, *, otherwise: float = np.nan, least: ArrayLike = 0.0
) -> Values:
    """``above / below``, or ``otherwise`` where ``below`` is not more than ``least``."""
    above, below = np.asarray(above), np.asarray(below)
    result: Values = np.full(np.broadcast_shapes(above.shape, below.shape), otherwise)
    np.divide(above, below, out=result, where=below > least)
    return result


def _defined(weight: Values, value: Values) -> Values:
    return np.where(weight > 0, value, np.nan)


def nan_to_none(values: dict[str, float]) -> dict[str, float | None]:
    """Measures by name as JSON can hold them: None for those that are not defined.

    >>> nan_to_none({"accuracy": 0.5, "kappa": float("nan")})
    {'accuracy': 0.5, 'kappa': None}
    """
    return {name: value if isfinite(value) else None for name, value in values.items()}

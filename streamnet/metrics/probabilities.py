"""Metrics of class probabilities: log-loss, Brier score, ROC AUC and calibration error."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError

__all__ = ("brier_score", "expected_calibration_error", "log_loss", "roc_auc")

Values = NDArray[np.float64]
Classes = NDArray[np.int64]

BINS = 15


def log_loss(truth: Classes, probability: Values, *, floor: float = 1e-4) -> float:
    """Mean of ``-log(max(probability of the truth, floor))``, NaN of no samples.

    Args:
        truth: Class numbers, shape (n,).
        probability: Shape (n, C).
        floor: Of a probability, so that no loss exceeds ``-log(floor)``.
    """
    if not len(truth):
        return np.nan
    given = probability[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(given, floor)).mean())


def brier_score(truth: Classes, probability: Values) -> float:
    """Mean over samples of the sum over classes of ``(p[c] - y[c])**2``, from 0 to 2.

    Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78,
    1950. NaN of no samples.
    """
    if not len(truth):
        return np.nan
    ideal = np.eye(probability.shape[1])[truth]
    return float(((probability - ideal) ** 2).sum(1).mean())


def roc_auc(truth: Classes, probability: Values) -> float:
    """Mean over classes of the area under the ROC curve of the class against all others.

    The area is the chance that a sample of the class gets a higher probability of it than one of
    another class, ties counted half: Hanley and McNeil, "The meaning and use of the area under a
    receiver operating characteristic (ROC) curve", Radiology 143, 1982. With two classes whose
    probabilities sum to 1 both areas are the same. Classes that no sample has, or all have, are
    left out; NaN if that leaves none.
    """
    areas = []
    for number in range(probability.shape[1]):
        positive = truth == number
        count = int(positive.sum())
        if 0 < count < len(truth):
            ranks = _ranks(probability[:, number])
            above = ranks[positive].sum() - count * (count + 1) / 2.0
            areas.append(above / (count * (len(truth) - count)))
    return float(np.mean(areas)) if areas else np.nan


def expected_calibration_error(truth: Classes, probability: Values, *, bins: int = BINS) -> float:
    """Expected calibration error: how far confidence and accuracy are apart, from 0 to 1.

    Samples are put into bins of equal width by the largest probability of each, the confidence; bin
    b holds those in ``(b / bins, (b + 1) / bins]``. The error is the mean over samples of
    ``|accuracy - mean confidence|`` of their bin. Naeini, Cooper and Hauskrecht, "Obtaining well
    calibrated probabilities using Bayesian binning", AAAI 2015; 15 bins as in Guo, Pleiss, Sun and
    Weinberger, "On calibration of modern neural networks", ICML 2017. NaN of no samples.

    Raises:
        ConfigurationError: If there is no bin.
    """
    if bins < 1:
        raise ConfigurationError(f"bins is {bins}, but must be >= 1")
    if not probability.size:
        return np.nan
    confidence = probability.max(1)
    right = probability.argmax(1) == truth
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gap = np.bincount(place, right - confidence, bins)
    return float(np.abs(gap).sum() / len(truth))


def _ranks(values: Values) -> Values:
    """Ranks from 1 on; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Values = (last - (counts - 1) / 2.0)[inverse]
    return ranks

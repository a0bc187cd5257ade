"""One-vs-rest metrics of each class, as functions of counts.

Every function takes counts of any leading axes and returns float64 (..., C). A ratio is 0 where its
denominator is (scikit-learn's ``zero_division=0``). A missing answer is a false negative of the
truth.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from streamnet.metrics.formulas import ConfusionCounts

__all__ = (
    "PER_CLASS",
    "accuracy",
    "balanced_accuracy",
    "f1",
    "fall_out",
    "false_discovery_rate",
    "false_negatives",
    "false_positives",
    "informedness",
    "markedness",
    "negative_predictive_value",
    "negatives",
    "positives",
    "precision",
    "recall",
    "specificity",
    "true_negatives",
    "true_positives",
)

Values = NDArray[np.float64]


def positives(counts: ConfusionCounts) -> Values:
    """Samples of the class, ``TP + FN``."""
    return counts.truths


def negatives(counts: ConfusionCounts) -> Values:
    """Samples of other classes, ``FP + TN``."""
    whole: Values = counts.truths.sum(-1, keepdims=True)
    return whole - counts.truths


def true_positives(counts: ConfusionCounts) -> Values:
    """TP: samples of the class that were called so."""
    return counts.hits


def false_positives(counts: ConfusionCounts) -> Values:
    """FP: samples of other classes that were called by this one."""
    return counts.answers[..., :-1] - counts.hits


def true_negatives(counts: ConfusionCounts) -> Values:
    """TN: samples of other classes that were not called by this one."""
    return negatives(counts) - false_positives(counts)


def false_negatives(counts: ConfusionCounts) -> Values:
    """FN: samples of the class that were not called so."""
    return counts.truths - counts.hits


def accuracy(counts: ConfusionCounts) -> Values:
    """``(TP + TN) / n``."""
    right = true_positives(counts) + true_negatives(counts)
    return _share(right, positives(counts) + negatives(counts))


def recall(counts: ConfusionCounts) -> Values:
    """``TP / (TP + FN)``: sensitivity, true positive rate."""
    return _share(true_positives(counts), positives(counts))


def specificity(counts: ConfusionCounts) -> Values:
    """``TN / (TN + FP)``: true negative rate."""
    return _share(true_negatives(counts), negatives(counts))


def precision(counts: ConfusionCounts) -> Values:
    """``TP / (TP + FP)``: positive predictive value."""
    return _share(true_positives(counts), counts.answers[..., :-1])


def fall_out(counts: ConfusionCounts) -> Values:
    """``FP / (FP + TN)``: false positive rate."""
    return _share(false_positives(counts), negatives(counts))


def false_discovery_rate(counts: ConfusionCounts) -> Values:
    """``FP / (FP + TP)``."""
    return _share(false_positives(counts), counts.answers[..., :-1])


def negative_predictive_value(counts: ConfusionCounts) -> Values:
    """``TN / (TN + FN)``."""
    return _share(true_negatives(counts), true_negatives(counts) + false_negatives(counts))


def f1(counts: ConfusionCounts) -> Values:
    """``2 TP / (2 TP + FP + FN)``, the harmonic mean of precision and recall."""
    return _share(2.0 * counts.hits, counts.truths + counts.answers[..., :-1])


def balanced_accuracy(counts: ConfusionCounts) -> Values:
    """``(recall + specificity) / 2``."""
    return (recall(counts) + specificity(counts)) / 2.0


def informedness(counts: ConfusionCounts) -> Values:
    """``recall + specificity - 1``: Youden's J.

    Powers, "Evaluation: from precision, recall and F-measure to ROC, informedness, markedness and
    correlation", Journal of Machine Learning Technologies 2, 2011.
    """
    return recall(counts) + specificity(counts) - 1.0


def markedness(counts: ConfusionCounts) -> Values:
    """``precision + negative predictive value - 1`` (Powers, 2011)."""
    return precision(counts) + negative_predictive_value(counts) - 1.0


def _share(part: Values, whole: Values) -> Values:
    result: Values = np.zeros(np.broadcast_shapes(part.shape, whole.shape))
    np.divide(part, whole, out=result, where=whole > 0)
    return result


PER_CLASS: dict[str, Callable[[ConfusionCounts], Values]] = {
    function.__name__: function
    for function in (
        true_positives,
        false_positives,
        true_negatives,
        false_negatives,
        positives,
        negatives,
        recall,
        precision,
        specificity,
        fall_out,
        false_discovery_rate,
        negative_predictive_value,
        accuracy,
        f1,
        balanced_accuracy,
        informedness,
        markedness,
    )
}
"""All of them by name, counts first."""

"""One-vs-rest metrics of each class, and gopher-neural's means of them.

Every function of a class takes counts with any leading axes and returns float64 (..., C). A ratio
is 0 where its denominator is (scikit-learn's ``zero_division=0``). A missing prediction is a false
negative of the truth.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from streamnet.metrics.formulas import ConfusionCounts, mean, metric

Values = NDArray[np.float64]


def positives(counts: ConfusionCounts) -> Values:
    """Samples of the class, ``TP + FN``."""
    return counts.truths


def negatives(counts: ConfusionCounts) -> Values:
    """Samples of other classes, ``FP + TN``."""
    whole: Values = counts.truths.sum(-1, keepdims=True)
    return whole - counts.truths


def true_positives(counts: ConfusionCounts) -> Values:
    """TP: samples of the class predicted as such."""
    return counts.hits


def false_positives(counts: ConfusionCounts) -> Values:
    """FP: samples of other classes predicted as this one."""
    return counts.answers[..., :-1] - counts.hits


def true_negatives(counts: ConfusionCounts) -> Values:
    """TN: samples of other classes not predicted as this one."""
    return negatives(counts) - false_positives(counts)


def false_negatives(counts: ConfusionCounts) -> Values:
    """FN: samples of the class not predicted as such."""
    return counts.truths - counts.hits


def accuracy(counts: ConfusionCounts) -> Values:
    """``(TP + TN) / n``."""
    right = true_positives(counts) + true_negatives(counts)
    return _ratio(right, positives(counts) + negatives(counts))


def recall(counts: ConfusionCounts) -> Values:
    """``TP / (TP + FN)``: sensitivity, true positive rate."""
    return _ratio(true_positives(counts), positives(counts))


def specificity(counts: ConfusionCounts) -> Values:
    """``TN / (TN + FP)``: true negative rate."""
    return _ratio(true_negatives(counts), negatives(counts))


def precision(counts: ConfusionCounts) -> Values:
    """``TP / (TP + FP)``: positive predictive value."""
    return _ratio(true_positives(counts), counts.answers[..., :-1])


def fall_out(counts: ConfusionCounts) -> Values:
    """``FP / (FP + TN)``: false positive rate."""
    return _ratio(false_positives(counts), negatives(counts))


def false_discovery_rate(counts: ConfusionCounts) -> Values:
    """``FP / (FP + TP)``."""
    return _ratio(false_positives(counts), counts.answers[..., :-1])


def negative_predictive_value(counts: ConfusionCounts) -> Values:
    """``TN / (TN + FN)``."""
    return _ratio(true_negatives(counts), true_negatives(counts) + false_negatives(counts))


def f1(counts: ConfusionCounts) -> Values:
    """``2 TP / (2 TP + FP + FN)``, the harmonic mean of precision and recall."""
    return _ratio(2.0 * counts.hits, counts.truths + counts.answers[..., :-1])


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


def _ratio(part: Values, whole: Values) -> Values:
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
"""All metrics of a class by name, counts first."""


def _mean_over_classes(values: Values, counts: ConfusionCounts) -> Values:
    return mean(values.sum(-1), np.where(counts.truths.sum(-1) > 0, values.shape[-1], 0))


# gopher-neural averages over all classes, whether or not they occur: for comparison with its
# reports.
@metric("gopher.accuracy", "counts", scope="batch")
def gopher_accuracy(counts: ConfusionCounts) -> Values:
    """Mean over classes of ``(TP + TN) / n``; the accuracy for two classes.

    >>> confusion = np.zeros((10, 11))  # last column: no prediction
    >>> confusion[:, :10] = np.eye(10) + np.roll(np.eye(10), 1, axis=1)
    >>> counts = ConfusionCounts.of(confusion)
    >>> round(float(gopher_accuracy(counts)), 2), round(float(gopher_balanced_accuracy(counts)), 2)
    (0.9, 0.72)
    """
    return _mean_over_classes(accuracy(counts), counts)


@metric("gopher.balanced_accuracy", "counts", scope="batch")
def gopher_balanced_accuracy(counts: ConfusionCounts) -> Values:
    """Mean over classes of ``(recall + specificity) / 2``."""
    return _mean_over_classes(balanced_accuracy(counts), counts)


@metric("gopher.f_measure", "counts", scope="batch")
def gopher_f_measure(counts: ConfusionCounts) -> Values:
    """Mean over classes of F1, 0 for a class that is neither truth nor prediction."""
    return _mean_over_classes(f1(counts), counts)

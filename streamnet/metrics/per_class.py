"""One-vs-rest metrics of each class, and gopher-neural's means of them.

Counts may have any leading axes; metrics are float64 (..., C). A ratio is 0 where its denominator
is (scikit-learn's ``zero_division=0``). A missing prediction is a false negative of the truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from streamnet.metrics.formulas import ConfusionCounts, metric, ratio

Values = NDArray[np.float64]
_ratio = partial(ratio, otherwise=0.0)


def compute_per_class(
    labels: Sequence[str],
    confusion: NDArray[np.float64],
    areas: Mapping[str, NDArray[np.float64]] | None = None,
) -> dict[str, dict[str, float]]:
    """Metrics of each class, by label, from a confusion matrix (C, C + 1).

    ``areas`` are more metrics of the first classes, shape=(at most C,) each; NaN for the others.
    """
    columns = measure_classes(ConfusionCounts.of(confusion))
    for name, values in (areas or {}).items():
        columns[name] = np.append(values, np.full(len(confusion) - len(values), np.nan))
    return {
        label: {name: float(values[number]) for name, values in columns.items()}
        for number, label in enumerate(labels)
    }


def measure_classes(counts: ConfusionCounts) -> dict[str, Values]:
    """Compute all metrics of each class against all others by name, counts first."""
    samples: Values = counts.truths.sum(-1, keepdims=True)
    answers = counts.answers[..., :-1]
    tp, positives = counts.hits, counts.truths
    negatives = samples - positives
    fp = answers - tp
    tn = negatives - fp
    fn = positives - tp
    recall = _ratio(tp, positives)
    precision = _ratio(tp, answers)
    specificity = _ratio(tn, negatives)
    negative_predictive_value = _ratio(tn, tn + fn)
    return {
        "true_positives": tp,
        "false_positives": fp,
        "true_negatives": tn,
        "false_negatives": fn,
        "positives": positives,
        "negatives": negatives,
        "recall": recall,  # sensitivity, true positive rate
        "precision": precision,  # positive predictive value
        "specificity": specificity,  # true negative rate
        "fall_out": _ratio(fp, negatives),  # false positive rate
        "false_discovery_rate": _ratio(fp, answers),
        "negative_predictive_value": negative_predictive_value,
        "accuracy": _ratio(tp + tn, positives + negatives),
        "f1": _ratio(2.0 * tp, positives + answers),  # harmonic mean of precision and recall
        "balanced_accuracy": (recall + specificity) / 2.0,
        # Youden's J, and its counterpart: Powers, "Evaluation: from precision, recall and F-measure
        # to ROC, informedness, markedness and correlation", Journal of Machine Learning
        # Technologies 2, 2011.
        "informedness": recall + specificity - 1.0,
        "markedness": precision + negative_predictive_value - 1.0,
    }


def _mean_over_classes(name: str, counts: ConfusionCounts) -> Values:
    values = measure_classes(counts)[name]
    return ratio(values.sum(-1), np.where(counts.truths.sum(-1) > 0, values.shape[-1], 0))


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
    return _mean_over_classes("accuracy", counts)


@metric("gopher.balanced_accuracy", "counts", scope="batch")
def gopher_balanced_accuracy(counts: ConfusionCounts) -> Values:
    """Mean over classes of ``(recall + specificity) / 2``."""
    return _mean_over_classes("balanced_accuracy", counts)


@metric("gopher.f_measure", "counts", scope="batch")
def gopher_f_measure(counts: ConfusionCounts) -> Values:
    """Mean over classes of F1, 0 for a class that is neither truth nor prediction."""
    return _mean_over_classes("f1", counts)

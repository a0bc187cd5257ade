"""gopher-neural's metrics over all classes, where its formulas differ from the usual ones.

They serve comparison with its reports. Each is a plain mean over all classes, whether or not a
class occurs, of the metric of the class against all others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamnet.metrics import per_class
from streamnet.metrics.formulas import ConfusionCounts, mean

__all__ = ("accuracy", "balanced_accuracy", "f_measure")

Values = NDArray[np.float64]


def accuracy(counts: ConfusionCounts) -> Values:
    """Mean over classes of ``(TP + TN) / n``; the accuracy for two classes.

    >>> confusion = np.zeros((10, 11))  # last column: no answer
    >>> confusion[:, :10] = np.eye(10) + np.roll(np.eye(10), 1, axis=1)
    >>> half_wrong = ConfusionCounts.of(confusion)
    >>> round(float(accuracy(half_wrong)), 2), round(float(balanced_accuracy(half_wrong)), 2)
    (0.9, 0.72)
    """
    return _over_classes(per_class.accuracy(counts), counts)


def balanced_accuracy(counts: ConfusionCounts) -> Values:
    """Mean over classes of ``(recall + specificity) / 2``."""
    return _over_classes(per_class.balanced_accuracy(counts), counts)


def f_measure(counts: ConfusionCounts) -> Values:
    """Mean over classes of F1, 0 for a class that is neither truth nor answer."""
    return _over_classes(per_class.f1(counts), counts)


def _over_classes(values: Values, counts: ConfusionCounts) -> Values:
    """The mean, NaN of no samples."""
    classes = np.where(counts.truths.sum(-1) > 0, values.shape[-1], 0)
    return mean(values.sum(-1), classes)

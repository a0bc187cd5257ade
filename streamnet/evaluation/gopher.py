"""gopher-neural's measures of all classes together, where its formulas are not the usual ones.

They are here to compare with what it reported. Each is a plain mean over all classes, whether or
not a class comes up, of the measure of the class against all others. With many classes most samples
are true negatives of each, which lifts the first two: of ten classes, half of the answers wrong,
they are 0.90 and 0.72 rather than 0.50.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamnet.evaluation import per_class
from streamnet.evaluation.measures import Counts
from streamnet.evaluation.measures import mean

__all__ = ("accuracy", "balanced_accuracy", "f_measure")

Values = NDArray[np.float64]


def accuracy(counts: Counts) -> Values:
    """Mean over classes of ``(TP + TN) / n``; the accuracy for two classes.

    >>> confusion = np.zeros((10, 11))  # last column: no answer
    >>> confusion[:, :10] = np.eye(10) + np.roll(np.eye(10), 1, axis=1)
    >>> half_wrong = Counts.of(confusion)
    >>> round(float(accuracy(half_wrong)), 2), round(float(balanced_accuracy(half_wrong)), 2)
    (0.9, 0.72)
    """
    return _over_classes(per_class.accuracy(counts), counts)


def balanced_accuracy(counts: Counts) -> Values:
    """Mean over classes of ``(recall + specificity) / 2``."""
    return _over_classes(per_class.balanced_accuracy(counts), counts)


def f_measure(counts: Counts) -> Values:
    """Mean over classes of F1, 0 for a class that is neither truth nor answer."""
    return _over_classes(per_class.f1(counts), counts)


def _over_classes(values: Values, counts: Counts) -> Values:
    """The mean, NaN of no samples."""
    classes = np.where(counts.truths.sum(-1) > 0, values.shape[-1], 0)
    return mean(values.sum(-1), classes)

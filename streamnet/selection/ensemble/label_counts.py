"""Label counts of the ensembles, when a class is merged into another or retired."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamnet.metrics.classification import move_counts

NEVER_CHOSEN = 1e300  # label count of a merged or retired class: its odds are 0


def move_label_counts(
    number: int,
    into: int,
    transitions: NDArray[np.float64],
    frequencies: NDArray[np.float64],
    last: NDArray[np.int64],
    counts: NDArray[np.float64],
) -> None:
    """Count earlier labels of a class as those of another, or no more at -1.

    The arrays are those of `LabelPool`, which have room for both classes.

    >>> frequencies, last = np.array([3.0, 2.0, 1.0]), np.array([2])
    >>> move_label_counts(2, 0, np.zeros((0, 3)), frequencies, last, np.zeros(0))
    >>> frequencies.tolist(), last.tolist()
    ([4.0, 2.0, 0.0], [0])
    """
    if len(counts) and counts[number] == NEVER_CHOSEN:  # a retired class that is merged now
        counts[number] = 0.0
    for array in (frequencies, transitions, transitions.T, counts):
        if array.size:
            move_counts(array, number, into)
    if len(counts):
        counts[number] = NEVER_CHOSEN
    if last[0] == number:
        last[0] = into if into >= 0 else len(frequencies)

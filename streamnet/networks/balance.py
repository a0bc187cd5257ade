"""ClassCounts: how rare each sample's class is, so that rare classes can weigh more."""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import exact_kernel

__all__ = ("ClassCounts",)


@exact_kernel
def _count(
    label: NDArray[np.int32],
    counts: NDArray[np.int64],  # shape=(classes,), moved on
    rarity: NDArray[np.float64],  # shape=(n,), written
    first: int,
) -> int:
    """Count from sample ``first`` on; return the first one with a class that has no room yet."""
    samples, classes = 0, 0
    for c in range(counts.size):
        samples += counts[c]
        classes += counts[c] > 0
    for i in range(first, label.size):
        c = label[i]
        if c < 0:
            rarity[i] = 1.0
            continue
        if c >= counts.size:
            return i
        samples += 1
        classes += counts[c] == 0
        counts[c] += 1
        rarity[i] = samples / (classes * counts[c])
    return int(label.size)


@final
class ClassCounts:
    """Counts of the classes that were learned so far.

    The rarity of a sample is ``n / (classes * n_c)`` (King and Zeng 2001): with derivatives
    multiplied by it all classes weigh the same, and by a power of it, nearly. It is reckoned
    by the samples up to and including its own, so it is 1 at first, and no cut of a stream into
    blocks changes it.

    >>> ClassCounts().update(np.array([0, 0, 1, 0, 1], np.int32)).tolist()
    [1.0, 1.0, 1.5, 0.6666666666666666, 1.25]
    """

    def __init__(self) -> None:
        self._counts = np.zeros(1, np.int64)

    def update(self, label: NDArray[np.int32]) -> NDArray[np.float64]:
        """Count the next samples, in order.

        Args:
            label: shape=(n,), class numbers; -1 where there is none.

        Returns:
            shape=(n,), the rarity of each sample; 1 where there is no class.
        """
        rarity, at = np.empty(len(label)), 0
        while (at := _count(label, self._counts, rarity, at)) < len(label):
            missing = int(label[at]) + 1 - len(self._counts)
            self._counts = np.append(self._counts, np.zeros(missing, np.int64))
        return rarity

    def export_state(self) -> NDArray[np.int64]:
        """Everything needed to go on, to the bit."""
        return self._counts.copy()

    def restore_state(self, counts: NDArray[np.int64]) -> None:
        """Go on as the one did whose state this is."""
        self._counts = np.array(counts, np.int64)

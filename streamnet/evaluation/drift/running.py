"""The running count and mean that every detector keeps of the values since the last change."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import exact

__all__ = ("COUNT", "LARGEST", "MEAN", "WARNING", "mean_since", "take")

COUNT, MEAN, WARNING = range(3)  # running; WARNING is 0 or 1
LARGEST = 1e140  # of a value, so that no sum of squares overflows: anything beyond counts as this


@exact
def take(running: NDArray[np.float64], x: float) -> None:
    """Take a value into the count and the mean."""
    running[COUNT] += 1.0
    running[MEAN] += 1.0 / running[COUNT] * (x - running[MEAN])


@exact
def mean_since(running: NDArray[np.float64], count: float, mean: float) -> float:
    """The mean of the values after the first ``count`` ones, whose mean is given."""
    return running[MEAN] + (running[MEAN] - mean) * (count / (running[COUNT] - count))

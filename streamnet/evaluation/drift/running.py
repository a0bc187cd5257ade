"""The running count and mean that every detector keeps of the values since the last change."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import exact

__all__ = ("COUNT", "LARGEST", "MEAN", "TOWARDS", "WARNING", "take")

# running; WARNING is 0 or 1; TOWARDS the sign of a change just noticed, 0 if there is none
COUNT, MEAN, WARNING, TOWARDS = range(4)
LARGEST = 1e140  # of a value, so that no sum of squares overflows: anything beyond counts as this


@exact
def take(running: NDArray[np.float64], x: float) -> None:
    """Take a value into the count and the mean."""
    running[COUNT] += 1.0
    running[MEAN] += 1.0 / running[COUNT] * (x - running[MEAN])

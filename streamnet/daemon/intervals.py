"""Intervals of numbers, from how far off the answers of late were.

References:
    V. Vovk, A. Gammerman, G. Shafer. Algorithmic Learning in a Random World. Springer, 2005: what
    the residuals of the past were, that of the next is likely to be, if nothing changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

__all__ = ("SHARE", "interval_of")

SHARE = 0.9  # of the truths that an interval holds
_FEWEST = 30  # residuals, below which nothing is said


def interval_of(residuals: Mapping[str, Sequence[float]]) -> tuple[float, float] | None:
    """What is added to an answer to get the ends of its interval; None if too little is known.

    Args:
        residuals: Their histogram by the names of `shapes.Residuals`: answer minus truth.

    >>> interval_of({"edges": [-1.0, 0.0, 1.0, 2.0], "counts": [0, 100, 0]})
    (-0.95, -0.05)
    """
    total = sum(residuals["counts"])
    if total < _FEWEST:
        return None
    shares = np.array([0, *accumulate(residuals["counts"])]) / total
    ends = (1 - SHARE) / 2, (1 + SHARE) / 2
    low, high = np.interp(ends, shares, residuals["edges"]).tolist()
    return round(-high, 12), round(-low, 12)

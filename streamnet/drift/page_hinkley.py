"""Page-Hinkley: a cumulative sum of deviations from the running mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from streamnet.drift.base import (
    CHANGE_SIGN,
    COUNT,
    MAX_MAGNITUDE,
    MEAN,
    Direction,
    DriftDetector,
    Histogram,
    Signs,
    insert,
    integer,
    number,
    update_mean,
)
from streamnet.jit import exact

SUM, LOWEST = range(2)  # sides


@exact
def _detect_change(
    values: NDArray[np.float64],
    settings: tuple[float, float, float, int, Signs],
    running: NDArray[np.float64],
    histogram: Histogram,
    sides: NDArray[np.float64],
) -> int:
    delta, threshold, alpha, grace_period, signs = settings
    for i in range(values.size):
        if not math.isfinite(values[i]):
            continue
        x = min(max(values[i], -MAX_MAGNITUDE), MAX_MAGNITUDE)
        update_mean(running, x)
        insert(histogram, x)
        for side in range(2):
            if signs[side] == 0.0:
                continue
            s = sides[side]
            s[SUM] = alpha * s[SUM] + signs[side] * (x - running[MEAN]) - delta
            if running[COUNT] == 1.0 or s[SUM] < s[LOWEST]:
                s[LOWEST] = s[SUM]
            if running[COUNT] > grace_period and s[SUM] - s[LOWEST] > threshold:
                running[CHANGE_SIGN] = signs[side]
        if running[CHANGE_SIGN] != 0.0:
            return i + 1
    return int(values.size)


@final
@dataclass(eq=False, kw_only=True)
class PageHinkley(DriftDetector, method="page_hinkley", kernel=_detect_change):
    """The Page-Hinkley test.

    With the sum m_t = alpha * m_(t-1) + (x_t - mean_t - delta), a rise is detected where m_t
    exceeds its lowest value by more than ``threshold``. A fall is a rise of -x.

    Page, "Continuous Inspection Schemes", Biometrika 41, 1954; with the running mean of Hinkley,
    "Inference about the change-point from cumulative sum tests", Biometrika 58, 1971.

    Args:
        delta: Tolerated change, in units of the values.
        threshold: Sum of deviations that is a change, in units of the values.
        alpha: Factor applied to the sum at each value; 1 is Page's own test. With less, changes are
            soon forgotten, but after a fall the sum recovers, which may pass for a rise.
        grace_period: Number of values after a start or a change without detection.
        direction: "up", "down" or "both".

    >>> detector = PageHinkley(threshold=10)
    >>> detector.update([0.0, 0.2] * 100 + [1.0] * 20)
    array([211])
    >>> detector.changes[0].age
    12
    """

    delta: float = number(0.005, above=0.0, below=MAX_MAGNITUDE, inclusive=True)
    threshold: float = number(50.0, above=0.0, below=MAX_MAGNITUDE)
    alpha: float = number(1.0, above=0.0, below=1.0, inclusive=True)
    grace_period: int = integer(30, least=0)
    direction: Direction = "up"

    _further_arrays: ClassVar = {"sides": (2, 2)}

    def _find_inconsistency(self) -> str:
        sums, lowest = self._arrays["sides"].T
        return "a sum is below its lowest" if (sums < lowest).any() else ""

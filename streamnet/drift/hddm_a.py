"""HDDM_A: a moving average tested by Hoeffding's bound."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from streamnet.drift.base import (
    CHANGE_SIGN,
    COUNT,
    HDDM,
    MEAN,
    WARNING,
    direction_signs,
    update_mean,
)
from streamnet.jit import exact

CUT_COUNT, CUT_MEAN = range(
    2
)  # places in "sides"; CUT_COUNT is 0 before a cut; means have the side's sign


@exact
def _detect_change(
    values: NDArray[np.float64],
    low: float,
    high: float,
    drift_confidence: float,
    warning_confidence: float,
    signs: NDArray[np.float64],
    running: NDArray[np.float64],
    sides: NDArray[np.float64],
) -> int:
    """Process values up to the first change; return how many."""
    span = high - low
    log_cut = math.log(1.0 / drift_confidence)
    log_drift = math.log(2.0 / drift_confidence)
    log_warning = math.log(2.0 / warning_confidence)
    for i in range(values.size):
        if not math.isfinite(values[i]):
            continue
        update_mean(running, min(max(values[i], low), high))
        n = running[COUNT]
        bound = span * math.sqrt(1.0 / (2.0 * n) * log_cut)
        running[WARNING] = 0.0
        for side in range(2):
            if signs[side] == 0.0:
                continue
            s = sides[side]
            mean = signs[side] * running[MEAN]
            before = s[CUT_COUNT]
            lowest = math.inf
            if before > 0.0:
                lowest = s[CUT_MEAN] + span * math.sqrt(1.0 / (2.0 * before) * log_cut)
            if lowest >= mean + bound:
                s[CUT_COUNT] = n
                s[CUT_MEAN] = mean
                continue
            share = (n - before) / before * (1.0 / n)
            rise = mean - s[CUT_MEAN]
            if rise >= span * math.sqrt(share / 2.0 * log_drift):
                running[CHANGE_SIGN] = signs[side]
            elif rise >= span * math.sqrt(share / 2.0 * log_warning):
                running[WARNING] = 1.0
        if running[CHANGE_SIGN] != 0.0:
            running[WARNING] = 0.0
            return i + 1
    return int(values.size)


@final
@dataclass(eq=False, kw_only=True)
class HDDMA(HDDM, method="hddm_a"):
    """HDDM_A, the A-test of Frías-Blanco and others (2015): averages and Hoeffding's inequality.

    The values up to the cut point, where the upper bound of their mean was lowest, are compared
    with all values. A rise is detected where the means differ by more than chance allows; a fall is
    a rise of -x. As in the authors' own program, and on the safe side, chance is taken at half the
    given confidence.

    Args:
        drift_confidence: Probability of a false alarm in one comparison.
        warning_confidence: Probability of a false warning in one comparison.
        low: Lower end of the interval to which values are clipped.
        high: Upper end of that interval.
        direction: "up", "down" or "both".

    Raises:
        ConfigurationError: If a setting is out of range.

    >>> detector = HDDMA()
    >>> detector.update([0, 0, 0, 1] * 100 + [1] * 50)
    array([405])
    >>> detector.changes
    (Change(position=405, age=6, before=0.25, after=1.0),)
    """

    _extra_arrays: ClassVar = {"sides": (2, 2)}

    def _detect_first(self, values: NDArray[np.float64]) -> int:
        return _detect_change(
            values,
            self.low,
            self.high,
            self.drift_confidence,
            self.warning_confidence,
            direction_signs(self.direction),
            self._arrays["running"],
            self._arrays["sides"],
        )

    def _find_inconsistency(self) -> str:
        count = self._arrays["running"][COUNT]
        cuts = self._arrays["sides"][:, CUT_COUNT]
        return "" if ((cuts >= 0) & (cuts <= count)).all() else f"cut points are {cuts}"

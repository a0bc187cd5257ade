"""HDDM_W: an exponentially weighted average tested by McDiarmid's bound."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from streamnet.drift.base import CHANGE_SIGN, COUNT, HDDM, MEAN, WARNING, direction_signs, number
from streamnet.jit import exact, flush_subnormal

SQUARES = CHANGE_SIGN + 1  # further place in "running": sum of the squared weights of the average
# Places in "sides": the average at the cut point and that of the values since. Means have the
# side's sign.
LIMIT, CUT_MEAN, CUT_SQUARES, SINCE_COUNT, SINCE_MEAN, SINCE_SQUARES = range(6)


@exact
def _average(
    average: NDArray[np.float64], count: int, mean: int, squares: int, x: float, weight: float
) -> None:
    """Update an exponentially weighted average, kept at these places of an array."""
    average[count] += 1.0
    if average[count] == 1.0:
        average[mean] = x
        average[squares] = 1.0
    else:
        rest = 1.0 - weight
        average[mean] = flush_subnormal(weight * x + rest * average[mean])
        average[squares] = weight * weight + rest * rest * average[squares]


@exact
def _detect_change(
    values: NDArray[np.float64],
    low: float,
    high: float,
    weight: float,
    drift_confidence: float,
    warning_confidence: float,
    signs: NDArray[np.float64],
    running: NDArray[np.float64],
    sides: NDArray[np.float64],
) -> int:
    """Process values up to the first change; return how many."""
    span = high - low
    log_drift = math.log(1.0 / drift_confidence)
    log_warning = math.log(1.0 / warning_confidence)
    for i in range(values.size):
        if not math.isfinite(values[i]):
            continue
        x = min(max(values[i], low), high)
        _average(running, COUNT, MEAN, SQUARES, x, weight)
        bound = span * math.sqrt(running[SQUARES] * log_drift / 2.0)
        running[WARNING] = 0.0
        for side in range(2):
            if signs[side] == 0.0:
                continue
            s = sides[side]
            mean = signs[side] * running[MEAN]
            if running[COUNT] == 1.0 or mean + bound < s[LIMIT]:
                s[LIMIT] = mean + bound
                s[CUT_MEAN] = mean
                s[CUT_SQUARES] = running[SQUARES]
                s[SINCE_COUNT] = 0.0
                continue
            _average(s, SINCE_COUNT, SINCE_MEAN, SINCE_SQUARES, signs[side] * x, weight)
            squares = s[CUT_SQUARES] + s[SINCE_SQUARES]
            rise = s[SINCE_MEAN] - s[CUT_MEAN]
            if rise > span * math.sqrt(squares * log_drift / 2.0):
                running[CHANGE_SIGN] = signs[side]
            elif rise > span * math.sqrt(squares * log_warning / 2.0):
                running[WARNING] = 1.0
        if running[CHANGE_SIGN] != 0.0:
            running[WARNING] = 0.0
            return i + 1
    return int(values.size)


@final
@dataclass(eq=False, kw_only=True)
class HDDMW(HDDM, method="hddm_w"):
    """HDDM_W, the W-test of Frías-Blanco and others (2015): weighted averages, McDiarmid's bound.

    The average at the cut point, where its upper bound was lowest, is compared with that of the
    values since. A rise is detected where they differ by more than chance allows; a fall is a rise
    of -x. Recent values weigh more, so the test misses small gradual changes and detects abrupt
    ones sooner than the A-test. ``mean`` is the weighted average.

    Args:
        weight: Weight of the newest value in an average.
        drift_confidence: Probability of a false alarm in one comparison.
        warning_confidence: Probability of a false warning in one comparison.
        low: Lower end of the interval to which values are clipped.
        high: Upper end of that interval.
        direction: "up", "down" or "both".

    Raises:
        ConfigurationError: If a setting is out of range.

    >>> detector = HDDMW()
    >>> detector.update([0, 0, 0, 1] * 100 + [1] * 50)
    array([414])
    >>> detector.changes[0].age
    15
    """

    weight: float = number(0.05, above=0.0, below=1.0)

    _running_size: ClassVar = SQUARES + 1
    _extra_arrays: ClassVar = {"sides": (2, 6)}

    def _detect_first(self, values: NDArray[np.float64]) -> int:
        return _detect_change(
            values,
            self.low,
            self.high,
            self.weight,
            self.drift_confidence,
            self.warning_confidence,
            direction_signs(self.direction),
            self._arrays["running"],
            self._arrays["sides"],
        )

    def _find_inconsistency(self) -> str:
        running, sides = self._arrays["running"], self._arrays["sides"]
        squares = [running[SQUARES], *sides[:, CUT_SQUARES], *sides[:, SINCE_SQUARES]]
        if not 0.0 <= min(squares) <= max(squares) <= 1.0:
            return f"sums of squared weights are {squares}"
        since = sides[:, SINCE_COUNT]
        return "" if ((since >= 0) & (since <= running[COUNT])).all() else f"counts are {since}"

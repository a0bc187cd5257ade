"""HDDM: averages that differ by more than chance, by Hoeffding's and McDiarmid's inequalities."""

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
    WARNING,
    Direction,
    DriftDetector,
    Histogram,
    Signs,
    insert,
    number,
    update_mean,
)
from streamnet.errors import ConfigurationError
from streamnet.jit import exact, flush_subnormal


@dataclass(eq=False, kw_only=True)
class HDDM(DriftDetector):
    """Detects averages that differ by more than chance, at two levels of confidence.

    Frías-Blanco, del Campo-Ávila, Ramos-Jiménez, Morales-Bueno, Ortiz-Díaz and Caballero-Mota,
    "Online and Non-Parametric Drift Detection Methods Based on Hoeffding's Bounds", IEEE
    Transactions on Knowledge and Data Engineering 27, 2015.

    Args:
        drift_confidence: Probability of a false alarm in one comparison.
        warning_confidence: Probability of a false warning in one comparison.
        low: Lower end of the interval to which values are clipped.
        high: Upper end of that interval.
        direction: "up", "down" or "both".
    """

    drift_confidence: float = number(0.001, above=0.0, below=1.0)
    warning_confidence: float = number(0.005, above=0.0, below=1.0)
    low: float = number(0.0, above=-MAX_MAGNITUDE, below=MAX_MAGNITUDE, inclusive=True)
    high: float = number(1.0, above=-MAX_MAGNITUDE, below=MAX_MAGNITUDE, inclusive=True)
    direction: Direction = "up"

    def _check_settings(self) -> None:
        name = type(self).__name__
        if self.warning_confidence < self.drift_confidence:
            raise ConfigurationError(
                f"{name}: warning_confidence is {self.warning_confidence!r}, but must be >= "
                f"drift_confidence, which is {self.drift_confidence!r}"
            )
        if not self.low < self.high:
            raise ConfigurationError(
                f"{name}: high is {self.high!r}, but must be > low, {self.low!r}"
            )


# Places in "sides" of HDDM_A: the values up to the cut point, of which there are 0 before a cut.
# Means have the side's sign.
CUT_COUNT, CUT_MEAN = range(2)


@exact
def _compare_averages(
    values: NDArray[np.float64],
    settings: tuple[float, float, float, float, Signs],
    running: NDArray[np.float64],
    histogram: Histogram,
    sides: NDArray[np.float64],
) -> int:
    drift_confidence, warning_confidence, low, high, signs = settings
    span = high - low
    log_cut = math.log(1.0 / drift_confidence)
    log_drift = math.log(2.0 / drift_confidence)
    log_warning = math.log(2.0 / warning_confidence)
    for i in range(values.size):
        if not math.isfinite(values[i]):
            continue
        x = min(max(values[i], low), high)
        update_mean(running, x)
        insert(histogram, x)
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
class HDDMA(HDDM, method="hddm_a", kernel=_compare_averages):
    """HDDM_A, the A-test: averages and Hoeffding's inequality.

    The values up to the cut point, where the upper bound of their mean was lowest, are compared
    with all values. A rise is detected where the means differ by more than chance allows; a fall is
    a rise of -x. As in the authors' own program, and on the safe side, chance is taken at half the
    given confidence.

    >>> detector = HDDMA()
    >>> detector.update([0, 0, 0, 1] * 100 + [1] * 50)
    array([405])
    >>> detector.changes
    (Change(position=405, age=6, before=0.25, after=1.0),)
    """

    _further_arrays: ClassVar = {"sides": (2, 2)}

    def _find_inconsistency(self) -> str:
        count = self._arrays["running"][COUNT]
        cuts = self._arrays["sides"][:, CUT_COUNT]
        return "" if ((cuts >= 0) & (cuts <= count)).all() else f"cut points are {cuts}"


# HDDM_W: a further place in "running", the sum of the squared weights of the average, and places in
# "sides": the average at the cut point, its upper bound, and the average of the values since.
SQUARES = CHANGE_SIGN + 1
LIMIT, CUT_AVERAGE, CUT_SQUARES, SINCE_COUNT, SINCE_MEAN, SINCE_SQUARES = range(6)


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
def _compare_weighted_averages(
    values: NDArray[np.float64],
    settings: tuple[float, float, float, float, Signs, float],
    running: NDArray[np.float64],
    histogram: Histogram,
    sides: NDArray[np.float64],
) -> int:
    drift_confidence, warning_confidence, low, high, signs, weight = settings
    span = high - low
    log_drift = math.log(1.0 / drift_confidence)
    log_warning = math.log(1.0 / warning_confidence)
    for i in range(values.size):
        if not math.isfinite(values[i]):
            continue
        x = min(max(values[i], low), high)
        _average(running, COUNT, MEAN, SQUARES, x, weight)
        insert(histogram, x)
        bound = span * math.sqrt(running[SQUARES] * log_drift / 2.0)
        running[WARNING] = 0.0
        for side in range(2):
            if signs[side] == 0.0:
                continue
            s = sides[side]
            mean = signs[side] * running[MEAN]
            if running[COUNT] == 1.0 or mean + bound < s[LIMIT]:
                s[LIMIT] = mean + bound
                s[CUT_AVERAGE] = mean
                s[CUT_SQUARES] = running[SQUARES]
                s[SINCE_COUNT] = 0.0
                continue
            _average(s, SINCE_COUNT, SINCE_MEAN, SINCE_SQUARES, signs[side] * x, weight)
            squares = s[CUT_SQUARES] + s[SINCE_SQUARES]
            rise = s[SINCE_MEAN] - s[CUT_AVERAGE]
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
class HDDMW(HDDM, method="hddm_w", kernel=_compare_weighted_averages):
    """HDDM_W, the W-test: exponentially weighted averages and McDiarmid's inequality.

    The average at the cut point, where its upper bound was lowest, is compared with that of the
    values since. A rise is detected where they differ by more than chance allows; a fall is a rise
    of -x. Recent values weigh more, so the test misses small gradual changes and detects abrupt
    ones sooner than the A-test. ``mean`` is the weighted average.

    Args:
        weight: Weight of the newest value in an average.

    >>> detector = HDDMW()
    >>> detector.update([0, 0, 0, 1] * 100 + [1] * 50)
    array([414])
    >>> detector.changes[0].age
    15
    """

    weight: float = number(0.05, above=0.0, below=1.0)

    _running_size: ClassVar = SQUARES + 1
    _further_arrays: ClassVar = {"sides": (2, 6)}

    def _find_inconsistency(self) -> str:
        running, sides = self._arrays["running"], self._arrays["sides"]
        squares = [running[SQUARES], *sides[:, CUT_SQUARES], *sides[:, SINCE_SQUARES]]
        if not 0.0 <= min(squares) <= max(squares) <= 1.0:
            return f"sums of squared weights are {squares}"
        since = sides[:, SINCE_COUNT]
        return "" if ((since >= 0) & (since <= running[COUNT])).all() else f"counts are {since}"

"""ADWIN: an adaptive window that is shortened once the means of its two ends differ."""

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
    DriftDetector,
    Histogram,
    insert,
    integer,
    number,
    remove_oldest,
    summarize,
    update_mean,
)
from streamnet.jit import exact

# further places in "running": values since the last test, and buckets outdated by a change
TICKS, OUTDATED = CHANGE_SIGN + 1, CHANGE_SIGN + 2
MOST_BUCKETS = 100


@exact
def _count_outdated(
    suffixes: NDArray[np.float64], delta: float, min_window_length: int, span: float
) -> int:
    """Count the oldest buckets to drop until no cut separates two different means."""
    buckets: int = suffixes.shape[1]
    for first in range(buckets):
        width, mean = suffixes[0, first], suffixes[1, first]
        variance = suffixes[2, first] / width
        log_term = math.log(2.0 * math.log(width) / delta)
        differs = False
        for cut in range(first + 1, buckets):
            new = suffixes[0, cut]
            old = width - new
            if old < min_window_length or new < min_window_length:
                continue
            difference = (mean - suffixes[1, cut]) * (width / old)  # old mean minus new mean
            inverse = 1.0 / old + 1.0 / new
            bound = math.sqrt(2.0 * inverse * variance * log_term)
            if abs(difference) > bound + span * (2.0 / 3.0 * log_term * inverse):
                differs = True
                break
        if not differs:
            return first
    return buckets


@exact
def _detect_change(
    values: NDArray[np.float64],
    settings: tuple[float, int, int, int, int, float],
    running: NDArray[np.float64],
    histogram: Histogram,
) -> int:
    delta, clock, _, min_window_length, grace_period, span = settings
    for i in range(values.size):
        if not math.isfinite(values[i]):
            continue
        x = min(max(values[i], -MAX_MAGNITUDE), MAX_MAGNITUDE)
        update_mean(running, x)
        insert(histogram, x)
        running[TICKS] += 1.0
        if running[TICKS] < clock:
            continue
        running[TICKS] = 0.0
        if running[COUNT] <= grace_period:
            continue
        suffixes = summarize(histogram)
        running[MEAN] = suffixes[1, 0]
        outdated = _count_outdated(suffixes, delta, min_window_length, span)
        if outdated > 0:
            running[CHANGE_SIGN] = 1.0 if suffixes[1, outdated] > suffixes[1, 0] else -1.0
            running[OUTDATED] = outdated
            return i + 1
    return int(values.size)


@final
@dataclass(eq=False, kw_only=True)
class ADWIN(DriftDetector, method="adwin", kernel=_detect_change):
    """ADWIN2: a window that is as long as its mean stays the same.

    The window is shortened at its old end while some cut splits it into two parts whose means
    differ by more than chance allows. With n0 and n1 values in the parts, n in both, v the variance
    of all and d = ln(2 ln(n) / delta), chance allows sqrt(2 v d (1/n0 + 1/n1)) + span 2/3 d (1/n0 +
    1/n1). ``count`` and ``mean`` are those of the window. A change may be detected in several
    steps, while the new part outgrows the old one; call ``reset`` to start over after the first.

    Bifet and Gavaldà, "Learning from Time-Changing Data with Adaptive Windowing", SDM 2007.

    Args:
        delta: Probability of a false alarm, as in the paper.
        clock: Number of values between two tests; the paper tests at each.
        max_buckets: Buckets of each size in the window: more allow finer cuts.
        min_window_length: Minimum number of values in each part.
        grace_period: Number of values before the first test.
        span: Width of the interval that contains almost all values; 1 in the paper.

    >>> detector = ADWIN()
    >>> detector.update([0.0, 0.2] * 200 + [1.0] * 100)
    array([415, 447, 479])
    >>> [(change.age, round(change.before, 2), change.after) for change in detector.changes]
    [(16, 0.1, 1.0), (48, 0.1, 1.0), (80, 0.1, 1.0)]
    """

    delta: float = number(0.002, above=0.0, below=1.0)
    clock: int = integer(32, least=1)
    max_buckets: int = integer(5, least=1, most=MOST_BUCKETS)
    min_window_length: int = integer(5, least=1)
    grace_period: int = integer(10, least=1)
    span: float = number(1.0, above=0.0, below=MAX_MAGNITUDE, inclusive=True)

    _running_size: ClassVar = OUTDATED + 1

    def _forget(self) -> None:
        running, histogram = self._kernel_arrays()
        remove_oldest(histogram, int(running[OUTDATED]))
        running[COUNT], running[MEAN] = summarize(histogram)[:2, 0]
        running[CHANGE_SIGN] = running[OUTDATED] = 0.0

    def _find_inconsistency(self) -> str:
        ticks, outdated = self._arrays["running"][TICKS:]
        if 0.0 <= ticks < self.clock and outdated == 0.0:
            return ""
        return f"{ticks} values since the last test, and {outdated} outdated buckets"

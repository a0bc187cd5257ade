"""ADWIN: an adaptive window that drops its old end once its mean differs from the new one."""

from __future__ import annotations

import math
from typing import final

import numpy as np
from numpy.typing import NDArray

from streamnet.drift.base import CHANGE_SIGN, COUNT, MAX_MAGNITUDE, MEAN, DriftDetector, update_mean
from streamnet.drift.histogram import insert, remove_oldest, summarize
from streamnet.jit import exact
from streamnet.settings.drift import validate_integer, validate_number

__all__ = ("ADWIN",)

# running: values since the last look for a change, and buckets that a change has outdated
TICKS, OUTDATED = CHANGE_SIGN + 1, CHANGE_SIGN + 2
MOST_BUCKETS = 100  # of a row


@exact
def _count_outdated(
    since: NDArray[np.float64],
    buckets: int,
    confidence: float,
    shortest: int,
    span: float,
) -> int:
    """The number of oldest buckets to drop until no cut tells an old part from a new one."""
    for first in range(buckets):
        width, mean = since[0, first], since[1, first]
        variance = since[2, first] / width
        log_term = math.log(2.0 * math.log(width) / confidence)
        differs = False
        for cut in range(first + 1, buckets):
            new = since[0, cut]
            old = width - new
            if old < shortest or new < shortest:
                continue
            apart = (mean - since[1, cut]) * (width / old)  # mean of the old less that of the new
            inverse = 1.0 / old + 1.0 / new
            bound = math.sqrt(2.0 * inverse * variance * log_term)
            if abs(apart) > bound + span * (2.0 / 3.0 * log_term * inverse):
                differs = True
                break
        if not differs:
            return first
    return buckets


@exact
def _look(
    values: NDArray[np.float64],
    confidence: float,
    clock: int,
    shortest: int,
    warm_up: int,
    span: float,
    running: NDArray[np.float64],
    held: NDArray[np.int64],
    means: NDArray[np.float64],
    squares: NDArray[np.float64],
) -> int:
    """Look until a change is noticed; returns how many values were looked at."""
    since = np.empty((3, means.size))
    for i in range(values.size):
        if not math.isfinite(values[i]):
            continue
        x = min(max(values[i], -MAX_MAGNITUDE), MAX_MAGNITUDE)
        update_mean(running, x)
        insert(held, means, squares, x)
        running[TICKS] += 1.0
        if running[TICKS] < clock:
            continue
        running[TICKS] = 0.0
        if running[COUNT] <= warm_up:
            continue
        buckets = summarize(held, means, squares, since)
        running[MEAN] = since[1, 0]
        outdated = _count_outdated(since, buckets, confidence, shortest, span)
        if outdated > 0:
            running[CHANGE_SIGN] = 1.0 if since[1, outdated] > since[1, 0] else -1.0
            running[OUTDATED] = outdated
            return i + 1
    return int(values.size)


@final
class ADWIN(DriftDetector):
    """ADWIN2 of Bifet and Gavaldà (2007): a window as long as its mean stays the same.

    The window is dropped from its old end for as long as there is a cut into two parts whose means
    differ by more than chance allows, whether they rise or fall. With n0 and n1 values in the
    parts, n in both, v the variance of all and d = ln(2 ln(n) / confidence), chance allows for
    sqrt(2 v d (1/n0 + 1/n1)) + span 2/3 d (1/n0 + 1/n1). ``count`` and ``mean`` are those of the
    window. A change may be noticed in several steps, while what is new outgrows what is old; to
    begin each time from nothing, as some programs do, call ``reset``.

    Args:
        confidence: Probability of a false alarm, in the paper delta.
        clock: Values from one look for a change to the next; the paper looks at each.
        max_buckets: Buckets of each size that the window is kept in: more make finer cuts.
        shortest: Values that each part has at least.
        warm_up: Values up to which no change is looked for.
        span: Width of the interval that almost all values lie in; the paper's is from 0 to 1.

    Raises:
        ConfigurationError: if a setting has a value that its rule does not allow.

    >>> detector = ADWIN()
    >>> detector.update([0.0, 0.2] * 200 + [1.0] * 100)
    array([415, 447, 479])
    >>> [(change.age, round(change.before, 2), change.after) for change in detector.changes]
    [(16, 0.1, 1.0), (48, 0.1, 1.0), (80, 0.1, 1.0)]
    """

    _figures = OUTDATED + 1

    def __init__(
        self,
        *,
        confidence: float = 0.002,
        clock: int = 32,
        max_buckets: int = 5,
        shortest: int = 5,
        warm_up: int = 10,
        span: float = 1.0,
    ) -> None:
        name = type(self).__name__
        super().__init__(
            {
                "confidence": validate_number(name, "confidence", confidence, above=0.0, below=1.0),
                "clock": validate_integer(name, "clock", clock, least=1),
                "max_buckets": validate_integer(
                    name, "max_buckets", max_buckets, least=1, most=MOST_BUCKETS
                ),
                "shortest": validate_integer(name, "shortest", shortest, least=1),
                "warm_up": validate_integer(name, "warm_up", warm_up, least=1),
                "span": validate_number(
                    name, "span", span, above=0.0, below=MAX_MAGNITUDE, inclusive=True
                ),
            }
        )

    def _look(self, values: NDArray[np.float64]) -> int:
        return _look(
            values,
            self._settings["confidence"],
            self._settings["clock"],
            self._settings["shortest"],
            self._settings["warm_up"],
            self._settings["span"],
            self._arrays["running"],
            self._arrays["held"],
            self._arrays["means"],
            self._arrays["squares"],
        )

    def _forget(self) -> None:
        running = self._arrays["running"]
        held, means, squares = (self._arrays[name] for name in ("held", "means", "squares"))
        remove_oldest(held, means, squares, int(running[OUTDATED]))
        since = np.empty((3, means.size))
        summarize(held, means, squares, since)
        running[COUNT], running[MEAN] = since[:2, 0]
        running[CHANGE_SIGN] = running[OUTDATED] = 0.0

    def _fault(self) -> str:
        ticks, outdated = self._arrays["running"][TICKS:]
        if 0.0 <= ticks < self._settings["clock"] and outdated == 0.0:
            return ""
        return f"{ticks} values since a look, and {outdated} outdated buckets"

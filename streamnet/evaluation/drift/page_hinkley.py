"""PageHinkley: a cumulative sum of deviations that leaves its lowest point behind."""

from __future__ import annotations

import math
from typing import Any
from typing import final

import numpy as np
from numpy.typing import NDArray

from streamnet.evaluation.drift.detector import DriftDetector
from streamnet.evaluation.drift.running import COUNT
from streamnet.evaluation.drift.running import LARGEST
from streamnet.evaluation.drift.running import MEAN
from streamnet.evaluation.drift.running import mean_since
from streamnet.evaluation.drift.running import take
from streamnet.evaluation.drift.settings import direction_named
from streamnet.evaluation.drift.settings import number
from streamnet.evaluation.drift.settings import signs
from streamnet.evaluation.drift.settings import whole
from streamnet.jit import exact

__all__ = ("PageHinkley",)

SUM, LOWEST, LOWEST_COUNT, LOWEST_MEAN = range(4)  # sides; LOWEST_COUNT 0: no lowest sum yet


@exact
def _look(
    values: NDArray[np.float64],
    delta: float,
    threshold: float,
    fading: float,
    warm_up: int,
    signs: NDArray[np.float64],
    running: NDArray[np.float64],
    sides: NDArray[np.float64],
    positions: NDArray[np.int64],
    changes: NDArray[np.float64],
) -> int:
    found = 0
    for i in range(values.size):
        if not math.isfinite(values[i]):
            continue
        x = min(max(values[i], -LARGEST), LARGEST)
        take(running, x)
        changed = -1
        for side in range(2):
            if signs[side] == 0.0:
                continue
            s = sides[side]
            s[SUM] = fading * s[SUM] + signs[side] * (x - running[MEAN]) - delta
            if s[LOWEST_COUNT] == 0.0 or s[SUM] < s[LOWEST]:
                s[LOWEST] = s[SUM]
                s[LOWEST_COUNT] = running[COUNT]
                s[LOWEST_MEAN] = running[MEAN]
            if changed < 0 and running[COUNT] > warm_up and s[SUM] - s[LOWEST] > threshold:
                changed = side
        if changed >= 0:
            s = sides[changed]
            positions[found] = i
            changes[found, 0] = s[LOWEST_MEAN]
            changes[found, 1] = mean_since(running, s[LOWEST_COUNT], s[LOWEST_MEAN])
            found += 1
            running[:] = 0.0
            sides[:] = 0.0
    return found


@final
class PageHinkley(DriftDetector):
    """The test of Page (1954) with Hinkley's running mean (1971).

    With the sum m_t = fading * m_(t-1) + (x_t - mean_t - delta), a rise is noticed where m_t is
    more than ``threshold`` above its lowest value; the values since then are those after the
    change. A fall is a rise of -x.

    Args:
        delta: Change that is let pass, in units of the values.
        threshold: Sum of deviations that is a change, in units of the values.
        fading: Factor of the sum at each value; 1 is Page's own test.
        warm_up: Values after a start or a change among which no change is looked for.
        direction: "up", "down" or "both".

    Raises:
        ConfigurationError: if a setting has a value that its rule does not allow.

    >>> detector = PageHinkley(threshold=10)
    >>> detector.update([0.0, 1.0] * 100 + [2.0] * 20)
    array([208])
    >>> detector.changes.round(2)
    array([[0.5, 2. ]])
    """

    def __init__(
        self,
        *,
        delta: float = 0.005,
        threshold: float = 50.0,
        fading: float = 0.9999,
        warm_up: int = 30,
        direction: str = "up",
    ) -> None:
        name = type(self).__name__
        towards = direction_named(name, direction)
        self._signs = signs(towards)
        super().__init__(
            {
                "delta": number(name, "delta", delta, above=0.0, below=LARGEST, inclusive=True),
                "threshold": number(name, "threshold", threshold, above=0.0, below=LARGEST),
                "fading": number(name, "fading", fading, above=0.0, below=1.0, inclusive=True),
                "warm_up": whole(name, "warm_up", warm_up, least=0),
                "direction": str(towards),
            }
        )

    @classmethod
    def _array_names(cls) -> tuple[str, ...]:
        return ("running", "sides")

    def _fresh(self) -> dict[str, NDArray[Any]]:
        return {"running": np.zeros(3), "sides": np.zeros((2, 4))}

    def _detect(
        self,
        values: NDArray[np.float64],
        positions: NDArray[np.int64],
        changes: NDArray[np.float64],
    ) -> int:
        set_to = self._settings
        return _look(
            values,
            set_to["delta"],
            set_to["threshold"],
            set_to["fading"],
            set_to["warm_up"],
            self._signs,
            self._arrays["running"],
            self._arrays["sides"],
            positions,
            changes,
        )

    def _fault(self) -> str:
        count = self._arrays["running"][COUNT]
        lowest = self._arrays["sides"][:, LOWEST_COUNT]
        return "" if ((lowest >= 0) & (lowest <= count)).all() else f"lowest sums at {lowest}"

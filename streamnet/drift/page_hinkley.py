"""Page-Hinkley: a cumulative sum of deviations from the running mean."""

from __future__ import annotations

import math
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from streamnet.drift.base import (
    CHANGE_SIGN,
    COUNT,
    MAX_MAGNITUDE,
    MEAN,
    RestartingDetector,
    update_mean,
)
from streamnet.jit import exact
from streamnet.settings.drift import (
    direction_signs,
    parse_direction,
    validate_integer,
    validate_number,
)

__all__ = ("PageHinkley",)

SUM, LOWEST = range(2)  # sides


@exact
def _detect(
    values: NDArray[np.float64],
    delta: float,
    threshold: float,
    fading: float,
    warm_up: int,
    signs: NDArray[np.float64],
    running: NDArray[np.float64],
    sides: NDArray[np.float64],
) -> int:
    """Look until a change is noticed; returns how many values were looked at."""
    for i in range(values.size):
        if not math.isfinite(values[i]):
            continue
        x = min(max(values[i], -MAX_MAGNITUDE), MAX_MAGNITUDE)
        update_mean(running, x)
        for side in range(2):
            if signs[side] == 0.0:
                continue
            s = sides[side]
            s[SUM] = fading * s[SUM] + signs[side] * (x - running[MEAN]) - delta
            if running[COUNT] == 1.0 or s[SUM] < s[LOWEST]:
                s[LOWEST] = s[SUM]
            if running[COUNT] > warm_up and s[SUM] - s[LOWEST] > threshold:
                running[CHANGE_SIGN] = signs[side]
        if running[CHANGE_SIGN] != 0.0:
            return i + 1
    return int(values.size)


@final
class PageHinkley(RestartingDetector):
    """The test of Page (1954) with Hinkley's running mean (1971).

    With the sum m_t = fading * m_(t-1) + (x_t - mean_t - delta), a rise is noticed where m_t is
    more than ``threshold`` above its lowest value. A fall is a rise of -x.

    Args:
        delta: Change that is let pass, in units of the values.
        threshold: Sum of deviations that is a change, in units of the values.
        fading: Factor of the sum at each value; 1 is Page's own test. With less, changes are soon
            forgotten, but after a fall the sum comes back by itself, which may pass for a rise.
        warm_up: Values after a start or a change among which no change is looked for.
        direction: "up", "down" or "both".

    Raises:
        ConfigurationError: if a setting has a value that its rule does not allow.

    >>> detector = PageHinkley(threshold=10)
    >>> detector.update([0.0, 0.2] * 100 + [1.0] * 20)
    array([211])
    >>> detector.changes[0].age
    12
    """

    _own: ClassVar = {"sides": (2, 2)}

    def __init__(
        self,
        *,
        delta: float = 0.005,
        threshold: float = 50.0,
        fading: float = 1.0,
        warm_up: int = 30,
        direction: str = "up",
    ) -> None:
        name = type(self).__name__
        towards = parse_direction(name, direction)
        self._signs = direction_signs(towards)
        super().__init__(
            {
                "delta": validate_number(
                    name, "delta", delta, above=0.0, below=MAX_MAGNITUDE, inclusive=True
                ),
                "threshold": validate_number(
                    name, "threshold", threshold, above=0.0, below=MAX_MAGNITUDE
                ),
                "fading": validate_number(
                    name, "fading", fading, above=0.0, below=1.0, inclusive=True
                ),
                "warm_up": validate_integer(name, "warm_up", warm_up, least=0),
                "direction": str(towards),
            }
        )

    def _first_change(self, values: NDArray[np.float64]) -> int:
        set_to = self._settings
        return _detect(
            values,
            set_to["delta"],
            set_to["threshold"],
            set_to["fading"],
            set_to["warm_up"],
            self._signs,
            self._arrays["running"],
            self._arrays["sides"],
        )

    def _fault(self) -> str:
        sums, lowest = self._arrays["sides"].T
        return "a sum is below its lowest" if (sums < lowest).any() else ""

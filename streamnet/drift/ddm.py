"""DDM: an error rate that rises above its lowest level."""

from __future__ import annotations

import math
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from streamnet.drift.base import CHANGE_SIGN, COUNT, MEAN, WARNING, RestartingDetector, update_mean
from streamnet.errors import ConfigurationError
from streamnet.jit import exact
from streamnet.settings.drift import validate_integer, validate_number

__all__ = ("DDM",)

MOST = 1e6  # deviations
RATE, DEVIATION = range(2)  # lowest; RATE 0: none yet


@exact
def _detect(
    values: NDArray[np.float64],
    warning_level: float,
    drift_level: float,
    warm_up: int,
    running: NDArray[np.float64],
    lowest: NDArray[np.float64],
) -> int:
    """Look until a change is noticed; returns how many values were looked at."""
    for i in range(values.size):
        if not math.isfinite(values[i]):
            continue
        update_mean(running, min(max(values[i], 0.0), 1.0))
        rate = running[MEAN]
        if running[COUNT] <= warm_up or rate == 0.0:
            continue
        deviation = math.sqrt(max(rate * (1.0 - rate), 0.0) / running[COUNT])
        level = rate + deviation
        if lowest[RATE] == 0.0 or level <= lowest[RATE] + lowest[DEVIATION]:
            lowest[RATE] = rate
            lowest[DEVIATION] = deviation
        running[WARNING] = 0.0
        if level > lowest[RATE] + drift_level * lowest[DEVIATION]:
            running[CHANGE_SIGN] = 1.0
            return i + 1
        if level > lowest[RATE] + warning_level * lowest[DEVIATION]:
            running[WARNING] = 1.0
    return int(values.size)


@final
class DDM(RestartingDetector):
    """The drift detection method of Gama, Medas, Castillo and Rodrigues (2004).

    With the error rate p of n values and its deviation s = sqrt(p (1 - p) / n), a rise is noticed
    where p + s is more than ``drift_level`` deviations above the rate at which p + s was lowest.

    Values are 1 for an error, 0 for none, or a share of an error; what lies beyond counts as 0 or
    1. The paper leaves open what holds before the first error: s is 0 then, and one error would be
    a change. Here p + s is first compared once there was one.

    Args:
        warning_level: Deviations above the lowest rate that are a warning.
        drift_level: Deviations above the lowest rate that are a change.
        warm_up: Values after a start or a change among which no change is looked for.

    Raises:
        ConfigurationError: if a setting has a value that its rule does not allow.

    >>> detector = DDM()
    >>> detector.update([0, 0, 0, 1] * 100 + [1] * 50)
    array([423])
    >>> detector.changes[0].age
    24
    """

    _own: ClassVar = {"lowest": (2,)}

    def __init__(
        self, *, warning_level: float = 2.0, drift_level: float = 3.0, warm_up: int = 30
    ) -> None:
        name = type(self).__name__
        super().__init__(
            {
                "warning_level": validate_number(
                    name, "warning_level", warning_level, above=1.0, below=MOST
                ),
                "drift_level": validate_number(
                    name, "drift_level", drift_level, above=1.0, below=MOST
                ),
                "warm_up": validate_integer(name, "warm_up", warm_up, least=0),
            },
            low=0.0,
            high=1.0,
        )
        if drift_level < warning_level:
            raise ConfigurationError(
                f"{name}: drift_level is {drift_level!r}, but must be >= warning_level, "
                f"which is {warning_level!r}"
            )

    def _first_change(self, values: NDArray[np.float64]) -> int:
        return _detect(
            values,
            self._settings["warning_level"],
            self._settings["drift_level"],
            self._settings["warm_up"],
            self._arrays["running"],
            self._arrays["lowest"],
        )

    def _fault(self) -> str:
        rate, (lowest, deviation) = self._arrays["running"][MEAN], self._arrays["lowest"]
        if min(rate, lowest, deviation) < 0.0 or max(rate, lowest, deviation) > 1.0:
            return f"error rates are {rate} and {lowest} +- {deviation}"
        return ""

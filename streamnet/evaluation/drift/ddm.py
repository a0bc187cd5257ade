"""DDM: an error rate that rises away from its lowest level."""

from __future__ import annotations

import math
from typing import Any
from typing import final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError
from streamnet.evaluation.drift.detector import DriftDetector
from streamnet.evaluation.drift.running import COUNT
from streamnet.evaluation.drift.running import MEAN
from streamnet.evaluation.drift.running import WARNING
from streamnet.evaluation.drift.running import mean_since
from streamnet.evaluation.drift.running import take
from streamnet.evaluation.drift.settings import number
from streamnet.evaluation.drift.settings import whole
from streamnet.jit import exact

__all__ = ("DDM",)

LOWEST_COUNT, LOWEST_RATE, LOWEST_DEVIATION = range(3)  # lowest; LOWEST_COUNT 0: none yet


@exact
def _look(
    values: NDArray[np.float64],
    warning_level: float,
    drift_level: float,
    warm_up: int,
    running: NDArray[np.float64],
    lowest: NDArray[np.float64],
    positions: NDArray[np.int64],
    changes: NDArray[np.float64],
) -> int:
    found = 0
    for i in range(values.size):
        if not math.isfinite(values[i]):
            continue
        take(running, min(max(values[i], 0.0), 1.0))
        rate = running[MEAN]
        if running[COUNT] <= warm_up or rate == 0.0:
            continue
        deviation = math.sqrt(max(rate * (1.0 - rate), 0.0) / running[COUNT])
        level = rate + deviation
        if lowest[LOWEST_COUNT] == 0.0 or level <= lowest[LOWEST_RATE] + lowest[LOWEST_DEVIATION]:
            lowest[LOWEST_COUNT] = running[COUNT]
            lowest[LOWEST_RATE] = rate
            lowest[LOWEST_DEVIATION] = deviation
        if level > lowest[LOWEST_RATE] + drift_level * lowest[LOWEST_DEVIATION]:
            positions[found] = i
            changes[found, 0] = lowest[LOWEST_RATE]
            changes[found, 1] = mean_since(running, lowest[LOWEST_COUNT], lowest[LOWEST_RATE])
            found += 1
            running[:] = 0.0
            lowest[:] = 0.0
        else:
            limit = lowest[LOWEST_RATE] + warning_level * lowest[LOWEST_DEVIATION]
            running[WARNING] = 1.0 if level > limit else 0.0
    return found


@final
class DDM(DriftDetector):
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
    array([424])
    >>> detector.changes.round(2)
    array([[0.25, 0.98]])
    """

    def __init__(
        self, *, warning_level: float = 2.0, drift_level: float = 3.0, warm_up: int = 30
    ) -> None:
        name = type(self).__name__
        super().__init__(
            {
                "warning_level": number(name, "warning_level", warning_level, above=1.0),
                "drift_level": number(name, "drift_level", drift_level, above=1.0),
                "warm_up": whole(name, "warm_up", warm_up, least=0),
            }
        )
        if drift_level < warning_level:
            raise ConfigurationError(
                f"{name}: drift_level is {drift_level!r}, but must be >= warning_level, "
                f"which is {warning_level!r}"
            )

    @classmethod
    def _array_names(cls) -> tuple[str, ...]:
        return ("running", "lowest")

    def _fresh(self) -> dict[str, NDArray[Any]]:
        return {"running": np.zeros(3), "lowest": np.zeros(3)}

    def _detect(
        self,
        values: NDArray[np.float64],
        positions: NDArray[np.int64],
        changes: NDArray[np.float64],
    ) -> int:
        return _look(
            values,
            self._settings["warning_level"],
            self._settings["drift_level"],
            self._settings["warm_up"],
            self._arrays["running"],
            self._arrays["lowest"],
            positions,
            changes,
        )

    def _fault(self) -> str:
        running, lowest = self._arrays["running"], self._arrays["lowest"]
        if not 0.0 <= running[MEAN] <= 1.0:
            return f"the error rate is {running[MEAN]}"
        good = 0.0 <= lowest[LOWEST_COUNT] <= running[COUNT] and lowest[LOWEST_DEVIATION] >= 0.0
        return "" if good and 0.0 <= lowest[LOWEST_RATE] <= 1.0 else f"lowest is {lowest}"

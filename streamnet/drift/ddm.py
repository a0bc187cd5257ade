"""DDM: an error rate that rises above its lowest level."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from streamnet.drift.base import (
    CHANGE_SIGN,
    COUNT,
    MEAN,
    WARNING,
    DriftDetector,
    Histogram,
    insert,
    integer,
    number,
    update_mean,
)
from streamnet.errors import ConfigurationError
from streamnet.jit import exact

MAX_THRESHOLD = 1e6  # standard deviations
RATE, DEVIATION = range(2)  # places in "lowest"; RATE is 0 before the first error


@exact
def _detect_change(
    values: NDArray[np.float64],
    settings: tuple[float, float, int],
    running: NDArray[np.float64],
    histogram: Histogram,
    lowest: NDArray[np.float64],
) -> int:
    warning_threshold, drift_threshold, grace_period = settings
    for i in range(values.size):
        if not math.isfinite(values[i]):
            continue
        x = min(max(values[i], 0.0), 1.0)
        update_mean(running, x)
        insert(histogram, x)
        rate = running[MEAN]
        if running[COUNT] <= grace_period or rate == 0.0:
            continue
        deviation = math.sqrt(max(rate * (1.0 - rate), 0.0) / running[COUNT])
        level = rate + deviation
        if lowest[RATE] == 0.0 or level <= lowest[RATE] + lowest[DEVIATION]:
            lowest[RATE] = rate
            lowest[DEVIATION] = deviation
        running[WARNING] = 0.0
        if level > lowest[RATE] + drift_threshold * lowest[DEVIATION]:
            running[CHANGE_SIGN] = 1.0
            return i + 1
        if level > lowest[RATE] + warning_threshold * lowest[DEVIATION]:
            running[WARNING] = 1.0
    return int(values.size)


@final
@dataclass(eq=False, kw_only=True)
class DDM(DriftDetector, method="ddm", kernel=_detect_change):
    """DDM, the drift detection method.

    With the error rate p of n values and its deviation s = sqrt(p (1 - p) / n), a rise is detected
    where p + s is more than ``drift_threshold`` deviations above the rate at which p + s was
    lowest.

    Values are 1 for an error, 0 for none, or anything between; others are clipped. The paper does
    not say what holds before the first error: s is 0 then, and one error would be a change. Here
    p + s is first compared after the first error.

    Gama, Medas, Castillo and Rodrigues, "Learning with Drift Detection", SBIA 2004.

    Args:
        warning_threshold: Deviations above the lowest rate that are a warning.
        drift_threshold: Deviations above the lowest rate that are a change.
        grace_period: Number of values after a start or a change without detection.

    >>> detector = DDM()
    >>> detector.update([0, 0, 0, 1] * 100 + [1] * 50)
    array([423])
    >>> detector.changes[0].age
    24
    """

    warning_threshold: float = number(2.0, above=1.0, below=MAX_THRESHOLD)
    drift_threshold: float = number(3.0, above=1.0, below=MAX_THRESHOLD)
    grace_period: int = integer(30, least=0)

    _further_arrays: ClassVar = {"lowest": (2,)}

    def _check_settings(self) -> None:
        if self.drift_threshold < self.warning_threshold:
            raise ConfigurationError(
                f"DDM: drift_threshold is {self.drift_threshold!r}, but must be >= "
                f"warning_threshold, which is {self.warning_threshold!r}"
            )

    def _find_inconsistency(self) -> str:
        rate, (lowest, deviation) = self._arrays["running"][MEAN], self._arrays["lowest"]
        if min(rate, lowest, deviation) < 0.0 or max(rate, lowest, deviation) > 1.0:
            return f"error rates are {rate} and {lowest} +- {deviation}"
        return ""

"""The target of a regression in standard units."""

from __future__ import annotations

from typing import Any
from typing import NamedTuple
from typing import final

import numpy as np
from numpy.typing import NDArray

from streamnet.features.moments import COLUMNS
from streamnet.features.moments import COUNT
from streamnet.features.moments import LARGEST
from streamnet.features.moments import MEAN
from streamnet.features.moments import SQUARES
from streamnet.features.moments import restored
from streamnet.features.moments import spread_of
from streamnet.features.moments import take_in
from streamnet.features.numbers import FINITE
from streamnet.features.numbers import plain
from streamnet.jit import jit

__all__ = ("Scaled", "TargetScaler")


class Scaled(NamedTuple):
    """Targets of consecutive samples in standard units, and the units to answer in."""

    goal: NDArray[np.float64]  # shape=(n,), with moments that include the sample; NaN if missing
    centre: NDArray[np.float64]  # shape=(n,), mean before the sample
    spread: NDArray[np.float64]  # shape=(n,), standard deviation before the sample


@jit
def _scale(
    target: NDArray[np.float64],
    moments: NDArray[np.float64],
    clip: float,
    goal: NDArray[np.float64],
    centre: NDArray[np.float64],
    spread: NDArray[np.float64],
) -> None:
    """Fill in goal, centre and spread, taking each target into the moments in order."""
    deviation = spread_of(moments[0, COUNT], moments[0, MEAN], moments[0, SQUARES])
    for i in range(target.shape[0]):
        centre[i] = moments[0, MEAN]
        spread[i] = deviation if deviation > 0.0 else 1.0
        y = target[i]
        if not abs(y) <= FINITE:
            goal[i] = np.nan
            continue
        y = min(max(y, -LARGEST), LARGEST)
        take_in(moments, 0, y)
        mean = moments[0, MEAN]
        deviation = spread_of(moments[0, COUNT], mean, moments[0, SQUARES])
        unit = deviation if deviation > 0.0 else 1.0
        goal[i] = min(max((y - mean) / unit, -clip), clip)


@final
class TargetScaler:
    """Running moments of a target, or none: then goals and answers are in the target's own units.

    >>> scaler = TargetScaler(clip=8.0)
    >>> scaled = scaler.update(np.array([10.0, 14.0, 12.0]))
    >>> scaled.centre.tolist(), scaled.spread.tolist(), scaled.goal.tolist()
    ([0.0, 10.0, 12.0], [1.0, 1.0, 2.0], [0.0, 1.0, 0.0])
    """

    def __init__(self, *, clip: float, raw: bool = False) -> None:
        self._clip = clip
        self._raw = raw
        self.moments = np.zeros((1, COLUMNS), np.float64)

    @property
    def scale(self) -> tuple[float, float]:
        """Mean, and standard deviation or 1, of the targets so far; raw 0 and 1."""
        count, mean, squares = self.moments[0, : SQUARES + 1].tolist()
        deviation = spread_of(count, mean, squares)
        return mean, float(deviation) if deviation > 0.0 else 1.0

    def update(self, target: NDArray[Any]) -> Scaled:
        """Scale the targets of a block and learn from them, in order."""
        n = len(target)
        if self._raw:
            return self.apply(target)
        scaled = Scaled(np.empty(n), np.empty(n), np.empty(n))
        _scale(plain(target), self.moments, self._clip, *scaled)
        return scaled

    def apply(self, target: NDArray[Any]) -> Scaled:
        """Scale targets by those so far; nothing is learned."""
        centre, spread = self.scale
        y = plain(target)
        with np.errstate(over="ignore"):
            bound = LARGEST if self._raw else self._clip
            goal = ((y - centre) / spread).clip(-bound, bound)
        goal[~np.isfinite(y)] = np.nan
        return Scaled(goal, np.full(len(y), centre), np.full(len(y), spread))

    def restore_state(self, moments: NDArray[np.float64]) -> None:
        """Take over moments as a snapshot keeps them."""
        if np.shape(moments) == (SQUARES + 1,):  # of an earlier release
            moments = np.array([[*moments, 0.0]])
        self.moments = restored(moments, 1, "the target")

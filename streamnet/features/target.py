"""The target of a regression in standard units, and its logarithm, which some candidates learn."""

from __future__ import annotations

import math
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
from streamnet.jit import exact_kernel
from streamnet.jit import jit

__all__ = ("NO_TARGETS", "RAW", "Scaled", "TargetScaler", "TargetUnits")

PLAIN, LOG = range(2)  # rows of the moments
FARTHEST = 10.0  # standard deviations: no power of an answer lies farther from the mean


class Scaled(NamedTuple):
    """Targets of consecutive samples in standard units, and the units to answer in."""

    goal: NDArray[np.float64]  # shape=(n,), with moments that include the sample; NaN if missing
    centre: NDArray[np.float64]  # shape=(n,), mean before the sample
    spread: NDArray[np.float64]  # shape=(n,), standard deviation before the sample, see _unit
    log_goal: NDArray[np.float64]  # this and the next two: the same of the target's logarithm
    log_centre: NDArray[np.float64]
    log_spread: NDArray[np.float64]


NO_TARGETS = Scaled(*(np.empty(0, np.float64) for _ in Scaled._fields))


class TargetUnits(NamedTuple):
    """The units of targets and of their logarithms: arrays of shape=(n,), or one of each for all.

    >>> units = TargetUnits(4.0, 2.0, 1.0, 0.5)
    >>> outputs = np.array([[1.0, -1.0], [1.0, -1.0]])
    >>> units.numbers(outputs, np.array([False, True])).round(2).tolist()
    [[6.0, 2.0], [3.48, 0.65]]
    """

    centre: NDArray[np.float64] | float
    spread: NDArray[np.float64] | float
    log_centre: NDArray[np.float64] | float
    log_spread: NDArray[np.float64] | float

    def numbers(
        self, outputs: NDArray[np.floating], logarithmic: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """What networks say, in the target's own units.

        Args:
            outputs: shape=(candidates, n), in standard units.
            logarithmic: shape=(candidates,), or empty for none: whose outputs are logarithms.

        Returns:
            shape=(candidates, n); powers within 10 standard deviations of the target's mean.
        """
        # What stands for a candidate that gave no answer may be anything.
        with np.errstate(over="ignore", invalid="ignore"):
            said = outputs.astype(np.float64)
            numbers: NDArray[np.float64] = self.centre + self.spread * said
            for k in np.flatnonzero(logarithmic).tolist():
                powers = np.empty(said.shape[1])
                _power(np.ascontiguousarray(self.log_centre + self.log_spread * said[k]), powers)
                reach = FARTHEST * self.spread
                numbers[k] = np.clip(powers, self.centre - reach, self.centre + reach)
        return numbers


RAW = TargetUnits(0.0, 1.0, 0.0, 1.0)
"""Where networks learn targets as they are."""


@exact_kernel
def _logarithm(y: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """``sign(y) log(1 + |y|)``."""
    # One by one, by the same code for each: a vector's last few might be rounded otherwise.
    for i in range(y.size):
        out[i] = math.copysign(math.log1p(abs(y[i])), y[i])


@exact_kernel
def _power(x: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """What `_logarithm` makes ``x`` of."""
    for i in range(x.size):
        out[i] = math.copysign(math.expm1(abs(x[i])), x[i])


@jit
def _unit(deviation: float, mean: float) -> float:
    """Their standard deviation, or where targets do not differ a guess at it.

    1 would be any number of times too much where targets are as small as 1e-6.
    """
    if deviation > 0.0:
        return deviation
    return min(abs(mean), 1.0) if mean != 0.0 else 1.0


@jit
def _scale(
    target: NDArray[np.float64],
    moments: NDArray[np.float64],
    m: int,
    clip: float,
    goal: NDArray[np.float64],
    centre: NDArray[np.float64],
    spread: NDArray[np.float64],
) -> None:
    """Fill in goal, centre and spread, taking each target into row ``m`` of moments in order."""
    deviation = spread_of(moments[m, COUNT], moments[m, MEAN], moments[m, SQUARES])
    for i in range(target.shape[0]):
        centre[i] = moments[m, MEAN]
        spread[i] = _unit(deviation, moments[m, MEAN])
        y = target[i]
        if not abs(y) <= FINITE:
            goal[i] = np.nan
            continue
        y = min(max(y, -LARGEST), LARGEST)
        take_in(moments, m, y)
        mean = moments[m, MEAN]
        deviation = spread_of(moments[m, COUNT], mean, moments[m, SQUARES])
        goal[i] = min(max((y - mean) / _unit(deviation, mean), -clip), clip)


@final
class TargetScaler:
    """Running moments of a target; raw, goals and answers are in the target's own units.

    And the same of its logarithm, ``sign(y) log(1 + |y|)``.

    >>> scaler = TargetScaler(clip=8.0)
    >>> scaled = scaler.update(np.array([10.0, 14.0, 12.0]))
    >>> scaled.centre.tolist(), scaled.spread.tolist(), scaled.goal.tolist()
    ([0.0, 10.0, 12.0], [1.0, 1.0, 2.0], [0.0, 1.0, 0.0])
    """

    def __init__(self, *, clip: float, raw: bool = False) -> None:
        self._clip = clip
        self._raw = raw
        self.moments = np.zeros((2, COLUMNS), np.float64)

    @property
    def scale(self) -> tuple[float, float]:
        """Mean and standard deviation of the targets so far, see `_unit`."""
        return self._scale_of(PLAIN)

    @property
    def units(self) -> TargetUnits:
        """In which the next sample is answered."""
        return RAW if self._raw else TargetUnits(*self._scale_of(PLAIN), *self._scale_of(LOG))

    def _scale_of(self, m: int) -> tuple[float, float]:
        count, mean, squares = self.moments[m, : SQUARES + 1].tolist()
        deviation = spread_of(count, mean, squares)
        return mean, float(_unit(deviation, mean))

    def update(self, target: NDArray[Any]) -> Scaled:
        """Scale the targets of a block and learn from them, in order."""
        scaled = Scaled(*(np.empty(len(target)) for _ in Scaled._fields))
        y = plain(target)
        _scale(y, self.moments, PLAIN, self._clip, *scaled[:3])
        _scale(_logarithms(y), self.moments, LOG, self._clip, *scaled[3:])
        return scaled._replace(goal=_bounded(y)) if self._raw else scaled

    def apply(self, target: NDArray[Any]) -> Scaled:
        """Scale targets by those so far; nothing is learned."""
        y = plain(target)
        scaled = Scaled(*self._applied(y, PLAIN), *self._applied(_logarithms(y), LOG))
        return scaled._replace(goal=_bounded(y)) if self._raw else scaled

    def _applied(self, y: NDArray[np.float64], m: int) -> tuple[NDArray[np.float64], ...]:
        centre, spread = self._scale_of(m)
        with np.errstate(over="ignore"):
            goal = ((y - centre) / spread).clip(-self._clip, self._clip)
        goal[~np.isfinite(y)] = np.nan
        return goal, np.full(len(y), centre), np.full(len(y), spread)

    def restore_state(self, moments: NDArray[np.float64]) -> None:
        """Take over moments as a snapshot keeps them."""
        if np.shape(moments) == (SQUARES + 1,):  # of an earlier release
            moments = np.array([[*moments, 0.0]])
        if np.ndim(moments) == 2 and len(moments) == 1:  # likewise: without logarithms
            moments = np.append(moments, np.zeros_like(moments), axis=0)
        self.moments = restored(moments, 2, "the target")


def _logarithms(y: NDArray[np.float64]) -> NDArray[np.float64]:
    out = np.empty(len(y))
    _logarithm(y, out)
    return out


def _bounded(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Targets as they are, as goals."""
    goal: NDArray[np.float64] = y.clip(-LARGEST, LARGEST)
    goal[~np.isfinite(y)] = np.nan
    return goal

"""Targets: online standardized numbers, and lagged targets as inputs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ModelFileError
from streamnet.features.base import FIELD_BITS, LAG_BASE, NO_LAGS, LagEntries
from streamnet.features.statistics import (
    COUNT,
    FINITE,
    MAX_MAGNITUDE,
    MEAN,
    MOMENT_COLUMNS,
    SQUARES,
    as_float64,
    restore_array,
    standard_deviation,
    update_moments,
)
from streamnet.jit import exact_kernel, jit

PLAIN, LOG = range(2)  # rows of the moments
AGE_SCALE = 8.0  # of logarithms to the base 2: an age of 255 samples is 1
NO_AGES = np.empty(0)
MAX_DEVIATIONS = 10.0  # standard deviations from the mean, to which inverted logarithms are clipped


class ScaledTargets(NamedTuple):
    """Targets of consecutive samples in standard units, and the units of predictions."""

    goal: NDArray[np.float64]  # shape=(n,), with moments that include the sample; NaN if missing
    center: NDArray[np.float64]  # shape=(n,), mean before the sample
    spread: NDArray[np.float64]  # shape=(n,), before the sample, see _scale_or_guess
    log_goal: NDArray[np.float64]  # this and the next two: the same of the target's logarithm
    log_center: NDArray[np.float64]
    log_spread: NDArray[np.float64]


NO_TARGETS = ScaledTargets(*(np.empty(0, np.float64) for _ in ScaledTargets._fields))


class TargetUnits(NamedTuple):
    """Units of targets and of their logarithms: arrays of shape=(n,), or one number for all.

    >>> units = TargetUnits(4.0, 2.0, 1.0, 0.5)
    >>> outputs = np.array([[1.0, -1.0], [1.0, -1.0]])
    >>> units.numbers(outputs, np.array([False, True])).round(2).tolist()
    [[6.0, 2.0], [3.48, 0.65]]
    """

    center: NDArray[np.float64] | float
    spread: NDArray[np.float64] | float
    log_center: NDArray[np.float64] | float
    log_spread: NDArray[np.float64] | float

    def numbers(
        self, outputs: NDArray[np.floating], logarithmic: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Convert outputs of networks, shape=(candidates, n), to the target's own units.

        Those of ``logarithmic`` candidates (empty: none) are logarithms; inverted, they are clipped
        to 10 standard deviations from the mean of the target.
        """
        # Outputs of unavailable candidates may be anything.
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = outputs.astype(np.float64)
            numbers: NDArray[np.float64] = self.center + self.spread * scaled
            for k in np.flatnonzero(logarithmic).tolist():
                powers = np.empty(scaled.shape[1])
                logs = self.log_center + self.log_spread * scaled[k]
                _signed_expm1(np.ascontiguousarray(logs), powers)
                reach = MAX_DEVIATIONS * self.spread
                numbers[k] = np.clip(powers, self.center - reach, self.center + reach)
        return numbers


RAW_UNITS = TargetUnits(0.0, 1.0, 0.0, 1.0)
"""Units of targets that are not scaled."""


@exact_kernel
def _signed_log1p(y: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """``sign(y) log(1 + |y|)``."""
    # One by one with the same code: the end of a vector might be rounded differently.
    for i in range(y.size):
        out[i] = math.copysign(math.log1p(abs(y[i])), y[i])


@exact_kernel
def _signed_expm1(x: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Inverse of `_signed_log1p`."""
    for i in range(x.size):
        out[i] = math.copysign(math.expm1(abs(x[i])), x[i])


@jit
def _scale_or_guess(deviation: float, mean: float) -> float:
    """The standard deviation, or a guess at it if targets are constant.

    1 would be far too large for targets as small as 1e-6.
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
    center: NDArray[np.float64],
    spread: NDArray[np.float64],
) -> None:
    """Write goal, center and spread, updating row ``m`` of the moments in order."""
    deviation = standard_deviation(moments[m, COUNT], moments[m, MEAN], moments[m, SQUARES])
    for i in range(target.shape[0]):
        center[i] = moments[m, MEAN]
        spread[i] = _scale_or_guess(deviation, moments[m, MEAN])
        y = target[i]
        if not abs(y) <= FINITE:
            goal[i] = np.nan
            continue
        y = min(max(y, -MAX_MAGNITUDE), MAX_MAGNITUDE)
        update_moments(moments, m, y)
        mean = moments[m, MEAN]
        deviation = standard_deviation(moments[m, COUNT], mean, moments[m, SQUARES])
        goal[i] = min(max((y - mean) / _scale_or_guess(deviation, mean), -clip), clip)


@final
class TargetScaler:
    """Standardizes a target, and its logarithm ``sign(y) log(1 + |y|)``, by running moments.

    With ``raw`` goals and predictions are in the target's own units instead.

    >>> scaler = TargetScaler(clip=8.0)
    >>> scaled = scaler.update(np.array([10.0, 14.0, 12.0]))
    >>> scaled.center.tolist(), scaled.spread.tolist(), scaled.goal.tolist()
    ([0.0, 10.0, 12.0], [1.0, 1.0, 2.0], [0.0, 1.0, 0.0])
    """

    def __init__(self, *, clip: float, raw: bool = False) -> None:
        self._clip = clip
        self._raw = raw
        self.moments: NDArray[np.float64] = np.zeros((2, MOMENT_COLUMNS), np.float64)

    @property
    def scale(self) -> tuple[float, float]:
        """Mean and standard deviation of the targets so far, see `_scale_or_guess`."""
        return self._find_scale(PLAIN)

    @property
    def units(self) -> TargetUnits:
        """Units of the prediction of the next sample."""
        if self._raw:
            return RAW_UNITS
        return TargetUnits(*self._find_scale(PLAIN), *self._find_scale(LOG))

    @property
    def scales(self) -> NDArray[np.float64]:
        """Mean and standard deviation of targets and of their logarithms, shape=(2, 2, 1)."""
        scales = np.array([self._find_scale(PLAIN), self._find_scale(LOG)])
        return scales.T[:, :, np.newaxis]

    def _find_scale(self, m: int) -> tuple[float, float]:
        count, mean, squares = self.moments[m, : SQUARES + 1].tolist()
        deviation = standard_deviation(count, mean, squares)
        return mean, float(_scale_or_guess(deviation, mean))

    def update(self, target: NDArray[Any], known: NDArray[np.float64] = NO_AGES) -> ScaledTargets:
        """Learn from the targets of a block and scale them, in order.

        ``known`` numbers, NaN for none, are the centers of rows before the first target, around
        which predictions lie as long as there is no mean; empty if there are none.
        """
        if np.isfinite(known).any():
            return _center_on(known, self.update(target))
        scaled = ScaledTargets(*(np.empty(len(target)) for _ in ScaledTargets._fields))
        y = as_float64(target)
        _scale(y, self.moments, PLAIN, self._clip, *scaled[:3])
        _scale(_log_targets(y), self.moments, LOG, self._clip, *scaled[3:])
        return scaled._replace(goal=_clip_raw(y)) if self._raw else scaled

    def apply(self, target: NDArray[Any]) -> ScaledTargets:
        """Scale targets without learning."""
        y = as_float64(target)
        scaled = ScaledTargets(*self._applied(y, PLAIN), *self._applied(_log_targets(y), LOG))
        return scaled._replace(goal=_clip_raw(y)) if self._raw else scaled

    def _applied(self, y: NDArray[np.float64], m: int) -> tuple[NDArray[np.float64], ...]:
        center, spread = self._find_scale(m)
        with np.errstate(over="ignore"):
            goal = ((y - center) / spread).clip(-self._clip, self._clip)
        goal[~np.isfinite(y)] = np.nan
        return goal, np.full(len(y), center), np.full(len(y), spread)

    def restore_state(self, moments: NDArray[np.float64]) -> None:
        """Restore exported moments."""
        misfit = "the moments of the target do not fit"
        self.moments = restore_array(moments, np.float64, (2, MOMENT_COLUMNS), misfit)


def _log_targets(y: NDArray[np.float64]) -> NDArray[np.float64]:
    out = np.empty(len(y))
    _signed_log1p(y, out)
    return out


def _center_on(known: NDArray[np.float64], scaled: ScaledTargets) -> ScaledTargets:
    """Set the centers of rows to known numbers, and their deviations to guesses."""
    places = np.flatnonzero(np.isfinite(known))
    for center, spread, numbers in (
        (scaled.center, scaled.spread, known),
        (scaled.log_center, scaled.log_spread, _log_targets(known)),
    ):
        center[places] = numbers[places]
        spread[places] = [_scale_or_guess(0.0, mean) for mean in center[places].tolist()]
    return scaled


def _clip_raw(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Raw targets as goals."""
    goal: NDArray[np.float64] = y.clip(-MAX_MAGNITUDE, MAX_MAGNITUDE)
    goal[~np.isfinite(y)] = np.nan
    return goal


@jit
def _shift_classes(
    label: NDArray[np.int32],
    last: NDArray[np.float64],
    missing: NDArray[np.int64],
    keys: NDArray[np.int64],
) -> None:
    lags = last.size
    for i in range(keys.shape[0]):
        for k in range(lags):
            keys[i, k] = missing[k] + (0 if np.isnan(last[k]) else 1 + np.int64(last[k]))
        if i < label.size and label[i] >= 0:
            for k in range(lags - 1, 0, -1):
                last[k] = last[k - 1]
            last[0] = label[i]


@jit
def _shift_numbers(
    target: NDArray[np.float64],
    center: NDArray[np.float64],
    spread: NDArray[np.float64],
    clip: float,
    last: NDArray[np.float64],
    missing: NDArray[np.int64],
    keys: NDArray[np.int64],
    values: NDArray[np.float64],
) -> None:
    lags = last.size
    for i in range(keys.shape[0]):
        for k in range(lags):
            keys[i, k] = missing[k]
            if not np.isnan(last[k]):
                keys[i, k] += 1
                values[i, k] = min(max((last[k] - center[i]) / spread[i], -clip), clip)
        if i < target.size and np.isfinite(target[i]):
            for k in range(lags - 1, 0, -1):
                last[k] = last[k - 1]
            last[0] = target[i]


@final
class TargetLags:
    """Encodes the last known targets before each sample; a sample without one changes nothing.

    ``more`` entries are other targets, such as those a season ago. With ``aged``, a last one tells
    how many samples ago the last known target was: where labels arrive late, that may vary.

    >>> lags = TargetLags(lags=2, clip=8.0)
    >>> lagged = lags.classes(np.array([3, 1, -1], np.int32))
    >>> (lagged.keys - lagged.missing).tolist(), lags.last.tolist()
    ([[0, 0], [4, 0], [2, 4]], [1.0, 3.0])
    """

    def __init__(self, *, lags: int, clip: float, aged: bool = False, more: int = 0) -> None:
        # Class numbers or numbers, the latest first.
        self.last: NDArray[np.float64] = np.full(lags, np.nan)
        self.age: float = math.nan  # of the last known target, at the next sample
        self._clip = clip
        self._set_entries(aged=aged and lags > 0, more=more if lags else 0)

    def _set_entries(self, *, aged: bool, more: int) -> None:
        lags = len(self.last)
        self._more, self._has_more = slice(lags, lags + more), more > 0  # places of the entries
        self._age = lags + more if aged else None
        numbers = np.arange(lags + more + aged, dtype=np.int64)
        self._missing: NDArray[np.int64] = LAG_BASE + (numbers << FIELD_BITS)

    def __len__(self) -> int:
        return len(self._missing)

    def expect_late_targets(self, more: int) -> None:
        """From now on, add an entry of the age, and ``more`` ones before it if there were none."""
        if len(self.last):
            self._set_entries(aged=True, more=more)

    def classes(
        self,
        label: NDArray[np.int32],
        n: int | None = None,
        ages: NDArray[np.float64] = NO_AGES,
        more: NDArray[np.float64] = NO_LAGS.values,
    ) -> LagEntries:
        """Encode lags of n samples, the first of which have these classes (-1: none), learned."""
        lagged = self._empty(len(label) if n is None else n, ages)
        _shift_classes(label, self.last, self._missing, lagged.keys)
        if self._has_more:
            known = np.isfinite(more)
            lagged.keys[:, self._more] += np.where(known, 1.0 + more, 0.0).astype(np.int64)
        return lagged

    def numbers(
        self,
        target: NDArray[np.float64],
        center: NDArray[np.float64],
        spread: NDArray[np.float64],
        ages: NDArray[np.float64] = NO_AGES,
        more: NDArray[np.float64] = NO_LAGS.values,
    ) -> LagEntries:
        """Encode lags in the units before each sample, learning the targets of the first ones."""
        lagged = self._empty(len(center), ages)
        _shift_numbers(target, center, spread, self._clip, self.last, self._missing, *lagged[:2])
        if self._has_more:
            known = np.isfinite(more)
            lagged.keys[:, self._more] += known
            near = np.where(known, more, 0.0)
            scaled = ((near - center[:, None]) / spread[:, None]).clip(-self._clip, self._clip)
            lagged.values[:, self._more] = np.where(known, scaled, 1.0)
        return lagged

    def build_next(
        self, n: int, scale: tuple[float, float] | None, more: NDArray[np.float64] = NO_LAGS.values
    ) -> LagEntries:
        """Encode lags of n candidates for the next sample; ``scale`` is None for classes."""
        ages = np.full(n, self.age)
        if scale is None:
            return self.classes(np.empty(0, np.int32), n, ages, more)
        center, spread = (np.full(n, number) for number in scale)
        return self.numbers(np.empty(0), center, spread, ages, more)

    def build_given(
        self, last: NDArray[np.float64], scale: tuple[float, float] | None
    ) -> LagEntries:
        """Encode given last targets, like those of `last` in each row; NaN where unknown.

        Other targets, such as those a season ago, are unknown.
        """
        lagged, known = self._empty(len(last), np.full(len(last), self.age)), ~np.isnan(last)
        lags = len(self.last)
        keys = lagged.keys[:, :lags]
        keys[:] = self._missing[:lags] + known
        if scale is None:
            keys[known] += last[known].astype(np.int64)
        else:
            center, spread = scale
            scaled = np.clip((last - center) / spread, -self._clip, self._clip)
            lagged.values[:, :lags][known] = scaled[known]
        return lagged

    def merge_classes(self, number: int, into: int) -> None:
        """Take earlier targets of a class for those of another."""
        self.last[self.last == number] = into

    def restore_state(self, last: Iterable[Any], age: float = math.nan) -> None:
        """Restore the exported last targets, and their age."""
        last = np.array(last, np.float64)
        if last.shape != self.last.shape or np.isinf(last).any():
            raise ModelFileError(f"the encoder's last targets are not {len(self.last)} numbers")
        self.last, self.age = last, float(age)

    def _empty(self, n: int, ages: NDArray[np.float64]) -> LagEntries:
        shape = n, len(self)
        lagged = LagEntries(np.empty(shape, np.int64), np.ones(shape), self._missing)
        if self._age is not None:
            known = np.isfinite(ages)
            lagged.keys[:, self._age] = self._missing[self._age] + known
            lagged.values[known, self._age] = np.log2(1.0 + ages[known]) / AGE_SCALE
        lagged.keys[:, self._more] = self._missing[self._more]
        return lagged

"""Targets: class labels numbered in order of appearance, and numbers standardized online."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from streamnet.errors import ModelFileError
from streamnet.features.columns.category import add_spellings, escape_surrogates, match_spelling
from streamnet.features.columns.number import (
    COUNT,
    FINITE,
    MAX_MAGNITUDE,
    MEAN,
    MOMENT_COLUMNS,
    SQUARES,
    as_float64,
    restore_moments,
    standard_deviation,
    update_moments,
)
from streamnet.jit import exact_kernel, jit
from streamnet.samples import Block, DeadLetter, constant_column

__all__ = (
    "NO_TARGETS",
    "RAW_UNITS",
    "TOO_MANY_CLASSES",
    "EncodedLabels",
    "LabelEncoder",
    "ScaledTargets",
    "TargetScaler",
    "TargetUnits",
)


PLAIN, LOG = range(2)  # rows of the moments
MAX_DEVIATIONS = 10.0  # standard deviations: no power of an answer lies farther from the mean


class ScaledTargets(NamedTuple):
    """Targets of consecutive samples in standard units, and the units to answer in."""

    goal: NDArray[np.float64]  # shape=(n,), with moments that include the sample; NaN if missing
    center: NDArray[np.float64]  # shape=(n,), mean before the sample
    spread: NDArray[np.float64]  # shape=(n,), standard deviation before the sample, see _unit
    log_goal: NDArray[np.float64]  # this and the next two: the same of the target's logarithm
    log_center: NDArray[np.float64]
    log_spread: NDArray[np.float64]


NO_TARGETS = ScaledTargets(*(np.empty(0, np.float64) for _ in ScaledTargets._fields))


class TargetUnits(NamedTuple):
    """The units of targets and of their logarithms: arrays of shape=(n,), or one of each for all.

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
            numbers: NDArray[np.float64] = self.center + self.spread * said
            for k in np.flatnonzero(logarithmic).tolist():
                powers = np.empty(said.shape[1])
                _signed_expm1(
                    np.ascontiguousarray(self.log_center + self.log_spread * said[k]), powers
                )
                reach = MAX_DEVIATIONS * self.spread
                numbers[k] = np.clip(powers, self.center - reach, self.center + reach)
        return numbers


RAW_UNITS = TargetUnits(0.0, 1.0, 0.0, 1.0)
"""Where networks learn targets as they are."""


@exact_kernel
def _signed_log1p(y: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """``sign(y) log(1 + |y|)``."""
    # One by one, by the same code for each: a vector's last few might be rounded otherwise.
    for i in range(y.size):
        out[i] = math.copysign(math.log1p(abs(y[i])), y[i])


@exact_kernel
def _signed_expm1(x: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """What `_signed_log1p` makes ``x`` of."""
    for i in range(x.size):
        out[i] = math.copysign(math.expm1(abs(x[i])), x[i])


@jit
def _scale_or_guess(deviation: float, mean: float) -> float:
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
    center: NDArray[np.float64],
    spread: NDArray[np.float64],
) -> None:
    """Fill in goal, center and spread, taking each target into row ``m`` of moments in order."""
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
    """Running moments of a target; raw, goals and answers are in the target's own units.

    And the same of its logarithm, ``sign(y) log(1 + |y|)``.

    >>> scaler = TargetScaler(clip=8.0)
    >>> scaled = scaler.update(np.array([10.0, 14.0, 12.0]))
    >>> scaled.center.tolist(), scaled.spread.tolist(), scaled.goal.tolist()
    ([0.0, 10.0, 12.0], [1.0, 1.0, 2.0], [0.0, 1.0, 0.0])
    """

    def __init__(self, *, clip: float, raw: bool = False) -> None:
        self._clip = clip
        self._raw = raw
        self.moments = np.zeros((2, MOMENT_COLUMNS), np.float64)

    @property
    def scale(self) -> tuple[float, float]:
        """Mean and standard deviation of the targets so far, see `_scale_or_guess`."""
        return self._scale_of(PLAIN)

    @property
    def units(self) -> TargetUnits:
        """In which the next sample is answered."""
        return RAW_UNITS if self._raw else TargetUnits(*self._scale_of(PLAIN), *self._scale_of(LOG))

    def _scale_of(self, m: int) -> tuple[float, float]:
        count, mean, squares = self.moments[m, : SQUARES + 1].tolist()
        deviation = standard_deviation(count, mean, squares)
        return mean, float(_scale_or_guess(deviation, mean))

    def update(self, target: NDArray[Any]) -> ScaledTargets:
        """Scale the targets of a block and learn from them, in order."""
        scaled = ScaledTargets(*(np.empty(len(target)) for _ in ScaledTargets._fields))
        y = as_float64(target)
        _scale(y, self.moments, PLAIN, self._clip, *scaled[:3])
        _scale(_log_targets(y), self.moments, LOG, self._clip, *scaled[3:])
        return scaled._replace(goal=_clip_raw(y)) if self._raw else scaled

    def apply(self, target: NDArray[Any]) -> ScaledTargets:
        """Scale targets by those so far; nothing is learned."""
        y = as_float64(target)
        scaled = ScaledTargets(*self._applied(y, PLAIN), *self._applied(_log_targets(y), LOG))
        return scaled._replace(goal=_clip_raw(y)) if self._raw else scaled

    def _applied(self, y: NDArray[np.float64], m: int) -> tuple[NDArray[np.float64], ...]:
        center, spread = self._scale_of(m)
        with np.errstate(over="ignore"):
            goal = ((y - center) / spread).clip(-self._clip, self._clip)
        goal[~np.isfinite(y)] = np.nan
        return goal, np.full(len(y), center), np.full(len(y), spread)

    def restore_state(self, moments: NDArray[np.float64]) -> None:
        """Take over moments as a snapshot keeps them."""
        if np.shape(moments) == (SQUARES + 1,):  # of an earlier release
            moments = np.array([[*moments, 0.0]])
        if np.ndim(moments) == 2 and len(moments) == 1:  # likewise: without logarithms
            moments = np.append(moments, np.zeros_like(moments), axis=0)
        self.moments = restore_moments(moments, 2, "the target")


def _log_targets(y: NDArray[np.float64]) -> NDArray[np.float64]:
    out = np.empty(len(y))
    _signed_log1p(y, out)
    return out


def _clip_raw(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Targets as they are, as goals."""
    goal: NDArray[np.float64] = y.clip(-MAX_MAGNITUDE, MAX_MAGNITUDE)
    goal[~np.isfinite(y)] = np.nan
    return goal


TOO_MANY_CLASSES = "too-many-classes"  # why a record is rejected; of it only the label is kept
RAW_LENGTH = 4096


@final
class EncodedLabels(Struct, frozen=True, eq=False, gc=False):
    """Class numbers of consecutive samples."""

    label: NDArray[np.int32]  # shape=(n,), -1 without a target; not to be changed
    known: NDArray[np.int32]  # shape=(n,), classes known before the sample; not to be changed
    refused: tuple[int, ...]  # samples whose label was one too many


@final
class LabelEncoder:
    """The classes of a stream.

    >>> labels = LabelEncoder(max_classes=1000)
    >>> numbered = labels.number(np.array(["ham", "spam", "ham", None], object))
    >>> numbered.label.tolist(), numbered.known.tolist(), labels.names
    ([0, 1, 0, -1], [0, 1, 2, 2], ['ham', 'spam'])
    """

    def __init__(self, *, max_classes: int) -> None:
        self._max_classes = max_classes
        self._numbers: dict[str | None, int] = {None: -1}
        self.names: list[str] = []  # append-only
        self.inherited = 0  # names that an earlier stream brought, known in each spelling

    def number(self, target: NDArray[Any]) -> EncodedLabels:
        """Number the labels of a block in order, learning new ones."""
        n, numbers = len(target), self._numbers
        try:
            if n == 1:  # the short way for one sample at a time
                label = constant_column(1, numbers[target.item()], np.int32)
            else:
                label = np.fromiter(map(numbers.__getitem__, target.tolist()), np.int32, n)
        except KeyError:
            return self._number_new(target)
        return EncodedLabels(label, constant_column(n, len(self.names), np.int32), ())

    def look_up(self, target: NDArray[Any]) -> NDArray[np.int32]:
        """Numbers of labels without learning any: -1 for new ones, as without a target."""
        return np.array([self._known(label) for label in target.tolist()], np.int32)

    def fitting(self, target: NDArray[Any]) -> int:
        """How many of the first samples have a label for which there is a place."""
        refused = self.refused(target)
        return refused[0] if refused else len(target)

    def refused(self, target: NDArray[Any]) -> list[int]:
        """The samples that `number` would refuse; nothing is learned."""
        room = self._max_classes - len(self.names)
        if len(target) <= room:
            return []
        labels = target.tolist()
        if len(set(labels) - self._numbers.keys()) <= room:
            return []
        new: set[str] = set()
        refused = []
        for i, label in enumerate(labels):
            if label in self._numbers:
                continue
            name = escape_surrogates(label)
            if name in self._numbers or name in new:
                continue
            if len(new) < room:
                new.add(name)
            else:
                refused.append(i)
        return refused

    def drop_refused(self, numbered: EncodedLabels, block: Block) -> tuple[EncodedLabels, Block]:
        """A block that was numbered, of which those that were refused are rejected records now."""
        kept = np.delete(np.arange(len(block)), numbered.refused)
        letters = (*block.rejected, *(self.refusal(block, i) for i in numbered.refused))
        rejected = sorted(letters, key=lambda letter: letter.offset)
        rest = EncodedLabels(numbered.label[kept], numbered.known[kept], ())
        return rest, replace(block.take(kept), rejected=tuple(rejected))

    def refusal(self, block: Block, i: int) -> DeadLetter:
        """The rejected record of a block's sample whose label is one too many."""
        label = block.target[i]  # type: ignore[index]  # it has one
        offset, _, line = block.marks[i].tolist()
        rule = f"is new, but all {self._max_classes} classes (max_classes) are taken"
        return DeadLetter(
            source=block.source,
            offset=offset,
            line=line or None,
            reason=TOO_MANY_CLASSES,
            detail=f"label {label[:80]!r} {rule}",
            raw=label[:RAW_LENGTH],
        )

    def inherit(self) -> None:
        """Learn labels as those of so far that another stream spells otherwise."""
        self.inherited = len(self.names)
        add_spellings(self._numbers, self.names)

    def restore_state(self, names: Sequence[str], inherited: int = 0) -> None:
        """Take over the classes.

        Args:
            names: In order of appearance.
            inherited: How many of them an earlier stream brought.
        """
        if len(names) > self._max_classes:
            raise ModelFileError(f"the model has {len(names)} classes, more than its cap")
        for name in names[:inherited]:
            self._learn(name)
        self.inherit()
        for name in names[inherited:]:
            self._learn(name)
        if self.names != list(names):
            raise ModelFileError("the model's class labels are not distinct")

    def _number_new(self, target: NDArray[Any]) -> EncodedLabels:
        label = np.empty(len(target), np.int32)
        known = np.empty(len(target), np.int32)
        refused = []
        for i, name in enumerate(target.tolist()):
            known[i] = len(self.names)
            number = self._numbers.get(name)
            if number is None:
                number = self._learn(name)
                if number < 0:
                    refused.append(i)
            label[i] = number
        return EncodedLabels(label, known, tuple(refused))

    def _known(self, label: str | None) -> int:
        found = self._numbers.get(label)
        if found is None:
            found = self._numbers.get(
                match_spelling(escape_surrogates(label or ""), self._numbers), -1
            )
        return found

    def _learn(self, label: str) -> int:
        name = escape_surrogates(label)
        if name in self._numbers:
            return self._numbers[name]
        if len(self.names) == self._max_classes:
            return -1
        self._numbers[name] = len(self.names)
        self.names.append(name)
        return self._numbers[name]

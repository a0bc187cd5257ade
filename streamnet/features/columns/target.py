"""Targets: numbered class labels, online standardized numbers, and lagged targets as inputs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.features.base import FIELD_BITS, LAG_BASE, NO_LAGS, LagEntries
from streamnet.features.columns.category import NumberedNames, escape_surrogates
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
from streamnet.samples import Block, DeadLetter, constant_column
from streamnet.sources.columns import format_names, suggest_column

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

    def update(self, target: NDArray[Any]) -> ScaledTargets:
        """Learn from the targets of a block and scale them, in order."""
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


def _clip_raw(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Raw targets as goals."""
    goal: NDArray[np.float64] = y.clip(-MAX_MAGNITUDE, MAX_MAGNITUDE)
    goal[~np.isfinite(y)] = np.nan
    return goal


# Reasons of rejected records, of which only the label is kept.
TOO_MANY_CLASSES, UNKNOWN_CLASS = CLASS_REASONS = "too-many-classes", "unknown-class"
RAW_LENGTH = 4096


@final
class EncodedLabels(Struct, frozen=True, eq=False, gc=False):
    """Class numbers of consecutive samples."""

    label: NDArray[np.int32]  # shape=(n,), -1 without a target; not to be changed
    known: NDArray[np.int32]  # shape=(n,), classes known before the sample; not to be changed
    refused: tuple[int, ...]  # samples whose label exceeds the limit


@final
class LabelEncoder(NumberedNames):
    """Numbers the classes of a stream in order of appearance; beyond the limit it rejects them.

    Classes that are ``declared`` are known from the start, and all others are rejected.

    >>> labels = LabelEncoder(max_classes=1000)
    >>> numbered = labels.number(np.array(["ham", "spam", "ham", None], object))
    >>> numbered.label.tolist(), numbered.known.tolist(), labels.names
    ([0, 1, 0, -1], [0, 1, 2, 2], ['ham', 'spam'])
    """

    def __init__(self, *, max_classes: int, declared: Sequence[str] = ()) -> None:
        limit = len(declared) or max_classes
        if limit > max_classes:
            raise ConfigurationError(
                f"classes has {limit} labels, but must have at most max_classes, {max_classes}"
            )
        super().__init__(first=0, missing=-1, limit=limit, what="class labels of the model")
        self._is_declared = bool(declared)
        for label in declared:
            self.add(escape_surrogates(label))

    def number(self, target: NDArray[Any]) -> EncodedLabels:
        """Number the labels of a block in order, learning new ones."""
        n = len(target)
        try:
            if n == 1:  # fast path for single samples
                label = constant_column(1, self[target.item()], np.int32)
            else:
                label = np.fromiter(map(self.__getitem__, target.tolist()), np.int32, n)
        except KeyError:
            return self._number_new(target)
        return EncodedLabels(label, constant_column(n, len(self.names), np.int32), ())

    def look_up(self, target: NDArray[Any]) -> NDArray[np.int32]:
        """Numbers of labels without learning: -1 for new ones, as without a target."""
        return np.array([self._known(label) for label in target.tolist()], np.int32)

    def refused(self, target: NDArray[Any]) -> list[int]:
        """Samples that `number` would reject; nothing is learned."""
        free = self.free
        if len(target) <= free:
            return []
        labels = target.tolist()
        if len(set(labels) - self.keys()) <= free:
            return []
        new: set[str] = set()
        refused = []
        for i, label in enumerate(labels):
            if label in self or (name := escape_surrogates(label)) in self or name in new:
                continue
            if len(new) < free:
                new.add(name)
            else:
                refused.append(i)
        return refused

    def drop_refused(self, numbered: EncodedLabels, block: Block) -> tuple[EncodedLabels, Block]:
        """Move the rejected samples of a numbered block to its rejected records."""
        kept = np.delete(np.arange(len(block)), numbered.refused)
        rest = EncodedLabels(numbered.label[kept], numbered.known[kept], ())
        return rest, self.reject(block, numbered.refused)

    def reject(self, block: Block, refused: Sequence[int]) -> Block:
        """Move samples of a block to its rejected records."""
        kept = np.delete(np.arange(len(block)), refused)
        records = (*block.rejected, *(self.refusal(block, i) for i in refused))
        rejected = sorted(records, key=lambda record: record.offset)
        return replace(block.take(kept), rejected=tuple(rejected))

    def refusal(self, block: Block, i: int) -> DeadLetter:
        """Build the rejected record of a sample whose label is beyond the limit or not declared."""
        assert block.target is not None
        return self.refuse_label(block.target[i], block.source, block.marks[i])

    def refuse_label(self, label: str, source: str, mark: NDArray[np.int64]) -> DeadLetter:
        """Build the rejected record of a label that exceeds the limit, see `Block.marks`."""
        offset, _, line = mark.tolist()
        reason, rule = (
            TOO_MANY_CLASSES,
            f"is new, but all {self._limit} classes (max_classes) are taken",
        )
        if self._is_declared:
            rule = f"is none of the declared classes {format_names(self.names)}."
            reason, rule = UNKNOWN_CLASS, f"{rule}{suggest_column(label, self.names)}".rstrip(".")
        return DeadLetter(
            source=source,
            offset=offset,
            line=line or None,
            reason=reason,
            detail=f"label {label[:80]!r} {rule}",
            raw=label[:RAW_LENGTH],
        )

    def order_probabilities(self, given: Sequence[Mapping[str, float]]) -> NDArray[np.float64]:
        """Probabilities by label as rows, shape=(n, labels); of unknown labels they are lost."""
        rows = np.zeros((len(given), len(self.names)))
        for row, probabilities in zip(rows, given, strict=True):
            for label, probability in probabilities.items():
                if (number := self._known(label)) >= 0:
                    row[number] = probability
        return rows

    def order_sets(self, given: Sequence[Iterable[str] | None]) -> NDArray[np.float64]:
        """Sets of labels as rows, shape=(n, labels): 1 in the set, 0 not, NaN without a set."""
        rows = np.zeros((len(given), len(self.names)))
        for row, labels in zip(rows, given, strict=True):
            if labels is None:
                row[:] = np.nan
                continue
            for label in labels:
                if (number := self._known(label)) >= 0:
                    row[number] = 1.0
        return rows

    def _number_new(self, target: NDArray[Any]) -> EncodedLabels:
        label = np.empty(len(target), np.int32)
        known = np.empty(len(target), np.int32)
        refused = []
        for i, name in enumerate(target.tolist()):
            known[i] = len(self.names)
            number = self.get(name)
            if number is None:
                number = self._learn(name)
                if number < 0:
                    refused.append(i)
            label[i] = number
        return EncodedLabels(label, known, tuple(refused))

    def _known(self, label: str | None) -> int:
        found = self.get(label)
        if found is None:
            found = self.find(escape_surrogates(label or ""))
        return -1 if found is None else found

    def _learn(self, label: str) -> int:
        name = escape_surrogates(label)
        if name in self:
            return self[name]
        return self.add(name) if self.free else -1


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

    With ``aged``, another entry tells how many samples ago the last known target was: where labels
    arrive late, that may vary. ``more`` entries are other targets, such as those a season ago.

    >>> lags = TargetLags(lags=2, clip=8.0)
    >>> lagged = lags.classes(np.array([3, 1, -1], np.int32))
    >>> (lagged.keys - lagged.missing).tolist(), lags.last.tolist()
    ([[0, 0], [4, 0], [2, 4]], [1.0, 3.0])
    """

    def __init__(self, *, lags: int, clip: float, aged: bool = False, more: int = 0) -> None:
        # Class numbers or numbers, the latest first.
        self.last: NDArray[np.float64] = np.full(lags, np.nan)
        self.age: float = math.nan  # of the last known target, at the next sample
        entries = lags + aged + more if lags else 0
        self._age = lags if aged and lags else None  # place of the entry
        self._more = more if lags else 0
        self._missing = LAG_BASE + (np.arange(entries, dtype=np.int64) << FIELD_BITS)
        self._clip = clip

    def __len__(self) -> int:
        return len(self._missing)

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
        if self._more:
            known = np.isfinite(more)
            lagged.keys[:, -self._more :] += np.where(known, 1.0 + more, 0.0).astype(np.int64)
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
        if self._more:
            known = np.isfinite(more)
            lagged.keys[:, -self._more :] += known
            near = np.where(known, more, 0.0)
            scaled = ((near - center[:, None]) / spread[:, None]).clip(-self._clip, self._clip)
            lagged.values[:, -self._more :] = np.where(known, scaled, 1.0)
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
        if self._more:
            lagged.keys[:, -self._more :] = self._missing[-self._more :]
        return lagged

"""Adaptive conformal prediction: intervals and sets that keep their level through drift.

Whatever the predictions are worth, the fraction of truths that lie within is steered to the level.
After each truth, the bound of the next samples moves by a small step (online quantile tracking:
Gibbs and Candès 2021, Adaptive conformal inference under distribution shift; Angelopoulos, Candès
and Tibshirani 2023, Conformal PID control for time series prediction): outwards by much if it was
missed, inwards by little if it was held. Over any stretch of T samples the fraction of misses
therefore differs from the nominal one by what the bound has moved in all, divided by the step and
by T, and by nothing else.

Of labels, all whose probability reaches a threshold are in the set; it moves in units of log-odds.
The bounds of a number are its prediction plus and minus a multiple of the error to expect, which a
log-linear model learns from recent errors and from the prediction itself: so widths follow the
errors at once, and the multiple hardly has to move.

Samples of larger weight move the bound by more, in proportion to the mean weight, so that what is
steered to the level is the weighted fraction of the truths.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.jit import exact_inlined, exact_kernel
from streamnet.metrics.intervals import COVERAGE, OUTCOMES, SCORE, SIZE
from streamnet.metrics.windows import as_weights, get_weight
from streamnet.samples import Task
from streamnet.validation import check_number

MEAN_WEIGHT_RATE = 0.001  # weight of the last weight in their mean
MAX_IMPORTANCE = 10.0  # of a sample: its weight divided by the mean one


@exact_inlined
def _measure_importance(
    weight: float, seen: float, state: NDArray[np.float64], place: int
) -> float:
    """A weight divided by the mean of those so far, which is kept at a place of the state."""
    # A single huge weight must not make all others small for long.
    counted = weight if seen == 0.0 else min(weight, MAX_IMPORTANCE * state[place])
    state[place] += (counted - state[place]) * max(1.0 / (seen + 1.0), MEAN_WEIGHT_RATE)
    importance: float = min(weight / state[place], MAX_IMPORTANCE)
    return importance


# ------------------------------------------------------------------------------------ labels

LOG_ODDS, LABELS_SEEN, SET_STEP, SET_WEIGHT = range(4)  # state of a track; the last: mean weight
MAX_LOG_ODDS = 9.0  # a bound beyond is one that nothing, or everything, reaches
SET_STEPS = 0.2, 0.05  # of log-odds, of the first track and of the others
EARLY_STEPS = 5.0  # by which the first steps are longer
EARLY_LABELS = 100.0  # after which half of that is left
EMPTY_SET = 2.0  # a bound that no probability reaches


@exact_inlined
def _to_threshold(log_odds: float) -> float:
    """Lowest probability of a label in the set."""
    if log_odds > MAX_LOG_ODDS:
        return EMPTY_SET
    if log_odds < -MAX_LOG_ODDS:
        return 0.0
    return 1.0 / (1.0 + math.exp(-log_odds))


@exact_inlined
def _move_threshold(held: bool, level: float, weight: float, state: NDArray[np.float64]) -> None:
    """Lower the threshold by much after a miss, else raise it by little."""
    importance = _measure_importance(weight, state[LABELS_SEEN], state, SET_WEIGHT)
    state[LABELS_SEEN] += 1.0
    step = state[SET_STEP] * (1.0 + EARLY_STEPS / (1.0 + state[LABELS_SEEN] / EARLY_LABELS))
    step *= importance
    moved = state[LOG_ODDS] + step * ((1.0 - level) - (0.0 if held else 1.0))
    # Where labels arrive late, sets stay empty for long before the first miss is known.
    state[LOG_ODDS] = min(max(moved, -MAX_LOG_ODDS - step), 2.0 * MAX_LOG_ODDS)


@exact_kernel
def _track_sets(
    answers: NDArray[np.floating],  # shape=(tracks, n, outputs)
    label: NDArray[np.int32],  # shape=(n,), -1 for none
    weights: NDArray[np.float64],  # shape=(n,), or empty if all are 1
    known: NDArray[np.int32],  # shape=(n,)
    origin: NDArray[np.int64],  # shape=(n,) where labels arrive late, see `Timeline.origin`
    level: float,
    state: NDArray[np.float64],  # shape=(tracks, 4)
    bounds: NDArray[np.float64],  # shape=(n, tracks, 1), written for samples
    outcomes: NDArray[np.float64],  # shape=(n, OUTCOMES), written for labels of the first track
) -> None:
    tracks, n, _ = answers.shape
    for i in range(n):
        late = origin.size > 0 and origin[i] >= 0
        source = origin[i] if late else i
        for t in range(tracks):
            if not late:
                bounds[i, t, 0] = _to_threshold(state[t, LOG_ODDS])
            weight = get_weight(weights, i)
            if label[i] < 0 or weight == 0.0:
                continue
            threshold = bounds[source, t, 0]
            held = label[i] < known[i] and answers[t, i, label[i]] >= threshold
            if t == 0:
                size = 0
                for c in range(known[i]):
                    size += answers[t, i, c] >= threshold
                outcomes[i, COVERAGE] = held
                outcomes[i, SIZE] = size
                outcomes[i, SCORE] = 0.0
            _move_threshold(held, level, weight, state[t])


# ----------------------------------------------------------------------------------- numbers

# State of a track: logarithm of the bound in units of the size of errors; mean errors, of the last
# few, of many, and of all, and how many; truths: how many, mean and variance; step of the bound;
# whether the last few errors count; mean weight of samples; and the model of the size.
LOG_BOUND, FAST, SLOW, MEAN_ERROR, ERRORS_SEEN = range(5)
NUMBERS_SEEN, MEAN, VARIANCE, STEP, RECENT, MEAN_WEIGHT, WEIGHT = range(5, 12)
FEATURES = 4  # 1, recent errors, the prediction, and its distance from 0
SQUARE = WEIGHT + FEATURES
# What is kept of a sample: both bounds, the logarithm of the size, and the features.
INTERVAL_BOUNDS, LOG_SIZE, FEATURE = 2, 2, 3
INTERVAL_STEPS = 0.04, 0.005  # of the logarithm of the bound, of the first track and of the others
FAST_RATE, SLOW_RATE = 0.2, 0.005  # weights of the last error in the mean errors
WEIGHT_RATE = 0.001
START_WEIGHT = 0.5  # of recent errors
MAX_WEIGHT = 5.0
MAX_FEATURE = 3.0
MAX_LOG_FACTOR = 5.0  # by which the size of errors may differ from their mean
MAX_LOG_BOUND = 10.0
MAX_RATIO = 4.0  # larger errors, in units of their expected size, do not increase the step
MAX_NUMBER = 1e150  # larger numbers are clipped, so that bounds stay finite
SMALLEST_SIZE = 1e-12  # of errors, as a fraction of their mean
LEAST_SIZE = 1e-300


@exact_inlined
def _clip(value: float, limit: float) -> float:
    return min(max(value, -limit), limit)


class IntervalFormula(NamedTuple):
    """Half the width of an interval around a number a, while nothing is learned.

    ``exp(log_size + constant + by_number * z + by_size * log((abs(a) + size) / total))``, where z =
    ``(a - mean) / spread`` (0 without a spread) and the logarithm are clipped to `MAX_FEATURE`, and
    the sum of the last three terms to `MAX_LOG_FACTOR`. The number is clipped to `MAX_NUMBER`.
    """

    mean: float
    spread: float
    size: float
    total: float
    log_size: float
    constant: float
    by_number: float
    by_size: float


@exact_inlined
def _describe_sample(answer: float, state: NDArray[np.float64], given: NDArray[np.float64]) -> None:
    """Compute the features, and from them the size of the error to expect, a log-linear model."""
    size = max(state[SLOW], SMALLEST_SIZE * state[MEAN_ERROR] + LEAST_SIZE)
    spread = math.sqrt(state[VARIANCE])
    given[FEATURE] = 1.0
    given[FEATURE + 1] = math.log(max(state[FAST], 1e-3 * size) / size) * state[RECENT]
    given[FEATURE + 2] = 0.0
    if spread > 0.0:
        given[FEATURE + 2] = _clip((answer - state[MEAN]) / spread, MAX_FEATURE)
    from_zero = (abs(answer) + size) / (abs(state[MEAN]) + spread + size)
    given[FEATURE + 3] = _clip(math.log(from_zero), MAX_FEATURE)
    factor = 0.0
    for k in range(FEATURES):
        factor += state[WEIGHT + k] * given[FEATURE + k]
    given[LOG_SIZE] = math.log(size) + _clip(factor, MAX_LOG_FACTOR)


@exact_inlined
def _give_interval(answer: float, state: NDArray[np.float64], given: NDArray[np.float64]) -> None:
    """Write what is kept of a sample; no bounds as long as no error is known.

    The error of a prediction that was made before any truth was known says nothing.
    """
    if state[NUMBERS_SEEN] == 0.0 or not math.isfinite(answer):
        return
    given[FEATURE] = 1.0
    if state[ERRORS_SEEN] == 0.0:
        return
    center = _clip(answer, MAX_NUMBER)
    _describe_sample(center, state, given)
    half = math.exp(given[LOG_SIZE] + state[LOG_BOUND])
    given[0] = center - half
    given[1] = center + half


@exact_kernel
def _give_intervals(
    answers: NDArray[np.float64], state: NDArray[np.float64], given: NDArray[np.float64]
) -> None:
    for i in range(answers.size):
        _give_interval(answers[i], state, given[i])


@exact_inlined
def _learn_bound(
    error: float,
    held: bool,
    level: float,
    importance: float,
    given: NDArray[np.float64],
    state: NDArray[np.float64],
) -> None:
    """Move the bound, and the model of the size by the gradient of Laplace's log-likelihood."""
    step = state[STEP] * importance
    moved = state[LOG_BOUND] + step * ((0.0 if held else 1.0) - (1.0 - level))
    state[LOG_BOUND] = _clip(moved, MAX_LOG_BOUND)
    slope = 1.0 - min(error / math.exp(given[LOG_SIZE]), MAX_RATIO)
    for k in range(FEATURES):
        g = slope * given[FEATURE + k]
        state[SQUARE + k] = 0.999 * state[SQUARE + k] + 0.001 * g * g
        step = WEIGHT_RATE * g / math.sqrt(state[SQUARE + k] + 0.01)
        state[WEIGHT + k] = _clip(state[WEIGHT + k] - step, MAX_WEIGHT)


@exact_inlined
def _learn_size(error: float, state: NDArray[np.float64]) -> None:
    """Update the mean errors."""
    state[ERRORS_SEEN] += 1.0
    share = 1.0 / state[ERRORS_SEEN]
    state[FAST] += (error - state[FAST]) * max(FAST_RATE, share)
    state[SLOW] += (error - state[SLOW]) * max(SLOW_RATE, share)
    state[MEAN_ERROR] += (error - state[MEAN_ERROR]) * share


@exact_inlined
def _learn_truth(truth: float, state: NDArray[np.float64]) -> None:
    """Update mean and variance of the truths."""
    state[NUMBERS_SEEN] += 1.0
    share = 1.0 / state[NUMBERS_SEEN]
    away = truth - state[MEAN]
    state[MEAN] += away * share
    state[VARIANCE] += (away * (truth - state[MEAN]) - state[VARIANCE]) * share


@exact_inlined
def _score_interval(
    truth: float, level: float, given: NDArray[np.float64], outcome: NDArray[np.float64]
) -> None:
    beyond = max(given[0] - truth, 0.0) + max(truth - given[1], 0.0)
    outcome[COVERAGE] = 1.0 if beyond == 0.0 else 0.0
    outcome[SIZE] = given[1] - given[0]
    outcome[SCORE] = outcome[SIZE] + 2.0 / (1.0 - level) * beyond


@exact_kernel
def _track_intervals(
    answers: NDArray[np.float64],  # shape=(tracks, n)
    truths: NDArray[np.float64],  # shape=(n,), NaN for none
    weights: NDArray[np.float64],  # shape=(n,), or empty if all are 1
    origin: NDArray[np.int64],  # shape=(n,) where labels arrive late, see `Timeline.origin`
    level: float,
    state: NDArray[np.float64],  # shape=(tracks, SQUARE + FEATURES)
    given: NDArray[np.float64],  # shape=(n, tracks, FEATURE + FEATURES), written for samples
    outcomes: NDArray[np.float64],  # shape=(n, OUTCOMES), written for labels of the first track
) -> None:
    tracks, n = answers.shape
    for i in range(n):
        late = origin.size > 0 and origin[i] >= 0
        source = origin[i] if late else i
        for t in range(tracks):
            if not late:
                _give_interval(answers[t, i], state[t], given[i, t])
            weight = get_weight(weights, i)
            if not math.isfinite(truths[i]) or not math.isfinite(answers[t, i]) or weight == 0.0:
                continue
            importance = _measure_importance(weight, state[t, NUMBERS_SEEN], state[t], MEAN_WEIGHT)
            truth = _clip(truths[i], MAX_NUMBER)
            error = abs(truth - _clip(answers[t, i], MAX_NUMBER))
            bounds = given[source, t]
            if math.isfinite(bounds[0]):
                held = bounds[0] <= truth <= bounds[1]
                _learn_bound(error, held, level, importance, bounds, state[t])
                if t == 0:
                    _score_interval(truth, level, bounds, outcomes[i])
            if bounds[FEATURE] == 1.0:
                _learn_size(error, state[t])
            _learn_truth(truth, state[t])


# ---------------------------------------------------------------------------------- trackers


def check_level(level: float) -> float:
    """Check the level of intervals.

    >>> check_level(90)
    Traceback (most recent call last):
    streamnet.errors.ConfigurationError: interval is 90, but must be > 0 and < 1
    """
    if not 0.0 < check_number("interval", level) < 1.0:
        raise ConfigurationError(f"interval is {level}, but must be > 0 and < 1")
    return float(level)


class ConformalTracker(ABC):
    """Follows the bounds of several tracks of predictions for the same samples.

    The first track is for the next sample of the stream, whose bounds follow any drift. The others
    are for samples from anywhere: their bounds move by smaller steps, since they will be used when
    no truth corrects them.

    Args:
        level: Fraction of the truths to be held.
        tracks: Number of tracks, each with bounds of its own.

    Raises:
        ConfigurationError: If the level is not between 0 and 1.
    """

    bounds: ClassVar[int]  # numbers that are kept of an interval or set
    _step: ClassVar[int]  # place in the state of the step by which bounds move
    _steps: ClassVar[tuple[float, float]]  # of the first track, and of the others
    _kept: ClassVar[list[int]]  # places in the state of what belongs to a track

    def __init__(self, level: float, tracks: int = 1) -> None:
        self.level: float = check_level(level)
        self._state = np.tile(self._start(), (tracks, 1))
        self._state[0, self._step], self._state[1:, self._step] = self._steps

    @abstractmethod
    def _start(self) -> NDArray[np.float64]:
        """State of a track before the first sample."""

    @abstractmethod
    def update(
        self,
        answers: NDArray[Any],
        truth: NDArray[Any],
        known: NDArray[np.int32],
        origin: NDArray[np.int64],
        bounds: NDArray[np.float64],
        weight: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        """Give the bounds of each sample, in order, and learn from its truth where there is one.

        Args:
            answers: Probabilities (tracks, n, labels), or numbers (tracks, n).
            truth: Class numbers, -1 for none, or numbers, NaN for none, shape=(n,).
            known: Number of labels known at each prediction, shape=(n,); not used for numbers.
            origin: Where labels arrive late, see `Timeline.origin`; else empty.
            bounds: shape=(n, tracks, `bounds`), NaN. Written; of labels from earlier samples it
                holds what was given for these.
            weight: Weight of each sample, >= 0, shape=(n,); None: all are 1. Nothing is learned
                from one of weight 0.

        Returns:
            Outcomes of the first track, see `IntervalEvaluator.update`.
        """

    @abstractmethod
    def decode(
        self, answers: NDArray[Any], bounds: NDArray[np.float64], known: NDArray[np.int32]
    ) -> NDArray[Any]:
        """Intervals (n, 2), or whether each label is in the set (n, labels), of one track."""

    @abstractmethod
    def predict(self, answers: NDArray[Any], track: int = 0) -> NDArray[Any]:
        """Intervals or sets of predictions of which each might be the next; changes nothing."""

    def start_from(self, start: ConformalTracker) -> None:
        """Begin every track with what the only track of another tracker, of any level, has learned.

        Steps stay those of each track.
        """
        state = start._state_for(self.level)
        if state is not None:
            own = self._state[:, self._kept].copy()
            self._state[...] = state
            self._state[:, self._kept] = own

    @abstractmethod
    def _state_for(self, level: float) -> NDArray[np.float64] | None:
        """The state of the first track for another level; None if a new one is as good."""

    def restricted(self, track: int) -> dict[str, Any]:
        """The state of a tracker of one of the tracks."""
        return {"level": self.level, "state": self._state[track : track + 1].copy()}

    def export_state(self) -> dict[str, Any]:
        """Everything needed to resume, bit for bit."""
        return {"level": self.level, "state": self._state.copy()}

    def _restore(self, state: NDArray[Any]) -> None:
        if state.shape != self._state.shape or state.dtype != self._state.dtype:
            raise ModelFileError(f"intervals: the state has shape {state.shape}")
        if not np.isfinite(state).all():
            raise ModelFileError("intervals: the state has a number that is not finite")
        self._state[...] = state


@final
class SetTracker(ConformalTracker):
    """Sets of the labels whose probability exceeds a bound (LAC; Sadinle, Lei, Wasserman 2019).

    >>> tracker = SetTracker(0.9)
    >>> random = np.random.default_rng(1)
    >>> truth = (random.random(5000) < 0.3).astype(np.int32)
    >>> answers, known = np.tile([0.7, 0.3], (1, 5000, 1)), np.full(5000, 2, np.int32)
    >>> bounds = np.full((5000, 1, 1), np.nan)
    >>> outcomes = tracker.update(answers, truth, known, np.empty(0, np.int64), bounds)
    >>> bool(abs(outcomes[:, COVERAGE].mean() - 0.9) < 0.01)
    True
    """

    bounds = 1
    _step, _steps, _kept = SET_STEP, SET_STEPS, [SET_STEP]

    def _start(self) -> NDArray[np.float64]:
        return np.zeros(4)

    def update(
        self,
        answers: NDArray[Any],
        truth: NDArray[Any],
        known: NDArray[np.int32],
        origin: NDArray[np.int64],
        bounds: NDArray[np.float64],
        weight: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        """See `ConformalTracker.update`."""
        outcomes = np.full((len(truth), OUTCOMES), np.nan)
        weights = as_weights(weight, len(truth))
        state = self.level, self._state
        _track_sets(answers, truth, weights, known, origin, *state, bounds, outcomes)
        return outcomes

    def _state_for(self, level: float) -> NDArray[np.float64] | None:
        return self._state[0] if level == self.level else None

    def decode(
        self, answers: NDArray[Any], bounds: NDArray[np.float64], known: NDArray[np.int32]
    ) -> NDArray[Any]:
        """Whether each label is in the set, shape=(n, labels)."""
        there = np.arange(answers.shape[1]) < known[:, None]
        inside: NDArray[np.bool_] = there & (answers >= bounds)
        return inside

    def predict(self, answers: NDArray[Any], track: int = 0) -> NDArray[Any]:
        """Whether each label is in the set, shape=(n, labels)."""
        inside: NDArray[np.bool_] = answers >= _to_threshold(self._state[track, LOG_ODDS])
        return inside

    @property
    def threshold(self) -> float:
        """Lowest probability of a label in the set of the next sample."""
        return _to_threshold(float(self._state[0, LOG_ODDS]))


def _guess_log_bound(level: float) -> float:
    """Logarithm of the bound of errors that fall exponentially."""
    return _clip(math.log(-math.log(1.0 - level)), MAX_LOG_BOUND)


@final
class IntervalTracker(ConformalTracker):
    """Intervals around numbers, of the width that errors of such predictions have at the time.

    In tracks for samples from anywhere the last few errors do not count.

    >>> tracker = IntervalTracker(0.9)
    >>> truth = np.random.default_rng(1).normal(size=5000)
    >>> bounds, none = np.full((5000, 1, tracker.bounds), np.nan), np.empty(0, np.int32)
    >>> origin = np.empty(0, np.int64)
    >>> outcomes = tracker.update(np.zeros((1, 5000)), truth, none, origin, bounds)
    >>> bool(abs(np.nanmean(outcomes[:, COVERAGE]) - 0.9) < 0.01)
    True
    """

    bounds = FEATURE + FEATURES
    _step, _steps, _kept = STEP, INTERVAL_STEPS, [STEP, RECENT]

    def __init__(self, level: float, tracks: int = 1) -> None:
        super().__init__(level, tracks)
        self._state[0, RECENT] = 1.0

    def _start(self) -> NDArray[np.float64]:
        state = np.zeros(SQUARE + FEATURES)
        state[LOG_BOUND] = _guess_log_bound(self.level)
        state[WEIGHT + 1] = START_WEIGHT
        state[SQUARE:] = 0.01
        return state

    def _state_for(self, level: float) -> NDArray[np.float64] | None:
        state: NDArray[np.float64] = self._state[0].copy()
        if level != self.level:
            moved = state[LOG_BOUND] + _guess_log_bound(level) - _guess_log_bound(self.level)
            state[LOG_BOUND] = _clip(moved, MAX_LOG_BOUND)
        return state

    def update(
        self,
        answers: NDArray[Any],
        truth: NDArray[Any],
        known: NDArray[np.int32],  # noqa: ARG002 - numbers have no labels
        origin: NDArray[np.int64],
        bounds: NDArray[np.float64],
        weight: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        """See `ConformalTracker.update`."""
        outcomes = np.full((len(truth), OUTCOMES), np.nan)
        weights = as_weights(weight, len(truth))
        state = self.level, self._state
        _track_intervals(answers, truth, weights, origin, *state, bounds, outcomes)
        return outcomes

    def decode(
        self,
        answers: NDArray[Any],  # noqa: ARG002 - the bounds are the interval
        bounds: NDArray[np.float64],
        known: NDArray[np.int32],  # noqa: ARG002
    ) -> NDArray[Any]:
        """Lower and upper bounds, shape=(n, 2)."""
        return bounds[:, :INTERVAL_BOUNDS]

    def predict(self, answers: NDArray[Any], track: int = 0) -> NDArray[Any]:
        """Lower and upper bounds, shape=(n, 2); NaN as long as no error is known."""
        given = np.full((len(answers), self.bounds), np.nan)
        _give_intervals(np.ascontiguousarray(answers, np.float64), self._state[track], given)
        return given[:, :INTERVAL_BOUNDS]

    def freeze(self) -> IntervalFormula | None:
        """How wide the intervals of the next samples are; None if there are none yet."""
        state = self._state[0]
        if state[NUMBERS_SEEN] == 0.0 or state[ERRORS_SEEN] == 0.0:
            return None
        given = np.zeros(self.bounds)
        _describe_sample(0.0, state, given)
        constant, recent, by_number, by_size = state[WEIGHT : WEIGHT + FEATURES].tolist()
        spread = math.sqrt(state[VARIANCE])
        size = max(state[SLOW], SMALLEST_SIZE * state[MEAN_ERROR] + LEAST_SIZE)
        return IntervalFormula(
            mean=float(state[MEAN]),
            spread=spread,
            size=size,
            total=abs(state[MEAN]) + spread + size,
            log_size=math.log(size) + float(state[LOG_BOUND]),
            constant=constant + recent * float(given[FEATURE + 1]),
            by_number=by_number,
            by_size=by_size,
        )


_TRACKERS: Mapping[Task, type[ConformalTracker]] = {
    Task.CLASSIFICATION: SetTracker,
    Task.REGRESSION: IntervalTracker,
}


def build_tracker(task: Task, level: float, tracks: int = 1) -> ConformalTracker:
    """Build a tracker of intervals of numbers, or of sets of labels."""
    return _TRACKERS[task](level, tracks)


def restore_tracker(task: Task, state: Mapping[str, Any]) -> ConformalTracker:
    """Restore a tracker from its state; `ModelFileError` if that does not fit."""
    try:
        array: NDArray[Any] = np.asarray(state["state"])
        tracker = build_tracker(task, state["level"], len(array))
        tracker._restore(array)
    except (ConfigurationError, LookupError, TypeError, ValueError) as error:
        raise ModelFileError(f"intervals: the state is damaged: {error}") from error
    return tracker

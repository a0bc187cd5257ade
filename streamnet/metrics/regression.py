"""Prequential evaluation of regressions: the evaluator of many tracks, and the baselines."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Self, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamnet.errors import ModelFileError
from streamnet.jit import exact, flush_subnormal
from streamnet.metrics.formulas import Errors
from streamnet.metrics.windows import (
    PLACE,
    SEEN,
    Horizon,
    StreamEvaluator,
    all_ones,
    get_weight,
    keep_weight,
)
from streamnet.samples import Task
from streamnet.validation import as_flags, as_kernel_array

MASS, NON_ZERO, ABSOLUTE, SQUARE, RELATIVE, CENTER, VARIANCE = range(7)  # places in "means"
COUNT, MEAN, LAST_NUMBER = range(3)  # memory of the baselines
MAX_ERROR = 1e308  # larger absolute and relative errors are clipped
MAX_SQUARED = 1e150  # larger truths and predictions are clipped before errors are squared
MAX_AVERAGED = 1e300  # larger truths are clipped in the mean, whose distance could overflow


@exact
def score_numbers(
    answers: NDArray[np.float64],
    truth: NDArray[np.float64],
    alive: NDArray[np.uint8],
    scored: NDArray[np.uint8],
    losses: NDArray[np.float64],
    means: NDArray[np.float64],
    pairs: NDArray[np.float64],
    places: NDArray[np.int64],
    importance: NDArray[np.float64],  # weight of each sample, shape=(n,); empty: all are 1
    shares: NDArray[np.float64],  # weights in the window, shape=(window, tracks); empty: all are 1
    fading: float,
) -> None:
    """Score all samples: weighted running means, which unlike sums cannot overflow.

    The variance of the truth is NaN while it changes by so little that all squares are 0, and
    infinite once a truth was too large to be squared.
    """
    tracks, samples = answers.shape
    window = pairs.shape[0]
    for i in range(samples):
        y = truth[i]
        known = math.isfinite(y)
        counted = known and scored[i] != 0
        near_y = min(max(y, -MAX_SQUARED), MAX_SQUARED)
        own = get_weight(importance, i)
        for k in range(tracks):
            if counted:
                means[1, k, MASS] = flush_subnormal(means[1, k, MASS] * fading)
                means[1, k, NON_ZERO] = flush_subnormal(means[1, k, NON_ZERO] * fading)
            losses[i, k] = np.inf
            a = answers[k, i]
            if alive[k, i] != 1 or not known or not math.isfinite(a) or own == 0.0:
                continue
            loss = min(abs(y - a), MAX_ERROR)
            losses[i, k] = loss
            if not counted:
                continue
            place = places[k, PLACE]
            places[k, SEEN] += 1
            places[k, PLACE] = place + 1 if place + 1 < window else 0
            pairs[place, k, 0] = y
            pairs[place, k, 1] = a
            keep_weight(shares, place, k, own)
            miss = near_y - min(max(a, -MAX_SQUARED), MAX_SQUARED)
            for h in range(2):
                m = means[h, k]
                m[MASS] += own
                share = own / m[MASS]
                m[ABSOLUTE] = flush_subnormal(m[ABSOLUTE] + (loss - m[ABSOLUTE]) * share)
                m[SQUARE] = flush_subnormal(m[SQUARE] + (miss * miss - m[SQUARE]) * share)
                away = near_y - m[CENTER]
                m[CENTER] = flush_subnormal(m[CENTER] + away * share)
                changed = share < 1.0 and away != 0.0
                if math.isnan(m[VARIANCE]):
                    changed = True
                    m[VARIANCE] = 0.0
                m[VARIANCE] = flush_subnormal((1.0 - share) * (m[VARIANCE] + share * (away * away)))
                if near_y != y:
                    m[VARIANCE] = np.inf
                elif changed and m[VARIANCE] == 0.0:
                    m[VARIANCE] = np.nan
                if y != 0.0:
                    m[NON_ZERO] += own
                    away = min(loss / abs(y), MAX_ERROR) - m[RELATIVE]
                    m[RELATIVE] += away * own / m[NON_ZERO]


@final
class RegressionEvaluator(StreamEvaluator):
    """Scores predictions of numbers.

    A sample is scored for a track if the track is available and both its prediction and the truth
    are finite. Absolute errors above 1e308 are clipped; for rmse and r2, truths and predictions
    beyond +-1e150 are clipped, but with such a truth r2 is undefined.

    >>> evaluator = RegressionEvaluator(2)
    >>> evaluator.update([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]], [1.0, 2.0, 5.0])
    array([[0., 1.],
           [0., 2.],
           [2., 5.]])
    >>> round(evaluator.measures(1)["mae"], 3)
    2.667
    """

    task = Task.REGRESSION
    _arrays = ("means", "pairs", "places")

    def __init__(self, tracks: int, *, window: int = 1000, fading: float = 0.999) -> None:
        super().__init__(tracks, window=window, fading=fading)
        self._means = np.zeros((2, tracks, 7))  # of the overall and the fading horizon
        self._pairs = np.full((window, tracks, 2), np.nan)  # truth and prediction; NaN: empty

    def update(
        self,
        answers: ArrayLike,
        truth: ArrayLike,
        alive: ArrayLike | None = None,
        scored: ArrayLike | None = None,
        weight: ArrayLike | None = None,
    ) -> NDArray[np.float64]:
        """Score n samples in order.

        Args:
            answers: float64 (K, n), by track and sample.
            truth: float64 (n,), NaN without a truth.
            alive: uint8 or bool (K, n), 0 where a track is not available; None: all are.
            scored: uint8 or bool (n,), 0 where a sample must not enter any metric; its losses are
                returned. None: all are scored.
            weight: float64 (n,), >= 0, by which samples count in metrics; None: all are 1.

        Returns:
            float64 (n, K): absolute errors; inf where a track is not available or not finite, and
            without a finite truth.

        Raises:
            ValueError: If the shapes do not fit.
        """
        answers = as_kernel_array(answers, np.float64)
        truth = as_kernel_array(truth, np.float64)
        n = truth.size
        if answers.shape != (self._tracks, n):
            raise ValueError(
                f"answers {answers.shape} and truth {truth.shape} do not fit {self._tracks} tracks"
            )
        ones = all_ones(n, self._tracks)
        losses = np.empty((n, self._tracks))
        importance = self._read_weights(weight, n)
        score_numbers(
            answers,
            truth,
            as_flags(alive, ones),
            as_flags(scored, ones[0]),
            losses,
            self._means,
            self._pairs,
            self._places,
            importance,
            self._shares,
            self._fading,
        )
        return losses

    def recent(self, track: int) -> NDArray[np.float64]:
        """Truth and prediction of the samples in the sliding window, shape=(m, 2)."""
        pairs = self._pairs[:, range(self._tracks)[track]]
        return np.asarray(pairs[np.isfinite(pairs[:, 0])])

    def _reset(self, k: int) -> None:
        self._means[:, k] = 0.0
        self._pairs[:, k] = np.nan
        self._places[k] = 0

    def _inputs(self, tracks: slice, horizon: Horizon) -> dict[str, Any]:
        sliding = horizon is Horizon.SLIDING
        return {"errors": self._recent(tracks) if sliding else self._all(tracks, horizon)}

    def _all(self, tracks: slice, horizon: Horizon) -> Errors:
        means = self._means[int(horizon is Horizon.FADING), tracks]
        count = self._places[tracks, SEEN]
        absolute, square, variance = (
            np.where(count > 0, means[:, i], np.nan) for i in (ABSOLUTE, SQUARE, VARIANCE)
        )
        relative = np.where(means[:, NON_ZERO] > 0, means[:, RELATIVE], np.nan)
        return Errors(count, absolute, square, variance, relative)

    def _recent(self, tracks: slice) -> Errors:
        """Means of the sliding window, recomputed so that no rounding errors accumulate."""
        truth, answer = np.moveaxis(self._pairs[:, tracks], -1, 0)
        there = np.isfinite(truth)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            error = np.minimum(np.abs(truth - answer), MAX_ERROR)
            relative = np.minimum(error / np.abs(truth), MAX_ERROR)
        near_truth = np.clip(truth, -MAX_SQUARED, MAX_SQUARED)
        near_answer = np.clip(answer, -MAX_SQUARED, MAX_SQUARED)
        away = near_truth - near_truth[0]  # exactly 0 where the truth never changes
        shares = self._shares[:, tracks] if self._shares.size else None
        variance = _mean((away - _mean(away, there, shares)) ** 2, there, shares)
        changed = (there & (away != 0.0)).any(0)
        beyond = (there & (near_truth != truth)).any(0)
        return Errors(
            there.sum(0),
            _mean(error, there, shares),
            _mean((near_truth - near_answer) ** 2, there, shares),
            np.where(beyond | (changed & (variance == 0.0)), np.nan, variance),
            _mean(relative, there & (truth != 0), shares),
        )


def _mean(
    values: NDArray[np.float64],
    among: NDArray[np.bool_],
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Mean over the first axis of the selected values; divided first, so that no sum overflows."""
    total = among.sum(0) if weights is None else (among * weights).sum(0)
    shares = np.divide(values, total, out=np.zeros_like(values), where=among)
    if weights is not None:
        shares *= weights
    return np.where(total > 0, shares.sum(0), np.nan)


@exact
def _repeat_numbers(
    truth: NDArray[np.float64], answers: NDArray[np.float64], memory: NDArray[np.float64]
) -> None:
    for i in range(truth.size):
        answers[0, i] = memory[MEAN]
        answers[1, i] = memory[LAST_NUMBER]
        y = truth[i]
        if math.isfinite(y):
            memory[COUNT] += 1.0
            near = min(max(y, -MAX_AVERAGED), MAX_AVERAGED)
            memory[MEAN] += (near - memory[MEAN]) / memory[COUNT]
            memory[LAST_NUMBER] = y


@final
class RegressionBaselines:
    """Predict the mean so far, and the last number; both are 0 before the first truth.

    >>> RegressionBaselines().answers([1.0, 3.0, 5.0])
    array([[0., 1., 2.],
           [0., 1., 3.]])
    """

    names: ClassVar[tuple[str, ...]] = ("mean", "no_change")

    def __init__(self) -> None:
        self._memory = np.zeros(3)

    def answers(self, truth: ArrayLike) -> NDArray[np.float64]:
        """Predict n samples in order, each before its truth is used.

        Args:
            truth: float64 (n,); truths that are not finite are skipped, and those beyond +-1e300
                are clipped in the mean.

        Returns:
            float64 (2, n).
        """
        truth = as_kernel_array(truth, np.float64)
        answers = np.empty((2, truth.size))
        _repeat_numbers(truth, answers, self._memory)
        return answers

    def export_state(self) -> dict[str, Any]:
        """Export copies of all arrays, from which `restore_state` resumes exactly."""
        return {"memory": self._memory.copy()}

    @classmethod
    def restore_state(cls, state: dict[str, Any]) -> Self:
        """Restore baselines from its state; `ModelFileError` if that does not fit."""
        self = cls()
        if np.shape(state["memory"]) != (3,):
            raise ModelFileError(f"baselines: memory has shape {np.shape(state['memory'])}")
        self._memory[:] = state["memory"]
        return self

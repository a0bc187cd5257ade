"""RegressionEvaluator: prequential regression metrics of many tracks at once."""

from __future__ import annotations

from typing import Any, NamedTuple, Self, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamnet.errors import ModelFileError
from streamnet.metrics import formulas
from streamnet.metrics.windows import (
    ABSOLUTE,
    MAX_ERROR,
    MAX_SQUARED,
    NON_ZERO,
    PLACE,
    RELATIVE,
    SEEN,
    SQUARE,
    VARIANCE,
    Horizon,
    score_numbers,
    validate_windows,
)
from streamnet.validation import as_flags, as_kernel_array

__all__ = ("RegressionEvaluator",)


class _Means(NamedTuple):
    """Weighted means over a horizon: float64 (tracks,) each."""

    samples: NDArray[np.int64]
    absolute: NDArray[np.float64]  # of absolute errors
    square: NDArray[np.float64]  # of squared errors
    variance: NDArray[np.float64]  # of the truth; NaN or infinite where its squares tell nothing
    relative: NDArray[np.float64]  # of absolute errors by truth, NaN without a truth other than 0


@final
class RegressionEvaluator:
    """Scores many tracks on the same samples, each answered before it was learned.

    A track is a candidate, what was served, or a baseline. A sample is scored for a track if the
    track was alive and both its answer and the truth are finite. An absolute error above 1e308
    counts as 1e308; for rmse and r2, truths and answers beyond +-1e150 count as +-1e150, but with
    such a truth there is no r2.

    Args:
        tracks: number of tracks.
        window: scored samples of a track that the sliding horizon looks at.
        fading: factor by which the fading horizon lowers the weight of all earlier samples at
            every scored sample, also at those that a track was not scored on.

    Raises:
        ConfigurationError: if a setting has a value that its rule does not allow.

    >>> evaluator = RegressionEvaluator(2)
    >>> evaluator.update([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]], [1.0, 2.0, 5.0])
    array([[0., 1.],
           [0., 2.],
           [2., 5.]])
    >>> round(evaluator.measures(1)["mae"], 3)
    2.667
    """

    def __init__(self, tracks: int, *, window: int = 1000, fading: float = 0.999) -> None:
        validate_windows(tracks, window, fading)
        self._tracks = int(tracks)
        self._fading = float(fading)
        self._means = np.zeros((2, tracks, 7))  # of the overall and the fading horizon
        self._pairs = np.full((window, tracks, 2), np.nan)  # truth and answer; NaN: empty place
        self._places = np.zeros((tracks, 2), np.int64)
        self._ones = np.ones((tracks, 1), np.uint8)

    def update(
        self,
        answers: ArrayLike,
        truth: ArrayLike,
        alive: ArrayLike | None = None,
        scored: ArrayLike | None = None,
    ) -> NDArray[np.float64]:
        """Score n samples in order.

        Args:
            answers: float64 (K, n), by track and sample.
            truth: float64 (n,), NaN where there is no truth.
            alive: uint8 or bool (K, n), 0 where a track gave no answer; None: all alive.
            scored: uint8 or bool (n,), 0 where a sample must not enter any measure; its losses are
                returned. None: all scored.

        Returns:
            float64 (n, K): absolute errors; inf where a track was not alive or not finite, and
            where there is no finite truth.

        Raises:
            ValueError: if the shapes do not fit.
        """
        answers = as_kernel_array(answers, np.float64)
        truth = as_kernel_array(truth, np.float64)
        n = truth.size
        if answers.shape != (self._tracks, n):
            raise ValueError(
                f"answers {answers.shape} and truth {truth.shape} do not fit {self._tracks} tracks"
            )
        if self._ones.shape[1] != n:
            self._ones = np.ones((self._tracks, n), np.uint8)
        losses = np.empty((n, self._tracks))
        score_numbers(
            answers,
            truth,
            as_flags(alive, self._ones),
            as_flags(scored, self._ones[0]),
            losses,
            self._means,
            self._pairs,
            self._places,
            self._fading,
        )
        return losses

    def measures(self, track: int, horizon: Horizon | str = Horizon.OVERALL) -> dict[str, float]:
        """All measures of a track by name; NaN where one is undefined.

        ``mape`` is a fraction, not per cent, and leaves samples out whose truth is 0. ``r2`` needs
        two samples, and truths whose squares float64 can hold; see `measures.r_squared`.

        Raises:
            IndexError: if there is no such track.
            ValueError: if there is no such horizon.
        """
        k = range(self._tracks)[track]
        values = self._measures(slice(k, k + 1), Horizon(horizon))
        return {name: float(value[0]) for name, value in values.items()}

    def table(self, horizon: Horizon | str = Horizon.OVERALL) -> dict[str, NDArray[np.float64]]:
        """All measures by name, each for all tracks at once: float64 (K,)."""
        return self._measures(slice(None), Horizon(horizon))

    def scored(self, track: int) -> int:
        """Samples scored for a track since it was made or reset."""
        return int(self._places[range(self._tracks)[track], SEEN])

    def recent(self, track: int) -> NDArray[np.float64]:
        """Truth and answer of the samples that the sliding horizon looks at, shape=(m, 2)."""
        pairs = self._pairs[:, range(self._tracks)[track]]
        return np.asarray(pairs[np.isfinite(pairs[:, 0])])

    def reset(self, track: int) -> None:
        """Forget all scores of a track: another candidate took its place."""
        k = range(self._tracks)[track]
        self._means[:, k] = 0.0
        self._pairs[:, k] = np.nan
        self._places[k] = 0

    def export_state(self) -> dict[str, Any]:
        """Settings and a copy of all arrays, from which ``restore_state`` goes on exactly."""
        return {
            "tracks": self._tracks,
            "window": len(self._pairs),
            "fading": self._fading,
            "means": self._means.copy(),
            "pairs": self._pairs.copy(),
            "places": self._places.copy(),
        }

    @classmethod
    def restore_state(cls, state: dict[str, Any]) -> Self:
        """An evaluator that goes on from where ``state`` was exported.

        Raises:
            ModelFileError: if the parts of the state do not fit together.
        """
        self = cls(state["tracks"], window=state["window"], fading=state["fading"])
        for name in ("means", "pairs", "places"):
            own = getattr(self, f"_{name}")
            if np.shape(state[name]) != own.shape:
                raise ModelFileError(f"evaluator: {name} has shape {np.shape(state[name])}")
            own[...] = state[name]
        if (self._places < 0).any() or (self._places[:, PLACE] >= len(self._pairs)).any():
            raise ModelFileError(f"evaluator: places lie beyond the window of {len(self._pairs)}")
        return self

    def _measures(self, tracks: slice, horizon: Horizon) -> dict[str, NDArray[np.float64]]:
        means = self._recent(tracks) if horizon is Horizon.SLIDING else self._all(tracks, horizon)
        return {
            "mae": means.absolute,
            "rmse": formulas.root_mean_squared_error(means.square),
            "r2": formulas.r2_score(means.square, means.variance, means.absolute, means.samples),
            "mape": means.relative,
        }

    def _all(self, tracks: slice, horizon: Horizon) -> _Means:
        means = self._means[int(horizon is Horizon.FADING), tracks]
        count = self._places[tracks, SEEN]
        absolute, square, variance = (
            np.where(count > 0, means[:, i], np.nan) for i in (ABSOLUTE, SQUARE, VARIANCE)
        )
        relative = np.where(means[:, NON_ZERO] > 0, means[:, RELATIVE], np.nan)
        return _Means(count, absolute, square, variance, relative)

    def _recent(self, tracks: slice) -> _Means:
        """Means of the sliding horizon, taken afresh: no rounding error piles up."""
        truth, answer = np.moveaxis(self._pairs[:, tracks], -1, 0)
        there = np.isfinite(truth)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            error = np.minimum(np.abs(truth - answer), MAX_ERROR)
            relative = np.minimum(error / np.abs(truth), MAX_ERROR)
        near_truth = np.clip(truth, -MAX_SQUARED, MAX_SQUARED)
        near_answer = np.clip(answer, -MAX_SQUARED, MAX_SQUARED)
        away = near_truth - near_truth[0]  # exactly 0 where the truth never changes
        variance = _mean((away - _mean(away, there)) ** 2, there)
        changed = (there & (away != 0.0)).any(0)
        beyond = (there & (near_truth != truth)).any(0)
        return _Means(
            there.sum(0),
            _mean(error, there),
            _mean((near_truth - near_answer) ** 2, there),
            np.where(beyond | (changed & (variance == 0.0)), np.nan, variance),
            _mean(relative, there & (truth != 0)),
        )


def _mean(values: NDArray[np.float64], among: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean over the first axis of the values chosen; divided first, so that no sum overflows."""
    count = among.sum(0)
    shares = np.divide(values, count, out=np.zeros_like(values), where=among)
    return np.where(count > 0, shares.sum(0), np.nan)

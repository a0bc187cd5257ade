"""Prequential evaluation of prediction intervals and prediction sets."""

from __future__ import annotations

import math
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ModelFileError
from streamnet.jit import exact
from streamnet.metrics.windows import (
    PLACE,
    SEEN,
    Curve,
    Horizon,
    as_weights,
    get_weight,
    validate_windows,
)
from streamnet.samples import Task

COVERAGE, SIZE, SCORE = range(3)  # of an outcome: 0 or 1, width or number of labels, and score
OUTCOMES = 3
MAX_OUTCOME = 1e300  # larger widths and scores are clipped, so that their mean stays finite
CURVE_EVERY = 64  # scored samples between two points of the curve
CURVE_COLUMNS = 3  # weighted sums of coverage and size so far, and sum of weights

INTERVAL_METRICS = {
    Task.CLASSIFICATION: ("coverage", "mean_set_size"),
    Task.REGRESSION: ("coverage", "mean_width", "interval_score"),
}
"""Names of the metrics, in the order of an outcome."""

INTERVAL_DESCRIPTIONS = {
    "coverage": "Fraction of the truths that prediction intervals or sets held.",
    "mean_width": "Mean width of prediction intervals.",
    "interval_score": "Mean interval score of prediction intervals.",
    "mean_set_size": "Mean number of labels in prediction sets.",
}
"""The metrics in words, by name."""


@exact
def _add_outcomes(
    outcomes: NDArray[np.float64],
    importance: NDArray[np.float64],
    means: NDArray[np.float64],
    recent: NDArray[np.float64],
    places: NDArray[np.int64],
    mass: NDArray[np.float64],
    points: NDArray[np.float64],  # shape=(m, CURVE_COLUMNS), written
) -> None:
    """Add the outcomes of scored samples, those that are not NaN, one by one."""
    point = 0
    for i in range(outcomes.shape[0]):
        weight = get_weight(importance, i)
        if math.isnan(outcomes[i, COVERAGE]) or weight == 0.0:
            continue
        place = places[PLACE]
        places[SEEN] += 1
        places[PLACE] = place + 1 if place + 1 < recent.shape[0] else 0
        mass[0] += weight
        recent[place, OUTCOMES] = weight
        for m in range(OUTCOMES):
            value = min(outcomes[i, m], MAX_OUTCOME)
            recent[place, m] = value
            means[m] += (value - means[m]) * weight / mass[0]
        if places[SEEN] % CURVE_EVERY == 0:
            points[point, 0] = means[COVERAGE] * mass[0]
            points[point, 1] = means[SIZE] * mass[0]
            points[point, 2] = mass[0]
            point += 1


@final
class IntervalEvaluator:
    """Scores prediction intervals of numbers, or prediction sets of labels.

    Args:
        task: Which of them.
        window: Scored samples in the sliding window.

    Means are weighted by the samples' weights.

    >>> evaluator = IntervalEvaluator(Task.REGRESSION)
    >>> evaluator.update(np.array([[1.0, 4.0, 4.0], [0.0, 4.0, 24.0], [np.nan, np.nan, np.nan]]))
    >>> evaluator.measures()
    {'coverage': 0.5, 'mean_width': 4.0, 'interval_score': 14.0}
    >>> evaluator.update(np.array([[1.0, 2.0, 2.0]]), weight=np.array([2.0]))
    >>> evaluator.measures()
    {'coverage': 0.75, 'mean_width': 3.0, 'interval_score': 8.0}
    """

    def __init__(self, task: Task, window: int = 1000) -> None:
        validate_windows(1, window, 1.0)
        self._names = INTERVAL_METRICS[task]
        self._means = np.zeros(OUTCOMES)
        self._recent = np.full((window, OUTCOMES + 1), np.nan)  # outcomes, and the weight
        self._places = np.zeros(2, np.int64)
        self._mass = np.zeros(1)  # sum of the weights
        self._curve = Curve()

    def update(
        self, outcomes: NDArray[np.float64], weight: NDArray[np.float64] | None = None
    ) -> None:
        """Add the outcomes of n samples.

        Args:
            outcomes: shape=(n, OUTCOMES), NaN for samples that are not scored.
            weight: Weight of each sample, >= 0, shape=(n,); None: all are 1.
        """
        weights, before = as_weights(weight, len(outcomes)), self.scored // CURVE_EVERY
        points = np.empty((len(outcomes) // CURVE_EVERY + 1, CURVE_COLUMNS))
        state = self._means, self._recent, self._places, self._mass
        _add_outcomes(outcomes, weights, *state, points)
        added = self.scored // CURVE_EVERY - before
        for place, row in enumerate(points[:added].tolist(), start=before + 1):
            self._curve.add(place * CURVE_EVERY, *row)

    @property
    def scored(self) -> int:
        """Number of scored samples."""
        return int(self._places[SEEN])

    @property
    def recent(self) -> int:
        """Number of samples in the sliding window."""
        return min(self.scored, len(self._recent))

    def curve(self) -> tuple[list[int], dict[str, list[float]]]:
        """Coverage and size over time.

        Returns:
            Numbers of scored samples, and by the name of each metric its mean over the samples from
            one of these to the next.
        """
        samples, sums = self._curve.points()
        steps = np.diff(sums.reshape(-1, CURVE_COLUMNS), axis=0, prepend=0.0)
        means = steps[:, :2] / steps[:, 2:]
        return samples.tolist(), dict(zip(self._names, means.T.tolist(), strict=False))

    def measures(self, horizon: Horizon = Horizon.OVERALL) -> dict[str, float]:
        """All metrics by name, over all samples or the sliding window; NaN before the first."""
        if not self.scored:
            means = np.full(OUTCOMES, np.nan)
        elif horizon is Horizon.SLIDING:
            recent = self._recent[: self.recent]
            weight = recent[:, OUTCOMES]
            means = (recent[:, :OUTCOMES] * weight[:, None]).sum(axis=0) / weight.sum()
        else:
            means = self._means
        return dict(zip(self._names, means.tolist(), strict=False))

    def export_state(self) -> dict[str, Any]:
        """Everything needed to resume, bit for bit."""
        arrays = {name: array.copy() for name, array in self._arrays().items()}
        return {**arrays, "curve": self._curve.export_state()}

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {
            "means": self._means,
            "recent": self._recent,
            "places": self._places,
            "mass": self._mass,
        }

    def restore_state(self, state: dict[str, Any]) -> Self:
        """Resume from an exported state; `ModelFileError` if that does not fit."""
        for name, own in self._arrays().items():
            if np.shape(state[name]) != own.shape:
                raise ModelFileError(f"intervals: {name} has shape {np.shape(state[name])}")
            own[...] = state[name]
        self._curve = Curve.restore_state(state["curve"])
        return self

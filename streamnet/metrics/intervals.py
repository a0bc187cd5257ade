"""Prequential evaluation of prediction intervals and prediction sets."""

from __future__ import annotations

import math
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ModelFileError
from streamnet.jit import exact
from streamnet.metrics.windows import PLACE, SEEN, Horizon, validate_windows
from streamnet.samples import Task

COVERAGE, SIZE, SCORE = range(3)  # of an outcome: 0 or 1, width or number of labels, and score
OUTCOMES = 3
MAX_OUTCOME = 1e300  # larger widths and scores are clipped, so that their mean stays finite

INTERVAL_METRICS = {
    Task.CLASSIFICATION: ("coverage", "mean_set_size"),
    Task.REGRESSION: ("coverage", "mean_width", "interval_score"),
}
"""Names of the metrics, in the order of an outcome."""


@exact
def _add_outcomes(
    outcomes: NDArray[np.float64],
    means: NDArray[np.float64],
    recent: NDArray[np.float64],
    places: NDArray[np.int64],
) -> None:
    """Add the outcomes of scored samples, those that are not NaN, one by one."""
    for i in range(outcomes.shape[0]):
        if math.isnan(outcomes[i, COVERAGE]):
            continue
        place = places[PLACE]
        places[SEEN] += 1
        places[PLACE] = place + 1 if place + 1 < recent.shape[0] else 0
        for m in range(OUTCOMES):
            value = min(outcomes[i, m], MAX_OUTCOME)
            recent[place, m] = value
            means[m] += (value - means[m]) / places[SEEN]


@final
class IntervalEvaluator:
    """Scores prediction intervals of numbers, or prediction sets of labels.

    Args:
        task: Which of them.
        window: Scored samples in the sliding window.

    >>> evaluator = IntervalEvaluator(Task.REGRESSION)
    >>> evaluator.update(np.array([[1.0, 4.0, 4.0], [0.0, 4.0, 24.0], [np.nan, np.nan, np.nan]]))
    >>> evaluator.measures()
    {'coverage': 0.5, 'mean_width': 4.0, 'interval_score': 14.0}
    """

    def __init__(self, task: Task, window: int = 1000) -> None:
        validate_windows(1, window, 1.0)
        self._names = INTERVAL_METRICS[task]
        self._means = np.zeros(OUTCOMES)
        self._recent = np.full((window, OUTCOMES), np.nan)
        self._places = np.zeros(2, np.int64)

    def update(self, outcomes: NDArray[np.float64]) -> None:
        """Add the outcomes of n samples, shape=(n, OUTCOMES); NaN for those that are not scored."""
        _add_outcomes(outcomes, self._means, self._recent, self._places)

    @property
    def scored(self) -> int:
        """Number of scored samples."""
        return int(self._places[SEEN])

    def measures(self, horizon: Horizon = Horizon.OVERALL) -> dict[str, float]:
        """All metrics by name, over all samples or the sliding window; NaN before the first."""
        if not self.scored:
            means = np.full(OUTCOMES, np.nan)
        elif horizon is Horizon.SLIDING:
            means = self._recent[: min(self.scored, len(self._recent))].mean(axis=0)
        else:
            means = self._means
        return dict(zip(self._names, means.tolist(), strict=False))

    def export_state(self) -> dict[str, Any]:
        """Everything needed to resume, bit for bit."""
        arrays = {"means": self._means, "recent": self._recent, "places": self._places}
        return {name: array.copy() for name, array in arrays.items()}

    def restore_state(self, state: dict[str, Any]) -> Self:
        """Resume from an exported state; `ModelFileError` if that does not fit."""
        arrays = {"means": self._means, "recent": self._recent, "places": self._places}
        for name, own in arrays.items():
            if np.shape(state[name]) != own.shape:
                raise ModelFileError(f"intervals: {name} has shape {np.shape(state[name])}")
            own[...] = state[name]
        return self

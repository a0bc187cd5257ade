"""Prediction intervals and sets of what is served, and how well they hold the truths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from streamnet.experts import ScoringBatch
from streamnet.learning.pending import PendingTable
from streamnet.metrics.intervals import COVERAGE, OUTCOMES, SCORE, SIZE, IntervalEvaluator
from streamnet.samples import Given, Task
from streamnet.selection.conformal import build_tracker, restore_tracker

SERVED, PORTABLE = range(2)  # tracks: what is served, and the model to take home
TRACKS = 2
_NO_LABELS = np.empty(0, np.int64)


@final
class ServedIntervals:
    """The intervals, or sets, that are given with predictions of two tracks.

    Args:
        task: Intervals of numbers, or sets of labels.
        level: Fraction of the truths that they should hold.
        window: Scored samples in the sliding window of their metrics.

    >>> intervals = ServedIntervals(Task.REGRESSION, 0.9)
    >>> intervals.level, intervals.predict(np.array([3.0]), SERVED).tolist()
    (0.9, [[nan, nan]])
    """

    def __init__(self, task: Task, level: float, window: int = 1000) -> None:
        self.level: float = level
        self._task = task
        self.scores: IntervalEvaluator = IntervalEvaluator(task, window)
        self._tracker = build_tracker(task, level, TRACKS)
        self._pending = PendingTable(bounds=np.nan)

    def serve(self, batch: ScoringBatch, answers: NDArray[Any]) -> NDArray[Any]:
        """Give the interval of each sample before its truth is used, and score it.

        Args:
            batch: The samples.
            answers: Predictions of both tracks, shape=(2, n, ...); of a label that arrived late,
                what was predicted for its sample. Where callers got an answer, the interval that
                they got with it is scored, if there was one.

        Returns:
            What `predict` does for what is served, without the rows of late labels.
        """
        timeline, tracker = batch.timeline, self._tracker
        bounds = np.full((answers.shape[1], TRACKS, tracker.bounds), np.nan)
        origin = _NO_LABELS
        if timeline is not None:
            origin = timeline.origin
            self._pending.load(timeline, bounds=bounds)
        truths = batch.truth, batch.known
        outcomes = tracker.update(answers, *truths, origin, bounds, batch.weight)
        if timeline is not None:
            self._pending.keep(timeline, bounds=bounds)
        if batch.given is not None:
            rows = batch.given.rows
            outcomes[rows] = score_given(batch.given, batch.truth[rows], self.level)
        self.scores.update(outcomes, batch.weight)
        new = batch.new
        known = batch.known[new] if len(batch.known) else batch.known
        return tracker.decode(answers[SERVED][new], bounds[new, SERVED], known)

    def predict(self, answers: NDArray[Any], track: int) -> NDArray[Any]:
        """Intervals of predictions of which each might be the next; changes nothing.

        Lower and upper bounds, shape=(n, 2), NaN as long as no error is known; or whether each
        label is in the set, shape=(n, labels).
        """
        return self._tracker.predict(answers, track)

    def start_from(self, state: Mapping[str, Any]) -> None:
        """Start from the intervals of a model, which may be of another level."""
        self._tracker.start_from(restore_tracker(self._task, state))

    def model_state(self, track: int = PORTABLE) -> dict[str, Any]:
        """What a model that predicts what a track does needs to predict intervals."""
        return self._tracker.restricted(track)

    def export_state(self) -> dict[str, Any]:
        """Everything needed to resume, bit for bit."""
        return {
            "tracker": self._tracker.export_state(),
            "scores": self.scores.export_state(),
            "pending": self._pending.export_state(),
        }

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Resume from an exported state."""
        self._tracker = restore_tracker(self._task, state["tracker"])
        self.scores.restore_state(state["scores"])
        self._pending.restore_state(state["pending"])


def score_given(given: Given, truth: NDArray[Any], level: float) -> NDArray[np.float64]:
    """Outcomes of the intervals, or sets, that callers got; NaN where they got none.

    Args:
        given: What k callers got.
        truth: Their truths, shape=(k,): class numbers, -1 for none, or numbers, NaN for none.
        level: That of the intervals.

    Returns:
        shape=(k, OUTCOMES), see `IntervalEvaluator.update`.
    """
    outcomes = np.full((len(truth), OUTCOMES), np.nan)
    if given.intervals is None:
        return outcomes
    labeled = truth.dtype == np.int32
    scored = np.isfinite(given.intervals[:, 0]) & (truth >= 0 if labeled else np.isfinite(truth))
    rows, truth = given.intervals[scored], truth[scored]
    if labeled:
        outcomes[scored, COVERAGE] = rows[np.arange(len(rows)), truth]
        outcomes[scored, SIZE] = rows.sum(axis=1)
        outcomes[scored, SCORE] = 0.0
    else:
        beyond = np.maximum(rows[:, 0] - truth, 0.0) + np.maximum(truth - rows[:, 1], 0.0)
        outcomes[scored, COVERAGE] = beyond == 0.0
        outcomes[scored, SIZE] = rows[:, 1] - rows[:, 0]
        outcomes[scored, SCORE] = outcomes[scored, SIZE] + 2.0 / (1.0 - level) * beyond
    return outcomes

"""What an estimator has learned: scores, leader board, drifts, plots, and tables of a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamnet.learning.learner import Learner
from streamnet.online.interrupts import Broken
from streamnet.online.scikit_learn import ScikitLearnEstimator
from streamnet.plots import Plot
from streamnet.reporting.builder import build_candidates, build_history, build_outcomes
from streamnet.reporting.html import draw_history, render_board
from streamnet.reporting.report import MAIN_METRICS, Drift
from streamnet.reporting.views import (
    OutcomeKind,
    board_to_frame,
    check_kind,
    drifts_to_frame,
    history_to_frame,
    plot_outcome,
)
from streamnet.settings.candidate import CandidateSettings

if TYPE_CHECKING:
    import polars as pl


class LearnedViews(ScikitLearnEstimator):
    """Scores, leader board, drifts and plots of an estimator, as a `Result` has them."""

    _learner: Any  # a `Learner`, or `Broken`

    def _scored_learner(self) -> Learner:
        raise NotImplementedError

    @property
    def served(self) -> dict[str, float]:
        """Prequential metrics, with an ``interval`` also its coverage and size.

        Each sample was predicted before it was learned. Inputs were scaled with statistics that
        include it, so the metrics differ slightly from those of `predict_one`.
        """
        with self._lock:
            serving = self._scored_learner().serving
            intervals = serving.intervals
            scores = {} if intervals is None else intervals.scores.measures()
            return serving.measures() | scores

    @property
    def champion(self) -> CandidateSettings | None:
        """Settings of the current champion; None before the first sample."""
        with self._lock:
            member = self._scored_learner().serving.champion
        return None if member is None else member.settings

    @property
    def curve(self) -> pl.DataFrame:
        """The main prequential metric over time.

        A row for each stretch of the stream: ``samples``, the number of its last one, and the
        metric over the stretch, of what was served and of each baseline.
        """
        with self._lock:
            return history_to_frame(build_history(self._scored_learner()))

    @property
    def leader_board(self) -> pl.DataFrame:
        """A row for each candidate, best first, with all of its scores."""
        with self._lock:
            return board_to_frame(build_candidates(self._scored_learner()))

    @property
    def drifts(self) -> pl.DataFrame:
        """The last drifts: a row for each, with the mean loss, from 0 to 1, before and after it.

        ``number`` is that of the sample at which it was detected, ``since`` the estimated one of
        the first sample with the higher loss.
        """
        with self._lock:
            events = list(self._scored_learner().serving.drift.events)
        return drifts_to_frame([Drift(*event) for event in events])

    @property
    def guests_(self) -> dict[str, Any]:
        """The guests that take part, as trained so far; they must not be changed."""
        with self._lock:
            guests = self._scored_learner().guests
            return {} if guests is None else guests.models

    def plot(self, kind: OutcomeKind = "scores") -> Plot:
        """A plot, which a notebook shows; it needs matplotlib (extra ``report``).

        Args:
            kind: "scores": the main metric over time, with drifts and changes of champion.
                "confusion" and "calibration": of labels. "residuals": of numbers.

        Raises:
            ConfigurationError: If there is no such plot, the task has none, or nothing was learned.
        """
        check_kind(kind, OutcomeKind)
        with self._lock:
            learner = self._scored_learner()
            history, outcomes = build_history(learner), build_outcomes(learner)
        return plot_outcome(kind, history, outcomes)

    def _summarize(self) -> dict[str, str]:
        if isinstance(self._learner, Broken):
            return {"samples": "unusable: interrupted while it learned"}
        scores = {name: f"{value:.4g}" for name, value in self.served.items()}
        return {"samples": f"{self._learner.trainer.number:,}", **scores}

    def _repr_html_(self) -> str:
        """What notebooks show: settings and scores, the curve of the scores, and the best."""
        with self._lock:
            parts = [super()._repr_html_()]
            if self._has_learned() and not isinstance(self._learner, Broken):
                learner = self._scored_learner()
                parts += [
                    draw_history(build_history(learner)),
                    render_board(build_candidates(learner), MAIN_METRICS[learner.task]),
                ]
        return "\n".join(parts)

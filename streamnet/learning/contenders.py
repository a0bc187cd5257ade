"""Contenders for serving, scored on the same samples, and the errors of what is served."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import inlined, kernel
from streamnet.learning.evaluator import (
    ScoringBatch,
    TrackMetrics,
    build_track_metrics,
    score_tracks,
)
from streamnet.metrics import ClassificationBaselines, RegressionBaselines
from streamnet.networks.population import Member
from streamnet.samples import Task
from streamnet.selection.ensemble.labels import LabelEnsemble, share_pool
from streamnet.selection.ensemble.numbers import NumberEnsemble
from streamnet.selection.ensemble.registry import Ensemble, restore_ensemble, select_members

ENSEMBLE, CHAMPION, MODEL = range(3)
BASELINES = (3, 4)
SERVABLE = ("ensemble", "champion")


@final
class Contenders:
    """The ensemble, the champion alone, the portable model, and two baselines.

    The portable model is an ensemble of the candidates that predict without the last targets. With
    ``balanced``, the ensembles predict as if all labels were equally frequent.

    >>> from streamnet.learning.learner import Learner
    >>> Learner(task=Task.REGRESSION).serving.contenders.names
    ('ensemble', 'champion', 'model', 'mean', 'no_change')
    """

    def __init__(
        self,
        members: Sequence[Member],
        *,
        task: Task,
        window: int = 1000,
        fading: float = 0.999,
        margin: float = 0.02,
        balanced: bool = False,
    ) -> None:
        self.task: Task = task
        lagged = [member.settings.lags for member in members]
        portable = select_members(lagged)
        self._all_lagged = all(lagged)
        kind: type[Ensemble] | partial[LabelEnsemble] = NumberEnsemble
        if task is Task.CLASSIFICATION:
            kind = partial(LabelEnsemble, balanced=balanced)
        # Candidates with lags start without weight: short streams cannot afford to try them.
        count = len(members)
        self.ensemble: Ensemble = kind(count, fading=fading, margin=margin, starting=portable)
        self.model: Ensemble = kind(count, fading=fading, margin=margin, members=portable)
        self._link_ensembles()
        self.scores: TrackMetrics = build_track_metrics(
            5, task=task, window=window, fading=fading, whole=True
        )
        self._baselines: ClassificationBaselines | RegressionBaselines = (
            ClassificationBaselines() if task is Task.CLASSIFICATION else RegressionBaselines()
        )

    def _link_ensembles(self) -> None:
        if isinstance(self.ensemble, LabelEnsemble) and isinstance(self.model, LabelEnsemble):
            share_pool(self.ensemble, self.model)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all tracks."""
        return ("ensemble", "champion", "model", *self._baselines.names)

    def predict_then_learn(self, batch: ScoringBatch) -> NDArray[np.float64]:
        """Return the ensemble's prediction for each sample, made before learning it.

        Probabilities or numbers, shape=(1, n, ...), or (2, n, ...) if the portable model's
        predictions came out of the same computation.
        """
        return _predict_then_learn(self.ensemble, batch)

    def score(
        self,
        batch: ScoringBatch,
        ensemble_predictions: NDArray[np.float64],
        chosen: NDArray[np.int32],
    ) -> NDArray[Any]:
        """Score all tracks and learn; return their predictions, shape=(5, n, ...).

        ``chosen`` is the slot of the champion at each sample, -1 for none, shape=(n,).
        """
        answers = np.zeros((5, *batch.answers.shape[1:]), batch.answers.dtype)
        if isinstance(self._baselines, ClassificationBaselines):
            width = answers.shape[2]
            baselines: NDArray[Any] = self._baselines.answers(batch.truth, batch.known, width)
        else:
            baselines = self._baselines.answers(batch.truth)
        answers[ENSEMBLE] = ensemble_predictions[0]
        answers[MODEL] = (
            ensemble_predictions[1]
            if len(ensemble_predictions) > 1
            else _predict_then_learn(self.model, batch)[0]
        )
        answers[BASELINES[0] :] = baselines
        answers[CHAMPION] = _champion_predictions(batch.answers, chosen, baselines[0])
        score_tracks(self.scores, batch, answers)
        return answers

    def start_from(self, state: dict[str, Any]) -> None:
        """Start from the ensemble of a model whose networks are the candidates."""
        start = restore_ensemble(self.task, state)
        for ensemble in (self.ensemble, self.model):
            ensemble.adopt(start)

    def combine(
        self,
        answers: NDArray[Any],
        alive: NDArray[np.uint8],
        *,
        known: int,
        scale: tuple[float, float] | None,
        without_lags: bool,
    ) -> NDArray[Any]:
        """Combine predictions for samples of which each might be the next; changes nothing.

        ``answers`` are probabilities (candidates, n, labels), or numbers (candidates, n); ``alive``
        is 0 where one is not finite, shape=(candidates, n); ``scale`` is center and spread of the
        target, None for classification. ``without_lags`` uses the portable model instead of the
        ensemble.
        """
        ensemble = self.model if without_lags else self.ensemble
        if isinstance(ensemble, LabelEnsemble):
            return ensemble.answer(answers, alive, known)
        assert scale is not None
        return ensemble.answer(answers, alive, scale)

    def reset_slot(self, slot: int, member: Member) -> None:
        """Put a new candidate into a slot."""
        self.ensemble.reset(slot)
        self.model.reset(slot, member=self.is_portable(member))

    def discount_losses(self) -> None:
        """Let earlier losses count less in the ensembles, after a drift."""
        self.ensemble.discount_losses()
        self.model.discount_losses()

    def is_portable(self, member: Member) -> bool:
        """Whether a candidate belongs to the portable model."""
        return self._all_lagged or not member.settings.lags

    def export_state(self) -> dict[str, Any]:
        """Return everything needed to resume, bit for bit."""
        return {
            "ensemble": self.ensemble.export_state(),
            "model": self.model.export_state(),
            "scores": self.scores.export_state(),
            "baselines": self._baselines.export_state(),
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Resume from an exported state."""
        self.ensemble = restore_ensemble(self.task, state["ensemble"])
        self.model = restore_ensemble(self.task, state["model"])
        self.scores = type(self.scores).restore_state(state["scores"])
        self._link_ensembles()
        self._baselines = type(self._baselines).restore_state(state["baselines"])


def _predict_then_learn(ensemble: Ensemble, batch: ScoringBatch) -> NDArray[np.float64]:
    """Predict each sample before learning it, for labels together with the linked ensemble."""
    samples = batch.answers, batch.alive, batch.truth
    if isinstance(ensemble, LabelEnsemble):
        return ensemble.serve_pair(*samples, batch.known)
    return ensemble.serve(*samples, batch.center, batch.spread)[np.newaxis]


def _champion_predictions(
    answers: NDArray[Any], chosen: NDArray[np.int32], fallback: NDArray[Any]
) -> NDArray[Any]:
    """Return the champion's prediction for each sample, ``fallback`` where there is none."""
    first = chosen[0]
    if first >= 0 and (len(chosen) == 1 or (chosen == first).all()):
        single: NDArray[Any] = answers[first]
        return single
    predictions: NDArray[Any] = answers[np.maximum(chosen, 0), np.arange(len(chosen))]
    missing = chosen < 0
    predictions[missing] = fallback[missing]
    return predictions


_MAX_ERROR = 1e300  # larger errors are clipped, so that sums stay finite


def accumulate_errors(
    batch: ScoringBatch,
    answers: NDArray[Any],
    tracks: NDArray[np.int64],
    sums: NDArray[np.float64],
    scored: int,
    every: int,
) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
    """Add up errors sample by sample, so that the sums do not depend on how blocks are cut.

    An error is 1 for a wrong label and 0 for a right one, or the absolute error of a number;
    samples without a target are skipped. ``tracks`` are the served one and the two baselines, whose
    ``sums`` are updated in place; they are recorded after ``every`` samples.

    Returns the new number of samples summed; the recorded sums, shape=(times, 3); and the loss of
    the served predictions, shape=(n,): their error, of numbers in standard deviations and at most
    1; NaN for skipped samples.
    """
    n = answers.shape[1]
    recorded = np.empty((n // every + 1, 3))
    losses = np.empty(n)
    truth, totals = batch.truth, (sums, scored, every, recorded, losses)
    if answers.ndim == 3:
        now = _accumulate_label_errors(answers, tracks, truth, batch.known, *totals)
    else:
        now = _accumulate_number_errors(answers, tracks, truth, batch.spread, *totals)
    return now, recorded[: now // every - scored // every], losses


@kernel
def _accumulate_label_errors(
    answers: NDArray[np.floating],
    tracks: NDArray[np.int64],
    label: NDArray[np.int32],
    known: NDArray[np.int32],
    sums: NDArray[np.float64],
    scored: int,
    every: int,
    recorded: NDArray[np.float64],
    losses: NDArray[np.float64],
) -> int:
    records = 0
    for i in range(label.size):
        losses[i] = np.nan
        if label[i] < 0:
            continue
        for t in range(3):
            best = 0
            for o in range(1, answers.shape[2]):
                if answers[tracks[t], i, o] > answers[tracks[t], i, best]:
                    best = o
            wrong = 1.0 if known[i] == 0 or best != label[i] else 0.0
            sums[t] += wrong
            if t == 0:
                losses[i] = wrong
        scored += 1
        records = _record_sums(sums, scored, every, recorded, records)
    return scored


@kernel
def _accumulate_number_errors(
    answers: NDArray[np.float64],
    tracks: NDArray[np.int64],
    truth: NDArray[np.float64],
    spread: NDArray[np.float64],
    sums: NDArray[np.float64],
    scored: int,
    every: int,
    recorded: NDArray[np.float64],
    losses: NDArray[np.float64],
) -> int:
    records = 0
    for i in range(truth.size):
        losses[i] = np.nan
        if not np.isfinite(truth[i]):
            continue
        for t in range(3):
            distance = min(abs(answers[tracks[t], i] - truth[i]), _MAX_ERROR)
            sums[t] += distance
            if t == 0:
                losses[i] = min(distance / spread[i], 1.0)
        scored += 1
        records = _record_sums(sums, scored, every, recorded, records)
    return scored


@inlined
def _record_sums(
    sums: NDArray[np.float64], scored: int, every: int, recorded: NDArray[np.float64], records: int
) -> int:
    """Record the sums if it is time to; return how many were recorded by now."""
    if scored % every == 0:
        for t in range(3):
            recorded[records, t] = sums[t]
        records += 1
    return records

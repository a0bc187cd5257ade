"""Contenders for serving, scored on the same samples, and the errors of what is served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from functools import partial
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from streamnet.experts import Answers, Expert, ScoringBatch
from streamnet.features.columns.label import RETIRED, MovedClass
from streamnet.features.forecasts.history import NO_CHANGE, SEASONAL
from streamnet.keyed.models import KeyedModels
from streamnet.learning.evaluator import (
    TrackMetrics,
    build_track_metrics,
    score_tracks,
    serve_given,
)
from streamnet.learning.guests import GuestCandidates, check_same_guests
from streamnet.learning.pending import PendingTable
from streamnet.metrics import ClassificationBaselines, ClassificationEvaluator, RegressionBaselines
from streamnet.metrics.classification import NONE_PREDICTED
from streamnet.networks.population import Member
from streamnet.samples import Task
from streamnet.selection.ensemble.base import ABSENT, COUNT, MOST_PROBABLE, TOTAL, TrackPredictions
from streamnet.selection.ensemble.labels import LabelEnsemble, share_pool
from streamnet.selection.ensemble.numbers import NumberEnsemble
from streamnet.selection.ensemble.registry import Ensemble, restore_ensemble, select_members

ENSEMBLE, CHAMPION, MODEL = range(3)
FIRST_BASELINE = 3
SEASONAL_NO_CHANGE = "seasonal_no_change"
SERVABLE = ("ensemble", "champion")
NO_CHANGE_TRACK = 4


@final
class Contenders:
    """The ensemble, the champion alone, the portable model, and two or three baselines.

    The portable model is an ensemble of the networks that predict without the last targets. With
    ``balanced``, the ensembles predict the label that would be the most probable one if all were
    equally frequent; probabilities are not affected. With ``forecasts`` from the known targets
    alone, that of a season ago is a baseline. ``experts`` are candidates of the ensemble, but not
    of the portable model. Where keys have models of their own (``keyed``), these make the
    ensemble's predictions.

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
        balanced: bool = False,
        forecasts: bool = False,
        experts: Sequence[Expert] = (),
        keyed: KeyedModels | None = None,
    ) -> None:
        self.task: Task = task
        self.keyed: KeyedModels | None = keyed
        self.experts: dict[str, Expert] = {one.name: one for one in experts}
        self._forecasts = forecasts
        lagged = [member.settings.lags for member in members]
        portable = select_members(lagged)
        self._all_lagged = all(lagged)
        kind: type[Ensemble] | partial[LabelEnsemble] = NumberEnsemble
        if task is Task.CLASSIFICATION:
            kind = partial(LabelEnsemble, balanced=balanced)
        # Candidates with lags start without weight: short streams cannot afford to try them.
        count = len(members)
        self._slots: dict[str, slice] = {}  # of the experts, after those of the networks
        self._more = 0
        for one in experts:
            first = count + self._more
            self._slots[one.name] = slice(first, first + len(one))
            self._more += len(one)
        initial = [one.starts for one in experts for _ in range(len(one))]
        places = [count] * self._more  # before the priors
        starting, portable = np.insert(portable, places, initial), np.insert(portable, places, 0)
        count += self._more
        self.ensemble: Ensemble = kind(count, fading=fading, starting=starting)
        self.model: Ensemble = kind(count, fading=fading, members=portable)
        self._link_ensembles()
        self.scores: TrackMetrics = build_track_metrics(
            5 + forecasts, task=task, window=window, fading=fading, whole=True
        )
        self._baselines: ClassificationBaselines | RegressionBaselines = (
            ClassificationBaselines() if task is Task.CLASSIFICATION else RegressionBaselines()
        )
        self._pending = {
            "ensemble": PendingTable(memory=0.0),
            "model": PendingTable(memory=0.0),
            "tracks": PendingTable(answers=0.0, classes=MOST_PROBABLE),
        }
        if keyed is not None:
            self._pending["keyed"] = PendingTable(head=0.0, said=0.0)
        kept = [one.name for one in experts if one.kept]
        self._pending |= {name: PendingTable(answers=0.0, alive=ABSENT) for name in kept}

    def _link_ensembles(self) -> None:
        if isinstance(self.ensemble, LabelEnsemble) and isinstance(self.model, LabelEnsemble):
            share_pool(self.ensemble, self.model)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all tracks."""
        seasonal = (SEASONAL_NO_CHANGE,) if self._forecasts else ()
        return ("ensemble", "champion", "model", *self._baselines.names, *seasonal)

    @property
    def baselines(self) -> range:
        """Tracks of the baselines."""
        return range(FIRST_BASELINE, len(self.names))

    def predict_then_learn(self, batch: ScoringBatch) -> TrackPredictions:
        """Return the ensemble's prediction for each sample, made before learning it.

        The portable model's are a second track if they came out of the same computation.
        """
        served = self._predict_then_learn("ensemble", batch)
        if self.keyed is None or batch.key is None:
            return served
        answers, classes = served
        own = self._correct_by_key(self.keyed, batch.key, answers[0], batch)
        return TrackPredictions(np.stack((own, *answers[1:])), classes)

    def _correct_by_key(
        self,
        models: KeyedModels,
        keys: Sequence[str | None],
        shared: NDArray[Any],
        batch: ScoringBatch,
    ) -> NDArray[Any]:
        """What models of keys make of the ensemble's predictions, each before it is learned."""
        assert batch.inputs is not None
        timeline, dense = batch.timeline, batch.inputs.dense
        samples = keys, shared, dense, batch.truth, batch.known, batch.weight
        if timeline is None:
            return models.serve(*samples)
        late = models.prepare_late(timeline, shared, dense, batch.truth, batch.known)
        rows = {"head": late.head, "said": late.said}
        self._pending["keyed"].load(timeline, **rows)
        served = models.serve(*samples, late)
        self._pending["keyed"].keep(timeline, **rows)
        return served

    def _predict_then_learn(self, name: str, batch: ScoringBatch) -> TrackPredictions:
        """Predict each sample before learning it, for labels together with the linked ensemble."""
        ensemble: Ensemble = getattr(self, name)
        learns = name == "ensemble"
        answered = {one.name: self._ask(one, batch) for one in self.experts.values() if learns}
        samples = *self._join(batch, answered), batch.truth
        late = None
        if (timeline := batch.timeline) is not None:
            late = ensemble.prepare_late(timeline, batch.answers.shape[-1])
            self._pending[name].load(timeline, memory=late.memory)
        if isinstance(ensemble, LabelEnsemble):
            served = ensemble.serve_pair(*samples, batch.known, late, batch.weight)
        else:
            units, weight = (batch.center, batch.spread), batch.weight
            numbers = ensemble.serve(*samples, *units, late=late, weight=weight)
            served = TrackPredictions(numbers[np.newaxis], NONE_PREDICTED)
        if timeline is not None and late is not None:
            self._pending[name].keep(timeline, memory=late.memory)
        if batch.redirects is not None:
            return served._replace(answers=batch.redirects.apply(served.answers, batch.known))
        return served

    def _ask(self, expert: Expert, batch: ScoringBatch) -> Answers:
        """What an expert predicts of each row, for a label what it did of the sample."""
        answers = expert.predict_then_learn(batch)
        if not expert.kept:
            return answers
        if batch.timeline is not None:
            found = {n: a for n, a in answers._asdict().items() if a is not None}
            rows = {n: a[0] if len(a) == 1 else np.moveaxis(a, 0, 1) for n, a in found.items()}
            self._pending[expert.name].recall(batch.timeline, **rows)
        return self._redirect(answers, batch)

    @staticmethod
    def _redirect(answers: Answers, batch: ScoringBatch) -> Answers:
        if batch.redirects is None:
            return answers
        return answers._replace(answers=batch.redirects.apply(answers.answers, batch.known))

    def _join(
        self, batch: ScoringBatch, answered: Mapping[str, Answers]
    ) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """Predictions of the networks and, after them, of experts, as far as these predict."""
        if not self._more:
            return batch.answers, batch.alive
        count, n = batch.alive.shape
        joined = np.zeros((count + self._more, *batch.answers.shape[1:]), batch.answers.dtype)
        present = np.full((count + self._more, n), ABSENT, np.uint8)
        joined[:count], present[:count] = batch.answers, batch.alive
        for name, (answers, alive) in answered.items():
            slots = self._slots[name]
            joined[slots], present[slots] = answers, 1 if alive is None else alive
        return joined, present

    def score(
        self,
        batch: ScoringBatch,
        ensemble_predictions: TrackPredictions,
        chosen: NDArray[np.int32],
        served: int = ENSEMBLE,
    ) -> tuple[ScoringBatch, TrackPredictions]:
        """Score all tracks and learn; return what was scored: the batch and predictions.

        ``chosen`` is the slot of the champion at each sample, -1 for none, shape=(n,). Where
        callers got an answer, that is scored in place of the prediction of the track ``served``.
        """
        answers = np.zeros((len(self.names), *batch.answers.shape[1:]), batch.answers.dtype)
        if isinstance(self._baselines, ClassificationBaselines):
            width = answers.shape[2]
            baselines: NDArray[Any] = self._baselines.answers(batch.truth, batch.known, width)
        else:
            baselines = self._baselines.answers(batch.truth)
        combined = ensemble_predictions.answers
        answers[ENSEMBLE] = combined[0]
        answers[MODEL] = (
            combined[1]
            if len(combined) > 1
            else self._predict_then_learn("model", batch).answers[0]
        )
        classes = NONE_PREDICTED
        if ensemble_predictions.classes.size:
            classes = np.full(answers.shape[:2], MOST_PROBABLE, np.int32)
            classes[[ENSEMBLE, MODEL]] = ensemble_predictions.classes
        answers[FIRST_BASELINE : FIRST_BASELINE + len(baselines)] = baselines
        if self._forecasts:
            self._answer_unchanged(batch.forecasts, answers[NO_CHANGE_TRACK:])
            if batch.redirects is not None:
                answers[NO_CHANGE_TRACK:] = batch.redirects.apply(
                    answers[NO_CHANGE_TRACK:], batch.known
                )
        answers[CHAMPION] = _champion_predictions(batch.answers, chosen, baselines[0])
        if batch.timeline is not None:
            rows = {"answers": np.moveaxis(answers, 0, 1)}
            if classes.size:
                rows["classes"] = classes.T
            self._pending["tracks"].recall(batch.timeline, **rows)
        batch, tracks = serve_given(batch, TrackPredictions(answers, classes), served)
        score_tracks(self.scores, batch, tracks.answers, classes=tracks.classes)
        return batch, tracks

    def move_class(self, moved: MovedClass) -> None:
        """Go on without a class that is merged or retired.

        What was predicted of samples whose labels have not arrived changes as they are read: the
        probability of a merged class is added to the other one's, that of a retired class stays.
        """
        assert isinstance(self.ensemble, LabelEnsemble)
        assert isinstance(self._baselines, ClassificationBaselines)
        assert isinstance(self.scores, ClassificationEvaluator)
        self.ensemble.move_class(*moved)  # and the portable model, which shares its label counts
        for one in self.experts.values():
            one.move_class(moved)
        self._baselines.move_class(*moved)
        if moved.into != RETIRED:
            self.scores.merge_classes(*moved)
            for table in self._pending.values():
                table.merge_columns("answers", *moved)
            self._pending["tracks"].exchange("classes", *moved)

    def start_from(self, state: dict[str, Any]) -> None:
        """Start from the ensemble of a model whose networks are the candidates."""
        start = restore_ensemble(self.task, state)
        for ensemble in (self.ensemble, self.model):
            ensemble.adopt(start.widened(self._more))

    def combine(
        self, batch: ScoringBatch, scale: tuple[float, float] | None, *, without_lags: bool
    ) -> NDArray[Any]:
        """Combine predictions for samples of which each might be the next; changes nothing.

        ``scale`` is center and spread of the target, None for classification; redirects of merged
        and retired classes are applied to the answers of networks already. ``without_lags`` uses
        the portable model instead of the ensemble, without experts and models of keys.
        """
        ensemble = self.model if without_lags else self.ensemble
        answered = {
            one.name: self._redirect(one.predict(batch), batch)
            for one in self.experts.values()
            if not without_lags
        }
        answers, alive = self._join(batch, answered)
        known = int(batch.known.max(initial=0))
        shared: NDArray[Any]
        if isinstance(ensemble, LabelEnsemble):
            shared = ensemble.answer(answers, alive, known)
            if batch.redirects is not None:
                shared = batch.redirects.apply(shared, batch.known)
        else:
            assert scale is not None
            shared = ensemble.answer(answers, alive, scale)
        if self.keyed is None or batch.key is None or without_lags:
            return shared
        assert batch.inputs is not None
        return self.keyed.predict(batch.key, shared, batch.inputs.dense, known)

    def freeze(self) -> Contenders:
        """A copy whose ensemble combines as it does now, while this one learns.

        Models of keys are shared. The copy must not learn, and is without the portable model, and
        without experts that cannot be copied: it combines the other candidates.
        """
        frozen = copy(self)
        frozen.ensemble = self.ensemble.freeze()
        copies = ((name, one.freeze()) for name, one in self.experts.items())
        frozen.experts = {name: one for name, one in copies if one is not None}
        return frozen

    def decide(self, probabilities: NDArray[np.floating]) -> NDArray[np.intp]:
        """The class numbers that the ensemble predicts by its probabilities (n, labels)."""
        assert isinstance(self.ensemble, LabelEnsemble)
        return self.ensemble.decide(probabilities)

    def reset_slot(self, slot: int, member: Member) -> None:
        """Put a new candidate into a slot."""
        self.ensemble.reset(slot)
        self.model.reset(slot, member=self.is_portable(member))

    def forget_key(self, key: str) -> bool:
        """Delete the model of a key; return whether there was one."""
        return self.keyed is not None and self.keyed.rows.forget(key)

    def end_round(self) -> None:
        """Let experts know how good they are, at a round's end."""
        losses = self.ensemble.losses[:, : self.ensemble.candidates]
        means = losses[TOTAL] / np.maximum(losses[COUNT], 1e-300)
        known = losses[COUNT] > 0.0
        if self.experts and known.any():
            lowest = float(means[known].min())
            for name, one in self.experts.items():
                one.end_round(means[self._slots[name]], lowest)

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
            "pending": {name: table.export_state() for name, table in self._pending.items()},
            "keyed": self.keyed and self.keyed.export_state(),
            **{n: state for n, one in self.experts.items() if (state := one.export_state())},
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Resume from an exported state."""
        guests = self.experts.get("guests")
        assert guests is None or isinstance(guests, GuestCandidates)
        check_same_guests(guests, state.get("guests"))
        self.ensemble = restore_ensemble(self.task, state["ensemble"])
        self.model = restore_ensemble(self.task, state["model"])
        self.scores = type(self.scores).restore_state(state["scores"])
        self._link_ensembles()
        self._baselines = type(self._baselines).restore_state(state["baselines"])
        for name, table in self._pending.items():
            if name in state["pending"]:  # states from before late labels of keys have no such one
                table.restore_state(state["pending"][name])
        if self.keyed is not None:
            self.keyed.restore_state(state["keyed"])
        for name, one in self.experts.items():
            for column in one.restore_state(state.get(name, {})):
                slot = self._slots[name].start + column
                for ensemble in (self.ensemble, self.model):
                    ensemble.reset(slot, member=ensemble is self.ensemble)

    def _answer_unchanged(self, forecasts: NDArray[np.float64], answers: NDArray[Any]) -> None:
        """Write the last known target and that of a season ago, as far as there are any."""
        for track, forecast in enumerate((forecasts[:, NO_CHANGE], forecasts[:, SEASONAL])):
            known = np.flatnonzero(np.isfinite(forecast))
            answers[track] = 0.0
            if self.task is Task.REGRESSION:
                answers[track, known] = forecast[known]
            else:
                answers[track, known, forecast[known].astype(np.int64)] = 1.0


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

"""Contenders for serving, scored on the same samples, and the errors of what is served."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import copy
from functools import partial
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import StateError
from streamnet.factorization.machine import FactorizationMachine
from streamnet.features.columns.label import RETIRED, ClassRedirects, MovedClass
from streamnet.features.forecasts.history import FORECASTS, NO_CHANGE, NO_FORECASTS, SEASONAL
from streamnet.keyed.models import KeyedModels
from streamnet.learning.evaluator import (
    ScoringBatch,
    TrackMetrics,
    build_track_metrics,
    score_tracks,
    serve_given,
)
from streamnet.learning.guests import GuestCandidates
from streamnet.learning.pending import PendingTable
from streamnet.metrics import ClassificationBaselines, ClassificationEvaluator, RegressionBaselines
from streamnet.metrics.classification import NONE_PREDICTED
from streamnet.neighbors.memory import NeighborMemory
from streamnet.networks.population import Member
from streamnet.samples import Block, Inputs, Task
from streamnet.selection.ensemble.base import ABSENT, COUNT, MOST_PROBABLE, TOTAL, TrackPredictions
from streamnet.selection.ensemble.labels import LabelEnsemble, share_pool
from streamnet.selection.ensemble.numbers import NumberEnsemble
from streamnet.selection.ensemble.registry import Ensemble, restore_ensemble, select_members
from streamnet.sources.columns import format_names
from streamnet.trees.boosted_trees import BoostedTrees

ENSEMBLE, CHAMPION, MODEL = range(3)
FIRST_BASELINE = 3
SEASONAL_NO_CHANGE = "seasonal_no_change"
SERVABLE = ("ensemble", "champion")
NO_CHANGE_TRACK = 4
EXPERTS = FORECASTS - 1  # forecasts that are candidates of an ensemble: all but the last target


@final
class Contenders:
    """The ensemble, the champion alone, the portable model, and two or three baselines.

    The portable model is an ensemble of the candidates that predict without the last targets. With
    ``balanced``, the ensembles predict the label that would be the most probable one if all were
    equally frequent; probabilities are not affected. With ``forecasts`` from the known targets
    alone, those of numbers are candidates of the ensemble, and that of a season ago is a baseline.
    With ``neighbors`` there is a memory of so many samples, which is a candidate of the ensemble of
    labels; with ``factors``, the length of its vectors, a factorization machine is one, and so are
    ``trees``, which are grown from so many samples. Models of other libraries (``guests``) are
    candidates of the ensemble, but not of the portable model. Where keys have models of their own
    (``keyed``), these make the ensemble's predictions.

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
        neighbors: int = 0,
        factors: int = 0,
        trees: int = 0,
        guests: GuestCandidates | None = None,
        keyed: KeyedModels | None = None,
    ) -> None:
        self.task: Task = task
        self.keyed: KeyedModels | None = keyed
        self._forecasts = forecasts
        lagged = [member.settings.lags for member in members]
        portable = select_members(lagged)
        self._all_lagged = all(lagged)
        kind: type[Ensemble] | partial[LabelEnsemble] = NumberEnsemble
        if task is Task.CLASSIFICATION:
            kind = partial(LabelEnsemble, balanced=balanced)
        # Candidates with lags start without weight: short streams cannot afford to try them.
        count = len(members)
        self._experts = EXPERTS if forecasts and task is Task.REGRESSION else 0
        self.neighbors: NeighborMemory | None = None
        if neighbors and task is Task.CLASSIFICATION:
            self.neighbors = NeighborMemory(neighbors)
        self.machine: FactorizationMachine | None = None
        if factors:
            self.machine = FactorizationMachine(factors)
        self.trees: BoostedTrees | None = None
        if trees:
            self.trees = BoostedTrees(trees, numeric=task is Task.REGRESSION)
        others = (self.neighbors, self.machine, self.trees)
        more = self._experts + sum(one is not None for one in others)
        self.guests: GuestCandidates | None = guests
        more += 0 if guests is None else len(guests)
        starting, portable = (np.insert(portable, [count] * more, value) for value in (1, 0))
        count += more
        self.ensemble: Ensemble = kind(count, fading=fading, starting=starting)
        self.model: Ensemble = kind(count, fading=fading, members=portable)
        self._more = more
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
            "neighbors": PendingTable(answers=0.0),
            "machine": PendingTable(answers=0.0, alive=ABSENT),
            "trees": PendingTable(answers=0.0, alive=ABSENT),
            "tracks": PendingTable(answers=0.0, classes=MOST_PROBABLE),
        }

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
        assert batch.inputs is not None
        own = batch.key, answers[0], batch.inputs.dense, batch.truth, batch.known, batch.weight
        return TrackPredictions(np.stack((self.keyed.serve(*own), *answers[1:])), classes)

    def _predict_then_learn(self, name: str, batch: ScoringBatch) -> TrackPredictions:
        """Predict each sample before learning it, for labels together with the linked ensemble."""
        ensemble: Ensemble = getattr(self, name)
        answers, alive = self._add_candidates(batch, learns=name == "ensemble")
        samples = answers, alive, batch.truth
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

    def _ask_neighbors(self, batch: ScoringBatch) -> NDArray[np.float32]:
        """Probabilities by the nearest of earlier samples, each before it is stored."""
        assert self.neighbors is not None
        assert batch.inputs is not None
        samples = batch.inputs, batch.truth, batch.known
        answers = self.neighbors.predict_then_learn(*samples, batch.answers.shape[2], batch.weight)
        if batch.timeline is not None:
            self._pending["neighbors"].recall(batch.timeline, answers=answers)
        return answers if batch.redirects is None else batch.redirects.apply(answers, batch.known)

    def _ask_machine(self, batch: ScoringBatch) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """Predictions of the factorization machine, each before it is learned, and `alive`."""
        assert self.machine is not None
        assert batch.inputs is not None
        answers: NDArray[Any]
        if self.task is Task.CLASSIFICATION:
            targets = batch.truth, batch.known, batch.answers.shape[2]
            answers = self.machine.predict_labels(batch.inputs, *targets, batch.weight)
        else:
            goal = (batch.truth - batch.center) / batch.spread
            standard = self.machine.predict_numbers(batch.inputs, goal, batch.weight)
            answers = batch.center + batch.spread * standard
        alive = np.full(len(answers), ABSENT if self.machine.resting else 1, np.uint8)
        if batch.timeline is not None:
            self._pending["machine"].recall(batch.timeline, answers=answers, alive=alive)
        if batch.redirects is not None:
            answers = batch.redirects.apply(answers, batch.known)
        return answers, alive

    def _ask_trees(self, batch: ScoringBatch) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """Predictions of boosted trees, each before it is learned, and `alive`."""
        assert self.trees is not None
        assert batch.inputs is not None
        if self.task is Task.CLASSIFICATION:
            targets = batch.truth, batch.known, batch.answers.shape[2]
            answers, present = self.trees.predict_labels(batch.inputs, *targets, batch.weight)
        else:
            numbers = batch.truth, batch.center, batch.spread
            answers, present = self.trees.predict_numbers(batch.inputs, *numbers, batch.weight)
        alive = np.where(present, np.uint8(1), np.uint8(ABSENT))
        if batch.timeline is not None:
            self._pending["trees"].recall(batch.timeline, answers=answers, alive=alive)
        if batch.redirects is not None:
            answers = batch.redirects.apply(answers, batch.known)
        return answers, alive

    def _add_candidates(
        self, batch: ScoringBatch, *, learns: bool
    ) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """Predictions of the networks and, after them, of all other candidates.

        Unless they learn, those that are not forecasts do not predict.
        """
        more: list[NDArray[Any]] = []
        marks: list[NDArray[np.uint8]] = []
        self._add_forecasts(batch.forecasts, more, marks)
        if self.neighbors is not None and learns:
            more.append(self._ask_neighbors(batch))
            marks.append(np.ones(len(batch.truth), np.uint8))
        if self.machine is not None and learns:
            predicted, alive = self._ask_machine(batch)
            more.append(predicted)
            marks.append(alive)
        if self.trees is not None and learns:
            predicted, alive = self._ask_trees(batch)
            more.append(predicted)
            marks.append(alive)
        if self.guests is not None and learns:
            answers, present = self.guests.predict_then_learn(batch)
            more.extend(answers)
            marks.extend(present)
        return self._join(batch.answers, batch.alive, more, marks)

    def _add_forecasts(
        self,
        forecasts: NDArray[np.float64],
        more: list[NDArray[Any]],
        marks: list[NDArray[np.uint8]],
    ) -> None:
        """Forecasts of numbers, as if they were candidates, and whether there are any."""
        for place in range(-self._experts, 0):
            known = np.isfinite(forecasts[:, place])
            more.append(np.where(known, forecasts[:, place], 0.0))
            marks.append(known.astype(np.uint8))

    def _join(
        self,
        answers: NDArray[Any],
        alive: NDArray[np.uint8],
        more: list[NDArray[Any]],
        marks: list[NDArray[np.uint8]],
    ) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """Add candidates to those of the networks; further ones do not predict."""
        if not self._more:
            return answers, alive
        count, n = alive.shape
        joined = np.zeros((count + self._more, *answers.shape[1:]), answers.dtype)
        present = np.full((count + self._more, n), ABSENT, np.uint8)
        joined[:count], present[:count] = answers, alive
        for place, (predicted, mark) in enumerate(zip(more, marks, strict=True), start=count):
            joined[place], present[place] = predicted, mark
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
        if self.neighbors is not None:
            self.neighbors.move_class(*moved)
        if self.trees is not None:
            self.trees.move_class(*moved)
        if self.guests is not None:
            self.guests.move_class(moved)
        self._baselines.move_class(*moved)
        if moved.into != RETIRED:
            self.scores.merge_classes(*moved)
            self._pending["tracks"].merge_columns("answers", *moved)
            self._pending["neighbors"].merge_columns("answers", *moved)
            self._pending["machine"].merge_columns("answers", *moved)
            self._pending["trees"].merge_columns("answers", *moved)
            self._pending["tracks"].exchange("classes", *moved)

    def start_from(self, state: dict[str, Any]) -> None:
        """Start from the ensemble of a model whose networks are the candidates."""
        start = restore_ensemble(self.task, state)
        for ensemble in (self.ensemble, self.model):
            ensemble.adopt(start.widened(self._more))

    def combine(
        self,
        answers: NDArray[Any],
        alive: NDArray[np.uint8],
        *,
        known: int,
        scale: tuple[float, float] | None,
        forecasts: NDArray[np.float64] = NO_FORECASTS,
        redirects: ClassRedirects | None = None,
        without_lags: bool,
        key: Sequence[str | None] | None = None,
        inputs: Inputs | None = None,
        block: Block | None = None,
        labels: Sequence[str] = (),
        fields: Collection[str] = (),
    ) -> NDArray[Any]:
        """Combine predictions for samples of which each might be the next; changes nothing.

        ``answers`` are probabilities (candidates, n, labels), or numbers (candidates, n); ``alive``
        is 0 where one is not finite, shape=(candidates, n); ``scale`` is center and spread of the
        target, None for classification; ``forecasts`` are from the known targets alone, shape=(1,
        forecasts), empty without any; ``redirects`` of merged and retired classes are applied to
        ``answers`` already. ``without_lags`` uses the portable model instead of the ensemble, and
        no model of a ``key``. Models of keys and candidates without a network see the ``inputs``;
        guests also see what of the ``block`` is in ``fields``, and all ``labels``.
        """
        ensemble = self.model if without_lags else self.ensemble
        more: list[NDArray[Any]] = []
        marks: list[NDArray[np.uint8]] = []
        n, width = answers.shape[1], answers.shape[-1]
        if self._experts:
            self._add_forecasts(np.repeat(forecasts, n, axis=0), more, marks)
        if self.neighbors is not None:
            assert inputs is not None
            more.append(self.neighbors.predict(inputs, known, width))
            marks.append(np.ones(n, np.uint8))
        if self.machine is not None:
            assert inputs is not None
            if scale is None:
                more.append(self.machine.answer_labels(inputs, known, width))
            else:
                standard = self.machine.answer_numbers(inputs).astype(np.float64)
                more.append(scale[0] + scale[1] * standard)
            marks.append(np.full(n, ABSENT if self.machine.resting else 1, np.uint8))
        if self.trees is not None:
            assert inputs is not None
            if scale is None:
                predicted, present = self.trees.answer_labels(inputs, known, width)
            else:
                predicted, present = self.trees.answer_numbers(inputs, scale)
            more.append(predicted)
            marks.append(np.where(present, np.uint8(1), np.uint8(ABSENT)))
        if self.guests is not None and not without_lags:
            assert block is not None
            assert inputs is not None
            guests, marked = self.guests.predict(block, inputs, answers, labels, fields)
            more.extend(guests)
            marks.extend(marked)
        if redirects is not None:
            more = [redirects.apply(one, np.full(n, known)) for one in more]
        answers, alive = self._join(answers, alive, more, marks)
        shared: NDArray[Any]
        if isinstance(ensemble, LabelEnsemble):
            shared = ensemble.answer(answers, alive, known)
            if redirects is not None:
                shared = redirects.apply(shared, np.full(len(shared), known))
        else:
            assert scale is not None
            shared = ensemble.answer(answers, alive, scale)
        if self.keyed is None or key is None or without_lags:
            return shared
        assert inputs is not None
        return self.keyed.predict(key, shared, inputs.dense, known)

    def freeze(self) -> Contenders:
        """A copy whose ensemble combines as it does now, while this one learns.

        Models of keys are shared. The copy must not learn, and is without the portable model, and
        without guests, which are objects that may not be copied: it combines the other candidates.
        """
        frozen = copy(self)
        frozen.ensemble = self.ensemble.freeze()
        frozen.neighbors = self.neighbors and self.neighbors.freeze()
        frozen.machine = self.machine and self.machine.freeze()
        frozen.trees = self.trees and self.trees.freeze()
        frozen.guests = None
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
        """Let candidates rest that are much worse than others, at a round's end."""
        resting = [one for one in (self.machine, self.trees) if one is not None]
        if not resting:
            return
        losses = self.ensemble.losses
        count = self.ensemble.candidates
        means = losses[TOTAL, :count] / np.maximum(losses[COUNT, :count], 1e-300)
        known = np.flatnonzero(losses[COUNT, :count] > 0.0)
        if not len(known):
            return
        lowest = float(means[known].min())
        first = count - len(resting) - (0 if self.guests is None else len(self.guests))
        for place, one in enumerate(resting, start=first):
            one.end_round(float(means[place]), lowest)

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
            "neighbors": self.neighbors and self.neighbors.export_state(),
            "machine": self.machine and self.machine.export_state(),
            "trees": self.trees and self.trees.export_state(),
            **({} if self.guests is None else {"guests": self.guests.export_state()}),
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Resume from an exported state."""
        if self.guests is None and "guests" in state:
            names = format_names(state["guests"]["names"])
            raise StateError(
                f"guests is not given, but was {names}: only what gives them again can resume"
            )
        if self.guests is not None and "guests" not in state:
            raise StateError(f"guests is {format_names(self.guests.names)}, but was not given")
        self.ensemble = restore_ensemble(self.task, state["ensemble"])
        self.model = restore_ensemble(self.task, state["model"])
        self.scores = type(self.scores).restore_state(state["scores"])
        self._link_ensembles()
        self._baselines = type(self._baselines).restore_state(state["baselines"])
        for name, table in self._pending.items():
            table.restore_state(state["pending"][name])
        if self.keyed is not None:
            self.keyed.restore_state(state["keyed"])
        if self.neighbors is not None:
            self.neighbors.restore_state(state["neighbors"])
        if self.machine is not None:
            self.machine.restore_state(state["machine"])
        if self.trees is not None:
            self.trees.restore_state(state["trees"])
        if self.guests is not None:
            for place in self.guests.restore_state(state["guests"]):
                for ensemble in (self.ensemble, self.model):
                    slot = ensemble.candidates - len(self.guests) + place
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

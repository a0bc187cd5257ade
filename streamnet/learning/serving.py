"""The serving stage: serves a prediction for each sample, scores it, and decides once per round."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError
from streamnet.experts import Expert, ScoringBatch
from streamnet.features.columns.label import MovedClass
from streamnet.keyed.models import KeyedModels
from streamnet.learning.contenders import CHAMPION, ENSEMBLE, MODEL, SERVABLE, Contenders
from streamnet.learning.evaluator import DriftWatch, Scored
from streamnet.learning.intervals import ServedIntervals
from streamnet.learning.served_errors import accumulate_errors
from streamnet.learning.trainer import Predicted, Snapshot
from streamnet.metrics import Curve, Horizon, ScoreHistograms
from streamnet.networks.population import Member
from streamnet.networks.topology import Capacity
from streamnet.samples import ClassChange, KeyRemoval, Task
from streamnet.selection.champion import Decision, ModelComposition, Replacement, Selector
from streamnet.selection.criteria import SampleLoss
from streamnet.selection.ensemble.base import TrackPredictions
from streamnet.selection.search import CandidateStats, Evolution, replace_exploded
from streamnet.settings.candidate import CandidateSettings

CURVE_EVERY = 64
BY_BASELINE = -1  # the first baseline, if no candidate has a finite prediction
BY_ENSEMBLE = -2
BY_REQUEST = -3  # as a caller got it before
FIRST_GUEST = -4  # among the candidates of a leader board; others follow in descending order
_SURGE = 2  # rounds after a detected drift
MAX_CHANGES = 100  # changes of champion kept
MAX_RETIRED = 100  # retired candidates kept


class RetiredCandidate(NamedTuple):
    """A candidate that was replaced."""

    member: Member
    number: int  # of the first sample that it did not predict
    exploded: bool


class ChampionChange(NamedTuple):
    """A change of champion: the new one predicts from sample ``number`` on."""

    number: int
    before: Member | None  # None for the first champion, and if the champion itself was replaced
    after: Member
    loss_before: float  # faded mean losses when the change was decided; inf for none
    loss_after: float
    evidence: float  # e-value for the new one being better; 0 if no test was needed


class Served(NamedTuple):
    """A block with the prediction served for each sample, made before learning it.

    Nothing is served for a block that is not scored: all arrays are empty.
    """

    predicted: Predicted
    serials: NDArray[np.int64]  # shape=(n,): serial of the candidate that predicted, or BY_*
    answers: NDArray[Any]  # probabilities (n, outputs), or numbers (n,)
    classes: NDArray[np.int32]  # predicted class numbers, see `predicted_classes`
    decision: Decision | None  # if the block ends a round
    emitted: Snapshot | None
    # If there is an `interval`: bounds of numbers (n, 2), NaN as long as no error is known; or
    # whether each label is in the set (n, outputs).
    intervals: NDArray[Any] | None = None

    @property
    def predicted_classes(self) -> NDArray[np.intp]:
        """Numbers of the predicted classes, shape=(n,): the most probable one unless decided."""
        best: NDArray[np.intp] = self.answers.argmax(axis=1)
        return np.where(self.classes >= 0, self.classes, best) if len(self.classes) else best


@final
class ServingStage:
    """Serves the ensemble, or the current champion, and scores what was served.

    The champion is selected by ``criterion``, see `SampleLoss`; with a balanced one the ensemble
    predicts the label that would be the most probable one if all were equally frequent.
    ``interval`` is the level of prediction intervals, None for none. Where keys have models of
    their own (``keyed``), these are part of the ensemble; so are ``experts``.

    >>> from streamnet.learning.learner import Learner
    >>> serving = Learner(task=Task.REGRESSION).serving
    >>> serving.champion, serving.scored, serving.serves_ensemble
    (None, 0, True)
    """

    def __init__(
        self,
        members: list[Member],
        *,
        task: Task,
        selector: Selector,
        evolution: Evolution,
        drift: DriftWatch | None = None,
        serve: str = "ensemble",
        criterion: str | None = None,
        window: int = 1000,
        fading: float = 0.999,
        interval: float | None = None,
        forecasts: bool = False,
        experts: Sequence[Expert] = (),
        keyed: KeyedModels | None = None,
    ) -> None:
        if serve not in SERVABLE:
            raise ConfigurationError(
                f"serve is {serve!r}, but must be one of {', '.join(SERVABLE)}"
            )
        self.task: Task = task
        self.members: list[Member] = list(members)
        self.selector: Selector = selector
        self.sample_loss: SampleLoss = SampleLoss(task, criterion)
        self.evolution: Evolution = evolution
        self.drift: DriftWatch = DriftWatch() if drift is None else drift
        self.served_track: int = SERVABLE.index(serve)
        self.contenders: Contenders = Contenders(
            members,
            task=task,
            window=window,
            fading=fading,
            balanced=self.sample_loss.balanced,
            forecasts=forecasts,
            experts=experts,
            keyed=keyed,
        )
        self.histograms: ScoreHistograms | None = None  # of served probabilities
        if task is Task.CLASSIFICATION:
            self.histograms = ScoreHistograms(window=window, fading=fading)
        self.intervals: ServedIntervals | None = (
            None if interval is None else ServedIntervals(task, interval, window)
        )
        self.changes: deque[ChampionChange] = deque(maxlen=MAX_CHANGES)
        self.retired: deque[RetiredCandidate] = deque(maxlen=MAX_RETIRED)
        # Changes of the classes, with the number of the first sample after each. They are few: each
        # makes a class less.
        self.class_changes: list[tuple[int, ClassChange]] = []
        self.quarantines: int = 0
        self.curve: Curve = Curve()
        self.scored: int = 0  # samples with a target that were served
        self.unlabeled: int = 0  # samples without a target
        self.requested: int = 0  # of them, those scored by the answer that a caller got
        baselines = self.contenders.baselines
        # Sums of weighted errors, served and of the baselines, and the sum of weights.
        self._sums = np.zeros(2 + len(baselines))
        for slot, member in enumerate(members):
            selector.eligible[slot] = self._is_eligible(member)
        self._tracks = np.array([self.served_track, *baselines])
        # The champion is a model to take home as it is, unless it needs the last targets: then the
        # model predicts without them, too.
        lagged = any(member.settings.lags for member in members)
        portable = MODEL if self.serves_ensemble or lagged else CHAMPION
        self._interval_tracks = [self.served_track, portable]
        self._exploded: dict[int, int] = {}  # slot: number of the first sample not predicted
        self._leaving: set[int] = set()  # slots whose replacement is decided but not applied
        self._serials = self._list_serials()
        self._surge = 0  # rounds for which candidates are replaced more often
        self._round = 0
        self._emitted = -1  # serial of the last emitted champion

    def _list_serials(self) -> NDArray[np.int64]:
        """Return the serial in each slot, with that of the first baseline at the end."""
        return np.array([*(member.serial for member in self.members), BY_BASELINE], np.int64)

    @property
    def champion(self) -> Member | None:
        """The candidate that predicts the next sample."""
        slot = self.selector.champion
        return None if slot < 0 else self.members[slot]

    def start_from(self, ensemble: dict[str, Any], intervals: dict[str, Any] | None) -> None:
        """Start from the states of ensemble and intervals of a model with the same members."""
        self.contenders.start_from(ensemble)
        if self.intervals is not None and intervals is not None:
            self.intervals.start_from(intervals)

    def serve(self, scored: Scored) -> Served:
        """Select and score the predictions for a block, and decide if it ends a round."""
        predicted, batch, losses = scored
        if (moved := predicted.encoded.moved) is not None:
            self._move_class(predicted, moved)
        if isinstance(change := predicted.encoded.block.change, KeyRemoval):
            self.contenders.forget_key(change.key)
        for slot, member in predicted.joined:
            self._replace_member(slot, member, predicted.first)
        if predicted.encoded.block.scored and len(losses):
            combined = self.contenders.predict_then_learn(batch)
            serials, answers, classes, intervals = self.score(batch, losses, combined)
        else:
            self._choose(batch, losses)
            self.unlabeled += batch.count_unlabeled()
            serials, classes = np.empty(0, np.int64), np.empty(0, np.int32)
            answers = np.empty((0, *batch.answers.shape[2:]))
            intervals = None if self.intervals is None else np.empty((0, 2))
        decision = self._decide(predicted) if predicted.ends_round else None
        return Served(predicted, serials, answers, classes, decision, predicted.emitted, intervals)

    def _move_class(self, predicted: Predicted, moved: MovedClass) -> None:
        change = predicted.encoded.block.change
        assert isinstance(change, ClassChange)
        self.class_changes.append((predicted.first, change))
        self.contenders.move_class(moved)
        self.sample_loss.move_class(*moved)

    def score(
        self,
        batch: ScoringBatch,
        losses: NDArray[np.float64],
        ensemble_predictions: TrackPredictions,
    ) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[np.int32], NDArray[Any] | None]:
        """Select and score the predictions for samples.

        Takes the evaluator's losses, shape=(n, candidates), and what
        `Contenders.predict_then_learn` returned; returns the serials of the candidates that made
        the served predictions, and answers, classes and intervals as in `Served`.
        """
        losses = self.sample_loss.update(batch.answers, batch.truth, batch.known, losses)
        chosen = self._choose(batch, losses)
        judged, tracks = self.contenders.score(
            batch, ensemble_predictions, chosen, self.served_track
        )
        before = self.scored
        self._add_to_curve(judged, tracks)
        if batch.timeline is None:
            self.unlabeled += len(batch.truth) - (self.scored - before)
        else:  # a label may come without an answer to score
            self.unlabeled += batch.count_unlabeled()
        if self.histograms is not None:
            served = tracks.answers[self.served_track]
            self.histograms.update(served, judged.truth, judged.known, judged.weight)
        intervals = None
        if self.intervals is not None:
            given = tracks.answers[self._interval_tracks]
            if batch.redirects is not None:
                given = batch.redirects.exclude(given)
            intervals = self.intervals.serve(judged, given)
        answers, chosen = tracks.answers[self.served_track][batch.new], chosen[batch.new]
        classes = np.empty(0, np.int32)
        if tracks.classes.size:
            classes = tracks.classes[self.served_track][batch.new]
        if self.serves_ensemble:
            serials = np.full(len(chosen), BY_ENSEMBLE, np.int64)
            return serials, answers, classes, intervals
        return self._serials[chosen], answers, classes, intervals

    @property
    def errors(self) -> NDArray[np.float64]:
        """Sums of errors, served and of the two baselines, divided by the mean weight."""
        *errors, mass = self._sums.tolist()
        return np.array(errors) * (self.scored / mass if mass > 0.0 else 1.0)

    @property
    def serves_ensemble(self) -> bool:
        """Whether the ensemble is served instead of the champion."""
        return self.served_track == ENSEMBLE

    @property
    def balances(self) -> bool:
        """Whether another label than the most probable one may be served."""
        return self.serves_ensemble and self.sample_loss.balanced

    def decide(self, probabilities: NDArray[np.floating]) -> NDArray[np.intp]:
        """The class numbers that are served by these probabilities (n, labels)."""
        if self.balances:
            return self.contenders.decide(probabilities)
        best: NDArray[np.intp] = probabilities.argmax(axis=1)
        return best

    @property
    def has_ranking(self) -> bool:
        """Whether a candidate was scored, so that there is a network to predict with."""
        return bool(np.isfinite(self.selector.losses()).any())

    def _is_eligible(self, member: Member) -> bool:
        """Whether a candidate may become champion.

        Any may if the champion is served; beside the ensemble it leads the portable model.
        """
        return not self.serves_ensemble or self.contenders.is_portable(member)

    def measures(self, horizon: Horizon = Horizon.OVERALL) -> dict[str, float]:
        """Return all metrics of the served predictions by name."""
        scores = self.contenders.scores.measures(self.served_track, horizon)
        return scores if self.histograms is None else scores | self.histograms.measures(horizon)

    def _replace_member(self, slot: int, member: Member, number: int) -> None:
        exploded_at = self._exploded.pop(slot, None)
        first_missing = number if exploded_at is None else exploded_at
        self.retired.append(
            RetiredCandidate(self.members[slot], first_missing, exploded_at is not None)
        )
        self._leaving.remove(slot)
        self.members[slot] = member
        self._serials[slot] = member.serial
        self.contenders.reset_slot(slot, member)
        self.selector.reset(slot, eligible=self._is_eligible(member))

    def _choose(self, batch: ScoringBatch, losses: NDArray[np.float64]) -> NDArray[np.int32]:
        self._record_failures(batch)
        before = self.selector.switched
        order = batch.following, batch.weight
        chosen = self.selector.choose(batch.first, losses, batch.alive, *order)
        new = self.selector.switched - before
        for switch in list(self.selector.switches)[-new:] if new else ():
            old = None if switch.before < 0 else self.members[switch.before]
            change = ChampionChange(switch.number, old, self.members[switch.after], *switch[3:])
            self.changes.append(change)
        return chosen

    def _record_failures(self, batch: ScoringBatch) -> None:
        """Quarantine candidates without a finite prediction, from the first such sample on."""
        alive = batch.alive if batch.timeline is None else batch.alive[:, batch.new]
        if np.count_nonzero(alive) == alive.size:
            return
        for slot in np.flatnonzero(~alive.all(axis=1)).tolist():
            if slot not in self._exploded:
                self.quarantines += 1
                self._exploded[slot] = batch.first + int(np.argmin(alive[slot]))

    def _add_to_curve(self, batch: ScoringBatch, tracks: TrackPredictions) -> None:
        """Add the errors of the served predictions and the baselines to the curve."""
        before = self.scored
        first = before // CURVE_EVERY + 1
        sums = self._sums.copy()  # other threads must not see sums of half a block
        scored, recorded, losses = accumulate_errors(
            batch, tracks, self._tracks, sums, before, CURVE_EVERY
        )
        self.scored, self._sums = scored, sums
        for place, errors in enumerate(recorded.tolist(), start=first):
            self.curve.add(place * CURVE_EVERY, *errors)
        if batch.timeline is None:
            self.drift.add(batch.first, losses)
        else:
            known = batch.timeline.late | np.isfinite(losses)
            self.drift.add(batch.timeline.number[known], losses[known])
            if batch.given is not None:
                self.requested += int(np.isfinite(losses[batch.given.rows]).sum())

    def _decide(self, predicted: Predicted) -> Decision:
        self._check_drift()
        self.contenders.end_round()
        leaving = self._exploded.keys() - self._leaving
        self._leaving |= leaving
        settings = {slot: self.members[slot].settings for slot in leaving}
        number = predicted.first + len(predicted.encoded.block)
        replacements = replace_exploded(settings) or self._evolve(predicted, number)
        self._leaving |= {replacement.slot for replacement in replacements}
        resting: tuple[int, ...] = ()
        if self.serves_ensemble and not self._surge:  # after a drift, all have to learn fast
            resting = self.evolution.resting(self._round, self._collect_stats(), number=number)
        champion, slot = self.champion, self.selector.champion
        emit = None
        if champion and champion.serial != self._emitted and slot not in self._leaving:
            # By the time it is emitted, two rounds later, leaving candidates have been replaced.
            emit = self.compose_model(slot, set(range(len(self.members))) - self._leaving)
            self._emitted = champion.serial
        decision = Decision(self._round, replacements, emit, resting)
        self._round += 1
        return decision

    def _check_drift(self) -> None:
        """Check for drift at the end of a round, so that how blocks are cut does not matter."""
        self._surge = max(self._surge - 1, 0)
        if self.drift.check():
            self._surge = _SURGE
            self.contenders.discount_losses()

    def _collect_stats(self) -> list[CandidateStats]:
        """Performance of all candidates that stay; weights are relative to the average one."""
        losses = self.selector.losses()
        weights = self.contenders.ensemble.influence()
        weights /= max(float(weights.mean()), 1e-300)
        return [
            CandidateStats(
                slot,
                member,
                float(losses[slot]),
                float(weights[slot]),
                slot == self.selector.champion,
            )
            for slot, member in enumerate(self.members)
            if slot not in self._exploded and slot not in self._leaving
        ]

    def _evolve(self, predicted: Predicted, number: int) -> tuple[Replacement, ...]:
        """Replace a candidate if one is due; ``number`` is that of the next sample."""
        if not self.evolution.is_due(self._round, surge=self._surge > 0):
            return ()
        stats = self._collect_stats()
        inputs = predicted.encoded.inputs
        capacity = Capacity(
            inputs.dense.shape[1], inputs.rows, predicted.answers.outputs.shape[2], inputs.lags
        )
        return self.evolution.replacements(self._round, stats, number=number, capacity=capacity)

    def compose_model(self, champion: int, candidates: Collection[int]) -> ModelComposition:
        """Return the champion alone, or the portable model, the champion first.

        Its networks are among the slots ``candidates``. With a champion that needs the last
        targets goes the best candidate that predicts without them.
        """
        intervals = None if self.intervals is None else self.intervals.model_state()
        if not self.serves_ensemble:
            substitute = self.find_portable(champion, candidates)
            slots = [champion] if substitute == champion else [champion, substitute]
            return ModelComposition(champion, tuple(slots), None, intervals)
        model = self.contenders.model
        others = sorted(set(candidates) - {champion})
        slots = [champion, *(slot for slot in others if model.members[slot])]
        return ModelComposition(champion, tuple(slots), model.restricted(slots), intervals)

    def find_portable(self, champion: int, candidates: Collection[int]) -> int:
        """Find the slot that predicts in place of the champion where last targets are unknown.

        The champion itself if it does not need them, or if no candidate predicts without them; else
        the best of the slots ``candidates``.
        """
        if self.contenders.is_portable(self.members[champion]):
            return champion
        for slot in self.selector.losses().argsort(kind="stable").tolist():
            if slot in candidates and self.contenders.is_portable(self.members[slot]):
                return int(slot)
        return champion

    def rank_slots(self, healthy: NDArray[np.uint8]) -> Iterator[int]:
        """Yield the healthy slots that may become champion: the present one, then by faded loss."""
        healthy = healthy * self.selector.eligible
        champion = self.selector.champion
        if champion >= 0 and healthy[champion]:
            yield champion
        losses = self.selector.losses()
        for slot in losses.argsort(kind="stable").tolist():
            if healthy[slot] and slot != champion and losses[slot] < np.inf:
                yield slot

    def is_quarantined(self, slot: int) -> bool:
        """Whether the candidate in a slot has exploded and awaits its replacement."""
        return slot in self._exploded

    def export_state(self) -> dict[str, Any]:
        """Return everything needed to resume, bit for bit."""
        return {
            "members": [_export_member(member) for member in self.members],
            "selector": self.selector.export_state(),
            "sample_loss": self.sample_loss.export_state(),
            "histograms": self.histograms and self.histograms.export_state(),
            "contenders": self.contenders.export_state(),
            "intervals": None if self.intervals is None else self.intervals.export_state(),
            "changes": [
                [c.number, c.before and _export_member(c.before), _export_member(c.after)]
                for c in self.changes
            ],
            "change_losses": np.array([c[3:] for c in self.changes]).reshape(-1, 3),
            "retired": [[_export_member(r.member), *r[1:]] for r in self.retired],
            "quarantines": self.quarantines,
            "curve": self.curve.export_state(),
            "scored": self.scored,
            "unlabeled": self.unlabeled,
            "requested": self.requested,
            "errors": self._sums.copy(),
            # Sorted, since within a block their order depends on how it was cut.
            "exploded": [list(pair) for pair in sorted(self._exploded.items())],
            "leaving": sorted(self._leaving),
            "drift": self.drift.export_state(),
            "surge": self._surge,
            "round": self._round,
            "emitted": self._emitted,
            **({"class_changes": self._export_class_changes()} if self.class_changes else {}),
        }

    def _export_class_changes(self) -> list[list[Any]]:
        return [[number, *change] for number, change in self.class_changes]

    def restore_state(self, state: dict[str, Any]) -> None:
        """Resume from an exported state."""
        self.members = [_restore_member(*values) for values in state["members"]]
        self._serials = self._list_serials()
        self.selector.restore_state(state["selector"])
        self.sample_loss.restore_state(state["sample_loss"])
        if self.histograms is not None:
            self.histograms = ScoreHistograms.restore_state(state["histograms"])
        self.contenders.restore_state(state["contenders"])
        if self.intervals is not None:
            self.intervals.restore_state(state["intervals"])
        self.changes.clear()
        losses = state["change_losses"].tolist()
        for (number, before, after), pair in zip(state["changes"], losses, strict=True):
            old = None if before is None else _restore_member(*before)
            self.changes.append(ChampionChange(number, old, _restore_member(*after), *pair))
        self.retired.clear()
        for member, number, exploded in state["retired"]:
            self.retired.append(RetiredCandidate(_restore_member(*member), number, exploded))
        changes = state.get("class_changes", ())
        self.class_changes = [(number, ClassChange(*values)) for number, *values in changes]
        self.quarantines = state["quarantines"]
        self.curve = Curve.restore_state(state["curve"])
        self.scored, self.requested = state["scored"], state["requested"]
        self.unlabeled = state["unlabeled"]
        self._sums = np.array(state["errors"], np.float64)
        self._exploded = dict(state["exploded"])
        self._leaving = set(state["leaving"])
        self.drift.restore_state(state["drift"])
        self._surge = state["surge"]
        self._round = state["round"]
        self._emitted = state["emitted"]


def _export_member(member: Member) -> list[Any]:
    return [member.settings.as_dict(), member.serial, member.born]


def _restore_member(settings: dict[str, Any], serial: int, born: int) -> Member:
    return Member(CandidateSettings.from_dict(settings), serial, born)

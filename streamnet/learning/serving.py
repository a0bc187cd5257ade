"""The serving stage: the answer served for each sample, its score and the decision for each round."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError
from streamnet.learning.contenders import (
    BASELINES,
    ENSEMBLE,
    SERVABLE,
    Contenders,
    accumulate_errors,
)
from streamnet.learning.drift_watch import DriftWatch
from streamnet.learning.evaluator import Scored, ScoringBatch
from streamnet.learning.search.default_population import replace_exploded
from streamnet.learning.search.evolution import CandidateStats, Evolution
from streamnet.learning.trainer import Decision, ModelComposition, Predicted, Replacement, Snapshot
from streamnet.metrics import Curve, Horizon
from streamnet.networks.parameters import Member
from streamnet.networks.topology import Capacity
from streamnet.samples import Task
from streamnet.selection.champion import Selector
from streamnet.selection.criteria import SampleLoss
from streamnet.settings.candidate import CandidateSettings

__all__ = (
    "CURVE_EVERY",
    "MAX_CHANGES",
    "MAX_RETIRED",
    "ChampionChange",
    "RetiredCandidate",
    "Served",
    "ServingStage",
)

CURVE_EVERY = 64
BY_BASELINE = -1  # the first baseline, where no candidate was able to
BY_ENSEMBLE = -2
_SURGE = 2  # rounds after a drift was noticed
MAX_CHANGES = 100  # of champion, that are kept
MAX_RETIRED = 100  # candidates that are kept


class RetiredCandidate(NamedTuple):
    """A candidate that was replaced."""

    member: Member
    number: int  # of the first sample that it did not answer
    exploded: bool


class ChampionChange(NamedTuple):
    """A change of champion: the new one answers from sample ``number`` on."""

    number: int
    before: Member | None  # None at first, and after the champion itself was replaced
    after: Member
    loss_before: float  # faded mean loss of each when the change was decided; inf for none
    loss_after: float
    evidence: float  # e-value of the new one's being better; 0 where none was asked for


class Served(NamedTuple):
    """A block with the answer that was served to each sample, before it was learned.

    Of a block that is not scored nothing is served, so both arrays are empty.
    """

    scored: Predicted
    serials: NDArray[np.int64]  # shape=(n,): who answered: a candidate, or see BY_*
    answers: NDArray[Any]  # shares (n, outputs), or numbers (n,)
    decision: Decision | None  # if the block ends a round
    emitted: Snapshot | None


@final
class ServingStage:
    """Serves the ensemble, or the champion of each moment, and scores what was served.

    Args:
        members: The candidates at the start.
        task: Classification or regression.
        selector: Chooses the champion.
        evolution: Decides who makes room for whom.
        drift: Notices that what is served has become worse.
        serve: "ensemble" or "champion".
        criterion: By what the champion is chosen, see `SampleLoss`; None is the task's default. One
            that is balanced makes the ensemble answer as if all labels were equally frequent.
        window: Samples that the sliding measures look at.
        fading: Factor of all earlier samples in the fading measures.

    Raises:
        ConfigurationError: If a setting breaks its rule.

    >>> from streamnet.learning.learner import Learner
    >>> server = Learner(task=Task.REGRESSION).server
    >>> server.champion, server.scored, server.ensemble
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
    ) -> None:
        if serve not in SERVABLE:
            raise ConfigurationError(
                f"serve is {serve!r}, but must be one of {', '.join(SERVABLE)}"
            )
        self.task = task
        self.members = list(members)
        self.selector = selector
        self.sample_loss = SampleLoss(task, criterion)
        self.evolution = evolution
        self.drift = DriftWatch() if drift is None else drift
        self.serves = SERVABLE.index(serve)
        self.alternatives = Contenders(
            members,
            task=task,
            window=window,
            fading=fading,
            margin=selector.margin,
            balanced=self.sample_loss.balanced,
        )
        self.changes: deque[ChampionChange] = deque(maxlen=MAX_CHANGES)
        self.departed: deque[RetiredCandidate] = deque(maxlen=MAX_RETIRED)
        self.quarantines = 0
        self.curve = Curve()
        self.scored = 0  # samples that had a target and were served
        self.errors = np.zeros(3)  # summed: of what was served, and of the two baselines
        for slot, member in enumerate(members):
            selector.eligible[slot] = self.alternatives.portable(member)
        self._tracks = np.array([self.serves, *BASELINES])
        self._dead: dict[int, int] = {}  # slot, and the first sample that it did not answer
        self._leaving: set[int] = set()  # slots whose replacement is decided, but yet to come
        self._serials = self._all_serials()
        self._surge = 0  # rounds for which more candidates than usual make room
        self._round = 0
        self._emitted = -1  # serial of the champion that was emitted last

    def _all_serials(self) -> NDArray[np.int64]:
        """The candidate in each slot, and the one number of the first baseline at the end."""
        return np.array([*(member.serial for member in self.members), BY_BASELINE], np.int64)

    @property
    def champion(self) -> Member | None:
        """The candidate that answers the next sample."""
        slot = self.selector.champion
        return None if slot < 0 else self.members[slot]

    def serve(self, judged: Scored) -> Served:
        """Choose and score the answers of a block, and decide if it ends a round."""
        scored = judged.scored
        for slot, member in scored.joined:
            self._replace_member(slot, member, scored.first)
        answered, losses = judged.answered, judged.losses
        if scored.encoded.block.scored and len(losses):
            served, serials = self.judge(answered, losses, self.alternatives.say(answered))
        else:
            self._choose(answered, losses)
            served, serials = np.empty((0, *answered.answers.shape[2:])), np.empty(0, np.int64)
        decision = self._decide(scored) if scored.ends_round else None
        return Served(scored, serials, served, decision, scored.emitted)

    def judge(
        self, answered: ScoringBatch, losses: NDArray[np.float64], said: NDArray[np.float64]
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Choose and score the answers to samples; what was served, and by whom.

        Args:
            answered: The samples.
            losses: shape=(n, candidates), as the evaluator scored them.
            said: What `Alternatives.say` told of them.
        """
        about = answered.answers, answered.truth, answered.known
        losses = self.sample_loss.update(*about, losses)
        chosen = self._choose(answered, losses)
        answers = self.alternatives.score(answered, said, chosen)
        self._add_to_curve(answered, answers)
        if self.ensemble:
            return answers[self.serves], np.full(len(chosen), BY_ENSEMBLE, np.int64)
        return answers[self.serves], self._serials[chosen]

    @property
    def ensemble(self) -> bool:
        """Whether the ensemble is served, and not the champion alone."""
        return self.serves == ENSEMBLE

    def measures(self, horizon: Horizon = Horizon.OVERALL) -> dict[str, float]:
        """Every measure of what was served."""
        return self.alternatives.measures(self.serves, horizon)

    def _replace_member(self, slot: int, member: Member, number: int) -> None:
        died = self._dead.pop(slot, None)
        left = number if died is None else died
        self.departed.append(RetiredCandidate(self.members[slot], left, died is not None))
        self._leaving.remove(slot)
        self.members[slot] = member
        self._serials[slot] = member.serial
        self.alternatives.reset_slot(slot, member)
        self.selector.reset(slot, eligible=self.alternatives.portable(member))

    def _choose(self, answered: ScoringBatch, losses: NDArray[np.float64]) -> NDArray[np.int32]:
        self._record_failures(answered)
        before = self.selector.switched
        chosen = self.selector.choose(answered.first, losses, answered.alive)
        new = self.selector.switched - before
        for switch in list(self.selector.switches)[-new:] if new else ():
            old = None if switch.before < 0 else self.members[switch.before]
            change = ChampionChange(switch.number, old, self.members[switch.after], *switch[3:])
            self.changes.append(change)
        return chosen

    def _record_failures(self, answered: ScoringBatch) -> None:
        """Note who did not answer to the end, and since when."""
        alive = answered.alive
        if np.count_nonzero(alive) == alive.size:
            return
        for slot in np.flatnonzero(~alive.all(axis=1)).tolist():
            if slot not in self._dead:
                self.quarantines += 1
                self._dead[slot] = answered.first + int(np.argmin(alive[slot]))

    def _add_to_curve(self, answered: ScoringBatch, answers: NDArray[Any]) -> None:
        """Note the summed errors of what was served and of the baselines, now and then."""
        first = self.scored // CURVE_EVERY + 1
        errors = self.errors.copy()  # who looks at them meanwhile sees no sums of half a block
        scored, notes, losses = accumulate_errors(
            answered, answers, self._tracks, errors, self.scored, CURVE_EVERY
        )
        self.scored, self.errors = scored, errors
        for place, sums in enumerate(notes.tolist(), start=first):
            self.curve.add(place * CURVE_EVERY, *sums)
        self.drift.add(answered.first, losses)

    def _decide(self, scored: Predicted) -> Decision:
        self._check_drift()
        leaving = self._dead.keys() - self._leaving
        self._leaving |= leaving
        settings = {slot: self.members[slot].settings for slot in leaving}
        replacements = replace_exploded(settings) or self._evolve(scored)
        self._leaving |= {replacement.slot for replacement in replacements}
        champion, slot = self.champion, self.selector.champion
        emit = None
        if champion and champion.serial != self._emitted and slot not in self._leaving:
            # Two rounds later another candidate will be where one is about to leave.
            emit = self.emission(slot, set(range(len(self.members))) - self._leaving)
            self._emitted = champion.serial
        decision = Decision(self._round, replacements, emit)
        self._round += 1
        return decision

    def _check_drift(self) -> None:
        """At a round's end, so that how blocks were cut does not matter."""
        self._surge = max(self._surge - 1, 0)
        if self.drift.look():
            self._surge = _SURGE
            self.alternatives.discount_losses()

    def _evolve(self, scored: Predicted) -> tuple[Replacement, ...]:
        """Who makes room for a better idea."""
        if not self.evolution.is_due(self._round, surge=self._surge > 0):
            return ()
        losses = self.selector.losses()
        weights = self.alternatives.ensemble.influence()
        stats = [
            CandidateStats(
                slot,
                member,
                float(losses[slot]),
                float(weights[slot]),
                slot == self.selector.champion,
            )
            for slot, member in enumerate(self.members)
            if slot not in self._dead and slot not in self._leaving
        ]
        inputs = scored.encoded.inputs
        capacity = Capacity(
            inputs.dense.shape[1], inputs.rows, scored.answers.outputs.shape[2], inputs.lags
        )
        number = scored.first + len(scored.encoded.block)
        return self.evolution.replacements(self._round, stats, number=number, capacity=capacity)

    def emission(self, champion: int, among: Collection[int]) -> ModelComposition:
        """The champion alone, or all that the model to take home is made of, the champion first.

        Args:
            champion: Its slot.
            among: Slots of candidates that the model may be made of.
        """
        if not self.ensemble:
            return ModelComposition(champion, (champion,), None)
        model = self.alternatives.model
        others = sorted(set(among) - {champion})
        slots = [champion, *(slot for slot in others if model.members[slot])]
        return ModelComposition(champion, tuple(slots), model.restricted(slots))

    def ranked(self, healthy: NDArray[np.uint8]) -> Iterator[int]:
        """Slots that may be champion, healthy and not new: the champion, then by faded loss."""
        healthy = healthy * self.selector.eligible
        champion = self.selector.champion
        if champion >= 0 and healthy[champion]:
            yield champion
        losses = self.selector.losses()
        for slot in losses.argsort(kind="stable").tolist():
            if healthy[slot] and slot != champion and losses[slot] < np.inf:
                yield slot

    def quarantined(self, slot: int) -> bool:
        """Whether a slot's candidate exploded and waits for its replacement."""
        return slot in self._dead

    def export_state(self) -> dict[str, Any]:
        """Everything needed to go on, to the bit."""
        return {
            "members": [_export_member(member) for member in self.members],
            "selector": self.selector.export_state(),
            "sample_loss": self.sample_loss.export_state(),
            "alternatives": self.alternatives.export_state(),
            "changes": [
                [c.number, c.before and _export_member(c.before), _export_member(c.after)]
                for c in self.changes
            ],
            "change_losses": np.array([c[3:] for c in self.changes]).reshape(-1, 3),
            "departed": [[_export_member(d.member), *d[1:]] for d in self.departed],
            "quarantines": self.quarantines,
            "curve": self.curve.export_state(),
            "scored": self.scored,
            "totals": self.errors.copy(),
            # By slot: within a block they are not noted in the order in which they died.
            "dead": [list(pair) for pair in sorted(self._dead.items())],
            "leaving": sorted(self._leaving),
            "drift": self.drift.export_state(),
            "surge": self._surge,
            "round": self._round,
            "emitted": self._emitted,
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on as the server did whose state this is."""
        self.members = [_restore_member(*values) for values in state["members"]]
        self._serials = self._all_serials()
        self.selector.restore_state(state["selector"])
        if "sample_loss" in state:  # release 0.1.0 had no other criterion than the default
            self.sample_loss.restore_state(state["sample_loss"])
        self.alternatives.restore_state(state["alternatives"])
        self.changes.clear()
        losses = state["change_losses"].tolist()
        for (number, before, after), pair in zip(state["changes"], losses, strict=True):
            old = None if before is None else _restore_member(*before)
            self.changes.append(ChampionChange(number, old, _restore_member(*after), *pair))
        self.departed.clear()
        for member, number, exploded in state["departed"]:
            self.departed.append(RetiredCandidate(_restore_member(*member), number, exploded))
        self.quarantines = state["quarantines"]
        self.curve = Curve.restore_state(state["curve"])
        self.scored = state["scored"]
        self.errors = np.array(state["totals"], np.float64)
        self._dead = dict(state["dead"])
        self._leaving = set(state["leaving"])
        self.drift.restore_state(state["drift"])
        self._surge = state["surge"]
        self._round = state["round"]
        self._emitted = state["emitted"]


def _export_member(member: Member) -> list[Any]:
    return [member.settings.as_dict(), member.serial, member.born]


def _restore_member(settings: dict[str, Any], serial: int, born: int) -> Member:
    return Member(CandidateSettings.from_dict(settings), serial, born)

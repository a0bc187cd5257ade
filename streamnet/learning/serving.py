"""Serving: the champion's answer to each sample, its score, and the decision on each round."""

from __future__ import annotations

from collections import deque
from typing import Any
from typing import NamedTuple
from typing import final

import numpy as np
from numpy.typing import NDArray

from streamnet.evaluation import Curve
from streamnet.features.encoded import Encoded
from streamnet.learning.evaluator import Judged
from streamnet.learning.evaluator import Scores
from streamnet.learning.search import replacements_of
from streamnet.learning.trainer import Decision
from streamnet.learning.trainer import Scored
from streamnet.learning.trainer import Snapshot
from streamnet.networks.candidate import CandidateSettings
from streamnet.networks.population import Member
from streamnet.samples import Task
from streamnet.selection.selector import Selector

__all__ = ("CURVE_EVERY", "Departed", "Served", "Server", "errors_of")

_DEPARTED = 100
CURVE_EVERY = 64


class Departed(NamedTuple):
    """A candidate that exploded and was replaced."""

    member: Member
    number: int  # of the first sample that it did not answer


class Served(NamedTuple):
    """A block with the answer that was served to each sample, before it was learned."""

    scored: Scored
    serials: NDArray[np.int64]  # shape=(n,): candidate that answered, -1 for the first baseline
    answers: NDArray[Any]  # shares (n, outputs), or numbers (n,)
    decision: Decision | None  # if the block ends a round
    emitted: Snapshot | None


@final
class Server:
    """Serves the champion of each moment and scores what was served.

    Args:
        members: The candidates at the start.
        task: Classification or regression.
        selector: Chooses the champion.
        window: Samples that the sliding measures look at.
        fading: Factor of all earlier samples in the fading measures.
    """

    def __init__(
        self,
        members: list[Member],
        *,
        task: Task,
        selector: Selector,
        window: int = 1000,
        fading: float = 0.999,
    ) -> None:
        self.task = task
        self.members = list(members)
        self.selector = selector
        self.served = Scores(1, task=task, window=window, fading=fading)
        self.departed: deque[Departed] = deque(maxlen=_DEPARTED)
        self.quarantines = 0
        self.curve = Curve()
        self.scored = 0
        self.errors = np.zeros(3)  # summed: of what was served, and of the two baselines
        self._dead: dict[int, int] = {}  # slot, and the first sample that it did not answer
        self._round = 0
        self._emitted = -1  # serial of the champion that was emitted last

    @property
    def champion(self) -> Member | None:
        """The candidate that answers the next sample."""
        slot = self.selector.champion
        return None if slot < 0 else self.members[slot]

    def serve(self, judged: Judged) -> Served:
        """Choose and score the answers of a block, and decide if it ends a round."""
        scored = judged.scored
        for slot, member in scored.joined:
            self._welcome(slot, member)
        chosen = self.selector.choose(scored.first, judged.losses)
        if len(chosen):
            self._note_dead(scored)
            served = _served(judged, chosen)
            self.served.update(scored, served[None])
            self._add_to_curve(judged, served)
        else:
            served = np.empty((0, *judged.answers.shape[2:]))
        serials = np.array([member.serial for member in self.members] + [-1], np.int64)
        decision = self._decide(scored) if scored.ends_round else None
        return Served(scored, serials[chosen], served, decision, scored.emitted)

    def _welcome(self, slot: int, member: Member) -> None:
        self.departed.append(Departed(self.members[slot], self._dead.pop(slot, member.born)))
        self.members[slot] = member
        self.selector.reset(slot)

    def _note_dead(self, scored: Scored) -> None:
        for slot in np.flatnonzero(scored.answers.alive[:, -1] == 0):
            if int(slot) not in self._dead:
                self.quarantines += 1
                first = int(np.argmin(scored.answers.alive[slot]))
                self._dead[int(slot)] = scored.first + first

    def _add_to_curve(self, judged: Judged, served: NDArray[Any]) -> None:
        """Note the summed errors of what was served and of the baselines, now and then."""
        encoded = judged.scored.encoded
        errors = np.stack(
            [errors_of(encoded, answers) for answers in (served, *judged.baselines)], axis=1
        )
        # A running sum adds one after the other, so that it does not depend on how blocks are cut.
        totals = np.cumsum(np.concatenate((self.errors[None], errors)), axis=0)
        first = self.scored + 1
        self.scored += len(errors)
        self.errors = totals[-1]
        for number in range(-(-first // CURVE_EVERY) * CURVE_EVERY, self.scored + 1, CURVE_EVERY):
            self.curve.add(number, *totals[number - first + 1])

    def _decide(self, scored: Scored) -> Decision:
        dead = {slot: self.members[slot].settings for slot in self._dead}
        champion = self.champion
        emit = None
        if champion is not None and champion.serial != self._emitted:
            emit = self.selector.champion
            self._emitted = champion.serial
        decision = Decision(self._round, replacements_of(dead), emit)
        self._round += 1
        return decision

    def quarantined(self, slot: int) -> bool:
        """Whether a slot's candidate exploded and waits for its replacement."""
        return slot in self._dead

    def export_state(self) -> dict[str, Any]:
        """Everything needed to go on, to the bit."""
        return {
            "members": [[m.settings.as_dict(), m.serial, m.born] for m in self.members],
            "selector": self.selector.export_state(),
            "served": self.served.evaluator.export_state(),
            "departed": [
                [d.member.settings.as_dict(), d.member.serial, d.member.born, d.number]
                for d in self.departed
            ],
            "quarantines": self.quarantines,
            "curve": self.curve.export_state(),
            "scored": self.scored,
            "totals": self.errors.copy(),
            "dead": [[slot, number] for slot, number in self._dead.items()],
            "round": self._round,
            "emitted": self._emitted,
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on as the server did whose state this is."""
        self.members = [_member(*values) for values in state["members"]]
        self.selector.restore_state(state["selector"])
        self.served.evaluator = type(self.served.evaluator).restore_state(state["served"])
        self.departed.clear()
        for *member, number in state["departed"]:
            self.departed.append(Departed(_member(*member), number))
        self.quarantines = state["quarantines"]
        self.curve = Curve.restore_state(state["curve"])
        self.scored = state["scored"]
        self.errors = np.array(state["totals"], np.float64)
        self._dead = {slot: number for slot, number in state["dead"]}
        self._round = state["round"]
        self._emitted = state["emitted"]


def _member(settings: dict[str, Any], serial: int, born: int) -> Member:
    return Member(CandidateSettings.from_dict(settings), serial, born)


def errors_of(encoded: Encoded, answers: NDArray[Any]) -> NDArray[np.float64]:
    """1 for a wrong label and 0 for a right one, or the absolute error of a number; shape=(n,)."""
    if answers.ndim == 1:
        return np.abs(answers - encoded.block.target)
    wrong = (answers.argmax(axis=1) != encoded.label) | (encoded.known == 0)
    return wrong.astype(np.float64)


def _served(judged: Judged, chosen: NDArray[np.int32]) -> NDArray[Any]:
    samples = np.arange(len(chosen))
    served = judged.answers[np.maximum(chosen, 0), samples]
    for i in np.flatnonzero(chosen < 0):
        # No candidate is able to answer: the first baseline does.
        served[i] = 0
        if served.ndim == 1:
            served[i] = judged.baselines[0, i]
        else:
            width = min(served.shape[1], judged.baselines.shape[2])
            served[i, :width] = judged.baselines[0, i, :width]
    return served

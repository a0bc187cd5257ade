"""The trainer: trains the population round by round and applies decisions one round late."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, final

import numpy as np
from msgspec import Struct
from numpy.typing import DTypeLike, NDArray

from streamnet.features.encoder import Encoded, Encoder, EncoderSnapshot
from streamnet.networks.kernels.contexts import new_work_counter
from streamnet.networks.parameters import Member, NetworkOutputs, Weights, WeightsCopy
from streamnet.networks.population import Population
from streamnet.networks.replay_buffer import NO_LABELS, NO_NUMBERS
from streamnet.samples import Task
from streamnet.selection.ensemble.registry import restore_ensemble
from streamnet.settings.candidate import CandidateSettings

__all__ = (
    "Decision",
    "Job",
    "ModelComposition",
    "Predicted",
    "Replacement",
    "Snapshot",
    "Trainer",
    "export_decisions",
)


class Replacement(NamedTuple):
    """Another candidate for the place of one."""

    slot: int
    settings: CandidateSettings
    parent: int | None = None  # slot whose weights it starts with; None starts afresh


class ModelComposition(NamedTuple):
    """Which networks are to be emitted as a model."""

    champion: int  # slot of the best
    slots: tuple[int, ...]  # of all, in the order of the ensemble
    ensemble: dict[str, Any] | None  # how they answer together; None for the champion alone


class Decision(NamedTuple):
    """What the selector wants done with the population, said once a round."""

    round: int
    replacements: tuple[Replacement, ...] = ()
    emit: ModelComposition | None = None


class Snapshot(NamedTuple):
    """Networks and the encoder that goes with them, at the start of a sample."""

    member: Member  # the best
    copies: tuple[tuple[CandidateSettings, WeightsCopy], ...]
    ensemble: dict[str, Any] | None  # how they answer together; None for the best alone
    encoder: EncoderSnapshot
    number: int

    def networks(self) -> list[tuple[CandidateSettings, Weights]]:
        """The copies taken apart."""
        return [(settings, copied.weights()) for settings, copied in self.copies]


@final
class Predicted(Struct, frozen=True, eq=False, gc=False):
    """A block with what every candidate answered before learning it."""

    encoded: Encoded
    first: int  # number of the block's first sample
    answers: NetworkOutputs
    ends_round: bool
    joined: tuple[tuple[int, Member], ...] = ()  # candidates that came at this block's start
    emitted: Snapshot | None = None
    weights: NDArray[Any] | None = None  # of all candidates at the round's end, if they are kept


@final
class Job(Struct, frozen=True, eq=False, gc=False):
    """A block that is being learned."""

    known: NDArray[np.int32]  # outputs that may be named before each sample
    answers: NetworkOutputs
    turns: NDArray[np.int64]  # among the threads that run it
    checks: bool  # whether `run` looks at weights as well


def _round_up_outputs(labels: int) -> int:
    """A power of two, so that room grows alike however blocks are cut."""
    return 1 << max(labels - 1, 1).bit_length()


def _find_largest_class(encoded: Encoded) -> int:
    """The largest class number of a block that is not empty, or one below the known ones."""
    # Classes are numbered as they come, unless all those that are learned were known before.
    return encoded.label.item(-1) if encoded.block.learned else int(encoded.label.max())


@final
class Trainer:
    """Learns encoded blocks with all candidates and applies decisions between rounds.

    The decision on round r is applied at the start of round r + 2, however fast it was made; it has
    to be told before that.

    Args:
        settings: One for each candidate.
        task: Classification or regression.
        seed: Key of all random numbers.
        dtype: float32 or float64.
        serials: Keys of the candidates' random numbers, see `Population`.
        keeps_weights: Whether a copy of all weights goes with the last block of each round: by the
            time that it was judged, training is further on.

    >>> trainer = Trainer([CandidateSettings()], task=Task.REGRESSION)
    >>> trainer.number, trainer.round, trainer.at_start
    (0, 0, True)
    """

    def __init__(
        self,
        settings: Sequence[CandidateSettings],
        *,
        task: Task,
        seed: int = 0,
        dtype: DTypeLike = np.float32,
        serials: Sequence[int] | None = None,
        keeps_weights: bool = False,
    ) -> None:
        self.population = Population(settings, task=task, seed=seed, dtype=dtype, serials=serials)
        self._regression = Task(task) is Task.REGRESSION
        self.number = 0  # of the next sample
        self.round = 0
        self._decisions: deque[Decision] = deque()
        self._encoder: EncoderSnapshot | None = None  # at the end of the last round
        self._joined: tuple[tuple[int, Member], ...] = ()
        self._emitted: Snapshot | None = None
        self._at_start = True
        self._keeps_weights = keeps_weights

    @property
    def at_start(self) -> bool:
        """Whether the next sample is a round's first."""
        return self._at_start

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Those that were told and not applied yet."""
        return tuple(self._decisions)

    def decide(self, decision: Decision) -> None:
        """Tell the decision on a round; each round has exactly one, told in order."""
        self._decisions.append(decision)

    def start_from(self, networks: Sequence[Weights], encoder: Encoder) -> None:
        """Give every candidate weights to start with, for what ``encoder`` knows by now."""
        known = encoder.statistics()
        outputs = 1 if self._regression else _round_up_outputs(known.classes)
        self.population.reserve(
            dense=known.dense, rows=known.rows, outputs=outputs, lags=encoder.lags
        )
        for slot, weights in enumerate(networks):
            self.population.insert(slot, weights)

    def begin(self, encoded: Encoded, threads: int = 1, ends_round: bool = False) -> Job:
        """Take a block in; then `run` it, in so many threads, and `finish` it.

        Who runs a block checks the weights that it has learned, if the block ends a round.
        """
        n = len(encoded.block)
        if n:
            self._begin_round()
        if not n and self.population.capacity.outputs == 0:
            # The first sample is yet to come: its inputs decide how start weights are drawn.
            return Job(
                np.empty(0, np.int32), self._empty_answers(), new_work_counter(threads), False
            )
        # What is held out looks to the kernels like samples whose targets nobody knows.
        label, goal, logs = encoded.label, encoded.goal, encoded.log_goal
        if not encoded.block.learned:
            label, goal = NO_LABELS, NO_NUMBERS
        if self._regression:
            label = np.where(np.isfinite(goal), 0, -1).astype(np.int32)
            known, outputs = np.ones(n, np.int32), 1
        else:
            known = encoded.known
            outputs = _round_up_outputs(
                max(known.item(-1), _find_largest_class(encoded) + 1) if n else 1
            )
        answers = self.population.prepare(self.number, encoded.inputs, label, goal, outputs, logs)
        return Job(known, answers, new_work_counter(threads), ends_round and n > 0)

    def _empty_answers(self) -> NetworkOutputs:
        candidates, dtype = len(self.population.members), self.population.dtype
        return NetworkOutputs(
            np.empty((candidates, 0, 1), dtype), np.empty((candidates, 0), np.uint8)
        )

    def run(self, job: Job) -> None:
        """Let every candidate answer and learn the block, together with other threads."""
        if len(job.known):
            self.population.run(self.number, job.known, job.answers, job.turns, job.checks)

    def finish(self, encoded: Encoded, job: Job, ending: EncoderSnapshot | None) -> Predicted:
        """Close a block that every candidate has learned; see `learn` for ``ending``."""
        if ending is not None:
            self._begin_round()  # of which all samples were refused
        weights = self._keeps_weights and ending is not None
        scored = Predicted(
            encoded,
            self.number,
            job.answers,
            ending is not None,
            self._joined,
            self._emitted,
            self.population.weights.copy() if weights else None,
        )
        self._joined, self._emitted = (), None
        self.number += len(encoded.block)
        if ending is not None:
            if not job.checks:
                self.population.check()
            self._encoder = ending
            self._at_start = True
            self.round += 1
        return scored

    def learn(self, encoded: Encoded, ending: EncoderSnapshot | None) -> Predicted:
        """Take a block through all of it, in this thread.

        Args:
            encoded: The next samples, none beyond the round's end.
            ending: If the block ends a round, what the encoder knew after it.
        """
        job = self.begin(encoded, ends_round=ending is not None)
        self.run(job)
        return self.finish(encoded, job, ending)

    def _begin_round(self) -> None:
        """Unless it has begun: with its first sample, or where none is left, as it ends.

        Records that are rejected begin none: whether they come alone depends on how blocks are cut.
        """
        if self._at_start and self.round >= 2:
            self._apply(self._decisions.popleft())
        self._at_start = False

    def _apply(self, decision: Decision) -> None:
        for slot, settings, parent in decision.replacements:
            if parent is not None and not self.population.healthy[parent]:
                parent = None
            member = self.population.replace(slot, settings, born=self.number, parent=parent)
            self._joined += ((slot, member),)
        # Nobody emits a network that has exploded since; without its champion no model comes.
        if decision.emit is not None and self.population.healthy[decision.emit.champion]:
            assert self._encoder is not None
            self._emitted = self.snapshot(self._healthy(decision.emit), self._encoder)

    def _healthy(self, emission: ModelComposition) -> ModelComposition:
        """The emission without networks that have exploded since it was decided."""
        champion, slots, state = emission
        kept = [place for place, slot in enumerate(slots) if self.population.healthy[slot]]
        if state is None or len(kept) == len(slots):
            return emission
        state = restore_ensemble(self.population.task, state).restricted(kept)
        return ModelComposition(champion, tuple(slots[place] for place in kept), state)

    def snapshot(self, emission: ModelComposition, encoder: EncoderSnapshot) -> Snapshot:
        """A copy of networks as they are now."""
        rows, outputs = int(encoder.counters[0]), max(encoder.labels.length, 1)
        members = self.population.members
        copies = tuple(
            (members[slot].settings, self.population.copied(slot, rows=rows, outputs=outputs))
            for slot in emission.slots
        )
        best = members[emission.champion]
        return Snapshot(best, copies, emission.ensemble, encoder, self.number)

    def export_state(self) -> dict[str, Any]:
        """Everything needed to go on after the last block, to the bit."""
        return {
            "number": self.number,
            "round": self.round,
            "at_start": self._at_start,
            "population": self.population.export_state(self.number),
            "decisions": export_decisions(self._decisions),
        }

    def restore_state(self, state: dict[str, Any], encoder: EncoderSnapshot | None) -> None:
        """Go on as the trainer did whose state this is, with the encoder of the same moment."""
        self.number = state["number"]
        self.round = state["round"]
        self._at_start = state["at_start"]
        self.population.restore_state(self.number, state["population"])
        self._encoder = encoder
        self._decisions = deque(
            Decision(
                number,
                tuple(
                    Replacement(slot, CandidateSettings.from_dict(given), parent)
                    for slot, given, parent in replacements
                ),
                None if emit is None else ModelComposition(emit[0], tuple(emit[1]), emit[2]),
            )
            for number, replacements, emit in state["decisions"]
        )


def export_decisions(decisions: Iterable[Decision]) -> list[Any]:
    """Decisions as a trainer's state holds those that it has not applied yet."""
    return [
        [
            d.round,
            [[slot, s.as_dict(), parent] for slot, s, parent in d.replacements],
            None if d.emit is None else list(d.emit),
        ]
        for d in decisions
    ]

"""The trainer: trains the population round by round and applies decisions two rounds later."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple, final

import numpy as np
from msgspec import Struct
from numpy.typing import DTypeLike, NDArray

from streamnet.features.encoder import Encoded, Encoder
from streamnet.features.snapshot import EncoderSnapshot
from streamnet.networks.kernels.contexts import new_work_counter
from streamnet.networks.parameters import Weights, WeightsCopy
from streamnet.networks.population import Member, NetworkOutputs, Population
from streamnet.networks.replay_buffer import NO_LABELS, NO_NUMBERS
from streamnet.samples import Task, constant_column
from streamnet.selection.champion import (
    Decision,
    ModelComposition,
    export_decisions,
    restore_decisions,
)
from streamnet.selection.ensemble.registry import restore_ensemble
from streamnet.settings.candidate import CandidateSettings, describe_networks


class Snapshot(NamedTuple):
    """A copy of networks and their encoder at the start of a sample."""

    member: Member  # the best candidate
    copies: tuple[tuple[CandidateSettings, WeightsCopy], ...]
    ensemble: dict[str, Any] | None  # state of their ensemble; None for the best candidate alone
    encoder: EncoderSnapshot
    number: int
    intervals: dict[str, Any] | None = None  # state of their intervals, if there are any

    def describe(self) -> str:
        """Describe the networks in a few words."""
        return describe_networks([settings for settings, _ in self.copies])

    def networks(self) -> list[tuple[CandidateSettings, Weights]]:
        """Return settings and weights of each network."""
        return [(settings, copied.weights()) for settings, copied in self.copies]

    def contents(self) -> dict[str, Any]:
        """Everything that a model is built from, except its metadata."""
        networks = self.networks()
        return {
            "encoder": self.encoder.materialize_for_model(),
            "networks": networks,
            "ensemble": self.ensemble,
            "dtype": networks[0][1]["first"].dtype.name,
            "intervals": self.intervals,
        }


@final
class Scores(Struct, frozen=True, eq=False, gc=False):
    """Predictions of all candidates, scored where they were made; see `ScoringBatch`."""

    answers: NDArray[Any]  # probabilities (candidates, n, outputs), or numbers (candidates, n)
    alive: NDArray[np.uint8]  # shape=(candidates, n)
    losses: NDArray[np.float64]  # shape=(n, candidates)
    # What was known when the sample of a label that has arrived was predicted; shape=(n,).
    known: NDArray[np.int32]
    center: NDArray[np.float64]
    spread: NDArray[np.float64]


class RemotePopulation(Population):
    """A population whose networks are elsewhere, where they also score what they predict."""

    @abstractmethod
    def learn(self, rows: int, number: int, encoded: Encoded, *, checks: bool) -> Scores:
        """Let all candidates predict, score and learn a block.

        Args:
            rows: Rows that were learned before; see `Trainer.rows`.
            number: Number of the block's first sample.
            encoded: The block.
            checks: Whether to check all weights after it.
        """


@final
class Predicted(Struct, frozen=True, eq=False, gc=False):
    """A block with every candidate's predictions, made before learning each sample."""

    encoded: Encoded
    first: int  # number of the block's first sample
    answers: NetworkOutputs
    ends_round: bool
    joined: tuple[tuple[int, Member], ...] = ()  # candidates that joined at the block's start
    emitted: Snapshot | None = None
    weights: NDArray[Any] | None = None  # of all candidates at the end of the round, if kept
    scores: Scores | None = None  # if the answers are scored already, and only there


@final
class Job(Struct, eq=False, gc=False):
    """A block in training."""

    known: NDArray[np.int32]  # outputs in use before each sample
    answers: NetworkOutputs
    work_counter: NDArray[np.int64]  # shared by the threads that run the job
    checks: bool  # whether `run` also checks that the weights are finite
    sparse: bool = False  # whether rows are those of a timeline
    encoded: Encoded | None = None  # if it is learned elsewhere
    scores: Scores | None = None  # that came from there


def prepare_job(
    population: Population, rows: int, encoded: Encoded, threads: int = 1, *, ends_round: bool
) -> Job:
    """Prepare a block for training; see `Trainer.rows`, and `Trainer.begin` for the rest."""
    n, regression = len(encoded.inputs.count), population.task is Task.REGRESSION
    if encoded.moved is not None:
        population.move_class(*encoded.moved)
    if not n and population.capacity.outputs == 0:
        # Initial weights depend on the inputs of the first sample, which is yet to come.
        answers = NetworkOutputs(
            np.empty((len(population.members), 0, 1), population.dtype),
            np.empty((len(population.members), 0), np.uint8),
        )
        return Job(np.empty(0, np.int32), answers, new_work_counter(threads), False)
    # To the kernels, held-out samples look like samples without a target.
    label, goal, logs = encoded.label, encoded.goal, encoded.log_goal
    if not encoded.block.learned:
        label, goal = NO_LABELS, NO_NUMBERS
    if regression:
        label = np.where(np.isfinite(goal), 0, -1).astype(np.int32)
        known, outputs = np.ones(n, np.int32), 1
    else:
        known = encoded.known
        outputs = _round_up_outputs(
            max(known.item(-1), _find_largest_class(encoded) + 1) if n else 1
        )
    answers = population.prepare(rows, encoded.inputs, label, goal, outputs, logs, encoded.weight)
    late = encoded.timeline is not None
    return Job(known, answers, new_work_counter(threads), ends_round and n > 0, late)


def run_job(population: Population, rows: int, job: Job) -> None:
    """Train every candidate on a block, sharing the work with other threads."""
    if len(job.known):
        population.run(rows, job.known, job.answers, job.work_counter, job.checks, job.sparse)


def _count_learned(encoded: Encoded) -> int:
    """Number of samples that do not wait for their label, and of labels that have arrived."""
    timeline = encoded.timeline
    if timeline is None:
        return len(encoded.block)
    known = encoded.label >= 0 if len(encoded.label) else np.isfinite(encoded.target)
    return int(np.count_nonzero(np.where(timeline.late, known, timeline.place < 0)))


def _round_up_outputs(labels: int) -> int:
    """Round up to a power of two, so that growth does not depend on how blocks are cut."""
    return 1 << max(labels - 1, 1).bit_length()


def _find_largest_class(encoded: Encoded) -> int:
    """Return the largest class index of a non-empty block, or one below the known ones."""
    # Classes are numbered in order of appearance, unless all learned ones were known before.
    return encoded.label.item(-1) if encoded.block.learned else int(encoded.label.max())


@final
class Trainer:
    """Trains all candidates on encoded blocks and applies decisions between rounds.

    The decision on round r is applied at the start of round r + 2, no matter how early it was made;
    `decide` must be called before that. ``keeps_weights`` copies all weights at the end of each
    round: needed if scores arrive when training is already further on. See `Population` for
    ``serials``.

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
        self.population: Population = Population(
            settings, task=task, seed=seed, dtype=dtype, serials=serials
        )
        self._regression = Task(task) is Task.REGRESSION
        self.number: int = 0  # of the next sample
        self.rows: int = 0  # samples, and labels that arrived late, so far
        self.learned: int = 0  # samples without those whose labels have yet to arrive
        self.labels: int = 0  # that arrived on their own, and changes of the classes
        self.round: int = 0
        self._decisions: deque[Decision] = deque()
        self._encoder: EncoderSnapshot | None = None  # at the end of the last round
        self._joined: tuple[tuple[int, Member], ...] = ()
        self._emitted: Snapshot | None = None
        self._at_start = True
        self._keeps_weights = keeps_weights

    @property
    def at_start(self) -> bool:
        """Whether the next sample is the first of a round."""
        return self._at_start

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Decisions that have not been applied yet."""
        return tuple(self._decisions)

    def decide(self, decision: Decision) -> None:
        """Queue the decision on a round; every round has exactly one, in order."""
        self._decisions.append(decision)

    def start_from(self, networks: Sequence[Weights], encoder: Encoder) -> None:
        """Initialize every candidate with given weights, sized for what ``encoder`` has learned."""
        known = encoder.statistics()
        outputs = 1 if self._regression else _round_up_outputs(known.classes)
        self.population.reserve(
            dense=known.dense, rows=known.rows, outputs=outputs, lags=encoder.lags
        )
        for slot, weights in enumerate(networks):
            self.population.insert(slot, weights)

    def begin(self, encoded: Encoded, threads: int = 1, ends_round: bool = False) -> Job:
        """Prepare a block for training; then call `run` in each thread, and `finish`.

        If the block ends a round, `run` also checks the trained weights.
        """
        n = len(encoded.inputs.count)
        if n:
            self._begin_round()
        population = self.population
        if not isinstance(population, RemotePopulation):
            return prepare_job(population, self.rows, encoded, threads, ends_round=ends_round)
        nothing = population.new_outputs(0)
        known, counter = constant_column(n, 0, np.int32), new_work_counter(threads)
        return Job(known, nothing, counter, ends_round and n > 0, encoded=encoded)

    def run(self, job: Job) -> None:
        """Train every candidate on the block, sharing the work with other threads."""
        if job.encoded is None:
            run_job(self.population, self.rows, job)
            return
        assert isinstance(self.population, RemotePopulation)
        block = self.rows, self.number, job.encoded
        job.scores = self.population.learn(*block, checks=job.checks)
        job.answers = self.population.new_outputs(0)  # with as many outputs as there are now

    def finish(
        self, encoded: Encoded, job: Job, encoder_after: EncoderSnapshot | None
    ) -> Predicted:
        """Complete a block after `run`; see `learn` for ``encoder_after``."""
        if encoder_after is not None:
            self._begin_round()  # if all samples of the round were rejected
        weights = self._keeps_weights and encoder_after is not None
        predicted = Predicted(
            encoded,
            self.number,
            job.answers,
            encoder_after is not None,
            self._joined,
            self._emitted,
            self.population.weights.copy() if weights else None,
            job.scores,
        )
        self._joined, self._emitted = (), None
        self.number += len(encoded.block)
        self.rows += len(encoded.inputs.count)
        self.learned += _count_learned(encoded)
        if encoded.block.arrivals is not None:
            self.labels += encoded.block.arrivals.records
        self.labels += encoded.block.change is not None
        if encoder_after is not None:
            if not job.checks:
                self.population.check()
            self._encoder = encoder_after
            self._at_start = True
            self.round += 1
        return predicted

    def learn(self, encoded: Encoded, encoder_after: EncoderSnapshot | None) -> Predicted:
        """Train on a block in the calling thread.

        The block is of one round; ``encoder_after`` is the encoder after it if it ends the round,
        else None.
        """
        job = self.begin(encoded, ends_round=encoder_after is not None)
        self.run(job)
        return self.finish(encoded, job, encoder_after)

    def _begin_round(self) -> None:
        """Begin the round unless it has begun.

        A round begins with its first sample, or ends without one. Rejected records do not begin it:
        whether they arrive on their own depends on how blocks are cut.
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
        self.population.rest(decision.resting)
        # Networks that have diverged since are not emitted; without its champion there is no model.
        if decision.emit is not None and self.population.healthy[decision.emit.champion]:
            assert self._encoder is not None
            self._emitted = self.snapshot(self._drop_diverged(decision.emit), self._encoder)

    def _drop_diverged(self, composition: ModelComposition) -> ModelComposition:
        _, slots, state, _ = composition
        kept = [place for place, slot in enumerate(slots) if self.population.healthy[slot]]
        if len(kept) == len(slots):
            return composition
        if state is not None:
            state = restore_ensemble(self.population.task, state).restricted(kept)
        return composition._replace(slots=tuple(slots[place] for place in kept), ensemble=state)

    def snapshot(self, composition: ModelComposition, encoder: EncoderSnapshot) -> Snapshot:
        """Copy the networks of a composition in their present state."""
        rows, outputs = encoder.rows, max(encoder.classes, 1)
        members = self.population.members
        copies = self.population.copy_networks(composition.slots, rows=rows, outputs=outputs)
        best = members[composition.champion]
        return Snapshot(
            best, tuple(copies), composition.ensemble, encoder, self.number, composition.intervals
        )

    def export_state(self) -> dict[str, Any]:
        """Return everything needed to resume after the last block, bit for bit."""
        return {
            "number": self.number,
            "rows": self.rows,
            "learned": self.learned,
            "labels": self.labels,
            "round": self.round,
            "at_start": self._at_start,
            "population": self.population.export_state(self.rows),
            "decisions": export_decisions(self._decisions),
        }

    def restore_state(self, state: dict[str, Any], encoder: EncoderSnapshot | None) -> None:
        """Resume from an exported state, with the encoder of the same moment."""
        self.number, self.rows = state["number"], state["rows"]
        self.learned, self.labels = state["learned"], state["labels"]
        self.round = state["round"]
        self._at_start = state["at_start"]
        self.population.restore_state(self.rows, state["population"])
        self._encoder = encoder
        self._decisions = deque(restore_decisions(state["decisions"]))

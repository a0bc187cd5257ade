"""Control messages that travel between blocks through all stages.

A `Barrier` collects a copy of each stage's state for a checkpoint (as in Chandy-Lamport
snapshots and Flink); a `Glance` collects what is served at this moment, without affecting the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, final

from anyio import Event

from streamnet.durability.checkpoint import StateDict
from streamnet.features.encoder import Encoder
from streamnet.features.snapshot import EncoderSnapshot
from streamnet.learning.served_model import ServedModel, compose_snapshot
from streamnet.learning.serving import ServingStage
from streamnet.learning.trainer import Snapshot, Trainer
from streamnet.networks.population import Population
from streamnet.pipeline.outputs import ResumableSink
from streamnet.selection.champion import Decision

LEARNER_PARTS = "trainer", "evaluator", "serving", "pending", "keyed"


@final
@dataclass
class Barrier:
    """A cut through the stream; each stage adds a copy of its state.

    Learning waits only for the copies: files are written after the last stage.
    """

    reading: StateDict  # position of the source, and how much was read
    last: bool = False  # whether nothing follows
    encoder: EncoderSnapshot | None = None
    parts: dict[str, Any] = field(default_factory=dict)  # states of the other stages
    outputs: Sequence[ResumableSink] = ()  # to be synced before the checkpoint is written
    part: str = ""
    whole: JoinedBarrier | None = None  # of which it is the copy for one part of the run

    def split(self, slugs: Mapping[str, str]) -> dict[str, Barrier]:
        """Copies for the parts of a run, by name; ``slugs`` are their names in file names."""
        whole = JoinedBarrier(self.reading, dict(slugs), last=self.last)
        return {
            name: Barrier(self.reading, last=self.last, part=name, whole=whole) for name in slugs
        }

    def join(self) -> Barrier | JoinedBarrier | None:
        """What is to be written: this, or that of all parts once the last one has come."""
        return self if self.whole is None else self.whole.add(self)

    @property
    def number(self) -> int:
        """Samples read before the cut."""
        return int(self.reading["number"])

    def tree(self) -> StateDict:
        """The state of all stages, once the barrier has passed them all."""
        assert self.encoder is not None
        parts = dict(self.parts)
        learner = {name: parts.pop(name) for name in LEARNER_PARTS}
        return {
            "reading": self.reading,
            "learner": {"encoder": self.encoder.materialize(), **learner},
            **parts,
        }


@final
@dataclass
class JoinedBarrier:
    """A cut through the stream of a run with several parts: their barriers together."""

    reading: StateDict
    slugs: dict[str, str]
    last: bool = False
    complete: dict[str, Barrier] = field(default_factory=dict)  # by name of the part

    @property
    def number(self) -> int:
        """Samples read before the cut."""
        return int(self.reading["number"])

    def add(self, barrier: Barrier) -> JoinedBarrier | None:
        """Add the barrier of one part; None until all are there."""
        self.complete[barrier.part] = barrier
        return self if len(self.complete) == len(self.slugs) else None

    @property
    def outputs(self) -> Sequence[ResumableSink]:
        """Outputs of all parts."""
        return [output for barrier in self.complete.values() for output in barrier.outputs]

    def tree(self) -> StateDict:
        """The state of all parts."""
        parts: StateDict = {}
        for name, slug in self.slugs.items():
            parts[name] = {**self.complete[name].tree(), "slug": slug}
            del parts[name]["reading"]
        return {"reading": self.reading, "parts": parts}


def list_part_trees(tree: StateDict) -> dict[str, StateDict]:
    """The states of the parts of a run by name, which is empty for the only one."""
    parts: dict[str, StateDict] = tree.get("parts") or {"": tree}
    return parts


def select_pending(decisions: Sequence[Decision], trainer: dict[str, Any]) -> list[Decision]:
    """Select those of the last two decisions that the trainer had not applied when it was copied.

    The decision on round r is applied at the start of round r + 2, so the trainer's state suffices:
    it makes no difference whether a decision had arrived or was still in a channel.
    """
    oldest = trainer["round"] - (2 if trainer["at_start"] else 1)
    return [decision for decision in decisions if decision.round >= oldest]


@final
@dataclass(eq=False)  # compared by identity
class Glance:
    """Travels behind a block like a barrier, and collects what is served after it.

    Results of a run never depend on how many glances there were, or when.
    """

    part: str = ""
    portable: bool = True  # whether it also collects a model to take home
    served: ServedModel | None = None  # None before anything was learned
    snapshot: Snapshot | None = None  # None if there is no finite network
    seconds: float = 0.0  # that collecting took
    done: Event = field(default_factory=Event)
    _encoder: Encoder | None = None
    _state: EncoderSnapshot | None = None
    _population: Population | None = None
    _finite: set[int] = field(default_factory=set)
    _number: int = 0

    def freeze_encoder(self, encoder: Encoder) -> None:
        """Add a copy of the encoder."""
        start = perf_counter()
        self._encoder = encoder.view()
        if self.portable:
            self._state = encoder.snapshot()
        self.seconds += perf_counter() - start

    def freeze_networks(self, trainer: Trainer) -> None:
        """Add copies of the networks, if there are any."""
        start = perf_counter()
        if trainer.number and trainer.population.capacity.outputs:
            self._population, self._number = trainer.population.freeze(), trainer.number
            if self.portable:
                self._finite = self._population.find_finite_slots()
        self.seconds += perf_counter() - start

    def freeze_serving(self, serving: ServingStage) -> None:
        """Add what serves, which completes the glance."""
        start = perf_counter()
        if self._population is not None and self._encoder is not None:
            parts = self._encoder, self._population, serving, self._number
            self.served = ServedModel(*parts)
            if self._state is not None:
                self.snapshot = compose_snapshot(self.served, serving, self._state, self._finite)
        self.seconds += perf_counter() - start

"""Shard: some candidates of a population, and their scores, in a worker of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from streamnet.features.encoder import Encoded
from streamnet.jit import numerics
from streamnet.learning.evaluator import Evaluator
from streamnet.learning.trainer import Predicted, prepare_job, run_job
from streamnet.networks.parameters import WeightsCopy
from streamnet.networks.population import Inherited, Member, Population
from streamnet.samples import Task
from streamnet.settings.candidate import CandidateSettings


class ShardState(NamedTuple):
    """Everything that a shard is made of, at one moment."""

    task: Task
    seed: int
    dtype: str
    reach: int  # of the memory for rehearsal, in the whole population
    rows: int  # that were learned
    population: dict[str, Any]  # as exported
    packed_rows: int  # bits in its ``occupied``
    evaluator: dict[str, Any]  # as copied


class Learned(NamedTuple):
    """What a shard makes of a block; the arrays as in `Scores`."""

    answers: NDArray[Any]
    alive: NDArray[np.uint8]
    losses: NDArray[np.float64]
    known: NDArray[np.int32]
    center: NDArray[np.float64]
    spread: NDArray[np.float64]
    healthy: NDArray[np.uint8]  # shape=(candidates,): after the block
    capacity: tuple[int, ...]


@final
class Shard:
    """Some candidates, which predict, are scored and learn like those of one process.

    Args:
        state: Where it goes on from.
    """

    def __init__(self, state: ShardState) -> None:
        self._about = state
        self._population = build_population(state)
        scores = state.evaluator["candidates"]
        self._evaluator = Evaluator(
            scores["tracks"], task=state.task, window=scores["window"], fading=scores["fading"]
        )
        self._evaluator.restore_state(state.evaluator)

    def numerics(self) -> dict[str, str]:
        """What decides about bits, besides the samples; see `streamnet.jit.numerics`."""
        return numerics()

    def learn(self, rows: int, number: int, encoded: Encoded, checks: bool) -> tuple[Any, ...]:
        """Predict, score and learn a block; returns a plain tuple with the items of `Learned`."""
        population = self._population
        job = prepare_job(population, rows, encoded, ends_round=checks)
        run_job(population, rows, job)
        scored = self._evaluator.evaluate(Predicted(encoded, number, job.answers, checks))
        batch = scored.batch
        learned = Learned(
            batch.answers,
            batch.alive,
            scored.losses,
            batch.known,
            batch.center,
            batch.spread,
            population.healthy.copy(),
            tuple(population.capacity),
        )
        return tuple(learned)

    def check(self) -> NDArray[np.uint8]:
        """Check all weights; returns which candidates are healthy."""
        self._population.check()
        return self._population.healthy.copy()

    def find_finite_slots(self) -> set[int]:
        """Slots of healthy candidates whose weights are all finite."""
        return self._population.find_finite_slots()

    def inherit(self, settings: CandidateSettings, parent: int) -> Inherited:
        """See `Population.inherit`."""
        return self._population.inherit(settings, parent)

    def place(self, slot: int, member: Member, inherited: Inherited | None) -> None:
        """Replace a candidate, and forget its scores."""
        self._population.place(slot, member, inherited)
        self._evaluator.reset(slot)

    def rest(self, slots: Sequence[int]) -> None:
        """See `Population.rest`."""
        self._population.rest(slots)

    def copy_networks(
        self, slots: Sequence[int], rows: int, outputs: int
    ) -> list[tuple[CandidateSettings, WeightsCopy]]:
        """See `Population.copy_networks`."""
        return self._population.copy_networks(slots, rows=rows, outputs=outputs)

    def export(self, rows: int, with_memory: bool) -> ShardState:
        """Its state after so many rows; without the memory, which all shards have alike."""
        state = self._population.export_state(rows)
        if not with_memory:
            del state["memory"], state["classes"]
        packed_rows = self._population.count_packed_rows()
        return self._about._replace(
            rows=rows,
            population=state,
            packed_rows=packed_rows,
            evaluator=self._evaluator.copy_state(),
        )


def build_population(state: ShardState) -> Population:
    """A population in this process with the candidates of a state."""
    members = state.population["members"]
    settings = [CandidateSettings.from_dict(given) for given, *_ in members]
    population = Population(settings, task=state.task, seed=state.seed, dtype=state.dtype)
    population.memory.reach = state.reach
    population.restore_state(state.rows, state.population)
    return population


def join_populations(states: Sequence[ShardState], next_serial: int) -> dict[str, Any]:
    """The exported state of the whole population, to the bit as one process exports it."""
    parts = [state.population for state in states]
    joined = {**parts[0], "next_serial": next_serial}
    joined["members"] = [member for part in parts for member in part["members"]]
    for name in ("fan_in", "taken", "healthy", "resting", "weights", "state"):
        joined[name] = np.concatenate([part[name] for part in parts])
    flags = [
        np.unpackbits(state.population["occupied"], count=state.packed_rows) for state in states
    ]
    joined["occupied"] = np.packbits(np.concatenate(flags))
    return joined

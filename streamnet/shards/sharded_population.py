"""ShardedPopulation: a population whose candidates are spread over shards."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError
from streamnet.executors import Executor
from streamnet.features.encoder import NO_SCORES, Encoded
from streamnet.features.forecasts.history import NO_FORECASTS
from streamnet.learning.evaluator import Evaluator, Scored, build_scoring_batch
from streamnet.learning.trainer import Predicted, RemotePopulation, Scores
from streamnet.networks.parameters import WeightsCopy
from streamnet.networks.population import Member, NetworkOutputs, Population
from streamnet.networks.replay_buffer import ReplayBuffer
from streamnet.networks.topology import Capacity, estimate_cost
from streamnet.samples import NO_FIELDS, NO_UNSCALED, Block, Inputs
from streamnet.settings.candidate import CandidateSettings
from streamnet.shards.shard import Learned, ShardState, build_population, join_populations
from streamnet.shards.worker import ShardWorker

KEPT_ROWS = 1 << 15  # learned between two copies of the shards' states


def divide_slots(costs: Sequence[float], shards: int) -> list[range]:
    """Divide candidates among shards, as many consecutive ones as make the costs about equal.

    >>> divide_slots([1, 1, 1, 1, 4], 2)
    [range(0, 4), range(4, 5)]
    >>> divide_slots([9, 1, 1], 3)
    [range(0, 1), range(1, 2), range(2, 3)]
    """
    ends = np.cumsum(costs)
    bounds = [0]
    for shard in range(1, shards):
        end = int(np.searchsorted(ends, ends[-1] * shard / shards, side="left")) + 1
        most = len(costs) - (shards - shard)  # each of the others gets one
        bounds.append(min(max(end, bounds[-1] + 1), most))
    return [range(*pair) for pair in pairwise([*bounds, len(costs)])]


@final
class ShardedEvaluator(Evaluator):
    """The scores of candidates that are scored in shards.

    Those of single candidates are renewed with every copy of the shards' states.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        state = evaluator.copy_state()
        scores = state["candidates"]
        settings = {"window": scores["window"], "fading": scores["fading"]}
        super().__init__(scores["tracks"], task=evaluator.task, **settings)
        self.restore_state(state)
        self._exported: deque[dict[str, Any]] = deque()

    def evaluate(self, predicted: Predicted) -> Scored:
        """The scores of a block that a shard has computed."""
        scores = predicted.scores
        assert scores is not None
        batch = build_scoring_batch(predicted, self.task)
        if batch.timeline is not None:
            units = {"known": scores.known, "center": scores.center, "spread": scores.spread}
            batch = replace(batch, **units)
        return Scored(predicted, batch, scores.losses)

    def hold_state(self) -> None:
        """Keep the state of the moment when that of the networks was exported, for a checkpoint."""
        self._exported.append(super().export_state())

    def export_state(self) -> dict[str, Any]:
        """The oldest state that was held: the blocks before have come here by now."""
        return self._exported.popleft()


@final
class ShardedPopulation(RemotePopulation):
    """All candidates of a population, on shards in workers of an executor.

    Each predicts, is scored and learns where it is, with the same bits as in one process: that
    depends on its settings, serial number and seed, and on the block. The driver decides, numbers
    new candidates, and has the parts of a parent brought to another shard.

    Args:
        population: The candidates so far.
        evaluator: Their scores so far.
        rows: Rows that were learned; see `Trainer.rows`.
        executor: Where the shards are.
        shards: Their number.

    Raises:
        ConfigurationError: If there are more shards than candidates, or a shard would compute
            other bits.
    """

    def __init__(
        self,
        population: Population,
        evaluator: Evaluator,
        rows: int,
        executor: Executor,
        shards: int,
    ) -> None:
        count = len(population.members)
        if shards > count:
            raise ConfigurationError(
                f"shards is {shards}, but must be <= {count}, the number of candidates"
            )
        self.members: list[Member] = list(population.members)
        self.task, self.seed, self.dtype = population.task, population.seed, population.dtype
        self.goals, self.next_serial = population.goals, population.next_serial
        self.capacity, self.rows = population.capacity, population.rows
        self.healthy: NDArray[np.uint8] = population.healthy.copy()
        self.resting: NDArray[np.bool_] = population.resting.copy()
        self.memory = ReplayBuffer(reach=population.memory.reach, dtype=population.dtype)
        self.is_sound: bool = True  # whether no call has failed, so that all shards are in step
        self._learned = self._kept = rows
        self.evaluator: ShardedEvaluator = ShardedEvaluator(evaluator)
        about = (self.task, self.seed, self.dtype.name, self.memory.reach, rows)
        scores = evaluator.copy_state()
        costs = [estimate_cost(m.settings, self.capacity) for m in self.members]
        self.workers: list[ShardWorker] = []
        for number, slots in enumerate(divide_slots(costs, shards), start=1):
            own = slice(slots.start, slots.stop)
            parts = Evaluator.split_state(scores, own)
            state = ShardState(*about, population.export_state(rows, own), 0, parts)
            name = f"shard {number} of {shards}"
            self.workers.append(ShardWorker(executor, name, slots, state))
        for worker in self.workers:
            worker.check()

    @property
    def size(self) -> int:
        """Number of weights here: none."""
        return 0

    def learn(self, rows: int, number: int, encoded: Encoded, *, checks: bool) -> Scores:
        """See `RemotePopulation`."""
        found = self._ask_all("learn", rows, number, _lighten(encoded), checks, changes=True)
        parts = [Learned(*part) for part in found]
        first = parts[0]
        self.capacity = Capacity(*first.capacity)
        self.healthy = np.concatenate([part.healthy for part in parts])
        self._learned = rows + len(encoded.inputs.count)
        scores = Scores(
            np.concatenate([part.answers for part in parts]),
            np.concatenate([part.alive for part in parts]),
            np.concatenate([part.losses for part in parts], axis=1),
            np.array(first.known),
            np.array(first.center),
            np.array(first.spread),
        )
        if self._learned - self._kept >= KEPT_ROWS:
            self._export()
        return scores

    def new_outputs(self, n: int) -> NetworkOutputs:
        """As many outputs as one process would have for no samples; the answers are in `Scores`."""
        outputs = max(self.capacity.outputs, 1)
        empty = np.zeros((len(self.members), n, outputs), self.dtype)
        return NetworkOutputs(empty, np.zeros(empty.shape[:2], np.uint8))

    def check(self) -> int:
        """See `Population.check`."""
        before = int(self.healthy.sum())
        self.healthy = np.concatenate(self._ask_all("check", changes=True))
        return before - int(self.healthy.sum())

    def find_finite_slots(self) -> set[int]:
        """See `Population.find_finite_slots`."""
        found = zip(self.workers, self._ask_all("find_finite_slots"), strict=True)
        return {worker.slots[slot] for worker, slots in found for slot in slots}

    def replace(
        self, slot: int, settings: CandidateSettings, *, born: int, parent: int | None = None
    ) -> Member:
        """See `Population.replace`."""
        self._check_memory(settings)
        inherited = None
        if parent is not None:
            owner, place = self._find(parent)
            owner.submit("inherit", settings, place)
            inherited = owner.result()
        member = Member(settings, self.next_serial, born)
        self.next_serial += 1
        worker, place = self._find(slot)
        worker.submit("place", place, member, inherited, changes=True)
        worker.result()
        self.members[slot] = member
        self.healthy[slot], self.resting[slot] = 1, False
        return member

    def rest(self, slots: Sequence[int]) -> None:
        """See `Population.rest`; shards without a change are not called."""
        before = self.resting.copy()
        self.resting[:] = False
        self.resting[list(slots)] = True
        told = []
        for worker in self.workers:
            own = slice(worker.slots.start, worker.slots.stop)
            if (self.resting[own] != before[own]).any():
                places = np.flatnonzero(self.resting[own]).tolist()
                worker.submit("rest", places, changes=True)
                told.append(worker)
        for worker in told:
            worker.result()

    def copy_networks(
        self, slots: Sequence[int], *, rows: int, outputs: int
    ) -> list[tuple[CandidateSettings, WeightsCopy]]:
        """See `Population.copy_networks`: one call for each shard, not for each candidate."""
        copies: dict[int, tuple[CandidateSettings, WeightsCopy]] = {}
        asked = []
        for worker in self.workers:
            if own := [slot for slot in slots if slot in worker.slots]:
                places = [slot - worker.slots.start for slot in own]
                worker.submit("copy_networks", places, rows, outputs)
                asked.append((worker, own))
        for worker, own in asked:
            for slot, (settings, copied) in zip(own, worker.result(), strict=True):
                copies[slot] = settings, copied._replace(numbers=np.array(copied.numbers))
        return [copies[slot] for slot in slots]

    def freeze(self) -> Population:
        """A copy in this process, which can predict, but not learn: it has no memory."""
        states = self._fetch(with_memory=False)
        joined = join_populations(states, self.next_serial)
        joined["memory"] = ReplayBuffer(reach=0, dtype=self.dtype).export_state(0)
        joined["classes"] = np.zeros(1, np.int64)
        return build_population(states[0]._replace(rows=0, reach=0, population=joined))

    def predict(
        self, inputs: Inputs, known: int, slots: NDArray[np.int64] | None = None
    ) -> NetworkOutputs:
        """See `Population.predict`."""
        return self.freeze().predict(inputs, known, slots)

    def export_state(self, first: int, slots: slice = slice(None)) -> dict[str, Any]:
        """See `Population.export_state`; the evaluator gets its part."""
        assert first == self._learned
        assert slots == slice(None)
        population, _ = self._export()
        self.evaluator.hold_state()
        return population

    def move_back(self, population: Population, evaluator: Evaluator) -> None:
        """Give the present state to objects of this process."""
        networks, scores = self._export()
        population.restore_state(self._learned, networks)
        evaluator.restore_state(scores)

    def _export(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The states of all candidates and their scores, which shards that die go on from."""
        states = self._fetch(with_memory=True)
        shared = {name: states[0].population[name] for name in ("memory", "classes")}
        states = [one._replace(population=one.population | shared) for one in states]
        for worker, state in zip(self.workers, states, strict=True):
            worker.keep(state)
        self._kept = self._learned
        evaluator = Evaluator.join_states([state.evaluator for state in states])
        self.evaluator.restore_state(evaluator)
        return join_populations(states, self.next_serial), evaluator

    def _fetch(self, *, with_memory: bool) -> list[ShardState]:
        """The states of all shards; with the memory of the first, if any."""
        for number, worker in enumerate(self.workers):
            worker.submit("export", self._learned, with_memory and number == 0)
        return [worker.result() for worker in self.workers]

    def _ask_all(self, method: str, *arguments: Any, changes: bool = False) -> list[Any]:
        """Let all shards work at the same time."""
        sound, self.is_sound = self.is_sound, False
        for worker in self.workers:
            worker.submit(method, *arguments, changes=changes)
        results = [worker.result() for worker in self.workers]
        self.is_sound = sound
        return results

    def _find(self, slot: int) -> tuple[ShardWorker, int]:
        """The shard of a candidate, and its place there."""
        worker = next(one for one in self.workers if slot in one.slots)
        return worker, slot - worker.slots.start

    def close(self) -> None:
        """End all shards."""
        for worker in self.workers:
            worker.close()


def _lighten(encoded: Encoded) -> Encoded:
    """What networks and their scores need of a block."""
    block = encoded.block
    light = Block(
        block.schema,
        block.source,
        np.empty((len(block), 0)),
        (),
        block.target if encoded.timeline is None and not len(encoded.label) else None,
        block.marks,
        scored=block.scored,
        learned=block.learned,
    )
    return replace(
        encoded,
        block=light,
        inputs=replace(encoded.inputs, fields=NO_FIELDS, unscaled=NO_UNSCALED),
        outlier=NO_SCORES,
        given=None,
        forecasts=NO_FORECASTS,
        key=None,
        labels=(),
    )

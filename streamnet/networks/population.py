"""Population: all candidate networks, trained on the same samples in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from threading import local
from typing import Any, NamedTuple, final

import numpy as np
from msgspec import Struct
from msgspec.structs import astuple
from numpy.typing import DTypeLike, NDArray

from streamnet.errors import ConfigurationError
from streamnet.jit import exact_kernel
from streamnet.networks.initialization import fill_section
from streamnet.networks.kernels.contexts import new_work_counter, thread_contexts
from streamnet.networks.kernels.prequential import learn, mark_nonfinite
from streamnet.networks.parameters import (
    Matrices,
    Packed,
    Parts,
    PopulationLayout,
    Weights,
    WeightsCopy,
    aligned_zeros,
    build_layout,
    count_packed_rows,
    pack,
    plan_candidate,
    unpack,
    view_parts,
)
from streamnet.networks.plan import PLAN
from streamnet.networks.replay_buffer import (
    NO_NUMBERS,
    WEIGHT,
    ReplayBuffer,
    SampleRing,
    unlabeled_ring,
)
from streamnet.networks.topology import Capacity
from streamnet.samples import Inputs, Task, constant_column
from streamnet.settings.candidate import CandidateSettings
from streamnet.validation import to_signed_seed


@final
class NetworkOutputs(Struct, frozen=True, eq=False, gc=False):
    """What each candidate predicts for each sample of a block before learning it."""

    outputs: NDArray[np.floating]
    """shape=(candidates, n, outputs): probabilities, or standardized numbers."""
    alive: NDArray[np.uint8]
    """shape=(candidates, n): 0 where a candidate has no finite output."""
    logarithmic: NDArray[np.bool_] = np.zeros(0, np.bool_)
    """shape=(candidates,): whether its numbers are logarithms."""


class Member(NamedTuple):
    """A candidate in the population."""

    settings: CandidateSettings
    serial: int
    """Key of its random numbers; unique unless serials were passed to `Population`."""
    born: int
    """Number of the first sample it predicts."""


@exact_kernel
def _count(
    label: NDArray[np.int32],
    counts: NDArray[np.int64],  # shape=(classes,), updated
    rarity: NDArray[np.float64],  # shape=(n,), written
    first: int,
) -> int:
    """Count from sample ``first`` on; return the first one whose class is beyond ``counts``."""
    samples, classes = 0, 0
    for c in range(counts.size):
        samples += counts[c]
        classes += counts[c] > 0
    for i in range(first, label.size):
        c = label[i]
        if c < 0:
            rarity[i] = 1.0
            continue
        if c >= counts.size:
            return i
        samples += 1
        classes += counts[c] == 0
        counts[c] += 1
        rarity[i] = samples / (classes * counts[c])
    return int(label.size)


@final
class ClassCounts:
    """Class counts, and from them the rarity of each sample's class, for ``class_weight``.

    The rarity of a sample is ``n / (classes * n_c)`` (King and Zeng 2001). Gradients multiplied by
    it give all classes the same weight. It is computed from the samples up to and including its
    own, so it starts at 1 and does not depend on how a stream is cut into blocks.

    >>> ClassCounts().update(np.array([0, 0, 1, 0, 1], np.int32)).tolist()
    [1.0, 1.0, 1.5, 0.6666666666666666, 1.25]
    """

    def __init__(self) -> None:
        self._counts = np.zeros(1, np.int64)

    def update(self, label: NDArray[np.int32]) -> NDArray[np.float64]:
        """Count the next class numbers, -1 for none; return each one's rarity, 1 for none."""
        rarity, at = np.empty(len(label)), 0
        while (at := _count(label, self._counts, rarity, at)) < len(label):
            missing = int(label[at]) + 1 - len(self._counts)
            self._counts = np.append(self._counts, np.zeros(missing, np.int64))
        return rarity

    def move(self, number: int, into: int) -> None:
        """Count earlier samples of a class as those of another, or no more at -1."""
        missing = max(number, into) + 1 - len(self._counts)
        if missing > 0:
            self._counts = np.append(self._counts, np.zeros(missing, np.int64))
        if into >= 0:
            self._counts[into] += self._counts[number]
        self._counts[number] = 0

    def export_state(self) -> NDArray[np.int64]:
        """A copy of the counts."""
        return self._counts.copy()

    def restore_state(self, counts: NDArray[np.int64]) -> None:
        """Continue from a state of `export_state`."""
        self._counts = np.array(counts, np.int64)


class Inherited(NamedTuple):
    """What a new candidate takes over from its parent."""

    parts: Parts
    taken: int
    """Samples that the parent learned, rehearsed ones included."""


class Population:
    """All candidates, learning the same samples.

    Args:
        settings: Settings of each candidate.
        task: Classification or regression.
        seed: Key of all random numbers.
        dtype: float32 or float64, of weights and outputs.
        goals: Numbers in a sample's target: 1 for a label or a number; more, one for each output,
            are learned and predicted without any transformation.
        serials: Keys of the candidates' random numbers; equal ones give equal initial weights. By
            default each candidate has its own.

    Raises:
        ConfigurationError: If there are no settings, or the dtype is another.

    >>> population = Population([CandidateSettings(hidden=(8,))], task=Task.REGRESSION, seed=0)
    >>> len(population.members)
    1
    """

    layout: PopulationLayout

    def __init__(
        self,
        settings: Sequence[CandidateSettings],
        *,
        task: Task,
        seed: int = 0,
        dtype: DTypeLike = np.float32,
        goals: int = 1,
        serials: Sequence[int] | None = None,
    ) -> None:
        if not settings:
            raise ConfigurationError("settings is empty, but must have >= 1 candidate")
        self.task = task
        self.seed: int = to_signed_seed(seed)
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        if self.dtype not in (np.float32, np.float64):
            raise ConfigurationError(f"dtype is {self.dtype}, but must be float32 or float64")
        keys = range(len(settings)) if serials is None else serials
        self.members: list[Member] = [
            Member(s, serial, 0) for s, serial in zip(settings, keys, strict=True)
        ]
        self.next_serial: int = 1 + max(member.serial for member in self.members)
        self.capacity: Capacity = Capacity(0, 0, 0)
        self.rows: Any = 0  # rows in use; `capacity` has room for more
        self.fan_in: NDArray[np.int64] = np.zeros(len(settings), np.int64)
        self.taken: NDArray[np.int64] = np.zeros(len(settings), np.int64)
        self.healthy: NDArray[np.uint8] = np.ones(len(settings), np.uint8)
        self.resting: NDArray[np.bool_] = np.zeros(len(settings), np.bool_)
        self.goals = goals
        self.memory: ReplayBuffer = self._new_memory()
        self.classes: ClassCounts = ClassCounts()
        self.weighted: bool = False  # whether samples in memory may have a weight other than 1
        self._build_layout()

    def _new_memory(self, least: int = 0) -> ReplayBuffer:
        reach = max(least, *(m.settings.memory for m in self.members if m.settings.rehearses), 0)
        return ReplayBuffer(reach=reach, dtype=self.dtype, goals=self.goals)

    def _build_layout(self) -> None:
        """Lay out weights and optimizer state for the present members and capacity."""
        drafts = [plan_candidate(m.settings, self.task, self.capacity) for m in self.members]
        self._allocate(build_layout(drafts, [member.serial for member in self.members]))

    def _allocate(self, layout: PopulationLayout) -> None:
        self._adopt(layout)
        self.weights: NDArray[Any] = aligned_zeros(layout.weights, self.dtype)
        self.state: NDArray[Any] = aligned_zeros(layout.states, self.dtype)

    def _adopt(self, layout: PopulationLayout) -> None:
        self.layout, self._local = layout, local()
        self._plans = self._plan_rehearsal()
        # A new array, since outputs of earlier blocks keep the old one.
        self.logarithmic: NDArray[Any] = np.array(
            [m.settings.target_transform == "log" for m in self.members]
        )

    def _plan_rehearsal(self) -> NDArray[np.int64]:
        """The plans of all candidates, of which those that rest rehearse nothing."""
        plans = self.layout.plans
        if self.resting.any():
            plans = plans.copy()
            for column in (PLAN.rehearsal, PLAN.early_rehearsal):
                plans[self.resting, column] = 0
        return plans

    def rest(self, slots: Sequence[int]) -> None:
        """Let only these candidates rest: they predict and learn each sample, but rehearse none."""
        self.resting[:] = False
        self.resting[list(slots)] = True
        self._plans = self._plan_rehearsal()

    def _matrices(self, slot: int) -> Matrices:
        return self.layout.matrices(slot, self.weights, self.state)

    def _all_matrices(self) -> list[Matrices]:
        return list(map(self._matrices, range(len(self.members))))

    def reserve(self, *, dense: int, rows: int, outputs: int, lags: int = 0) -> None:
        """Make room for inputs and outputs; learned weights keep their exact values."""
        self.rows = max(self.rows, rows)
        now = self.capacity
        if dense <= now.dense and rows <= now.rows and outputs <= now.outputs and lags <= now.lags:
            return
        if rows > now.rows:
            rows = max(64, 1 << (rows - 1).bit_length())
        if outputs > now.outputs:
            outputs = max(outputs, min(2 * now.outputs, outputs + 64))
        before = [view_parts(matrices) for matrices in self._all_matrices()]
        if not any(now):
            # Nothing was learned: the weights are zeros, not even initial ones.
            before = [{} for _ in before]
            self.fan_in[:] = max(8, dense)
        self.capacity = Capacity(*map(max, (dense, rows, outputs, lags), now))
        self._build_layout()
        for slot, old in enumerate(before):
            self._fill(slot, old)

    def _fill(self, slot: int, old: Parts) -> None:
        """Copy the weights and states in ``old``, and write initial weights elsewhere."""
        member = self.members[slot]
        for section, arrays in self._matrices(slot):
            kept = old.get(section.name, [])
            rows, columns = kept[0].shape if kept else (0, 0)
            rows, columns = min(rows, section.rows), min(columns, section.units)
            fill_section(
                arrays[0],
                section,
                member.settings,
                seed=self.seed,
                serial=member.serial,
                fan_in=int(self.fan_in[slot]),
                first=rows if columns == section.units else 0,
            )
            for now, before in zip(arrays, kept, strict=False):
                now[:rows, :columns] = before[:rows, :columns]

    def prepare(
        self,
        first: int,
        inputs: Inputs,
        label: NDArray[np.int32],
        goal: NDArray[np.float64],
        outputs: int,
        log_goal: NDArray[np.float64] = NO_NUMBERS,
        weight: NDArray[np.float64] | None = None,
    ) -> NetworkOutputs:
        """Store a block, as `ReplayBuffer.write` does; return outputs for `run` to fill."""
        dense = inputs.dense.shape[1]
        self.reserve(dense=dense, rows=inputs.rows, outputs=max(outputs, 1), lags=inputs.lags)
        self.memory.write(first, inputs, label, goal, log_goal, self.classes.update(label))
        if weight is not None:
            self.memory.weigh(first, weight)
            self.weighted = self.weighted or bool((weight != 1.0).any())
        return self.new_outputs(len(inputs.count))

    def move_class(self, number: int, into: int) -> None:
        """Rehearse and count samples of a class as those of another, or no more at -1.

        The networks keep their output for it.
        """
        self.memory.exchange_label(number, into)
        self.classes.move(number, into)

    def new_outputs(self, n: int) -> NetworkOutputs:
        """Outputs of all candidates for ``n`` samples: 0, and none of them alive.

        What a candidate out of use leaves is kept with late labels, so it has to be defined.
        """
        candidates = len(self.members)
        return NetworkOutputs(
            np.zeros((candidates, n, self.capacity.outputs), self.dtype),
            np.zeros((candidates, n), np.uint8),
            self.logarithmic,
        )

    def run(
        self,
        first: int,
        known: NDArray[np.int32],
        outputs: NetworkOutputs,
        work_counter: NDArray[np.int64] | None = None,
        checks: bool = False,
        sparse: bool = False,
    ) -> None:
        """Let all candidates predict and then learn each sample of the prepared block.

        A candidate whose scores explode becomes unhealthy.

        Args:
            first: Number of the block's first sample.
            known: Number of outputs that may be predicted before each sample, shape=(n,).
            outputs: What `prepare` returned; written.
            work_counter: Shared by threads that divide the candidates among them, the costliest
                first. By default this thread runs all.
            checks: Whether to `check` each candidate after the block.
            sparse: Whether many samples have no target, so that rehearsal has to avoid them.
        """
        counter = new_work_counter() if work_counter is None else work_counter
        ring, order = self.memory.ring, self.layout.order
        flags = checks, sparse, self.weighted
        self._learn(ring, order, counter, self.healthy, first, known, outputs, *flags)

    def predict(
        self, inputs: Inputs, known: int, slots: NDArray[np.int64] | None = None
    ) -> NetworkOutputs:
        """Predict the ``known`` outputs without learning, in any number of threads at a time.

        ``slots`` are the candidates to run, in order of the result; by default all. After a sample
        without a finite output, a candidate predicts nothing.
        """
        n = len(inputs.count)
        outputs, labels = self.new_outputs(n), constant_column(n, known, np.int32)
        order = self.layout.order if slots is None else slots
        ring = unlabeled_ring(inputs, self.dtype, self.goals)
        self._learn(ring, order, new_work_counter(), self.healthy.copy(), 0, labels, outputs)
        if slots is None:
            return outputs
        return NetworkOutputs(*(array[slots] for array in astuple(outputs)))

    def _learn(
        self,
        ring: SampleRing,
        order: NDArray[np.int64],
        work_counter: NDArray[np.int64],
        healthy: NDArray[np.uint8],
        first: int,
        known: NDArray[np.int32],
        outputs: NetworkOutputs,
        checks: bool = False,
        sparse: bool = False,
        weighted: bool = False,
    ) -> None:
        active_rows = ring.row.shape[1] + 2 * (ring.splined.shape[1] + ring.dense.shape[1])
        learn(
            order,
            work_counter,
            self._plans,
            self.layout.factors,
            self.taken,
            healthy,
            self.weights,
            self.state,
            known,
            first,
            checks,
            sparse,
            weighted,
            self.capacity.dense,
            self.seed,
            outputs.outputs,
            outputs.alive,
            *thread_contexts(self._local, self.layout.scratch, active_rows, self.dtype),
            *ring,
        )

    def freeze(self) -> Population:
        """A copy that predicts as this one does now, while this one learns; it must not learn."""
        frozen = copy(self)
        frozen.members = list(self.members)
        frozen.weights = aligned_zeros(len(self.weights), self.dtype)
        frozen.weights[:] = self.weights
        frozen.healthy, frozen.taken = self.healthy.copy(), self.taken.copy()
        frozen._local = local()
        return frozen

    def check(self) -> int:
        """Mark candidates with a weight that is not finite as unhealthy; return how many."""
        return int(mark_nonfinite(self.layout.plans, self.weights, self.healthy))

    def find_finite_slots(self) -> set[int]:
        """Slots of healthy candidates whose weights are all finite."""
        healthy = self.healthy.copy()
        mark_nonfinite(self.layout.plans, self.weights, healthy)
        return set(np.flatnonzero(healthy).tolist())

    def replace(
        self, slot: int, settings: CandidateSettings, *, born: int, parent: int | None = None
    ) -> Member:
        """Replace the candidate in ``slot``.

        Args:
            slot: Candidate to replace.
            settings: Settings of the new one.
            born: Number of the first sample it predicts.
            parent: Slot of a candidate with the same layers, whose weights it copies, and whose
                optimizer state if the optimizer is the same. None starts from initial weights.

        Raises:
            ConfigurationError: If its memory is larger than the population's, or its layers differ
                from its parent's.
        """
        self._check_memory(settings)
        inherited = None if parent is None else self.inherit(settings, parent)
        member = Member(settings, self.next_serial, born)
        self.next_serial += 1
        self.place(slot, member, inherited)
        return member

    def _check_memory(self, settings: CandidateSettings) -> None:
        if settings.rehearses and settings.memory > self.memory.reach:
            raise ConfigurationError(
                f"memory is {settings.memory}, but must be <= {self.memory.reach} here"
            )

    def place(self, slot: int, member: Member, inherited: Inherited | None = None) -> None:
        """Replace the candidate in ``slot`` by a new one, which may have a parent."""
        self.members[slot] = member
        self.fan_in[slot] = max(8, self.capacity.dense)
        self.taken[slot], self.healthy[slot] = 0 if inherited is None else inherited.taken, 1
        self.resting[slot] = False
        self._replace_layout(slot)
        self._fill(slot, {} if inherited is None else inherited.parts)

    def _replace_layout(self, slot: int) -> None:
        """Lay out for another member in ``slot``; all others keep their weights and states."""
        before, weights, state = self.layout, self.weights, self.state
        draft = plan_candidate(self.members[slot].settings, self.task, self.capacity)
        layout = before.replaced(slot, draft, self.members[slot].serial)
        if layout.rooms is before.rooms:
            own, theirs = layout.reserved_places(slot)
            weights[own], state[theirs] = 0, 0
            self._adopt(layout)
            return
        self._allocate(layout)
        for other in range(len(self.members)):
            if other != slot:
                (own, theirs), (new, new_theirs) = before.places(other), layout.places(other)
                self.weights[new], self.state[new_theirs] = weights[own], state[theirs]

    def inherit(self, settings: CandidateSettings, parent: int) -> Inherited:
        """Copy what a new candidate takes over from a parent; see `replace`."""
        arrays = view_parts(self._matrices(parent))
        theirs = self.members[parent].settings
        if (settings.hidden, settings.activations) != (theirs.hidden, theirs.activations):
            raise ConfigurationError(
                f"the layers are {settings.describe()!r}, but must be those of the parent, "
                f"{theirs.describe()!r}"
            )
        # Rows not in use yet get initial weights of its own, not the parent's.
        arrays = {**arrays, "sparse": [matrix[: self.rows] for matrix in arrays["sparse"]]}
        many = None if settings.optimizer == theirs.optimizer else 1
        # Copies: the parent may be the candidate that is replaced.
        parts = {name: [m.copy() for m in matrices[:many]] for name, matrices in arrays.items()}
        return Inherited(parts, int(self.taken[parent]))

    def copied(
        self, slot: int, *, rows: int | None = None, outputs: int | None = None
    ) -> WeightsCopy:
        """Copy a candidate's weights, cut to the ``rows`` and ``outputs`` in use."""
        sections, (own, _) = self.layout.drafts[slot].sections, self.layout.places(slot)
        last, linear = sections[-1], not self.members[slot].settings.hidden
        rows = last.rows if rows is None else min(rows, last.rows)
        numbers = self.weights[own][: last.offset + rows * last.width].copy()
        return WeightsCopy(sections, numbers, linear, rows, outputs)

    def copy_networks(
        self, slots: Sequence[int], *, rows: int, outputs: int
    ) -> list[tuple[CandidateSettings, WeightsCopy]]:
        """Settings of some candidates and copies of their weights, as `copied` makes them."""
        copies = [self.copied(slot, rows=rows, outputs=outputs) for slot in slots]
        return [(self.members[slot].settings, one) for slot, one in zip(slots, copies, strict=True)]

    def extract(self, slot: int, *, rows: int | None = None, outputs: int | None = None) -> Weights:
        """A copy of a candidate's weights by section, cut to ``rows`` and ``outputs``."""
        return self.copied(slot, rows=rows, outputs=outputs).weights()

    def insert(self, slot: int, weights: Weights) -> None:
        """Overwrite a candidate's weights with those of `extract`."""
        self._fill(slot, {name: [matrix] for name, matrix in weights.items()})

    @property
    def size(self) -> int:
        """Number of weights."""
        return len(self.weights)

    def export_state(self, first: int, slots: slice = slice(None)) -> dict[str, Any]:
        """Everything needed to continue exactly with sample number ``first``.

        ``slots`` are the candidates, by default all.
        """
        packed = pack(self._all_matrices()[slots], self.rows, self.dtype)
        return {
            "members": [[m.settings.as_dict(), m.serial, m.born] for m in self.members[slots]],
            "next_serial": self.next_serial,
            "capacity": list(self.capacity),
            "rows": self.rows,
            "fan_in": self.fan_in[slots].copy(),
            "taken": self.taken[slots].copy(),
            "healthy": self.healthy[slots].copy(),
            "resting": self.resting[slots].copy(),
            "weights": packed.weights,
            "state": packed.states,
            "occupied": packed.occupied,
            "memory": self.memory.export_state(first),
            "classes": self.classes.export_state(),
        }

    def count_packed_rows(self) -> int:
        """Number of bits in ``occupied`` of `export_state`."""
        return count_packed_rows(self._all_matrices(), self.rows)

    def restore_state(self, first: int, state: dict[str, Any]) -> None:
        """Continue from a state of `export_state`."""
        self.members = [
            Member(CandidateSettings.from_dict(settings), serial, born)
            for settings, serial, born in state["members"]
        ]
        self.next_serial = state["next_serial"]
        self.capacity = Capacity(*state["capacity"])
        self._build_layout()
        self.fan_in = np.array(state["fan_in"], np.int64)
        self.taken = np.array(state["taken"], np.int64)
        self.healthy = np.array(state["healthy"], np.uint8)
        self.resting = np.zeros(len(self.members), np.bool_)
        self.resting[:] = state.get("resting", False)  # states of earlier versions have none
        self._plans = self._plan_rehearsal()
        self.rows = state["rows"]
        packed = Packed(state["weights"], state["state"], state["occupied"])
        kept = unpack(self._all_matrices(), self.rows, packed)
        for slot, parts in enumerate(kept if any(self.capacity) else ()):
            self._fill(slot, parts)
        # New candidates may have as large a memory as the first ones had.
        self.memory = self._new_memory(self.memory.reach)
        self.memory.restore_state(first, state["memory"])
        self.weighted = bool((self.memory.ring.importance[:, WEIGHT] != 1.0).any())
        self.classes.restore_state(state["classes"])

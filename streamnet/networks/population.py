"""Population: all candidate networks, trained on the same samples in one pass.

ClassCounts, kept beside it, tells how rare each sample's class is, for ``class_weight``.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import local
from typing import Any, final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from streamnet.errors import ConfigurationError
from streamnet.jit import exact_kernel
from streamnet.networks.allocation import aligned_zeros
from streamnet.networks.initialization import fill_section
from streamnet.networks.kernels.contexts import ContextArrays, new_work_counter, thread_contexts
from streamnet.networks.kernels.prequential import SampleRing, learn, mark_nonfinite
from streamnet.networks.parameters import (
    Matrices,
    Member,
    NetworkOutputs,
    Packed,
    Parts,
    PopulationLayout,
    Weights,
    WeightsCopy,
    build_layout,
    copy_weights,
    initial_members,
    pack,
    plan_candidate,
    unpack,
    view_parts,
)
from streamnet.networks.replay_buffer import NO_NUMBERS, ReplayBuffer
from streamnet.networks.topology import Capacity
from streamnet.samples import Inputs, Task, constant_column
from streamnet.settings.candidate import CandidateSettings
from streamnet.validation import to_signed_seed

__all__ = (
    "ClassCounts",
    "Population",
)


@exact_kernel
def _count(
    label: NDArray[np.int32],
    counts: NDArray[np.int64],  # shape=(classes,), moved on
    rarity: NDArray[np.float64],  # shape=(n,), written
    first: int,
) -> int:
    """Count from sample ``first`` on; return the first one with a class that has no room yet."""
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
    """Counts of the classes that were learned so far.

    The rarity of a sample is ``n / (classes * n_c)`` (King and Zeng 2001): with derivatives
    multiplied by it all classes weigh the same, and by a power of it, nearly. It is reckoned
    by the samples up to and including its own, so it is 1 at first, and no cut of a stream into
    blocks changes it.

    >>> ClassCounts().update(np.array([0, 0, 1, 0, 1], np.int32)).tolist()
    [1.0, 1.0, 1.5, 0.6666666666666666, 1.25]
    """

    def __init__(self) -> None:
        self._counts = np.zeros(1, np.int64)

    def update(self, label: NDArray[np.int32]) -> NDArray[np.float64]:
        """Count the next samples, in order.

        Args:
            label: shape=(n,), class numbers; -1 where there is none.

        Returns:
            shape=(n,), the rarity of each sample; 1 where there is no class.
        """
        rarity, at = np.empty(len(label)), 0
        while (at := _count(label, self._counts, rarity, at)) < len(label):
            missing = int(label[at]) + 1 - len(self._counts)
            self._counts = np.append(self._counts, np.zeros(missing, np.int64))
        return rarity

    def export_state(self) -> NDArray[np.int64]:
        """Everything needed to go on, to the bit."""
        return self._counts.copy()

    def restore_state(self, counts: NDArray[np.int64]) -> None:
        """Go on as the one did whose state this is."""
        self._counts = np.array(counts, np.int64)


@final
class Population:
    """All candidates, learning the same samples.

    Args:
        settings: One for each candidate.
        task: Classification or regression.
        seed: Key of all random numbers.
        dtype: float32 or float64, of weights and answers.
        goals: Numbers that a sample's target is made of: 1 for a label or a number; more, one for
            each output, are learned and answered as they are.
        serials: Keys of the candidates' random numbers: equal ones start with equal weights. None
            gives each its own.

    >>> population = Population([CandidateSettings(hidden=(8,))], task=Task.REGRESSION, seed=0)
    >>> len(population.members)
    1
    """

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
        self.seed = to_signed_seed(seed)
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.float32, np.float64):
            raise ConfigurationError(f"dtype is {self.dtype}, but must be float32 or float64")
        self.members = initial_members(settings, serials)
        self.next_serial = 1 + max(member.serial for member in self.members)
        self.capacity = Capacity(0, 0, 0)
        self.rows = 0  # given out to values; there is room for more
        self.fan_in = np.zeros(len(settings), np.int64)
        self.taken = np.zeros(len(settings), np.int64)
        self.healthy = np.ones(len(settings), np.uint8)
        self.goals = goals
        self.memory = self._new_memory()
        self.classes = ClassCounts()
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
        self.weights = aligned_zeros(layout.weights, self.dtype)
        self.state = aligned_zeros(layout.states, self.dtype)

    def _adopt(self, layout: PopulationLayout) -> None:
        self.layout, self._local = layout, local()
        # Made anew, since answers to earlier blocks keep the array of before.
        self.logarithmic = np.array([m.settings.target_transform == "log" for m in self.members])

    def _matrices(self, slot: int) -> Matrices:
        return self.layout.matrices(slot, self.weights, self.state)

    def _all_matrices(self) -> list[Matrices]:
        return [self._matrices(slot) for slot in range(len(self.members))]

    def reserve(self, *, dense: int, rows: int, outputs: int, lags: int = 0) -> None:
        """Make room for inputs and outputs; what is learned keeps its values to the bit."""
        self.rows = max(self.rows, rows)
        now = self.capacity
        if dense <= now.dense and rows <= now.rows and outputs <= now.outputs and lags <= now.lags:
            return
        wanted = Capacity(max(dense, now.dense), now.rows, now.outputs, max(lags, now.lags))
        if rows > now.rows:
            wanted = wanted._replace(rows=max(64, 1 << (rows - 1).bit_length()))
        if outputs > now.outputs:
            wanted = wanted._replace(outputs=max(outputs, min(2 * now.outputs, outputs + 64)))
        before = [view_parts(matrices) for matrices in self._all_matrices()]
        if not any(now):
            # Nothing was learned: what there is are zeros that no start weight was written over.
            before = [{} for _ in before]
            self.fan_in[:] = max(8, dense)
        self.capacity = wanted
        self._build_layout()
        for slot, old in enumerate(before):
            self._fill(slot, old)

    def _fill(self, slot: int, old: Parts) -> None:
        """Write what ``old`` has, and start weights for the rest."""
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
    ) -> NetworkOutputs:
        """Take a block in, as `InputMemory.write` does; its answers are to be filled by `run`."""
        dense = inputs.dense.shape[1]
        self.reserve(dense=dense, rows=inputs.rows, outputs=max(outputs, 1), lags=inputs.lags)
        n, candidates = len(inputs.count), len(self.members)
        self.memory.write(first, inputs, label, goal, log_goal, self.classes.update(label))
        return NetworkOutputs(
            np.empty((candidates, n, self.capacity.outputs), self.dtype),
            np.empty((candidates, n), np.uint8),
            self.logarithmic,
        )

    def run(
        self,
        first: int,
        known: NDArray[np.int32],
        answers: NetworkOutputs,
        turns: NDArray[np.int64] | None = None,
        checks: bool = False,
    ) -> None:
        """Let all candidates answer and learn the prepared block; who explodes becomes unhealthy.

        Args:
            first: Number of the block's first sample.
            known: shape=(n,), outputs that may be named before each sample.
            answers: What `prepare` gave.
            turns: Threads with the same turns share the candidates out, the longest work first.
                None leaves all to this thread.
            checks: Whether to `check` each candidate once it has learned the block.
        """
        turns = new_work_counter() if turns is None else turns
        self._work(self.layout.order, turns, self.healthy, first, known, answers, checks)

    def answer(self, slot: int | None, first: int, inputs: Inputs, outputs: int) -> NetworkOutputs:
        """What candidates say about samples that are not learned; nothing changes.

        An answer that is not finite, and those after it, mean nothing.

        Args:
            slot: Of the candidate; None asks all of them.
            first: Number of the next sample to be learned.
            inputs: Of the samples.
            outputs: Outputs that may be named.
        """
        n, candidates = len(inputs.count), len(self.members)
        self.memory.write(first, inputs)
        answers = NetworkOutputs(
            np.empty((candidates, n, self.capacity.outputs), self.dtype),
            np.zeros((candidates, n), np.uint8),
            self.logarithmic,
        )
        order = self.layout.order if slot is None else np.array([slot], np.int64)
        known = constant_column(n, outputs, np.int32)
        self._work(order, new_work_counter(), self.healthy.copy(), first, known, answers)
        if slot is None:
            return answers
        asked = slice(slot, slot + 1)
        return NetworkOutputs(answers.outputs[asked], answers.alive[asked], self.logarithmic[asked])

    def _work(
        self,
        order: NDArray[np.int64],
        turns: NDArray[np.int64],
        healthy: NDArray[np.uint8],
        first: int,
        known: NDArray[np.int32],
        answers: NetworkOutputs,
        checks: bool = False,
    ) -> None:
        """Let candidates answer what is in memory from sample ``first`` on, and learn it."""
        learn(
            order,
            turns,
            self.layout.plans,
            self.layout.factors,
            self.taken,
            healthy,
            self.weights,
            self.state,
            known,
            first,
            checks,
            self.capacity.dense,
            self.seed,
            answers.outputs,
            answers.alive,
            *self.contexts(self.memory.ring),
            *self.memory.ring,
        )

    def contexts(self, memory: SampleRing) -> ContextArrays:
        """Working memory for the kernels on samples in ``memory``: the arrays of `Seats`."""
        most = memory.row.shape[1] + 2 * (memory.splined.shape[1] + memory.dense.shape[1])
        return thread_contexts(self._local, self.layout.scratch, most, self.dtype)

    def check(self) -> int:
        """Quarantine candidates with a weight that is not finite; return how many."""
        return int(mark_nonfinite(self.layout.plans, self.weights, self.healthy))

    def find_finite_slots(self) -> set[int]:
        """Slots of healthy candidates all of whose weights are finite."""
        healthy = self.healthy.copy()
        mark_nonfinite(self.layout.plans, self.weights, healthy)
        return set(np.flatnonzero(healthy).tolist())

    def replace(
        self, slot: int, settings: CandidateSettings, *, born: int, parent: int | None = None
    ) -> Member:
        """Put another candidate into ``slot``.

        Args:
            slot: Whose place is taken.
            settings: Of the newcomer.
            born: Number of the first sample that it answers.
            parent: Slot whose weights it starts with, and whose optimizer's state if it has the
                same optimizer; the layers must be the same. None starts afresh.

        Raises:
            ConfigurationError: If its memory reaches farther than the population's, or its layers
                differ from its parent's.
        """
        if settings.rehearses and settings.memory > self.memory.reach:
            raise ConfigurationError(
                f"memory is {settings.memory}, but must be <= {self.memory.reach} here"
            )
        inherited = {} if parent is None else self._inherited(settings, parent)
        taken = 0 if parent is None else int(self.taken[parent])
        member = Member(settings, self.next_serial, born)
        self.next_serial += 1
        self.members[slot] = member
        self.fan_in[slot] = max(8, self.capacity.dense)
        self.taken[slot], self.healthy[slot] = taken, 1
        self._replace_layout(slot)
        self._fill(slot, inherited)
        return member

    def _replace_layout(self, slot: int) -> None:
        """Lay out for another member in ``slot``; all others keep their numbers."""
        before, pools = self.layout, (self.weights, self.state)
        draft = plan_candidate(self.members[slot].settings, self.task, self.capacity)
        layout = before.replaced(slot, draft, self.members[slot].serial)
        if layout.rooms is before.rooms:
            for pool, room in zip(pools, layout.reserved_places(slot), strict=True):
                pool[room] = 0
            self._adopt(layout)
            return
        self._allocate(layout)
        for other in range(len(self.members)):
            if other != slot:
                places = zip(before.places(other), layout.places(other), strict=True)
                pairs = zip(pools, (self.weights, self.state), strict=True)
                for (source, target), (old, new) in zip(pairs, places, strict=True):
                    target[new] = source[old]

    def _inherited(self, settings: CandidateSettings, parent: int) -> Parts:
        arrays = view_parts(self._matrices(parent))
        theirs = self.members[parent].settings
        if (settings.hidden, settings.activations) != (theirs.hidden, theirs.activations):
            raise ConfigurationError(
                f"the layers are {settings.describe()!r}, but must be those of the parent, "
                f"{theirs.describe()!r}"
            )
        # A row that nobody has been given yet starts as its own, not as the parent's.
        arrays = {**arrays, "sparse": [matrix[: self.rows] for matrix in arrays["sparse"]]}
        many = None if settings.optimizer == theirs.optimizer else 1
        # Copies: the parent may be the one that makes room.
        return {name: [m.copy() for m in matrices[:many]] for name, matrices in arrays.items()}

    def copied(
        self, slot: int, *, rows: int | None = None, outputs: int | None = None
    ) -> WeightsCopy:
        """A copy of a candidate's weights, cut to ``rows`` and ``outputs`` that are in use."""
        own, _ = self.layout.places(slot)
        return copy_weights(
            self.layout.drafts[slot].sections,
            self.weights[own],
            linear=not self.members[slot].settings.hidden,
            rows=rows,
            outputs=outputs,
        )

    def extract(self, slot: int, *, rows: int | None = None, outputs: int | None = None) -> Weights:
        """What `copied` copies, by section."""
        return self.copied(slot, rows=rows, outputs=outputs).weights()

    def insert(self, slot: int, weights: Weights) -> None:
        """Overwrite a candidate's weights with those that `extract` gave."""
        self._fill(slot, {name: [matrix] for name, matrix in weights.items()})

    def export_state(self, first: int) -> dict[str, Any]:
        """Everything needed to go on with sample number ``first``, to the bit."""
        packed = pack(self._all_matrices(), self.rows, self.dtype)
        return {
            "members": [[m.settings.as_dict(), m.serial, m.born] for m in self.members],
            "next_serial": self.next_serial,
            "capacity": list(self.capacity),
            "rows": self.rows,
            "fan_in": self.fan_in.copy(),
            "taken": self.taken.copy(),
            "healthy": self.healthy.copy(),
            "weights": packed.weights,
            "state": packed.states,
            "occupied": packed.occupied,
            "memory": self.memory.export_state(first),
            "classes": self.classes.export_state(),
        }

    def restore_state(self, first: int, state: dict[str, Any]) -> None:
        """Go on as the population did whose state this is."""
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
        # Of release 0.1.0 are states that hold all that was reserved.
        self.rows = state.get("rows", self.capacity.rows)
        packed = Packed(state["weights"], state["state"], state.get("occupied"))
        kept = unpack(self._all_matrices(), self.rows, packed)
        for slot, parts in enumerate(kept if any(self.capacity) else ()):
            self._fill(slot, parts)
        # Newcomers may remember as much as those that this population began with.
        self.memory = self._new_memory(self.memory.reach)
        self.memory.restore_state(first, state["memory"])
        if "classes" in state:  # of an earlier release are states that count none
            self.classes.restore_state(state["classes"])

"""ReplayBuffer: the most recent samples as network inputs, for rehearsal (experience replay)."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from streamnet.jit import kernel
from streamnet.networks.allocation import SPARE_MEMORY
from streamnet.networks.kernels.prequential import SampleRing
from streamnet.networks.topology import padded
from streamnet.samples import Inputs

__all__ = ("NO_LABELS", "NO_NUMBERS", "ReplayBuffer")

NO_LABELS = np.empty(0, np.int32)  # this and the next stand for targets that nobody tells
NO_NUMBERS = np.empty(0)


@kernel
def _write_samples(
    first: int,
    reach: int,
    dense: NDArray[np.floating],
    row: NDArray[np.int32],
    value: NDArray[np.floating],
    count: NDArray[np.int32],
    label: NDArray[np.int32],
    goal: NDArray[np.float64],  # shape=(n * goals,)
    splined: NDArray[np.int32],
    log_goal: NDArray[np.float64],
    rarity: NDArray[np.float64],
    *arrays: NDArray[Any],
) -> bool:
    """Copy samples to where their numbers say in ``arrays``, those of a `SampleRing`.

    Of the samples' targets those are written that are there. Returns whether there is room for all
    samples besides ``reach`` earlier ones; if not, nothing is copied.
    """
    ring = SampleRing(*arrays)
    mask = ring.count.size - 1
    if (
        reach + count.size > ring.count.size
        or dense.shape[1] > ring.dense.shape[1]
        or row.shape[1] > ring.row.shape[1]
        or splined.shape[1] > ring.splined.shape[1]
    ):
        return False
    goals = ring.goal.shape[1]
    for i in range(count.size):
        at = (first + i) & mask
        for j in range(dense.shape[1]):
            ring.dense[at, j] = dense[i, j]
        for j in range(goals):
            k = i * goals + j
            ring.goal[at, j] = goal[k] if k < goal.size else np.nan
        for j in range(row.shape[1]):
            ring.row[at, j] = row[i, j]
            ring.value[at, j] = value[i, j]
        for j in range(ring.splined.shape[1]):
            ring.splined[at, j] = splined[i, j] if j < splined.shape[1] else -1
        ring.count[at] = count[i]
        ring.label[at] = label[i] if i < label.size else -1
        ring.log_goal[at] = log_goal[i] if i < log_goal.size else np.nan
        ring.rarity[at] = rarity[i] if i < rarity.size else 1.0
    return True


@final
class ReplayBuffer:
    """A ring that holds the current block and the ``reach`` samples before it.

    Args:
        reach: How many earlier samples it holds.
        dtype: float32 or float64.
        goals: Numbers that a sample's target is made of, at least 1.

    >>> memory = ReplayBuffer(reach=100, dtype=np.float32)
    """

    def __init__(self, *, reach: int, dtype: DTypeLike, goals: int = 1) -> None:
        self.reach = reach
        self.dtype = np.dtype(dtype)
        self.goals = goals
        self.ring = self._empty(1, padded(1), 1, 0)

    def write(
        self,
        first: int,
        inputs: Inputs,
        label: NDArray[np.int32] = NO_LABELS,
        goal: NDArray[np.float64] = NO_NUMBERS,
        log_goal: NDArray[np.float64] = NO_NUMBERS,
        rarity: NDArray[np.float64] = NO_NUMBERS,
    ) -> None:
        """Put a block whose first sample has the number ``first`` into the ring.

        Each of the last four has something for every sample, or is empty; the goals of a sample
        that has several come one after the other.
        """
        given = inputs.dense, inputs.row, inputs.value, inputs.count
        new = *given, label, goal, inputs.splined, log_goal, rarity
        while not _write_samples(first, self.reach, *new, *self.ring):
            self._make_room(first, inputs)

    def _make_room(self, first: int, inputs: Inputs) -> None:
        old = self.ring
        slots, room = old.count.size, (old.dense.shape[1], old.row.shape[1], old.splined.shape[1])
        while slots < self.reach + len(inputs.count):
            slots *= 2
        wanted = padded(inputs.dense.shape[1]), inputs.row.shape[1], inputs.splined.shape[1]
        stride, width, splined = map(max, wanted, room)
        self.ring = self._empty(slots, stride, width, splined)
        numbers = np.arange(max(0, first - len(old.count)), first)
        self._copy(old, numbers & (len(old.count) - 1), numbers & (slots - 1))

    def _copy(self, old: SampleRing, source: NDArray[np.intp], target: NDArray[np.intp]) -> None:
        for before, now in zip(old, self.ring, strict=True):
            if before.ndim == 1:
                now[target] = before[source]
            else:
                now[target, : before.shape[1]] = before[source]

    def export_state(self, first: int) -> dict[str, Any]:
        """The samples before number ``first`` that can still be drawn, oldest first."""
        numbers = np.arange(max(0, first - self.reach), first)
        slots = numbers & (len(self.ring.count) - 1)
        state = {name: _gather_rows(array, slots) for name, array in self.ring._asdict().items()}
        unused = np.arange(state["row"].shape[1]) >= state["count"][:, None]
        state["row"][unused] = 0
        state["value"][unused] = 0
        state["goal"] = state["goal"].ravel()
        return state

    def restore_state(self, first: int, state: dict[str, Any]) -> None:
        """Go on as the memory did whose state this is."""
        # Release 0.1.0 knew neither splines, nor logarithms, nor weights of classes.
        n = len(state["count"])
        goals = np.asarray(state["goal"], self.dtype).reshape(n, self.goals)
        missing = {
            "splined": np.empty((n, 0), np.int32),
            # The best guess at standard units of a logarithm.
            "log_goal": goals[:, 0] if self.goals == 1 else np.full(n, np.nan, self.dtype),
            "rarity": np.ones(n, self.dtype),
        }
        state = {**missing, **state}
        old = SampleRing(**{name: np.asarray(state[name]) for name in SampleRing._fields})
        old = old._replace(goal=old.goal.reshape(-1, self.goals))
        slots = 1
        while slots < max(self.reach, 1):
            slots *= 2
        self.ring = self._empty(slots, old.dense.shape[1], old.row.shape[1], old.splined.shape[1])
        numbers = np.arange(first - len(old.count), first)
        self._copy(old, np.arange(len(old.count)), numbers & (slots - 1))

    def _empty(self, slots: int, stride: int, width: int, splined: int) -> SampleRing:
        return SampleRing(
            dense=np.zeros((slots, stride), self.dtype),
            row=np.zeros((slots, width), np.int32),
            value=np.zeros((slots, width), self.dtype),
            count=np.zeros(slots, np.int32),
            label=np.full(slots, -1, np.int32),
            goal=np.full((slots, self.goals), np.nan, self.dtype),
            splined=np.full((slots, splined), -1, np.int32),
            log_goal=np.full(slots, np.nan, self.dtype),
            rarity=np.ones(slots, self.dtype),
        )


def _gather_rows(array: NDArray[Any], slots: NDArray[np.intp]) -> NDArray[Any]:
    """``array[slots]``."""
    out = SPARE_MEMORY.empty((len(slots), *array.shape[1:]), array.dtype)
    # With another mode, numpy would make a copy beside it.
    return np.take(array, slots, axis=0, out=out, mode="wrap")

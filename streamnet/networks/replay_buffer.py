"""ReplayBuffer: the most recent samples as network inputs, for rehearsal (experience replay)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from streamnet.jit import kernel
from streamnet.networks.parameters import SPARE_MEMORY
from streamnet.networks.topology import padded
from streamnet.samples import Inputs

NO_LABELS = np.empty(0, np.int32)  # this and the next stand for unknown targets
NO_NUMBERS = np.empty(0)

RARITY, WEIGHT, IMPORTANCE_COLUMNS = range(3)


class SampleRing(NamedTuple):
    """A ring of the most recent samples; sample t is in slot ``t % slots``.

    The number of slots is a power of two.
    """

    dense: NDArray[np.floating]  # shape=(slots, stride): padded with zeros
    row: NDArray[np.int32]  # shape=(slots, width)
    value: NDArray[np.floating]  # shape=(slots, width)
    count: NDArray[np.int32]  # type: ignore[assignment]  # shape=(slots,); not tuple's method
    label: NDArray[np.int32]  # shape=(slots,): class, 0 for a number, -1 for no target
    goal: NDArray[np.floating]  # shape=(slots, goals): numeric targets; NaN for a class
    splined: NDArray[np.int32]  # shape=(slots, most): dense inputs that have a spline, then -1
    log_goal: NDArray[np.floating]  # shape=(slots,): transformed target, for ``target_transform``
    # shape=(slots, 2): rarity of the class, see `ClassCounts`, and weight of the sample
    importance: NDArray[np.floating]


def unlabeled_ring(inputs: Inputs, dtype: np.dtype[Any], goals: int) -> SampleRing:
    """A ring of these samples alone, without targets; arrays are copied only if they must be."""
    n, width = inputs.dense.shape
    slots = 1 << (n - 1).bit_length()
    dense = inputs.dense
    if slots != n or width != padded(width) or dense.dtype is not dtype:
        dense = np.zeros((slots, padded(width)), dtype)
        dense[:n, :width] = inputs.dense
    row, value, count, splined = inputs.row, inputs.value, inputs.count, inputs.splined
    if value.dtype is not dtype:
        value = value.astype(dtype)
    if slots != n:
        row, value, count, splined = (_pad(part, slots) for part in (row, value, count, splined))
    label, goal, log_goal, importance = _no_targets(slots, goals, dtype)
    return SampleRing(dense, row, value, count, label, goal, splined, log_goal, importance)


def _pad(array: NDArray[Any], rows: int) -> NDArray[Any]:
    """A copy with rows of zeros at the end."""
    out = np.zeros((rows, *array.shape[1:]), array.dtype)
    out[: len(array)] = array
    return out


@lru_cache(maxsize=16)
def _no_targets(slots: int, goals: int, dtype: np.dtype[Any]) -> tuple[NDArray[Any], ...]:
    """Columns of targets that are all unknown; kernels only read them, so calls share them."""
    return (
        np.full(slots, -1, np.int32),
        np.full((slots, goals), np.nan, dtype),
        np.full(slots, np.nan, dtype),
        np.ones((slots, IMPORTANCE_COLUMNS), dtype),
    )


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
    """Write samples into ``arrays``, those of a `SampleRing`; empty targets count as unknown.

    Returns whether the samples fit beside the ``reach`` earlier ones; if not, nothing is written.
    """
    ring = SampleRing(*arrays)
    mask = ring.count.size - 1
    if (
        min(reach, first) + count.size > ring.count.size
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
        ring.importance[at, RARITY] = rarity[i] if i < rarity.size else 1.0
        ring.importance[at, WEIGHT] = 1.0
    return True


@final
class ReplayBuffer:
    """The current block and the ``reach`` samples before it.

    Args:
        reach: Number of earlier samples to keep.
        dtype: float32 or float64.
        goals: Numbers in a sample's target, at least 1.

    >>> memory = ReplayBuffer(reach=100, dtype=np.float32)
    """

    def __init__(self, *, reach: int, dtype: DTypeLike, goals: int = 1) -> None:
        self.reach = reach
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.goals = goals
        self.ring: SampleRing = self._empty(1, padded(1), 1, 0)

    def write(
        self,
        first: int,
        inputs: Inputs,
        label: NDArray[np.int32] = NO_LABELS,
        goal: NDArray[np.float64] = NO_NUMBERS,
        log_goal: NDArray[np.float64] = NO_NUMBERS,
        rarity: NDArray[np.float64] = NO_NUMBERS,
    ) -> None:
        """Store a block whose first sample has number ``first``.

        Targets are of shape=(n,) or empty, ``goal`` of shape=(n * goals,) or empty.
        """
        given = inputs.dense, inputs.row, inputs.value, inputs.count
        new = *given, label, goal, inputs.splined, log_goal, rarity
        while not _write_samples(first, self.reach, *new, *self.ring):
            self._make_room(first, inputs)

    def weigh(self, first: int, weight: NDArray[np.float64]) -> None:
        """Set the weights of stored samples, the first of which has number ``first``."""
        slots = np.arange(first, first + len(weight)) & (len(self.ring.count) - 1)
        self.ring.importance[slots, WEIGHT] = weight

    def exchange_label(self, label: int, by: int) -> None:
        """Give all samples of a class another label, -1 for none."""
        self.ring.label[self.ring.label == label] = by

    def _make_room(self, first: int, inputs: Inputs) -> None:
        old = self.ring
        slots, room = old.count.size, (old.dense.shape[1], old.row.shape[1], old.splined.shape[1])
        while slots < min(self.reach, first) + len(inputs.count):
            slots *= 2
        wanted = padded(inputs.dense.shape[1]), inputs.row.shape[1], inputs.splined.shape[1]
        self.ring = self._empty(slots, *map(max, wanted, room))
        numbers = np.arange(max(0, first - len(old.count)), first)
        self._copy(old, numbers & (len(old.count) - 1), numbers)

    def _copy(self, old: SampleRing, source: NDArray[np.intp], numbers: NDArray[np.intp]) -> None:
        target = numbers & (self.ring.count.size - 1)
        for before, now in zip(old, self.ring, strict=True):
            if before.ndim == 1:
                now[target] = before[source]
            else:
                now[target, : before.shape[1]] = before[source]

    def export_state(self, first: int) -> dict[str, Any]:
        """The samples before number ``first`` that rehearsal can still draw, oldest first."""
        numbers = np.arange(max(0, first - self.reach), first)
        slots = numbers & (len(self.ring.count) - 1)
        state = {name: _gather_rows(array, slots) for name, array in self.ring._asdict().items()}
        unused = np.arange(state["row"].shape[1]) >= state["count"][:, None]
        state["row"][unused] = 0
        state["value"][unused] = 0
        state["goal"] = state["goal"].ravel()
        return state

    def restore_state(self, first: int, state: dict[str, Any]) -> None:
        """Continue from a state of `export_state`."""
        old = SampleRing(**{name: np.asarray(state[name]) for name in SampleRing._fields})
        old = old._replace(goal=old.goal.reshape(-1, self.goals))
        slots = 1 << max(len(old.count) - 1, 0).bit_length()
        self.ring = self._empty(slots, old.dense.shape[1], old.row.shape[1], old.splined.shape[1])
        self._copy(old, np.arange(len(old.count)), np.arange(first - len(old.count), first))

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
            importance=np.ones((slots, IMPORTANCE_COLUMNS), self.dtype),
        )


def _gather_rows(array: NDArray[Any], slots: NDArray[np.intp]) -> NDArray[Any]:
    """``array[slots]``."""
    out = SPARE_MEMORY.empty((len(slots), *array.shape[1:]), array.dtype)
    # In its default mode numpy would make another copy.
    return np.take(array, slots, axis=0, out=out, mode="wrap")

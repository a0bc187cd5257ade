"""Flat arrays of all weights and optimizer states, and the memory they are allocated from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from threading import Lock
from typing import Any, NamedTuple, final
from weakref import finalize

import numpy as np
from numpy.typing import DTypeLike, NDArray

from streamnet.jit import kernel
from streamnet.networks.plan import PLAN, STATE_PLACES, WEIGHT_PLACES
from streamnet.networks.topology import (
    Capacity,
    Section,
    build_factors,
    build_plan,
    build_sections,
    count_states,
    estimate_cost,
    heaviest_first,
    scratch_size,
)
from streamnet.samples import Task
from streamnet.settings.candidate import CandidateSettings

_ALIGNMENT = 64  # bytes


def aligned_zeros(size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Zeros that start at a cache line.

    >>> aligned_zeros(3, np.dtype(np.float32)).ctypes.data % 64
    0
    """
    raw = np.zeros(size + _ALIGNMENT // dtype.itemsize, dtype)
    skip = -raw.ctypes.data % _ALIGNMENT // dtype.itemsize
    return raw[skip : skip + size]


@final
class SpareMemory:
    """A pool of memory blocks; a block is reused once its array and all views of it are gone.

    Thread-safe. The smallest spare block that is large enough is used; if none is, the largest one
    is freed and replaced. Arrays below ``least`` bytes are not kept, nor more than ``most`` bytes.

    >>> memory = SpareMemory(least=8)
    >>> first = memory.empty((2, 3), np.float64)
    >>> first[:] = 1
    >>> del first
    >>> memory.spare
    64
    >>> second = memory.empty((10,), np.float32)
    >>> second.shape, second.dtype, memory.spare
    ((10,), dtype('float32'), 0)
    """

    def __init__(self, *, least: int = 1 << 17, most: int = 1 << 26) -> None:
        self._least = least
        self._most = most
        self._blocks: list[memoryview] = []  # their sizes are powers of 2
        self._lock = Lock()

    @property
    def spare(self) -> int:
        """Total size in bytes of the spare blocks."""
        return sum(map(len, self._blocks))

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An uninitialized array, like that of `numpy.empty`."""
        count = prod(shape)
        size = count * np.dtype(dtype).itemsize
        if size < max(self._least, 1):
            return np.empty(shape, dtype)
        block = self._block(size)
        # The block is no array, so this array is the base of all views of it.
        array = np.frombuffer(block, dtype, count)
        finalize(array, self._reclaim, block).atexit = False
        return array.reshape(shape)

    def _block(self, size: int) -> memoryview:
        with self._lock:
            sizes = list(map(len, self._blocks))  # `_reclaim` may append meanwhile
            if sizes:
                fitting = [at for at in range(len(sizes)) if sizes[at] >= size]
                place = min(fitting or range(len(sizes)), key=lambda at: abs(sizes[at] - size))
                block = self._blocks.pop(place)
                if fitting:
                    return block
        # Up to twice the size: states grow, and untouched pages take no memory.
        return np.empty(1 << (size - 1).bit_length(), np.uint8).data

    def _reclaim(self, block: memoryview) -> None:
        # No lock: a finalizer may run in the very thread that holds it.
        if self.spare + len(block) <= self._most:
            self._blocks.append(block)


SPARE_MEMORY = SpareMemory()
"""Shared by all populations, so that it is no larger than the states in use at a time."""


Weights = dict[str, NDArray[Any]]
"""A network's weights: a matrix for each section, without padding."""

Matrices = list[tuple[Section, list[NDArray[Any]]]]
"""Each section of a candidate with its weights and then its optimizer states."""

Parts = dict[str, list[NDArray[Any]]]
"""The same by the name of the section."""


def view_parts(matrices: Matrices) -> Parts:
    """Views of the matrices by section name, without padding."""
    return {s.name: [array[:, : s.units] for array in arrays] for s, arrays in matrices}


class WeightsCopy(NamedTuple):
    """A copy of one candidate's weights in one piece, to be cut into sections later."""

    sections: tuple[Section, ...]
    numbers: NDArray[Any]  # up to the last sparse row in use
    linear: bool  # whether the first section gives the scores
    rows: int  # sparse rows in use
    outputs: int | None  # outputs in use; None means all

    def weights(self) -> Weights:
        """The weights by section, cut to the rows and outputs in use."""
        weights: Weights = {}
        for section in self.sections:
            used = _rows_in_use(section, self.rows)
            taken = self.numbers[section.offset : section.offset + used * section.width]
            matrix = taken.reshape(used, section.width)[:, : section.units]
            if section.name == "output":
                matrix = matrix[: self.outputs]
            elif section.name == "output_bias" or self.linear:
                matrix = matrix[:, : self.outputs]
            weights[section.name] = matrix.copy()
        return weights


def _rows_in_use(section: Section, rows: int) -> int:
    return min(rows, section.rows) if section.name == "sparse" else section.rows


class Packed(NamedTuple):
    """The nonzero rows of all candidates, section by section.

    The optimizer states of a candidate follow each other.
    """

    weights: NDArray[Any]
    states: NDArray[Any]
    occupied: NDArray[np.uint8]
    """A bit for each row in use, of the weights and then the states of each candidate, as packed by
    `numpy.packbits`: 0 for a row of zeros, which is left out."""


@kernel
def _pack_rows(
    matrix: NDArray[np.unsignedinteger[Any]],  # shape=(rows, width), the numbers' bits
    units: int,  # numbers of a row in use; the padding behind them is written as zeros
    occupied: NDArray[np.bool_],  # shape=(rows,), written
    out: NDArray[np.unsignedinteger[Any]],  # written from ``at`` on
    at: int,
) -> int:
    """Copy rows in which any bit is set; return the end of what was written."""
    rows, width = matrix.shape
    for i in range(rows):
        bits = matrix[i, 0]
        for j in range(1, units):
            bits |= matrix[i, j]
        occupied[i] = bits != 0
        if bits != 0:
            for j in range(units):
                out[at + j] = matrix[i, j]
            for j in range(units, width):
                out[at + j] = 0
            at += width
    return at


def count_packed_rows(candidates: Sequence[Matrices], rows: int) -> int:
    """Rows in use of all weights and states, which is the number of bits in `Packed.occupied`."""
    return sum(_rows_in_use(s, rows) * len(arrays) for each in candidates for s, arrays in each)


def _iterate_matrices(
    candidates: Sequence[Matrices], rows: int, occupied: NDArray[np.bool_]
) -> Iterator[tuple[int, int, Section, NDArray[Any], NDArray[np.bool_]]]:
    """All matrices in the order in which they are packed.

    Yields:
        Number of the candidate, pool (0 for weights, 1 for states), section, the matrix's rows in
        use, and a view of their flags.
    """
    row = 0
    for candidate, matrices in enumerate(candidates):
        for number in range(len(matrices[0][1])):
            for section, arrays in matrices:
                used = _rows_in_use(section, rows)
                matrix, flags = arrays[number][:used], occupied[row : row + used]
                yield candidate, min(number, 1), section, matrix, flags
                row += used


def pack(candidates: Sequence[Matrices], rows: int, dtype: DTypeLike) -> Packed:
    """Copy all weights and optimizer states, except rows of zeros and unused sparse rows."""
    bits = np.dtype(f"u{np.dtype(dtype).itemsize}")  # unlike 0.0, -0.0 has a bit
    occupied = np.empty(count_packed_rows(candidates, rows), np.bool_)
    sizes, places = [0, 0], [0, 0]
    for _, pool, _, matrix, _ in _iterate_matrices(candidates, rows, occupied):
        sizes[pool] += matrix.size
    pools = [SPARE_MEMORY.empty((size,), bits) for size in sizes]
    for _, pool, section, matrix, flags in _iterate_matrices(candidates, rows, occupied):
        places[pool] = _pack_rows(
            matrix.view(bits), section.units, flags, pools[pool], places[pool]
        )
    weights, states = (pool[:place].view(dtype) for pool, place in zip(pools, places, strict=True))
    return Packed(weights, states, np.packbits(occupied))


def unpack(candidates: Sequence[Matrices], rows: int, packed: Packed) -> list[Parts]:
    """Weights and states of each candidate by section, of matrices as those passed to `pack`.

    Raises:
        ValueError: If there are more or fewer numbers than these matrices need.
    """
    pools, places = packed[:2], [0, 0]
    count = count_packed_rows(candidates, rows)
    occupied = np.unpackbits(packed.occupied, count=count).view(np.bool_)
    unpacked: list[Parts] = [{section.name: [] for section, _ in each} for each in candidates]
    for slot, pool, section, like, flags in _iterate_matrices(candidates, rows, occupied):
        start, size = places[pool], int(flags.sum()) * section.width
        places[pool] += size
        matrix = np.zeros(like.shape, pools[pool].dtype)
        taken = pools[pool][start : start + size]
        if len(taken) == size:  # otherwise there are too few, see below
            matrix[flags] = taken.reshape(-1, section.width)
        unpacked[slot][section.name].append(matrix)
    for name, numbers, place in zip(("weights", "states"), pools, places, strict=True):
        if len(numbers) != place:
            raise ValueError(f"there are {len(numbers)} {name}, but must be {place}")
    return unpacked


class CandidateLayout(NamedTuple):
    """A candidate's plan and sizes, independent of where its weights will be."""

    plan: NDArray[np.int64]  # with offsets relative to the candidate's own start
    factors: NDArray[np.float64]
    sections: tuple[Section, ...]
    states: int  # numbers per weight
    scratch: int  # size of working memory
    cost: float  # microseconds per sample

    @property
    def sizes(self) -> tuple[int, int]:
        """Number of weights and of states."""
        size = int(self.plan[PLAN.size])
        return size, size * self.states


def plan_candidate(settings: CandidateSettings, task: Task, capacity: Capacity) -> CandidateLayout:
    """Plan a candidate with these settings."""
    return CandidateLayout(
        build_plan(settings, task, capacity),
        build_factors(settings, task),
        build_sections(settings, capacity),
        count_states(settings),
        scratch_size(settings, capacity),
        estimate_cost(settings, capacity),
    )


class PopulationLayout(NamedTuple):
    """The plans of all candidates, which follow each other in the two arrays."""

    drafts: tuple[CandidateLayout, ...]
    rooms: NDArray[np.int64]  # shape=(2, candidates): sizes reserved in both arrays
    plans: NDArray[np.int64]  # shape=(candidates, columns), see plan.PLAN
    factors: NDArray[np.float64]  # shape=(candidates, columns), see plan.FACTORS
    order: NDArray[np.int64]  # in which threads take candidates, the costliest first
    weights: int  # size of the array of weights
    states: int  # size of the array of states
    scratch: int  # size of working memory, enough for each candidate

    def matrices(self, slot: int, weights: NDArray[Any], states: NDArray[Any]) -> Matrices:
        """Views of one candidate's part of both arrays."""
        own, theirs = self.places(slot)
        pools = weights[own], *states[theirs].reshape(-1, own.stop - own.start)
        return [
            (s, [pool[s.offset :][: s.rows * s.width].reshape(s.rows, s.width) for pool in pools])
            for s in self.drafts[slot].sections
        ]

    def places(self, slot: int) -> tuple[slice, slice]:
        """Where a candidate's weights are, and its states."""
        size, states = self.drafts[slot].sizes
        start, state = (int(self.plans[slot, column]) for column in (PLAN.start, PLAN.state))
        return slice(start, start + size), slice(state, state + states)

    def reserved_places(self, slot: int) -> tuple[slice, slice]:
        """Where space is reserved for a candidate, which may be more than it uses."""
        starts = [place.start for place in self.places(slot)]
        rooms = self.rooms[:, slot].tolist()
        own, theirs = (slice(a, a + room) for a, room in zip(starts, rooms, strict=True))
        return own, theirs

    def replaced(self, slot: int, draft: CandidateLayout, serial: int) -> PopulationLayout:
        """The layout with another candidate in ``slot``.

        If it fits into the reserved space, `rooms` stays the same array and nothing moves.
        Otherwise its slot grows; if more than half of all space would then be unused, every slot
        shrinks to what it needs.
        """
        drafts = (*self.drafts[:slot], draft, *self.drafts[slot + 1 :])
        rooms, serials = self.rooms, self.plans[:, PLAN.serial].copy()
        serials[slot] = serial
        if (np.array(draft.sizes) > rooms[:, slot]).any():
            rooms = rooms.copy()
            rooms[:, slot] = np.maximum(draft.sizes, rooms[:, slot])
            needed = np.array([each.sizes for each in drafts]).T
            if (rooms.sum(axis=1) > 2 * needed.sum(axis=1)).any():
                rooms = needed
        return build_layout(drafts, serials, rooms)


def build_layout(
    drafts: Sequence[CandidateLayout],
    serials: Sequence[int] | NDArray[np.int64],
    rooms: NDArray[np.int64] | None = None,
) -> PopulationLayout:
    """Lay out candidates in this order, by default without reserving more than they need."""
    plans = np.stack([draft.plan for draft in drafts])
    if rooms is None:
        rooms = np.array([draft.sizes for draft in drafts]).T
    ends = np.cumsum(rooms, axis=1)
    starts = (ends - rooms)[:, :, np.newaxis]
    plans[:, WEIGHT_PLACES] += starts[0]
    plans[:, STATE_PLACES] += starts[1]
    plans[:, PLAN.serial] = serials
    return PopulationLayout(
        tuple(drafts),
        rooms,
        plans,
        np.stack([draft.factors for draft in drafts]),
        heaviest_first([draft.cost for draft in drafts]),
        int(ends[0, -1]),
        int(ends[1, -1]),
        max(draft.scratch for draft in drafts),
    )

"""Packing: weights and optimiser states of candidates without rows that hold nothing.

A reserved row holds nothing but its start weights, which are a pure function of what is kept
anyway, and no optimiser state. Of the others many are zero throughout: splines of inputs that have
none, optimiser states of inputs that have not moved yet. One bit tells of each whether it is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike
from numpy.typing import NDArray

from streamnet.jit import kernel
from streamnet.networks.members import Weights
from streamnet.networks.spare_memory import SPARE
from streamnet.networks.topology import Section

__all__ = (
    "Copied",
    "Matrices",
    "Packed",
    "Parts",
    "copy_of",
    "matrices_of",
    "pack",
    "parts_of",
    "unpack",
)

Matrices = list[tuple[Section, list[NDArray[Any]]]]
"""Each section of a candidate with its weights and then its optimiser states."""

Parts = dict[str, list[NDArray[Any]]]
"""The same by the name of the section."""


def matrices_of(
    sections: Sequence[Section], weights: NDArray[Any], states: NDArray[Any]
) -> Matrices:
    """Views of one candidate's weights, shape=(size,), and its optimiser's states one by one."""
    pools = (weights, *states.reshape(-1, len(weights))) if len(states) else (weights,)
    return [
        (
            section,
            [
                pool[section.offset : section.offset + section.rows * section.width].reshape(
                    section.rows, section.width
                )
                for pool in pools
            ],
        )
        for section in sections
    ]


def parts_of(matrices: Matrices) -> Parts:
    """The matrices by name, without what fills up a row, as views."""
    return {
        section.name: [array[:, : section.units] for array in arrays]
        for section, arrays in matrices
    }


class Copied(NamedTuple):
    """One candidate's weights, copied as they lie: taking them apart can wait.

    Attributes:
        sections: Of the weights.
        numbers: All of them, up to the last row of values in use.
        linear: Whether the first section gives the scores.
        rows: Of values that are in use.
        outputs: Likewise.
    """

    sections: tuple[Section, ...]
    numbers: NDArray[Any]
    linear: bool
    rows: int
    outputs: int

    def weights(self) -> Weights:
        """By section, cut to the rows and outputs in use."""
        weights: Weights = {}
        for section in self.sections:
            used = _in_use(section, self.rows)
            taken = self.numbers[section.offset : section.offset + used * section.width]
            matrix = taken.reshape(used, section.width)[:, : section.units]
            if section.name == "output":
                matrix = matrix[: self.outputs]
            elif section.name == "output_bias" or self.linear:
                matrix = matrix[:, : self.outputs]
            weights[section.name] = matrix.copy()
        return weights


def copy_of(
    sections: tuple[Section, ...],
    weights: NDArray[Any],
    *,
    linear: bool,
    rows: int | None = None,
    outputs: int | None = None,
) -> Copied:
    """A copy of one candidate's weights, shape=(size,).

    Args:
        sections: Of the weights; that of values is the last one.
        weights: Of the candidate.
        linear: Whether its first section gives the scores.
        rows: Of values that are in use; None is all that there is room for.
        outputs: Likewise.
    """
    last = sections[-1]
    rows = last.rows if rows is None else min(rows, last.rows)
    whole = max(section.rows if section.name == "output" else section.units for section in sections)
    numbers = weights[: last.offset + rows * last.width].copy()
    return Copied(sections, numbers, linear, rows, whole if outputs is None else outputs)


def _in_use(section: Section, rows: int) -> int:
    return min(rows, section.rows) if section.name == "sparse" else section.rows


class Packed(NamedTuple):
    """Rows that hold something, one behind the other: candidate by candidate, section by section.

    Optimiser states stand likewise, of each candidate one kind after the other.
    """

    weights: NDArray[Any]
    states: NDArray[Any]
    occupied: NDArray[np.uint8] | None
    """A bit for each row that is in use, of the weights and then the states of each candidate, as
    `numpy.packbits` gives them: 0 for one that is zero throughout and not there. None: all are."""


@kernel
def _take(
    matrix: NDArray[np.unsignedinteger[Any]],  # shape=(rows, width), the numbers' bits
    units: int,  # what stands behind them in a row fills it up, and is taken as zeros
    occupied: NDArray[np.bool_],  # shape=(rows,), written
    out: NDArray[np.unsignedinteger[Any]],  # written from ``at`` on
    at: int,
) -> int:
    """Copy the rows in which a bit is set; return where the next one goes."""
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


def pack(candidates: Sequence[Matrices], rows: int, dtype: DTypeLike) -> Packed:
    """A copy of all weights and all optimiser states but for rows that hold nothing.

    Args:
        candidates: Their matrices.
        rows: Of values that are in use.
        dtype: Of the numbers.
    """
    bits = np.dtype(f"u{np.dtype(dtype).itemsize}")  # so that -0.0 is not taken for nothing
    sizes, count = [0, 0], 0
    for matrices in candidates:
        for section, arrays in matrices:
            used = _in_use(section, rows)
            sizes[0] += used * section.width
            sizes[1] += used * section.width * (len(arrays) - 1)
            count += used * len(arrays)
    pools, places = [SPARE.empty((size,), bits) for size in sizes], [0, 0]
    occupied, row = np.empty(count, np.bool_), 0
    for matrices in candidates:
        for number in range(len(matrices[0][1])):
            pool = min(number, 1)
            for section, arrays in matrices:
                used = _in_use(section, rows)
                flags = occupied[row : row + used]
                matrix = arrays[number][:used].view(bits)
                places[pool] = _take(matrix, section.units, flags, pools[pool], places[pool])
                row += used
    weights, states = (pool[:place].view(dtype) for pool, place in zip(pools, places, strict=True))
    return Packed(weights, states, np.packbits(occupied))


def unpack(candidates: Sequence[Matrices], rows: int, packed: Packed) -> list[Parts]:
    """Of each candidate, what `pack` took from such matrices by section.

    Raises:
        ValueError: If there are more or fewer numbers than that.
    """
    pools, places = packed[:2], [0, 0]
    count = sum(_in_use(s, rows) * len(arrays) for matrices in candidates for s, arrays in matrices)
    if packed.occupied is None:
        occupied = np.ones(count, np.bool_)
    else:
        occupied = np.unpackbits(packed.occupied, count=count).view(np.bool_)
    unpacked: list[Parts] = []
    row = 0
    for matrices in candidates:
        parts: Parts = {section.name: [] for section, _ in matrices}
        for number in range(len(matrices[0][1])):
            pool = min(number, 1)
            for section, _ in matrices:
                used = _in_use(section, rows)
                flags = occupied[row : row + used]
                start, size = places[pool], int(flags.sum()) * section.width
                places[pool] += size
                matrix = np.zeros((used, section.width), pools[pool].dtype)
                taken = pools[pool][start : start + size]
                if len(taken) == size:  # if not, the sum of all is complained about
                    matrix[flags] = taken.reshape(-1, section.width)
                parts[section.name].append(matrix)
                row += used
        unpacked.append(parts)
    _check(pools, places)
    return unpacked


def _check(pools: Sequence[NDArray[Any]], places: Sequence[int]) -> None:
    for name, pool, place in zip(("weights", "states"), pools, places, strict=True):
        if len(pool) != place:
            raise ValueError(f"there are {len(pool)} {name}, but must be {place}")

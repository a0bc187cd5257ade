"""Packing: weights and optimiser states of candidates without the rows that are only reserved.

A reserved row holds nothing but its start weights, which are a pure function of what is kept
anyway, and no optimiser state.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from numpy.typing import NDArray

from streamnet.networks.members import Weights
from streamnet.networks.topology import Section

__all__ = ("Matrices", "Parts", "matrices_of", "pack", "parts_of", "unpack", "weights_of")

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


def weights_of(
    matrices: Matrices, *, linear: bool, rows: int | None = None, outputs: int | None = None
) -> Weights:
    """A copy of one candidate's weights by section, cut to ``rows`` and ``outputs`` in use.

    Args:
        matrices: Of the candidate.
        linear: Whether its first section gives the scores.
        rows: Of values; None keeps all that there is room for.
        outputs: Likewise.
    """
    weights: Weights = {}
    for section, arrays in matrices:
        matrix = arrays[0][:, : section.units]
        if section.name == "sparse":
            matrix = matrix[:rows]
        if section.name == "output":
            matrix = matrix[:outputs]
        elif section.name == "output_bias" or linear:
            matrix = matrix[:, :outputs]
        weights[section.name] = matrix.copy()
    return weights


def _in_use(section: Section, rows: int) -> int:
    return min(rows, section.rows) if section.name == "sparse" else section.rows


def pack(
    candidates: Iterable[Matrices], rows: int, dtype: DTypeLike
) -> tuple[NDArray[Any], NDArray[Any]]:
    """All weights and all optimiser states that are in use, one behind the other, as copies.

    With room for no more than ``rows`` they stand as in the population itself.
    """
    weights: list[NDArray[Any]] = [np.empty(0, dtype)]
    states: list[NDArray[Any]] = [np.empty(0, dtype)]
    for matrices in candidates:
        for number in range(len(matrices[0][1])):
            pool = states if number else weights
            pool += [arrays[number][: _in_use(s, rows)].reshape(-1) for s, arrays in matrices]
    return np.concatenate(weights), np.concatenate(states)


def unpack(
    candidates: Iterable[Matrices], rows: int, weights: NDArray[Any], states: NDArray[Any]
) -> list[Parts]:
    """Of each candidate, what `pack` took from such matrices by section, as views.

    Raises:
        ValueError: If there are more or fewer numbers than that.
    """
    pools, places = (weights, states), [0, 0]
    unpacked: list[Parts] = []
    for matrices in candidates:
        parts: Parts = {section.name: [] for section, _ in matrices}
        for number in range(len(matrices[0][1])):
            pool = min(number, 1)
            for section, _ in matrices:
                count = _in_use(section, rows) * section.width
                taken = pools[pool][places[pool] : places[pool] + count]
                parts[section.name].append(taken.reshape(-1, section.width))
                places[pool] += count
        unpacked.append(parts)
    _check(pools, places)
    return unpacked


def _check(pools: Sequence[NDArray[Any]], places: Sequence[int]) -> None:
    for name, pool, place in zip(("weights", "states"), pools, places, strict=True):
        if len(pool) != place:
            raise ValueError(f"there are {len(pool)} {name}, but must be {place}")

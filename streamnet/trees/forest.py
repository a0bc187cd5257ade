"""Boosted trees as arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Size(NamedTuple):
    """How large a forest is, and how much of an error each of its trees takes away."""

    trees: int
    leaves: int
    learning_rate: float

    @property
    def nodes(self) -> int:
        """Of a tree."""
        return 2 * self.leaves - 1


class Forest(NamedTuple):
    """Trees that are added up; leaves have no feature."""

    feature: NDArray[np.int32]  # shape=(trees, nodes), -1 for a leaf
    threshold: NDArray[np.float64]  # shape=(trees, nodes): what is above it goes right
    left: NDArray[np.int32]  # shape=(trees, nodes); the right child is the next node
    value: NDArray[np.float32]  # shape=(trees, nodes, outputs)
    base: NDArray[np.float64]  # shape=(outputs,), scores without trees
    # Outputs of numbers that later samples corrected, shape=(trees, nodes); of labels, (0, 0).
    corrected: NDArray[np.float32]


def new_forest(trees: int, nodes: int, outputs: int, *, numeric: bool) -> Forest:
    """A forest of trees that are a leaf each."""
    return Forest(
        np.full((trees, nodes), -1, np.int32),
        np.zeros((trees, nodes)),
        np.zeros((trees, nodes), np.int32),
        np.zeros((trees, nodes, outputs), np.float32),
        np.zeros(outputs),
        np.zeros((trees, nodes) if numeric else (0, 0), np.float32),
    )

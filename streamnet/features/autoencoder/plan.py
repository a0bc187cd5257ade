"""The shape of an auto-encoder's network, and its weights, as the kernel reads them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = (
    "ENTRIES",
    "KNOWN",
    "MATRIX",
    "NEGATIVES",
    "RELU",
    "TANH",
    "UNITS",
    "VALUES",
    "WIDTH",
    "Plan",
    "Weights",
)

TANH, RELU = 0, 1  # activations by number; any other is the identity

KNOWN = 0  # place in the counters: rows of which one was active so far

# Draws of a sample: an input's number hides it, these and up hide entries and choose negatives.
ENTRIES, NEGATIVES = 1 << 32, 2 << 32

# Columns of a plan's layers: units, their number filled up to whole vectors, where the values are
# in the scratch, and where the matrix from the layer below starts, biases first.
UNITS, WIDTH, VALUES, MATRIX = range(4)


class Plan(NamedTuple):
    """The shape of a network and how it learns, as the kernel reads it."""

    layers: NDArray[np.int64]  # shape=(layers, 4)
    middle: int  # the layer that is the code
    activation: int
    noise: float
    rate: float
    kept: float  # share of the squared gradients so far that is kept at a step,
    gained: float  # and of the new one that is added
    negatives: int
    fading: float
    key: np.uint64


class Weights(NamedTuple):
    """Weights, or the running squares of their gradients."""

    first: NDArray[np.floating]  # shape=(1 + dense, width): biases, a row for each dense input
    sparse: NDArray[np.floating]  # shape=(rows, width)
    inner: NDArray[np.floating]  # flat: between layers, each as (1 + units below, width)
    output: NDArray[np.floating]  # shape=(dense, last width)
    output_bias: NDArray[np.floating]  # shape=(dense,)
    presence: NDArray[np.floating]  # shape=(rows, last width)
    presence_bias: NDArray[np.floating]  # shape=(rows,)

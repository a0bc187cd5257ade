"""What every optimizer states about itself, and what most of them share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from streamnet.jit import inlined
from streamnet.networks.plan import FACTORS
from streamnet.networks.simd import vectors as simd


class Optimizer(NamedTuple):
    """An update rule; no field has a default, so a forgotten one is an error on import."""

    step: Callable[..., None]
    """Inlined ``step(factor, weights, at, state, place, size, g, rate)``: moves the vector of
    weights at ``at``, whose gradient is ``g``. Its first state is at ``place``, each further one
    ``size`` behind."""

    states: int
    """Numbers kept for each weight."""

    cost: float
    """Measured microseconds for a thousand weights, compared with plain gradient descent."""

    reference_rate: float
    """A good learning rate; a search scales rates by it when it changes the optimizer."""

    searched: bool
    """Whether the search for better candidates tries it."""

    gradient_scale: Callable[..., float]
    """Inlined ``gradient_scale(factor)``: factor of ``g``, which makes its square the term that a
    running mean of squares gains."""

    correct_rate: Callable[..., float]
    """Inlined ``correct_rate(factor, taken)``: factor of the rate after ``taken`` steps."""


@inlined
def keep_gradient(factor: Any) -> float:
    """Gradients as they are."""
    return 1.0


@inlined
def keep_rate(factor: Any, taken: Any) -> float:
    """The learning rate as it is."""
    return 1.0


@inlined
def root_mean_square(factor: Any) -> float:
    """Scale for a running mean of squared gradients with ``second_momentum``."""
    return math.sqrt(1.0 - simd.load_constant(factor, FACTORS.second_momentum))


@inlined
def move_weights(weights: Any, at: Any, pace: float, direction: Any) -> None:
    """Add ``pace * direction`` to a vector of weights."""
    w = simd.load(weights, at)
    pace = weights.dtype.type(pace)
    simd.store(weights, at, simd.multiply_add(simd.splat(pace), direction, w))

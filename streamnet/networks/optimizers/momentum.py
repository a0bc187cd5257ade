"""Gradient descent with momentum.

Polyak (1964), Some methods of speeding up the convergence of iteration methods.
"""

from __future__ import annotations

from typing import Any

from streamnet.jit import inlined
from streamnet.networks.optimizers.base import Optimizer, keep_gradient, keep_rate, move_weights
from streamnet.networks.plan import FACTORS
from streamnet.networks.simd import vectors as simd


@inlined
def step(
    factor: Any, weights: Any, at: Any, state: Any, place: Any, size: Any, g: Any, rate: float
) -> None:
    """``m = beta * m + g; w -= rate * m``."""
    beta = simd.splat(weights.dtype.type(simd.load_constant(factor, FACTORS.momentum)))
    m = simd.multiply_add(beta, simd.load(state, place), g)
    simd.store(state, place, m)
    move_weights(weights, at, -rate, m)


OPTIMIZER = Optimizer(
    step,
    states=1,
    cost=0.036,
    reference_rate=0.01,
    searched=False,
    gradient_scale=keep_gradient,
    correct_rate=keep_rate,
)

"""RMSprop (Hinton 2012, Neural networks for machine learning, lecture 6e)."""

from __future__ import annotations

from typing import Any

from streamnet.jit import inlined
from streamnet.networks.optimizers.base import Optimizer, keep_rate, move_weights, root_mean_square
from streamnet.networks.plan import FACTORS
from streamnet.networks.simd import vectors as simd


@inlined
def step(
    factor: Any, weights: Any, at: Any, state: Any, place: Any, size: Any, g: Any, rate: float
) -> None:
    """``v = beta2 * v + (1 - beta2) * g**2; w -= rate * g / sqrt(v + epsilon**2)``."""
    number = weights.dtype.type
    epsilon = simd.splat(number(simd.load_constant(factor, FACTORS.epsilon) ** 2))
    beta2 = simd.splat(number(simd.load_constant(factor, FACTORS.second_momentum)))
    v = simd.multiply_add(g, g, simd.multiply(beta2, simd.load(state, place)))
    simd.store(state, place, v)
    direction = simd.multiply(g, simd.reciprocal_sqrt(simd.add(v, epsilon)))
    scale = root_mean_square(factor)
    move_weights(weights, at, -rate / scale, direction)


OPTIMIZER = Optimizer(
    step,
    states=1,
    cost=0.088,
    reference_rate=0.005,
    searched=True,
    gradient_scale=root_mean_square,
    correct_rate=keep_rate,
)

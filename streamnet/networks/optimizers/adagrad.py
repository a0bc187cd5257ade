"""AdaGrad (Duchi, Hazan and Singer 2011, Adaptive subgradient methods for online learning)."""

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
    """``v += g**2; w -= rate * g / sqrt(v + epsilon**2)``."""
    epsilon = simd.splat(weights.dtype.type(simd.load_constant(factor, FACTORS.epsilon) ** 2))
    v = simd.multiply_add(g, g, simd.load(state, place))
    simd.store(state, place, v)
    direction = simd.multiply(g, simd.reciprocal_sqrt(simd.add(v, epsilon)))
    move_weights(weights, at, -rate, direction)


OPTIMIZER = Optimizer(
    step,
    states=1,
    cost=0.087,
    reference_rate=0.1,
    searched=True,
    gradient_scale=keep_gradient,
    correct_rate=keep_rate,
)

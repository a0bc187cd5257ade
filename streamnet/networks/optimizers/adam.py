"""Adam (Kingma and Ba 2015, Adam: a method for stochastic optimization).

Epsilon is added before the second mean is bias-corrected, which the paper allows.
"""

from __future__ import annotations

import math
from typing import Any

from streamnet.jit import inlined
from streamnet.networks.optimizers.base import Optimizer, move_weights, root_mean_square
from streamnet.networks.plan import FACTORS
from streamnet.networks.simd import vectors as simd


@inlined
def step(
    factor: Any, weights: Any, at: Any, state: Any, place: Any, size: Any, g: Any, rate: float
) -> None:
    """``w -= rate * m / sqrt(v + epsilon**2)``, with means ``m`` of ``g`` and ``v`` of ``g**2``."""
    number = weights.dtype.type
    scale = root_mean_square(factor)
    epsilon = simd.splat(number(simd.load_constant(factor, FACTORS.epsilon) ** 2))
    beta = simd.splat(number(simd.load_constant(factor, FACTORS.momentum)))
    gain = simd.splat(number((1.0 - simd.load_constant(factor, FACTORS.momentum)) / scale))
    beta2 = simd.splat(number(simd.load_constant(factor, FACTORS.second_momentum)))
    m = simd.multiply_add(gain, g, simd.multiply(beta, simd.load(state, place)))
    simd.store(state, place, m)
    v = simd.multiply_add(g, g, simd.multiply(beta2, simd.load(state, place + size)))
    simd.store(state, place + size, v)
    direction = simd.multiply(m, simd.reciprocal_sqrt(simd.add(v, epsilon)))
    move_weights(weights, at, -rate, direction)


@inlined
def _correct_rate(factor: Any, taken: Any) -> float:
    """Bias correction of both means, which start at zero."""
    first = _debias((taken + 1) * simd.load_constant(factor, FACTORS.log_momentum))
    second = _debias((taken + 1) * simd.load_constant(factor, FACTORS.log_second_momentum))
    return math.sqrt(second) / first


@inlined
def _debias(logarithm: float) -> float:
    """``1 - exp(logarithm)``, which is exactly 1 once the power is below 2**-54, from -37.43 on."""
    return 1.0 if logarithm < -37.5 else 1.0 - math.exp(logarithm)


OPTIMIZER = Optimizer(
    step,
    states=2,
    cost=0.1,
    reference_rate=0.003,
    searched=True,
    gradient_scale=root_mean_square,
    correct_rate=_correct_rate,
)

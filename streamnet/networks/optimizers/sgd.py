"""Stochastic gradient descent (Robbins and Monro 1951, A stochastic approximation method)."""

from __future__ import annotations

from typing import Any

from streamnet.jit import inlined
from streamnet.networks.optimizers.base import Optimizer, keep_gradient, keep_rate, move_weights


@inlined
def step(
    factor: Any, weights: Any, at: Any, state: Any, place: Any, size: Any, g: Any, rate: float
) -> None:
    """``w -= rate * g``."""
    move_weights(weights, at, -rate, g)


OPTIMIZER = Optimizer(
    step,
    states=0,
    cost=0.0,
    reference_rate=0.05,
    searched=True,
    gradient_scale=keep_gradient,
    correct_rate=keep_rate,
)

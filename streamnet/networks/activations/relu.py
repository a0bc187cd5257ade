"""Rectified linear unit, ``max(h, 0)``, with the initial gain of He et al. (2015)."""

from __future__ import annotations

from math import inf
from typing import Any

from streamnet.jit import inlined
from streamnet.networks.activations.base import Activation
from streamnet.networks.simd import vectors as simd


@inlined
def activate(h: Any, units: Any) -> Any:
    """``max(h, 0)``; NaN stays NaN."""
    return simd.positive_part(h)


@inlined
def times_slope(h: Any, d: Any) -> Any:
    """``d`` where ``h`` is above 0."""
    return simd.gate(d, h)


@inlined
def slope(y: Any, one: Any) -> Any:
    """1 where ``y`` is above 0."""
    return one if y > 0 else one - one


ACTIVATION = Activation(activate, times_slope, slope, gain=2.0, range=(0.0, inf))

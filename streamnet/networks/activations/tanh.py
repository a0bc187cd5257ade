"""Hyperbolic tangent."""

from __future__ import annotations

from typing import Any

from streamnet.jit import inlined
from streamnet.networks.activations.base import Activation
from streamnet.networks.simd import vectors as simd
from streamnet.networks.simd.functions import hyperbolic_tangent


@inlined
def activate(h: Any, units: Any) -> Any:
    """``tanh(h)``."""
    return hyperbolic_tangent(h)


@inlined
def times_slope(h: Any, d: Any) -> Any:
    """``d - d * h**2``."""
    return simd.subtract(d, simd.multiply(d, simd.multiply(h, h)))


@inlined
def slope(y: Any, one: Any) -> Any:
    """``1 - y**2``."""
    return one - y * y


ACTIVATION = Activation(activate, times_slope, slope, gain=1.0, range=(-1.0, 1.0))

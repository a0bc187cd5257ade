"""Logistic function, ``1 / (1 + exp(-h))``."""

from __future__ import annotations

from typing import Any

from streamnet.jit import inlined
from streamnet.networks.activations.base import Activation
from streamnet.networks.simd import vectors as simd
from streamnet.networks.simd.functions import logistic


@inlined
def activate(h: Any, units: Any) -> Any:
    """The function of ``h``, and 0 in the padding, where it would be 1/2."""
    return simd.keep_first(logistic(h), units)


@inlined
def times_slope(h: Any, d: Any) -> Any:
    """``d * (h - h**2)``."""
    return simd.multiply(d, simd.subtract(h, simd.multiply(h, h)))


@inlined
def slope(y: Any, one: Any) -> Any:
    """``y * (1 - y)``."""
    return y * (one - y)


ACTIVATION = Activation(activate, times_slope, slope, gain=1.0, range=(0.0, 1.0))

"""Identity: a linear unit."""

from __future__ import annotations

from math import inf
from typing import Any

from streamnet.jit import inlined
from streamnet.networks.activations.base import Activation


@inlined
def activate(h: Any, units: Any) -> Any:
    """``h``."""
    return h


@inlined
def times_slope(h: Any, d: Any) -> Any:
    """``d``."""
    return d


@inlined
def slope(y: Any, one: Any) -> Any:
    """1."""
    return one


ACTIVATION = Activation(activate, times_slope, slope, gain=1.0, range=(-inf, inf))

"""What every activation states about itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Activation(NamedTuple):
    """An elementwise function of a unit; no field has a default."""

    activate: Callable[..., Any]
    """Inlined ``activate(h, units)``: values of a vector of any width, of which the lanes from
    ``units`` on are padding and stay zero."""

    times_slope: Callable[..., Any]
    """Inlined ``times_slope(h, d)``: a vector ``d`` times the slopes where the values are ``h``."""

    slope: Callable[..., Any]
    """Inlined ``slope(y, one)``: the slope of an output of value ``y``; ``one`` is a 1 of its type,
    since an untyped one would make float32 float64."""

    gain: float
    """Variance of initial weights times the number of inputs."""

    range: tuple[float, float]
    """Smallest and largest value that it can approach."""

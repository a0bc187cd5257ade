"""Activations, a module each: function, slope, initial gain and range.

To add one, write a module here that defines ``ACTIVATION``, and add its name in
`settings.candidate`. Softmax is for outputs only, since it depends on all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from streamnet.jit import switch
from streamnet.networks.activations import softmax
from streamnet.networks.activations.base import Activation

__all__ = (
    "ACTIVATIONS",
    "ACTIVATION_CODES",
    "OUTPUT_RANGES",
    "SOFTMAX",
    "Activation",
    "activate",
    "slope",
    "times_slope",
)

ACTIVATIONS: dict[str, Activation] = {
    module.name: import_module(f"{__name__}.{module.name}").ACTIVATION
    for module in iter_modules(__path__)
    if module.name not in ("base", "softmax")
}
SOFTMAX = len(ACTIVATIONS)
ACTIVATION_CODES = {name: code for code, name in enumerate((*ACTIVATIONS, "softmax"))}
"""Numbers of the names in kernels."""

OUTPUT_RANGES = {
    **{name: activation.range for name, activation in ACTIVATIONS.items()},
    "softmax": softmax.RANGE,
}
"""Smallest and largest value that an output can approach."""

# Called with the code of an activation and then the arguments of its function.
activate: Callable[..., Any] = switch(activation.activate for activation in ACTIVATIONS.values())
times_slope: Callable[..., Any] = switch(
    activation.times_slope for activation in ACTIVATIONS.values()
)
slope: Callable[..., Any] = switch(activation.slope for activation in ACTIVATIONS.values())

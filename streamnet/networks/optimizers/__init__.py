"""Optimizers, a module each: update rule, state count, cost, reference rate and paper.

To add one, write a module here that defines ``OPTIMIZER``, and add its name in
`settings.candidate`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from streamnet.jit import switch
from streamnet.networks.optimizers.base import Optimizer

__all__ = ("OPTIMIZERS", "OPTIMIZER_CODES", "Optimizer", "correct_rate", "gradient_scale", "step")

_FOUND: dict[str, Optimizer] = {
    module.name: import_module(f"{__name__}.{module.name}").OPTIMIZER
    for module in iter_modules(__path__)
    if module.name != "base"
}
OPTIMIZERS = dict(sorted(_FOUND.items(), key=lambda item: item[1].cost))
"""By name, the cheapest first: `switch` tests the last ones first."""
OPTIMIZER_CODES = {name: code for code, name in enumerate(OPTIMIZERS)}
"""Numbers of the names in kernels."""

# Called with the code of an optimizer and then the arguments of its function.
step: Callable[..., Any] = switch(optimizer.step for optimizer in OPTIMIZERS.values())
gradient_scale: Callable[..., Any] = switch(
    optimizer.gradient_scale for optimizer in OPTIMIZERS.values()
)
correct_rate: Callable[..., Any] = switch(
    optimizer.correct_rate for optimizer in OPTIMIZERS.values()
)

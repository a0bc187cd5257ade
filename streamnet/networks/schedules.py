"""Learning-rate schedules: the rate as a function of the number of steps taken.

To add one, add its function and its entry here, and its name in `settings.candidate`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streamnet.jit import inlined, switch


@inlined
def _constant(rate: float, decay: float, decay_steps: float, taken: Any) -> Any:
    return rate


@inlined
def _step(rate: float, decay: float, decay_steps: float, taken: Any) -> Any:
    return rate * decay ** (taken // int(decay_steps))


@inlined
def _inverse(rate: float, decay: float, decay_steps: float, taken: Any) -> Any:
    return rate / (1.0 + decay * taken)


@inlined
def _linear(rate: float, decay: float, decay_steps: float, taken: Any) -> Any:
    return max(rate - decay * (taken // int(decay_steps)), 0.0)


SCHEDULES = {"constant": _constant, "step": _step, "inverse": _inverse, "linear": _linear}
SCHEDULE_CODES = {name: code for code, name in enumerate(SCHEDULES)}
"""Numbers of the names in kernels."""

# Called with the code of a schedule and then the arguments of its function.
scheduled_rate: Callable[..., Any] = switch(SCHEDULES.values())

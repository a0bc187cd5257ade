"""Losses: each one's derivative by an output, and whether it cancels the activation's slope.

To add one, add its function and its entry here, and its name in `settings.candidate`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from streamnet.jit import inlined, switch


class Loss(NamedTuple):
    """A loss of one output."""

    derivative: Callable[..., Any]
    """Inlined ``derivative(error, delta)``, for ``error = output - target`` and Huber's delta, all
    of one type."""

    cancels_slope: bool
    """Whether it is the derivative by the score already: for logistic and softmax outputs, the
    slope of the activation cancels."""


@inlined
def _error(error: Any, delta: Any) -> Any:
    return error


@inlined
def _sign(error: Any, delta: Any) -> Any:
    return type(error)((error > 0) - (error < 0))


@inlined
def _clipped_error(error: Any, delta: Any) -> Any:
    return max(-delta, min(delta, error))


LOSSES = {
    "cross_entropy": Loss(_error, cancels_slope=True),
    "squared": Loss(_error, cancels_slope=False),
    "absolute": Loss(_sign, cancels_slope=False),
    "huber": Loss(_clipped_error, cancels_slope=False),
}
LOSS_CODES = {name: code for code, name in enumerate(LOSSES)}
"""Numbers of the names in kernels."""

# Called with the code of a loss and then the arguments of its function.
loss_derivative: Callable[..., Any] = switch(loss.derivative for loss in LOSSES.values())

"""Turns: how threads share candidates out among them, each taking the next as it gets free."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

__all__ = ("new_turns", "take_turn")


def new_turns() -> NDArray[np.int64]:
    """Nobody has taken a turn yet; shape=(1,).

    >>> new_turns()
    array([0])
    """
    return np.zeros(1, np.int64)


@intrinsic
def take_turn(typing_context, turns):
    """The number in ``turns``, which goes up by one at once: no two threads are given the same."""

    def generate(context, builder, signature, args):
        array = cgutils.create_struct_proxy(signature.args[0])(context, builder, value=args[0])
        one = ir.Constant(ir.IntType(64), 1)
        return builder.atomic_rmw("add", array.data, one, "monotonic")

    return types.int64(turns), generate

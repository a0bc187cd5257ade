"""Turns: how threads share candidates out among them, each taking the next as it gets free."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

__all__ = ("new_turns", "take_turn")


def new_turns(threads: int = 1) -> NDArray[np.int64]:
    """How many turns were taken, 0 so far, and how many threads take them.

    >>> new_turns(2)
    array([0, 2])
    """
    turns = np.zeros(2, np.int64)
    turns[1] = threads
    return turns


@intrinsic
def take_turn(typing_context, turns):
    """The first number in ``turns``; it goes up by one at once: no two threads get the same."""

    def generate(context, builder, signature, args):
        array = cgutils.create_struct_proxy(signature.args[0])(context, builder, value=args[0])
        one = ir.Constant(ir.IntType(64), 1)
        return builder.atomic_rmw("add", array.data, one, "monotonic")

    return types.int64(turns), generate

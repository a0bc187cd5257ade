"""Execution contexts: a thread's working memory for the candidates it interleaves.

In a small network each part of a step waits for the previous one. With several candidates in
flight, and each part run for all of them in turn, the processor works on one while another waits.
Threads share candidates through an atomic work counter.
"""

from __future__ import annotations

from threading import local
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import DTypeLike, NDArray

from streamnet.jit import inlined
from streamnet.networks import simd
from streamnet.networks.allocation import aligned_zeros
from streamnet.networks.kernels.forward import ActiveRows
from streamnet.networks.plan import PLAN

__all__ = (
    "CONTEXT",
    "CONTEXTS",
    "EMPTY",
    "FORWARD",
    "IDLE",
    "LEARN",
    "ContextArrays",
    "Contexts",
    "fill_contexts",
    "new_contexts",
    "new_work_counter",
    "take_next",
    "thread_contexts",
)


def new_work_counter(threads: int = 1) -> NDArray[np.int64]:
    """How many turns were taken, 0 so far, and how many threads take them.

    >>> new_work_counter(2)
    array([0, 2])
    """
    turns = np.zeros(2, np.int64)
    turns[1] = threads
    return turns


@intrinsic
def take_next(typing_context, turns):
    """The first number in ``turns``; it goes up by one at once: no two threads get the same."""

    def generate(context, builder, signature, args):
        array = cgutils.create_struct_proxy(signature.args[0])(context, builder, value=args[0])
        one = ir.Constant(ir.IntType(64), 1)
        return builder.atomic_rmw("add", array.data, one, "monotonic")

    return types.int64(turns), generate


ContextArrays = tuple[NDArray[np.int64], NDArray[Any], NDArray[np.int64], NDArray[Any]]
CONTEXTS = 2
NEAR_CACHE = 28 << 10  # bytes that surely stay in the nearest cache, which is at least 32 kB
EMPTY, IDLE, FORWARD, LEARN = range(4)  # phases of a seat


class _ContextColumns(NamedTuple):
    """Columns of what a seat stands at."""

    phase: int = 0  # EMPTY, RESTS in this step, is ASKED, or LEARNS what it was asked
    candidate: int = 1
    sample: int = 2  # of the block
    repeat: int = 3  # 0 for the sample itself, then its rehearsals
    slot: int = 4  # of the sample to learn, in memory
    active: int = 5  # outputs in use
    touched: int = 6  # how many rows the sample touches
    ahead: int = 7  # slot of the next rehearsal, if there is one
    alone: int = 8  # 1 for a candidate that takes the nearest cache for itself


CONTEXT = _ContextColumns()


class Contexts(NamedTuple):
    """Working memory of one thread, a row for each seat."""

    now: NDArray[np.int64]  # shape=(SEATS, columns), see SEAT
    scratch: NDArray[np.floating]  # shape=(SEATS, size), see `forward`
    touched: ActiveRows  # shape=(SEATS, most) each


def new_contexts(size: int, touched: int, dtype: DTypeLike) -> Contexts:
    """Empty seats.

    Args:
        size: Numbers of working memory that a candidate needs.
        touched: Rows that a sample can touch.
        dtype: float32 or float64.
    """
    line = np.dtype(dtype)
    scratch = aligned_zeros(CONTEXTS * size, line).reshape(CONTEXTS, size)
    place, share = np.zeros((CONTEXTS, touched), np.int64), np.zeros((CONTEXTS, touched), line)
    return Contexts(np.zeros((CONTEXTS, len(CONTEXT)), np.int64), scratch, ActiveRows(place, share))


def thread_contexts(kept: local, size: int, touched: int, dtype: DTypeLike) -> ContextArrays:
    """This thread's arrays, large enough for these; see `new_contexts`."""
    if getattr(kept, "most", -1) < touched:
        contexts = new_contexts(size, touched, dtype)
        kept.most, kept.arrays = touched, (contexts.now, contexts.scratch, *contexts.touched)
    arrays: ContextArrays = kept.arrays
    return arrays


@inlined
def fill_contexts(plans, order, turns, contexts, most, busy):
    """Let the next candidates sit down in free seats, unless one wants to be alone; how many sit.

    Two large ones would push each other's weights out of the nearest cache at every step, which
    takes twice as long as to do one after the other.
    """
    for s in range(most):
        if simd.load_one(turns, 0) >= order.size or _one_is_exclusive(contexts):
            break
        if simd.load_one(contexts.now[s], CONTEXT.phase) == EMPTY:
            busy += _fill_context(plans, order, turns, contexts, s)
    return busy


@inlined
def _one_is_exclusive(contexts):
    for s in range(CONTEXTS):
        now = contexts.now[s]
        if simd.load_one(now, CONTEXT.phase) != EMPTY and simd.load_one(now, CONTEXT.alone) == 1:
            return True
    return False


@inlined
def _fill_context(plans, order, turns, contexts, s):
    """Let the next candidate sit down in seat ``s``; 1, or 0 if there is none."""
    turn = take_next(turns)
    if turn >= order.size:
        return 0
    now, scratch = contexts.now[s], contexts.scratch[s]
    candidate = simd.load_one(order, turn)
    # What lies beyond the outputs in use, and fills up vectors, must be zero.
    for j in range(scratch.size):
        simd.store_one(scratch, j, 0)
    moved = simd.load_constant(plans[np.uint64(candidate)], PLAN.hot_size)
    simd.store_one(now, CONTEXT.alone, CONTEXTS * moved * scratch.itemsize > NEAR_CACHE)
    simd.store_one(now, CONTEXT.phase, IDLE)
    simd.store_one(now, CONTEXT.candidate, candidate)
    simd.store_one(now, CONTEXT.sample, 0)
    simd.store_one(now, CONTEXT.repeat, 0)
    return 1

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
from numpy.typing import DTypeLike, NDArray

from streamnet.jit import inlined, intrinsic
from streamnet.networks.kernels.forward import ActiveRows
from streamnet.networks.parameters import aligned_zeros
from streamnet.networks.plan import PLAN
from streamnet.networks.simd import vectors as simd

_ONE_THREAD = np.array([0, 1], np.int64)


def new_work_counter(threads: int = 1) -> NDArray[np.int64]:
    """A counter of the candidates taken so far, and the number of threads that take them."""
    counter = _ONE_THREAD.copy()  # takes half the time of a new array
    counter[1] = threads
    return counter


@intrinsic
def take_next(typing_context: Any, work_counter: Any) -> Any:
    """Return the counter and increment it atomically, so that no two threads get the same."""

    def generate(context, builder, signature, args):
        array = cgutils.create_struct_proxy(signature.args[0])(context, builder, value=args[0])
        one = ir.Constant(ir.IntType(64), 1)
        return builder.atomic_rmw("add", array.data, one, "monotonic")

    return types.int64(work_counter), generate


ContextArrays = tuple[NDArray[np.int64], NDArray[Any], NDArray[np.int64], NDArray[Any]]
CONTEXTS = 2
NEAREST_CACHE = 28 << 10  # bytes that fit into the nearest cache, which is at least 32 kB
EMPTY, IDLE, FORWARD, LEARN = range(4)  # phases of a context


class _ContextColumns(NamedTuple):
    """Columns of a context's progress."""

    phase: int = 0  # EMPTY: no candidate; in this step: IDLE, FORWARD only, or LEARN too
    candidate: int = 1
    sample: int = 2  # of the block
    repeat: int = 3  # 0 for the sample itself, then its rehearsals
    slot: int = 4  # of the sample in the ring
    active: int = 5  # outputs in use
    touched: int = 6  # active rows of the sample
    ahead: int = 7  # slot of the next rehearsal, if there is one
    exclusive: int = 8  # 1 for a candidate that fills the nearest cache


CONTEXT = _ContextColumns()


class Contexts(NamedTuple):
    """Working memory of one thread, a row for each context."""

    now: NDArray[np.int64]  # shape=(CONTEXTS, columns), see CONTEXT
    scratch: NDArray[np.floating]  # shape=(CONTEXTS, size), see `forward`
    touched: ActiveRows  # shape=(CONTEXTS, most) each


def thread_contexts(kept: local, size: int, touched: int, dtype: DTypeLike) -> ContextArrays:
    """This thread's arrays of `Contexts`, for up to ``touched`` active rows of a sample."""
    if getattr(kept, "most", -1) < touched:
        number = np.dtype(dtype)
        kept.most, kept.arrays = (
            touched,
            (
                np.zeros((CONTEXTS, len(CONTEXT)), np.int64),
                aligned_zeros(CONTEXTS * size, number).reshape(CONTEXTS, size),
                np.zeros((CONTEXTS, touched), np.int64),
                np.zeros((CONTEXTS, touched), number),
            ),
        )
    arrays: ContextArrays = kept.arrays
    return arrays


@inlined
def fill_contexts(
    plans: Any, order: Any, work_counter: Any, contexts: Any, limit: Any, busy: Any
) -> Any:
    """Give the next candidates to empty contexts; return how many are busy.

    An exclusive candidate runs alone: two large ones would evict each other's weights from the
    nearest cache at every step, which takes twice as long as running one after the other.
    """
    for s in range(limit):
        if simd.load_one(work_counter, 0) >= order.size or _one_is_exclusive(contexts):
            break
        if simd.load_one(contexts.now[s], CONTEXT.phase) == EMPTY:
            busy += _fill_context(plans, order, work_counter, contexts, s)
    return busy


@inlined
def _one_is_exclusive(contexts):
    for s in range(CONTEXTS):
        now = contexts.now[s]
        exclusive = simd.load_one(now, CONTEXT.exclusive) == 1
        if exclusive and simd.load_one(now, CONTEXT.phase) != EMPTY:
            return True
    return False


@inlined
def _fill_context(plans, order, work_counter, contexts, s):
    """Give the next candidate to context ``s``; 1, or 0 if none is left."""
    turn = take_next(work_counter)
    if turn >= order.size:
        return 0
    now, scratch = contexts.now[s], contexts.scratch[s]
    candidate = simd.load_one(order, turn)
    # Padding and outputs that are not in use must be zero.
    for j in range(scratch.size):
        simd.store_one(scratch, j, 0)
    moved = simd.load_constant(plans[np.uint64(candidate)], PLAN.hot_size)
    simd.store_one(now, CONTEXT.exclusive, CONTEXTS * moved * scratch.itemsize > NEAREST_CACHE)
    simd.store_one(now, CONTEXT.phase, IDLE)
    simd.store_one(now, CONTEXT.candidate, candidate)
    simd.store_one(now, CONTEXT.sample, 0)
    simd.store_one(now, CONTEXT.repeat, 0)
    return 1

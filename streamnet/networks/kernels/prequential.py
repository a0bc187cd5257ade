"""The test-then-train kernel: each candidate predicts, is checked, and learns a block of samples.

A candidate runs through the whole block before the next one starts, so its weights stay in the
nearest cache; within a candidate, samples are strictly sequential. Activation, loss and optimizer
are selected by integer code once per layer or section, never per weight.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import inlined, kernel
from streamnet.networks.kernels.backward import (
    backward,
    clip_gradient,
    output_gradient,
    weight_gradient,
)
from streamnet.networks.kernels.contexts import (
    CONTEXT,
    CONTEXTS,
    EMPTY,
    FORWARD,
    IDLE,
    LEARN,
    Contexts,
    fill_contexts,
)
from streamnet.networks.kernels.forward import (
    ActiveRows,
    activate_outputs,
    find_active_rows,
    forward,
    load_sample,
    prefetch_sample,
    write_outputs,
)
from streamnet.networks.kernels.update import Learned, apply_gradient
from streamnet.networks.plan import FACTORS, PLAN
from streamnet.networks.replay_buffer import SampleRing
from streamnet.networks.simd import vectors as simd
from streamnet.networks.simd.functions import flush_subnormals, restore_subnormals
from streamnet.randomness import mix_key

MAX_DRAWS = 8  # of a sample to rehearse, where many have no target
EARLY_SAMPLES = 1024  # first samples, each followed by full early rehearsal


@kernel
def learn(
    order: NDArray[np.int64],  # candidates to run
    work_counter: NDArray[np.int64],  # shape=(2,): candidates taken so far, and threads
    plans: NDArray[np.int64],  # shape=(candidates, columns), see plan.PLAN
    factors: NDArray[np.float64],  # shape=(candidates, columns), see plan.FACTORS
    taken: NDArray[np.int64],  # shape=(candidates,): samples learned, rehearsed ones included
    healthy: NDArray[np.uint8],  # shape=(candidates,)
    weights: NDArray[np.floating],
    state: NDArray[np.floating],
    known: NDArray[np.int32],  # shape=(n,): outputs that may be predicted before sample i
    first: int,  # number of the block's first sample
    checks: bool,  # whether weights are checked after the block
    sparse: bool,  # whether samples without a target are many, so that rehearsal has to avoid them
    weighted: bool,  # whether samples may have a weight other than 1
    inputs: int,  # dense inputs in use
    seed: int,
    predictions: NDArray[np.floating],  # shape=(candidates, n, outputs), written
    alive: NDArray[np.uint8],  # shape=(candidates, n), written
    now: NDArray[np.int64],  # this and the next three are working memory, see Contexts
    scratch: NDArray[np.floating],
    place: NDArray[np.int64],
    share: NDArray[np.floating],
    *samples: NDArray[Any],  # those of a SampleRing
) -> None:
    """Test-then-train: predict each sample, then learn it and rehearse earlier ones.

    A sample without a target is only predicted. A candidate whose scores are not finite or exceed
    its limit is marked unhealthy at that sample and stops; with ``checks``, one with a weight that
    is not finite is marked at the end.

    Threads with the same ``work_counter`` divide the candidates among them, one at a time.
    """
    if known.size == 0:
        return
    # Passing named tuples would take a microsecond or two.
    contexts = Contexts(now, scratch, ActiveRows(place, share))
    memory = SampleRing(*samples)
    control = flush_subnormals()
    # A thread that took several could leave other threads without any.
    limit = CONTEXTS if order.size >= CONTEXTS * work_counter[1] else 1
    for s in range(CONTEXTS):
        simd.store_one(contexts.now[s], CONTEXT.phase, EMPTY)
    busy = fill_contexts(plans, order, work_counter, contexts, limit, 0)
    while busy > 0:
        for s in range(CONTEXTS):
            _run_forward(
                plans,
                weights,
                contexts,
                s,
                memory,
                known,
                first,
                inputs,
                seed,
                healthy,
                alive,
                sparse,
            )
        for s in range(CONTEXTS):
            _write_prediction(
                plans, factors, contexts, s, memory, known, healthy, predictions, alive
            )
        for s in range(CONTEXTS):
            _run_backward(plans, factors, weights, contexts, s, memory, weighted)
        for s in range(CONTEXTS):
            _run_update(plans, factors, taken, weights, state, contexts, s, inputs)
        left = busy
        for s in range(CONTEXTS):
            if _advance(plans, contexts, s, memory, first) == known.size:
                simd.store_one(contexts.now[s], CONTEXT.phase, EMPTY)
                left -= 1
                if checks:
                    k = simd.load_one(contexts.now[s], CONTEXT.candidate)
                    _check_weights(plans, weights, healthy, k)
        if left < busy:
            busy = fill_contexts(plans, order, work_counter, contexts, limit, left)
    restore_subnormals(control)


@inlined
def _run_forward(
    plans, weights, contexts, s, memory, known, first, inputs, seed, healthy, alive, sparse
):
    """First part of a step: run the next sample through the network, up to its scores."""
    now = contexts.now[s]
    if simd.load_one(now, CONTEXT.phase) == EMPTY:
        return
    k = np.uint64(simd.load_one(now, CONTEXT.candidate))
    _select_sample(plans[k], now, memory, known, first, inputs, seed, healthy[k], alive[k], sparse)
    if simd.load_one(now, CONTEXT.phase) != FORWARD:
        return
    scratch, slot = contexts.scratch[s], simd.load_one(now, CONTEXT.slot)
    touched = ActiveRows(contexts.touched.place[s], contexts.touched.share[s])
    load_sample(memory, slot, inputs, scratch)
    count = find_active_rows(plans[k], memory, slot, inputs, touched)
    simd.store_one(now, CONTEXT.touched, count)
    forward(plans[k], weights, scratch, touched, count, simd.load_one(now, CONTEXT.active))


@inlined
def _write_prediction(plans, factors, contexts, s, memory, known, healthy, predictions, alive):
    """Second part: turn scores into a prediction, which is written unless it is for rehearsal."""
    now = contexts.now[s]
    if simd.load_one(now, CONTEXT.phase) != FORWARD:
        return
    k = np.uint64(simd.load_one(now, CONTEXT.candidate))
    scratch, active = contexts.scratch[s], simd.load_one(now, CONTEXT.active)
    limit = simd.load_constant(factors[k], FACTORS.score_limit)
    sound = activate_outputs(plans[k], scratch, active, limit)
    truth = simd.load_constant(memory.label, simd.load_one(now, CONTEXT.slot))
    simd.store_one(now, CONTEXT.phase, LEARN if sound and truth >= 0 else IDLE)
    if not sound:
        healthy[k] = 0
    if simd.load_one(now, CONTEXT.repeat) == 0:
        i = simd.load_one(now, CONTEXT.sample)
        simd.store_one(alive[k], i, sound)
        write_outputs(
            plans[k], scratch, simd.load_constant(known, i), memory.goal.shape[1], predictions, k, i
        )


@inlined
def _run_backward(plans, factors, weights, contexts, s, memory, weighted):
    """Third part: deltas of all layers, unless a rehearsed sample is known well enough."""
    now = contexts.now[s]
    if simd.load_one(now, CONTEXT.phase) == LEARN:
        k = np.uint64(simd.load_one(now, CONTEXT.candidate))
        scratch, active = contexts.scratch[s], simd.load_one(now, CONTEXT.active)
        slot = simd.load_one(now, CONTEXT.slot)
        error = output_gradient(plans[k], factors[k], scratch, memory, slot, active)
        tolerance = simd.load_constant(factors[k], FACTORS.rehearsal_tolerance)
        if simd.load_one(now, CONTEXT.repeat) > 0 and error < tolerance:
            simd.store_one(now, CONTEXT.phase, IDLE)
            return
        if weighted or simd.load_constant(factors[k], FACTORS.class_weight) > 0.0:
            weight_gradient(plans[k], factors[k], scratch, memory, slot, active)
        backward(plans[k], weights, scratch, active)


@inlined
def _run_update(plans, factors, taken, weights, state, contexts, s, inputs):
    """Last part: update all weights."""
    now = contexts.now[s]
    if simd.load_one(now, CONTEXT.phase) != LEARN:
        return
    k = np.uint64(simd.load_one(now, CONTEXT.candidate))
    plan, factor, scratch = plans[k], factors[k], contexts.scratch[s]
    count, active = simd.load_one(now, CONTEXT.touched), simd.load_one(now, CONTEXT.active)
    touched = ActiveRows(contexts.touched.place[s], contexts.touched.share[s])
    learned = Learned(plan, factor, weights, state, scratch, touched, count, active)
    if simd.load_constant(factor, FACTORS.clip) > 0.0:
        clip_gradient(learned, inputs)
    apply_gradient(learned, taken[k])
    taken[k] += 1


@inlined
def _select_sample(plan, now, memory, known, first, inputs, seed, healthy, alive, sparse):
    """Select the sample of this step, if there is one."""
    mask = memory.count.size - 1
    i, repeat = simd.load_one(now, CONTEXT.sample), simd.load_one(now, CONTEXT.repeat)
    slot = (first + i) & mask
    label = simd.load_constant(memory.label, slot)
    simd.store_one(now, CONTEXT.active, max(simd.load_constant(known, i), label + 1))
    if repeat > 0:
        slot = simd.load_one(now, CONTEXT.ahead)
    else:
        simd.store_one(alive, i, healthy)
    if repeat < _rehearsal_count(plan, first + i):
        # Samples drawn at random are rarely in a cache: prefetched now, they arrive in time.
        ahead = _draw_rehearsal(plan, seed, first + i, repeat + 1) & mask
        if sparse:
            for again in range(1, MAX_DRAWS):
                if simd.load_constant(memory.label, ahead) >= 0:
                    break
                draw = repeat + 1 + (again << 32)
                ahead = _draw_rehearsal(plan, seed, first + i, draw) & mask
        simd.store_one(now, CONTEXT.ahead, ahead)
        prefetch_sample(memory, ahead, inputs)
    simd.store_one(now, CONTEXT.slot, slot)
    runs = healthy == 1 and (repeat == 0 or simd.load_constant(memory.label, slot) >= 0)
    simd.store_one(now, CONTEXT.phase, FORWARD if runs else IDLE)


@inlined
def _advance(plans, contexts, s, memory, first):
    """Advance to the next rehearsal or sample; return the sample, or -1 in an empty context."""
    now = contexts.now[s]
    if simd.load_one(now, CONTEXT.phase) == EMPTY:
        return -1
    plan = plans[np.uint64(simd.load_one(now, CONTEXT.candidate))]
    i, repeat = simd.load_one(now, CONTEXT.sample), simd.load_one(now, CONTEXT.repeat) + 1
    label = simd.load_constant(memory.label, (first + i) & (memory.count.size - 1))
    if repeat > _rehearsal_count(plan, first + i) or label < 0:
        repeat = 0
        i += 1
    simd.store_one(now, CONTEXT.sample, i)
    simd.store_one(now, CONTEXT.repeat, repeat)
    return i


@inlined
def _rehearsal_count(plan: Any, number: int) -> Any:
    """Number of samples to rehearse after sample ``number``."""
    rehearsal = simd.load_constant(plan, PLAN.rehearsal)
    early = simd.load_constant(plan, PLAN.early_rehearsal)
    if number >= EARLY_SAMPLES * early:  # it is over: a division takes as long as a small layer
        return rehearsal
    return max(rehearsal, min(early, EARLY_SAMPLES * early // (number + 1)))


@inlined
def _draw_rehearsal(plan: Any, seed: int, number: int, repeat: int) -> Any:
    """Draw the number of an earlier sample in memory."""
    serial = np.uint64(simd.load_constant(plan, PLAN.serial))
    key = mix_key(mix_key(np.uint64(seed), serial), np.uint64(number))
    draw = mix_key(key, np.uint64(repeat))
    reach = min(simd.load_constant(plan, PLAN.memory), number) + 1
    return number - np.int64(draw % np.uint64(reach))


@kernel
def mark_nonfinite(
    plans: NDArray[np.int64], weights: NDArray[np.floating], healthy: NDArray[np.uint8]
) -> int:
    """Mark candidates with a weight that is not finite as unhealthy; return how many were."""
    found = 0
    for k in range(healthy.size):
        if healthy[k] == 1:
            _check_weights(plans, weights, healthy, k)
            found += healthy[k] == 0
    return found


@inlined
def _check_weights(plans, weights, healthy, k):
    """Mark a candidate with a weight that is not finite as unhealthy."""
    start = plans[k, PLAN.start]
    total = weights[start] * 0
    for w in range(start, start + plans[k, PLAN.size]):
        total += weights[w] * 0
    if total != 0:
        healthy[k] = 0

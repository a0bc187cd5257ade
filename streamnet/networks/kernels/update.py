"""Weight updates: schedule, weight decay and optimizer step, by sample or mini-batch."""

from __future__ import annotations

from typing import Any

from streamnet.jit import inlined, specialize
from streamnet.networks.optimizers import (
    OPTIMIZER_CODES,
    OPTIMIZERS,
    correct_rate,
    gradient_scale,
    step,
)
from streamnet.networks.plan import (
    ALL_OUTPUTS,
    FACTORS,
    PLAN,
    PLAN_LAYER,
    PLAN_UPDATE,
    UPDATES,
    layer_fact,
)
from streamnet.networks.schedules import scheduled_rate
from streamnet.networks.simd import vectors as simd
from streamnet.networks.simd.vectors import LANES

SGD = OPTIMIZER_CODES["sgd"]


@inlined
def _learning_rate(plan, factor, taken):
    """Learning rate of the step after ``taken`` steps."""
    return scheduled_rate(
        simd.load_constant(plan, PLAN.schedule),
        simd.load_constant(factor, FACTORS.learning_rate),
        simd.load_constant(factor, FACTORS.decay),
        simd.load_constant(factor, FACTORS.decay_steps),
        taken,
    )


@inlined
def update_weights(
    plan: Any,
    factor: Any,
    weights: Any,
    state: Any,
    scratch: Any,
    touched: Any,
    count: Any,
    active: Any,
    taken: Any,
) -> None:
    """Update the active rows, then every section, whose gradient is inputs times deltas."""
    rate = _learning_rate(plan, factor, taken)
    if simd.load_constant(factor, FACTORS.weight_decay) > 0.0:
        keep = 1.0 - rate * simd.load_constant(factor, FACTORS.weight_decay)
        _decay(plan, weights, touched, count, active, keep)
    optimizer = simd.load_constant(plan, PLAN.optimizer)
    _update_all(
        optimizer, plan, factor, weights, state, scratch, touched, count, active, taken, rate
    )


@inlined
def _decay(plan, weights, touched, count, active, keep):
    """Decay every weight that is about to be updated, except biases."""
    used = count_decaying(plan, layer_fact(plan, 0, PLAN_LAYER.width), active)
    for r in range(count):
        scale_weights(weights, simd.load_one(touched.place, r), used, keep)
    for number in range(simd.load_constant(plan, PLAN.update_count)):
        column = UPDATES + len(PLAN_UPDATE) * number
        biases = simd.load_constant(plan, column + PLAN_UPDATE.biases)
        rows = simd.load_constant(plan, column + PLAN_UPDATE.rows)
        width = simd.load_constant(plan, column + PLAN_UPDATE.width)
        if rows == ALL_OUTPUTS:
            rows = active
        start = simd.load_constant(plan, column + PLAN_UPDATE.weights) + biases * width
        used = count_decaying(plan, width, active)
        if used == width:
            scale_weights(weights, start, (rows - biases) * width, keep)
            continue
        for at in range(start, start + (rows - biases) * width, width):
            scale_weights(weights, at, used, keep)


@inlined
def count_decaying(plan: Any, width: Any, active: Any) -> Any:
    """Number of weights of a row that decay: in a linear network, those of outputs in use.

    How many more are reserved depends on how blocks are cut.
    """
    return width if simd.load_constant(plan, PLAN.depth) > 0 else active


@inlined
def scale_weights(weights: Any, start: Any, size: Any, factor: Any) -> None:
    """Multiply weights by a factor."""
    number = weights.dtype.type(factor)
    share = simd.splat(number)
    rest = start + size - size % LANES
    for at in range(start, rest, LANES):
        simd.store(weights, at, simd.multiply(share, simd.load(weights, at)))
    for at in range(rest, start + size):
        simd.store_one(weights, at, number * simd.load_one(weights, at))


@inlined
def _update_with(
    optimizer, plan, factor, weights, state, scratch, touched, count, active, taken, rate
):
    """One step of ``optimizer``, column by column, so that deltas stay in registers."""
    rate = rate * correct_rate(optimizer, factor, taken)
    vector = layer_fact(plan, 0, PLAN_LAYER.delta)
    width = layer_fact(plan, 0, PLAN_LAYER.width)
    for j in range(0, width, LANES):
        delta = _scaled_gradient(optimizer, factor, scratch, vector + j)
        for r in range(count):
            g = simd.multiply_exact(simd.broadcast(touched.share, r), delta)
            at = simd.load_one(touched.place, r) + j
            _step(optimizer, plan, factor, weights, at, state, g, rate)
    for number in range(simd.load_constant(plan, PLAN.update_count)):
        column = UPDATES + len(PLAN_UPDATE) * number
        start = simd.load_constant(plan, column + PLAN_UPDATE.weights)
        rows = simd.load_constant(plan, column + PLAN_UPDATE.rows)
        width = simd.load_constant(plan, column + PLAN_UPDATE.width)
        source = simd.load_constant(plan, column + PLAN_UPDATE.source)
        vector = simd.load_constant(plan, column + PLAN_UPDATE.vector)
        if rows == ALL_OUTPUTS:
            rows = active
        if optimizer == SGD:
            _descend(weights, start, rows, width, scratch, source, vector, rate)
            continue
        for j in range(0, width, LANES):
            delta = _scaled_gradient(optimizer, factor, scratch, vector + j)
            at = start + j
            for i in range(rows):
                g = simd.multiply_exact(simd.broadcast(scratch, source + i), delta)
                _step(optimizer, plan, factor, weights, at, state, g, rate)
                at += width


@inlined
def _descend(weights, start, rows, width, scratch, source, vector, rate):
    """Plain gradient descent on a section, with the deltas kept in registers."""
    down = simd.splat(scratch.dtype.type(-rate))
    j = 0
    while j + 4 * LANES <= width:
        a = simd.multiply(down, simd.load(scratch, vector + j))
        b = simd.multiply(down, simd.load(scratch, vector + j + 16))
        c = simd.multiply(down, simd.load(scratch, vector + j + 32))
        d = simd.multiply(down, simd.load(scratch, vector + j + 48))
        at = start + j
        for i in range(rows):
            x = simd.broadcast(scratch, source + i)
            simd.store(weights, at, simd.multiply_add(x, a, simd.load(weights, at)))
            simd.store(weights, at + 16, simd.multiply_add(x, b, simd.load(weights, at + 16)))
            simd.store(weights, at + 32, simd.multiply_add(x, c, simd.load(weights, at + 32)))
            simd.store(weights, at + 48, simd.multiply_add(x, d, simd.load(weights, at + 48)))
            at += width
        j += 4 * LANES
    while j < width:
        a = simd.multiply(down, simd.load(scratch, vector + j))
        at = start + j
        for i in range(rows):
            x = simd.broadcast(scratch, source + i)
            simd.store(weights, at, simd.multiply_add(x, a, simd.load(weights, at)))
            at += width
        j += LANES


@inlined
def update_row(
    plan: Any,
    factor: Any,
    weights: Any,
    at: Any,
    state: Any,
    scratch: Any,
    x: Any,
    vector: Any,
    width: Any,
    rate: Any,
) -> None:
    """One optimizer step on one row, whose gradient is ``x`` times a vector."""
    optimizer = simd.load_constant(plan, PLAN.optimizer)
    share = simd.splat(scratch.dtype.type(x))
    for j in range(0, width, LANES):
        g = simd.multiply_exact(share, _scaled_gradient(optimizer, factor, scratch, vector + j))
        _step(optimizer, plan, factor, weights, at + j, state, g, rate)


@inlined
def _scaled_gradient(optimizer, factor, scratch, at):
    """Deltas, or gradients, times the optimizer's gradient scale: once, not for each weight."""
    scale = simd.splat(scratch.dtype.type(gradient_scale(optimizer, factor)))
    return simd.multiply_exact(scale, simd.load(scratch, at))


@inlined
def _step(optimizer, plan, factor, weights, at, state, g, rate):
    """One optimizer step on the weights from ``at`` on, whose scaled gradient is ``g``.

    In float32 the reciprocal root may be an estimate: its error, 1/16,000 of the step, is far below
    the noise of a sample's gradient.
    """
    place = at - simd.load_constant(plan, PLAN.start) + simd.load_constant(plan, PLAN.state)
    size = simd.load_constant(plan, PLAN.size)
    step(optimizer, factor, weights, at, state, place, size, g, rate)


# Specialized, so that no choice of optimizer is left to be made for each weight.
_update_all = specialize(_update_with, len(OPTIMIZERS))


@inlined
def apply_gradient(
    plan: Any,
    factor: Any,
    weights: Any,
    state: Any,
    scratch: Any,
    touched: Any,
    count: Any,
    active: Any,
    taken: Any,
) -> None:
    """Learn a sample whose deltas are known, after ``taken`` others."""
    batch = simd.load_constant(plan, PLAN.batch_size)
    if batch == 1:
        update_weights(plan, factor, weights, state, scratch, touched, count, active, taken)
    else:
        _accumulate(plan, state, scratch, touched, count, active)
        if (taken + 1) % batch == 0:
            _update_batch(plan, factor, weights, state, scratch, active, taken // batch)


@inlined
def _accumulate(plan, state, scratch, touched, count, active):
    """Add a sample's gradient, inputs times deltas, to that of the batch."""
    shift = simd.load_constant(plan, PLAN.gradient_sums) - simd.load_constant(plan, PLAN.start)
    vector = layer_fact(plan, 0, PLAN_LAYER.delta)
    width = layer_fact(plan, 0, PLAN_LAYER.width)
    for r in range(count):
        at = simd.load_one(touched.place, r) + shift
        _accumulate_row(state, at, scratch, simd.load_one(touched.share, r), vector, width)
    for number in range(simd.load_constant(plan, PLAN.update_count)):
        column = UPDATES + len(PLAN_UPDATE) * number
        at = simd.load_constant(plan, column + PLAN_UPDATE.weights) + shift
        rows = simd.load_constant(plan, column + PLAN_UPDATE.rows)
        width = simd.load_constant(plan, column + PLAN_UPDATE.width)
        source = simd.load_constant(plan, column + PLAN_UPDATE.source)
        vector = simd.load_constant(plan, column + PLAN_UPDATE.vector)
        if rows == ALL_OUTPUTS:
            rows = active
        for i in range(rows):
            _accumulate_row(state, at, scratch, simd.load_one(scratch, source + i), vector, width)
            at += width


@inlined
def _accumulate_row(state, at, scratch, x, vector, width):
    factor = simd.splat(scratch.dtype.type(x))
    for j in range(0, width, LANES):
        g = simd.load(scratch, vector + j)
        simd.store(state, at + j, simd.multiply_add(factor, g, simd.load(state, at + j)))


@inlined
def _update_batch(plan, factor, weights, state, scratch, active, taken):
    """Update every row by its mean gradient in the batch, and start the next batch."""
    rate = _learning_rate(plan, factor, taken)
    optimizer = simd.load_constant(plan, PLAN.optimizer)
    pace = rate * correct_rate(optimizer, factor, taken)
    decayed = 1.0 - rate * simd.load_constant(factor, FACTORS.weight_decay)
    share = 1.0 / simd.load_constant(plan, PLAN.batch_size)
    vector = simd.load_constant(plan, PLAN.row_buffer)
    moves = simd.load_constant(plan, PLAN.update_count)
    end = simd.load_constant(plan, PLAN.start) + simd.load_constant(plan, PLAN.size)
    for number in range(moves + 1):
        # The last one stands for splines and sparse rows, most of which are not in the batch.
        at = simd.load_constant(
            plan, PLAN.splines if simd.load_constant(plan, PLAN.knots) > 0 else PLAN.sparse
        )
        width = layer_fact(plan, 0, PLAN_LAYER.width)
        rows = (end - at) // width
        biases = 0
        if number < moves:
            column = UPDATES + len(PLAN_UPDATE) * number
            at = simd.load_constant(plan, column + PLAN_UPDATE.weights)
            rows = simd.load_constant(plan, column + PLAN_UPDATE.rows)
            width = simd.load_constant(plan, column + PLAN_UPDATE.width)
            biases = simd.load_constant(plan, column + PLAN_UPDATE.biases)
            if rows == ALL_OUTPUTS:
                rows = active
        for i in range(rows):
            if _take_row(plan, state, at, scratch, vector, width) or number < moves:
                if decayed != 1.0 and i >= biases:
                    scale_weights(weights, at, count_decaying(plan, width, active), decayed)
                update_row(plan, factor, weights, at, state, scratch, share, vector, width, pace)
            at += width


@inlined
def _take_row(plan, state, at, scratch, vector, width):
    """Move a row of the batch's gradient to working memory; return whether it is nonzero."""
    summed = (
        at - simd.load_constant(plan, PLAN.start) + simd.load_constant(plan, PLAN.gradient_sums)
    )
    found = False
    for j in range(width):
        g = simd.load_one(state, summed + j)
        found = found or g != 0
        simd.store_one(scratch, vector + j, g)
        simd.store_one(state, summed + j, 0)
    return found

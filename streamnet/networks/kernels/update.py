"""Weight updates: learning-rate schedule, weight decay, optimizer step; per sample or mini-batch."""

from __future__ import annotations

import math

from streamnet.jit import inlined
from streamnet.networks import simd
from streamnet.networks.simd import LANES
from streamnet.networks.topology import (
    ADAGRAD,
    ADAM,
    ALL_OUTPUTS,
    FACTORS,
    INVERSE,
    LINEAR,
    MOMENTUM,
    PLAN,
    PLAN_LAYER,
    PLAN_UPDATE,
    RMSPROP,
    SGD,
    STEP,
    UPDATES,
    layer_fact,
)

__all__ = (
    "apply_gradient",
    "bias_correction",
    "count_decaying",
    "scale_weights",
    "scheduled_rate",
    "update_row",
    "update_weights",
)


@inlined
def scheduled_rate(plan, factor, taken):
    """Learning rate of the step after ``taken`` steps."""
    rate = simd.load_constant(factor, FACTORS.learning_rate)
    schedule = simd.load_constant(plan, PLAN.schedule)
    if schedule == STEP:
        rate *= simd.load_constant(factor, FACTORS.decay) ** (
            taken // int(simd.load_constant(factor, FACTORS.decay_steps))
        )
    elif schedule == INVERSE:
        rate /= 1.0 + simd.load_constant(factor, FACTORS.decay) * taken
    elif schedule == LINEAR:
        rate -= simd.load_constant(factor, FACTORS.decay) * (
            taken // int(simd.load_constant(factor, FACTORS.decay_steps))
        )
        rate = max(rate, 0.0)
    return rate


@inlined
def bias_correction(plan, factor, taken):
    """What Adam multiplies the rate with, since its averages start at zero."""
    if simd.load_constant(plan, PLAN.optimizer) != ADAM:
        return 1.0
    first = _debias((taken + 1) * simd.load_constant(factor, FACTORS.log_momentum))
    second = _debias((taken + 1) * simd.load_constant(factor, FACTORS.log_second_momentum))
    return math.sqrt(second) / first


@inlined
def _debias(logarithm):
    """``1 - exp(logarithm)``, which is exactly 1 once the power is below 2**-54, from -37.43 on."""
    return 1.0 if logarithm < -37.5 else 1.0 - math.exp(logarithm)


@inlined
def update_weights(plan, factor, weights, state, scratch, touched, count, active, taken):
    """Move the touched rows, then every section: its gradient is inputs times deltas."""
    rate = scheduled_rate(plan, factor, taken)
    pace = rate * bias_correction(plan, factor, taken)
    if simd.load_constant(factor, FACTORS.weight_decay) > 0.0:
        keep = 1.0 - rate * simd.load_constant(factor, FACTORS.weight_decay)
        _decay(plan, weights, touched, count, active, keep)
    optimizer = simd.load_constant(plan, PLAN.optimizer)
    # A copy for each optimizer: a constant, it leaves no choice to be made for each weight.
    if optimizer == MOMENTUM:
        _update_all(MOMENTUM, plan, factor, weights, state, scratch, touched, count, active, pace)
    elif optimizer == RMSPROP:
        _update_all(RMSPROP, plan, factor, weights, state, scratch, touched, count, active, pace)
    elif optimizer == ADAGRAD:
        _update_all(ADAGRAD, plan, factor, weights, state, scratch, touched, count, active, pace)
    elif optimizer == ADAM:
        _update_all(ADAM, plan, factor, weights, state, scratch, touched, count, active, pace)
    else:
        _update_all(SGD, plan, factor, weights, state, scratch, touched, count, active, pace)


@inlined
def _decay(plan, weights, touched, count, active, keep):
    """Bring every weight that is about to be moved nearer to zero, but for biases."""
    used = count_decaying(plan, layer_fact(plan, 0, PLAN_LAYER.width), active)
    for r in range(count):
        scale_weights(weights, simd.load_one(touched.place, r), used, keep)
    for number in range(simd.load_constant(plan, PLAN.moves)):
        move = UPDATES + len(PLAN_UPDATE) * number
        biases = simd.load_constant(plan, move + PLAN_UPDATE.biases)
        rows = simd.load_constant(plan, move + PLAN_UPDATE.rows)
        width = simd.load_constant(plan, move + PLAN_UPDATE.width)
        if rows == ALL_OUTPUTS:
            rows = active
        start = simd.load_constant(plan, move + PLAN_UPDATE.weights) + biases * width
        used = count_decaying(plan, width, active)
        if used == width:
            scale_weights(weights, start, (rows - biases) * width, keep)
            continue
        for at in range(start, start + (rows - biases) * width, width):
            scale_weights(weights, at, used, keep)


@inlined
def count_decaying(plan, width, active):
    """How many weights of a row decay: of a linear network's only those of outputs in use.

    When there is room for others depends on how blocks are cut.
    """
    return width if simd.load_constant(plan, PLAN.depth) > 0 else active


@inlined
def scale_weights(weights, start, size, factor):
    """Multiply weights by a factor."""
    number = weights.dtype.type(factor)
    share = simd.splat(number)
    rest = start + size - size % LANES
    for at in range(start, rest, LANES):
        simd.store(weights, at, simd.multiply(share, simd.load(weights, at)))
    for at in range(rest, start + size):
        simd.store_one(weights, at, number * simd.load_one(weights, at))


@inlined
def _update_all(optimizer, plan, factor, weights, state, scratch, touched, count, active, rate):
    """One step of ``optimizer``, column by column, so that deltas stay in a register."""
    vector = layer_fact(plan, 0, PLAN_LAYER.delta)
    width = layer_fact(plan, 0, PLAN_LAYER.width)
    for j in range(0, width, LANES):
        delta = _scaled_gradient(optimizer, factor, scratch, vector + j)
        for r in range(count):
            g = simd.multiply_exact(simd.broadcast(touched.share, r), delta)
            at = simd.load_one(touched.place, r) + j
            _step(optimizer, plan, factor, weights, at, state, g, rate)
    for number in range(simd.load_constant(plan, PLAN.moves)):
        move = UPDATES + len(PLAN_UPDATE) * number
        start = simd.load_constant(plan, move + PLAN_UPDATE.weights)
        rows = simd.load_constant(plan, move + PLAN_UPDATE.rows)
        width = simd.load_constant(plan, move + PLAN_UPDATE.width)
        source = simd.load_constant(plan, move + PLAN_UPDATE.source)
        vector = simd.load_constant(plan, move + PLAN_UPDATE.vector)
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
def update_row(plan, factor, weights, at, state, scratch, x, vector, width, rate):
    """One optimizer step on one row, whose gradient is ``x`` times a vector."""
    optimizer = simd.load_constant(plan, PLAN.optimizer)
    share = simd.splat(scratch.dtype.type(x))
    for j in range(0, width, LANES):
        g = simd.multiply_exact(share, _scaled_gradient(optimizer, factor, scratch, vector + j))
        _step(optimizer, plan, factor, weights, at + j, state, g, rate)


@inlined
def _gradient_scale(optimizer, factor):
    """What gradients are multiplied with so that a square is what comes to the running one."""
    if optimizer in (RMSPROP, ADAM):
        return math.sqrt(1.0 - simd.load_constant(factor, FACTORS.second_momentum))
    return 1.0


@inlined
def _scaled_gradient(optimizer, factor, scratch, at):
    """Deltas, or gradients, multiplied with `_gradient_scale`: once, and not again for each
    weight.
    """
    vector = simd.load(scratch, at)
    if optimizer in (RMSPROP, ADAM):
        root = simd.splat(scratch.dtype.type(_gradient_scale(optimizer, factor)))
        return simd.multiply_exact(root, vector)
    return vector


@inlined
def _step(optimizer, plan, factor, weights, at, state, g, rate):
    """One optimizer step on the weights from ``at`` on, whose gradient is ``g`` over `_gradient_scale`.

    In float32 the root may be an estimate: what it is wrong by, a 16,000th of the step, is far less
    than what a sample's gradient says at random.
    """
    number = weights.dtype.type
    first = at - simd.load_constant(plan, PLAN.start) + simd.load_constant(plan, PLAN.state)
    second = first + simd.load_constant(plan, PLAN.size)
    root = _gradient_scale(optimizer, factor)
    epsilon = simd.splat(number(simd.load_constant(factor, FACTORS.epsilon) ** 2))
    beta = simd.splat(number(simd.load_constant(factor, FACTORS.momentum)))
    rest = simd.splat(number((1.0 - simd.load_constant(factor, FACTORS.momentum)) / root))
    beta2 = simd.splat(number(simd.load_constant(factor, FACTORS.second_momentum)))
    move = g
    pace = -rate
    if optimizer == MOMENTUM:
        move = simd.multiply_add(beta, simd.load(state, first), g)
        simd.store(state, first, move)
    elif optimizer == RMSPROP:
        v = simd.multiply_add(g, g, simd.multiply(beta2, simd.load(state, first)))
        simd.store(state, first, v)
        move = simd.multiply(g, simd.reciprocal_sqrt(simd.add(v, epsilon)))
        pace = -rate / root
    elif optimizer == ADAGRAD:
        v = simd.multiply_add(g, g, simd.load(state, first))
        simd.store(state, first, v)
        move = simd.multiply(g, simd.reciprocal_sqrt(simd.add(v, epsilon)))
    elif optimizer == ADAM:
        m = simd.multiply_add(rest, g, simd.multiply(beta, simd.load(state, first)))
        simd.store(state, first, m)
        v = simd.multiply_add(g, g, simd.multiply(beta2, simd.load(state, second)))
        simd.store(state, second, v)
        move = simd.multiply(m, simd.reciprocal_sqrt(simd.add(v, epsilon)))
    w = simd.load(weights, at)
    simd.store(weights, at, simd.multiply_add(simd.splat(number(pace)), move, w))


@inlined
def apply_gradient(plan, factor, weights, state, scratch, touched, count, active, taken):
    """Learn a sample, of which the deltas are known, after ``taken`` others."""
    batch = simd.load_constant(plan, PLAN.batch_size)
    if batch == 1:
        update_weights(plan, factor, weights, state, scratch, touched, count, active, taken)
    else:
        _accumulate(plan, state, scratch, touched, count, active)
        if (taken + 1) % batch == 0:
            _update_batch(plan, factor, weights, state, scratch, active, taken // batch)


@inlined
def _accumulate(plan, state, scratch, touched, count, active):
    """Add a sample's gradient, which is inputs times deltas, to the batch's."""
    shift = simd.load_constant(plan, PLAN.sums) - simd.load_constant(plan, PLAN.start)
    vector = layer_fact(plan, 0, PLAN_LAYER.delta)
    width = layer_fact(plan, 0, PLAN_LAYER.width)
    for r in range(count):
        at = simd.load_one(touched.place, r) + shift
        _accumulate_row(state, at, scratch, simd.load_one(touched.share, r), vector, width)
    for number in range(simd.load_constant(plan, PLAN.moves)):
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
def _update_batch(plan, factor, weights, state, scratch, active, step):
    """Move every row that had a gradient in the batch by the mean, and begin another batch."""
    rate = scheduled_rate(plan, factor, step)
    pace = rate * bias_correction(plan, factor, step)
    decayed = 1.0 - rate * simd.load_constant(factor, FACTORS.weight_decay)
    share = 1.0 / simd.load_constant(plan, PLAN.batch_size)
    vector = simd.load_constant(plan, PLAN.row)
    moves = simd.load_constant(plan, PLAN.moves)
    end = simd.load_constant(plan, PLAN.start) + simd.load_constant(plan, PLAN.size)
    for number in range(moves + 1):
        # The last one stands for the rows of knots and values: most had no part in the batch.
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
    """Move a row of the batch's gradient to working memory; whether there was any."""
    summed = at - simd.load_constant(plan, PLAN.start) + simd.load_constant(plan, PLAN.sums)
    found = False
    for j in range(width):
        g = simd.load_one(state, summed + j)
        found = found or g != 0
        simd.store_one(scratch, vector + j, g)
        simd.store_one(state, summed + j, 0)
    return found

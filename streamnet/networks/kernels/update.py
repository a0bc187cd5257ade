"""Weight updates: schedule, weight decay and optimizer step, by sample or mini-batch."""

from __future__ import annotations

from typing import Any, NamedTuple

from streamnet.jit import inlined, specialize
from streamnet.networks.optimizers import (
    OPTIMIZER_CODES,
    OPTIMIZERS,
    correct_rate,
    gradient_scale,
    step,
)
from streamnet.networks.plan import FACTORS, PLAN, read_layer, read_update
from streamnet.networks.schedules import scheduled_rate
from streamnet.networks.simd import vectors as simd
from streamnet.networks.simd.vectors import LANES

SGD = OPTIMIZER_CODES["sgd"]


class Learned(NamedTuple):
    """A candidate, and the sample that it learns, whose deltas are known."""

    plan: Any
    factor: Any
    weights: Any
    state: Any
    scratch: Any
    touched: Any
    rows: Any  # active rows, in ``touched``
    active: Any


@inlined
def apply_gradient(learned: Learned, taken: Any) -> None:
    """Learn a sample after ``taken`` others."""
    batch = simd.load_constant(learned.plan, PLAN.batch_size)
    if batch == 1:
        _update_weights(learned, taken)
    else:
        _accumulate(learned)
        if (taken + 1) % batch == 0:
            _update_batch(learned, taken // batch)


@inlined
def _learning_rate(learned, taken):
    """Learning rate of the step after ``taken`` steps."""
    return scheduled_rate(
        simd.load_constant(learned.plan, PLAN.schedule),
        simd.load_constant(learned.factor, FACTORS.learning_rate),
        simd.load_constant(learned.factor, FACTORS.decay),
        simd.load_constant(learned.factor, FACTORS.decay_steps),
        taken,
    )


@inlined
def _update_weights(learned, taken):
    """Update the active rows, then every section, whose gradient is inputs times deltas."""
    rate = _learning_rate(learned, taken)
    decay = simd.load_constant(learned.factor, FACTORS.weight_decay)
    if decay > 0.0:
        _decay(learned, 1.0 - rate * decay)
    _update_all(simd.load_constant(learned.plan, PLAN.optimizer), learned, taken, rate)


@inlined
def _decay(learned, keep):
    """Decay every weight that is about to be updated, except biases."""
    used = _count_decaying(learned, read_layer(learned.plan, 0).width)
    for r in range(learned.rows):
        _scale_weights(learned.weights, simd.load_one(learned.touched.place, r), used, keep)
    for number in range(simd.load_constant(learned.plan, PLAN.update_count)):
        section = read_update(learned.plan, number, learned.active)
        start = section.weights + section.biases * section.width
        size = (section.rows - section.biases) * section.width
        used = _count_decaying(learned, section.width)
        if used == section.width:
            _scale_weights(learned.weights, start, size, keep)
            continue
        for at in range(start, start + size, section.width):
            _scale_weights(learned.weights, at, used, keep)


@inlined
def _count_decaying(learned, width):
    """Number of weights of a row that decay: in a linear network, those of outputs in use.

    How many more are reserved depends on how blocks are cut.
    """
    return width if simd.load_constant(learned.plan, PLAN.depth) > 0 else learned.active


@inlined
def _scale_weights(weights, start, size, factor):
    """Multiply weights by a factor."""
    number = weights.dtype.type(factor)
    share = simd.splat(number)
    rest = start + size - size % LANES
    for at in range(start, rest, LANES):
        simd.store(weights, at, simd.multiply(share, simd.load(weights, at)))
    for at in range(rest, start + size):
        simd.store_one(weights, at, number * simd.load_one(weights, at))


@inlined
def _update_with(optimizer, learned, taken, rate):
    """One step of ``optimizer``, column by column, so that deltas stay in registers."""
    rate = rate * correct_rate(optimizer, learned.factor, taken)
    touched, scratch = learned.touched, learned.scratch
    layer = read_layer(learned.plan, 0)
    for j in range(0, layer.width, LANES):
        delta = _scaled_gradient(optimizer, learned, layer.delta + j)
        for r in range(learned.rows):
            g = simd.multiply_exact(simd.broadcast(touched.share, r), delta)
            _step(optimizer, learned, simd.load_one(touched.place, r) + j, g, rate)
    for number in range(simd.load_constant(learned.plan, PLAN.update_count)):
        section = read_update(learned.plan, number, learned.active)
        if optimizer == SGD:
            _descend(learned.weights, scratch, section, rate)
            continue
        for j in range(0, section.width, LANES):
            delta = _scaled_gradient(optimizer, learned, section.vector + j)
            at = section.weights + j
            for i in range(section.rows):
                g = simd.multiply_exact(simd.broadcast(scratch, section.source + i), delta)
                _step(optimizer, learned, at, g, rate)
                at += section.width


# Specialized, so that no choice of optimizer is left to be made for each weight.
_update_all = specialize(_update_with, len(OPTIMIZERS))


@inlined
def _descend(weights, scratch, section, rate):
    """Plain gradient descent on a section, with the deltas kept in registers."""
    down = simd.splat(scratch.dtype.type(-rate))
    width, vector = section.width, section.vector
    j = 0
    while j + 4 * LANES <= width:
        a = simd.multiply(down, simd.load(scratch, vector + j))
        b = simd.multiply(down, simd.load(scratch, vector + j + 16))
        c = simd.multiply(down, simd.load(scratch, vector + j + 32))
        d = simd.multiply(down, simd.load(scratch, vector + j + 48))
        at = section.weights + j
        for i in range(section.rows):
            x = simd.broadcast(scratch, section.source + i)
            _add_product(weights, at, x, a)
            _add_product(weights, at + 16, x, b)
            _add_product(weights, at + 32, x, c)
            _add_product(weights, at + 48, x, d)
            at += width
        j += 4 * LANES
    while j < width:
        a = simd.multiply(down, simd.load(scratch, vector + j))
        at = section.weights + j
        for i in range(section.rows):
            _add_product(weights, at, simd.broadcast(scratch, section.source + i), a)
            at += width
        j += LANES


@inlined
def _add_product(numbers, at, x, y):
    simd.store(numbers, at, simd.multiply_add(x, y, simd.load(numbers, at)))


@inlined
def _scaled_gradient(optimizer, learned, at):
    """Deltas, or gradients, times `gradient_scale`: computed once, not for each weight."""
    vector = simd.load(learned.scratch, at)
    scale = gradient_scale(optimizer, learned.factor)
    return simd.multiply_exact(simd.splat(learned.scratch.dtype.type(scale)), vector)


@inlined
def _step(optimizer, learned, at, g, rate):
    """One optimizer step on the weights from ``at`` on, whose scaled gradient is ``g``.

    In float32 the reciprocal root may be an estimate: its error, 1/16,000 of the step, is far below
    the noise of a sample's gradient.
    """
    plan = learned.plan
    place = at - simd.load_constant(plan, PLAN.start) + simd.load_constant(plan, PLAN.state)
    size = simd.load_constant(plan, PLAN.size)
    step(optimizer, learned.factor, learned.weights, at, learned.state, place, size, g, rate)


@inlined
def _accumulate(learned):
    """Add a sample's gradient, inputs times deltas, to that of the batch."""
    plan, touched, scratch = learned.plan, learned.touched, learned.scratch
    shift = simd.load_constant(plan, PLAN.gradient_sums) - simd.load_constant(plan, PLAN.start)
    layer = read_layer(plan, 0)
    for r in range(learned.rows):
        at, x = simd.load_one(touched.place, r) + shift, simd.load_one(touched.share, r)
        _accumulate_row(learned, at, x, layer.delta, layer.width)
    for number in range(simd.load_constant(plan, PLAN.update_count)):
        section = read_update(plan, number, learned.active)
        at = section.weights + shift
        for i in range(section.rows):
            x = simd.load_one(scratch, section.source + i)
            _accumulate_row(learned, at, x, section.vector, section.width)
            at += section.width


@inlined
def _accumulate_row(learned, at, x, vector, width):
    factor = simd.splat(learned.scratch.dtype.type(x))
    for j in range(0, width, LANES):
        _add_product(learned.state, at + j, factor, simd.load(learned.scratch, vector + j))


@inlined
def _update_batch(learned, taken):
    """Update every row by its mean gradient in the batch, and start the next batch."""
    plan = learned.plan
    rate = _learning_rate(learned, taken)
    pace = rate * correct_rate(simd.load_constant(plan, PLAN.optimizer), learned.factor, taken)
    decayed = 1.0 - rate * simd.load_constant(learned.factor, FACTORS.weight_decay)
    moves = simd.load_constant(plan, PLAN.update_count)
    end = simd.load_constant(plan, PLAN.start) + simd.load_constant(plan, PLAN.size)
    for number in range(moves + 1):
        # The last one stands for splines and sparse rows, most of which are not in the batch.
        at = simd.load_constant(
            plan, PLAN.splines if simd.load_constant(plan, PLAN.knots) > 0 else PLAN.sparse
        )
        width = read_layer(plan, 0).width
        rows = (end - at) // width
        biases = 0
        if number < moves:
            section = read_update(plan, number, learned.active)
            at, rows, width = section.weights, section.rows, section.width
            biases = section.biases
        for i in range(rows):
            if _take_row(learned, at, width) or number < moves:
                if decayed != 1.0 and i >= biases:
                    used = _count_decaying(learned, width)
                    _scale_weights(learned.weights, at, used, decayed)
                _update_row(learned, at, width, pace)
            at += width


@inlined
def _take_row(learned, at, width):
    """Move a row of the batch's gradient to working memory; return whether it is nonzero."""
    plan, state = learned.plan, learned.state
    row = simd.load_constant(plan, PLAN.row_buffer)
    shift = simd.load_constant(plan, PLAN.gradient_sums) - simd.load_constant(plan, PLAN.start)
    found = False
    for j in range(width):
        g = simd.load_one(state, at + shift + j)
        found = found or g != 0
        simd.store_one(learned.scratch, row + j, g)
        simd.store_one(state, at + shift + j, 0)
    return found


@inlined
def _update_row(learned, at, width, rate):
    """One optimizer step on one row, by the mean of the batch's gradient in working memory."""
    optimizer = simd.load_constant(learned.plan, PLAN.optimizer)
    row = simd.load_constant(learned.plan, PLAN.row_buffer)
    batch = simd.load_constant(learned.plan, PLAN.batch_size)
    share = simd.splat(learned.scratch.dtype.type(1.0 / batch))
    for j in range(0, width, LANES):
        g = simd.multiply_exact(share, _scaled_gradient(optimizer, learned, row + j))
        _step(optimizer, learned, at + j, g, rate)

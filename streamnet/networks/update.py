"""The last part of a step: every weight moved, by the optimiser of its network."""

from __future__ import annotations

import math

from streamnet.jit import inlined
from streamnet.networks import simd
from streamnet.networks.plan import ADAGRAD
from streamnet.networks.plan import ADAM
from streamnet.networks.plan import INVERSE
from streamnet.networks.plan import LINEAR
from streamnet.networks.plan import MOMENTUM
from streamnet.networks.plan import RMSPROP
from streamnet.networks.plan import SGD
from streamnet.networks.plan import STEP
from streamnet.networks.plan import layer_of
from streamnet.networks.simd import LANES
from streamnet.networks.topology import ALL_OUTPUTS
from streamnet.networks.topology import FACTORS
from streamnet.networks.topology import MOVES
from streamnet.networks.topology import PLAN
from streamnet.networks.topology import PLAN_LAYER
from streamnet.networks.topology import PLAN_MOVE

__all__ = ("correction_of", "decaying", "one_row", "rate_of", "scale", "update")


@inlined
def rate_of(plan, factor, taken):
    """Learning rate of the step after ``taken`` steps."""
    rate = simd.fact(factor, FACTORS.learning_rate)
    schedule = simd.fact(plan, PLAN.schedule)
    if schedule == STEP:
        rate *= simd.fact(factor, FACTORS.decay) ** (
            taken // int(simd.fact(factor, FACTORS.decay_steps))
        )
    elif schedule == INVERSE:
        rate /= 1.0 + simd.fact(factor, FACTORS.decay) * taken
    elif schedule == LINEAR:
        rate -= simd.fact(factor, FACTORS.decay) * (
            taken // int(simd.fact(factor, FACTORS.decay_steps))
        )
        rate = max(rate, 0.0)
    return rate


@inlined
def correction_of(plan, factor, taken):
    """What Adam multiplies the rate with, since its averages start at zero."""
    if simd.fact(plan, PLAN.optimiser) != ADAM:
        return 1.0
    first = _share_seen((taken + 1) * simd.fact(factor, FACTORS.log_momentum))
    second = _share_seen((taken + 1) * simd.fact(factor, FACTORS.log_second_momentum))
    return math.sqrt(second) / first


@inlined
def _share_seen(logarithm):
    """``1 - exp(logarithm)``, which is exactly 1 once the power is below 2**-54, from -37.43 on."""
    return 1.0 if logarithm < -37.5 else 1.0 - math.exp(logarithm)


@inlined
def update(plan, factor, weights, state, scratch, touched, count, active, taken):
    """Move the touched rows, then every section: its gradient is inputs times deltas."""
    rate = rate_of(plan, factor, taken)
    pace = rate * correction_of(plan, factor, taken)
    if simd.fact(factor, FACTORS.weight_decay) > 0.0:
        keep = 1.0 - rate * simd.fact(factor, FACTORS.weight_decay)
        _decay(plan, weights, touched, count, active, keep)
    optimiser = simd.fact(plan, PLAN.optimiser)
    # A copy for each optimiser: a constant, it leaves no choice to be made for each weight.
    if optimiser == MOMENTUM:
        _move(MOMENTUM, plan, factor, weights, state, scratch, touched, count, active, pace)
    elif optimiser == RMSPROP:
        _move(RMSPROP, plan, factor, weights, state, scratch, touched, count, active, pace)
    elif optimiser == ADAGRAD:
        _move(ADAGRAD, plan, factor, weights, state, scratch, touched, count, active, pace)
    elif optimiser == ADAM:
        _move(ADAM, plan, factor, weights, state, scratch, touched, count, active, pace)
    else:
        _move(SGD, plan, factor, weights, state, scratch, touched, count, active, pace)


@inlined
def _decay(plan, weights, touched, count, active, keep):
    """Bring every weight that is about to be moved nearer to zero, but for biases."""
    used = decaying(plan, layer_of(plan, 0, PLAN_LAYER.width), active)
    for r in range(count):
        scale(weights, simd.pick(touched.place, r), used, keep)
    for number in range(simd.fact(plan, PLAN.moves)):
        move = MOVES + len(PLAN_MOVE) * number
        biases = simd.fact(plan, move + PLAN_MOVE.biases)
        rows = simd.fact(plan, move + PLAN_MOVE.rows)
        width = simd.fact(plan, move + PLAN_MOVE.width)
        if rows == ALL_OUTPUTS:
            rows = active
        start = simd.fact(plan, move + PLAN_MOVE.weights) + biases * width
        used = decaying(plan, width, active)
        if used == width:
            scale(weights, start, (rows - biases) * width, keep)
            continue
        for at in range(start, start + (rows - biases) * width, width):
            scale(weights, at, used, keep)


@inlined
def decaying(plan, width, active):
    """How many weights of a row decay: of a linear network's only those of outputs in use.

    When there is room for others depends on how blocks are cut.
    """
    return width if simd.fact(plan, PLAN.depth) > 0 else active


@inlined
def scale(weights, start, size, factor):
    """Multiply weights by a factor."""
    number = weights.dtype.type(factor)
    share = simd.splat(number)
    rest = start + size - size % LANES
    for at in range(start, rest, LANES):
        simd.store(weights, at, simd.multiply(share, simd.load(weights, at)))
    for at in range(rest, start + size):
        simd.put(weights, at, number * simd.pick(weights, at))


@inlined
def _move(optimiser, plan, factor, weights, state, scratch, touched, count, active, rate):
    """One step of ``optimiser``, column by column, so that deltas stay in a register."""
    vector = layer_of(plan, 0, PLAN_LAYER.delta)
    width = layer_of(plan, 0, PLAN_LAYER.width)
    for j in range(0, width, LANES):
        delta = _scaled(optimiser, factor, scratch, vector + j)
        for r in range(count):
            g = simd.multiply_first(simd.broadcast(touched.share, r), delta)
            at = simd.pick(touched.place, r) + j
            _step(optimiser, plan, factor, weights, at, state, g, rate)
    for number in range(simd.fact(plan, PLAN.moves)):
        move = MOVES + len(PLAN_MOVE) * number
        start = simd.fact(plan, move + PLAN_MOVE.weights)
        rows = simd.fact(plan, move + PLAN_MOVE.rows)
        width = simd.fact(plan, move + PLAN_MOVE.width)
        source = simd.fact(plan, move + PLAN_MOVE.source)
        vector = simd.fact(plan, move + PLAN_MOVE.vector)
        if rows == ALL_OUTPUTS:
            rows = active
        if optimiser == SGD:
            _descend(weights, start, rows, width, scratch, source, vector, rate)
            continue
        for j in range(0, width, LANES):
            delta = _scaled(optimiser, factor, scratch, vector + j)
            at = start + j
            for i in range(rows):
                g = simd.multiply_first(simd.broadcast(scratch, source + i), delta)
                _step(optimiser, plan, factor, weights, at, state, g, rate)
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
def one_row(plan, factor, weights, at, state, scratch, x, vector, width, rate):
    """One optimiser step on one row, whose gradient is ``x`` times a vector."""
    optimiser = simd.fact(plan, PLAN.optimiser)
    share = simd.splat(scratch.dtype.type(x))
    for j in range(0, width, LANES):
        g = simd.multiply_first(share, _scaled(optimiser, factor, scratch, vector + j))
        _step(optimiser, plan, factor, weights, at + j, state, g, rate)


@inlined
def _root(optimiser, factor):
    """What gradients are multiplied with so that a square is what comes to the running one."""
    if optimiser in (RMSPROP, ADAM):
        return math.sqrt(1.0 - simd.fact(factor, FACTORS.second_momentum))
    return 1.0


@inlined
def _scaled(optimiser, factor, scratch, at):
    """Deltas, or gradients, multiplied with `_root`: once, and not again for each weight."""
    vector = simd.load(scratch, at)
    if optimiser in (RMSPROP, ADAM):
        root = simd.splat(scratch.dtype.type(_root(optimiser, factor)))
        return simd.multiply_first(root, vector)
    return vector


@inlined
def _step(optimiser, plan, factor, weights, at, state, g, rate):
    """One optimiser step on the weights from ``at`` on, whose gradient is ``g`` over `_root`.

    In float32 the root may be an estimate: what it is wrong by, a 16,000th of the step, is far less
    than what a sample's gradient says at random.
    """
    number = weights.dtype.type
    first = at - simd.fact(plan, PLAN.start) + simd.fact(plan, PLAN.state)
    second = first + simd.fact(plan, PLAN.size)
    root = _root(optimiser, factor)
    epsilon = simd.splat(number(simd.fact(factor, FACTORS.epsilon) ** 2))
    beta = simd.splat(number(simd.fact(factor, FACTORS.momentum)))
    rest = simd.splat(number((1.0 - simd.fact(factor, FACTORS.momentum)) / root))
    beta2 = simd.splat(number(simd.fact(factor, FACTORS.second_momentum)))
    move = g
    pace = -rate
    if optimiser == MOMENTUM:
        move = simd.multiply_add(beta, simd.load(state, first), g)
        simd.store(state, first, move)
    elif optimiser == RMSPROP:
        v = simd.multiply_add(g, g, simd.multiply(beta2, simd.load(state, first)))
        simd.store(state, first, v)
        move = simd.multiply(g, simd.reciprocal_root(simd.add(v, epsilon)))
        pace = -rate / root
    elif optimiser == ADAGRAD:
        v = simd.multiply_add(g, g, simd.load(state, first))
        simd.store(state, first, v)
        move = simd.multiply(g, simd.reciprocal_root(simd.add(v, epsilon)))
    elif optimiser == ADAM:
        m = simd.multiply_add(rest, g, simd.multiply(beta, simd.load(state, first)))
        simd.store(state, first, m)
        v = simd.multiply_add(g, g, simd.multiply(beta2, simd.load(state, second)))
        simd.store(state, second, v)
        move = simd.multiply(m, simd.reciprocal_root(simd.add(v, epsilon)))
    w = simd.load(weights, at)
    simd.store(weights, at, simd.multiply_add(simd.splat(number(pace)), move, w))

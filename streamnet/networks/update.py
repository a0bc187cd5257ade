"""The last part of a step: every weight moved, by the optimiser of its network."""

from __future__ import annotations

import math

from streamnet.jit import inlined
from streamnet.networks import simd
from streamnet.networks.forward import curves
from streamnet.networks.forward import row_below
from streamnet.networks.forward import share_above
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

__all__ = ("correction_of", "one_step", "rate_of", "update")


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
    first = 1.0 - simd.fact(factor, FACTORS.momentum) ** (taken + 1)
    second = 1.0 - simd.fact(factor, FACTORS.second_momentum) ** (taken + 1)
    return math.sqrt(second) / first


@inlined
def update(plan, factor, weights, state, scratch, memory, slot, active, taken):
    """Move the active rows, then every section: its gradient is inputs times deltas."""
    rate = rate_of(plan, factor, taken)
    pace = rate * correction_of(plan, factor, taken)
    decayed = 1.0 - rate * simd.fact(factor, FACTORS.weight_decay)
    plain = (
        simd.fact(plan, PLAN.optimiser) == SGD and simd.fact(factor, FACTORS.weight_decay) == 0.0
    )
    vector = layer_of(plan, 0, PLAN_LAYER.delta)
    width = layer_of(plan, 0, PLAN_LAYER.width)
    entry = slot * memory.row.shape[1]
    for q in range(simd.fact(memory.count, slot) - simd.fact(plan, PLAN.unseen)):
        at = simd.fact(plan, PLAN.sparse) + simd.fact(memory.row, entry + q) * width
        x = simd.fact(memory.value, entry + q)
        one_step(plan, factor, weights, at, state, scratch, x, vector, width, pace, decayed)
    for s in range(curves(plan, memory, slot)):
        i = simd.fact(memory.splined, slot * memory.splined.shape[1] + s)
        at = row_below(plan, scratch, i, width)
        above = share_above(plan, scratch, i)
        below = scratch.dtype.type(1) - above
        one_step(plan, factor, weights, at, state, scratch, below, vector, width, pace, decayed)
        at += width
        one_step(plan, factor, weights, at, state, scratch, above, vector, width, pace, decayed)
    for number in range(simd.fact(plan, PLAN.moves)):
        move = MOVES + len(PLAN_MOVE) * number
        at = simd.fact(plan, move + PLAN_MOVE.weights)
        rows = simd.fact(plan, move + PLAN_MOVE.rows)
        width = simd.fact(plan, move + PLAN_MOVE.width)
        source = simd.fact(plan, move + PLAN_MOVE.source)
        vector = simd.fact(plan, move + PLAN_MOVE.vector)
        if rows == ALL_OUTPUTS:
            rows = active
        if plain:
            _descend(weights, at, rows, width, scratch, source, vector, rate)
            continue
        for i in range(rows):
            keep = decayed if i >= simd.fact(plan, move + PLAN_MOVE.biases) else 1.0
            x = simd.pick(scratch, source + i)
            one_step(plan, factor, weights, at, state, scratch, x, vector, width, pace, keep)
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
def one_step(plan, factor, weights, at, state, scratch, x, vector, width, rate, keep):
    """One optimiser step on one row, whose gradient is ``x`` times a vector."""
    number = scratch.dtype.type
    optimiser = simd.fact(plan, PLAN.optimiser)
    first = at - simd.fact(plan, PLAN.start) + simd.fact(plan, PLAN.state)
    second = first + simd.fact(plan, PLAN.size)
    factor_x = simd.splat(number(x))
    down = simd.splat(number(-rate))
    kept = simd.splat(number(keep))
    epsilon = simd.splat(number(simd.fact(factor, FACTORS.epsilon)))
    beta = simd.splat(number(simd.fact(factor, FACTORS.momentum)))
    rest = simd.splat(number(1.0 - simd.fact(factor, FACTORS.momentum)))
    beta2 = simd.splat(number(simd.fact(factor, FACTORS.second_momentum)))
    rest2 = simd.splat(number(1.0 - simd.fact(factor, FACTORS.second_momentum)))
    for j in range(0, width, LANES):
        g = simd.multiply(factor_x, simd.load(scratch, vector + j))
        w = simd.multiply(kept, simd.load(weights, at + j))
        move = g
        if optimiser == MOMENTUM:
            move = simd.multiply_add(beta, simd.load(state, first + j), g)
            simd.store(state, first + j, move)
        elif optimiser == RMSPROP:
            v = simd.multiply(beta2, simd.load(state, first + j))
            v = simd.multiply_add(simd.multiply(rest2, g), g, v)
            simd.store(state, first + j, v)
            move = simd.divide(g, simd.add(simd.square_root(v), epsilon))
        elif optimiser == ADAGRAD:
            v = simd.multiply_add(g, g, simd.load(state, first + j))
            simd.store(state, first + j, v)
            move = simd.divide(g, simd.add(simd.square_root(v), epsilon))
        elif optimiser == ADAM:
            m = simd.multiply(beta, simd.load(state, first + j))
            m = simd.multiply_add(rest, g, m)
            simd.store(state, first + j, m)
            v = simd.multiply(beta2, simd.load(state, second + j))
            v = simd.multiply_add(simd.multiply(rest2, g), g, v)
            simd.store(state, second + j, v)
            move = simd.divide(m, simd.add(simd.square_root(v), epsilon))
        simd.store(weights, at + j, simd.multiply_add(down, move, w))

"""The last part of a step: every weight moved, by the optimiser of its network."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from __future__ import annotations

import math

from streamnet.jit import inlined
from streamnet.networks import simd
from streamnet.networks.plan import ADAGRAD
from streamnet.networks.plan import ADAM
from streamnet.networks.plan import INVERSE
from streamnet.networks.plan import MOMENTUM
from streamnet.networks.plan import RMSPROP
from streamnet.networks.plan import SGD
from streamnet.networks.plan import STEP
from streamnet.networks.plan import layer_of
from streamnet.networks.simd import LANES
from streamnet.networks.topology import FACTORS
from streamnet.networks.topology import PLAN
from streamnet.networks.topology import PLAN_LAYER

__all__ = ("update",)


@inlined
def _rate_of(plan, factor, taken):
    """Learning rate of the step after ``taken`` steps."""
    rate = factor[FACTORS.learning_rate]
    schedule = plan[PLAN.schedule]
    if schedule == STEP:
        rate *= factor[FACTORS.decay] ** (taken // int(factor[FACTORS.decay_steps]))
    elif schedule == INVERSE:
        rate /= 1.0 + factor[FACTORS.decay] * taken
    return rate


@inlined
def _correction_of(plan, factor, taken):
    """What Adam multiplies the rate with, since its averages start at zero."""
    if plan[PLAN.optimiser] != ADAM:
        return 1.0
    first = 1.0 - factor[FACTORS.momentum] ** (taken + 1)
    second = 1.0 - factor[FACTORS.second_momentum] ** (taken + 1)
    return math.sqrt(second) / first


@inlined
def update(plan, factor, weights, state, scratch, memory, slot, inputs, active, taken):
    """Move the weights of every section: layers, then output rows, output biases, active rows."""
    depth = plan[PLAN.depth]
    rate = _rate_of(plan, factor, taken)
    pace = rate * _correction_of(plan, factor, taken)
    layers = max(depth, 1)
    stages = layers + 3 if depth > 0 else layers + 1
    for stage in range(stages):
        vector = layer_of(plan, 0, PLAN_LAYER.delta)
        width = layer_of(plan, 0, PLAN_LAYER.width)
        biased = False
        if stage == 0:
            start = plan[PLAN.sparse]
            rows = simd.pick(memory.count, slot)
            source = 0
        elif stage <= layers:
            layer = stage - 1
            vector = layer_of(plan, layer, PLAN_LAYER.delta)
            width = layer_of(plan, layer, PLAN_LAYER.width)
            start = layer_of(plan, layer, PLAN_LAYER.weights)
            biased = True
            if layer == 0:
                rows = inputs + 1
                source = LANES - 1
            else:
                rows = layer_of(plan, layer - 1, PLAN_LAYER.units) + 1
                source = layer_of(plan, layer - 1, PLAN_LAYER.value) - 1
        elif stage == layers + 1:
            vector = layer_of(plan, depth - 1, PLAN_LAYER.value)
            width = layer_of(plan, depth - 1, PLAN_LAYER.width)
            start = plan[PLAN.output]
            rows = active
            source = plan[PLAN.gradient]
        else:
            vector = plan[PLAN.gradient]
            width = plan[PLAN.output_width]
            start = plan[PLAN.output_bias]
            rows = 1
            source = LANES - 1
            biased = True
        skipped = 1 if biased and plan[PLAN.bias] == 0 else 0
        if plan[PLAN.optimiser] == SGD and stage > 0 and factor[FACTORS.weight_decay] == 0.0:
            _descend(
                weights,
                start + skipped * width,
                rows - skipped,
                width,
                scratch,
                source + skipped,
                vector,
                rate,
            )
            continue
        for i in range(skipped, rows):
            at = start + i * width
            x = simd.pick(scratch, source + i)
            if stage == 0:
                entry = slot * memory.row.shape[1] + i
                at = start + simd.pick(memory.row, entry) * width
                x = simd.pick(memory.value, entry)
            keep = 1.0
            if not (biased and i == 0):
                keep -= rate * factor[FACTORS.weight_decay]
            _step(plan, factor, weights, at, state, scratch, x, vector, width, pace, keep)


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
def _step(plan, factor, weights, at, state, scratch, x, vector, width, rate, keep):
    """One optimiser step on one row, whose gradient is ``x`` times a vector."""
    number = scratch.dtype.type
    optimiser = plan[PLAN.optimiser]
    first = at - plan[PLAN.start] + plan[PLAN.state]
    second = first + plan[PLAN.size]
    factor_x = simd.splat(number(x))
    down = simd.splat(number(-rate))
    kept = simd.splat(number(keep))
    epsilon = simd.splat(number(factor[FACTORS.epsilon]))
    beta = simd.splat(number(factor[FACTORS.momentum]))
    rest = simd.splat(number(1.0 - factor[FACTORS.momentum]))
    beta2 = simd.splat(number(factor[FACTORS.second_momentum]))
    rest2 = simd.splat(number(1.0 - factor[FACTORS.second_momentum]))
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

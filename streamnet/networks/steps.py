"""The parts of a learning step, inlined into the kernel: one sample through one network.

Working memory (`scratch`) holds the sample's inputs, then each layer's values and deltas, then
scores and their gradient. The number before a layer's inputs is 1, the input of the biases, so
that a bias is the first row of its section and needs no code of its own.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import math

from streamnet.jit import inlined
from streamnet.networks import simd
from streamnet.networks.simd import LANES
from streamnet.networks.topology import FACTORS
from streamnet.networks.topology import PLAN
from streamnet.networks.topology import PLAN_LAYER

__all__ = (
    "CLIP",
    "answer",
    "backward",
    "clip",
    "fetch",
    "finish",
    "forward",
    "gradient",
    "update",
)

CLIP = FACTORS.clip
COLUMNS = len(PLAN_LAYER)
IDENTITY, LOGISTIC, TANH, RELU, SOFTMAX = range(5)
CROSS_ENTROPY, SQUARED, ABSOLUTE, HUBER = range(4)
SGD, MOMENTUM, RMSPROP, ADAGRAD, ADAM = range(5)
CONSTANT, STEP, INVERSE = range(3)
FEW = 4


@inlined
def _layer(plan, layer, column):
    return plan[PLAN.layers + COLUMNS * layer + column]


@inlined
def fetch(memory, slot, inputs, scratch):
    """Copy a sample's dense inputs into working memory, after the 1 of the biases."""
    start = slot * memory.dense.shape[1]
    scratch[LANES - 1] = 1
    for j in range(0, inputs, LANES):
        simd.store(scratch, LANES + j, simd.load(memory.dense, start + j))


@inlined
def forward(plan, weights, scratch, memory, slot, inputs, active):
    """Values of each layer, then the scores of the outputs in use."""
    depth = plan[PLAN.depth]
    source = LANES - 1
    rows = inputs + 1
    for layer in range(max(depth, 1)):
        width = _layer(plan, layer, PLAN_LAYER.width)
        target = _layer(plan, layer, PLAN_LAYER.value)
        start = _layer(plan, layer, PLAN_LAYER.weights)
        _multiply(weights, start, rows, width, scratch, source, target)
        if layer == 0:
            _add_rows(weights, plan[PLAN.sparse], width, memory, slot, scratch, target)
        units = _layer(plan, layer, PLAN_LAYER.units)
        if depth > 0:
            _activate(_layer(plan, layer, PLAN_LAYER.activation), scratch, target, units, width)
        scratch[target - 1] = 1
        source = target - 1
        rows = units + 1
    if depth > 0:
        width = _layer(plan, depth - 1, PLAN_LAYER.width)
        values = _layer(plan, depth - 1, PLAN_LAYER.value)
        for o in range(active):
            start = plan[PLAN.output] + o * width
            parts = simd.multiply(simd.load(weights, start), simd.load(scratch, values))
            for j in range(LANES, width, LANES):
                w = simd.load(weights, start + j)
                parts = simd.multiply_add(w, simd.load(scratch, values + j), parts)
            score = simd.total(parts) + weights[plan[PLAN.output_bias] + o]
            scratch[plan[PLAN.score] + o] = score


@inlined
def _multiply(weights, start, rows, width, scratch, source, target):
    """``target = source @ weights``, four, two or one vectors of the target in registers at once."""
    j = 0
    while j + 4 * LANES <= width:
        a = simd.multiply(simd.broadcast(scratch, source), simd.load(weights, start + j))
        b = simd.multiply(simd.broadcast(scratch, source), simd.load(weights, start + j + 16))
        c = simd.multiply(simd.broadcast(scratch, source), simd.load(weights, start + j + 32))
        d = simd.multiply(simd.broadcast(scratch, source), simd.load(weights, start + j + 48))
        at = start + j
        for i in range(1, rows):
            at += width
            x = simd.broadcast(scratch, source + i)
            a = simd.multiply_add(x, simd.load(weights, at), a)
            b = simd.multiply_add(x, simd.load(weights, at + 16), b)
            c = simd.multiply_add(x, simd.load(weights, at + 32), c)
            d = simd.multiply_add(x, simd.load(weights, at + 48), d)
        simd.store(scratch, target + j, a)
        simd.store(scratch, target + j + 16, b)
        simd.store(scratch, target + j + 32, c)
        simd.store(scratch, target + j + 48, d)
        j += 4 * LANES
    while j + 2 * LANES <= width:
        a = simd.multiply(simd.broadcast(scratch, source), simd.load(weights, start + j))
        b = simd.multiply(simd.broadcast(scratch, source), simd.load(weights, start + j + 16))
        c = d = simd.splat(scratch.dtype.type(0))
        at = start + j
        # Even and odd rows apart: each sum waits only half as often for its last addition.
        for i in range(1, rows - 1, 2):
            x = simd.broadcast(scratch, source + i)
            y = simd.broadcast(scratch, source + i + 1)
            a = simd.multiply_add(x, simd.load(weights, at + width), a)
            b = simd.multiply_add(x, simd.load(weights, at + width + 16), b)
            at += 2 * width
            c = simd.multiply_add(y, simd.load(weights, at), c)
            d = simd.multiply_add(y, simd.load(weights, at + 16), d)
        if rows % 2 == 0:
            x = simd.broadcast(scratch, source + rows - 1)
            a = simd.multiply_add(x, simd.load(weights, at + width), a)
            b = simd.multiply_add(x, simd.load(weights, at + width + 16), b)
        simd.store(scratch, target + j, simd.add(a, c))
        simd.store(scratch, target + j + 16, simd.add(b, d))
        j += 2 * LANES
    while j < width:
        a = simd.multiply(simd.broadcast(scratch, source), simd.load(weights, start + j))
        c = simd.splat(scratch.dtype.type(0))
        at = start + j
        for i in range(1, rows - 1, 2):
            y = simd.broadcast(scratch, source + i + 1)
            at += width
            a = simd.multiply_add(simd.broadcast(scratch, source + i), simd.load(weights, at), a)
            at += width
            c = simd.multiply_add(y, simd.load(weights, at), c)
        if rows % 2 == 0:
            x = simd.broadcast(scratch, source + rows - 1)
            a = simd.multiply_add(x, simd.load(weights, at + width), a)
        simd.store(scratch, target + j, simd.add(a, c))
        j += LANES


@inlined
def _add_rows(weights, start, width, memory, slot, scratch, target):
    """Add the weights of a sample's active rows to the first layer."""
    for q in range(memory.count[slot]):
        at = start + memory.row[slot, q] * width
        x = simd.splat(memory.value[slot, q])
        for j in range(0, width, LANES):
            h = simd.load(scratch, target + j)
            h = simd.multiply_add(x, simd.load(weights, at + j), h)
            simd.store(scratch, target + j, h)


@inlined
def _activate(code, scratch, start, units, width):
    """Apply an activation in place; what fills up the layer stays zero."""
    if code == RELU:
        for j in range(start, start + width, LANES):
            simd.store(scratch, j, simd.positive_part(simd.load(scratch, j)))
    elif code != IDENTITY:
        one = simd.splat(scratch.dtype.type(1))
        # tanh(x) = 2 logistic(2 x) - 1
        inner = simd.splat(scratch.dtype.type(-2 if code == TANH else -1))
        outer = simd.splat(scratch.dtype.type(2 if code == TANH else 1))
        shift = simd.splat(scratch.dtype.type(-1 if code == TANH else 0))
        for j in range(start, start + width, LANES):
            power = simd.exponential(simd.multiply(inner, simd.load(scratch, j)))
            h = simd.add(simd.divide(outer, simd.add(one, power)), shift)
            simd.store(scratch, j, simd.keep(h, start + units - j))


@inlined
def finish(plan, scratch, active, limit):
    """Scores to outputs; False if a score is not finite or beyond ``limit``."""
    start = plan[PLAN.score]
    code = plan[PLAN.output_activation]
    peak = scratch.dtype.type(-limit)
    sound = True
    for o in range(start, start + active):
        if not abs(scratch[o]) < limit:
            sound = False
        peak = max(peak, scratch[o])
    if not sound:
        return False
    one = scratch.dtype.type(1)
    if code == SOFTMAX:
        _powers(scratch, start, active, one, peak)
        total = scratch.dtype.type(0)
        for o in range(start, start + active):
            total += scratch[o]
        for o in range(start, start + active):
            scratch[o] /= total
    elif code == LOGISTIC or code == TANH:
        # tanh(x) = 2 logistic(2 x) - 1
        twice = one + one if code == TANH else one
        _powers(scratch, start, active, -twice, peak - peak)
        for o in range(start, start + active):
            scratch[o] = twice / (one + scratch[o]) - (twice - one)
    elif code == RELU:
        for o in range(start, start + active):
            scratch[o] = max(scratch[o], one - one)
    return True


@inlined
def _powers(scratch, start, count, factor, shift):
    """``exp(factor * (x - shift))`` in place."""
    if count <= FEW:
        # A vector could not be loaded before the scores just written have reached the cache.
        for o in range(start, start + count):
            power = simd.exponential(simd.splat(factor * (scratch[o] - shift)))
            scratch[o] = simd.lane(power)
        return
    factors = simd.splat(factor)
    shifts = simd.splat(shift)
    for o in range(start, start + count, LANES):
        x = simd.multiply(factors, simd.subtract(simd.load(scratch, o), shifts))
        simd.store(scratch, o, simd.exponential(x))


@inlined
def answer(plan, scratch, active, known, answers, candidate, sample):
    """Write the outputs; labels get shares of 1 among those that are known."""
    start = plan[PLAN.score]
    code = plan[PLAN.output_activation]
    if answers.shape[2] == 1:
        answers[candidate, sample, 0] = scratch[start]
        return
    total = scratch.dtype.type(0)
    for o in range(known):
        total += max(scratch[start + o], 0)
    for o in range(known):
        share = max(scratch[start + o], 0) / total if total > 1e-30 else 1 / known
        answers[candidate, sample, o] = share
    for o in range(known, answers.shape[2]):
        answers[candidate, sample, o] = 0


@inlined
def gradient(plan, factor, scratch, active, label, goal):
    """Derivative of the loss by each score."""
    start = plan[PLAN.score]
    target = plan[PLAN.gradient]
    loss = plan[PLAN.loss]
    code = plan[PLAN.output_activation]
    delta = factor[FACTORS.huber_delta]
    for o in range(0, plan[PLAN.output_width], LANES):
        simd.store(scratch, target + o, simd.splat(scratch.dtype.type(0)))
    for o in range(active):
        y = scratch[start + o]
        # A number's only output has the goal; a label's outputs have 1 at the label.
        truth = goal
        if not math.isfinite(goal):
            truth = scratch.dtype.type(1 if o == label else 0)
        error = y - truth
        if loss == ABSOLUTE:
            error = scratch.dtype.type((error > 0) - (error < 0))
        elif loss == HUBER:
            error = scratch.dtype.type(max(-delta, min(delta, error)))
        if loss != CROSS_ENTROPY:
            if code == LOGISTIC:
                error *= y * (1 - y)
            elif code == TANH:
                error *= 1 - y * y
            elif code == RELU and not y > 0:
                error = scratch.dtype.type(0)
        scratch[target + o] = error


@inlined
def backward(plan, weights, scratch, active):
    """Deltas of every layer, before any weight moves."""
    depth = plan[PLAN.depth]
    if depth > 0:
        width = _layer(plan, depth - 1, PLAN_LAYER.width)
        delta = _layer(plan, depth - 1, PLAN_LAYER.delta)
        zero = simd.splat(scratch.dtype.type(0))
        for j in range(0, width, LANES):
            parts = zero
            at = plan[PLAN.output] + j
            for o in range(active):
                g = simd.broadcast(scratch, plan[PLAN.gradient] + o)
                parts = simd.multiply_add(g, simd.load(weights, at), parts)
                at += width
            simd.store(scratch, delta + j, parts)
        _slope(plan, depth - 1, scratch)
    for layer in range(depth - 1, 0, -1):
        width = _layer(plan, layer, PLAN_LAYER.width)
        above = _layer(plan, layer, PLAN_LAYER.delta)
        below = _layer(plan, layer - 1, PLAN_LAYER.delta)
        units = _layer(plan, layer - 1, PLAN_LAYER.units)
        for i in range(units):
            at = _layer(plan, layer, PLAN_LAYER.weights) + (i + 1) * width
            parts = simd.multiply(simd.load(weights, at), simd.load(scratch, above))
            for j in range(LANES, width, LANES):
                w = simd.load(weights, at + j)
                parts = simd.multiply_add(w, simd.load(scratch, above + j), parts)
            scratch[below + i] = simd.total(parts)
        for i in range(units, _layer(plan, layer - 1, PLAN_LAYER.width)):
            scratch[below + i] = 0
        _slope(plan, layer - 1, scratch)


@inlined
def _slope(plan, layer, scratch):
    """Multiply a layer's deltas by the slope of its activation."""
    code = _layer(plan, layer, PLAN_LAYER.activation)
    width = _layer(plan, layer, PLAN_LAYER.width)
    values = _layer(plan, layer, PLAN_LAYER.value)
    delta = _layer(plan, layer, PLAN_LAYER.delta)
    one = simd.splat(scratch.dtype.type(1))
    for j in range(0, width, LANES):
        h = simd.load(scratch, values + j)
        d = simd.load(scratch, delta + j)
        if code == LOGISTIC:
            d = simd.multiply(d, simd.multiply(h, simd.subtract(one, h)))
        elif code == TANH:
            d = simd.multiply(d, simd.subtract(one, simd.multiply(h, h)))
        elif code == RELU:
            d = simd.gate(d, h)
        simd.store(scratch, delta + j, d)


@inlined
def _squares(scratch, start, size):
    total = 0.0
    for j in range(start, start + size):
        total += float(scratch[j]) * float(scratch[j])
    return total


@inlined
def clip(plan, factor, scratch, memory, slot, inputs, active):
    """Shrink all deltas together if the whole gradient is longer than the limit.

    A layer's gradient is the outer product of its inputs and deltas, so its squared length is the
    product of theirs: no gradient has to be written down.
    """
    depth = plan[PLAN.depth]
    below = 1.0 + _squares(scratch, LANES, inputs)
    for q in range(memory.count[slot]):
        below += float(memory.value[slot, q]) * float(memory.value[slot, q])
    total = 0.0
    for layer in range(max(depth, 1)):
        width = _layer(plan, layer, PLAN_LAYER.width)
        total += below * _squares(scratch, _layer(plan, layer, PLAN_LAYER.delta), width)
        below = 1.0 + _squares(scratch, _layer(plan, layer, PLAN_LAYER.value), width)
    if depth > 0:
        total += below * _squares(scratch, plan[PLAN.gradient], active)
    limit = factor[FACTORS.clip]
    if total > limit * limit:
        share = scratch.dtype.type(limit / math.sqrt(total))
        for layer in range(depth):
            start = _layer(plan, layer, PLAN_LAYER.delta)
            for j in range(start, start + _layer(plan, layer, PLAN_LAYER.width)):
                scratch[j] *= share
        start = plan[PLAN.gradient]
        for j in range(start, start + active):
            scratch[j] *= share


@inlined
def rate_of(plan, factor, taken):
    """Learning rate of the step after ``taken`` steps."""
    rate = factor[FACTORS.learning_rate]
    schedule = plan[PLAN.schedule]
    if schedule == STEP:
        rate *= factor[FACTORS.decay] ** (taken // int(factor[FACTORS.decay_steps]))
    elif schedule == INVERSE:
        rate /= 1.0 + factor[FACTORS.decay] * taken
    return rate


@inlined
def correction_of(plan, factor, taken):
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
    rate = rate_of(plan, factor, taken)
    pace = rate * correction_of(plan, factor, taken)
    layers = max(depth, 1)
    stages = layers + 3 if depth > 0 else layers + 1
    for stage in range(stages):
        vector = _layer(plan, 0, PLAN_LAYER.delta)
        width = _layer(plan, 0, PLAN_LAYER.width)
        biased = False
        if stage == 0:
            start = plan[PLAN.sparse]
            rows = memory.count[slot]
            source = 0
        elif stage <= layers:
            layer = stage - 1
            vector = _layer(plan, layer, PLAN_LAYER.delta)
            width = _layer(plan, layer, PLAN_LAYER.width)
            start = _layer(plan, layer, PLAN_LAYER.weights)
            biased = True
            if layer == 0:
                rows = inputs + 1
                source = LANES - 1
            else:
                rows = _layer(plan, layer - 1, PLAN_LAYER.units) + 1
                source = _layer(plan, layer - 1, PLAN_LAYER.value) - 1
        elif stage == layers + 1:
            vector = _layer(plan, depth - 1, PLAN_LAYER.value)
            width = _layer(plan, depth - 1, PLAN_LAYER.width)
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
            x = scratch[source + i]
            if stage == 0:
                at = start + memory.row[slot, i] * width
                x = memory.value[slot, i]
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

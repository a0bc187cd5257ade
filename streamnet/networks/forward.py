"""The forward half of a step: a sample's inputs to the outputs of one network.

Working memory (`scratch`) holds the sample's inputs, then each layer's values and deltas, then
scores and their gradient. The number before a layer's inputs is 1, the input of the biases, so
that a bias is the first row of its section and needs no code of its own.
"""

from __future__ import annotations

from streamnet.jit import inlined
from streamnet.networks import simd
from streamnet.networks.plan import IDENTITY
from streamnet.networks.plan import LOGISTIC
from streamnet.networks.plan import RELU
from streamnet.networks.plan import SOFTMAX
from streamnet.networks.plan import TANH
from streamnet.networks.plan import layer_of
from streamnet.networks.simd import LANES
from streamnet.networks.simd_functions import exponential
from streamnet.networks.simd_functions import hyperbolic_tangent
from streamnet.networks.simd_functions import logistic
from streamnet.networks.topology import PLAN
from streamnet.networks.topology import PLAN_LAYER

__all__ = (
    "answer",
    "fetch",
    "finish",
    "forward",
    "prepare",
)

FEW = 4  # outputs up to which each is worked on alone


@inlined
def prepare(memory, slot, inputs):
    """Ask for what `fetch` and others will read of a sample a step later."""
    start = slot * memory.dense.shape[1]
    for j in range(0, inputs, LANES):
        simd.prefetch(memory.dense, start + j)
    simd.prefetch(memory.splined, slot * memory.splined.shape[1])
    simd.prefetch(memory.row, slot * memory.row.shape[1])
    simd.prefetch(memory.value, slot * memory.value.shape[1])
    simd.prefetch(memory.count, slot)
    simd.prefetch(memory.label, slot)
    simd.prefetch(memory.goal, slot * memory.goal.shape[1])


@inlined
def fetch(memory, slot, inputs, scratch):
    """Copy a sample's dense inputs into working memory, after the 1 of the biases."""
    start = slot * memory.dense.shape[1]
    simd.put(scratch, LANES - 1, 1)
    for j in range(0, inputs, LANES):
        simd.store(scratch, LANES + j, simd.load(memory.dense, start + j))


@inlined
def forward(plan, weights, scratch, touched, count, active):
    """Values of each layer, then the scores of the outputs in use."""
    depth = simd.fact(plan, PLAN.depth)
    source = LANES - 1
    rows = simd.fact(plan, PLAN.inputs) + 1
    for layer in range(max(depth, 1)):
        target = layer_of(plan, layer, PLAN_LAYER.value)
        _layer(plan, layer, weights, rows, scratch, source, touched, count)
        simd.put(scratch, target - 1, 1)
        source = target - 1
        rows = layer_of(plan, layer, PLAN_LAYER.units) + 1
        count = 0
    if depth > 0:
        width = layer_of(plan, depth - 1, PLAN_LAYER.width)
        values = layer_of(plan, depth - 1, PLAN_LAYER.value)
        for o in range(active):
            start = simd.fact(plan, PLAN.output) + o * width
            parts = simd.multiply(simd.load(weights, start), simd.load(scratch, values))
            for j in range(LANES, width, LANES):
                w = simd.load(weights, start + j)
                parts = simd.multiply_add(w, simd.load(scratch, values + j), parts)
            score = simd.total(parts) + simd.pick(weights, simd.fact(plan, PLAN.output_bias) + o)
            simd.put(scratch, simd.fact(plan, PLAN.score) + o, score)


@inlined
def _layer(plan, layer, weights, rows, scratch, source, touched, count):
    """Values of a layer, with four vectors or one of it in registers at once."""
    width = layer_of(plan, layer, PLAN_LAYER.width)
    target = layer_of(plan, layer, PLAN_LAYER.value)
    units = layer_of(plan, layer, PLAN_LAYER.units)
    code = layer_of(plan, layer, PLAN_LAYER.activation)
    start = layer_of(plan, layer, PLAN_LAYER.weights)
    j = 0
    while j + 4 * LANES <= width:
        sums = _four_sums(weights, start, width, rows, scratch, source, touched, count, j)
        for n in range(4):
            value = _activated(code, sums[n], units - j - n * LANES)
            simd.store(scratch, target + j + n * LANES, value)
        j += 4 * LANES
    while j < width:
        total = _one_sum(weights, start, width, rows, scratch, source, touched, count, j)
        simd.store(scratch, target + j, _activated(code, total, units - j))
        j += LANES


# Odd and even rows are summed apart, which halves the wait for the last addition. Both of these
# functions add up in the same order, so that a sum does not depend on how wide a layer has grown.
@inlined
def _four_sums(weights, start, width, rows, scratch, source, touched, count, j):
    """Scores of the four vectors of a layer's units from ``j`` on."""
    zero = simd.splat(scratch.dtype.type(0))
    odd = (rows - 1) // 2 * 2 + 1
    pairs = count // 2 * 2
    at = start + j
    evens = odds = (zero, zero, zero, zero)
    evens = _with_row(simd.broadcast(scratch, source), weights, at, evens)
    for i in range(1, odd, 2):
        at += width
        evens = _with_row(simd.broadcast(scratch, source + i), weights, at, evens)
        at += width
        odds = _with_row(simd.broadcast(scratch, source + i + 1), weights, at, odds)
    if odd < rows:
        odds = _with_row(simd.broadcast(scratch, source + odd), weights, at + width, odds)
    for r in range(0, pairs, 2):
        at = simd.pick(touched.place, r) + j
        evens = _with_row(simd.broadcast(touched.share, r), weights, at, evens)
        at = simd.pick(touched.place, r + 1) + j
        odds = _with_row(simd.broadcast(touched.share, r + 1), weights, at, odds)
    if pairs < count:
        at = simd.pick(touched.place, pairs) + j
        evens = _with_row(simd.broadcast(touched.share, pairs), weights, at, evens)
    a, b, c, d = evens
    e, f, g, h = odds
    return simd.add(a, e), simd.add(b, f), simd.add(c, g), simd.add(d, h)


@inlined
def _with_row(x, weights, at, sums):
    """Four sums, each with ``x`` times a vector of weights added."""
    a, b, c, d = sums
    return (
        simd.multiply_add(x, simd.load(weights, at), a),
        simd.multiply_add(x, simd.load(weights, at + LANES), b),
        simd.multiply_add(x, simd.load(weights, at + 2 * LANES), c),
        simd.multiply_add(x, simd.load(weights, at + 3 * LANES), d),
    )


@inlined
def _one_sum(weights, start, width, rows, scratch, source, touched, count, j):
    """Scores of the vector of a layer's units from ``j`` on."""
    odd = (rows - 1) // 2 * 2 + 1
    pairs = count // 2 * 2
    at = start + j
    a = simd.multiply(simd.broadcast(scratch, source), simd.load(weights, at))
    e = simd.splat(scratch.dtype.type(0))
    for i in range(1, odd, 2):
        at += width
        a = simd.multiply_add(simd.broadcast(scratch, source + i), simd.load(weights, at), a)
        at += width
        x = simd.broadcast(scratch, source + i + 1)
        e = simd.multiply_add(x, simd.load(weights, at), e)
    if odd < rows:
        x = simd.broadcast(scratch, source + odd)
        e = simd.multiply_add(x, simd.load(weights, at + width), e)
    for r in range(0, pairs, 2):
        at = simd.pick(touched.place, r) + j
        a = simd.multiply_add(simd.broadcast(touched.share, r), simd.load(weights, at), a)
        at = simd.pick(touched.place, r + 1) + j
        e = simd.multiply_add(simd.broadcast(touched.share, r + 1), simd.load(weights, at), e)
    if pairs < count:
        at = simd.pick(touched.place, pairs) + j
        a = simd.multiply_add(simd.broadcast(touched.share, pairs), simd.load(weights, at), a)
    return simd.add(a, e)


@inlined
def _activated(code, h, units):
    """The activation of ``h``, whose lanes from ``units`` on fill up the layer and stay zero."""
    if code == RELU:
        return simd.positive_part(h)
    if code == IDENTITY:
        return h
    if code == TANH:
        return hyperbolic_tangent(h)
    return simd.keep(logistic(h), units)


@inlined
def finish(plan, scratch, active, limit):
    """Scores to outputs; False if a score is not finite or beyond ``limit``."""
    start = simd.fact(plan, PLAN.score)
    code = simd.fact(plan, PLAN.output_activation)
    peak = scratch.dtype.type(-limit)
    sound = True
    for o in range(start, start + active):
        score = simd.pick(scratch, o)
        if not abs(score) < limit:
            sound = False
        peak = max(peak, score)
    if not sound:
        return False
    one = scratch.dtype.type(1)
    if code == SOFTMAX:
        _powers(scratch, start, active, one, peak)
        total = scratch.dtype.type(0)
        for o in range(start, start + active):
            total += simd.pick(scratch, o)
        for o in range(start, start + active):
            simd.put(scratch, o, simd.pick(scratch, o) / total)
    elif code in (LOGISTIC, TANH):
        for o in range(start, start + active):
            # One by one: a vector could not be loaded before these scores have reached the cache.
            score = simd.splat(simd.pick(scratch, o))
            if code == TANH:
                value = hyperbolic_tangent(score)
            else:
                value = logistic(score)
            simd.put(scratch, o, simd.lane(value))
    elif code == RELU:
        for o in range(start, start + active):
            simd.put(scratch, o, max(simd.pick(scratch, o), one - one))
    return True


@inlined
def _powers(scratch, start, count, factor, shift):
    """``exp(factor * (x - shift))`` in place."""
    if count <= FEW:
        # A vector could not be loaded before the scores just written have reached the cache.
        for o in range(start, start + count):
            power = exponential(simd.splat(factor * (simd.pick(scratch, o) - shift)))
            simd.put(scratch, o, simd.lane(power))
        return
    factors = simd.splat(factor)
    shifts = simd.splat(shift)
    for o in range(start, start + count, LANES):
        x = simd.multiply(factors, simd.subtract(simd.load(scratch, o), shifts))
        simd.store(scratch, o, exponential(x))


@inlined
def answer(plan, scratch, known, goals, answers, candidate, sample):
    """Write the outputs; labels get shares of 1 among those that are known.

    Outputs that have a goal each are numbers, and written as they are.
    """
    start = simd.fact(plan, PLAN.score)
    outputs = answers.shape[2]
    at = (candidate * answers.shape[1] + sample) * outputs
    if outputs == goals:
        for o in range(outputs):
            simd.put(answers, at + o, simd.pick(scratch, start + o))
        return
    nothing = scratch.dtype.type(0)
    total = nothing
    for o in range(known):
        total += max(simd.pick(scratch, start + o), nothing)
    for o in range(known):
        share = max(simd.pick(scratch, start + o), nothing) / total
        simd.put(answers, at + o, share if total > 1e-30 else 1.0 / known)
    for o in range(known, outputs):
        simd.put(answers, at + o, 0)

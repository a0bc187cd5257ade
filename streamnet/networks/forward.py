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
from streamnet.networks.simd.functions import exponential
from streamnet.networks.simd.functions import hyperbolic_tangent
from streamnet.networks.simd.functions import logistic
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
        simd.store_in_parts(scratch, LANES + j, simd.load(memory.dense, start + j))


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
    """Values of a layer, with four vectors, two or one of it in registers at once."""
    width = layer_of(plan, layer, PLAN_LAYER.width)
    target = layer_of(plan, layer, PLAN_LAYER.value)
    zero = scratch.dtype.type(0)
    one, two, four = simd.splat(zero), simd.splat_two_wide(zero), simd.splat_four_wide(zero)
    j = 0
    while j + 4 * LANES <= width:
        value = _strip(four, plan, layer, weights, rows, scratch, source, touched, count, j)
        simd.store(scratch, target + j, value)
        j += 4 * LANES
    if j + 2 * LANES <= width:
        value = _strip(two, plan, layer, weights, rows, scratch, source, touched, count, j)
        simd.store(scratch, target + j, value)
        j += 2 * LANES
    if j < width:
        # These may be scores, of which single ones are needed at once.
        value = _strip(one, plan, layer, weights, rows, scratch, source, touched, count, j)
        simd.store_in_parts(scratch, target + j, value)


@inlined
def _strip(zero, plan, layer, weights, rows, scratch, source, touched, count, j):
    """Values of the units of a layer from ``j`` on, as many as ``zero`` has lanes.

    Odd and even rows are summed apart, which halves the wait for the last addition. A sum does not
    depend on how many there are at once, and so not on how wide a layer has grown.
    """
    width = layer_of(plan, layer, PLAN_LAYER.width)
    odd = (rows - 1) // 2 * 2 + 1
    pairs = count // 2 * 2
    at = layer_of(plan, layer, PLAN_LAYER.weights) + j
    even_sums = _with_row(scratch, source, weights, at, zero)
    odd_sums = zero
    for i in range(1, odd, 2):
        at += width
        even_sums = _with_row(scratch, source + i, weights, at, even_sums)
        at += width
        odd_sums = _with_row(scratch, source + i + 1, weights, at, odd_sums)
    if odd < rows:
        odd_sums = _with_row(scratch, source + odd, weights, at + width, odd_sums)
    for r in range(0, pairs, 2):
        at = simd.pick(touched.place, r) + j
        even_sums = _with_row(touched.share, r, weights, at, even_sums)
        at = simd.pick(touched.place, r + 1) + j
        odd_sums = _with_row(touched.share, r + 1, weights, at, odd_sums)
    if pairs < count:
        at = simd.pick(touched.place, pairs) + j
        even_sums = _with_row(touched.share, pairs, weights, at, even_sums)
    code = layer_of(plan, layer, PLAN_LAYER.activation)
    units = layer_of(plan, layer, PLAN_LAYER.units)
    return _activated(code, simd.add(even_sums, odd_sums), units - j)


@inlined
def _with_row(factors, index, weights, at, sums):
    """Sums with a number times a row of weights added."""
    x = simd.broadcast_like(factors, index, sums)
    return simd.multiply_add(x, simd.load_like(weights, at, sums), sums)


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

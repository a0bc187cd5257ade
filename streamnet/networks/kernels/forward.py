"""Forward pass: from a sample's inputs and active rows to the outputs of one network.

Working memory (`scratch`) holds the inputs, then each layer's values and deltas, then scores and
their gradient. The number before a layer's inputs is 1, the input of the biases, so a bias is the
first row of its section and needs no code of its own.

Throughout the kernels ``active`` is the number of outputs in use, and ``touched`` holds the
sample's active rows, ``count`` of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import inlined
from streamnet.networks.activations import ACTIVATION_CODES, SOFTMAX, activate
from streamnet.networks.activations.softmax import exponentials
from streamnet.networks.plan import PLAN, read_layer
from streamnet.networks.simd import vectors as simd
from streamnet.networks.simd.vectors import LANES

IDENTITY = ACTIVATION_CODES["identity"]


@inlined
def prefetch_sample(memory: Any, slot: Any, inputs: Any) -> None:
    """Prefetch a sample that the next step will read."""
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
def load_sample(memory: Any, slot: Any, inputs: Any, scratch: Any) -> None:
    """Copy a sample's dense inputs into working memory, after the 1 of the biases."""
    start = slot * memory.dense.shape[1]
    simd.store_one(scratch, LANES - 1, 1)
    for j in range(0, inputs, LANES):
        simd.store_split(scratch, LANES + j, simd.load(memory.dense, start + j))


@inlined
def forward(plan: Any, weights: Any, scratch: Any, touched: Any, count: Any, active: Any) -> None:
    """Values of each layer, then the scores of the outputs in use."""
    depth = simd.load_constant(plan, PLAN.depth)
    source = LANES - 1
    rows = simd.load_constant(plan, PLAN.inputs) + 1
    for number in range(max(depth, 1)):
        layer = read_layer(plan, number)
        _layer(layer, weights, rows, scratch, source, touched, count)
        simd.store_one(scratch, layer.value - 1, 1)
        source = layer.value - 1
        rows = layer.units + 1
        count = 0
    if depth > 0:
        last = read_layer(plan, depth - 1)
        for o in range(active):
            start = simd.load_constant(plan, PLAN.output) + o * last.width
            parts = simd.multiply(simd.load(weights, start), simd.load(scratch, last.value))
            for j in range(LANES, last.width, LANES):
                w = simd.load(weights, start + j)
                parts = simd.multiply_add(w, simd.load(scratch, last.value + j), parts)
            bias = simd.load_one(weights, simd.load_constant(plan, PLAN.output_bias) + o)
            score = simd.reduce_add(parts) + bias
            simd.store_one(scratch, simd.load_constant(plan, PLAN.score) + o, score)


@inlined
def _layer(layer, weights, rows, scratch, source, touched, count):
    """Values of a layer, four, two or one vectors in registers at a time."""
    width, target = layer.width, layer.value
    zero = scratch.dtype.type(0)
    one, two, four = simd.splat(zero), simd.splat_two_wide(zero), simd.splat_four_wide(zero)
    j = 0
    while j + 4 * LANES <= width:
        value = _strip(four, layer, weights, rows, scratch, source, touched, count, j)
        simd.store(scratch, target + j, value)
        j += 4 * LANES
    if j + 2 * LANES <= width:
        value = _strip(two, layer, weights, rows, scratch, source, touched, count, j)
        simd.store(scratch, target + j, value)
        j += 2 * LANES
    if j < width:
        # These may be scores, of which single ones are read next.
        value = _strip(one, layer, weights, rows, scratch, source, touched, count, j)
        simd.store_split(scratch, target + j, value)


@inlined
def _strip(zero, layer, weights, rows, scratch, source, touched, count, j):
    """Values of the units of a layer from ``j`` on, as many as ``zero`` has lanes.

    Even and odd rows are summed separately, which halves the latency. A unit's sum does not depend
    on the number of lanes, and so not on how wide a layer has grown.
    """
    odd = (rows - 1) // 2 * 2 + 1
    pairs = count // 2 * 2
    at = layer.weights + j
    even_sums = _add_row(scratch, source, weights, at, zero)
    odd_sums = zero
    for i in range(1, odd, 2):
        at += layer.width
        even_sums = _add_row(scratch, source + i, weights, at, even_sums)
        at += layer.width
        odd_sums = _add_row(scratch, source + i + 1, weights, at, odd_sums)
    if odd < rows:
        odd_sums = _add_row(scratch, source + odd, weights, at + layer.width, odd_sums)
    for r in range(0, pairs, 2):
        at = simd.load_one(touched.place, r) + j
        even_sums = _add_row(touched.share, r, weights, at, even_sums)
        at = simd.load_one(touched.place, r + 1) + j
        odd_sums = _add_row(touched.share, r + 1, weights, at, odd_sums)
    if pairs < count:
        at = simd.load_one(touched.place, pairs) + j
        even_sums = _add_row(touched.share, pairs, weights, at, even_sums)
    return activate(layer.activation, simd.add(even_sums, odd_sums), layer.units - j)


@inlined
def _add_row(factors, index, weights, at, sums):
    """Add a number times a row of weights to the sums."""
    x = simd.broadcast_like(factors, index, sums)
    return simd.multiply_add(x, simd.load_like(weights, at, sums), sums)


@inlined
def activate_outputs(plan: Any, scratch: Any, active: Any, limit: Any) -> Any:
    """Turn scores into outputs; False if a score is not finite or beyond ``limit``."""
    start = simd.load_constant(plan, PLAN.score)
    code = simd.load_constant(plan, PLAN.output_activation)
    peak = scratch.dtype.type(-limit)
    sound = True
    for o in range(start, start + active):
        score = simd.load_one(scratch, o)
        if not abs(score) < limit:
            sound = False
        peak = max(peak, score)
    if not sound:
        return False
    if code == SOFTMAX:
        exponentials(scratch, start, active, peak)
        total = scratch.dtype.type(0)
        for o in range(start, start + active):
            total += simd.load_one(scratch, o)
        for o in range(start, start + active):
            simd.store_one(scratch, o, simd.load_one(scratch, o) / total)
        return True
    if code == IDENTITY:
        return True
    for o in range(start, start + active):
        # One by one: a vector load would wait until these scores have reached the cache.
        score = simd.splat(simd.load_one(scratch, o))
        simd.store_one(scratch, o, simd.first_lane(activate(code, score, LANES)))
    return True


@inlined
def write_outputs(
    plan: Any, scratch: Any, known: Any, goals: Any, predictions: Any, candidate: Any, sample: Any
) -> None:
    """Write the outputs, those of labels as probabilities of the known ones.

    Outputs that have a goal each are numbers, which are written unchanged.
    """
    start = simd.load_constant(plan, PLAN.score)
    outputs = predictions.shape[2]
    at = (candidate * predictions.shape[1] + sample) * outputs
    if outputs == goals:
        for o in range(outputs):
            simd.store_one(predictions, at + o, simd.load_one(scratch, start + o))
        return
    nothing = scratch.dtype.type(0)
    total = nothing
    for o in range(known):
        total += max(simd.load_one(scratch, start + o), nothing)
    for o in range(known):
        share = max(simd.load_one(scratch, start + o), nothing) / total
        simd.store_one(predictions, at + o, share if total > 1e-30 else 1.0 / known)
    for o in range(known, outputs):
        simd.store_one(predictions, at + o, 0)


OUTERMOST_KNOT = 3.0  # standard deviations from the mean to the outermost knots


class ActiveRows(NamedTuple):
    """The rows of weights that a sample activates; working memory of one candidate."""

    place: NDArray[np.int64]  # offset of each row in the weights
    share: NDArray[np.floating]  # input of each row; behind them, working memory of `_find_knots`


@inlined
def find_active_rows(plan: Any, memory: Any, slot: Any, inputs: Any, touched: Any) -> Any:
    """Find the active rows of a sample; return their number."""
    width = read_layer(plan, 0).width
    count = 0
    if simd.load_constant(plan, PLAN.knots) > 0:
        count = _find_knots(plan, memory, slot, inputs, width, touched)
    entry = slot * memory.row.shape[1]
    ignored = simd.load_constant(plan, PLAN.ignored_lags)
    for q in range(entry, entry + simd.load_constant(memory.count, slot) - ignored):
        at = simd.load_constant(plan, PLAN.sparse) + simd.load_constant(memory.row, q) * width
        simd.store_one(touched.place, count, at)
        simd.store_one(touched.share, count, simd.load_constant(memory.value, q))
        count += 1
    return count


@inlined
def _find_knots(plan, memory, slot, inputs, width, touched):
    """The rows of the knots around dense inputs that have a spline; return their number.

    The knot below each input and the distance above it are computed for all inputs at once.
    """
    number = touched.share.dtype.type
    knots, stride = simd.load_constant(plan, PLAN.knots), memory.dense.shape[1]
    aboves = touched.share.size - stride
    belows = aboves - stride
    reach, last = simd.splat(number(OUTERMOST_KNOT)), simd.splat(number(knots - 2))
    scale, middle = simd.splat(number(0.5 / OUTERMOST_KNOT)), simd.splat(number(0.5))
    for j in range(0, inputs, LANES):
        z = simd.load(memory.dense, slot * stride + j)
        clipped = simd.minimum(simd.maximum(z, simd.splat(number(-OUTERMOST_KNOT))), reach)
        share = simd.multiply_add(clipped, scale, middle)
        place = simd.multiply_exact(share, simd.splat(number(knots - 1)))
        below = simd.minimum(simd.truncate(place), last)
        simd.store_split(touched.share, belows + j, below)
        simd.store_split(touched.share, aboves + j, simd.subtract(place, below))
    most, count = memory.splined.shape[1], 0
    while 2 * most > count and simd.load_constant(memory.splined, slot * most + count // 2) >= 0:
        i = np.int64(simd.load_constant(memory.splined, slot * most + count // 2))
        below = np.int64(simd.load_one(touched.share, belows + i))
        above = simd.load_one(touched.share, aboves + i)
        at = simd.load_constant(plan, PLAN.splines) + (i * knots + below) * width
        simd.store_one(touched.place, count, at)
        simd.store_one(touched.share, count, number(1) - above)
        simd.store_one(touched.place, count + 1, at + width)
        simd.store_one(touched.share, count + 1, above)
        count += 2
    return count

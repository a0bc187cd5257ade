"""Steps by the mean gradient of a batch: summed up sample by sample, then moved by at once."""

from __future__ import annotations

from streamnet.jit import inlined
from streamnet.networks import simd
from streamnet.networks.plan import layer_of
from streamnet.networks.simd import LANES
from streamnet.networks.topology import ALL_OUTPUTS
from streamnet.networks.topology import FACTORS
from streamnet.networks.topology import MOVES
from streamnet.networks.topology import PLAN
from streamnet.networks.topology import PLAN_LAYER
from streamnet.networks.topology import PLAN_MOVE
from streamnet.networks.update import correction_of
from streamnet.networks.update import decaying
from streamnet.networks.update import one_row
from streamnet.networks.update import rate_of
from streamnet.networks.update import scale
from streamnet.networks.update import update

__all__ = ("move",)


@inlined
def move(plan, factor, weights, state, scratch, touched, count, active, taken):
    """Learn a sample, of which the deltas are known, after ``taken`` others."""
    batch = simd.fact(plan, PLAN.batch_size)
    if batch == 1:
        update(plan, factor, weights, state, scratch, touched, count, active, taken)
    else:
        _gather(plan, state, scratch, touched, count, active)
        if (taken + 1) % batch == 0:
            _update(plan, factor, weights, state, scratch, active, taken // batch)


@inlined
def _gather(plan, state, scratch, touched, count, active):
    """Add a sample's gradient, which is inputs times deltas, to the batch's."""
    shift = simd.fact(plan, PLAN.sums) - simd.fact(plan, PLAN.start)
    vector = layer_of(plan, 0, PLAN_LAYER.delta)
    width = layer_of(plan, 0, PLAN_LAYER.width)
    for r in range(count):
        at = simd.pick(touched.place, r) + shift
        _add(state, at, scratch, simd.pick(touched.share, r), vector, width)
    for number in range(simd.fact(plan, PLAN.moves)):
        column = MOVES + len(PLAN_MOVE) * number
        at = simd.fact(plan, column + PLAN_MOVE.weights) + shift
        rows = simd.fact(plan, column + PLAN_MOVE.rows)
        width = simd.fact(plan, column + PLAN_MOVE.width)
        source = simd.fact(plan, column + PLAN_MOVE.source)
        vector = simd.fact(plan, column + PLAN_MOVE.vector)
        if rows == ALL_OUTPUTS:
            rows = active
        for i in range(rows):
            _add(state, at, scratch, simd.pick(scratch, source + i), vector, width)
            at += width


@inlined
def _add(state, at, scratch, x, vector, width):
    factor = simd.splat(scratch.dtype.type(x))
    for j in range(0, width, LANES):
        g = simd.load(scratch, vector + j)
        simd.store(state, at + j, simd.multiply_add(factor, g, simd.load(state, at + j)))


@inlined
def _update(plan, factor, weights, state, scratch, active, step):
    """Move every row that had a gradient in the batch by the mean, and begin another batch."""
    rate = rate_of(plan, factor, step)
    pace = rate * correction_of(plan, factor, step)
    decayed = 1.0 - rate * simd.fact(factor, FACTORS.weight_decay)
    share = 1.0 / simd.fact(plan, PLAN.batch_size)
    vector = simd.fact(plan, PLAN.row)
    moves = simd.fact(plan, PLAN.moves)
    end = simd.fact(plan, PLAN.start) + simd.fact(plan, PLAN.size)
    for number in range(moves + 1):
        # The last one stands for the rows of knots and values: most had no part in the batch.
        at = simd.fact(plan, PLAN.splines if simd.fact(plan, PLAN.knots) > 0 else PLAN.sparse)
        width = layer_of(plan, 0, PLAN_LAYER.width)
        rows = (end - at) // width
        biases = 0
        if number < moves:
            column = MOVES + len(PLAN_MOVE) * number
            at = simd.fact(plan, column + PLAN_MOVE.weights)
            rows = simd.fact(plan, column + PLAN_MOVE.rows)
            width = simd.fact(plan, column + PLAN_MOVE.width)
            biases = simd.fact(plan, column + PLAN_MOVE.biases)
            if rows == ALL_OUTPUTS:
                rows = active
        for i in range(rows):
            if _take(plan, state, at, scratch, vector, width) or number < moves:
                if decayed != 1.0 and i >= biases:
                    scale(weights, at, decaying(plan, width, active), decayed)
                one_row(plan, factor, weights, at, state, scratch, share, vector, width, pace)
            at += width


@inlined
def _take(plan, state, at, scratch, vector, width):
    """Move a row of the batch's gradient to working memory; whether there was any."""
    summed = at - simd.fact(plan, PLAN.start) + simd.fact(plan, PLAN.sums)
    found = False
    for j in range(width):
        g = simd.pick(state, summed + j)
        found = found or g != 0
        simd.put(scratch, vector + j, g)
        simd.put(state, summed + j, 0)
    return found

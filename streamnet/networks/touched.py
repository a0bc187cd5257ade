"""The rows of weights that a sample touches besides those of its dense inputs.

They are one for each of its active entries, and for each number of which the first layer learns a
spline two, those of the knots below and above it. Found once a step, they are the same to what
reads and to what moves weights.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import inlined
from streamnet.networks import simd
from streamnet.networks.plan import layer_of
from streamnet.networks.simd import LANES
from streamnet.networks.topology import PLAN
from streamnet.networks.topology import PLAN_LAYER

__all__ = ("Touched", "touch")

REACH = 3.0  # standard deviations from the mean to the outermost knots


class Touched(NamedTuple):
    """Working memory of one thread, for one sample of one candidate."""

    place: NDArray[np.int64]  # where each row starts in the weights
    # What its weights are multiplied with; at the end two numbers for each dense input, see
    # `_touch_knots`.
    share: NDArray[np.floating]


@inlined
def touch(plan, memory, slot, inputs, touched):
    """Find the rows that a sample touches; how many there are."""
    width = layer_of(plan, 0, PLAN_LAYER.width)
    count = 0
    if simd.fact(plan, PLAN.knots) > 0:
        count = _touch_knots(plan, memory, slot, inputs, width, touched)
    entry = slot * memory.row.shape[1]
    for q in range(entry, entry + simd.fact(memory.count, slot) - simd.fact(plan, PLAN.unseen)):
        at = simd.fact(plan, PLAN.sparse) + simd.fact(memory.row, q) * width
        simd.put(touched.place, count, at)
        simd.put(touched.share, count, simd.fact(memory.value, q))
        count += 1
    return count


@inlined
def _touch_knots(plan, memory, slot, inputs, width, touched):
    """The rows of the knots around those dense inputs that have a spline; how many there are.

    All inputs are reckoned at once: the knot below each, and how far above it they lie.
    """
    number = touched.share.dtype.type
    knots, stride = simd.fact(plan, PLAN.knots), memory.dense.shape[1]
    aboves = touched.share.size - stride
    belows = aboves - stride
    reach, last = simd.splat(number(REACH)), simd.splat(number(knots - 2))
    scale, middle = simd.splat(number(0.5 / REACH)), simd.splat(number(0.5))
    for j in range(0, inputs, LANES):
        z = simd.load(memory.dense, slot * stride + j)
        clipped = simd.smaller(simd.larger(z, simd.splat(number(-REACH))), reach)
        share = simd.multiply_add(clipped, scale, middle)
        place = simd.multiply_first(share, simd.splat(number(knots - 1)))
        below = simd.smaller(simd.truncated(place), last)
        simd.store_in_parts(touched.share, belows + j, below)
        simd.store_in_parts(touched.share, aboves + j, simd.subtract(place, below))
    most, count = memory.splined.shape[1], 0
    while 2 * most > count and simd.fact(memory.splined, slot * most + count // 2) >= 0:
        i = np.int64(simd.fact(memory.splined, slot * most + count // 2))
        below = np.int64(simd.pick(touched.share, belows + i))
        above = simd.pick(touched.share, aboves + i)
        at = simd.fact(plan, PLAN.splines) + (i * knots + below) * width
        simd.put(touched.place, count, at)
        simd.put(touched.share, count, number(1) - above)
        simd.put(touched.place, count + 1, at + width)
        simd.put(touched.share, count + 1, above)
        count += 2
    return count

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
    share: NDArray[np.floating]  # what its weights are multiplied with


@inlined
def touch(plan, memory, slot, scratch, touched):
    """Find the rows that a sample touches, whose dense inputs are fetched; how many there are."""
    width = layer_of(plan, 0, PLAN_LAYER.width)
    count = 0
    if simd.fact(plan, PLAN.knots) > 0:
        most = memory.splined.shape[1]
        while 2 * most > count and simd.fact(memory.splined, slot * most + count // 2) >= 0:
            i = simd.fact(memory.splined, slot * most + count // 2)
            _touch_knots(plan, simd.pick(scratch, LANES + i), i, width, touched, count)
            count += 2
    entry = slot * memory.row.shape[1]
    for q in range(entry, entry + simd.fact(memory.count, slot) - simd.fact(plan, PLAN.unseen)):
        at = simd.fact(plan, PLAN.sparse) + simd.fact(memory.row, q) * width
        simd.put(touched.place, count, at)
        simd.put(touched.share, count, simd.fact(memory.value, q))
        count += 1
    return count


@inlined
def _touch_knots(plan, z, i, width, touched, count):
    """The rows of the knots around ``z``, the value of dense input ``i``."""
    number = touched.share.dtype.type
    knots = simd.fact(plan, PLAN.knots)
    reach = number(REACH)
    clipped = max(-reach, min(z, reach))
    place = (clipped + reach) * (number(knots - 1) / (reach + reach))
    below = min(np.int64(place), knots - 2)
    above = place - number(below)
    at = simd.fact(plan, PLAN.splines) + (i * knots + below) * width
    simd.put(touched.place, count, at)
    simd.put(touched.share, count, number(1) - above)
    simd.put(touched.place, count + 1, at + width)
    simd.put(touched.share, count + 1, above)

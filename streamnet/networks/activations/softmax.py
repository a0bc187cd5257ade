"""Softmax over the outputs in use: exponentials, which `kernels.forward` divides by their sum."""

from __future__ import annotations

from typing import Any

from streamnet.jit import inlined
from streamnet.networks.simd import vectors as simd
from streamnet.networks.simd.functions import exponential
from streamnet.networks.simd.vectors import LANES

RANGE = (0.0, 1.0)
_FEW = 4  # outputs up to which each is computed alone


@inlined
def exponentials(scratch: Any, start: Any, count: Any, shift: Any) -> None:
    """``exp(x - shift)`` of scores, in place; ``shift`` is the largest, so that none overflows."""
    if count <= _FEW:
        # A vector load would wait until the scores just written have reached the cache.
        for o in range(start, start + count):
            power = exponential(simd.splat(simd.load_one(scratch, o) - shift))
            simd.store_one(scratch, o, simd.first_lane(power))
        return
    shifts = simd.splat(shift)
    for o in range(start, start + count, LANES):
        simd.store(scratch, o, exponential(simd.subtract(simd.load(scratch, o), shifts)))

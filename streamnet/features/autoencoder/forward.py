"""The way ahead: inputs to codes and on to what is restored of them, and how far off that is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from streamnet.features.autoencoder.plan import MATRIX
from streamnet.features.autoencoder.plan import RELU
from streamnet.features.autoencoder.plan import TANH
from streamnet.features.autoencoder.plan import UNITS
from streamnet.features.autoencoder.plan import VALUES
from streamnet.features.autoencoder.plan import WIDTH
from streamnet.jit import inlined
from streamnet.networks import simd
from streamnet.networks.simd import LANES
from streamnet.networks.simd.functions import hyperbolic_tangent
from streamnet.randomness import mix

__all__ = ("forward", "loss_of", "output", "see")


@inlined
def see(
    scratch: Any, to: int, values: Any, i: int, n: int, key: Any, draw: int, noise: float
) -> None:
    """Copy a sample's inputs, each of them left out with probability ``noise``."""
    for j in range(n):
        x = scratch.dtype.type(values[i, j])
        if noise > 0.0:
            bits = mix(key, np.uint64(draw + j)) >> np.uint64(11)
            if np.float64(bits) < noise * 9007199254740992.0:
                x = scratch.dtype.type(0)
        simd.put(scratch, to + j, x)


@inlined
def forward(
    plan: Any, weights: Any, scratch: Any, seen: int, inputs: int, row: Any, i: int, entries: int
) -> None:
    """Values of all layers."""
    width = plan.layers[0, WIDTH]
    for j in range(0, width, LANES):
        h = simd.load(weights.first, j)
        for k in range(inputs):
            w = simd.load(weights.first, (1 + k) * width + j)
            h = simd.multiply_add(simd.broadcast(scratch, seen + k), w, h)
        for q in range(entries):
            w = simd.load(weights.sparse, row[i, q] * width + j)
            h = simd.multiply_add(simd.broadcast(scratch, seen + inputs + q), w, h)
        simd.store(scratch, j, _activated(plan.activation, h))
    for layer in range(1, plan.layers.shape[0]):
        width = plan.layers[layer, WIDTH]
        at = plan.layers[layer, MATRIX]
        below = plan.layers[layer - 1, VALUES]
        for j in range(0, width, LANES):
            h = simd.load(weights.inner, at + j)
            for k in range(plan.layers[layer - 1, UNITS]):
                w = simd.load(weights.inner, at + (1 + k) * width + j)
                h = simd.multiply_add(simd.broadcast(scratch, below + k), w, h)
            to = plan.layers[layer, VALUES] + j
            simd.store(scratch, to, _activated(plan.activation, h))


@inlined
def _activated(code: int, h: Any) -> Any:
    """The activation of ``h``; each keeps the zeros that fill up a layer."""
    if code == TANH:
        return hyperbolic_tangent(h)
    if code == RELU:
        return simd.positive_part(h)
    return h


@inlined
def output(matrix: Any, bias: Any, o: Any, scratch: Any, values: int, width: int) -> Any:
    """Score of an output: a number in standard units, or the logit of a row's being active."""
    parts = simd.multiply(simd.load(matrix, o * width), simd.load(scratch, values))
    for j in range(LANES, width, LANES):
        w = simd.load(matrix, o * width + j)
        parts = simd.multiply_add(w, simd.load(scratch, values + j), parts)
    return simd.total(parts) + simd.pick(bias, o)


@inlined
def loss_of(
    plan: Any, weights: Any, scratch: Any, seen: int, inputs: int, row: Any, i: int, entries: int
) -> float:
    """Mean over inputs of half the squared error, and of the surprise of each active row."""
    last = plan.layers.shape[0] - 1
    values, width = plan.layers[last, VALUES], plan.layers[last, WIDTH]
    total = 0.0
    for o in range(inputs):
        y = output(weights.output, weights.output_bias, o, scratch, values, width)
        wrong = float(y) - float(simd.pick(scratch, seen + o))
        total += 0.5 * wrong * wrong
    for q in range(entries):
        r = row[i, q]
        z = float(output(weights.presence, weights.presence_bias, r, scratch, values, width))
        total += max(-z, 0.0) + math.log1p(math.exp(-abs(z)))
    return total / max(inputs + entries, 1)

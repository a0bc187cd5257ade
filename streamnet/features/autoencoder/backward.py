"""The way back: what a sample teaches, from the outputs down to the inputs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from streamnet.features.autoencoder.forward import output
from streamnet.features.autoencoder.plan import MATRIX
from streamnet.features.autoencoder.plan import NEGATIVES
from streamnet.features.autoencoder.plan import RELU
from streamnet.features.autoencoder.plan import TANH
from streamnet.features.autoencoder.plan import UNITS
from streamnet.features.autoencoder.plan import VALUES
from streamnet.features.autoencoder.plan import WIDTH
from streamnet.jit import inlined
from streamnet.networks import simd
from streamnet.networks.simd import LANES
from streamnet.randomness import mix

__all__ = ("backward", "restore")

STEEPEST = 10.0  # bound of every derivative by a unit, so that no weight can run away
EPSILON = 1e-8


@inlined
def restore(
    plan: Any,
    weights: Any,
    squares: Any,
    scratch: Any,
    dense: Any,
    row: Any,
    i: int,
    entries: int,
    key: Any,
    known: int,
) -> None:
    """Learn the outputs: all dense inputs, the active rows, and some that are not active."""
    last = plan.layers.shape[0] - 1
    values, width = plan.layers[last, VALUES], plan.layers[last, WIDTH]
    deltas = _deltas(plan, last)
    zero = simd.splat(scratch.dtype.type(0))
    for j in range(0, width, LANES):
        simd.store(scratch, deltas + j, zero)
    for o in range(dense.shape[1]):
        y = output(weights.output, weights.output_bias, o, scratch, values, width)
        wrong = float(y) - float(dense[i, o])
        _teach(plan, weights.output, squares.output, o, scratch, values, deltas, width, wrong)
        _teach_bias(plan, weights.output_bias, squares.output_bias, o, wrong)
    for q in range(entries):
        for n in range(plan.negatives + 1):
            r = np.int64(row[i, q])
            truth = 1.0
            if n > 0:
                draw = mix(key, np.uint64(NEGATIVES + q * plan.negatives + n))
                r = np.int64(draw % np.uint64(known))
                truth = 0.0
                if _active(row, i, entries, r):
                    continue
            z = float(output(weights.presence, weights.presence_bias, r, scratch, values, width))
            g = 1.0 / (1.0 + math.exp(-z)) - truth
            _teach(plan, weights.presence, squares.presence, r, scratch, values, deltas, width, g)
            _teach_bias(plan, weights.presence_bias, squares.presence_bias, r, g)


@inlined
def _active(row: Any, i: int, entries: int, r: Any) -> bool:
    found = False
    for q in range(entries):
        found |= row[i, q] == r
    return found


@inlined
def _teach(
    plan: Any,
    matrix: Any,
    squares: Any,
    o: Any,
    scratch: Any,
    values: int,
    deltas: int,
    width: int,
    g: float,
) -> None:
    """Add an output's share to the deltas below it, then move its weights."""
    slope = simd.splat(scratch.dtype.type(_bounded(g)))
    for j in range(0, width, LANES):
        w = simd.load(matrix, o * width + j)
        d = simd.multiply_add(slope, w, simd.load(scratch, deltas + j))
        simd.store(scratch, deltas + j, d)
        h = simd.load(scratch, values + j)
        _move(plan, matrix, squares, o * width + j, w, simd.multiply(slope, h), scratch)


@inlined
def _teach_bias(plan: Any, bias: Any, squares: Any, o: Any, g: float) -> None:
    g = _bounded(g)
    square = plan.kept * float(squares[o]) + plan.gained * g * g
    squares[o] = square
    bias[o] -= plan.rate * g / (math.sqrt(square) + EPSILON)


@inlined
def backward(
    plan: Any,
    weights: Any,
    squares: Any,
    scratch: Any,
    seen: int,
    inputs: int,
    row: Any,
    i: int,
    entries: int,
) -> None:
    """Deltas of each layer from the last one down, and the weights below it moved."""
    one = scratch.dtype.type(1)
    for layer in range(plan.layers.shape[0] - 1, -1, -1):
        width = plan.layers[layer, WIDTH]
        deltas = _deltas(plan, layer)
        _slope(plan, scratch, plan.layers[layer, VALUES], deltas, width)
        if layer == 0:
            _descend(plan, weights.first, squares.first, 0, scratch, one, deltas, width)
            for k in range(inputs):
                x = simd.pick(scratch, seen + k)
                at = (1 + k) * width
                _descend(plan, weights.first, squares.first, at, scratch, x, deltas, width)
            for q in range(entries):
                x = simd.pick(scratch, seen + inputs + q)
                at = row[i, q] * width
                _descend(plan, weights.sparse, squares.sparse, at, scratch, x, deltas, width)
        else:
            at = plan.layers[layer, MATRIX]
            below = _deltas(plan, layer - 1)
            values = plan.layers[layer - 1, VALUES]
            _descend(plan, weights.inner, squares.inner, at, scratch, one, deltas, width)
            for k in range(plan.layers[layer - 1, UNITS]):
                at += width
                parts = simd.multiply(simd.load(weights.inner, at), simd.load(scratch, deltas))
                for j in range(LANES, width, LANES):
                    w = simd.load(weights.inner, at + j)
                    parts = simd.multiply_add(w, simd.load(scratch, deltas + j), parts)
                simd.put(scratch, below + k, simd.total(parts))
                x = simd.pick(scratch, values + k)
                _descend(plan, weights.inner, squares.inner, at, scratch, x, deltas, width)


@inlined
def _slope(plan: Any, scratch: Any, values: int, deltas: int, width: int) -> None:
    """Bound a layer's deltas and take them through its activation."""
    for j in range(deltas, deltas + width):
        d = simd.pick(scratch, j)
        simd.put(scratch, j, scratch.dtype.type(_bounded(float(d))))
    for j in range(0, width, LANES):
        d = simd.load(scratch, deltas + j)
        d = _sloped(plan.activation, simd.load(scratch, values + j), d)
        simd.store(scratch, deltas + j, d)


@inlined
def _sloped(code: int, h: Any, d: Any) -> Any:
    """Deltas times the slope of their activation, whose values are ``h``."""
    if code == TANH:
        return simd.subtract(d, simd.multiply(d, simd.multiply(h, h)))
    if code == RELU:
        return simd.gate(d, h)
    return d


@inlined
def _descend(
    plan: Any, matrix: Any, squares: Any, at: int, scratch: Any, x: Any, deltas: int, width: int
) -> None:
    """Move the weights of an input of value ``x``."""
    factor = simd.splat(x)
    for j in range(0, width, LANES):
        g = simd.multiply(factor, simd.load(scratch, deltas + j))
        _move(plan, matrix, squares, at + j, simd.load(matrix, at + j), g, scratch)


@inlined
def _move(plan: Any, matrix: Any, squares: Any, at: int, w: Any, g: Any, scratch: Any) -> None:
    """One step of AdaGrad (Duchi et al. 2011), or of RMSprop, for sixteen weights ``w``."""
    number = scratch.dtype.type
    kept = simd.multiply(simd.splat(number(plan.kept)), simd.load(squares, at))
    gained = simd.multiply(simd.splat(number(plan.gained)), g)
    square = simd.multiply_add(gained, g, kept)
    simd.store(squares, at, square)
    step = simd.divide(g, simd.add(simd.square_root(square), simd.splat(number(EPSILON))))
    simd.store(matrix, at, simd.multiply_add(simd.splat(number(-plan.rate)), step, w))


@inlined
def _bounded(g: float) -> float:
    return min(max(g, -STEEPEST), STEEPEST)


@inlined
def _deltas(plan: Any, layer: int) -> Any:
    """Where a layer's deltas are in the scratch: behind the values of all layers."""
    last = plan.layers.shape[0] - 1
    return plan.layers[last, VALUES] + plan.layers[last, WIDTH] + plan.layers[layer, VALUES]

"""Compiled kernels of the auto-encoder: encode, score the reconstruction, then learn each sample.

Samples are strictly sequential. Code and error are computed from the full inputs first; then some
inputs are masked and the network learns to restore them (Vincent et al. 2010). Of the inactive
rows only a few sampled ones are learned, so cost does not depend on the number of rows (Dauphin,
Glorot and Bengio 2011; unweighted negative sampling as in Mikolov et al. 2013).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import inlined, kernel
from streamnet.networks.activations import activate, times_slope
from streamnet.networks.simd import vectors as simd
from streamnet.networks.simd.functions import flush_subnormals, restore_subnormals
from streamnet.networks.simd.vectors import LANES
from streamnet.randomness import mix_key

KNOWN = 0  # index in the counters: rows up to the last one that was ever active

# Draws of a sample: below these to mask inputs, from these on to mask entries and pick negatives.
ENTRIES, NEGATIVES = 1 << 32, 2 << 32

# Columns of a plan's layers: units, padded width, offset of the values in working memory, and
# offset of the matrix from the layer below, biases first.
UNITS, WIDTH, VALUES, MATRIX = range(4)


class Plan(NamedTuple):
    """Layers and learning settings of a network."""

    layers: NDArray[np.int64]  # shape=(layers, 4)
    middle: int  # the layer that is the code
    activation: int  # its code
    noise: float
    rate: float
    kept: float  # factor of the running squared gradient at each step
    gained: float  # factor of the new squared gradient
    negatives: int
    fading: float
    key: np.uint64


class Weights(NamedTuple):
    """Weights, or running squares of their gradients."""

    first: NDArray[np.floating]  # shape=(1 + dense, width): biases, a row for each dense input
    sparse: NDArray[np.floating]  # shape=(rows, width)
    inner: NDArray[np.floating]  # flat: between layers, each as (1 + units below, width)
    output: NDArray[np.floating]  # shape=(dense, last width)
    output_bias: NDArray[np.floating]  # shape=(dense,)
    presence: NDArray[np.floating]  # shape=(rows, last width)
    presence_bias: NDArray[np.floating]  # shape=(rows,)


class Network(NamedTuple):
    """A network as kernels read it."""

    plan: Plan
    weights: Weights
    squares: Weights
    counters: NDArray[np.int64]
    moments: NDArray[np.float64]  # of the logarithms of errors: total weight, mean, variance
    scratch: NDArray[np.floating]  # values and deltas of all layers, then a sample's masked inputs


@inlined
def mask_inputs(
    scratch: Any, to: int, values: Any, i: int, n: int, key: Any, draw: int, noise: float
) -> None:
    """Copy a sample's inputs, each masked with probability ``noise``."""
    for j in range(n):
        x = scratch.dtype.type(values[i, j])
        if noise > 0.0:
            bits = mix_key(key, np.uint64(draw + j)) >> np.uint64(11)
            if np.float64(bits) < noise * 9007199254740992.0:
                x = scratch.dtype.type(0)
        simd.store_one(scratch, to + j, x)


@inlined
def forward(net: Any, seen: int, inputs: int, row: Any, i: int, entries: int) -> None:
    """Values of all layers."""
    plan, weights, scratch = net.plan, net.weights, net.scratch
    width = plan.layers[0, WIDTH]
    for j in range(0, width, LANES):
        h = simd.load(weights.first, j)
        for k in range(inputs):
            w = simd.load(weights.first, (1 + k) * width + j)
            h = simd.multiply_add(simd.broadcast(scratch, seen + k), w, h)
        for q in range(entries):
            w = simd.load(weights.sparse, row[i, q] * width + j)
            h = simd.multiply_add(simd.broadcast(scratch, seen + inputs + q), w, h)
        simd.store(scratch, j, activate(plan.activation, h, LANES))
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
            simd.store(scratch, to, activate(plan.activation, h, LANES))


@inlined
def output_score(matrix: Any, bias: Any, o: Any, scratch: Any, values: int, width: int) -> Any:
    """Score of an output: a standardized number, or the logit of a row."""
    parts = simd.multiply(simd.load(matrix, o * width), simd.load(scratch, values))
    for j in range(LANES, width, LANES):
        w = simd.load(matrix, o * width + j)
        parts = simd.multiply_add(w, simd.load(scratch, values + j), parts)
    return simd.reduce_add(parts) + simd.load_one(bias, o)


@inlined
def reconstruction_loss(net: Any, seen: int, inputs: int, row: Any, i: int, entries: int) -> float:
    """Mean loss over inputs and active rows: half the squared error, and the logistic loss."""
    plan, weights, scratch = net.plan, net.weights, net.scratch
    last = plan.layers.shape[0] - 1
    values, width = plan.layers[last, VALUES], plan.layers[last, WIDTH]
    total = 0.0
    for o in range(inputs):
        y = output_score(weights.output, weights.output_bias, o, scratch, values, width)
        wrong = float(y) - float(simd.load_one(scratch, seen + o))
        total += 0.5 * wrong * wrong
    for q in range(entries):
        r = row[i, q]
        z = float(output_score(weights.presence, weights.presence_bias, r, scratch, values, width))
        total += max(-z, 0.0) + math.log1p(math.exp(-abs(z)))
    return total / max(inputs + entries, 1)


MAX_DERIVATIVE = 10.0  # bound of every delta, so that no weight can diverge
EPSILON = 1e-8


@inlined
def update_decoder(net: Any, dense: Any, row: Any, i: int, entries: int, key: Any) -> None:
    """Learn the outputs: all dense inputs, the active rows, and some sampled inactive ones."""
    plan, weights, squares, scratch = net.plan, net.weights, net.squares, net.scratch
    known = net.counters[KNOWN]
    last = plan.layers.shape[0] - 1
    values, width = plan.layers[last, VALUES], plan.layers[last, WIDTH]
    deltas = _delta_offset(plan, last)
    zero = simd.splat(scratch.dtype.type(0))
    for j in range(0, width, LANES):
        simd.store(scratch, deltas + j, zero)
    for o in range(dense.shape[1]):
        y = output_score(weights.output, weights.output_bias, o, scratch, values, width)
        wrong = float(y) - float(dense[i, o])
        _update_output(net, weights.output, squares.output, o, values, deltas, width, wrong)
        _update_output_bias(plan, weights.output_bias, squares.output_bias, o, wrong)
    for q in range(entries):
        for n in range(plan.negatives + 1):
            r = np.int64(row[i, q])
            truth = 1.0
            if n > 0:
                draw = mix_key(key, np.uint64(NEGATIVES + q * plan.negatives + n))
                r = np.int64(draw % np.uint64(known))
                truth = 0.0
                if _active(row, i, entries, r):
                    continue
            z = float(
                output_score(weights.presence, weights.presence_bias, r, scratch, values, width)
            )
            g = 1.0 / (1.0 + math.exp(-z)) - truth
            _update_output(net, weights.presence, squares.presence, r, values, deltas, width, g)
            _update_output_bias(plan, weights.presence_bias, squares.presence_bias, r, g)


@inlined
def _active(row: Any, i: int, entries: int, r: Any) -> bool:
    found = False
    for q in range(entries):
        found |= row[i, q] == r
    return found


@inlined
def _update_output(
    net: Any, matrix: Any, squares: Any, o: Any, values: int, deltas: int, width: int, g: float
) -> None:
    """Add an output's contribution to the deltas below it, then update its weights."""
    scratch = net.scratch
    slope = simd.splat(scratch.dtype.type(_clip_slope(g)))
    for j in range(0, width, LANES):
        w = simd.load(matrix, o * width + j)
        d = simd.multiply_add(slope, w, simd.load(scratch, deltas + j))
        simd.store(scratch, deltas + j, d)
        h = simd.load(scratch, values + j)
        _update_vector(net, matrix, squares, o * width + j, w, simd.multiply(slope, h))


@inlined
def _update_output_bias(plan: Any, bias: Any, squares: Any, o: Any, g: float) -> None:
    g = _clip_slope(g)
    square = plan.kept * float(squares[o]) + plan.gained * g * g
    squares[o] = square
    bias[o] -= plan.rate * g / (math.sqrt(square) + EPSILON)


@inlined
def backward(net: Any, seen: int, inputs: int, row: Any, i: int, entries: int) -> None:
    """Compute the deltas of each layer from the last one down, and update the weights below it."""
    plan, weights, squares, scratch = net.plan, net.weights, net.squares, net.scratch
    one = scratch.dtype.type(1)
    for layer in range(plan.layers.shape[0] - 1, -1, -1):
        width = plan.layers[layer, WIDTH]
        deltas = _delta_offset(plan, layer)
        _clip_and_slope(plan, scratch, plan.layers[layer, VALUES], deltas, width)
        if layer == 0:
            _update_row(net, weights.first, squares.first, 0, one, deltas, width)
            for k in range(inputs):
                x = simd.load_one(scratch, seen + k)
                at = (1 + k) * width
                _update_row(net, weights.first, squares.first, at, x, deltas, width)
            for q in range(entries):
                x = simd.load_one(scratch, seen + inputs + q)
                at = row[i, q] * width
                _update_row(net, weights.sparse, squares.sparse, at, x, deltas, width)
        else:
            at = plan.layers[layer, MATRIX]
            below = _delta_offset(plan, layer - 1)
            values = plan.layers[layer - 1, VALUES]
            _update_row(net, weights.inner, squares.inner, at, one, deltas, width)
            for k in range(plan.layers[layer - 1, UNITS]):
                at += width
                parts = simd.multiply(simd.load(weights.inner, at), simd.load(scratch, deltas))
                for j in range(LANES, width, LANES):
                    w = simd.load(weights.inner, at + j)
                    parts = simd.multiply_add(w, simd.load(scratch, deltas + j), parts)
                simd.store_one(scratch, below + k, simd.reduce_add(parts))
                x = simd.load_one(scratch, values + k)
                _update_row(net, weights.inner, squares.inner, at, x, deltas, width)


@inlined
def _clip_and_slope(plan: Any, scratch: Any, values: int, deltas: int, width: int) -> None:
    """Clip a layer's deltas and multiply them by the slopes of its activation."""
    for j in range(deltas, deltas + width):
        d = simd.load_one(scratch, j)
        simd.store_one(scratch, j, scratch.dtype.type(_clip_slope(float(d))))
    for j in range(0, width, LANES):
        d = simd.load(scratch, deltas + j)
        d = times_slope(plan.activation, simd.load(scratch, values + j), d)
        simd.store(scratch, deltas + j, d)


@inlined
def _update_row(
    net: Any, matrix: Any, squares: Any, at: int, x: Any, deltas: int, width: int
) -> None:
    """Update the weights of an input with value ``x``."""
    factor = simd.splat(x)
    for j in range(0, width, LANES):
        g = simd.multiply(factor, simd.load(net.scratch, deltas + j))
        _update_vector(net, matrix, squares, at + j, simd.load(matrix, at + j), g)


@inlined
def _update_vector(net: Any, matrix: Any, squares: Any, at: int, w: Any, g: Any) -> None:
    """One step of AdaGrad or RMSprop for a vector of weights ``w``."""
    plan, number = net.plan, net.scratch.dtype.type
    kept = simd.multiply(simd.splat(number(plan.kept)), simd.load(squares, at))
    gained = simd.multiply(simd.splat(number(plan.gained)), g)
    square = simd.multiply_add(gained, g, kept)
    simd.store(squares, at, square)
    step = simd.divide(g, simd.add(simd.sqrt(square), simd.splat(number(EPSILON))))
    simd.store(matrix, at, simd.multiply_add(simd.splat(number(-plan.rate)), step, w))


@inlined
def _clip_slope(g: float) -> float:
    return min(max(g, -MAX_DERIVATIVE), MAX_DERIVATIVE)


@inlined
def _delta_offset(plan: Any, layer: int) -> Any:
    """Offset of a layer's deltas in working memory, behind the values of all layers."""
    last = plan.layers.shape[0] - 1
    return plan.layers[last, VALUES] + plan.layers[last, WIDTH] + plan.layers[layer, VALUES]


MIN_ERROR = 1e-6  # smaller errors count as this: float32 cannot tell them from 0


@kernel
def run(
    net: Network,
    dense: NDArray[np.float32],
    row: NDArray[np.int32],
    value: NDArray[np.float32],
    count: NDArray[np.int32],
    start: int,  # first sample of the block to run
    lags: int,  # last entries of a sample, which are left out
    first: int,  # number of the block's first sample
    learn: bool,
    code: NDArray[np.floating],  # shape=(n, units), written
    error: NDArray[np.float64],  # shape=(n,), written
    score: NDArray[np.float64],  # shape=(n,), written
) -> int:
    """Encode and score samples and, with ``learn``, learn each of them afterwards.

    Returns the index of the first sample whose error is not finite, which is not learned, or n.
    """
    plan, scratch, counters = net.plan, net.scratch, net.counters
    depth = plan.layers.shape[0]
    inputs = dense.shape[1]
    seen = 2 * (plan.layers[depth - 1, VALUES] + plan.layers[depth - 1, WIDTH])
    middle = plan.layers[plan.middle, VALUES]
    control = flush_subnormals()  # what RMSprop averages fades where no gradient comes any more
    for i in range(start, count.size):
        key = mix_key(np.uint64(plan.key), np.uint64(first + i))
        entries = count[i] - lags
        turns = 2 if learn and plan.noise > 0.0 else 1
        for turn in range(turns):
            noise = plan.noise if turn == 1 else 0.0
            mask_inputs(scratch, seen, dense, i, inputs, key, 0, noise)
            mask_inputs(scratch, seen + inputs, value, i, entries, key, ENTRIES, noise)
            forward(net, seen, inputs, row, i, entries)
            if turn == 0:
                loss = reconstruction_loss(net, seen, inputs, row, i, entries)
                if not loss < np.inf:
                    restore_subnormals(control)
                    return i
                for j in range(code.shape[1]):
                    code[i, j] = scratch[middle + j]
                error[i] = loss
                score[i] = _outlier_score(net.moments, loss, plan.fading, learn)
        if learn:
            for q in range(entries):
                counters[KNOWN] = max(counters[KNOWN], row[i, q] + 1)
            update_decoder(net, dense, row, i, entries, key)
            backward(net, seen, inputs, row, i, entries)
    restore_subnormals(control)
    return count.size


@inlined
def _outlier_score(moments: Any, loss: float, fading: float, learn: bool) -> float:
    """Standard deviations of an error's logarithm above the exponentially faded mean before it.

    The moments are West's (1979) with weights that fade.
    """
    x = math.log(max(loss, MIN_ERROR))
    deviation = math.sqrt(moments[2])
    away = x - moments[1]
    score = 0.0
    if moments[0] >= 1.0 and deviation > 1e-9:
        score = away / deviation
    if learn:
        moments[0] = fading * moments[0] + 1.0
        moments[1] += away / moments[0]
        moments[2] = (1.0 - 1.0 / moments[0]) * (moments[2] + away * away / moments[0])
    return score

"""Backward pass: gradient of the loss and the deltas of every layer, before any weight changes."""

from __future__ import annotations

import math
from typing import Any

from streamnet.jit import inlined
from streamnet.networks.activations import ACTIVATION_CODES, slope, times_slope
from streamnet.networks.kernels.update import Learned
from streamnet.networks.losses import loss_derivative
from streamnet.networks.plan import FACTORS, PLAN, read_layer, read_update
from streamnet.networks.replay_buffer import IMPORTANCE_COLUMNS, RARITY, WEIGHT
from streamnet.networks.simd import vectors as simd
from streamnet.networks.simd.vectors import LANES

IDENTITY = ACTIVATION_CODES["identity"]
MAX_CLASS_WEIGHT = 16.0  # so that no step on a rare class explodes


@inlined
def output_gradient(
    plan: Any, factor: Any, scratch: Any, memory: Any, slot: Any, active: Any
) -> Any:
    """Derivative of the loss with respect to each score; returns the largest error of an output."""
    label = simd.load_constant(memory.label, slot)
    goals = memory.goal.shape[1]
    start = simd.load_constant(plan, PLAN.score)
    target = simd.load_constant(plan, PLAN.gradient)
    loss = simd.load_constant(plan, PLAN.loss)
    logarithmic = simd.load_constant(plan, PLAN.logarithmic)
    code = simd.load_constant(plan, PLAN.output_slope)
    # An untyped 1 would make all of it float64.
    one = scratch.dtype.type(1)
    delta = scratch.dtype.type(simd.load_constant(factor, FACTORS.huber_delta))
    largest = scratch.dtype.type(0)
    for o in range(active):
        y = simd.load_one(scratch, start + o)
        # Outputs of numbers have a goal each; the target of a label's output is 1, of others 0.
        truth = simd.load_constant(memory.goal, slot * goals + min(o, goals - 1))
        if logarithmic == 1:
            truth = simd.load_constant(memory.log_goal, slot)
        if not math.isfinite(truth):
            truth = scratch.dtype.type(1 if o == label else 0)
        error = y - truth
        largest = max(largest, abs(error))
        simd.store_one(scratch, target + o, loss_derivative(loss, error, delta))
    if code != IDENTITY:
        # Not in the loop above, of which LLVM would make a copy for each loss and slope.
        for o in range(active):
            derivative = simd.load_one(scratch, target + o)
            y = simd.load_one(scratch, start + o)
            simd.store_one(scratch, target + o, derivative * slope(code, y, one))
    return largest


@inlined
def weight_gradient(
    plan: Any, factor: Any, scratch: Any, memory: Any, slot: Any, active: Any
) -> None:
    """Multiply the gradient by the sample's weight and a power of the rarity of its class."""
    rarity = float(simd.load_constant(memory.importance, slot * IMPORTANCE_COLUMNS + RARITY))
    weight = min(rarity ** simd.load_constant(factor, FACTORS.class_weight), MAX_CLASS_WEIGHT)
    weight *= simd.load_constant(memory.importance, slot * IMPORTANCE_COLUMNS + WEIGHT)
    share = scratch.dtype.type(weight)
    _scale(scratch, simd.load_constant(plan, PLAN.gradient), active, share)


@inlined
def backward(plan: Any, weights: Any, scratch: Any, active: Any) -> None:
    """Deltas of every layer, before any weight moves."""
    depth = simd.load_constant(plan, PLAN.depth)
    if depth > 0:
        last = read_layer(plan, depth - 1)
        for j in range(0, last.width, LANES):
            at = simd.load_constant(plan, PLAN.output) + j
            g = simd.broadcast(scratch, simd.load_constant(plan, PLAN.gradient))
            parts = simd.multiply(g, simd.load(weights, at))
            for o in range(1, active):
                at += last.width
                g = simd.broadcast(scratch, simd.load_constant(plan, PLAN.gradient) + o)
                parts = simd.multiply_add(g, simd.load(weights, at), parts)
            h = simd.load(scratch, last.value + j)
            simd.store(scratch, last.delta + j, times_slope(last.activation, h, parts))
    for layer in range(depth - 1, 0, -1):
        _propagate(read_layer(plan, layer), read_layer(plan, layer - 1), weights, scratch)


@inlined
def _propagate(above, below, weights, scratch):
    """Deltas of the layer ``below``."""
    for i in range(below.units):
        at = above.weights + (i + 1) * above.width
        parts = simd.multiply(simd.load(weights, at), simd.load(scratch, above.delta))
        for j in range(LANES, above.width, LANES):
            w = simd.load(weights, at + j)
            parts = simd.multiply_add(w, simd.load(scratch, above.delta + j), parts)
        simd.store_one(scratch, below.delta + i, simd.reduce_add(parts))
    for j in range(0, below.width, LANES):
        h, d = simd.load(scratch, below.value + j), simd.load(scratch, below.delta + j)
        simd.store(scratch, below.delta + j, times_slope(below.activation, h, d))


@inlined
def _sum_of_squares(numbers, start, size):
    total = 0.0
    for j in range(start, start + size):
        total += float(numbers[j]) * float(numbers[j])
    return total


@inlined
def clip_gradient(learned: Learned, inputs: Any) -> None:
    """Scale all deltas if the norm of the whole gradient exceeds the limit.

    A layer's gradient is the outer product of its inputs and deltas, so its squared norm is the
    product of theirs, and no gradient has to be stored.
    """
    plan, scratch, touched = learned.plan, learned.scratch, learned.touched
    depth = simd.load_constant(plan, PLAN.depth)
    bias = float(read_update(plan, 0, 0).biases)  # the input of the biases
    below = bias + _sum_of_squares(scratch, LANES, inputs)
    below += _sum_of_squares(touched.share, 0, learned.rows)
    gradient = simd.load_constant(plan, PLAN.gradient)
    total = 0.0
    for number in range(max(depth, 1)):
        layer = read_layer(plan, number)
        total += below * _sum_of_squares(scratch, layer.delta, layer.width)
        below = bias + _sum_of_squares(scratch, layer.value, layer.width)
    if depth > 0:
        total += below * _sum_of_squares(scratch, gradient, learned.active)
    limit = simd.load_constant(learned.factor, FACTORS.clip)
    if total > limit * limit:
        share = scratch.dtype.type(limit / math.sqrt(total))
        for number in range(depth):
            layer = read_layer(plan, number)
            _scale(scratch, layer.delta, layer.width, share)
        _scale(scratch, gradient, learned.active, share)


@inlined
def _scale(numbers, start, size, factor):
    for j in range(start, start + size):
        simd.store_one(numbers, j, simd.load_one(numbers, j) * factor)

"""Backward pass: gradient of the loss and the deltas of every layer, before any weight changes."""

from __future__ import annotations

import math
from typing import Any

from streamnet.jit import inlined
from streamnet.networks.activations import ACTIVATION_CODES, slope, times_slope
from streamnet.networks.losses import loss_derivative
from streamnet.networks.plan import FACTORS, PLAN, PLAN_LAYER, PLAN_UPDATE, UPDATES, layer_fact
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
        derivative = loss_derivative(loss, error, delta)
        if code != IDENTITY:
            derivative *= slope(code, y, one)
        simd.store_one(scratch, target + o, derivative)
    return largest


@inlined
def weight_gradient(
    plan: Any, factor: Any, scratch: Any, memory: Any, slot: Any, active: Any
) -> None:
    """Multiply the gradient by a power of the rarity of the sample's class."""
    weight = float(simd.load_constant(memory.rarity, slot)) ** simd.load_constant(
        factor, FACTORS.class_weight
    )
    share = scratch.dtype.type(min(weight, MAX_CLASS_WEIGHT))
    start = simd.load_constant(plan, PLAN.gradient)
    for o in range(start, start + active):
        simd.store_one(scratch, o, simd.load_one(scratch, o) * share)


@inlined
def backward(plan: Any, weights: Any, scratch: Any, active: Any) -> None:
    """Deltas of every layer, before any weight moves."""
    depth = simd.load_constant(plan, PLAN.depth)
    if depth > 0:
        width = layer_fact(plan, depth - 1, PLAN_LAYER.width)
        delta = layer_fact(plan, depth - 1, PLAN_LAYER.delta)
        values = layer_fact(plan, depth - 1, PLAN_LAYER.value)
        code = layer_fact(plan, depth - 1, PLAN_LAYER.activation)
        for j in range(0, width, LANES):
            at = simd.load_constant(plan, PLAN.output) + j
            g = simd.broadcast(scratch, simd.load_constant(plan, PLAN.gradient))
            parts = simd.multiply(g, simd.load(weights, at))
            for o in range(1, active):
                at += width
                g = simd.broadcast(scratch, simd.load_constant(plan, PLAN.gradient) + o)
                parts = simd.multiply_add(g, simd.load(weights, at), parts)
            simd.store(scratch, delta + j, times_slope(code, simd.load(scratch, values + j), parts))
    for layer in range(depth - 1, 0, -1):
        _propagate(plan, layer, weights, scratch)


@inlined
def _propagate(plan, layer, weights, scratch):
    """Deltas of the layer below ``layer``."""
    width = layer_fact(plan, layer, PLAN_LAYER.width)
    above = layer_fact(plan, layer, PLAN_LAYER.delta)
    below = layer_fact(plan, layer - 1, PLAN_LAYER.delta)
    units = layer_fact(plan, layer - 1, PLAN_LAYER.units)
    for i in range(units):
        at = layer_fact(plan, layer, PLAN_LAYER.weights) + (i + 1) * width
        parts = simd.multiply(simd.load(weights, at), simd.load(scratch, above))
        for j in range(LANES, width, LANES):
            w = simd.load(weights, at + j)
            parts = simd.multiply_add(w, simd.load(scratch, above + j), parts)
        simd.store_one(scratch, below + i, simd.reduce_add(parts))
    values = layer_fact(plan, layer - 1, PLAN_LAYER.value)
    code = layer_fact(plan, layer - 1, PLAN_LAYER.activation)
    for j in range(0, layer_fact(plan, layer - 1, PLAN_LAYER.width), LANES):
        d = simd.load(scratch, below + j)
        simd.store(scratch, below + j, times_slope(code, simd.load(scratch, values + j), d))


@inlined
def _sum_of_squares(numbers, start, size):
    total = 0.0
    for j in range(start, start + size):
        total += float(numbers[j]) * float(numbers[j])
    return total


@inlined
def clip_gradient(
    plan: Any, factor: Any, scratch: Any, touched: Any, count: Any, inputs: Any, active: Any
) -> None:
    """Scale all deltas if the norm of the whole gradient exceeds the limit.

    A layer's gradient is the outer product of its inputs and deltas, so its squared norm is the
    product of theirs, and no gradient has to be stored.
    """
    depth = simd.load_constant(plan, PLAN.depth)
    bias = float(simd.load_constant(plan, UPDATES + PLAN_UPDATE.biases))  # the input of the biases
    below = bias + _sum_of_squares(scratch, LANES, inputs)
    below += _sum_of_squares(touched.share, 0, count)
    total = 0.0
    for layer in range(max(depth, 1)):
        width = layer_fact(plan, layer, PLAN_LAYER.width)
        total += below * _sum_of_squares(scratch, layer_fact(plan, layer, PLAN_LAYER.delta), width)
        below = bias + _sum_of_squares(scratch, layer_fact(plan, layer, PLAN_LAYER.value), width)
    if depth > 0:
        total += below * _sum_of_squares(scratch, simd.load_constant(plan, PLAN.gradient), active)
    limit = simd.load_constant(factor, FACTORS.clip)
    if total > limit * limit:
        share = scratch.dtype.type(limit / math.sqrt(total))
        for layer in range(depth):
            start = layer_fact(plan, layer, PLAN_LAYER.delta)
            for j in range(start, start + layer_fact(plan, layer, PLAN_LAYER.width)):
                scratch[j] *= share
        start = simd.load_constant(plan, PLAN.gradient)
        for j in range(start, start + active):
            scratch[j] *= share

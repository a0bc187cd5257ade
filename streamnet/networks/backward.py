"""The backward half of a step: the deltas of every layer, before any weight moves."""

from __future__ import annotations

import math

from streamnet.jit import inlined
from streamnet.networks import simd
from streamnet.networks.plan import ABSOLUTE
from streamnet.networks.plan import CROSS_ENTROPY
from streamnet.networks.plan import HUBER
from streamnet.networks.plan import LOG
from streamnet.networks.plan import LOGISTIC
from streamnet.networks.plan import RELU
from streamnet.networks.plan import TANH
from streamnet.networks.plan import layer_of
from streamnet.networks.simd import LANES
from streamnet.networks.topology import FACTORS
from streamnet.networks.topology import MOVES
from streamnet.networks.topology import PLAN
from streamnet.networks.topology import PLAN_LAYER
from streamnet.networks.topology import PLAN_MOVE

__all__ = (
    "backward",
    "clip",
    "gradient",
    "weigh",
)

MOST_WEIGHT = 16.0  # of a sample of a rare class, so that no step explodes


@inlined
def gradient(plan, factor, scratch, memory, slot, active):
    """Derivative of the loss by each score; returns the largest error of an output."""
    label = simd.fact(memory.label, slot)
    goals = memory.goal.shape[1]
    start = simd.fact(plan, PLAN.score)
    target = simd.fact(plan, PLAN.gradient)
    loss = simd.fact(plan, PLAN.loss)
    transform = simd.fact(plan, PLAN.transform)
    code = simd.fact(plan, PLAN.output_activation)
    # An untyped 1 would make all of it float64.
    one = scratch.dtype.type(1)
    delta = scratch.dtype.type(simd.fact(factor, FACTORS.huber_delta))
    largest = scratch.dtype.type(0)
    for o in range(active):
        y = simd.pick(scratch, start + o)
        # Outputs of numbers have a goal each; a label's outputs have 1 at the label.
        truth = simd.fact(memory.goal, slot * goals + min(o, goals - 1))
        if transform == LOG:
            truth = simd.fact(memory.log_goal, slot)
        if not math.isfinite(truth):
            truth = scratch.dtype.type(1 if o == label else 0)
        error = y - truth
        largest = max(largest, abs(error))
        if loss == ABSOLUTE:
            error = scratch.dtype.type((error > 0) - (error < 0))
        elif loss == HUBER:
            error = max(-delta, min(delta, error))
        if loss != CROSS_ENTROPY:
            if code == LOGISTIC:
                error *= y * (one - y)
            elif code == TANH:
                error *= one - y * y
            elif code == RELU and not y > 0:
                error = scratch.dtype.type(0)
        simd.put(scratch, target + o, error)
    return largest


@inlined
def weigh(plan, factor, scratch, memory, slot, active):
    """Multiply the derivatives by a power of the rarity of the sample's class."""
    weight = float(simd.fact(memory.rarity, slot)) ** simd.fact(factor, FACTORS.class_weight)
    share = scratch.dtype.type(min(weight, MOST_WEIGHT))
    start = simd.fact(plan, PLAN.gradient)
    for o in range(start, start + active):
        simd.put(scratch, o, simd.pick(scratch, o) * share)


@inlined
def backward(plan, weights, scratch, active):
    """Deltas of every layer, before any weight moves."""
    depth = simd.fact(plan, PLAN.depth)
    if depth > 0:
        width = layer_of(plan, depth - 1, PLAN_LAYER.width)
        delta = layer_of(plan, depth - 1, PLAN_LAYER.delta)
        values = layer_of(plan, depth - 1, PLAN_LAYER.value)
        code = layer_of(plan, depth - 1, PLAN_LAYER.activation)
        for j in range(0, width, LANES):
            at = simd.fact(plan, PLAN.output) + j
            g = simd.broadcast(scratch, simd.fact(plan, PLAN.gradient))
            parts = simd.multiply(g, simd.load(weights, at))
            for o in range(1, active):
                at += width
                g = simd.broadcast(scratch, simd.fact(plan, PLAN.gradient) + o)
                parts = simd.multiply_add(g, simd.load(weights, at), parts)
            simd.store(scratch, delta + j, _sloped(code, simd.load(scratch, values + j), parts))
    for layer in range(depth - 1, 0, -1):
        _through(plan, layer, weights, scratch)


@inlined
def _through(plan, layer, weights, scratch):
    """Deltas of the layer below ``layer``."""
    width = layer_of(plan, layer, PLAN_LAYER.width)
    above = layer_of(plan, layer, PLAN_LAYER.delta)
    below = layer_of(plan, layer - 1, PLAN_LAYER.delta)
    units = layer_of(plan, layer - 1, PLAN_LAYER.units)
    for i in range(units):
        at = layer_of(plan, layer, PLAN_LAYER.weights) + (i + 1) * width
        parts = simd.multiply(simd.load(weights, at), simd.load(scratch, above))
        for j in range(LANES, width, LANES):
            w = simd.load(weights, at + j)
            parts = simd.multiply_add(w, simd.load(scratch, above + j), parts)
        simd.put(scratch, below + i, simd.total(parts))
    values = layer_of(plan, layer - 1, PLAN_LAYER.value)
    code = layer_of(plan, layer - 1, PLAN_LAYER.activation)
    for j in range(0, layer_of(plan, layer - 1, PLAN_LAYER.width), LANES):
        d = simd.load(scratch, below + j)
        simd.store(scratch, below + j, _sloped(code, simd.load(scratch, values + j), d))


@inlined
def _sloped(code, h, d):
    """Deltas times the slope of their activation, whose values are ``h``."""
    if code == LOGISTIC:
        d = simd.multiply(d, simd.subtract(h, simd.multiply(h, h)))
    elif code == TANH:
        d = simd.subtract(d, simd.multiply(d, simd.multiply(h, h)))
    elif code == RELU:
        d = simd.gate(d, h)
    return d


@inlined
def _squares(numbers, start, size):
    total = 0.0
    for j in range(start, start + size):
        total += float(numbers[j]) * float(numbers[j])
    return total


@inlined
def clip(plan, factor, scratch, touched, count, inputs, active):
    """Shrink all deltas together if the whole gradient is longer than the limit.

    A layer's gradient is the outer product of its inputs and deltas, so its squared length is the
    product of theirs: no gradient has to be written down.
    """
    depth = simd.fact(plan, PLAN.depth)
    bias = float(simd.fact(plan, MOVES + PLAN_MOVE.biases))  # the input of biases, if there are any
    below = bias + _squares(scratch, LANES, inputs)
    below += _squares(touched.share, 0, count)
    total = 0.0
    for layer in range(max(depth, 1)):
        width = layer_of(plan, layer, PLAN_LAYER.width)
        total += below * _squares(scratch, layer_of(plan, layer, PLAN_LAYER.delta), width)
        below = bias + _squares(scratch, layer_of(plan, layer, PLAN_LAYER.value), width)
    if depth > 0:
        total += below * _squares(scratch, simd.fact(plan, PLAN.gradient), active)
    limit = simd.fact(factor, FACTORS.clip)
    if total > limit * limit:
        share = scratch.dtype.type(limit / math.sqrt(total))
        for layer in range(depth):
            start = layer_of(plan, layer, PLAN_LAYER.delta)
            for j in range(start, start + layer_of(plan, layer, PLAN_LAYER.width)):
                scratch[j] *= share
        start = simd.fact(plan, PLAN.gradient)
        for j in range(start, start + active):
            scratch[j] *= share

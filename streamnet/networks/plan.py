"""Columns of a plan: what the kernels know about a candidate.

A plan is one row of integers (PLAN, PLAN_LAYER, PLAN_UPDATE) and one of floats (FACTORS) for each
candidate; `topology` builds both.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from streamnet.jit import inlined
from streamnet.networks.simd import vectors as simd

LAYERS = 8  # a plan has columns for so many, as many as `settings.candidate.MAX_LAYERS` allows


class Plan(NamedTuple):
    """Columns of a plan; from `layers` on, PLAN_LAYER columns per layer, then PLAN_UPDATE ones."""

    depth: int = 0  # hidden layers
    start: int = 1  # offset of the weights
    size: int = 2  # how many weights
    state: int = 3  # start of the optimizer's states
    first: int = 4  # this and the next three: offsets of sections
    sparse: int = 5
    output_bias: int = 6
    output: int = 7
    score: int = 8  # this and the next: offsets in working memory
    gradient: int = 9
    output_width: int = 10
    optimizer: int = 11  # this and the next three: codes
    loss: int = 12
    output_activation: int = 13
    schedule: int = 14
    rehearsal: int = 15
    memory: int = 16
    serial: int = 17
    update_count: int = 18  # sections updated at every step
    inputs: int = 19  # dense
    ignored_lags: int = 20  # entries at a sample's end that this candidate ignores
    batch_size: int = 21
    gradient_sums: int = 22  # offset in the state of a mini-batch's summed gradients
    row_buffer: int = 23  # offset in working memory
    knots: int = 24  # of each dense input
    splines: int = 25  # offset of the section
    early_rehearsal: int = 26
    logarithmic: int = 27  # whether it learns logarithms of targets
    hot_size: int = 28  # numbers that every step touches: dense weights and their states
    output_slope: int = 29  # code of the activation whose slope the output gradient takes
    layers: int = 30


class PlanLayer(NamedTuple):
    """Columns of a layer in a plan."""

    weights: int = 0
    units: int = 1
    width: int = 2
    activation: int = 3
    value: int = 4  # this and the next: offsets in working memory
    delta: int = 5


class PlanUpdate(NamedTuple):
    """Columns of a section updated at every step, whose gradient is ``inputs x deltas``."""

    weights: int = 0
    rows: int = 1  # ALL_OUTPUTS: one for each output in use
    width: int = 2
    source: int = 3  # this and the next: offsets in working memory
    vector: int = 4
    biases: int = 5  # leading rows that are biases, which do not decay


class _Factors(NamedTuple):
    """Columns of the floats that belong to a plan."""

    learning_rate: int = 0
    decay: int = 1
    decay_steps: int = 2
    momentum: int = 3
    second_momentum: int = 4
    epsilon: int = 5
    weight_decay: int = 6
    clip: int = 7
    huber_delta: int = 8
    score_limit: int = 9
    class_weight: int = 10
    rehearsal_tolerance: int = 11
    log_momentum: int = 12  # this and the next: logarithms
    log_second_momentum: int = 13


PLAN, PLAN_LAYER, PLAN_UPDATE, FACTORS = Plan(), PlanLayer(), PlanUpdate(), _Factors()
UPDATES = PLAN.layers + len(PLAN_LAYER) * LAYERS  # first column of the first update
ALL_OUTPUTS = -1


def _columns(first: int, step: int, number: int, column: int) -> list[int]:
    return [first + step * i + column for i in range(number)]


# Columns that are relative to a candidate's first weight, or to its first state.
WEIGHT_PLACES = np.array(
    [
        *(PLAN.start, PLAN.first, PLAN.sparse, PLAN.output_bias, PLAN.output, PLAN.splines),
        *_columns(PLAN.layers, len(PLAN_LAYER), LAYERS, PLAN_LAYER.weights),
        *_columns(UPDATES, len(PLAN_UPDATE), LAYERS + 2, PLAN_UPDATE.weights),
    ]
)
STATE_PLACES = np.array([PLAN.state, PLAN.gradient_sums])


@inlined
def read_layer(plan: Any, layer: Any) -> PlanLayer:
    """All columns of a layer."""
    first = PLAN.layers + len(PLAN_LAYER) * layer
    return PlanLayer(
        simd.load_constant(plan, first + PLAN_LAYER.weights),
        simd.load_constant(plan, first + PLAN_LAYER.units),
        simd.load_constant(plan, first + PLAN_LAYER.width),
        simd.load_constant(plan, first + PLAN_LAYER.activation),
        simd.load_constant(plan, first + PLAN_LAYER.value),
        simd.load_constant(plan, first + PLAN_LAYER.delta),
    )


@inlined
def read_update(plan: Any, number: Any, active: Any) -> PlanUpdate:
    """All columns of an updated section, whose rows are those of the ``active`` outputs."""
    first = UPDATES + len(PLAN_UPDATE) * number
    rows = simd.load_constant(plan, first + PLAN_UPDATE.rows)
    return PlanUpdate(
        simd.load_constant(plan, first + PLAN_UPDATE.weights),
        active if rows == ALL_OUTPUTS else rows,
        simd.load_constant(plan, first + PLAN_UPDATE.width),
        simd.load_constant(plan, first + PLAN_UPDATE.source),
        simd.load_constant(plan, first + PLAN_UPDATE.vector),
        simd.load_constant(plan, first + PLAN_UPDATE.biases),
    )

"""Sections, sizes and costs of a candidate's network, and the plan that its kernels read.

The weights of a candidate are sections of one flat array, each a matrix of rows whose width is a
multiple of the vector width (`simd.LANES`); padding stays zero:

    first        1 + dense inputs rows     biases, then a row for each dense input
    upper1 ...   1 + units below rows      biases, then a row for each unit of the layer below
    output_bias  1 row                     (not in a linear model, whose first section gives scores)
    output       a row for each output
    splines      a row for each knot of each dense input (only with knots)
    sparse       a row for each category value, word, or numbered input

A plan is one row of integers and one of floats per candidate that state the same facts for kernels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import inlined
from streamnet.networks import simd
from streamnet.networks.simd import LANES
from streamnet.samples import Task
from streamnet.settings.candidate import (
    ACTIVATIONS,
    LOSSES,
    MAX_LAYERS,
    OPTIMIZERS,
    OUTPUTS,
    SCHEDULES,
    TRANSFORMS,
    CandidateSettings,
)

__all__ = (
    "ABSOLUTE",
    "ADAGRAD",
    "ADAM",
    "ALL_OUTPUTS",
    "CROSS_ENTROPY",
    "FACTORS",
    "HUBER",
    "IDENTITY",
    "INVERSE",
    "LINEAR",
    "LOG",
    "LOGISTIC",
    "MOMENTUM",
    "PLAN",
    "PLAN_LAYER",
    "PLAN_UPDATE",
    "RELU",
    "RMSPROP",
    "SGD",
    "SOFTMAX",
    "STATE_PLACES",
    "STEP",
    "TANH",
    "UPDATES",
    "WEIGHT_PLACES",
    "Capacity",
    "Section",
    "build_factors",
    "build_plan",
    "build_sections",
    "count_states",
    "estimate_cost",
    "heaviest_first",
    "layer_fact",
    "padded",
    "scratch_size",
)


class _Plan(NamedTuple):
    """Columns of a plan; from `layers` on, PLAN_LAYER columns for each layer."""

    depth: int = 0  # hidden layers
    start: int = 1  # of the weights
    size: int = 2  # how many weights
    state: int = 3  # of the optimizer's numbers
    first: int = 4  # this and the next three: where sections start
    sparse: int = 5
    output_bias: int = 6
    output: int = 7
    score: int = 8  # this and the next: places in working memory
    gradient: int = 9
    output_width: int = 10
    optimizer: int = 11  # this and the next three: codes
    loss: int = 12
    output_activation: int = 13
    schedule: int = 14
    rehearsal: int = 15
    memory: int = 16
    serial: int = 17
    moves: int = 18  # sections that are moved at every step
    inputs: int = 19  # dense
    unseen: int = 20  # entries at a sample's end that it does not look at
    batch_size: int = 21
    sums: int = 22  # where gradients are summed up in the state, if a batch is more than a sample
    row: int = 23  # place in working memory
    knots: int = 24  # of each dense input
    splines: int = 25  # where the section starts
    early_rehearsal: int = 26
    transform: int = 27  # of numbers before they are learned: a code
    moved: int = 28  # numbers that every step moves: weights, and the optimizer's for each
    layers: int = 29


class _PlanLayer(NamedTuple):
    """Columns of a layer in a plan."""

    weights: int = 0
    units: int = 1
    width: int = 2
    activation: int = 3
    value: int = 4  # this and the next: places in working memory
    delta: int = 5


class _PlanUpdate(NamedTuple):
    """Columns of a section that is moved at every step: rows of inputs times a vector of deltas."""

    weights: int = 0
    rows: int = 1  # ALL_OUTPUTS: as many as there are outputs in use
    width: int = 2
    source: int = 3  # this and the next: places in working memory
    vector: int = 4
    biases: int = 5  # rows at the front that are biases, which do not decay


class _Factors(NamedTuple):
    """Columns of the numbers that belong to a plan."""

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
    log_momentum: int = 12  # logarithms of two of these
    log_second_momentum: int = 13


PLAN, PLAN_LAYER, PLAN_UPDATE, FACTORS = _Plan(), _PlanLayer(), _PlanUpdate(), _Factors()
UPDATES = PLAN.layers + len(PLAN_LAYER) * MAX_LAYERS  # where the first section to move is
ALL_OUTPUTS = -1
SPARSE_SECTIONS = ("splines", "sparse")  # sections of which a step moves a few rows


def _columns(first: int, step: int, number: int, column: int) -> list[int]:
    return [first + step * i + column for i in range(number)]


# Columns that count from a candidate's first weight, or from its first number of the state; those
# of what a candidate does not have count from there as well, and nobody reads them.
WEIGHT_PLACES = np.array(
    [
        *(PLAN.start, PLAN.first, PLAN.sparse, PLAN.output_bias, PLAN.output, PLAN.splines),
        *_columns(PLAN.layers, len(PLAN_LAYER), MAX_LAYERS, PLAN_LAYER.weights),
        *_columns(UPDATES, len(PLAN_UPDATE), MAX_LAYERS + 2, PLAN_UPDATE.weights),
    ]
)
STATE_PLACES = np.array([PLAN.state, PLAN.sums])


class Capacity(NamedTuple):
    """What a candidate has room for."""

    dense: int
    rows: int
    outputs: int
    lags: int = 0  # entries of a sample that tell earlier targets


class Section(NamedTuple):
    """A matrix of weights: ``units`` of each row's ``width`` numbers are in use."""

    name: str
    rows: int
    units: int
    width: int
    offset: int  # from the candidate's start


def padded(units: int) -> int:
    """``units``, up to a whole number of vectors, at least one."""
    return -(-max(units, 1) // LANES) * LANES


def count_states(settings: CandidateSettings) -> int:
    """How many numbers are kept for each weight: by the optimizer, and a batch's gradient."""
    return _count_optimizer_states(settings) + int(settings.batch_size > 1)


def _count_optimizer_states(settings: CandidateSettings) -> int:
    return {"sgd": 0, "adam": 2}.get(settings.optimizer, 1)


@lru_cache(maxsize=1024)
def build_sections(settings: CandidateSettings, capacity: Capacity) -> tuple[Section, ...]:
    """The sections of a candidate's weights, in their order in memory."""
    outputs = capacity.outputs
    units = (*settings.hidden, outputs) if not settings.hidden else settings.hidden
    shapes = [("first", 1 + capacity.dense, units[0])]
    shapes += [(f"upper{i}", 1 + units[i - 1], units[i]) for i in range(1, len(units))]
    if settings.hidden:
        shapes += [("output_bias", 1, outputs), ("output", outputs, units[-1])]
    if settings.knots:
        shapes.append(("splines", settings.knots * capacity.dense, units[0]))
    shapes.append(("sparse", capacity.rows, units[0]))
    sections = []
    offset = 0
    for name, rows, columns in shapes:
        width = padded(columns)
        sections.append(Section(name, rows, columns, width, offset))
        offset += rows * width
    return tuple(sections)


def _scratch_places(
    settings: CandidateSettings, capacity: Capacity
) -> tuple[list[int], list[int], int]:
    """Where each layer's values and deltas are, both after a vector that ends in a 1; the end."""
    units = settings.hidden or (capacity.outputs,)
    offset = LANES + padded(capacity.dense)
    values, deltas = [], []
    for count in units:
        values.append(offset + LANES)
        deltas.append(offset + LANES + padded(count))
        offset += LANES + 2 * padded(count)
    return values, deltas, offset


def scratch_size(settings: CandidateSettings, capacity: Capacity) -> int:
    """Numbers of working memory that one candidate needs in a kernel."""
    size = _scratch_places(settings, capacity)[2] + 2 * padded(capacity.outputs)
    if settings.batch_size == 1:
        return size
    return size + max(section.width for section in build_sections(settings, capacity))


def build_plan(settings: CandidateSettings, task: Task, capacity: Capacity) -> NDArray[np.int64]:
    """The row of whole numbers from which the kernels learn and run a candidate.

    Places count from its own first weight and state; `layout` moves them to where those are, and
    writes the serial.
    """
    sections = build_sections(settings, capacity)
    at = {section.name: section.offset for section in sections}
    facts = _plan_header(settings, task, capacity, sections, at)
    plan = np.zeros(UPDATES + len(PLAN_UPDATE) * (MAX_LAYERS + 2), np.int64)
    plan[: PLAN.layers] = facts[: PLAN.layers]
    for layer, places in enumerate(_layer_columns(settings, capacity, at)):
        column = PLAN.layers + len(PLAN_LAYER) * layer
        plan[column : column + len(PLAN_LAYER)] = places
    for number, move in enumerate(_update_columns(settings, capacity, facts, at)):
        column = UPDATES + len(PLAN_UPDATE) * number
        plan[column : column + len(PLAN_UPDATE)] = move
    return plan


def _plan_header(
    settings: CandidateSettings,
    task: Task,
    capacity: Capacity,
    sections: Sequence[Section],
    at: Mapping[str, int],
) -> _Plan:
    """A plan's values up to its layers; what a linear model does not have stays 0."""
    size = sum(section.rows * section.width for section in sections)
    values, deltas, end = _scratch_places(settings, capacity)
    width = padded(capacity.outputs)
    linear = not settings.hidden
    return _Plan(
        depth=len(settings.hidden),
        start=0,
        size=size,
        state=0,
        first=at["first"],
        sparse=at["sparse"],
        output_bias=at.get("output_bias", 0),
        output=at.get("output", 0),
        score=values[0] if linear else end,
        gradient=deltas[0] if linear else end + width,
        output_width=width,
        optimizer=OPTIMIZERS.index(settings.optimizer),
        loss=LOSSES.index(settings.loss_for(task)),
        output_activation=OUTPUTS.index(settings.output_for(task)),
        schedule=SCHEDULES.index(settings.schedule),
        rehearsal=settings.rehearsal,
        memory=settings.memory,
        serial=0,
        moves=1 if linear else len(settings.hidden) + 2,
        inputs=capacity.dense,
        unseen=0 if settings.lags else capacity.lags,
        batch_size=settings.batch_size,
        sums=_count_optimizer_states(settings) * size,
        row=end + 2 * width,
        knots=settings.knots,
        splines=at.get("splines", 0),
        early_rehearsal=settings.early_rehearsal,
        transform=TRANSFORMS.index(settings.target_transform),
        moved=sum(s.rows * s.width for s in sections if s.name not in SPARSE_SECTIONS)
        * (1 + count_states(settings)),
    )


def _layer_columns(
    settings: CandidateSettings, capacity: Capacity, at: Mapping[str, int]
) -> list[_PlanLayer]:
    """Each layer's columns; of a linear model the scores are the only layer."""
    values, deltas, _ = _scratch_places(settings, capacity)
    units = settings.hidden or (capacity.outputs,)
    activations = settings.activations or ("identity",)
    return [
        _PlanLayer(
            weights=at["first"] if layer == 0 else at[f"upper{layer}"],
            units=count,
            width=padded(count),
            activation=ACTIVATIONS.index(activation),
            value=values[layer],
            delta=deltas[layer],
        )
        for layer, (count, activation) in enumerate(zip(units, activations, strict=True))
    ]


def _update_columns(
    settings: CandidateSettings,
    capacity: Capacity,
    facts: _Plan,
    at: Mapping[str, int],
) -> list[_PlanUpdate]:
    """The sections that every step moves; without biases, their rows are left out."""
    units = settings.hidden or (capacity.outputs,)
    values, deltas, _ = _scratch_places(settings, capacity)
    bias = int(settings.bias)
    moves = []
    for layer, count in enumerate(units):
        width = padded(count)
        below = capacity.dense if layer == 0 else units[layer - 1]
        source = LANES - 1 if layer == 0 else values[layer - 1] - 1
        start = at["first"] if layer == 0 else at[f"upper{layer}"]
        skipped = 1 - bias
        moves.append(
            _PlanUpdate(
                start + skipped * width,
                below + bias,
                width,
                source + skipped,
                deltas[layer],
                bias,
            )
        )
    if settings.hidden:
        gradient, width = facts.gradient, facts.output_width
        moves += [
            _PlanUpdate(at["output"], ALL_OUTPUTS, padded(units[-1]), gradient, values[-1], 0),
            _PlanUpdate(at["output_bias"], bias, width, LANES - 1, gradient, bias),
        ]
    return moves


def build_factors(settings: CandidateSettings, task: Task) -> NDArray[np.float64]:
    """The row of numbers that belongs to a plan."""
    logarithms = [
        math.log(share) if share > 0.0 else -math.inf
        for share in (settings.momentum, settings.second_momentum)
    ]
    plain = [getattr(settings, name) for name in FACTORS._fields[: FACTORS.rehearsal_tolerance]]
    tolerance = settings.rehearsal_tolerance_for(task)
    return np.array([*plain, tolerance, *logarithms], np.float64)


# The place of a name in ACTIVATIONS and OUTPUTS, LOSSES, OPTIMIZERS, SCHEDULES and TRANSFORMS.
IDENTITY, LOGISTIC, TANH, RELU, SOFTMAX = range(5)
CROSS_ENTROPY, SQUARED, ABSOLUTE, HUBER = range(4)
SGD, MOMENTUM, RMSPROP, ADAGRAD, ADAM = range(5)
CONSTANT, STEP, INVERSE, LINEAR = range(4)
PLAIN, LOG = range(2)
COLUMNS = len(PLAN_LAYER)


@inlined
def layer_fact(plan, layer, column):
    """A fact about a layer, see `topology.PLAN_LAYER`."""
    return simd.load_constant(plan, PLAN.layers + COLUMNS * layer + column)


# Fitted to measurements with two candidates abreast: microseconds for a step, and for a thousand of
# the weights that it touches. Where those between hidden layers lie matters little.
_STEP = 0.046
_FORWARD = 0.049
_UPDATE = {"sgd": 0.0, "momentum": 0.036, "rmsprop": 0.088, "adagrad": 0.087, "adam": 0.100}
_ENTRIES = 16  # active rows that a sample is taken to have, of those given out


def estimate_cost(settings: CandidateSettings, capacity: Capacity) -> float:
    """Microseconds a sample, answering, learning and rehearsing, once early rehearsal is over.

    As if every rehearsed sample were learned again, whatever is known well enough.

    >>> small = CandidateSettings(hidden=(8,), optimizer="sgd")
    >>> wide = CandidateSettings(hidden=(128,), rehearsal=4)
    >>> room = Capacity(dense=8, rows=0, outputs=2)
    >>> 0.03 < estimate_cost(small, room) < 0.1 < estimate_cost(wide, room) < 3
    True
    """
    touched = 0
    for section in build_sections(settings, capacity):
        rows = section.rows
        if section.name == "sparse":
            rows = min(rows, _ENTRIES)
        elif section.name == "splines":
            rows = 2 * capacity.dense
        touched += rows * section.width
    pace = (_FORWARD + _UPDATE[settings.optimizer]) / 1000.0
    return (_STEP + pace * touched) * (1 + settings.rehearsal)


def heaviest_first(costs: Sequence[float]) -> NDArray[np.int64]:
    """The places of candidates of such costs in the order in which threads best take them up.

    >>> heaviest_first([0.1, 0.3, 0.2])
    array([1, 2, 0])
    """
    return np.argsort(np.negative(costs), kind="stable")

"""Sections, sizes and costs of a candidate's network, and the plan that its kernels read.

The weights of a candidate are sections of one flat array, each a matrix of rows whose width is a
multiple of the vector width (`simd.LANES`); padding stays zero:

    first        1 + dense inputs rows     biases, then a row for each dense input
    upper1 ...   1 + units below rows      biases, then a row for each unit of the layer below
    output_bias  1 row                     (not in a linear model, whose first section gives scores)
    output       a row for each output
    splines      a row for each knot of each dense input (only with knots)
    sparse       a row for each category value, word, or numbered input
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamnet.networks.activations import ACTIVATION_CODES
from streamnet.networks.losses import LOSS_CODES, LOSSES
from streamnet.networks.optimizers import OPTIMIZER_CODES, OPTIMIZERS
from streamnet.networks.plan import (
    ALL_OUTPUTS,
    FACTORS,
    LAYERS,
    PLAN,
    PLAN_UPDATE,
    UPDATES,
    Plan,
    PlanLayer,
    PlanUpdate,
)
from streamnet.networks.schedules import SCHEDULE_CODES
from streamnet.networks.simd.vectors import LANES
from streamnet.samples import Task
from streamnet.settings.candidate import CandidateSettings

SPARSE_SECTIONS = {"splines", "sparse"}  # sections of which a step touches a few rows


class Capacity(NamedTuple):
    """Inputs and outputs that a candidate has room for."""

    dense: int
    rows: int
    outputs: int
    lags: int = 0  # entries of a sample that hold earlier targets


class Section(NamedTuple):
    """A matrix of weights: ``units`` of each row's ``width`` numbers are in use."""

    name: str
    rows: int
    units: int
    width: int
    offset: int  # from the candidate's start


def padded(units: int) -> int:
    """``units`` rounded up to whole vectors, at least one."""
    return -(-max(units, 1) // LANES) * LANES


def count_states(settings: CandidateSettings) -> int:
    """Numbers kept for each weight: optimizer states, and the gradient of a mini-batch."""
    return OPTIMIZERS[settings.optimizer].states + int(settings.batch_size > 1)


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
    """Offsets of each layer's values and deltas, each after a vector ending in 1; and the end."""
    units = settings.hidden or (capacity.outputs,)
    offset = LANES + padded(capacity.dense)
    values, deltas = [], []
    for count in units:
        values.append(offset + LANES)
        deltas.append(offset + LANES + padded(count))
        offset += LANES + 2 * padded(count)
    return values, deltas, offset


def scratch_size(settings: CandidateSettings, capacity: Capacity) -> int:
    """Size of the working memory that one candidate needs in a kernel."""
    size = _scratch_places(settings, capacity)[2] + 2 * padded(capacity.outputs)
    if settings.batch_size == 1:
        return size
    return size + max(section.width for section in build_sections(settings, capacity))


def build_plan(settings: CandidateSettings, task: Task, capacity: Capacity) -> NDArray[np.int64]:
    """Build the integers of a candidate's plan, see `plan.PLAN`.

    Offsets are relative to its own first weight and state; `parameters` adds those, and the serial.
    """
    at = {section.name: section.offset for section in build_sections(settings, capacity)}
    header = _plan_header(settings, task, capacity, at)
    values, deltas, _ = _scratch_places(settings, capacity)
    units = settings.hidden or (capacity.outputs,)
    activations = settings.activations or ("identity",)
    bias = int(settings.bias)
    layers, updates = [], []
    # In a linear model the scores are the only layer.
    for layer, (count, activation) in enumerate(zip(units, activations, strict=True)):
        start, width = at[f"upper{layer}" if layer else "first"], padded(count)
        code = ACTIVATION_CODES[activation]
        layers.append(PlanLayer(start, count, width, code, values[layer], deltas[layer]))
        below = units[layer - 1] if layer else capacity.dense
        source = values[layer - 1] - 1 if layer else LANES - 1
        skipped = 1 - bias  # without biases, their row is left out
        start, source = start + skipped * width, source + skipped
        updates.append(PlanUpdate(start, below + bias, width, source, deltas[layer], bias))
    if settings.hidden:
        gradient, width = header.gradient, header.output_width
        updates += [
            PlanUpdate(at["output"], ALL_OUTPUTS, padded(units[-1]), gradient, values[-1], 0),
            PlanUpdate(at["output_bias"], bias, width, LANES - 1, gradient, bias),
        ]
    plan = np.zeros(UPDATES + len(PLAN_UPDATE) * (LAYERS + 2), np.int64)
    for start, rows in ((0, [header[: PLAN.layers]]), (PLAN.layers, layers), (UPDATES, updates)):
        columns = np.ravel(rows)
        plan[start : start + len(columns)] = columns
    return plan


def _plan_header(
    settings: CandidateSettings, task: Task, capacity: Capacity, at: Mapping[str, int]
) -> Plan:
    """A plan's columns before its layers; those that a linear model lacks are 0."""
    sizes = {s.name: s.rows * s.width for s in build_sections(settings, capacity)}
    size = sum(sizes.values())
    hot_size = sum(sizes[name] for name in sizes.keys() - SPARSE_SECTIONS)
    values, deltas, end = _scratch_places(settings, capacity)
    width = padded(capacity.outputs)
    linear = not settings.hidden
    loss, output = settings.loss_for(task), settings.output_for(task)
    cancels = LOSSES[loss].cancels_slope
    return Plan(
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
        optimizer=OPTIMIZER_CODES[settings.optimizer],
        loss=LOSS_CODES[loss],
        output_activation=ACTIVATION_CODES[output],
        schedule=SCHEDULE_CODES[settings.schedule],
        rehearsal=settings.rehearsal,
        memory=settings.memory,
        serial=0,
        update_count=1 if linear else len(settings.hidden) + 2,
        inputs=capacity.dense,
        ignored_lags=0 if settings.lags else capacity.lags,
        batch_size=settings.batch_size,
        gradient_sums=OPTIMIZERS[settings.optimizer].states * size,
        row_buffer=end + 2 * width,
        knots=settings.knots,
        splines=at.get("splines", 0),
        early_rehearsal=settings.early_rehearsal,
        logarithmic=int(settings.target_transform == "log"),
        hot_size=hot_size * (1 + count_states(settings)),
        output_slope=ACTIVATION_CODES["identity" if cancels else output],
    )


def build_factors(settings: CandidateSettings, task: Task) -> NDArray[np.float64]:
    """Build the floats of a candidate's plan, see `plan.FACTORS`."""
    logarithms = [
        math.log(share) if share > 0.0 else -math.inf
        for share in (settings.momentum, settings.second_momentum)
    ]
    plain = [getattr(settings, name) for name in FACTORS._fields[: FACTORS.rehearsal_tolerance]]
    tolerance = settings.rehearsal_tolerance_for(task)
    return np.array([*plain, tolerance, *logarithms], np.float64)


# Fitted to measurements with two interleaved candidates: microseconds per step, and per thousand of
# the weights that it touches; an optimizer's own cost comes on top.
_STEP = 0.046
_FORWARD = 0.049
_ENTRIES = 16  # assumed active rows of a sample


def estimate_cost(settings: CandidateSettings, capacity: Capacity) -> float:
    """Estimate the microseconds per sample to predict, learn and rehearse, after early rehearsal.

    Assumes that every rehearsed sample is learned, even those that are known well enough.

    >>> small = CandidateSettings(hidden=(8,), optimizer="sgd")
    >>> wide = CandidateSettings(hidden=(128,), rehearsal=4)
    >>> room = Capacity(dense=8, rows=0, outputs=2)
    >>> 0.03 < estimate_cost(small, room) < 0.1 < estimate_cost(wide, room) < 3
    True
    """
    touched = 0
    for section in build_sections(settings, capacity):
        most = {"sparse": _ENTRIES, "splines": 2 * capacity.dense}.get(section.name, section.rows)
        touched += min(section.rows, most) * section.width
    pace = (_FORWARD + OPTIMIZERS[settings.optimizer].cost) / 1000.0
    return (_STEP + pace * touched) * (1 + settings.rehearsal)


def heaviest_first(costs: Sequence[float]) -> NDArray[np.int64]:
    """The order in which threads should take candidates with these costs.

    >>> heaviest_first([0.1, 0.3, 0.2])
    array([1, 2, 0])
    """
    return np.argsort(np.negative(costs), kind="stable")

"""The encoder of a model as ONNX operations: columns to dense inputs, splines and rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamnet.features.columns.time import DAY, ERA, FIRST_MARCH, MAX_SECONDS
from streamnet.features.frozen import (
    NO_ROW,
    Affine,
    FrozenCalendar,
    FrozenCategory,
    FrozenNumber,
    Ranks,
    Raw,
)
from streamnet.features.statistics import FINITE, MAX_INTEGER, MAX_MAGNITUDE
from streamnet.modelfiles.exports.frozen_model import FrozenModel
from streamnet.modelfiles.exports.onnx_graph import Graph
from streamnet.networks.kernels.forward import OUTERMOST_KNOT
from streamnet.sources.inference import MISSING

NUMBER, ROW = np.float64, np.int64


class EncodedColumns(NamedTuple):
    """Names of the inputs of networks; None where there are none."""

    dense: str | None  # shape=(n, dense inputs), of the networks' type
    order: Sequence[int]  # which dense inputs these are
    splined: str | None  # shape=(n, splined inputs), scaled
    present: str | None  # likewise, 0 for missing ones
    rows: str | None  # shape=(n, rows): 0 for none, else from 1


def find_obstacles(model: FrozenModel) -> list[str]:
    """What ONNX has no operations for."""
    reasons = []
    for column in model.inputs.columns:
        name = repr(column.field.name)
        if isinstance(column, FrozenCategory):
            if any(row != NO_ROW for row in column.buckets):
                reasons.append(
                    f"column {name} has more than max_categories values, so that others are hashed"
                )
        elif column.identifiers is not None and column.identifiers.hashed:
            reasons.append(f"column {name} has ids from {MAX_INTEGER:.0f} on, which are hashed")
    return reasons


def add_columns(graph: Graph, model: FrozenModel) -> EncodedColumns:
    """Add inputs for all columns, and what the encoder makes of them."""
    columns = model.inputs.columns
    numbers = [column for column in columns if isinstance(column, FrozenNumber)]
    names: dict[str, str] = {}
    for column in columns:
        kind = object if isinstance(column, FrozenCategory) else NUMBER
        names[column.field.name] = graph.input(column.field.name, kind, _describe(column))
    parts: list[str] = []
    for column in columns:
        if isinstance(column, FrozenCategory):
            parts += _add_category(graph, column, names[column.field.name])
    if not numbers:
        return EncodedColumns(None, (), None, None, graph.concat(parts) if parts else None)
    raw = graph.concat([names[column.field.name] for column in numbers])
    largest = graph.constant(float(FINITE), NUMBER)
    present = graph.add("LessOrEqual", graph.add("Abs", raw), largest)
    known = graph.add("Where", present, raw, graph.constant(0.0, NUMBER))
    scaled = _add_scaled(graph, model, numbers, known, present)
    dense, order = [scaled], [column.dense for column in numbers]
    for place, column in enumerate(numbers):
        x, here = graph.select(known, [place]), graph.select(present, [place])
        parts += _add_number_rows(graph, column, x, here)
        if column.calendar is not None:
            cyclic, rows = _add_calendar(graph, column.calendar, x, here)
            dense.append(graph.cast(cyclic, model.dtype))
            order += column.inputs[1:]
            parts += rows
    places = [place for place, column in enumerate(numbers) if column.is_splined]
    splined = graph.select(scaled, places) if places else None
    shown = graph.cast(graph.select(present, places), model.dtype) if places else None
    active = graph.concat(parts) if parts else None
    return EncodedColumns(graph.concat(dense), order, splined, shown, active)


def _describe(column: FrozenNumber | FrozenCategory) -> str:
    if isinstance(column, FrozenCategory):
        return 'A category; "" if it is missing.'
    if column.calendar is not None:
        return "A time: seconds since 1970 in UTC; NaN if it is missing."
    return f"{'A number' if column.identifiers is None else 'An id'}; NaN if it is missing."


def _add_category(graph: Graph, column: FrozenCategory, x: str) -> list[str]:
    """The row of each value."""
    table = {value: row for value, row in column.rows.items() if row != NO_ROW}
    table |= dict.fromkeys(MISSING, column.missing)
    # An empty table is not allowed.
    return [graph.look_up(x, list(table), [row + 1 for row in table.values()])]


def _add_scaled(
    graph: Graph, model: FrozenModel, numbers: Sequence[FrozenNumber], known: str, present: str
) -> str:
    """Scaled numbers, 0 for missing ones and dropped inputs, shape=(n, numbers)."""
    groups: dict[type, list[int]] = {}
    for place, column in enumerate(numbers):
        groups.setdefault(type(column.scale), []).append(place)
    parts, order = [], []
    for places in groups.values():
        scales = [numbers[place].scale for place in places]
        parts += _add_scales(graph, scales, graph.select(known, places), model.inputs.clip)
        order += places
    scaled = graph.concat(parts)
    if order != sorted(order):
        scaled = graph.select(scaled, np.argsort(order).tolist())
    shown = present
    if model.inputs.dropped:
        kept = [[column.dense not in model.inputs.dropped for column in numbers]]
        shown = graph.add("And", present, graph.constant(kept, np.bool_))
    scaled = graph.add("Where", shown, scaled, graph.constant(0.0, NUMBER))
    return graph.cast(scaled, model.dtype)


def _add_scales(graph: Graph, scales: Sequence[object], x: str, clip: float) -> list[str]:
    """Numbers scaled by scales of one kind."""
    affine = [scale for scale in scales if isinstance(scale, Affine)]
    if affine:
        origin, center, spread = (np.array([part]) for part in zip(*affine, strict=True))
        varies = spread > 0.0
        x = graph.add("Sub", x, graph.constant(origin, NUMBER))
        x = graph.clip(x, MAX_MAGNITUDE, NUMBER)
        x = graph.add("Sub", x, graph.constant(center, NUMBER))
        x = graph.add("Div", x, graph.constant(np.where(varies, spread, 1.0), NUMBER))
        x = graph.clip(x, clip, NUMBER)
        zero = graph.constant(0.0, NUMBER)
        return [graph.add("Where", graph.constant(varies, np.bool_), x, zero)]
    bounds = [scale.bound for scale in scales if isinstance(scale, Raw)]
    if bounds:
        return [graph.clip(x, bounds[0], NUMBER)]
    ranks = [scale for scale in scales if isinstance(scale, Ranks)]
    return [_add_ranks(graph, scale, graph.select(x, [i])) for i, scale in enumerate(ranks)]


def _add_ranks(graph: Graph, scale: Ranks, x: str) -> str:
    """The rank of a number, by the first cell that is not below it."""
    x = graph.clip(x, MAX_MAGNITUDE, NUMBER)
    value = scale.value[None]
    below = graph.add("Greater", x, graph.constant(value, NUMBER))
    cell = graph.squeeze(graph.sum(graph.cast(below, ROW), 1, keep=True), 1)

    def pick(numbers: NDArray[np.float64], last: float) -> str:
        table = graph.constant(np.append(numbers, last), NUMBER)
        return graph.expand(graph.add("Gather", table, cell), 1)

    # Below the first value and above the last one the rank is constant.
    start = np.append(-1.0, scale.start[1:])
    end = np.append(-1.0, scale.end[1:])
    width = np.append(1.0, np.diff(scale.value))
    low = np.append(scale.value[:1], scale.value[:-1])
    share = graph.add("Div", graph.add("Sub", x, pick(low, 0.0)), pick(width, np.inf))
    rise = graph.add("Mul", share, pick(end - start, 0.0))
    between = graph.add("Add", pick(start, scale.above), rise)
    same = graph.add("Equal", x, pick(scale.value, np.nan))
    return graph.add("Where", same, pick(scale.at, 0.0), between)


def _add_number_rows(graph: Graph, column: FrozenNumber, x: str, present: str) -> list[str]:
    """The rows of distinct values, missing ones and ids."""
    parts = []
    if column.rows or column.missing != NO_ROW:
        found = graph.constant([[0]], ROW)
        if column.rows:
            same = graph.add("Equal", x, graph.constant([list(column.rows)], NUMBER))
            rows = graph.constant([[row + 1 for row in column.rows.values()]], ROW)
            hit = graph.add("Where", same, rows, graph.constant(0, ROW))
            found = graph.sum(hit, 1, keep=True)
        missing = graph.constant([[column.missing + 1]], ROW)
        parts.append(graph.add("Where", present, found, missing))
    if column.identifiers is not None and column.identifiers.rows:
        small = graph.add("Less", graph.add("Abs", x), graph.constant(MAX_INTEGER, NUMBER))
        whole = graph.add("And", graph.add("Equal", graph.add("Floor", x), x), small)
        shown = graph.add("And", whole, present)
        key = graph.cast(graph.add("Where", shown, x, graph.constant(0.0, NUMBER)), ROW)
        rows_by_id = column.identifiers.rows
        found = graph.look_up(key, list(rows_by_id), [row + 1 for row in rows_by_id.values()])
        parts.append(graph.add("Where", shown, found, graph.constant(0, ROW)))
    return parts


def _add_calendar(
    graph: Graph, calendar: FrozenCalendar, x: str, present: str
) -> tuple[str, list[str]]:
    """Sines and cosines of a time, shape=(n, 6), and its rows; see `encode_calendar`."""
    t = graph.clip(x, MAX_SECONDS, NUMBER)
    day = graph.add("Floor", graph.add("Div", t, graph.constant(DAY, NUMBER)))
    of_day = graph.add("Sub", t, graph.add("Mul", day, graph.constant(DAY, NUMBER)))
    in_day = graph.add("Div", of_day, graph.constant(DAY, NUMBER))
    number = graph.cast(day, ROW)

    def whole(operation: str, a: str, b: int) -> str:
        return graph.add(operation, a, graph.constant(b, ROW))

    weekday = whole("Mod", whole("Add", number, 3), 7)
    of_era = whole("Mod", whole("Add", number, FIRST_MARCH), ERA)
    leaps = graph.add("Sub", of_era, whole("Div", of_era, 1460))
    leaps = graph.add("Add", leaps, whole("Div", of_era, 36524))
    year = whole("Div", graph.add("Sub", leaps, whole("Div", of_era, 146096)), 365)
    days = graph.add("Add", whole("Mul", year, 365), whole("Div", year, 4))
    days = graph.add("Sub", days, whole("Div", year, 100))
    march_day = graph.add("Sub", of_era, days)
    month = whole("Div", whole("Add", whole("Mul", march_day, 5), 2), 153)
    month = whole("Mod", whole("Add", month, 2), 12)  # from 0
    hour = graph.cast(graph.add("Div", of_day, graph.constant(3600.0, NUMBER)), ROW)
    hour = graph.add("Min", hour, graph.constant(23, ROW))

    angles = []
    phases = ((None, 1.0), (weekday, 7.0), (march_day, 366.0))
    for phase, period in phases:
        turn = in_day if phase is None else graph.add("Add", graph.cast(phase, NUMBER), in_day)
        angles.append(graph.add("Mul", turn, graph.constant(2.0 * math.pi / period, NUMBER)))
    # Runtimes have no cosine of doubles.
    quarter = graph.constant([[0.0, 0.5 * math.pi]], NUMBER)
    waves = graph.concat([graph.add("Sin", graph.add("Add", each, quarter)) for each in angles])
    if not calendar.has_clock:
        waves = graph.add("Mul", waves, graph.constant([[0.0, 0.0, 1.0, 1.0, 1.0, 1.0]], NUMBER))
    waves = graph.add("Where", present, waves, graph.constant(0.0, NUMBER))
    parts = []
    tables = ((hour, calendar.hours if calendar.has_clock else ()), (weekday, calendar.weekdays))
    for place, table in (*tables, (month, calendar.months)):
        if any(row != NO_ROW for row in table):
            rows = graph.add("Gather", graph.constant([row + 1 for row in table], ROW), place)
            parts.append(graph.add("Where", present, rows, graph.constant(0, ROW)))
    return waves, parts


def add_hats(graph: Graph, columns: EncodedColumns, knots: int, model: FrozenModel) -> str | None:
    """How close splined inputs are to each knot, shape=(n, splined inputs * knots)."""
    if columns.splined is None or columns.present is None:
        return None
    dtype = model.dtype
    z = graph.clip(columns.splined, OUTERMOST_KNOT, dtype)
    share = graph.add("Mul", z, graph.constant(0.5 / OUTERMOST_KNOT, dtype))
    share = graph.add("Add", share, graph.constant(0.5, dtype))
    place = graph.add("Mul", share, graph.constant(knots - 1, dtype))
    away = graph.add("Sub", graph.expand(place, 2), graph.constant(np.arange(knots), dtype))
    near = graph.add("Sub", graph.constant(1.0, dtype), graph.add("Abs", away))
    near = graph.add("Mul", graph.add("Relu", near), graph.expand(columns.present, 2))
    width = len(model.splined) * knots
    return graph.add("Reshape", near, graph.constant([-1, width], np.int64))

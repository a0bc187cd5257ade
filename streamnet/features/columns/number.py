"""Number columns: standardized, or scaled by range, quartiles or rank, or not at all.

Robust and rank scaling read a quantile summary in bounded memory, after Greenwald and Khanna
(2001) with the fixed size of GKAdaptive (Luo, Wang, Yi and Cormode 2016).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ModelFileError
from streamnet.features.base import FieldSlot, InputArrays, Transformer
from streamnet.features.frozen import NO_ROW, Affine, FrozenNumber, KnownRows, Ranks, Raw, Scale
from streamnet.features.statistics import (
    COUNT,
    FINITE,
    FIRST_VALUE,
    MAX_COUNT,
    MAX_MAGNITUDE,
    MEAN,
    MISSING,
    ORIGIN,
    SQUARES,
    GrowingArray,
    NumberStatistics,
    restore_array,
    standard_deviation,
)
from streamnet.jit import exact
from streamnet.samples import NUMERIC, Block, Kind
from streamnet.settings.encoder import EncoderSettings, Scaling

MAX_CELLS = 128

# A summary has shape (MAX_CELLS, SUMMARY_COLUMNS). A cell stands for WEIGHT numbers: the last SAME
# of them are VALUE itself, the others lie between the previous value and this one. Up to SPAN of
# those of later cells may lie below it, too.
VALUE, WEIGHT, SPAN, SAME = range(4)
SUMMARY_COLUMNS = 4


@exact
def _find_cell(summary: NDArray[np.float64], used: int, x: float) -> int:
    """Find the first cell whose value is not below ``x``."""
    low, high = 0, used
    while low < high:
        middle = (low + high) // 2
        if summary[middle, VALUE] < x:
            low = middle + 1
        else:
            high = middle
    return low


@exact
def _merge_cheapest_cell(summary: NDArray[np.float64], used: int) -> int:
    """Merge the cheapest cell into the next one, but never the minimum; return which it was."""
    cheapest, least = 1, np.inf
    for i in range(1, used - 1):
        cost = summary[i, WEIGHT] + summary[i + 1, WEIGHT] + summary[i + 1, SPAN]
        if cost < least:
            cheapest, least = i, cost
    summary[cheapest + 1, WEIGHT] += summary[cheapest, WEIGHT]
    for i in range(cheapest, used - 1):
        for k in range(SUMMARY_COLUMNS):
            summary[i, k] = summary[i + 1, k]
    return cheapest


@exact
def total_weight(summary: NDArray[np.float64], used: int) -> float:
    """Number of values that all cells stand for."""
    count = 0.0
    for i in range(used):
        count += summary[i, WEIGHT]
    return count


@exact
def _fade(summary: NDArray[np.float64], used: int) -> None:
    """Halve all weights once they sum to `MAX_COUNT`, so that earlier numbers fade."""
    if total_weight(summary, used) >= MAX_COUNT:
        for i in range(used):
            for k in (WEIGHT, SPAN, SAME):
                summary[i, k] *= 0.5


@exact
def insert(summary: NDArray[np.float64], used: int, x: float) -> int:
    """Insert a finite number into a summary of ``used`` cells; return the new number of cells."""
    _fade(summary, used)
    place = _find_cell(summary, used, x)
    if place < used and summary[place, VALUE] == x:
        summary[place, WEIGHT] += 1.0
        summary[place, SAME] += 1.0
        return used
    if used == MAX_CELLS:
        place -= _merge_cheapest_cell(summary, used) < place
        used -= 1
    for i in range(used, place, -1):
        for k in range(SUMMARY_COLUMNS):
            summary[i, k] = summary[i - 1, k]
    span = 0.0
    if 0 < place < used:
        following = place + 1
        span = summary[following, WEIGHT] - summary[following, SAME] + summary[following, SPAN]
    summary[place, VALUE] = x
    summary[place, WEIGHT] = 1.0
    summary[place, SPAN] = span
    summary[place, SAME] = 1.0
    return used + 1


@exact
def count_below(summary: NDArray[np.float64], used: int, x: float) -> float:
    """Estimate the number of values below ``x``, counting half of those equal to it."""
    before = end = 0.0
    for i in range(used):
        before += summary[i, WEIGHT]
        middle = before + 0.5 * summary[i, SPAN]
        start = max(middle - summary[i, SAME], end)
        if x == summary[i, VALUE]:
            return float(0.5 * (start + max(middle, start)))
        if x < summary[i, VALUE]:
            if i == 0:
                return 0.0
            previous = summary[i - 1, VALUE]
            share = (x - previous) / (summary[i, VALUE] - previous)
            return float(end + share * (start - end))
        end = max(middle, start)
    return before


@exact
def value_at_rank(summary: NDArray[np.float64], used: int, count: float) -> float:
    """Estimate the value with ``count`` others below it, counting half of those equal to it.

    Of n numbers the quantile q is at q * (n - 1) + 0.5. Values are interpolated.
    """
    before = end = 0.0
    for i in range(used):
        before += summary[i, WEIGHT]
        middle = before + 0.5 * summary[i, SPAN]
        start = max(middle - summary[i, SAME], end)
        if count < start + 0.5:
            if i == 0:
                break
            share = (count - (end - 0.5)) / (start - end + 1.0)
            previous = summary[i - 1, VALUE]
            share = min(max(share, 0.0), 1.0)
            return float(previous + share * (summary[i, VALUE] - previous))
        end = max(middle, start)
        if count <= end - 0.5:
            return float(summary[i, VALUE])
    return float(summary[0 if count < 0.5 else used - 1, VALUE]) if used else np.nan


STANDARD, MINMAX, ROBUST, RANK, NONE = range(len(Scaling))
CODES = {scaling: code for code, scaling in enumerate(Scaling)}

# Columns of a plan: those of standardized inputs, with code and state of the scaling at the end.
SOURCE, DENSE, CODE, STATE = 0, 2, 3, 4

MAX_INPUT = float(np.finfo(np.float32).max)  # largest float32
NOTHING = Affine(0.0, 0.0, 0.0)  # the scale of a column that is constant so far
NORMAL_IQR = 1.3489795003921634  # interquartile range of standard normal numbers


@exact
def _bounded(x: float, bound: float) -> float:
    return min(max(x, -bound), bound)


@exact
def _min_max_scale(x: float, extremes: NDArray[np.float64]) -> float:
    """Position of ``x`` between the extremes, from -1 to 1; 0 if they are equal."""
    least, greatest = extremes
    if not greatest > least:
        return 0.0
    return float(2.0 * ((x - least) / (greatest - least)) - 1.0)


@exact
def _median_and_unit(summary: NDArray[np.float64], used: int) -> tuple[float, float]:
    """Median and robust counterpart of the standard deviation.

    If the quartiles are equal, it is the root mean square distance from the median; 0 if that is
    negligible.
    """
    count = total_weight(summary, used)
    if count < 2.0:
        return value_at_rank(summary, used, 0.5) if used else 0.0, 0.0
    median = value_at_rank(summary, used, 0.5 * (count - 1.0) + 0.5)
    least = 1e-13 * abs(median) + 1e-150
    upper = value_at_rank(summary, used, 0.75 * (count - 1.0) + 0.5)
    unit = (upper - value_at_rank(summary, used, 0.25 * (count - 1.0) + 0.5)) / NORMAL_IQR
    if unit <= least:
        square = 0.0
        for i in range(used):
            distance = summary[i, VALUE] - median
            square += summary[i, WEIGHT] / count * distance * distance
        unit = np.sqrt(square)
    return median, unit if unit > least else 0.0


@exact
def _rank_scale(x: float, summary: NDArray[np.float64], used: int) -> float:
    count = total_weight(summary, used)
    return 2.0 * (count_below(summary, used, x) / count) - 1.0 if count > 0.0 else 0.0


@exact
def _scale(
    values: NDArray[np.float64],
    plan: NDArray[np.int64],
    extremes: NDArray[np.float64],
    summaries: NDArray[np.float64],
    used: NDArray[np.int64],
    clip: float,
    learn: bool,
    dense: NDArray[np.floating],
) -> None:
    """Write the scaled numbers of some fields to ``dense``, 0 for missing ones."""
    for i in range(values.shape[0]):
        for c in range(plan.shape[0]):
            x = values[i, plan[c, SOURCE]] if plan[c, SOURCE] >= 0 else np.nan
            state = plan[c, STATE]
            z = 0.0
            if abs(x) <= FINITE and plan[c, CODE] == NONE:
                z = _bounded(x, MAX_INPUT)
            elif abs(x) <= FINITE:
                x = _bounded(x, MAX_MAGNITUDE)
                if plan[c, CODE] == MINMAX:
                    if learn:
                        extremes[state, 0] = min(extremes[state, 0], x)
                        extremes[state, 1] = max(extremes[state, 1], x)
                    z = _min_max_scale(x, extremes[state])
                else:
                    if learn:
                        used[state] = insert(summaries[state], used[state], x)
                    if plan[c, CODE] == RANK:
                        z = _rank_scale(x, summaries[state], used[state])
                    else:
                        median, unit = _median_and_unit(summaries[state], used[state])
                        z = (x - median) / unit if unit > 0.0 else 0.0
                z = _bounded(z, clip)
            dense[i, plan[c, DENSE]] = z


@exact
def _values_at(
    ranks: NDArray[np.float64], summary: NDArray[np.float64], used: int
) -> NDArray[np.float64]:
    """Invert `_rank_scale`."""
    count = total_weight(summary, used)
    found = np.empty(len(ranks))
    for i in range(len(ranks)):
        found[i] = value_at_rank(summary, used, 0.5 * (ranks[i] + 1.0) * count)
    return found


@final
class NumberColumns(Transformer, kinds=[Kind.NUMBER]):
    """Scales numbers; those of few distinct values and missing ones also activate a row.

    One kernel standardizes all columns of ``Block.numbers``, those of times included; another then
    overwrites those with another scaling. Missing numbers are 0.
    """

    dense_inputs = 1
    standardized = 1
    overrides = "scalings"

    def __init__(self, settings: EncoderSettings, statistics: NumberStatistics) -> None:
        super().__init__(settings, statistics)
        self._plan = np.empty((0, 5), np.int64)
        self._scaled = self._plan  # the rows that are not standardized, with code and state
        # Code and state of each scaling other than the standard one, by row of the statistics.
        self._placed: dict[int, tuple[int, int]] = {}
        self._extremes = GrowingArray((2,), np.float64)  # of min-max scaled fields
        self._summaries = GrowingArray((MAX_CELLS, SUMMARY_COLUMNS), np.float64)  # of the others
        self._used = GrowingArray((), np.int64)  # number of cells of each summary

    def append(self, slot: FieldSlot) -> None:
        """Add a number column."""
        self.statistics.append(category=True, origin=0.0)
        scalings = self.settings.scalings or {}
        code = CODES[Scaling(scalings.get(slot.field.name, self.settings.scaling))]
        if code == STANDARD:
            return
        state = -1
        if code == MINMAX:
            state = len(self._extremes)
            self._extremes.append((np.inf, -np.inf))
        elif code in (ROBUST, RANK):
            state = len(self._summaries)
            self._summaries.append(0.0)
            self._used.append(0)
        self._placed[slot.statistic] = code, state

    def plan(self, slots: Sequence[FieldSlot], sources: Mapping[str, int], first_key: int) -> int:
        """Plan all columns of ``Block.numbers``; each has a key column."""
        numeric = [slot for slot in slots if slot.field.kind in NUMERIC]
        rows = [
            (sources.get(slot.field.name, -1), slot.statistic, slot.dense, first_key + i, slot.base)
            for i, slot in enumerate(numeric)
        ]
        placed = self._placed
        scaled = [(*row[:3], *placed[row[1]]) for row in rows if row[1] in placed]
        self._plan = np.array(rows, np.int64).reshape(-1, 5)
        self._scaled = np.array(scaled, np.int64).reshape(-1, 5)
        return len(rows)

    def transform(self, block: Block, arrays: InputArrays, learn: bool) -> int:
        """Write standardized and scaled numbers, and keys of categories and missing values."""
        values = arrays.numbers
        active = self._standardize(values, self._plan, arrays, learn)
        if len(self._scaled):
            states = self._extremes.rows, self._summaries.rows, self._used.rows
            _scale(values, self._scaled, *states, self._clip, learn, arrays.dense)
        return active

    def export_state(self) -> dict[str, Any]:
        """Export the state of scalings other than the standard one, if there are any."""
        if not self._placed:
            return {}
        summaries, cells = self._summaries.rows, self._used.rows
        used = [summary[:count].copy() for summary, count in zip(summaries, cells, strict=True)]
        return {
            "extremes": self._extremes.rows.copy(),
            "summary_cells": cells.copy(),
            "summaries": np.concatenate((np.empty((0, SUMMARY_COLUMNS)), *used)),
        }

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Restore the state of scalings other than the standard one."""
        if not self._placed:
            return
        misfit = "the encoder's scales do not fit its fields"
        shape = self._extremes.rows.shape
        extremes = restore_array(state["extremes"], np.float64, shape, misfit)
        used = restore_array(state["summary_cells"], np.int64, (len(self._used),), misfit)
        cells = np.array(state["summaries"])
        ends = used.cumsum()
        fits = used.size == 0 or (used.min() >= 0 and used.max() <= MAX_CELLS)
        if not fits or cells.shape != (used.sum(), SUMMARY_COLUMNS) or not np.isfinite(cells).all():
            raise ModelFileError("the encoder's quantiles do not fit their cells")
        for summary, start, end in zip(self._summaries.rows, ends - used, ends, strict=True):
            if (np.diff(cells[start:end, VALUE]) <= 0.0).any():
                raise ModelFileError("the encoder's quantiles are not in ascending order")
            summary[: end - start] = cells[start:end]
        self._extremes.rows[:] = extremes
        self._used.rows[:] = used

    def freeze(self, slot: FieldSlot, rows: KnownRows) -> FrozenNumber:
        """Return scale and rows of a column."""
        standard = freeze_standardized(self.statistics, slot, rows)
        return replace(standard, scale=self._freeze_scale(slot, standard.scale))

    def _freeze_scale(self, slot: FieldSlot, standard: Scale) -> Scale:
        code, state = self._placed.get(slot.statistic, (STANDARD, -1))
        if code == NONE:
            return Raw(MAX_INPUT)
        if code == MINMAX:
            least, greatest = self._extremes.rows[state].tolist()
            if not greatest > least:
                return NOTHING
            return Affine(0.0, 0.5 * least + 0.5 * greatest, 0.5 * greatest - 0.5 * least)
        if code == STANDARD:
            return standard
        summary, used = self._summaries.rows[state], int(self._used.rows[state])
        if code == ROBUST:
            return Affine(0.0, *_median_and_unit(summary, used))
        return _freeze_ranks(summary[:used]) if used else NOTHING

    def decode_dense(self, slot: FieldSlot, dense: NDArray[Any]) -> NDArray[np.float64]:
        """Numbers in units of the column; NaN if none was ever learned."""
        scaled: NDArray[np.float64] = dense[:, 0].astype(np.float64)
        code, state = self._placed.get(slot.statistic, (STANDARD, -1))
        if code == STANDARD or self.statistics.moments[slot.statistic, COUNT] == 0.0:
            return destandardize(self.statistics, slot, scaled)
        if code == NONE:
            return scaled
        if code == MINMAX:
            least, greatest = self._extremes.rows[state]
            found: NDArray[np.float64] = least + 0.5 * (scaled + 1.0) * (greatest - least)
            return found
        summary, used = self._summaries.rows[state], int(self._used.rows[state])
        if code == RANK:
            return _values_at(scaled, summary, used)
        median, unit = _median_and_unit(summary, used)
        return median + scaled * unit

    def decode_code(self, slot: FieldSlot, code: int) -> float:
        """Return the distinct value of a code."""
        bits = self.statistics.tables[slot.statistic, FIRST_VALUE + code - 1]
        return float(bits.view(np.float64))

    def reconstruct(
        self,
        slot: FieldSlot,
        dense: NDArray[Any],
        active: NDArray[np.floating],
        codes: NDArray[np.int64],
    ) -> list[float | None]:
        """Numbers in units of the column; None for those that are more likely missing."""
        return reconstruct_numbers(self.decode_dense(slot, dense), active, codes)


def freeze_standardized(
    statistics: NumberStatistics, slot: FieldSlot, rows: KnownRows
) -> FrozenNumber:
    """The standardization of a column, and the rows of its distinct values and of missing ones."""
    m = slot.statistic
    count, mean, squares = statistics.moments[m, [COUNT, MEAN, SQUARES]].tolist()
    origin = float(np.nan_to_num(statistics.moments[m, ORIGIN]))
    found = {x: rows.find(slot.base + code) for x, code in statistics.list_categories(m).items()}
    return FrozenNumber(
        slot.field,
        slot.dense,
        Affine(origin, mean, float(standard_deviation(count, mean, squares))),
        statistics.is_splined(m),
        rows.find(slot.base + MISSING),
        {x: row for x, row in found.items() if row != NO_ROW},
    )


def _freeze_ranks(summary: NDArray[np.float64]) -> Ranks:
    """The function that `_rank_scale` computes from the cells of a summary."""
    value, weight, span, same = summary.T
    middle = weight.cumsum() + 0.5 * span
    start, end, last = np.empty(len(value)), np.empty(len(value)), 0.0
    for i in range(len(value)):
        start[i] = max(middle[i] - same[i], last)
        end[i] = last = max(middle[i], start[i])
    before = np.append(0.0, end[:-1])
    scale = 2.0 / max(weight.sum(), 1.0)
    above = scale * weight.sum() - 1.0
    return Ranks(
        value, scale * before - 1.0, scale * start - 1.0, scale * 0.5 * (start + end) - 1.0, above
    )


def destandardize(
    statistics: NumberStatistics, slot: FieldSlot, scaled: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Invert the standardization of a column; NaN if no value was ever learned."""
    moments = statistics.moments[slot.statistic]
    count, mean, squares = moments[[COUNT, MEAN, SQUARES]].tolist()
    if count == 0:
        return np.full(len(scaled), np.nan)
    deviation = standard_deviation(count, mean, squares)
    numbers: NDArray[np.float64] = moments.item(ORIGIN) + mean + scaled * deviation
    return numbers


def reconstruct_numbers(
    numbers: NDArray[np.float64], active: NDArray[np.floating], codes: NDArray[np.int64]
) -> list[float | None]:
    """Replace numbers that are more likely missing than not, or unknown, by None."""
    missing = np.any(active[:, codes == MISSING] > 0.0, axis=1) | np.isnan(numbers)
    pairs = zip(numbers.tolist(), missing.tolist(), strict=True)
    return [None if gone else x for x, gone in pairs]

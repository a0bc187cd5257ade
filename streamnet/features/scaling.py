"""Online scaling of numbers: min-max, robust, rank, or none.

Robust and rank scaling read a quantile summary in bounded memory, after Greenwald and Khanna
(2001) with the fixed size of GKAdaptive (Luo, Wang, Yi and Cormode 2016).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ModelFileError
from streamnet.features.columns.number import MAX_COUNT, GrowingArray
from streamnet.jit import exact
from streamnet.settings.encoder import Scaling

__all__ = (
    "MAX_CELLS",
    "MAX_INPUT",
    "SUMMARY_COLUMNS",
    "FieldScalers",
    "count_below",
    "insert",
    "total_weight",
    "value_at_rank",
)


MAX_CELLS = 128

# A summary has shape (CELLS, COLUMNS). Cell i stands for WEIGHT numbers: the last SAME of them are
# VALUE itself, the others lie between the value before and this one. Besides, up to SPAN of those
# that later cells stand for may lie below it, too.
VALUE, WEIGHT, SPAN, SAME = range(4)
SUMMARY_COLUMNS = 4


@exact
def _find_cell(summary: NDArray[np.float64], used: int, x: float) -> int:
    """The first of the cells whose value is not below ``x``."""
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
    """Merge the cell that costs the least into the next one; the least number stays."""
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
    """How many numbers all cells stand for."""
    count = 0.0
    for i in range(used):
        count += summary[i, WEIGHT]
    return count


@exact
def _fade(summary: NDArray[np.float64], used: int) -> None:
    """Halve what all cells stand for once that is `MAX_COUNT` numbers, so that new ones count."""
    if total_weight(summary, used) >= MAX_COUNT:
        for i in range(used):
            for k in (WEIGHT, SPAN, SAME):
                summary[i, k] *= 0.5


@exact
def insert(summary: NDArray[np.float64], used: int, x: float) -> int:
    """Take a finite number into a summary of ``used`` cells; returns how many it has then."""
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
    """How many numbers lie below ``x``, half of those that equal it counted."""
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
    """The number that has ``count`` others below it, half of those that equal it counted.

    Of n numbers the quantile q is at q * (n - 1) + 0.5. Between two numbers it is interpolated.
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

# Columns of a plan: those of a plan of measures, but that these two say which scaling and state.
SOURCE, DENSE, CODE, STATE = 0, 2, 3, 4

MAX_MAGNITUDE = 1e100  # beyond it a value counts as this large, so that no difference overflows
MAX_INPUT = float(np.finfo(np.float32).max)  # that every network can hold
FINITE = np.finfo(np.float64).max
NORMAL_IQR = 1.3489795003921634  # interquartile range of standard normal numbers


@exact
def _bounded(x: float, bound: float) -> float:
    return min(max(x, -bound), bound)


@exact
def _min_max_scale(x: float, extremes: NDArray[np.float64]) -> float:
    """Place of ``x`` between the extremes as -1 to 1; 0 if they are the same."""
    least, greatest = extremes
    if not greatest > least:
        return 0.0
    return float(2.0 * ((x - least) / (greatest - least)) - 1.0)


@exact
def _median_and_unit(summary: NDArray[np.float64], used: int) -> tuple[float, float]:
    """Median, and what takes the place of a standard deviation.

    Where the quartiles are the same, it is the root mean square distance from the median; 0 where
    there is none to speak of.
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
    """Write the scaled numbers of some fields to ``dense``, 0 for what is missing."""
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
    """The numbers that have these ranks, as `_rank_scale` gives them."""
    count = total_weight(summary, used)
    found = np.empty(len(ranks))
    for i in range(len(ranks)):
        found[i] = value_at_rank(summary, used, 0.5 * (ranks[i] + 1.0) * count)
    return found


@final
class FieldScalers:
    """What the fields are scaled by that have another scaling than the standard one.

    Args:
        scaling: of all fields of numbers but those that are named.
        scalings: by name of the field.

    >>> scales = FieldScalers(scaling="minmax", scalings={})
    >>> scales.append("height", measure=0)
    >>> plan = scales.plan(np.array([[0, 0, 0, 0, 0]]))
    >>> dense = np.empty((3, 1))
    >>> scales.apply(np.array([[1.6], [2.0], [1.7]]), plan, clip=8.0, learn=True, dense=dense)
    >>> dense[:, 0].round(6).tolist()
    [0.0, 1.0, -0.5]
    """

    def __init__(self, *, scaling: str, scalings: Mapping[str, str]) -> None:
        self._scaling = Scaling(scaling)
        self._scalings = {name: Scaling(value) for name, value in scalings.items()}
        self._placed: dict[int, tuple[int, int]] = {}  # by measure: code of the scaling, state
        self._extremes = GrowingArray((2,), np.float64)  # by field scaled between them
        self._summaries = GrowingArray(
            (MAX_CELLS, SUMMARY_COLUMNS), np.float64
        )  # by field of quartiles or ranks
        self._used = GrowingArray((), np.int64)  # cells of each summary

    def append(self, name: str, *, measure: int) -> None:
        """Make room for a field of numbers."""
        code = CODES[self._scalings.get(name, self._scaling)]
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
        self._placed[measure] = code, state

    def plan(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those rows of a plan of measures that are scaled here, shape=(fields, 5)."""
        rows = [
            (source, measure, dense, *self._placed[measure])
            for source, measure, dense, *_ in numbers.tolist()
            if measure in self._placed
        ]
        return np.array(rows, np.int64).reshape(-1, 5)

    def apply(
        self,
        values: NDArray[np.float64],
        plan: NDArray[np.int64],
        *,
        clip: float,
        learn: bool,
        dense: NDArray[np.floating],
    ) -> None:
        """Write the numbers of the planned fields to ``dense``, learning from each before.

        A missing number is 0. A number that isn't scaled is not clipped either, but to what float32
        can hold.
        """
        states = self._extremes.rows, self._summaries.rows, self._used.rows
        _scale(values, plan, *states, clip, learn, dense)

    def inverse(self, measure: int, scaled: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """Numbers that have the given inputs; None if the measure is a standardized one."""
        code, state = self._placed.get(measure, (STANDARD, -1))
        if code == STANDARD:
            return None
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

    def export_state(self) -> dict[str, Any]:
        """What was learned, as arrays; nothing if nothing is scaled here."""
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
        """Take over what `export_state` gave, of as many fields."""
        if not self._placed:
            return
        extremes = np.array(state["extremes"], np.float64)
        used, cells = np.array(state["summary_cells"], np.int64), np.array(state["summaries"])
        if extremes.shape != self._extremes.rows.shape or used.shape != (len(self._used),):
            raise ModelFileError("the encoder's scales do not fit its fields")
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

"""Quantiles of a stream: how its numbers are distributed so far, in bounded memory.

A summary holds at most `CELLS` of the numbers, in ascending order, and how many others lie below
each. It is that of Greenwald and Khanna (2001, Space-efficient online computation of quantile
summaries). Where they let it grow to keep an error, this one has a fixed size, and makes room by
giving up the cell that costs the least, as GKAdaptive does (Luo, Wang, Yi and Cormode 2016,
Quantiles over data streams: experimental comparisons, new analyses, and further improvements). Up
to `CELLS` distinct numbers are kept exactly. Beyond, the widest cell bounds the error: counts were
at most 1.6 % of all numbers off in streams of 300,000 (normal, log-normal, drifting, sorted either
way, rising and falling, like saw teeth). From a million numbers on, earlier ones fade.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamnet.features.moments import LONGEST
from streamnet.jit import exact

__all__ = ("CELLS", "COLUMNS", "count_below", "count_of", "insert", "value_at")

CELLS = 128

# A summary has shape (CELLS, COLUMNS). Cell i stands for WEIGHT numbers: the last SAME of them are
# VALUE itself, the others lie between the value before and this one. Besides, up to SPAN of those
# that later cells stand for may lie below it, too.
VALUE, WEIGHT, SPAN, SAME = range(4)
COLUMNS = 4


@exact
def _place(summary: NDArray[np.float64], used: int, x: float) -> int:
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
def _give_up_one(summary: NDArray[np.float64], used: int) -> int:
    """Merge the cell that costs the least into the next one; the least number stays."""
    cheapest, least = 1, np.inf
    for i in range(1, used - 1):
        cost = summary[i, WEIGHT] + summary[i + 1, WEIGHT] + summary[i + 1, SPAN]
        if cost < least:
            cheapest, least = i, cost
    summary[cheapest + 1, WEIGHT] += summary[cheapest, WEIGHT]
    for i in range(cheapest, used - 1):
        for k in range(COLUMNS):
            summary[i, k] = summary[i + 1, k]
    return cheapest


@exact
def count_of(summary: NDArray[np.float64], used: int) -> float:
    """How many numbers all cells stand for."""
    count = 0.0
    for i in range(used):
        count += summary[i, WEIGHT]
    return count


@exact
def _fade(summary: NDArray[np.float64], used: int) -> None:
    """Halve what all cells stand for once that is `LONGEST` numbers, so that new ones count."""
    if count_of(summary, used) >= LONGEST:
        for i in range(used):
            for k in (WEIGHT, SPAN, SAME):
                summary[i, k] *= 0.5


@exact
def insert(summary: NDArray[np.float64], used: int, x: float) -> int:
    """Take a finite number into a summary of ``used`` cells; returns how many it has then."""
    _fade(summary, used)
    place = _place(summary, used, x)
    if place < used and summary[place, VALUE] == x:
        summary[place, WEIGHT] += 1.0
        summary[place, SAME] += 1.0
        return used
    if used == CELLS:
        place -= _give_up_one(summary, used) < place
        used -= 1
    for i in range(used, place, -1):
        for k in range(COLUMNS):
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
def value_at(summary: NDArray[np.float64], used: int, count: float) -> float:
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

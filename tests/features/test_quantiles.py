from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamnet.features.columns.number import (
    MAX_CELLS,
    SAME,
    SPAN,
    SUMMARY_COLUMNS,
    VALUE,
    WEIGHT,
    count_below,
    insert,
    value_at_rank,
)
from streamnet.features.statistics import MAX_COUNT

NUMBERS = st.floats(-1e100, 1e100) | st.integers(0, 9).map(float)


def summary_of(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    summary, used = np.zeros((MAX_CELLS, SUMMARY_COLUMNS)), 0
    for x in values.tolist():
        used = insert(summary, used, x)
    return summary, used


def middle_ranks(values: NDArray[np.float64], of: NDArray[np.float64]) -> NDArray[np.float64]:
    """How many values lie below each number, half of those that equal it counted."""
    ordered = np.sort(values)
    sides = np.searchsorted(ordered, of, "left"), np.searchsorted(ordered, of, "right")
    return (sides[0] + sides[1]) / 2


def quantile(summary: NDArray[np.float64], used: int, n: int, q: float) -> float:
    return value_at_rank(summary, used, q * (n - 1) + 0.5)


@given(st.lists(NUMBERS, min_size=1, max_size=MAX_CELLS))
def test_few_numbers_are_counted_exactly(values: list[float]) -> None:
    column = np.array(values)
    summary, used = summary_of(column)
    assert used == len(set(values))
    for x in [*values, 0.5, -1e200, 1e200]:
        assert count_below(summary, used, x) == middle_ranks(column, np.array([x]))[0]


@given(st.lists(NUMBERS, min_size=1, max_size=MAX_CELLS), st.floats(0, 1))
def test_quantiles_of_few_numbers_are_those_of_numpy(values: list[float], q: float) -> None:
    column = np.array(values)
    summary, used = summary_of(column)
    expected = np.quantile(column, q)
    width = column.max() - column.min()
    assert quantile(summary, used, len(values), q) == pytest.approx(expected, abs=1e-12 * width)


def streams() -> dict[str, NDArray[np.float64]]:
    rng = np.random.default_rng(4)
    rising = np.arange(20_000.0)
    normal = rng.normal(size=20_000)
    return {
        "normal": normal,
        "heavy tails": np.exp(3.0 * normal),
        "drifting": normal + np.repeat([0.0, 5.0, -3.0, 20.0], 5000),
        "rising": rising,
        "falling": -rising,
        "rising and falling": np.abs(rising - 10_000),
        "saw teeth": rising % 1000 + rng.random(20_000),
        "mostly zero": np.where(rng.random(20_000) < 0.8, 0.0, normal),
    }


@pytest.mark.parametrize("name", streams())
def test_many_numbers_are_counted_within_the_widest_cell(name: str) -> None:
    column = streams()[name]
    summary, used = summary_of(column)
    assert used == MAX_CELLS
    n = len(column)
    widest = (summary[:, WEIGHT] - summary[:, SAME] + summary[:, SPAN]).max()
    assert widest <= 0.05 * n
    asked = np.sort(column)[::37]
    counted = np.array([count_below(summary, used, x) for x in asked.tolist()])
    off = np.abs(counted - middle_ranks(column, asked))
    assert off.max() <= min(widest, 0.015 * n)
    assert (np.diff(counted) >= 0).all()


@pytest.mark.parametrize("name", streams())
def test_quantiles_of_many_numbers_have_ranks_close_to_what_was_asked(name: str) -> None:
    column = streams()[name]
    summary, used = summary_of(column)
    for q in (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0):
        found = quantile(summary, used, len(column), q)
        assert (column < found).mean() - 0.015 <= q <= (column <= found).mean() + 0.015
    assert quantile(summary, used, len(column), 0.0) == column.min()
    assert quantile(summary, used, len(column), 1.0) == column.max()


@given(st.lists(st.integers(-300, 300).map(float), max_size=600))
def test_cells_are_in_order_and_stand_for_all_numbers(values: list[float]) -> None:
    summary, used = summary_of(np.array(values))
    cells = summary[:used]
    assert used <= MAX_CELLS
    assert (np.diff(cells[:, VALUE]) > 0).all()
    assert cells[:, WEIGHT].sum() == len(values)
    assert (cells[:, SAME] <= cells[:, WEIGHT]).all()
    assert (cells[:, SPAN] >= 0).all()


def test_a_number_that_comes_all_the_time_keeps_its_cell() -> None:
    rng = np.random.default_rng(0)
    column = np.where(np.arange(5000) % 3 == 0, 7.0, rng.normal(size=5000) * 100)
    summary, used = summary_of(column)
    assert count_below(summary, used, 7.0) == pytest.approx(
        middle_ranks(column, np.array([7.0]))[0], abs=0.015 * 5000
    )
    assert quantile(summary, used, 5000, 0.5) == 7.0


def test_no_numbers_have_no_quantiles() -> None:
    summary = np.zeros((MAX_CELLS, SUMMARY_COLUMNS))
    assert np.isnan(value_at_rank(summary, 0, 0.5))
    assert count_below(summary, 0, 1.0) == 0.0


def test_however_old_a_summary_is_new_numbers_count_as_in_one_of_a_million() -> None:
    rng = np.random.default_rng(7)
    summary, used = summary_of(rng.normal(size=1000))
    summary[:, [WEIGHT, SPAN, SAME]] *= 1e7
    for x in (rng.normal(size=10_000) + 20.0).tolist():
        used = insert(summary, used, x)
    count = summary[:used, WEIGHT].sum()
    assert 0.5 * MAX_COUNT <= count <= MAX_COUNT
    assert count_below(summary, used, 10.0) == pytest.approx(count - 10_000, rel=0.01)
    assert abs(value_at_rank(summary, used, 0.5 * count)) < 0.2

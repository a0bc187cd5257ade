from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamnet.errors import ModelFileError
from streamnet.features.layout import SHARED, TRUNCATED, RowTable

KEYS = st.lists(st.lists(st.integers(-1, 12).map(lambda k: k << 40), min_size=3, max_size=3))


def entries(table: RowTable, keys: list[list[int]], *, learn: bool = True) -> list[list[int]]:
    row, value, count = table.activate(np.array(keys, np.int64).reshape(-1, 3), learn=learn)
    width = max([1, *count.tolist()])
    assert row.shape == value.shape == (len(keys), width)
    assert row.flags.c_contiguous
    assert value.flags.c_contiguous
    used = np.arange(width) < count[:, None]
    assert (value[~used] == 0.0).all()
    return [r[:c] for r, c in zip(row.tolist(), count.tolist(), strict=True)]


def weigh(
    table: RowTable, values: NDArray[np.float64], *, learn: bool = True
) -> NDArray[np.float32]:
    """Scaled values of samples with one key each, always the same."""
    keys = np.full((len(values), 1), 5, np.int64)
    _, value, _ = table.activate(keys, values.reshape(-1, 1), weighted=1, scaled=1, learn=learn)
    return value[:, 0]


@given(KEYS)
def test_rows_are_assigned_in_order_of_appearance(keys: list[list[int]]) -> None:
    # A key occurs once in a sample, as those of different fields do.
    keys = [[k if k not in sample[:i] else -1 for i, k in enumerate(sample)] for sample in keys]
    rows: dict[int, int] = {}
    expected = [[rows.setdefault(k, len(rows)) for k in s if k >= 0] for s in keys]
    table = RowTable(max_rows=64)
    assert entries(table, keys) == expected
    assert len(table) == len(rows)
    assert entries(table, keys, learn=False) == expected


@given(KEYS)
def test_the_cuts_of_the_stream_do_not_show(keys: list[list[int]]) -> None:
    whole, single = RowTable(max_rows=7), RowTable(max_rows=7)
    assert [entries(single, [sample])[0] for sample in keys] == entries(whole, keys)
    assert single.counters.tolist() == whole.counters.tolist()
    assert single.keys.tolist() == whole.keys.tolist()


def test_new_keys_share_rows_once_all_are_assigned() -> None:
    table = RowTable(max_rows=4)
    first = entries(table, [[k, -1, -1] for k in range(100)])
    assert first[:4] == [[0], [1], [2], [3]]
    assert {row for (row,) in first[4:]} == {0, 1, 2, 3}
    assert entries(table, [[k, -1, -1] for k in range(100)]) == first
    assert entries(table, [[k, -1, -1] for k in range(100)], learn=False) == first
    assert (len(table), table.counters[SHARED]) == (4, 2 * 96)


def test_a_row_occurs_once_in_a_sample_even_if_keys_share_it() -> None:
    table = RowTable(max_rows=1)
    row, value, count = table.activate(np.array([[3, 4, 5]]))
    assert (row[0, : count[0]].tolist(), value[0, : count[0]].tolist()) == ([0], [3.0])


def test_a_new_key_has_no_row_without_learning() -> None:
    table = RowTable(max_rows=8)
    entries(table, [[1, 2, -1]])
    assert entries(table, [[2, 3, 1]], learn=False) == [[1, 0]]
    assert table.counters.tolist() == [2, 0, 0]


def test_more_than_1024_entries_are_cut_and_counted() -> None:
    table = RowTable(max_rows=4096)
    row, value, count = table.activate(np.arange(2060).reshape(2, 1030))
    assert (row.shape, value.shape, count.tolist()) == ((2, 1024), (2, 1024), [1024, 1024])
    assert (len(table), table.counters[TRUNCATED]) == (2048, 12)


def test_weights_belong_to_the_last_keys() -> None:
    table = RowTable(max_rows=8)
    keys = np.array([[1, 2, 3], [1, -1, 2]])
    weights = np.array([[0.5, 0.25], [9.0, 0.75]])
    row, value, count = table.activate(keys, weights, weighted=2)
    assert row.tolist() == [[0, 1, 2], [0, 1, 0]]
    assert value.tolist() == [[1.0, 0.5, 0.25], [1.0, 0.75, 0.0]]
    assert count.tolist() == [3, 2]


@given(st.lists(st.floats(-1e9, 1e9).filter(lambda x: abs(x) > 1e-9), max_size=30))
def test_a_scaled_value_is_divided_by_the_root_mean_square_so_far(values: list[float]) -> None:
    got = weigh(RowTable(max_rows=4), np.array(values, np.float64)).tolist()
    for i, value in enumerate(values):
        root = math.sqrt(sum(v * v for v in values[: i + 1]) / (i + 1))
        assert got[i] == pytest.approx(max(-8.0, min(8.0, value / root)), rel=1e-6)


def test_scaled_values_are_always_finite() -> None:
    got = weigh(RowTable(max_rows=4), np.array([1e300, -1e308, 1.0, 1e-300, 5e-324]))
    assert np.isfinite(got).all()


def test_scaling_without_learning_changes_nothing() -> None:
    table = RowTable(max_rows=4)
    entries(table, [[5, -1, -1]])
    assert weigh(table, np.array([4.0, -0.5]), learn=False).tolist() == [1.0, -0.5]
    assert table.squares.shape == (0, 2)
    weigh(table, np.array([3.0]))
    before = table.squares.tobytes()
    assert weigh(table, np.array([6.0]), learn=False).tolist() == [2.0]
    assert table.squares.tobytes() == before


def test_a_restored_table_assigns_the_same_rows() -> None:
    table, restored = RowTable(max_rows=4), RowTable(max_rows=4)
    entries(table, [[k, k + 3, -1] for k in range(3)])
    weigh(table, np.array([2.0, 4.0]))
    state = {"row_keys": table.keys[:4], "counters": table.counters, "squares": table.squares[:4]}
    restored.restore_state(state)
    more = [[9, 1, 2], [5, 3, 70]]
    assert entries(restored, more) == entries(table, more)
    assert restored.counters.tolist() == table.counters.tolist()
    assert weigh(restored, np.array([1.0])).tolist() == weigh(table, np.array([1.0])).tolist()


@pytest.mark.parametrize(
    ("keys", "counters", "squares"),
    [
        ([1, 2, 3], [3, 0, 0], 0),
        ([1, 2], [1, 0, 0], 0),
        ([1, 1], [2, 0, 0], 0),
        ([1, 2], [2, 0], 0),
        ([1, 2], [2, 0, 0], 1),
    ],
)
def test_an_inconsistent_table_is_refused(
    keys: list[int], counters: list[int], squares: int
) -> None:
    with pytest.raises(ModelFileError, match="row"):
        RowTable(max_rows=2).restore_state(
            {"row_keys": keys, "counters": counters, "squares": np.zeros((squares, 2))}
        )


def test_old_rows_adapt_to_a_new_scale_within_ten_thousand_values() -> None:
    table = RowTable(max_rows=8)
    weigh(table, np.ones(1))
    table.squares[0] = 1e10
    assert weigh(table, np.full(30_000, 20.0))[[0, -1]].tolist() == pytest.approx(
        [8.0, 5.5], abs=0.1
    )

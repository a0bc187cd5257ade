"""Statistics of standardized inputs: moments, distinct values and their storage."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy, deepcopy
from pickle import dumps, loads

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamnet.errors import ModelFileError
from streamnet.features.base import FieldSlot
from streamnet.features.columns.number import NumberColumns
from streamnet.features.statistics import (
    COUNT,
    FIRST_VALUE,
    MAX_COUNT,
    MEAN,
    MOMENT_COLUMNS,
    SQUARES,
    GrowingArray,
    NumberStatistics,
    as_float64,
    restore_array,
    standardize,
    update_moments,
)
from streamnet.samples import Field, Kind
from streamnet.settings.encoder import EncoderSettings, ScalingName
from tests.features.naive import NaiveEncoder, standard

ANY_NUMBER = st.floats(allow_nan=True, allow_infinity=True)
ONE_COLUMN = np.array([[0, 0, 0, 0, 0]])


def standardized(
    measures: NumberStatistics, values: list[float], *, learn: bool = True
) -> tuple[list[float], list[int]]:
    dense = np.full((len(values), 1), np.nan, np.float32)
    keys = np.full((len(values), 1), -9)
    column = np.array(values, np.float64).reshape(-1, 1)
    arrays = (measures.moments, measures.tables, measures.limit)
    splined = np.full((len(values), 1), -1, np.int32)
    standardize(column, ONE_COLUMN, *arrays, 8.0, learn, dense, keys, splined)
    return dense[:, 0].tolist(), keys[:, 0].tolist()


def state(moments: NDArray, counts: NDArray, distinct: NDArray) -> dict[str, NDArray]:
    return {"moments": moments, "distinct_count": counts, "distinct": distinct}


def one_measure(*, limit: int = 64, category: bool = True) -> NumberStatistics:
    measures = NumberStatistics(category_limit=limit)
    measures.append(category=category, origin=0.0)
    return measures


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_a_number_is_standardized_by_all_values_up_to_itself(values: list[float]) -> None:
    got, _ = standardized(one_measure(), values)
    for i in range(len(values)):
        spread = float(np.std(values[: i + 1]))
        # A variance so small that float64 has no digits left for it is that of a constant.
        if spread > 1e-6 * max(map(abs, values)) and spread**2 > 1e-300:
            assert got[i] == pytest.approx(standard(values[: i + 1]), rel=1e-4, abs=1e-4)


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(1, 30))
def test_a_constant_column_is_zero(value: float, n: int) -> None:
    assert standardized(one_measure(), [value] * n)[0] == [0.0] * n


@given(st.lists(ANY_NUMBER, max_size=30))
def test_every_value_makes_a_finite_input(values: list[float]) -> None:
    got, _ = standardized(one_measure(), values)
    assert all(math.isfinite(z) and abs(z) <= 8.0 for z in got)


@pytest.mark.parametrize("huge", [1e38, 1e300, 1.7e308, -1e300, 5e-324])
def test_extreme_numbers_and_later_ones_stay_finite(huge: float) -> None:
    got, _ = standardized(one_measure(), [huge, -huge, 1.0, 2.0, huge, 0.0] * 50)
    assert all(math.isfinite(z) for z in got)


@pytest.mark.parametrize("absent", [math.nan, math.inf, -math.inf])
def test_not_a_number_counts_as_missing_and_changes_no_statistics(absent: float) -> None:
    with_gaps, keys = standardized(one_measure(), [1.5, absent, 2.5, absent, 4.5])
    without, _ = standardized(one_measure(), [1.5, 2.5, 4.5])
    assert [with_gaps[i] for i in (0, 2, 4)] == without
    assert (with_gaps[1], with_gaps[3]) == (0.0, 0.0)
    assert keys == [-1, 0, -1, 0, -1]


def test_few_integers_are_categories_from_the_third_value_on() -> None:
    _, keys = standardized(one_measure(), [5.0, 7.0, 5.0, -3.0, 7.0, 5.0, -0.0, 0.0])
    assert keys == [-1, -1, -1, 3, 2, 1, 4, 4]


@pytest.mark.parametrize("step", [1, 19, 25, 1000])
def test_many_whole_numbers_are_categories_if_they_are_far_apart(step: int) -> None:
    rng = np.random.default_rng(step)
    values = (rng.integers(0, 100, 700) * step).astype(float).tolist()
    naive = NaiveEncoder(category_limit=256)
    expected = [bool(naive.few("x", values[: i + 1])) for i in range(700)]
    measures, resumed = one_measure(limit=256), one_measure(limit=256)
    _, begun = standardized(measures, values[:300])
    resumed.restore_state(
        {name: part() if callable(part) else part for name, part in measures.export_state().items()}
    )
    _, rest = standardized(resumed, values[300:])
    assert [key > 0 for key in begun + rest] == expected
    assert expected[-1] == (step >= 25)


@pytest.mark.parametrize("last", [0.5, 2.0**31, -(2.0**31), 1e300, 9.0])
def test_a_column_with_too_many_values_never_becomes_a_category_again(last: float) -> None:
    measures = one_measure(limit=4)
    _, keys = standardized(measures, [1.0, 2.0, 3.0, 4.0, last, 1.0, 2.0, 3.0])
    assert keys == [-1, -1, 3, 4, -1, -1, -1, -1]


def test_without_learning_neither_moments_nor_categories_change() -> None:
    measures = one_measure(limit=4)
    standardized(measures, [1.0, 2.0, 4.0])
    before = measures.moments.tobytes(), measures.tables.tobytes()
    got, keys = standardized(measures, [2.0, 3.0, 0.5, math.nan], learn=False)
    assert (measures.moments.tobytes(), measures.tables.tobytes()) == before
    assert keys == [2, -1, -1, 0]
    expected = (np.array([2.0, 3.0, 0.5]) - 7 / 3) / np.std([1.0, 2.0, 4.0])
    assert got[:3] == pytest.approx(expected.tolist(), rel=1e-6)


@given(st.lists(st.integers(-(2**31) + 1, 2**31 - 1), max_size=100), st.integers(3, 80))
def test_distinct_numbers_are_told_apart(values: list[int], limit: int) -> None:
    _, keys = standardized(one_measure(limit=limit), [float(v) for v in values])
    codes: dict[int, int] = {}
    for value, key in zip(values, keys, strict=True):
        codes.setdefault(value, len(codes) + 1)
        assert key == (codes[value] if 3 <= len(codes) <= limit else -1)


def test_few_fractions_are_categories_once_each_occurred_twice_on_average() -> None:
    values = [0.0, 0.5, 1.0, 0.5, 0.0, 1.0, 0.5]
    _, keys = standardized(one_measure(limit=64), values)
    assert keys == [-1, -1, -1, -1, -1, 3, 2]


def test_more_than_twelve_fractions_are_no_categories_but_integers_are() -> None:
    values = [float(i % 13) for i in range(130)]
    _, keys = standardized(one_measure(limit=64), values)
    assert keys[13:] == [1 + i % 13 for i in range(13, 130)]
    _, keys = standardized(one_measure(limit=64), [value + 0.5 for value in values])
    assert keys[13:] == [-1] * 117


def test_a_limit_below_three_means_no_categories() -> None:
    _, keys = standardized(one_measure(limit=2), [1.0, 2.0, 3.0, 1.0])
    assert keys == [-1] * 4


def test_restored_statistics_continue_exactly() -> None:
    values = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0]
    whole, half = one_measure(), one_measure()
    expected = standardized(whole, values)
    standardized(half, values[:4])
    restored = one_measure()
    distinct = half.tables[0, FIRST_VALUE : FIRST_VALUE + 3].view(np.float64)
    restored.restore_state(state(half.moments, half.tables[:, 0], distinct))
    dense, keys = standardized(restored, values[4:])
    assert (dense, keys) == (expected[0][4:], expected[1][4:])


@pytest.mark.parametrize(
    ("counts", "distinct"), [([4], [1, 2, 3, 4]), ([2], [1]), ([2], [1, 1]), ([1], [np.inf])]
)
def test_distinct_values_that_do_not_fit_are_refused(
    counts: list[int], distinct: list[float]
) -> None:
    measures = one_measure(limit=3)
    with pytest.raises(ModelFileError, match="distinct values"):
        measures.restore_state(state(measures.moments, np.array(counts), np.array(distinct)))


def test_moments_of_other_inputs_are_refused() -> None:
    measures = one_measure()
    with pytest.raises(ModelFileError, match="moments"):
        measures.restore_state(state(np.zeros((2, 8)), np.zeros(2, np.int64), np.zeros(0)))


@pytest.mark.parametrize("make", ["read-only", "columns first", "integers", "every other"])
def test_any_array_is_converted_for_the_kernels(make: str) -> None:
    values: NDArray[np.generic] = np.arange(12.0).reshape(3, 4)
    if make == "read-only":
        values.flags.writeable = False
    elif make == "columns first":
        values = np.asfortranarray(values)
    elif make == "integers":
        values = values.astype(np.int32)
    else:
        values = np.repeat(values, 2, axis=1)[:, ::2]
    got = as_float64(values)
    assert got.tolist() == np.arange(12.0).reshape(3, 4).tolist()
    assert got.flags.carray
    assert got.dtype == np.float64


def test_statistics_of_no_inputs_can_be_saved() -> None:
    measures = NumberStatistics(category_limit=64)
    measures.restore_state(state(np.empty((0, 8)), np.empty(0, np.int64), np.empty(0)))
    assert len(measures) == 0


def test_a_number_has_a_spline_from_its_third_value_on() -> None:
    measures = NumberStatistics(category_limit=4)
    measures.append(category=True, origin=0.0)
    values = np.array([[1.0], [2.0], [1.0], [3.0], [4.0], [5.0], [np.nan], [1.0]])
    splined = np.full((8, 1), -1, np.int32)
    arrays = (measures.moments, measures.tables, measures.limit)
    places = np.array([[0, 0, 7, 0, 0]])
    dense, keys = np.zeros((8, 8), np.float32), np.zeros((8, 1), np.int64)
    standardize(values, places, *arrays, 8.0, True, dense, keys, splined)
    assert splined[:, 0].tolist() == [-1, -1, -1, 7, 7, 7, -1, 7]


def moments_of(values: NDArray[np.float64]) -> NDArray[np.float64]:
    moments: NDArray[np.float64] = np.zeros((1, MOMENT_COLUMNS))
    for value in values.tolist():
        update_moments(moments, 0, value)
    row: NDArray[np.float64] = moments[0]
    return row


def deviation(moments: NDArray[np.float64]) -> float:
    return float(np.sqrt(moments[SQUARES] / moments[COUNT]))


@given(st.integers(0, 2**32), st.integers(2, 500), st.floats(0.1, 1e6), st.floats(-1e6, 1e6))
def test_moments_without_outliers_match_numpy(
    seed: int, n: int, scale: float, shift: float
) -> None:
    values = np.random.default_rng(seed).uniform(-1, 1, n) * scale + shift
    found = moments_of(values)
    assert found[COUNT] == n
    assert found[MEAN] == pytest.approx(values.mean(), rel=1e-9, abs=1e-9 * scale)
    assert deviation(found) == pytest.approx(values.std(), rel=1e-6, abs=1e-9 * abs(shift))


def test_rare_outliers_hardly_change_moments() -> None:
    values = np.random.default_rng(1).normal(size=5000)
    wild = values.copy()
    wild[25::2000] = 1e9
    found = moments_of(wild)
    assert found[COUNT] == 5000
    assert abs(found[MEAN]) < 0.1
    assert 1.0 < deviation(found) < 1.5


@pytest.mark.parametrize("factor", [1e-6, 1e-4, 1e4, 1e6, 1e60])
def test_moments_adopt_a_new_scale_within_two_windows(factor: float) -> None:
    rng = np.random.default_rng(2)
    found = moments_of(np.concatenate((rng.normal(size=3000), rng.normal(size=128) * factor)))
    assert found[COUNT] <= 128
    assert deviation(found) == pytest.approx(factor, rel=0.3)


@pytest.mark.parametrize("rest", [0.0, 5.0])
def test_a_number_that_is_constant_for_a_while_keeps_its_scale(rest: float) -> None:
    rng = np.random.default_rng(3)
    found = moments_of(np.concatenate((rng.normal(size=1000), np.full(1000, rest))))
    assert found[COUNT] == 2000
    assert deviation(found) > 0.5


def test_a_number_that_is_mostly_zero_keeps_its_scale() -> None:
    values = (np.arange(20_000) % 400 == 7) * 3.0
    found = moments_of(values)
    assert found[COUNT] == 20_000
    assert deviation(found) == pytest.approx(values.std(), rel=0.01)


def test_moments_of_another_shape_are_refused() -> None:
    for shape in ((2, 8), (1, 4), (8,)):
        with pytest.raises(ModelFileError, match="the moments do not fit"):
            restore_array(np.zeros(shape), np.float64, (1, 8), "the moments do not fit")


@pytest.mark.parametrize("age", [MAX_COUNT, 1e10])
def test_old_moments_adapt_to_a_new_level_within_ten_thousand_values(age: float) -> None:
    moments = np.zeros((1, MOMENT_COLUMNS))
    moments[0, [COUNT, SQUARES]] = age
    for value in (np.random.default_rng(4).normal(size=30_000) + 20.0).tolist():
        update_moments(moments, 0, value)
    found = moments[0]
    assert found[COUNT] == MAX_COUNT
    assert (20.0 - found[MEAN]) / deviation(found) < 8.0


def test_from_a_million_values_on_moments_fade_exponentially() -> None:
    moments = np.zeros((1, MOMENT_COLUMNS))
    moments[0, [COUNT, MEAN, SQUARES]] = MAX_COUNT, 1.0, 4.0 * MAX_COUNT
    mean, square = 1.0, 5.0
    for value in np.random.default_rng(5).normal(1.0, 2.0, 5000).tolist():
        update_moments(moments, 0, value)
        mean += (value - mean) / MAX_COUNT
        square += (value * value - square) / MAX_COUNT
    assert moments[0, MEAN] == pytest.approx(mean, rel=1e-12)
    assert deviation(moments[0]) == pytest.approx(np.sqrt(square - mean * mean), rel=1e-9)


def test_rows_are_kept_in_order() -> None:
    growing = GrowingArray((2,), np.int64)
    for i in range(100):
        growing.append((i, -i))
        growing.rows[-1, 1] += 1
    assert growing.rows.tolist() == [[i, 1 - i] for i in range(100)]
    assert growing.rows.flags.c_contiguous


@pytest.mark.parametrize("copied", [copy, deepcopy, lambda growing: loads(dumps(growing))])
@pytest.mark.parametrize("rows", [0, 1, 3, 4])
def test_a_copy_keeps_what_is_written_to_it_as_it_grows(
    copied: Callable[[GrowingArray], GrowingArray], rows: int
) -> None:
    growing = GrowingArray((2,), np.int64)
    for _ in range(rows):
        growing.append(1)
    other = copied(growing)
    other.rows[:] = 2
    for _ in range(3):
        other.append(2)
    assert other.rows.tolist() == [[2, 2]] * (rows + 3)
    assert other.rows.dtype == np.int64


def _measures() -> tuple[Callable[[int], None], Callable[[], list[NDArray[np.generic]]]]:
    measures = NumberStatistics(category_limit=64)
    return (
        lambda i: measures.append(category=True, origin=float(i)),
        lambda: [measures.moments, measures.tables],
    )


def _scales(
    scaling: ScalingName, *names: str
) -> tuple[Callable[[int], None], Callable[[], list[NDArray[np.generic]]]]:
    settings = EncoderSettings(scaling=scaling)
    scales = NumberColumns(settings, NumberStatistics(category_limit=64))
    return (
        lambda i: scales.append(FieldSlot(Field(str(i), Kind.NUMBER), 0, i, i, i)),
        lambda: [getattr(scales, name).rows for name in names],
    )


@pytest.mark.parametrize(
    ("append", "arrays"),
    [_measures(), _scales("minmax", "_extremes"), _scales("rank", "_summaries", "_used")],
    ids=["measures", "extremes", "summaries"],
)
def test_appending_thousands_of_columns_rarely_reallocates(
    append: Callable[[int], None], arrays: Callable[[], list[NDArray[np.generic]]]
) -> None:
    places = set()
    for i in range(1000):
        append(i)
        places.add(tuple(rows.__array_interface__["data"][0] for rows in arrays()))
    assert len(places) <= 11
    assert {len(rows) for rows in arrays()} == {1000}

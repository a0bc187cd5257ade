"""Running moments: exact where nothing is wild, unmoved by one wild value, quick to a new scale."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamnet.errors import ModelFileError
from streamnet.features.statistics import (
    COUNT,
    MAX_COUNT,
    MEAN,
    MOMENT_COLUMNS,
    SQUARES,
    restore_moments,
    update_moments,
)


def moments_of(values: NDArray[np.float64]) -> NDArray[np.float64]:
    moments: NDArray[np.float64] = np.zeros((1, MOMENT_COLUMNS))
    for value in values.tolist():
        update_moments(moments, 0, value)
    row: NDArray[np.float64] = moments[0]
    return row


def deviation(moments: NDArray[np.float64]) -> float:
    return float(np.sqrt(moments[SQUARES] / moments[COUNT]))


@given(st.integers(0, 2**32), st.integers(2, 500), st.floats(0.1, 1e6), st.floats(-1e6, 1e6))
def test_without_wild_values_they_are_those_of_numpy(
    seed: int, n: int, scale: float, shift: float
) -> None:
    values = np.random.default_rng(seed).uniform(-1, 1, n) * scale + shift
    found = moments_of(values)
    assert found[COUNT] == n
    assert found[MEAN] == pytest.approx(values.mean(), rel=1e-9, abs=1e-9 * scale)
    assert deviation(found) == pytest.approx(values.std(), rel=1e-6, abs=1e-9 * abs(shift))


def test_a_wild_value_now_and_then_hardly_moves_them() -> None:
    values = np.random.default_rng(1).normal(size=5000)
    wild = values.copy()
    wild[25::2000] = 1e9
    found = moments_of(wild)
    assert found[COUNT] == 5000
    assert abs(found[MEAN]) < 0.1
    assert 1.0 < deviation(found) < 1.5


@pytest.mark.parametrize("factor", [1e-6, 1e-4, 1e4, 1e6, 1e60])
def test_after_a_change_of_scale_they_are_of_the_new_one_within_two_windows(factor: float) -> None:
    rng = np.random.default_rng(2)
    found = moments_of(np.concatenate((rng.normal(size=3000), rng.normal(size=128) * factor)))
    assert found[COUNT] <= 128
    assert deviation(found) == pytest.approx(factor, rel=0.3)


@pytest.mark.parametrize("rest", [0.0, 5.0])
def test_a_number_that_pauses_keeps_its_scale(rest: float) -> None:
    rng = np.random.default_rng(3)
    found = moments_of(np.concatenate((rng.normal(size=1000), np.full(1000, rest))))
    assert found[COUNT] == 2000
    assert deviation(found) > 0.5


def test_a_number_that_is_rarely_not_zero_keeps_its_scale() -> None:
    values = (np.arange(20_000) % 400 == 7) * 3.0
    found = moments_of(values)
    assert found[COUNT] == 20_000
    assert deviation(found) == pytest.approx(values.std(), rel=0.01)


def test_moments_of_another_shape_are_refused() -> None:
    for shape in ((2, 8), (1, 4), (8,)):
        with pytest.raises(ModelFileError, match="the moments of the encoder do not fit"):
            restore_moments(np.zeros(shape), 1, "the encoder")


@pytest.mark.parametrize("age", [MAX_COUNT, 1e10])
def test_however_old_they_come_to_a_new_level_within_some_ten_thousand_values(age: float) -> None:
    moments = np.zeros((1, MOMENT_COLUMNS))
    moments[0, [COUNT, SQUARES]] = age
    for value in (np.random.default_rng(4).normal(size=30_000) + 20.0).tolist():
        update_moments(moments, 0, value)
    found = moments[0]
    assert found[COUNT] == MAX_COUNT
    assert (20.0 - found[MEAN]) / deviation(found) < 8.0


def test_from_a_million_values_on_all_weigh_as_they_do_in_a_mean_that_fades() -> None:
    moments = np.zeros((1, MOMENT_COLUMNS))
    moments[0, [COUNT, MEAN, SQUARES]] = MAX_COUNT, 1.0, 4.0 * MAX_COUNT
    mean, square = 1.0, 5.0
    for value in np.random.default_rng(5).normal(1.0, 2.0, 5000).tolist():
        update_moments(moments, 0, value)
        mean += (value - mean) / MAX_COUNT
        square += (value * value - square) / MAX_COUNT
    assert moments[0, MEAN] == pytest.approx(mean, rel=1e-12)
    assert deviation(moments[0]) == pytest.approx(np.sqrt(square - mean * mean), rel=1e-9)

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamnet.features.columns.time import CALENDAR_DENSE, CALENDAR_KEYS, encode_calendar

MOMENTS = st.integers(-11_676_096_000, 32_503_679_999).map(
    lambda seconds: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
)


def place(
    times: list[float], clocks: NDArray[np.int64], *, learn: bool = True
) -> tuple[NDArray[np.float32], list[list[int]]]:
    dense = np.full((len(times), CALENDAR_DENSE), np.nan, np.float32)
    keys = np.full((len(times), CALENDAR_KEYS), -9)
    column = np.array(times, np.float64).reshape(-1, 1)
    encode_calendar(column, np.zeros((1, 5), np.int64), clocks, learn, dense, keys)
    return dense, keys.tolist()


@given(st.lists(MOMENTS, min_size=1, max_size=20))
def test_hour_weekday_and_month_are_those_of_the_calendar(moments: list[datetime]) -> None:
    _, keys = place([m.timestamp() for m in moments], np.ones(1, np.int64))
    assert keys == [[1 + m.hour, 32 + m.weekday(), 64 + m.month] for m in moments]


@given(MOMENTS)
def test_angles_go_round_once_a_day_a_week_and_a_year(moment: datetime) -> None:
    ((day_sin, day_cos, *rest),), _ = place([moment.timestamp()], np.ones(1, np.int64))
    of_day = (moment - moment.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds()
    first = moment.replace(year=moment.year - (moment.month < 3), month=3, day=1)
    in_year = (moment - first).days + of_day / 86400
    turns = of_day / 86400, (moment.weekday() + of_day / 86400) / 7, in_year / 366
    expected = [f(2 * math.pi * turn) for turn in turns for f in (math.sin, math.cos)]
    assert [day_sin, day_cos, *rest] == pytest.approx(expected, abs=1e-5)


def test_a_column_of_dates_has_no_hours_until_the_first_time_of_day() -> None:
    clocks = np.zeros(1, np.int64)
    dense, keys = place([0.0, 86400.0, 90000.0, 172800.0], clocks)
    assert [key[0] for key in keys] == [-1, -1, 2, 1]
    assert dense[:2, :2].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert dense[3, :2].tolist() == [0.0, 1.0]
    assert clocks.tolist() == [1]


def test_a_prediction_does_not_make_a_column_of_dates_one_of_times() -> None:
    clocks = np.zeros(1, np.int64)
    _, keys = place([90000.0], clocks, learn=False)
    assert (keys[0][0], clocks[0]) == (-1, 0)


@pytest.mark.parametrize("missing", [math.nan, math.inf, -math.inf])
def test_a_missing_time_has_neither_inputs_nor_keys(missing: float) -> None:
    dense, keys = place([missing], np.ones(1, np.int64))
    assert dense.tolist() == [[0.0] * 6]
    assert keys == [[-1, -1, -1]]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_time_has_finite_angles_and_codes_of_the_calendar(time: float) -> None:
    dense, ((hour, weekday, month),) = place([time], np.ones(1, np.int64))
    assert np.isfinite(dense).all()
    assert (1 <= hour <= 24, 32 <= weekday <= 38, 65 <= month <= 76) == (True, True, True)

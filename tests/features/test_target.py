from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.errors import ModelFileError
from streamnet.features.target import TargetScaler
from tests.features.naive import standard


@given(st.lists(st.integers(-1000, 1000).map(lambda i: i / 8), min_size=1, max_size=40))
def test_the_goal_knows_its_sample_and_the_units_of_the_answer_do_not(values: list[float]) -> None:
    goal, centre, spread = TargetScaler(clip=8.0).update(np.array(values))
    for i in range(len(values)):
        before = values[:i]
        mean = float(np.mean(before)) if before else 0.0
        deviation = float(np.std(before)) if before else 0.0
        assert centre[i] == pytest.approx(mean, abs=1e-9)
        assert spread[i] == pytest.approx(deviation if deviation > 1e-9 else 1.0)
        assert goal[i] == pytest.approx(standard(values[: i + 1]), abs=1e-6)


@given(st.lists(st.floats(), max_size=30))
def test_any_target_gives_finite_units_and_only_a_missing_one_has_no_goal(
    values: list[float],
) -> None:
    goal, centre, spread = TargetScaler(clip=8.0).update(np.array(values, np.float64))
    assert np.isfinite(centre).all()
    assert (np.isfinite(spread) & (spread > 0)).all()
    for target, got in zip(values, goal.tolist(), strict=True):
        assert math.isfinite(got) == math.isfinite(target)
        assert not abs(got) > 8.0


def test_the_result_does_not_depend_on_how_the_stream_is_cut() -> None:
    target = np.array([3.25, math.nan, 1e300, -7.125, 0.1, 0.2, -1e-300, 12.0])
    whole = TargetScaler(clip=8.0).update(target)
    single = TargetScaler(clip=8.0)
    parts = [single.update(target[i : i + 1]) for i in range(len(target))]
    for all_at_once, one_by_one in zip(whole, zip(*parts, strict=True), strict=True):
        assert np.concatenate(one_by_one).tobytes() == all_at_once.tobytes()


@given(st.lists(st.floats(), max_size=10))
def test_the_scale_is_that_of_the_next_answer(values: list[float]) -> None:
    scaler = TargetScaler(clip=8.0)
    scaler.update(np.array(values, np.float64))
    expected = scaler.scale
    _, centre, spread = scaler.update(np.array([3.0]))
    assert (centre[0], spread[0]) == expected


def test_damaged_moments_are_refused() -> None:
    with pytest.raises(ModelFileError, match="moments"):
        TargetScaler(clip=8.0).restore_state(np.zeros(4))


def test_a_raw_target_is_its_own_goal_and_the_answer_needs_no_units() -> None:
    scaler = TargetScaler(clip=8.0, raw=True)
    target = np.array([16.7, -3e9, np.nan, np.inf, 0.1, 1e300])
    scaled = scaler.update(target)
    np.testing.assert_array_equal(scaled.goal, [16.7, -3e9, np.nan, np.nan, 0.1, 1e100])
    assert scaled.centre.tolist() == [0.0] * 6
    assert scaled.spread.tolist() == [1.0] * 6
    assert scaler.scale == (0.0, 1.0)

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.errors import ModelFileError
from streamnet.features.columns.target import TargetScaler, TargetUnits
from tests.features.naive import standard


def guessed(deviation: float, mean: float) -> float:
    """A standard deviation, or what stands for it where targets do not differ."""
    return deviation if deviation > 1e-9 else min(abs(mean), 1.0) or 1.0


@given(st.lists(st.integers(-1000, 1000).map(lambda i: i / 8), min_size=1, max_size=40))
def test_the_goal_knows_its_sample_and_the_units_of_the_answer_do_not(values: list[float]) -> None:
    goal, center, spread, *_ = TargetScaler(clip=8.0).update(np.array(values))
    for i in range(len(values)):
        before = values[:i]
        mean = float(np.mean(before)) if before else 0.0
        deviation = float(np.std(before)) if before else 0.0
        assert center[i] == pytest.approx(mean, abs=1e-9)
        assert spread[i] == pytest.approx(guessed(deviation, mean))
        assert goal[i] == pytest.approx(standard(values[: i + 1]), abs=1e-6)


@given(st.lists(st.floats(), max_size=30))
def test_any_target_gives_finite_units_and_only_a_missing_one_has_no_goal(
    values: list[float],
) -> None:
    goal, center, spread, *_ = TargetScaler(clip=8.0).update(np.array(values, np.float64))
    assert np.isfinite(center).all()
    assert (np.isfinite(spread) & (spread > 0)).all()
    for target, got in zip(values, goal.tolist(), strict=True):
        assert math.isfinite(got) == math.isfinite(target)
        assert not abs(got) > 8.0


@given(st.lists(st.integers(-(10**6), 10**6).map(lambda i: i / 8), min_size=1, max_size=40))
def test_logarithms_have_goals_and_units_of_their_own(values: list[float]) -> None:
    target = np.array(values)
    scaled = TargetScaler(clip=8.0).update(target)
    logs = np.sign(target) * np.log1p(np.abs(target))
    for i in range(len(values)):
        mean = float(logs[:i].mean()) if i else 0.0
        deviation = float(logs[:i].std()) if i else 0.0
        assert scaled.log_center[i] == pytest.approx(mean, abs=1e-9)
        assert scaled.log_spread[i] == pytest.approx(guessed(deviation, mean))
        expected = standard(logs[: i + 1].tolist())
        assert scaled.log_goal[i] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("target", "unit"), [(5e-7, 5e-7), (-0.25, 0.25), (3.0, 1.0), (0.0, 1.0)])
def test_one_target_is_a_guess_at_how_much_others_differ_from_it(
    target: float, unit: float
) -> None:
    scaler = TargetScaler(clip=8.0)
    scaled = scaler.update(np.array([target, target, 2.0 * target]))
    assert scaled.spread.tolist() == [1.0, unit, unit]
    assert TargetScaler(clip=8.0).scale == (0.0, 1.0)


def test_what_is_said_of_logarithms_is_turned_back_within_ten_deviations() -> None:
    rng = np.random.default_rng(0)
    outputs = 3.0 * rng.normal(size=(4, 50))
    outputs[3, :3] = 1e6, -1e6, np.nan
    center, spread = rng.normal(5.0, 2.0, 50), rng.uniform(0.5, 2.0, 50)
    log_center, log_spread = rng.normal(1.0, 0.3, 50), rng.uniform(0.2, 0.5, 50)
    units = TargetUnits(center, spread, log_center, log_spread)
    found = units.numbers(outputs, np.array([False, True, False, True]))
    assert np.array_equal(found[[0, 2]], (center + spread * outputs)[[0, 2]])
    logs = np.clip(log_center + log_spread * outputs[[1, 3]], -300.0, 300.0)
    powers = np.sign(logs) * (np.exp(np.abs(logs)) - 1.0)
    expected = np.clip(powers, center - 10.0 * spread, center + 10.0 * spread)
    np.testing.assert_allclose(found[[1, 3]], expected, rtol=1e-9)
    assert np.array_equal(
        units.numbers(outputs, np.zeros(0, np.bool_)), center + spread * outputs, equal_nan=True
    )


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
    _, center, spread, *_ = scaler.update(np.array([3.0]))
    assert (center[0], spread[0]) == expected


def test_damaged_moments_are_refused() -> None:
    with pytest.raises(ModelFileError, match="moments"):
        TargetScaler(clip=8.0).restore_state(np.zeros(4))


def test_a_raw_target_is_its_own_goal_and_the_answer_needs_no_units() -> None:
    scaler = TargetScaler(clip=8.0, raw=True)
    target = np.array([16.7, -3e9, np.nan, np.inf, 0.1, 1e300])
    scaled = scaler.update(target)
    np.testing.assert_array_equal(scaled.goal, [16.7, -3e9, np.nan, np.nan, 0.1, 1e100])
    assert scaler.units == (0.0, 1.0, 0.0, 1.0)
    standard = TargetScaler(clip=8.0)
    usual = standard.update(target)
    for name in ("center", "spread"):  # which ensembles need all the same
        np.testing.assert_array_equal(getattr(scaled, name), getattr(usual, name))
    assert scaler.scale == standard.scale

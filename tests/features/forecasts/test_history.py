"""Known targets, lags a season ago, and forecasts from them, beside plain references."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from streamnet.errors import ModelFileError
from streamnet.features.forecasts.history import (
    CORRECTED,
    HISTORY,
    LINEAR,
    LOG_CORRECTED,
    LOG_LINEAR,
    NO_CHANGE,
    RINGS,
    SEASONAL,
    SEASONAL_CHANGE,
    Forecasts,
    TargetHistory,
    TargetRows,
)
from streamnet.settings.learning import MAX_SEASON


def timeline(n: int, steps: int) -> TargetRows:
    """Rows of n samples, before each of which the target of ``steps`` samples ago arrives."""
    index, late, origin = [], [], []
    row_of: dict[int, int] = {}
    for number in range(n):
        if number >= steps:
            index.append(number - steps)
            late.append(True)
            origin.append(row_of[number - steps])
        row_of[number] = len(index)
        index.append(number)
        late.append(False)
        origin.append(-1)
    return TargetRows(np.array(index), np.array(late), np.array(origin))


def run(history: TargetHistory, target: Any, rows: TargetRows) -> Forecasts:
    """Forecast in units of 0 and 1, targets where they arrive."""
    n = len(rows.target)
    arriving = np.where(rows.late, np.asarray(target, float)[rows.target], np.nan)
    scale = np.zeros((2, n)), np.ones((2, n))
    found = history.numbers(arriving, *scale, rows)
    return Forecasts(*(part[~rows.late] for part in found))


@given(
    st.lists(st.none() | st.floats(-9, 9), min_size=1, max_size=60),
    st.integers(1, 9),
    st.integers(2, 7),
)
@settings(deadline=None)
def test_lags_are_targets_the_nearest_known_multiple_of_the_season_ago(
    targets: list[float | None], steps: int, season: int
) -> None:
    values = np.array([math.nan if y is None else y for y in targets])
    rows = timeline(len(values), steps)
    found = run(TargetHistory(season=season, numeric=True), values, rows)
    for number in range(len(values)):
        known = {i: y for i, y in enumerate(values[: max(0, number - steps + 1)]) if y == y}
        if not known:
            assert np.isnan(found.numbers[number]).all()
            continue
        latest = max(known)
        away = next(k for k in range(season, 999, season) if k >= number - latest)
        last, before = known[latest], known.get(number - away, math.nan)
        assert_array_equal(found.lags[number, 0], before)
        assert_array_equal(found.lags[number, 1], known.get(number - away - season, math.nan))
        seasonal = last if math.isnan(before) else before
        then = known.get(latest - away, math.nan)
        change = seasonal if math.isnan(then) or math.isnan(before) else last + before - then
        expected = [last, seasonal, change]
        places = [NO_CHANGE, SEASONAL, SEASONAL_CHANGE]
        assert_array_equal(found.numbers[number, places], expected)


@pytest.mark.parametrize("numeric", [True, False])
@given(data=st.data())
@settings(deadline=None, max_examples=20)
def test_forecasts_do_not_depend_on_how_blocks_are_cut(numeric: bool, data: st.DataObject) -> None:
    season = np.tile([1.0, 4.0, 2.0, 0.0, 3.0], 40)
    sizes = data.draw(st.lists(st.integers(1, 40), max_size=8))
    whole, parts = (TargetHistory(season=0, numeric=numeric) for _ in range(2))

    def feed(history: TargetHistory, values: np.ndarray) -> Forecasts:
        rows = history.next_rows(len(values))
        if not numeric:
            return history.classes(values.astype(np.int32), rows)
        scale = np.zeros((2, len(values))), np.ones((2, len(values)))
        return history.numbers(values, *scale, rows)

    expected = feed(whole, season)
    found, start = [], 0
    for size in [*sizes, len(season)]:
        found.append(feed(parts, season[start : start + size]))
        start += size
    assert_array_equal(np.concatenate([part.numbers for part in found]), expected.numbers)
    assert_array_equal(np.concatenate([part.lags for part in found]), expected.lags)
    for name, array in whole.export_state().items():
        assert_array_equal(parts.export_state()[name], array)
    assert whole.season == 5


@pytest.mark.parametrize("steps", [1, 3])
def test_the_regressions_learn_what_repeats_with_a_change_of_level(steps: int) -> None:
    rng = np.random.default_rng(6)
    level = np.cumsum(rng.normal(size=3000)) * 0.02
    target = 3.0 * np.sin(np.arange(3000) * 2 * np.pi / 12) + level + 4.0
    found = run(TargetHistory(season=12, numeric=True), target, timeline(3000, steps)).numbers
    error = np.abs(found - target[:, None])[500:].mean(axis=0)
    assert error[LINEAR] < 0.9 * error[SEASONAL]
    assert error[LINEAR] < 0.9 * error[SEASONAL_CHANGE]
    assert error[LOG_LINEAR] < error[SEASONAL] < 0.1 * error[NO_CHANGE]


def test_corrections_learn_what_varies_through_the_season() -> None:
    rng = np.random.default_rng(8)
    target = [8.0, 8.0]
    for i in range(4000):  # a change is repeated in one half of the season, and undone in the other
        turned = 0.8 * math.cos(2 * math.pi * i / 12)
        target.append(target[-1] + turned * (target[-1] - target[-2]) + rng.normal(scale=0.1))
        target[-1] = 8.0 + 0.95 * (target[-1] - 8.0)
    found = run(TargetHistory(season=12, numeric=True), target, timeline(4002, 1)).numbers
    error = np.abs(found - np.array(target)[:, None])[2000:].mean(axis=0)
    assert error[CORRECTED] < 0.9 * error[LINEAR]
    assert error[LOG_CORRECTED] < 0.97 * error[LOG_LINEAR]


def test_a_season_is_found_as_soon_as_it_can_be() -> None:
    pattern = np.tile([1.0, 9.0, 4.0, 2.0, 7.0, 5.0, 0.0, 3.0, 8.0, 6.0], 4)
    found = run(TargetHistory(season=0, numeric=True), pattern, timeline(40, 1)).numbers
    assert_array_equal(found[:25, SEASONAL][1:], found[:25, NO_CHANGE][1:])
    assert_array_equal(found[30:, SEASONAL], pattern[30:])


def test_a_linear_recurrence_is_learned() -> None:
    target = [1.0, 2.0]
    for _ in range(1500):
        target.append(1.6 * target[-1] - target[-2])
    found = run(TargetHistory(season=0, numeric=True), target, timeline(1502, 1)).numbers
    error = np.abs(found[:, LINEAR] - np.array(target))
    assert error[-200:].max() < 0.02 < 0.5 < error[1:20].max()


def test_a_forecast_is_clipped_to_ten_standard_deviations() -> None:
    target = np.exp(np.arange(60.0))
    rows = timeline(60, 1)
    assert np.isfinite(run(TargetHistory(season=4, numeric=True), target, rows).numbers[1:]).all()


def test_targets_that_are_known_before_a_row_are_used_at_once() -> None:
    number, own = np.arange(6), 10.0 * np.arange(6.0)
    rows = TargetRows(number + 2, np.zeros(6, bool), np.full(6, -1), number, own)
    history = TargetHistory(season=4, numeric=True)
    found = history.numbers(np.full(6, np.nan), np.zeros((2, 6)), np.ones((2, 6)), rows)
    assert found.numbers[:, NO_CHANGE].tolist() == [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]
    assert found.lags[-1, 0] == 30.0


def test_a_restored_history_goes_on_with_the_same_bits() -> None:
    target = np.random.default_rng(7).normal(size=400)
    scale = np.zeros((2, 200)), np.ones((2, 200))
    history = TargetHistory(season=0, numeric=True)
    history.numbers(target[:200], *scale, history.next_rows(200))
    again = TargetHistory(season=0, numeric=True)
    again.restore_state(history.export_state())
    found = [one.numbers(target[200:], *scale, one.next_rows(200)) for one in (history, again)]
    assert_array_equal(found[0].numbers, found[1].numbers)


def test_only_the_last_targets_are_kept() -> None:
    n = HISTORY + 50
    history = TargetHistory(season=MAX_SEASON, numeric=True)
    scale = np.zeros((2, n)), np.ones((2, n))
    found = history.numbers(np.arange(float(n)), *scale, history.next_rows(n))
    assert found.lags[-1, 0] == n - 1 - MAX_SEASON
    assert history.export_state()["past"].shape == (RINGS, HISTORY)


def test_a_damaged_state_is_refused() -> None:
    history = TargetHistory(season=3, numeric=True)
    state = history.export_state()
    with pytest.raises(ModelFileError, match="target history: weights is damaged"):
        history.restore_state({**state, "weights": np.zeros(3)})

"""Scores of intervals: means, over the window and over time, also of weighted samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamnet.errors import ModelFileError
from streamnet.metrics import Horizon
from streamnet.metrics.intervals import CURVE_EVERY, OUTCOMES, IntervalEvaluator
from streamnet.samples import Task
from tests.learning.streams import differences

N = 700


def draw(seed: int = 1) -> tuple[NDArray[Any], NDArray[Any]]:
    """Outcomes, some of samples that are not scored, and weights."""
    random = np.random.default_rng(seed)
    outcomes = np.column_stack((random.random(N) < 0.9, random.lognormal(size=(N, OUTCOMES - 1))))
    outcomes[random.random(N) < 0.1] = np.nan
    return outcomes, random.choice([0.0, 0.25, 1.0, 3.0], N)


def weighted_mean(rows: NDArray[np.float64], weight: NDArray[np.float64]) -> list[float]:
    means: list[float] = np.average(rows, axis=0, weights=weight).tolist()
    return means


def test_metrics_are_weighted_means_over_all_samples_and_over_the_window() -> None:
    outcomes, weight = draw()
    evaluator = IntervalEvaluator(Task.REGRESSION, window=50)
    evaluator.update(outcomes, weight)
    counted = np.isfinite(outcomes[:, 0]) & (weight > 0)
    rows, weights = outcomes[counted], weight[counted]
    assert (evaluator.scored, evaluator.recent) == (counted.sum(), 50)
    found = list(evaluator.measures().values())
    assert found == pytest.approx(weighted_mean(rows, weights))
    found = list(evaluator.measures(Horizon.SLIDING).values())
    assert found == pytest.approx(weighted_mean(rows[-50:], weights[-50:]))


def test_a_weight_counts_like_so_many_samples() -> None:
    outcomes, _ = draw(2)
    times = np.random.default_rng(2).integers(0, 4, N)
    weighted, repeated = (IntervalEvaluator(Task.REGRESSION) for _ in range(2))
    weighted.update(outcomes, times.astype(float))
    repeated.update(np.repeat(outcomes, times, axis=0))
    assert weighted.measures() == pytest.approx(repeated.measures())


def test_weights_of_one_change_no_bit() -> None:
    outcomes, _ = draw(3)
    plain, ones = (IntervalEvaluator(Task.CLASSIFICATION) for _ in range(2))
    plain.update(outcomes)
    ones.update(outcomes, np.ones(N))
    assert differences(plain.export_state(), ones.export_state()) == []
    for horizon in (Horizon.OVERALL, Horizon.SLIDING):
        assert plain.measures(horizon) == ones.measures(horizon)


def test_a_point_of_the_curve_is_the_mean_since_the_point_before() -> None:
    outcomes, weight = draw(4)
    evaluator = IntervalEvaluator(Task.REGRESSION)
    assert evaluator.curve() == ([], {"coverage": [], "mean_width": []})
    evaluator.update(outcomes, weight)
    counted = np.isfinite(outcomes[:, 0]) & (weight > 0)
    rows, weights = outcomes[counted, :2], weight[counted]
    samples, series = evaluator.curve()
    assert samples == list(range(CURVE_EVERY, len(rows) + 1, CURVE_EVERY))
    assert list(series) == ["coverage", "mean_width"]
    for start, *found in zip(range(0, N, CURVE_EVERY), *series.values(), strict=False):
        part = slice(start, start + CURVE_EVERY)
        assert found == pytest.approx(weighted_mean(rows[part], weights[part]))


@given(sizes=st.lists(st.integers(1, 200), min_size=1, max_size=5), at=st.integers(0, N))
def test_cuts_into_blocks_and_resuming_change_no_bit(sizes: list[int], at: int) -> None:
    outcomes, weight = draw(5)
    whole, parts = (IntervalEvaluator(Task.REGRESSION, window=30) for _ in range(2))
    whole.update(outcomes, weight)
    start = turn = 0
    while start < N:
        stop = min(N, start + sizes[turn % len(sizes)])
        if start <= at < stop:
            fresh = IntervalEvaluator(Task.REGRESSION, window=30)
            parts = fresh.restore_state(parts.export_state())
        parts.update(outcomes[start:stop], weight[start:stop])
        start, turn = stop, turn + 1
    assert differences(whole.export_state(), parts.export_state()) == []


def test_a_damaged_state_is_refused() -> None:
    evaluator = IntervalEvaluator(Task.REGRESSION, window=30)
    state = evaluator.export_state() | {"recent": np.zeros((3, OUTCOMES))}
    with pytest.raises(ModelFileError, match="recent has shape"):
        evaluator.restore_state(state)

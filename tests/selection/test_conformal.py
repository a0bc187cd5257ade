"""Trackers of intervals and sets: equal to plain Python, and at their level through drift."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, isnan, log, sqrt
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.metrics.intervals import COVERAGE, SCORE, SIZE
from streamnet.samples import Task
from streamnet.selection.conformal import (
    IntervalTracker,
    SetTracker,
    build_tracker,
    restore_tracker,
)
from tests.learning.streams import differences

NO_ORIGIN = np.empty(0, np.int64)
NO_LABELS = np.empty(0, np.int32)
N = 12_000
WINDOW = 5000


def clip(value: float, limit: float) -> float:
    return min(max(value, -limit), limit)


def naive_intervals(
    answers: list[float], truths: list[float], level: float, *, recent: bool = True
) -> list[tuple[float, float]]:
    """The intervals by the formulas, one by one."""
    bound = log(-log(1 - level))
    fast = slow = mean_error = mean = variance = 0.0
    weights, squares = [0.0, 0.5, 0.0, 0.0], [0.01] * 4
    seen = errors = 0
    given = []
    for answer, truth in zip(answers, truths, strict=True):
        interval = (float("nan"), float("nan"))
        features, size = [0.0], 0.0
        if errors:
            usual = max(slow, 1e-12 * mean_error + 1e-300)
            spread = sqrt(variance)
            away = clip((answer - mean) / spread, 3) if spread > 0 else 0.0
            from_zero = clip(log((abs(answer) + usual) / (abs(mean) + spread + usual)), 3)
            features = [1.0, log(max(fast, 1e-3 * usual) / usual) * recent, away, from_zero]
            factor = 0.0
            for w, x in zip(weights, features, strict=True):
                factor += w * x
            size = log(usual) + clip(factor, 5)
            interval = (answer - exp(size + bound), answer + exp(size + bound))
        given.append(interval)
        if isnan(truth):
            continue
        error = abs(truth - answer)
        if errors:
            missed = not interval[0] <= truth <= interval[1]
            step = 0.04 if recent else 0.005
            bound = clip(bound + step * (missed - (1 - level)), 10)
            slope = 1 - min(error / exp(size), 4)
            for k, x in enumerate(features):
                squares[k] = 0.999 * squares[k] + 0.001 * (slope * x) * (slope * x)
                step = 0.001 * (slope * x) / sqrt(squares[k] + 0.01)
                weights[k] = clip(weights[k] - step, 5)
        if seen:  # before the first truth, an error says nothing
            errors += 1
            fast += (error - fast) * max(0.2, 1 / errors)
            slow += (error - slow) * max(0.005, 1 / errors)
            mean_error += (error - mean_error) * (1 / errors)
        seen += 1
        away = truth - mean
        mean += away * (1 / seen)
        variance += (away * (truth - mean) - variance) * (1 / seen)
    return given


def naive_sets(
    answers: NDArray[np.float64], labels: list[int], known: list[int], level: float
) -> list[set[int]]:
    """The sets by the formulas, one by one."""
    odds, seen, given = 0.0, 0, []
    for row, label, count in zip(answers.tolist(), labels, known, strict=True):
        threshold = 2.0 if odds > 9 else 0.0 if odds < -9 else 1 / (1 + exp(-odds))
        found = {c for c in range(count) if row[c] >= threshold}
        given.append(found)
        if label < 0:
            continue
        seen += 1
        step = 0.2 * (1 + 5 / (1 + seen / 100))
        odds += step * ((1 - level) - (label not in found))
        odds = min(max(odds, -9 - step), 18)
    return given


def follow_numbers(
    answers: NDArray[np.float64], truths: NDArray[np.float64], level: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Intervals and outcomes of a tracker."""
    tracker = IntervalTracker(level)
    bounds = np.full((len(truths), 1, tracker.bounds), np.nan)
    outcomes = tracker.update(answers[None], truths, NO_LABELS, NO_ORIGIN, bounds)
    return tracker.decode(answers, bounds[:, 0], NO_LABELS), outcomes


def follow_labels(
    answers: NDArray[np.float64], labels: NDArray[np.int32], level: float
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Sets and outcomes of a tracker."""
    tracker, known = SetTracker(level), np.full(len(labels), answers.shape[1], np.int32)
    bounds = np.full((len(labels), 1, 1), np.nan)
    outcomes = tracker.update(answers[None], labels, known, NO_ORIGIN, bounds)
    return tracker.decode(answers, bounds[:, 0], known), outcomes


def worst_distance(held: NDArray[Any], level: float) -> float:
    """How far the coverage of a window of 5,000 samples is from the level at most."""
    sums = np.concatenate(([0], np.cumsum(held)))
    return float(np.abs((sums[WINDOW:] - sums[:-WINDOW]) / WINDOW - level).max())


@pytest.mark.parametrize("level", [0.5, 0.8, 0.99])
def test_intervals_are_those_of_plain_python(level: float) -> None:
    random = np.random.default_rng(3)
    answers = np.cumsum(random.normal(size=600))
    truths = answers + random.standard_t(2, size=600) * (1 + np.abs(answers))
    truths[random.random(600) < 0.1] = np.nan
    found, outcomes = follow_numbers(answers, truths, level)
    expected = np.array(naive_intervals(answers.tolist(), truths.tolist(), level))
    assert np.array_equal(found, expected, equal_nan=True)
    scored = np.isfinite(truths) & np.isfinite(expected[:, 0])
    low, high, y = expected[scored, 0], expected[scored, 1], truths[scored]
    assert np.array_equal(np.isfinite(outcomes[:, COVERAGE]), scored)
    assert np.array_equal(outcomes[scored, COVERAGE], (low <= y) & (y <= high))
    assert np.array_equal(outcomes[scored, SIZE], high - low)
    pinball = [
        np.maximum(q * (y - end), (q - 1) * (y - end))
        for q, end in (((1 - level) / 2, low), ((1 + level) / 2, high))
    ]  # the interval score is 2 / (1 - level) times that of both quantiles
    assert outcomes[scored, SCORE] == pytest.approx(2 / (1 - level) * sum(pinball))


@pytest.mark.parametrize("level", [0.5, 0.8, 0.99])
def test_sets_are_those_of_plain_python(level: float) -> None:
    random = np.random.default_rng(3)
    answers = random.dirichlet([0.3, 0.3, 0.3], size=600)
    labels = np.array([random.choice(3, p=row) for row in answers], np.int32)
    labels[random.random(600) < 0.1] = -1
    known = np.minimum(np.arange(600) // 10, 3).astype(np.int32)
    tracker, bounds = SetTracker(level), np.full((600, 1, 1), np.nan)
    outcomes = tracker.update(answers[None], labels, known, NO_ORIGIN, bounds)
    found = tracker.decode(answers, bounds[:, 0], known)
    expected = naive_sets(answers, labels.tolist(), known.tolist(), level)
    assert [set(np.flatnonzero(row).tolist()) for row in found] == expected
    scored = labels >= 0
    held = [label in one for label, one in zip(labels.tolist(), expected, strict=True)]
    assert np.array_equal(outcomes[scored, COVERAGE], np.array(held)[scored])
    assert outcomes[scored, SIZE].tolist() == [
        len(one) for one, is_scored in zip(expected, scored, strict=True) if is_scored
    ]
    assert np.isnan(outcomes[~scored]).all()


Errors = Callable[[np.random.Generator], NDArray[np.float64]]
ERRORS: dict[str, Errors] = {
    "normal": lambda random: random.normal(size=N),
    "heavy": lambda random: random.standard_t(1.5, size=N),
    "growing": lambda random: random.normal(size=N) * np.exp(np.linspace(0, 12, N)),
    "jumps": lambda random: random.normal(size=N) * np.repeat([1, 30, 0.3, 5], N // 4),
    "bias": lambda random: random.normal(size=N) + np.repeat([0, 20, -20], N // 3),
    "bursts": lambda random: random.normal(size=N) * (1 + 30 * (np.arange(N) % 500 < 50)),
    "skewed": lambda random: random.exponential(size=N) ** 2,
}


@pytest.mark.parametrize("level", [0.8, 0.9])
@pytest.mark.parametrize("name", ERRORS)
def test_intervals_keep_their_level_in_any_window_through_drift(name: str, level: float) -> None:
    errors = ERRORS[name](np.random.default_rng(7))
    _, outcomes = follow_numbers(np.zeros(N), errors, level)
    assert worst_distance(outcomes[2:, COVERAGE], level) < 0.01


@pytest.mark.parametrize("level", [0.8, 0.9])
@pytest.mark.parametrize("sharpness", [0.1, 1.0, 5.0])
def test_sets_keep_their_level_in_any_window_through_drift(level: float, sharpness: float) -> None:
    random = np.random.default_rng(7)
    scores = random.normal(size=(N, 4)) * sharpness * np.repeat([[1], [3], [0.3]], N // 3, axis=0)
    answers = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    labels = np.array([random.choice(4, p=row) for row in answers], np.int32)
    labels[N // 2 :] = (labels[N // 2 :] + 1) % 4  # nearly all predictions are wrong from here on
    _, outcomes = follow_labels(answers, labels, level)
    assert worst_distance(outcomes[:, COVERAGE], level) < 0.012


def important(task: Task) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]]:
    """Predictions, truths and weights, where those that are hard to predict weigh more."""
    random = np.random.default_rng(7)
    hard = random.random(N) < 0.3
    weight = np.where(hard, 3.0, 1.0)
    if task is Task.REGRESSION:  # of the same size, so that the tracker can't know which are hard
        return np.zeros((1, N)), random.normal(size=N) * np.where(hard, 5.0, 1.0), weight
    right = random.random(N) < np.where(hard, 0.5, 0.95)
    return np.tile([0.8, 0.2], (1, N, 1)), np.where(right, 0, 1).astype(np.int32), weight


@pytest.mark.parametrize("task", list(Task))
def test_the_weighted_fraction_of_truths_is_steered_to_the_level(task: Task) -> None:
    answers, truth, weight = important(task)
    tracker, known = build_tracker(task, 0.9), np.full(N, 2, np.int32)
    bounds = np.full((N, 1, tracker.bounds), np.nan)
    held = tracker.update(answers, truth, known, NO_ORIGIN, bounds, weight)[:, COVERAGE]
    held, weight = held[2:], weight[2:]
    assert abs(held.mean() - 0.9) > 0.02  # more of the easy ones are held
    sums = np.cumsum(np.stack((held * weight, weight)), axis=1)
    within = sums[:, WINDOW:] - sums[:, :-WINDOW]
    assert np.abs(within[0] / within[1] - 0.9).max() < 0.01


@pytest.mark.parametrize("task", list(Task))
def test_one_huge_weight_moves_the_bound_by_no_more_than_ten_samples(task: Task) -> None:
    answers, truth, _ = important(task)
    tracker, known = build_tracker(task, 0.9), np.full(N, 2, np.int32)
    weight = np.ones(N)
    weight[N // 2] = 1e9
    bounds = np.full((N, 1, tracker.bounds), np.nan)
    outcomes = tracker.update(answers, truth, known, NO_ORIGIN, bounds, weight)
    assert worst_distance(outcomes[2:, COVERAGE], 0.9) < 0.012
    assert np.isfinite(tracker.export_state()["state"]).all()


@pytest.mark.parametrize("level", [0.9, 0.8])
def test_a_tracker_of_another_level_starts_from_what_one_track_has_learned(level: float) -> None:
    random = np.random.default_rng(7)
    answers, truths = random.normal(size=(2, N)), random.laplace(size=N)
    before, after = IntervalTracker(0.9, 2), IntervalTracker(level, 2)
    bounds = np.full((N, 2, before.bounds), np.nan)
    before.update(answers * 1e-3, truths, NO_LABELS, NO_ORIGIN, bounds)
    after.start_from(restore_tracker(Task.REGRESSION, before.restricted(1)))
    for track in range(2):
        found = after.predict(np.zeros(1), track)[0]
        best = -log(1 - level)  # of these errors
        assert found[1] == pytest.approx(best, rel=0.25)
    first, second = after.export_state()["state"]
    assert (first != second).sum() == 2  # the step, and whether the last few errors count


def test_sets_of_the_same_level_start_where_one_track_was() -> None:
    random = np.random.default_rng(7)
    answers = random.dirichlet([1.0, 1.0, 1.0], (2, 500))
    labels = random.integers(0, 3, 500).astype(np.int32)
    before = SetTracker(0.9, 2)
    bounds = np.full((500, 2, 1), np.nan)
    before.update(answers, labels, np.full(500, 3, np.int32), NO_ORIGIN, bounds)
    start = restore_tracker(Task.CLASSIFICATION, before.restricted(1))
    same, other = SetTracker(0.9, 2), SetTracker(0.8, 2)
    for tracker in (same, other):
        tracker.start_from(start)
    for track in range(2):
        assert np.array_equal(same.predict(answers[0], track), start.predict(answers[0]))
    assert differences(other.export_state(), SetTracker(0.8, 2).export_state()) == []


def test_sets_are_empty_where_predictions_are_right_more_often_than_they_should_hold() -> None:
    random = np.random.default_rng(7)
    labels = random.integers(0, 2, N).astype(np.int32)
    right = np.clip(random.beta(20, 1, size=N), 0.51, 0.999)
    answers = np.where(np.arange(2) == labels[:, None], right[:, None], 1 - right[:, None])
    found, outcomes = follow_labels(answers, labels, 0.8)
    assert outcomes[:, COVERAGE].mean() == pytest.approx(0.8, abs=0.005)
    assert (found.sum(axis=1) == 0).mean() == pytest.approx(0.2, abs=0.01)


def test_wide_errors_where_predictions_are_large_get_wide_intervals() -> None:
    random = np.random.default_rng(7)
    answers = random.uniform(1, 100, size=N)
    found, outcomes = follow_numbers(answers, answers * random.lognormal(0, 0.2, size=N), 0.9)
    widths = (found[:, 1] - found[:, 0])[N // 2 :]
    large = answers[N // 2 :] > 80
    small = answers[N // 2 :] < 20
    assert np.median(widths[large]) > 4 * np.median(widths[small])
    held = outcomes[N // 2 :, COVERAGE]
    for part in (large, small):  # though only the level of all is steered
        assert held[part].mean() == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize("task", list(Task))
def test_extreme_numbers_leave_the_state_finite(task: Task) -> None:
    tracker = build_tracker(task, 0.9)
    bounds = np.full((400, 1, tracker.bounds), np.nan)
    if task is Task.REGRESSION:
        values = np.array([0.0, 1e308, -1e308, 1e-320, np.nan, np.inf, 5.0, -0.0])
        answers, truths = np.resize(values, 400), np.resize(values[::-1], 400)
        tracker.update(answers[None], truths, NO_LABELS, NO_ORIGIN, bounds)
    else:
        answers = np.resize([1.0, 0.0], (1, 400, 2)).astype(np.float32)
        labels = np.resize(np.array([1, 0, -1], np.int32), 400)
        tracker.update(answers, labels, np.full(400, 2, np.int32), NO_ORIGIN, bounds)
    assert np.isfinite(tracker.export_state()["state"]).all()


def test_each_track_is_followed_by_itself_and_only_the_first_at_once() -> None:
    random = np.random.default_rng(7)
    answers, truths = random.normal(size=(2, 500)), random.normal(size=500)
    both = IntervalTracker(0.9, 2)
    bounds = np.full((500, 2, both.bounds), np.nan)
    both.update(answers, truths, NO_LABELS, NO_ORIGIN, bounds)
    for track, recent in enumerate((True, False)):
        given = answers[track].tolist()
        single = np.array(naive_intervals(given, truths.tolist(), 0.9, recent=recent))
        assert np.array_equal(bounds[:, track, :2], single, equal_nan=True)
        one = restore_tracker(Task.REGRESSION, both.restricted(track))
        assert np.array_equal(one.predict(answers[0]), both.predict(answers[0], track))


@pytest.mark.parametrize("task", list(Task))
def test_a_state_is_restored_exactly(task: Task) -> None:
    tracker = build_tracker(task, 0.8, 2)
    assert (
        differences(
            restore_tracker(task, tracker.export_state()).export_state(), tracker.export_state()
        )
        == []
    )


@pytest.mark.parametrize(
    "damage", [{"level": 0.0}, {"state": np.zeros(3)}, {"state": np.zeros((1, 4))}, {"state": None}]
)
def test_a_damaged_state_is_refused(damage: dict[str, Any]) -> None:
    state = {**build_tracker(Task.REGRESSION, 0.8).export_state(), **damage}
    with pytest.raises(ModelFileError, match="intervals: "):
        restore_tracker(Task.REGRESSION, state)


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, "much"])
def test_a_level_that_is_none_is_refused(level: Any) -> None:
    with pytest.raises(ConfigurationError, match="interval is "):
        SetTracker(level)

"""Forecasts: the target some samples ahead is predicted, and scored when it comes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, mean_absolute_error

from streamnet.errors import ConfigurationError
from streamnet.learning.contenders import SEASONAL_NO_CHANGE
from streamnet.learning.learner import Learner
from streamnet.samples import Block, Field, Kind, Schema, Task
from tests.learning.streams import ROUND, candidate, differences, feed, learner_of, state_of, stream

TASKS = [Task.CLASSIFICATION, Task.REGRESSION]


def shifted(block: Block, horizon: int) -> Block:
    """The stream with the target ahead as that of each sample; the last ones have none."""
    assert block.target is not None
    ahead = np.full(len(block), np.nan if block.target.dtype == np.float64 else None, object)
    ahead[: len(block) - horizon] = block.target[horizon:]
    return replace(block, target=ahead.astype(block.target.dtype))


def answers(learner: Learner, block: Block, sizes: tuple[int, ...] = (33,)) -> NDArray[Any]:
    """What is served for each sample."""
    parts = [one.answers for one in feed(learner, block, sizes)]
    width = max(part.shape[-1] for part in parts)
    if learner.task is Task.REGRESSION:
        return np.concatenate(parts)
    padded = [np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in parts]
    return np.concatenate(padded)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("horizon", [2, 9, 100])
def test_the_target_ahead_is_learned_as_a_label_that_comes_so_much_later(
    task: Task, horizon: int
) -> None:
    block = stream(task, 300, gaps=False)
    one = [candidate(optimizer="adagrad")]
    ahead = learner_of(task, one, serve="champion", horizon=horizon)
    late = learner_of(task, one, serve="champion", label_delay=horizon)
    found, expected = answers(ahead, block), answers(late, shifted(block, horizon))
    # Before there are labels, a baseline is served, which knows the first targets.
    assert_array_equal(found[horizon + 1 :], expected[horizon + 1 :])


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("horizon", [1, 7, 150])
def test_the_score_is_that_of_what_was_served_for_the_target_ahead(
    task: Task, horizon: int
) -> None:
    block = stream(task, 400)
    learner = learner_of(task, horizon=horizon)
    served = answers(learner, block)
    truth = shifted(block, horizon).target
    assert truth is not None
    if task is Task.REGRESSION:
        known = np.isfinite(truth)
        expected = mean_absolute_error(truth[known], served[known])
        assert learner.serving.measures()["mae"] == pytest.approx(expected, rel=1e-12)
    else:
        known = np.array([label is not None for label in truth])
        names = [learner.encoder.labels[k] for k in served.argmax(axis=1)]
        expected = accuracy_score(truth[known].astype(str), np.array(names)[known])
        # Before a class is known, nothing is right.
        assert abs(learner.serving.measures()["accuracy"] - expected) <= (horizon + 1) / known.sum()
    assert learner.pending == horizon
    assert learner.serving.scored == known.sum()


@pytest.mark.parametrize("task", TASKS)
@given(data=st.data())
@settings(deadline=None, max_examples=6)
def test_the_result_does_not_depend_on_how_blocks_are_cut(task: Task, data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 90), min_size=1, max_size=6))
    horizon, delay = data.draw(st.integers(1, 150)), data.draw(st.sampled_from([0, 3, 40]))
    block = stream(task, 320)
    learners = [
        learner_of(task, horizon=horizon, label_delay=delay, evolution={"every": 2})
        for _ in range(2)
    ]
    first = answers(learners[0], block)
    second = answers(learners[1], block, tuple(sizes))
    assert differences(state_of(learners[0]), state_of(learners[1])) == []
    if task is Task.REGRESSION:
        assert_array_equal(first, second)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("delay", [0, 50])
def test_a_restored_learner_goes_on_with_the_same_bits(task: Task, delay: int) -> None:
    block = stream(task, 400)

    def make() -> Learner:
        return learner_of(task, horizon=70, label_delay=delay, evolution={"every": 2})

    whole, begun, resumed = make(), make(), make()
    list(feed(whole, block))
    list(feed(begun, block.part(0, 3 * ROUND)))
    resumed.restore_state(begun.export_state())
    list(feed(resumed, block.part(3 * ROUND, 400), (7, 50)))
    for learner in (whole, resumed):
        learner.learn_pending()
    assert differences(state_of(whole), state_of(resumed)) == []


@pytest.mark.parametrize("horizon", [1, 5, 24])
def test_baselines_are_the_target_now_and_that_a_season_before_the_one_ahead(horizon: int) -> None:
    block = stream(Task.REGRESSION, 300, gaps=False)
    learner = learner_of(Task.REGRESSION, horizon=horizon, season=7)
    list(feed(learner, block, (33,)))
    truth = block.target
    assert truth is not None
    now, season = truth[: 300 - horizon], []
    for number in range(horizon, 300):
        before = number - 7 * -(-horizon // 7)
        season.append(truth[before] if before >= 0 else truth[number - horizon])
    for name, expected in (("no_change", now), (SEASONAL_NO_CHANGE, season)):
        found = contender_error(learner, name)
        assert found == pytest.approx(mean_absolute_error(truth[horizon:], expected), rel=1e-12)


def test_a_seasonal_stream_is_forecast_from_its_known_targets() -> None:
    rng = np.random.default_rng(8)
    target = 50.0 + 10.0 * np.sin(np.arange(2000) * 2 * np.pi / 12) + rng.normal(size=2000)
    block = replace(stream(Task.REGRESSION, 2000, gaps=False), target=target)
    for horizon in (1, 6, 30):
        learner = learner_of(Task.REGRESSION, [candidate(lags=True)], horizon=horizon)
        served = answers(learner, block)
        error = np.abs(served[:-horizon] - target[horizon:])[500:].mean()
        assert error < 1.2, "the noise alone is 0.8"


def timed(block: Block, seconds: NDArray[Any]) -> Block:
    """The stream with a column of times."""
    schema = Schema((*block.schema.fields, Field("when", Kind.TIME)), "y", block.schema.task)
    return replace(block, schema=schema, numbers=np.column_stack((block.numbers, seconds)))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("delay", [0, 7])
def test_in_regular_times_a_span_is_so_many_samples(task: Task, delay: int) -> None:
    block = stream(task, 400)
    regular = timed(block, 3600.0 * np.arange(400))
    in_time = learner_of(task, horizon="12h", time="when", label_delay=delay)
    in_samples = learner_of(task, horizon=12, label_delay=delay)
    found, expected = answers(in_time, regular), answers(in_samples, regular)
    # How many samples a span has is known once it has passed.
    if task is Task.CLASSIFICATION:
        assert_array_equal(found, expected)
    else:
        assert in_time.serving.scored == in_samples.serving.scored
        assert in_time.encoder.units == in_samples.encoder.units


@pytest.mark.parametrize("task", TASKS)
def test_the_target_of_a_span_is_that_of_the_first_sample_so_much_later(task: Task) -> None:
    rng = np.random.default_rng(1)
    times = np.cumsum(rng.exponential(60.0, 400) * (1 + 40 * (rng.random(400) < 0.05)))
    times[rng.random(400) < 0.1] -= 100.0  # out of order
    times[rng.random(400) < 0.05] = np.nan
    block = timed(stream(task, 400), times)
    learner = learner_of(task, horizon="10min", time="when")
    served = answers(learner, block)
    clock, latest = [], -np.inf
    for time in times:
        latest = np.fmax(latest, time)
        clock.append(latest)
    errors, right, truth = [], 0, block.target
    assert truth is not None
    labels = learner.encoder.labels
    for i in range(400):
        later = [j for j in range(i + 1, 400) if clock[j] >= clock[i] + 600.0]
        if not later:
            continue
        actual = truth[later[0]]
        if task is Task.REGRESSION and np.isfinite(actual):
            errors.append(abs(served[i] - actual))
        elif task is Task.CLASSIFICATION and actual is not None:
            errors.append(1.0)
            right += labels[int(served[i].argmax())] == actual
    assert learner.serving.scored == len(errors)
    measures = learner.serving.measures()
    if task is Task.REGRESSION:
        assert measures["mae"] == pytest.approx(np.nanmean(errors), rel=1e-12)
    else:  # before a class is known, nothing is right
        assert abs(measures["accuracy"] - right / len(errors)) < 0.05
        assert measures["accuracy"] <= right / len(errors)


@given(data=st.data())
@settings(deadline=None, max_examples=8)
def test_time_spans_do_not_depend_on_how_blocks_are_cut_or_runs_resume(data: st.DataObject) -> None:
    task = data.draw(st.sampled_from(TASKS))
    sizes = data.draw(st.lists(st.integers(1, 90), min_size=1, max_size=6))
    delay = data.draw(st.sampled_from([0, 3, "2min", "1h"]))
    span = data.draw(st.sampled_from(["1s", "90s", "30min", "2h"]))
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    times = np.cumsum(rng.exponential(60.0, 320)) - 90.0 * (rng.random(320) < 0.1)
    times[rng.random(320) < 0.2] = np.nan
    block = timed(stream(task, 320), times)

    def make() -> Learner:
        given: dict[str, Any] = {"horizon": span, "time": "when", "label_delay": delay}
        return learner_of(task, evolution={"every": 2}, **given)

    whole, begun, resumed = make(), make(), make()
    list(feed(whole, block, (33,)))
    list(feed(begun, block.part(0, 3 * ROUND), tuple(sizes)))
    resumed.restore_state(begun.export_state())
    list(feed(resumed, block.part(3 * ROUND, 320), tuple(sizes)))
    for learner in (whole, resumed):
        learner.learn_pending()
    assert differences(state_of(whole), state_of(resumed)) == []


def test_a_label_that_was_known_before_its_sample_waits_for_it() -> None:
    """Else a forecast would have been made with the target that it predicts."""
    block = timed(stream(Task.REGRESSION, 300, gaps=False), 60.0 * np.arange(300))
    early = replace(
        block,
        schema=Schema((*block.schema.fields, Field("known", Kind.TIME)), "y", Task.REGRESSION),
        numbers=np.column_stack((block.numbers, np.zeros(300))),
    )
    given: dict[str, Any] = {"horizon": 5, "time": "when", "label_time": "known"}
    first, second = (learner_of(Task.REGRESSION, **given) for _ in range(2))
    assert_array_equal(answers(first, early), answers(second, early, (1, 7)))
    truth = block.target
    assert truth is not None
    # The first targets were no labels, so that nothing, or 0, is predicted before the first one is.
    now = np.concatenate((np.zeros(5), truth[5:-5]))
    assert contender_error(first, "no_change") == pytest.approx(
        np.abs(truth[5:] - now).mean(), rel=1e-12
    )


def contender_error(learner: Learner, name: str) -> float:
    """The mean absolute error of a baseline."""
    contenders = learner.serving.contenders
    return float(contenders.scores.measures(contenders.names.index(name))["mae"])


def test_a_horizon_out_of_range_or_beside_labels_that_come_on_their_own_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="horizon is 0"):
        Learner(task=Task.REGRESSION, horizon=0)
    with pytest.raises(ConfigurationError, match="horizon is given, but labels arrive when they"):
        Learner(task=Task.REGRESSION, horizon=3, late_labels=True)
    with pytest.raises(ConfigurationError, match="time is not given, but horizon '24h' needs"):
        Learner(task=Task.REGRESSION, horizon="24h")
    with pytest.raises(ConfigurationError, match=r"horizon is \(1, 24\), but must be one"):
        Learner(task=Task.REGRESSION, horizon=(1, 24))


@pytest.mark.parametrize("horizon", [1, 3])
def test_before_there_are_labels_forecasts_lie_near_the_known_targets(horizon: int) -> None:
    block = stream(Task.REGRESSION, 20, gaps=False)
    assert block.target is not None
    served = answers(learner_of(Task.REGRESSION, horizon=horizon), block, (2,))
    assert np.abs(served - block.target)[:horizon].max() < 4.0  # of targets of 100 and more

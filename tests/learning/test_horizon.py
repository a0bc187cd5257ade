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
from streamnet.samples import Block, Task
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
        contenders = learner.serving.contenders
        found = contenders.scores.measures(contenders.names.index(name))["mae"]
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


def test_a_horizon_out_of_range_or_beside_labels_that_come_on_their_own_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="horizon is 0"):
        Learner(task=Task.REGRESSION, horizon=0)
    with pytest.raises(ConfigurationError, match="horizon is given, but labels arrive when they"):
        Learner(task=Task.REGRESSION, horizon=3, late_labels=True)

"""Learners that use targets a season ago and forecasts from the known targets alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sklearn.metrics import accuracy_score, mean_absolute_error

from streamnet.errors import ConfigurationError
from streamnet.learning.contenders import SEASONAL_NO_CHANGE
from streamnet.learning.learner import Learner
from streamnet.samples import Block, Task
from tests.learning.streams import ROUND, candidate, differences, feed, learner_of, state_of, stream

TASKS = [Task.CLASSIFICATION, Task.REGRESSION]
LAGGED = (candidate(lags=True), candidate(optimizer="adagrad"))


def seasonal(task: Task, n: int, season: int = 7) -> Block:
    """A stream whose targets repeat after a season, of which the features know nothing."""
    block = stream(task, n, gaps=False)
    rng = np.random.default_rng(1)
    pattern = np.tile(rng.integers(0, 4, season), n // season + 1)[:n]
    noisy = rng.random(n) < 0.05
    if task is Task.CLASSIFICATION:
        labels = np.array([f"c{k}" for k in np.where(noisy, 0, pattern)], object)
        return replace(block, target=labels)
    return replace(block, target=100.0 + 10.0 * pattern + noisy)


@pytest.mark.parametrize("task", TASKS)
@given(data=st.data())
@settings(deadline=None, max_examples=6)
def test_the_result_does_not_depend_on_how_blocks_are_cut(task: Task, data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 90), min_size=1, max_size=6))
    block = stream(task, 320)
    learners = [
        learner_of(task, LAGGED, season=season, evolution={"every": 2}) for season in (0, 0, 0)
    ]
    list(feed(learners[0], block))
    list(feed(learners[1], block, sizes))
    for one in range(320):
        learners[2].learn_deferred(block.part(one, one + 1), ends_round=(one + 1) % ROUND == 0)
    expected = state_of(learners[0])
    assert differences(expected, state_of(learners[1])) == []
    assert differences(expected["serving"], learners[2].export_state()["serving"]) == []


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("delay", [0, 20])
@pytest.mark.parametrize("season", [5, None])
def test_a_restored_learner_goes_on_with_the_same_bits(
    task: Task, delay: int, season: int | None
) -> None:
    block = stream(task, 400)

    def make() -> Learner:
        options = {"season": season, "label_delay": delay, "evolution": {"every": 2}}
        return learner_of(task, LAGGED, forecasts=True, **options)

    whole, begun, resumed = make(), make(), make()
    list(feed(whole, block))
    list(feed(begun, block.part(0, 3 * ROUND)))
    resumed.restore_state(begun.export_state())
    list(feed(resumed, block.part(3 * ROUND, 400), (7, 50)))
    assert differences(state_of(whole), state_of(resumed)) == []


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("delay", [1, 5, 20])
def test_the_seasonal_baseline_repeats_the_nearest_known_target_a_season_ago(
    task: Task, delay: int
) -> None:
    block = stream(task, 300, gaps=False)
    learner = learner_of(task, season=7, label_delay=delay)
    list(feed(learner, block, (33,)))
    learner.learn_pending()
    contenders = learner.serving.contenders
    measures = contenders.scores.measures(contenders.names.index(SEASONAL_NO_CHANGE))
    truth, found = block.target, []
    assert truth is not None
    for number in range(300):
        away = 7 * -(-delay // 7)
        place = number - away if number >= away else number - delay
        nothing: Any = None if task is Task.CLASSIFICATION else 0.0
        found.append(truth[place] if place >= 0 else nothing)
    if task is Task.CLASSIFICATION:
        expected = accuracy_score(truth.astype(str), [str(one) for one in found])
        # Without a known label the first class is predicted, which is the first one's.
        assert abs(measures["accuracy"] - expected) <= delay / 300
    else:
        expected = mean_absolute_error(truth, found)
        assert measures["mae"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("delay", [0, 3, 30])
def test_numbers_that_repeat_after_a_season_are_predicted(delay: int) -> None:
    learner = learner_of(Task.REGRESSION, LAGGED, season=0, label_delay=delay)
    block = seasonal(Task.REGRESSION, 1500)
    served = np.concatenate([one.answers for one in feed(learner, block, (64,))])
    assert block.target is not None
    assert np.abs(served - block.target)[700:].mean() < 2.0
    assert learner.encoder.history is not None
    assert learner.encoder.history.season == 7


@pytest.mark.parametrize("delay", [0, 3, 30])
def test_labels_that_repeat_after_a_season_are_predicted(delay: int) -> None:
    learner = learner_of(Task.CLASSIFICATION, LAGGED, season=0, label_delay=delay)
    block = seasonal(Task.CLASSIFICATION, 2000)
    assert block.target is not None
    served = np.concatenate([one.answers.argmax(axis=1) for one in feed(learner, block, (64,))])
    names = np.array(learner.encoder.labels, object)
    assert (names[served] == block.target)[1200:].mean() > 0.9


@pytest.mark.parametrize("task", TASKS)
def test_a_sample_is_predicted_as_if_it_were_the_next_one(task: Task) -> None:
    block = seasonal(task, 330)
    learner = learner_of(task, LAGGED, season=7)
    list(feed(learner, block.part(0, 320)))
    found = learner.predict(block.part(320, 321))
    served = learner.learn(block.part(320, 321)).answers
    width = found.shape[-1]
    expected = served[:, :width] if task is Task.CLASSIFICATION else served
    assert np.allclose(found, expected, rtol=1e-3, atol=1e-4)  # scales include the sample


@pytest.mark.parametrize("task", TASKS)
def test_learning_continues_from_a_model_with_a_season(task: Task) -> None:
    block = seasonal(task, 640)
    first = learner_of(task, LAGGED, season=7)
    list(feed(first, block))
    again = Learner(task=task, start=first.model())
    list(feed(again, block.part(0, 64)))
    assert again.encoder.history is not None
    assert again.encoder.history.season == 7
    assert len(again.serving.contenders.names) == 6
    assert again.serving.scored == np.count_nonzero(block.part(0, 64).find_targets())


@pytest.mark.parametrize("season", [1, -2, 2049])
def test_a_season_out_of_range_is_refused(season: int) -> None:
    with pytest.raises(ConfigurationError, match=f"season is {season}, but must be from 2 to 2048"):
        Learner(task=Task.REGRESSION, season=season)


def test_numbers_of_a_stream_have_forecasts_and_networks_only_the_last_targets() -> None:
    block = seasonal(Task.REGRESSION, 600)
    plain, given = (
        learner_of(Task.REGRESSION, LAGGED, forecasts=True),
        learner_of(Task.REGRESSION, LAGGED, season=7),
    )
    for learner in (plain, given):
        list(feed(learner, block))
    history = plain.encoder.history
    assert history is not None
    assert history.season == 7
    assert plain.encoder.lags < given.encoder.lags
    assert SEASONAL_NO_CHANGE in plain.serving.contenders.names
    contenders = plain.serving.contenders
    no_change = contenders.scores.measures(contenders.names.index("no_change"))
    assert plain.serving.measures()["mae"] < 0.2 * no_change["mae"]
    labels = learner_of(Task.CLASSIFICATION, LAGGED, forecasts=True)
    assert labels.encoder.history is None
    assert learner_of(Task.REGRESSION, LAGGED).encoder.history is None


def test_a_model_knows_no_targets_of_its_stream() -> None:
    learner = learner_of(Task.REGRESSION, LAGGED, forecasts=True)
    list(feed(learner, seasonal(Task.REGRESSION, 600)))
    state, kept = learner.export_state(), learner.model().document()
    assert np.shape(state["encoder"]["history"]["past"])[1] == 600
    assert np.shape(kept["encoder"]["history"]["past"])[1] == 0
    answer = learner.model().predict(seasonal(Task.REGRESSION, 600).part(0, 5))
    assert np.isfinite(answer).all()

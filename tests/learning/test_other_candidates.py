"""Learners whose ensemble also has a factorization machine, or boosted trees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from streamnet.errors import ConfigurationError
from streamnet.learning.learner import Learner
from streamnet.samples import ClassChange, Task
from tests.learning.streams import ROUND, differences, feed, learner_of, state_of, stream

LABELS = Task.CLASSIFICATION
TASKS = list(Task)


KINDS: dict[str, dict[str, Any]] = {"machine": {"factors": 4}, "trees": {"trees": 150}}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """The name of the expert."""
    name: str = request.param
    return name


def learner(kind: str, task: Task = LABELS, **others: Any) -> Learner:
    """A learner with such a candidate and other settings."""
    return learner_of(task, **KINDS[kind] | others)


@pytest.mark.parametrize("delay", [0, 20])
@pytest.mark.parametrize("task", TASKS)
@given(data=st.data())
@settings(
    deadline=None, max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_result_does_not_depend_on_how_blocks_are_cut(
    kind: str, task: Task, delay: int, data: st.DataObject
) -> None:
    sizes = data.draw(st.lists(st.integers(1, 90), min_size=1, max_size=6))
    block = stream(task, 400)
    whole, cut = (learner(kind, task, label_delay=delay, evolution={"every": 2}) for _ in range(2))
    list(feed(whole, block))
    list(feed(cut, block, sizes))
    assert differences(state_of(whole), state_of(cut)) == []


@pytest.mark.parametrize("task", TASKS)
def test_single_samples_give_the_same_bits(kind: str, task: Task) -> None:
    block = stream(task, 300)
    whole, single = learner(kind, task), learner(kind, task)
    list(feed(whole, block))
    for one in range(300):
        single.learn_deferred(block.part(one, one + 1), ends_round=(one + 1) % ROUND == 0)
    single.score_deferred()
    expected, found = whole.export_state(), single.export_state()
    assert differences(expected["serving"], found["serving"]) == []
    asked = stream(task, 20, seed=8)
    assert_array_equal(whole.predict(asked), single.predict(asked))


@pytest.mark.parametrize("delay", [0, 20])
@pytest.mark.parametrize("task", TASKS)
def test_a_restored_learner_goes_on_with_the_same_bits(kind: str, task: Task, delay: int) -> None:
    block = stream(task, 400)
    others: Any = {"label_delay": delay, "season": 24 if task is Task.REGRESSION else None}
    whole, begun, resumed = (learner(kind, task, **others) for _ in range(3))
    list(feed(whole, block))
    list(feed(begun, block.part(0, 3 * ROUND)))
    resumed.restore_state(begun.export_state())
    list(feed(resumed, block.part(3 * ROUND, 400), (7, 50)))
    assert differences(state_of(whole), state_of(resumed)) == []


@pytest.mark.parametrize("task", TASKS)
def test_it_predicts_with_the_ensemble_but_not_in_the_portable_model(kind: str, task: Task) -> None:
    block = stream(task, 600, gaps=False)
    # Drift of what is served would discount the losses of the portable model, too.
    with_it, without = (learner_of(task, drift="none", **more) for more in (KINDS[kind], {}))
    for one in (with_it, without):
        list(feed(one, block))
    asked = stream(task, 50, seed=9, gaps=False)
    alone = without.predict(asked, without_lags=True)
    assert_array_equal(with_it.predict(asked, without_lags=True), alone)
    assert not np.array_equal(with_it.predict(asked), without.predict(asked))
    assert with_it.serving.contenders.ensemble.influence()[-1] > 0.01


def test_it_rests_where_networks_are_much_better_and_is_asked_no_more(kind: str) -> None:
    block = stream(LABELS, 4 * ROUND, gaps=False)
    one, other = learner(kind), learner(kind)
    for each in (one, other):
        list(feed(each, block))
    losses = one.serving.contenders.ensemble.losses
    losses[0, -3] = 1e6 * losses[1, -3]  # it stands before both priors
    rest = stream(LABELS, 2 * ROUND, seed=5, gaps=False)
    list(feed(one, rest))
    assert state_of(one)["serving"]["contenders"][kind]["resting"]
    assert np.isfinite(one.predict(rest)).all()
    resumed = learner(kind)
    resumed.restore_state(one.export_state())
    more = stream(LABELS, ROUND, seed=6, gaps=False)
    for each in (one, resumed):
        list(feed(each, more))
    assert differences(state_of(one), state_of(resumed)) == []


@pytest.mark.parametrize("delay", [0, 20])
def test_a_merged_class_is_predicted_no_more(kind: str, delay: int) -> None:
    block = stream(LABELS, 400, gaps=False)
    one = learner(kind, label_delay=delay)
    list(feed(one, block))
    one.change_classes(ClassChange("c1", "c2"))
    number = one.encoder.labels.index("c1")
    assert one.predict(block)[:, number].max() == 0.0


def test_keys_have_their_models_over_it(kind: str) -> None:
    block = stream(LABELS, 200)
    whole, cut = learner(kind, key="w"), learner(kind, key="w")
    list(feed(whole, block))
    list(feed(cut, block, (9, 40)))
    assert differences(state_of(whole), state_of(cut)) == []
    assert kind in whole.serving.contenders.experts


def test_by_default_it_belongs_to_the_default_population(kind: str) -> None:
    none: Any = dict.fromkeys(KINDS[kind], 0)
    for task in TASKS:
        with_it = Learner(task=task), Learner(task=task, **none), learner_of(task)
        there = [kind in one.serving.contenders.experts for one in with_it]
        assert there == [True, False, False]


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="factors is 65, but must be <= 64"):
        Learner(task=LABELS, factors=65)
    with pytest.raises(ConfigurationError, match="trees is -1, but must be >= 0"):
        Learner(task=LABELS, trees=-1)

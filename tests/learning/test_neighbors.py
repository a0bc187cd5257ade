"""Learners whose ensemble also predicts labels by the nearest of earlier samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from streamnet.errors import ConfigurationError
from streamnet.learning.learner import Learner
from streamnet.samples import ClassChange, Task
from tests.learning.streams import ROUND, differences, feed, learner_of, state_of, stream

LABELS = Task.CLASSIFICATION


def learner(**others: Any) -> Learner:
    """A learner with room for 256 neighbors, or another number."""
    return learner_of(LABELS, **{"neighbors": 256} | others)


def neighbors_of(one: Learner) -> Any:
    """The state of the neighbors."""
    return one.export_state()["serving"]["contenders"]["neighbors"]


@pytest.mark.parametrize("delay", [0, 20])
@given(data=st.data())
@settings(deadline=None, max_examples=4)
def test_the_result_does_not_depend_on_how_blocks_are_cut(delay: int, data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 90), min_size=1, max_size=6))
    block = stream(LABELS, 400)
    whole, cut = (learner(label_delay=delay, evolution={"every": 2}) for _ in range(2))
    list(feed(whole, block))
    list(feed(cut, block, sizes))
    assert differences(state_of(whole), state_of(cut)) == []


def test_single_samples_give_the_same_bits() -> None:
    block = stream(LABELS, 300)
    whole, single = learner(), learner()
    list(feed(whole, block))
    for one in range(300):
        single.learn_deferred(block.part(one, one + 1), ends_round=(one + 1) % ROUND == 0)
    single.score_deferred()
    expected, found = whole.export_state(), single.export_state()
    assert differences(expected["serving"], found["serving"]) == []
    asked = stream(LABELS, 20, seed=8)
    assert_array_equal(whole.predict(asked), single.predict(asked))


@pytest.mark.parametrize("delay", [0, 20])
def test_a_restored_learner_goes_on_with_the_same_bits(delay: int) -> None:
    block = stream(LABELS, 400)
    whole, begun, resumed = (learner(label_delay=delay) for _ in range(3))
    list(feed(whole, block))
    list(feed(begun, block.part(0, 3 * ROUND)))
    resumed.restore_state(begun.export_state())
    list(feed(resumed, block.part(3 * ROUND, 400), (7, 50)))
    assert differences(state_of(whole), state_of(resumed)) == []


def test_labels_that_are_late_are_stored_when_they_arrive() -> None:
    block = stream(LABELS, 300, gaps=False)
    late, early = learner(label_delay=40, neighbors=2048), learner(neighbors=2048)
    list(feed(late, block))
    list(feed(early, block.part(0, 260)))
    # The metric follows the same samples, but their neighbors were others at the time.
    state, expected = neighbors_of(late), neighbors_of(early)
    assert state["size"].sum() == expected["size"].sum() == 260
    assert_array_equal(np.sort(state["label"]), np.sort(expected["label"]))


def test_they_predict_with_the_ensemble_but_not_in_the_portable_model() -> None:
    block = stream(LABELS, 600, gaps=False)
    # A drift of what is served would also change the weights of the portable model.
    with_them, without = learner(drift="none"), learner_of(LABELS, drift="none")
    for one in (with_them, without):
        list(feed(one, block))
    asked = stream(LABELS, 50, seed=9, gaps=False)
    alone = without.predict(asked, without_lags=True)
    assert_array_equal(with_them.predict(asked, without_lags=True), alone)
    assert not np.array_equal(with_them.predict(asked), without.predict(asked))
    ensemble = with_them.serving.contenders.ensemble
    assert ensemble.influence()[-1] > 0.01


@pytest.mark.parametrize("delay", [0, 20])
def test_a_merged_class_is_predicted_no_more(delay: int) -> None:
    block = stream(LABELS, 400, gaps=False)
    one = learner(label_delay=delay)
    list(feed(one, block))
    one.change_classes(ClassChange("c1", "c2"))
    number = one.encoder.labels.index("c1")
    assert (neighbors_of(one)["label"] != number).all()
    assert one.predict(block)[:, number].max() == 0.0


def test_by_default_they_belong_to_the_default_population() -> None:
    assert "neighbors" in Learner(task=LABELS).serving.contenders.experts
    assert "neighbors" not in Learner(task=LABELS, neighbors=0).serving.contenders.experts
    assert "neighbors" not in learner_of(LABELS).serving.contenders.experts
    assert "neighbors" not in learner_of(Task.REGRESSION, neighbors=9).serving.contenders.experts
    with pytest.raises(ConfigurationError, match="neighbors is 20000, but must be from 0 to 16384"):
        Learner(task=LABELS, neighbors=20_000)

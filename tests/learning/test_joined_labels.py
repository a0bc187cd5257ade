"""Labels that arrive on their own: as by a schedule, however blocks are cut, and what is scored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, mean_absolute_error

from streamnet.durability.checkpoint import encode
from streamnet.errors import ConfigurationError
from streamnet.learning.joined_labels import JoiningEncoder
from streamnet.learning.learner import Learner
from streamnet.samples import Arrivals, Block, Task
from streamnet.sources.roles import weigh
from tests.learning.streams import ROUND, candidate, differences, feed, learner_of, state_of, stream

TASKS = [Task.CLASSIFICATION, Task.REGRESSION]
NEVER = 10**6
LAGGED = (candidate(optimizer="adagrad"), candidate(optimizer="adam", lags=True, rehearsal=1))


def as_objects(values: list[Any]) -> NDArray[np.object_]:
    """An array of any values, lists among them."""
    array = np.empty(len(values), object)
    for i, value in enumerate(values):
        array[i] = value
    return array


def late(
    block: Block,
    arrival: NDArray[np.int64],
    answers: list[Any] | None = None,
    intervals: list[Any] | None = None,
) -> Block:
    """The block without the targets of samples whose label arrives before sample ``arrival[i]``.

    0: it comes with the sample; NEVER: it does not come.
    """
    assert block.target is not None
    waits = arrival > 0
    order = np.argsort(arrival, kind="stable")
    order = order[waits[order] & (arrival[order] <= len(block))]
    target = block.target.astype(object)
    known = [None if y is None or y != y else y for y in target[order].tolist()]
    labels = as_objects(known)
    given_answers, given_intervals = (
        None if values is None else as_objects([values[i] for i in order.tolist()])
        for values in (answers, intervals)
    )
    before = arrival[order]
    marks = block.marks[before] - np.array([1, 0, 0])
    hidden = block.target.copy()
    hidden[waits] = None if block.target.dtype == object else np.nan
    records = block.marks[order, 1]
    arrivals = Arrivals(before, records, labels, marks, given_answers, given_intervals)
    return replace(block, target=hidden, arrivals=arrivals)


def comparable(learner: Learner) -> dict[str, Any]:
    """The state without what differs between the two ways to wait."""
    state = state_of(learner)
    del state["pending"]
    for name in ("labels", "learned"):
        del state["trainer"][name]
    # A schedule gives every sample a weight, of 1.
    scores = state["evaluator"]["candidates"], state["serving"]["contenders"]["scores"]
    for part in (*scores, state["serving"]["histograms"] or {}):
        part.pop("shares", None)
    # Before anything waited, there are no arrays, instead of empty ones.
    tables = state["serving"]["contenders"]["pending"]
    for part in (state["evaluator"]["pending"], *tables.values()):
        for name in [name for name, array in part.items() if not len(array)]:
            del part[name]
    return state


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("delay", [2, 30, 150])
def test_labels_that_arrive_as_by_a_schedule_give_the_same_bits(task: Task, delay: int) -> None:
    block = stream(task, 400, gaps=False)
    scheduled = learner_of(task, LAGGED, label_delay=delay, evolution={"every": 2})
    first = [one.answers for one in feed(scheduled, block, (70,))]
    joined = learner_of(task, LAGGED, late_labels=True, season=0, evolution={"every": 2})
    arrival = np.arange(400) + delay
    arrival[arrival >= 400] = NEVER  # the schedule lets them wait for another sample
    second = [one.answers for one in feed(joined, late(block, arrival), (33,))]
    assert differences(comparable(scheduled), comparable(joined)) == []
    if task is Task.REGRESSION:
        assert np.array_equal(np.concatenate(first), np.concatenate(second))
    assert joined.trainer.learned == 400 - delay


@pytest.mark.parametrize("task", TASKS)
def test_samples_that_come_with_their_target_are_learned_as_without_late_labels(task: Task) -> None:
    block = stream(task, 300, gaps=False)
    plain, joined, waiting = (
        learner_of(task, late_labels=late_labels, evolution={"every": 2})
        for late_labels in (False, True, True)
    )
    assert isinstance(waiting.delayed, JoiningEncoder)
    waiting.delayed._has_waited = True  # so that all samples are rows of timelines
    for learner in (plain, joined, waiting):
        list(feed(learner, block, (29,)))
    assert differences(comparable(plain), comparable(joined)) == []
    assert differences(comparable(plain), comparable(waiting)) == []


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("chosen", [{}, {"serve": "champion"}, {"key": "w"}], ids=str)
@given(data=st.data())
@settings(deadline=None, max_examples=8)
def test_the_result_does_not_depend_on_how_blocks_are_cut(
    task: Task, chosen: dict[str, Any], data: st.DataObject
) -> None:
    n = 3 * ROUND + 20
    sizes = data.draw(st.lists(st.integers(1, 90), min_size=1, max_size=6))
    delays = data.draw(
        st.lists(st.sampled_from([0, 1, 2, ROUND, 90, NEVER]), min_size=n, max_size=n)
    )
    numbers = np.arange(n)
    arrival = np.where(np.array(delays) > 0, numbers + np.array(delays), 0)
    block = late(stream(task, n), arrival)
    learners = [
        learner_of(
            task,
            LAGGED,
            late_labels=True,
            forecasts=True,
            evolution={"every": 2},
            interval=0.8,
            **chosen,
        )
        for _ in range(2)
    ]
    list(feed(learners[0], block))
    list(feed(learners[1], block, sizes))
    assert differences(state_of(learners[0]), state_of(learners[1])) == []


@pytest.mark.parametrize("task", TASKS)
def test_networks_see_how_old_the_last_known_target_is_from_the_first_late_one_on(
    task: Task,
) -> None:
    block = stream(task, 200, gaps=False)
    learner = learner_of(task, LAGGED, late_labels=True, forecasts=True)
    arrival = np.zeros(200, np.int64)
    arrival[100:140], arrival[140:] = 150, NEVER  # 40 labels at once, then none
    cut = late(block, arrival)
    list(feed(learner, cut.part(0, 100)))
    assert not learner.encoder.delayed
    before = learner.encoder.lags
    list(feed(learner, cut.part(100, 170)))
    assert learner.encoder.lags == before + 1 + (0 if task is Task.CLASSIFICATION else 6)
    assert learner.encoder.export_state()["age"] == 170 - 139
    later = learner.freeze().outputs([{"a": 1.0, "b": 0.0, "w": "w1"}])
    list(feed(learner, cut.part(170, 200)))
    assert learner.encoder.export_state()["age"] == 200 - 139
    assert np.isfinite(later).all()


@pytest.mark.parametrize("key", ["", "w"])
@pytest.mark.parametrize("task", TASKS)
def test_a_restored_learner_goes_on_with_the_same_bits(task: Task, key: str) -> None:
    n = 400
    arrival = np.where(np.arange(n) % 3 > 0, np.arange(n) + 1 + np.arange(n) % 100, 0)
    block = late(stream(task, n), arrival)
    settings: dict[str, Any] = {"late_labels": True, "forecasts": True, "evolution": {"every": 2}}
    if key:
        settings["key"] = key
    whole, begun, resumed = (learner_of(task, LAGGED, **settings) for _ in range(3))
    list(feed(whole, block))
    list(feed(begun, block.part(0, 3 * ROUND)))
    resumed.restore_state(begun.export_state())
    list(feed(resumed, block.part(3 * ROUND, n), (7, 50)))
    assert differences(state_of(whole), state_of(resumed)) == []
    assert encode(state_of(whole)) == encode(state_of(resumed))


def test_the_answers_that_callers_got_are_what_is_scored() -> None:
    n, delay = 500, 20
    block = stream(Task.CLASSIFICATION, n, classes=2, gaps=False)
    rng = np.random.default_rng(5)
    labels = np.array(["c0", "c1"], object)[rng.integers(0, 2, n)]
    labels[0], labels[4] = "c0", "c1"  # the first ones that come with their sample
    block = replace(block, target=labels)
    answers: list[Any] = [
        (f"c{int(p < 0.4)}", {"c0": p, "c1": 1.0 - p}) if i > 40 else None
        for i, p in enumerate(rng.random(n))
    ]
    arrival = np.arange(n) + delay
    arrival[::4] = 0
    learner = learner_of(Task.CLASSIFICATION, late_labels=True)
    served = [one.answers for one in feed(learner, late(block, arrival, answers), (41,))]
    assert block.target is not None
    own = np.concatenate([one[:, :2] for one in served]).argmax(axis=1)
    said = [
        f"c{own[i]}" if arrival[i] == 0 else answers[i][0] if answers[i] else "" for i in range(n)
    ]
    known = [i for i in range(n) if arrival[i] <= n and (arrival[i] > 0 or i > 0)]
    truth = block.target.astype(str)
    expected = accuracy_score(truth[known], np.array(said)[known])
    measures = learner.serving.measures()
    assert learner.serving.scored == len(known) + 1
    assert measures["accuracy"] * learner.serving.scored == pytest.approx(
        expected * len(known), abs=1e-6
    )
    assert learner.serving.requested == sum(0 < arrival[i] <= n for i in range(n))
    errors = learner.serving.errors[0] / learner.serving.scored
    assert 1.0 - errors == pytest.approx(measures["accuracy"])


def test_numbers_that_callers_got_are_scored_and_no_answer_is_no_number() -> None:
    n, delay = 300, 20
    block = stream(Task.REGRESSION, n, gaps=False)
    answers = [None if i < 50 else 100.0 + i / 7 for i in range(n)]
    arrival = np.arange(n) + delay
    learner = learner_of(Task.REGRESSION, late_labels=True)
    list(feed(learner, late(block, arrival, answers), (41,)))
    assert block.target is not None
    scored = slice(50, n - delay + 1)
    expected = mean_absolute_error(block.target[scored], answers[scored])
    assert learner.serving.measures()["mae"] == pytest.approx(expected, rel=1e-12)
    assert learner.serving.scored == learner.serving.requested == n - delay + 1 - 50
    assert learner.trainer.learned == n - delay + 1


def test_the_label_that_a_caller_got_stays_the_best_in_single_precision() -> None:
    block = stream(Task.CLASSIFICATION, 20, classes=2, gaps=False)
    assert block.target is not None
    block = replace(block, target=np.array(["c0", "c1"] * 10, object))
    tie = "c1", {"c0": 0.5 - 1e-12, "c1": 0.5 + 1e-12}  # before both are known, there is no answer
    arrival = np.arange(20) + 1
    learner = learner_of(Task.CLASSIFICATION, late_labels=True)
    list(feed(learner, late(block, arrival, [None, None, *[tie] * 18])))
    assert learner.serving.measures()["accuracy"] == 0.45


def test_a_label_of_an_unknown_sample_is_counted_and_changes_nothing() -> None:
    block = stream(Task.CLASSIFICATION, 50, gaps=False)
    learners = [learner_of(Task.CLASSIFICATION, late_labels=True) for _ in range(2)]
    marks = block.marks[10:12] - np.array([1, 0, 0])
    strange = Arrivals(np.array([10, 11]), np.array([-7, -8]), np.array(["a", "b"], object), marks)
    for learner, one in zip(learners, (block, replace(block, arrivals=strange)), strict=True):
        list(feed(learner, one))
    assert learners[1].trainer.labels == 2
    assert differences(comparable(learners[0]), comparable(learners[1])) == []


def test_a_label_of_one_class_too_many_is_rejected_and_its_sample_is_free() -> None:
    block = stream(Task.CLASSIFICATION, 9, gaps=False)
    block = replace(block, target=np.array(["a", "b", "c"] * 3, object), rejected=())
    learner = learner_of(Task.CLASSIFICATION, late_labels=True, encoder={"max_classes": 2})
    assert isinstance(learner.delayed, JoiningEncoder)
    encoded = learner.delayed.encode(late(block, np.arange(9) + 1))
    details = [letter.detail for letter in encoded.block.rejected]
    assert details == ["label 'c' is new, but all 2 classes (max_classes) are taken"] * 3
    assert encoded.block.arrivals is not None
    assert encoded.block.arrivals.records == 6
    assert learner.delayed.pending == 0


def test_a_schedule_and_labels_that_arrive_on_their_own_exclude_each_other() -> None:
    with pytest.raises(ConfigurationError, match="label_delay is given, but labels arrive when"):
        Learner(task=Task.REGRESSION, late_labels=True, label_delay=3)


@pytest.mark.parametrize("task", TASKS)
def test_a_waiting_sample_of_weight_zero_is_neither_learned_nor_scored(task: Task) -> None:
    n = 300
    block = stream(task, n, gaps=False)
    weight = np.random.default_rng(3).choice([0.0, 1.0, 3.0], n)
    arrival = np.where(np.arange(n) % 3 > 0, np.arange(n) + 20, 0)
    weighted = weigh(late(block, arrival), weight)
    never = np.where((weight == 0.0) & (arrival > 0), NEVER, arrival)
    without = weigh(late(block, never), weight)
    states = []
    for one in (weighted, without):
        learner = learner_of(task, late_labels=True, interval=0.8)
        list(feed(learner, one, (41,)))
        assert learner.serving.scored == np.count_nonzero((weight > 0) & (arrival <= n))
        states.append(learner.serving.measures())
        waiting = (weight > 0) & (arrival > n)
        assert learner.pending == np.count_nonzero(waiting)
        assert learner.trainer.learned == n - np.count_nonzero(waiting)
    assert states[0] == states[1]


def test_a_class_of_weight_zero_only_stays_unknown() -> None:
    block = stream(Task.CLASSIFICATION, 60, gaps=False)
    target = np.array(["a", "b", "zero"], object)[np.arange(60) % 3]
    weight = np.where(target == "zero", 0.0, 1.0)
    block = replace(late(replace(block, target=target), np.arange(60) + 5), weight=weight)
    learner = learner_of(Task.CLASSIFICATION, late_labels=True)
    list(feed(learner, block))
    assert list(learner.encoder.labels) == ["a", "b"]


@pytest.mark.parametrize("task", TASKS)
@given(data=st.data())
@settings(deadline=None, max_examples=8)
def test_weights_of_late_samples_do_not_depend_on_how_blocks_are_cut(
    task: Task, data: st.DataObject
) -> None:
    n = 3 * ROUND + 20
    sizes = data.draw(st.lists(st.integers(1, 90), min_size=1, max_size=6))
    first = data.draw(st.integers(0, n))  # before it, nothing waits
    random = np.random.default_rng(data.draw(st.integers(0, 9)))
    arrival = np.arange(n) + random.choice([1, 30, NEVER], n)
    arrival[(random.random(n) < 0.5) | (np.arange(n) < first)] = 0
    weight = random.choice([0.0, 0.5, 3.0], n)
    block = weigh(late(stream(task, n), arrival), weight)
    learners = [learner_of(task, late_labels=True, interval=0.8) for _ in range(2)]
    list(feed(learners[0], block))
    list(feed(learners[1], block, sizes))
    assert differences(state_of(learners[0]), state_of(learners[1])) == []

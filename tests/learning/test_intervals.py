"""Intervals and sets of what is served: given before the truth, kept until it comes, and scored."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError
from streamnet.learning.learner import Learner
from streamnet.learning.serving import Served
from streamnet.metrics import Horizon
from streamnet.modelfiles import Model
from streamnet.samples import Block, Task
from streamnet.selection.conformal import build_tracker
from streamnet.sources.roles import weigh
from tests.learning.streams import ROUND, differences, feed, learner_of, state_of, stream, unscored
from tests.learning.test_joined_labels import late

TASKS = [Task.CLASSIFICATION, Task.REGRESSION]


def given_rows(served: list[Served]) -> list[Any]:
    """The interval or set of each sample; sets as the numbers of their labels."""
    rows: list[Any] = []
    for one in served:
        assert one.intervals is not None
        assert len(one.intervals) == len(one.answers)
        rows += [
            np.flatnonzero(row).tolist() if row.dtype == bool else row.tolist()
            for row in one.intervals
        ]
    return rows


def outcome(row: Any, truth: Any, level: float) -> list[float]:
    """Coverage, size and score of one interval or set, as the papers define them."""
    if not isinstance(truth, float):
        return [float(truth in row), float(len(row))]
    low, high = row
    score = high - low + 2 / (1 - level) * (max(low - truth, 0) + max(truth - high, 0))
    return [float(low <= truth <= high), high - low, score]


def truths_of(learner: Learner, block: Block) -> list[Any]:
    """The truths as numbers, None where there is none."""
    assert block.target is not None
    if learner.task is Task.REGRESSION:
        return [one if math.isfinite(one) else None for one in block.target.tolist()]
    numbers = {name: number for number, name in enumerate(learner.encoder.labels)}
    return [None if one is None else numbers[one] for one in block.target.tolist()]


def ensemble_answers(served: list[Served], task: Task) -> NDArray[Any]:
    """All predictions, shape=(n, ...)."""
    width = max(one.answers.shape[-1] for one in served) if task is Task.CLASSIFICATION else 0
    return np.concatenate(
        [
            np.pad(one.answers, ((0, 0), (0, width - one.answers.shape[1])))
            if width
            else one.answers
            for one in served
        ]
    )


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("delay", [None, 2, 40])
def test_what_was_given_at_the_prediction_is_scored_once_the_truth_is_known(
    task: Task, delay: int | None
) -> None:
    block = stream(task, 400)
    learner = learner_of(task, interval=0.8, label_delay=delay or 0)
    served = list(feed(learner, block, (31,)))
    learner.learn_pending()
    rows, truths = given_rows(served), truths_of(learner, block)
    scored = [
        outcome(row, truth, 0.8)
        for row, truth in zip(rows, truths, strict=True)
        if truth is not None and not (isinstance(truth, float) and math.isnan(row[0]))
    ]
    assert learner.serving.intervals is not None
    scores = learner.serving.intervals.scores
    assert scores.scored == len(scored)
    found = list(scores.measures().values())
    assert found == pytest.approx(np.mean(scored, axis=0).tolist())
    recent = list(scores.measures(Horizon.SLIDING).values())  # of the last 50
    assert recent == pytest.approx(np.mean(scored[-50:], axis=0).tolist())


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("delay", [0, 20])
def test_the_interval_of_a_forecast_is_scored_by_the_target_that_it_is_of(
    task: Task, delay: int
) -> None:
    horizon, block = 7, stream(task, 400)
    learner = learner_of(task, interval=0.8, label_delay=delay, horizon=horizon)
    served = list(feed(learner, block, (31,)))
    learner.learn_pending()
    rows, truths = given_rows(served), truths_of(learner, block)
    scored = [
        outcome(row, truth, 0.8)
        for row, truth in zip(rows, truths[horizon:], strict=False)
        if truth is not None and not (isinstance(truth, float) and math.isnan(row[0]))
    ]
    assert learner.serving.intervals is not None
    scores = learner.serving.intervals.scores
    assert scores.scored == len(scored) > 300
    assert list(scores.measures().values()) == pytest.approx(np.mean(scored, axis=0).tolist())


class StepByStep:
    """A tracker that is told of one sample, or one late label, after the other."""

    def __init__(self, task: Task, answers: NDArray[Any], known: list[int]) -> None:
        self.task, self.answers, self.known = task, answers, known
        self.tracker = build_tracker(task, 0.9)
        self.bounds = np.full((len(answers), 1, self.tracker.bounds), np.nan)

    def update(self, place: int, truth: Any, origin: list[int]) -> None:
        number = self.task is Task.REGRESSION
        none, kind = (np.nan, np.float64) if number else (-1, np.int32)
        part = slice(place, place + 1)
        self.tracker.update(
            np.ascontiguousarray(self.answers[None, part]),
            np.array([none if truth is None else truth], kind),
            np.array([self.known[place]], np.int32),
            np.array(origin, np.int64),
            self.bounds[part],
        )

    def interval(self, place: int) -> Any:
        known = np.array([self.known[place]], np.int32)
        answers = self.answers[place : place + 1]
        (row,) = self.tracker.decode(answers, self.bounds[place], known)
        return row.tolist() if self.task is Task.REGRESSION else np.flatnonzero(row).tolist()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("delay", [1, 2, 40])
def test_an_interval_depends_only_on_truths_that_were_known_when_it_was_given(
    task: Task, delay: int
) -> None:
    block = stream(task, 300, gaps=False)
    learner = learner_of(task, interval=0.9, label_delay=delay)
    served = list(feed(learner, block, (64,)))
    learner.learn_pending()
    truths = truths_of(learner, block)
    known = [len(set(truths[: max(i - delay + 1, 0)])) for i in range(len(truths))]
    reference = StepByStep(task, ensemble_answers(served, task), known)
    for i, row in enumerate(given_rows(served)):
        if delay == 1:
            reference.update(i, truths[i], [])
        else:
            if i >= delay:
                reference.update(i - delay, truths[i - delay], [0])
            reference.update(i, None, [-1])
        assert np.array_equal(row, reference.interval(i), equal_nan=task is Task.REGRESSION), i


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("delay", [0, 30])
def test_metrics_are_weighted_and_a_sample_of_weight_zero_does_not_count(
    task: Task, delay: int
) -> None:
    weight = np.random.default_rng(5).choice([0.0, 0.5, 1.0, 4.0], 400)
    block = stream(task, 400)
    learner = learner_of(task, interval=0.8, label_delay=delay)
    served = list(feed(learner, weigh(block, weight), (31,)))
    learner.learn_pending()
    rows, truths = given_rows(served), truths_of(learner, block)
    scored, weights = [], []
    for row, truth, w in zip(rows, truths, weight.tolist(), strict=True):
        if truth is not None and w > 0 and not (isinstance(truth, float) and math.isnan(row[0])):
            scored.append(outcome(row, truth, 0.8))
            weights.append(w)
    assert learner.serving.intervals is not None
    scores = learner.serving.intervals.scores
    assert scores.scored == len(scored)
    expected = np.average(scored, axis=0, weights=weights).tolist()
    assert list(scores.measures().values()) == pytest.approx(expected)
    expected = np.average(scored[-50:], axis=0, weights=weights[-50:]).tolist()
    assert list(scores.measures(Horizon.SLIDING).values()) == pytest.approx(expected)


@pytest.mark.parametrize("task", TASKS)
def test_equal_weights_give_the_intervals_of_no_weights(task: Task) -> None:
    """To the bit, though all weights are 2: what counts is how they compare."""
    random = np.random.default_rng(2)
    plain, weighted = build_tracker(task, 0.9), build_tracker(task, 0.9)
    answers: NDArray[Any] = random.normal(size=(1, 300))
    truth: NDArray[Any] = random.normal(size=300)
    if task is Task.CLASSIFICATION:
        answers = random.dirichlet([1.0, 1.0, 1.0], (1, 300))
        truth = random.integers(0, 3, 300).astype(np.int32)
    for tracker, weight in ((plain, None), (weighted, np.full(300, 2.0))):
        bounds = np.full((300, 1, tracker.bounds), np.nan)
        known = np.full(300, 3, np.int32)
        tracker.update(answers, truth, known, np.empty(0, np.int64), bounds, weight)
    both = plain.predict(answers[0]), weighted.predict(answers[0])
    assert np.array_equal(*both)


@pytest.mark.parametrize("task", TASKS)
def test_intervals_that_callers_got_are_scored_in_place_of_own_ones(task: Task) -> None:
    n, delay = 400, 25
    random = np.random.default_rng(3)
    block = stream(task, n, gaps=False)
    if task is Task.CLASSIFICATION:
        block = replace(block, target=np.array(["c0", "c1"], object)[np.arange(n) % 2])
    assert block.target is not None
    truths = block.target.tolist()
    if task is Task.REGRESSION:
        answers: list[Any] = list(truths)
        offsets = random.normal([-1.0, 1.0], 1.0, (n, 2))
        intervals: list[Any] = np.sort(block.target[:, None] + offsets, axis=1).tolist()
    else:
        answers = [("c0", {"c0": 1.0})] * n
        intervals = [[c for c in ("c0", "c1") if random.random() < 0.6] for _ in range(n)]
    intervals[:10] = [None] * 10  # answered by a model without intervals
    answers[20] = intervals[20] = None  # before there was a model
    arrival = np.arange(n) + delay
    learner = learner_of(task, late_labels=True, interval=0.8)
    list(feed(learner, late(block, arrival, answers, intervals), (41,)))
    rows = zip(intervals, truths, arrival.tolist(), strict=True)
    got = [outcome(one, y, 0.8) for one, y, at in rows if one is not None and at <= n]
    assert learner.serving.intervals is not None
    scores = learner.serving.intervals.scores
    assert scores.scored == len(got) > 300
    assert list(scores.measures().values()) == pytest.approx(np.mean(got, axis=0).tolist())


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("serve", ["ensemble", "champion"])
@given(data=st.data())
@settings(deadline=None, max_examples=6)
def test_intervals_do_not_depend_on_how_blocks_are_cut(
    task: Task, serve: str, data: st.DataObject
) -> None:
    sizes = data.draw(st.lists(st.integers(1, 90), min_size=1, max_size=6))
    delay = data.draw(st.none() | st.integers(2, 150))
    block = stream(task, 320)
    learners = [
        learner_of(task, serve=serve, label_delay=delay or 0, interval=0.9, evolution={"every": 2})
        for _ in range(2)
    ]
    first = given_rows(list(feed(learners[0], block)))
    second = given_rows(list(feed(learners[1], block, sizes)))
    assert str(first) == str(second)
    assert differences(state_of(learners[0]), state_of(learners[1])) == []


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("delay", [None, 70])
def test_a_restored_learner_goes_on_with_the_same_intervals(task: Task, delay: int | None) -> None:
    block = stream(task, 400)
    options: dict[str, Any] = {"label_delay": delay or 0, "interval": 0.9}
    whole = learner_of(task, **options)
    rows = given_rows(list(feed(whole, block)))
    begun = learner_of(task, **options)
    list(feed(begun, block.part(0, 3 * ROUND)))
    resumed = learner_of(task, **options)
    resumed.restore_state(begun.export_state())
    again = given_rows(list(feed(resumed, block.part(3 * ROUND, 400), (7, 50))))
    assert str(again) == str(rows[3 * ROUND :])
    assert differences(state_of(whole), state_of(resumed)) == []


@pytest.mark.parametrize("task", TASKS)
def test_an_interval_changes_nothing_else(task: Task) -> None:
    block = stream(task, 300)
    plain, with_interval = learner_of(task), learner_of(task, interval=0.9)
    for learner in (plain, with_interval):
        list(feed(learner, block, (50,)))
    state = state_of(with_interval)
    assert state["serving"].pop("intervals") is not None
    expected = state_of(plain)
    assert expected["serving"].pop("intervals") is None
    assert differences(expected, state) == []


@pytest.mark.parametrize("task", TASKS)
def test_samples_that_are_not_scored_have_no_intervals(task: Task) -> None:
    block = stream(task, 100)
    learner = learner_of(task, interval=0.9)
    list(feed(learner, block))
    assert learner.serving.intervals is not None
    scored = learner.serving.intervals.scores.scored
    served = list(feed(learner, unscored(block)))
    assert given_rows(served) == []
    assert learner.serving.intervals.scores.scored == scored


@pytest.mark.parametrize("task", TASKS)
def test_the_next_prediction_has_the_interval_that_the_next_sample_gets(task: Task) -> None:
    block = stream(task, 200, gaps=False)
    learner = learner_of(task, interval=0.9)
    list(feed(learner, block.part(0, 199)))
    predicted = learner.predict(block.part(199, 200))
    expected = learner.predict_intervals(predicted)
    (served,) = feed(learner, block.part(199, 200))
    assert served.intervals is not None
    if task is Task.REGRESSION:  # scales know the sample only once it is served
        widths = [np.diff(one).item() for one in (served.intervals[0], expected[0])]
        assert widths[0] == pytest.approx(widths[1], rel=1e-3)
    else:
        assert served.intervals.shape[1] >= expected.shape[1]


def start_model(task: Task, **settings: Any) -> tuple[Model, Block]:
    """A model that has learned 400 samples, and 200 more."""
    block = stream(task, 600, gaps=False)
    learner = learner_of(task, **settings)
    list(feed(learner, block.part(0, 400)))
    return learner.model(), block.part(400, 600)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("interval", [None, 0.8])
def test_a_learner_starts_with_the_intervals_of_its_model(
    task: Task, interval: float | None
) -> None:
    model, block = start_model(task, interval=0.8)
    learner = Learner(task=task, start=model, interval=interval)
    assert learner.serving.intervals is not None
    assert learner.serving.intervals.level == 0.8
    outputs = model.outputs(block)
    numbers = outputs[:, 0] if task is Task.REGRESSION else outputs
    expected = model.intervals(outputs)
    found = learner.predict_intervals(numbers, without_lags=True)
    assert np.array_equal(found, expected)
    list(feed(learner, block, (33,)))
    scores = learner.serving.intervals.scores
    assert scores.scored == 200  # also the first one, which has bounds already
    assert abs(scores.measures()["coverage"] - 0.8) < 0.07
    assert not np.array_equal(learner.predict_intervals(numbers, without_lags=True), expected)
    assert learner.model().interval == 0.8


@pytest.mark.parametrize("task", TASKS)
def test_a_learner_may_have_intervals_of_another_level_than_its_model(task: Task) -> None:
    model, block = start_model(task, interval=0.8)
    learner = Learner(task=task, start=model, interval=0.95)
    if task is Task.REGRESSION:  # the sizes of errors are known from the start
        numbers = model.outputs(block)[:, 0]
        widths = np.diff(model.predict_interval(block))
        wider = np.diff(learner.predict_intervals(numbers, without_lags=True))
        assert (wider > 1.2 * widths).all()
    list(feed(learner, block, (33,)))
    assert learner.serving.intervals is not None
    assert learner.serving.intervals.level == learner.model().interval == 0.95
    assert learner.serving.intervals.scores.measures()["coverage"] > 0.88


@pytest.mark.parametrize("task", TASKS)
def test_a_learner_gives_intervals_though_its_model_has_none(task: Task) -> None:
    model, block = start_model(task)
    assert Learner(task=task, start=model).serving.intervals is None
    learner = Learner(task=task, start=model, interval=0.8)
    list(feed(learner, block, (33,)))
    assert learner.serving.intervals is not None
    assert learner.serving.intervals.scores.scored > 190


@pytest.mark.parametrize("task", TASKS)
def test_a_resumed_learner_does_not_start_from_its_model_again(task: Task) -> None:
    model, block = start_model(task, interval=0.8)
    whole, begun, resumed = (Learner(task=task, start=model) for _ in range(3))
    list(feed(whole, block))
    list(feed(begun, block.part(0, 2 * ROUND)))
    resumed.restore_state(begun.export_state())
    list(feed(resumed, block.part(2 * ROUND, 200), (9,)))
    assert differences(state_of(whole), state_of(resumed)) == []


def test_without_an_interval_there_is_none() -> None:
    learner = learner_of(Task.REGRESSION)
    (served,) = feed(learner, stream(Task.REGRESSION, 10))
    assert served.intervals is None
    with pytest.raises(ConfigurationError, match="interval is not given, but must be the level"):
        learner.predict_intervals(np.zeros(1))


@pytest.mark.parametrize("level", [0, 1, 1.5, -0.1])
def test_a_level_out_of_range_is_refused(level: float) -> None:
    with pytest.raises(ConfigurationError, match=f"interval is {level}"):
        learner_of(Task.REGRESSION, interval=level)

"""Labels that arrive late: what is known when, what is learned, and what is scored."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sklearn.metrics import accuracy_score, mean_absolute_error

from streamnet.errors import ConfigurationError
from streamnet.features.encoder import Encoder
from streamnet.learning.label_delay import DelayedEncoder, LabelDelay
from streamnet.learning.learner import Learner
from streamnet.samples import Block, Field, Kind, Schema, Task, make_marks
from streamnet.settings.horizon import parse_duration
from tests.learning.streams import ROUND, candidate, differences, feed, learner_of, state_of, stream

TASKS = [Task.CLASSIFICATION, Task.REGRESSION]


def timed_block(times: list[float | None], labels: list[str | None], **more: Any) -> Block:
    """Samples whose only features are their time and, perhaps, the time of their label."""
    names = ("t", *more)
    columns = [times, *more.values()]
    numbers = np.array([[math.nan if v is None else v for v in c] for c in columns], float).T
    schema = Schema(tuple(Field(name, Kind.NUMBER) for name in names), "y", Task.CLASSIFICATION)
    numbers = np.ascontiguousarray(numbers.reshape(len(times), len(names)))
    return Block(schema, "-", numbers, (), np.array(labels, object), make_marks(0, len(times)))


def encode_parts(delay: LabelDelay, block: Block, cuts: list[int]) -> list[tuple[bool, int]]:
    """Whether each row is a label, and of which sample, however the block is cut."""
    encoder = DelayedEncoder(Encoder(task=Task.CLASSIFICATION), delay)
    rows, start = [], 0
    for size in [*cuts, len(block)]:
        stop = min(len(block), start + size)
        timeline = encoder.encode(block.part(start, stop)).timeline
        assert timeline is not None
        rows += list(zip(timeline.late.tolist(), timeline.sample.tolist(), strict=True))
        start = stop
    return rows


def list_events(arrivals: list[float], clocks: list[float]) -> list[tuple[bool, int]]:
    """A naive reference: before each sample, the labels that have arrived, by time and number."""
    waiting: list[tuple[float, int]] = []
    events = []
    for number, (arrival, clock) in enumerate(zip(arrivals, clocks, strict=True)):
        events += [(True, one[1]) for one in sorted(waiting) if one[0] <= clock]
        waiting = [one for one in waiting if one[0] > clock]
        events.append((False, number))
        if math.isfinite(arrival):
            waiting.append((arrival, number))
    return events


# ------------------------------------------------------------------ when labels are known


@given(
    st.lists(st.none() | st.integers(0, 30), min_size=1, max_size=30),
    st.integers(0, 12),
    st.lists(st.integers(1, 5), max_size=8),
)
@settings(deadline=None)
def test_after_a_duration_the_labels_of_due_samples_are_known_however_blocks_are_cut(
    times: list[int | None], delay: int, cuts: list[int]
) -> None:
    block = timed_block([*times], ["a"] * len(times))
    clock, clocks, arrivals = -math.inf, [], []
    for time in times:
        clock = clock if time is None else max(clock, time)
        clocks.append(clock)
        arrivals.append((clock if time is None else time) + delay)
    found = encode_parts(LabelDelay(0, float(delay), "t"), block, cuts)
    assert found == list_events(arrivals, clocks)


@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.none() | st.integers(0, 40)), min_size=1, max_size=30
    ),
    st.lists(st.integers(1, 5), max_size=8),
)
@settings(deadline=None)
def test_a_column_tells_when_each_label_is_known(
    rows: list[tuple[int, int | None]], cuts: list[int]
) -> None:
    times = np.cumsum([step for step, _ in rows]).tolist()
    arrivals = [None if late is None else late + 0.0 for _, late in rows]
    block = timed_block(times, ["a"] * len(rows), known=arrivals)
    found = encode_parts(LabelDelay(0, None, "t", "known"), block, cuts)
    never = [math.nan if one is None else one for one in arrivals]
    assert found == list_events(never, times)


@given(st.integers(2, 12), st.integers(1, 40), st.lists(st.integers(1, 7), max_size=9))
@settings(deadline=None)
def test_after_a_number_of_samples_the_label_is_known(delay: int, n: int, cuts: list[int]) -> None:
    block = timed_block([0.0] * n, ["a"] * n)
    found = encode_parts(LabelDelay(delay), block, cuts)
    numbers = [float(number) for number in range(n)]
    assert found == list_events([number + delay for number in numbers], numbers)


def test_samples_without_a_label_are_predicted_and_never_wait() -> None:
    labels = ["a", None, "b", None]
    encoder = DelayedEncoder(Encoder(task=Task.CLASSIFICATION), LabelDelay(2))
    encoder.encode(timed_block([0.0] * 4, labels))
    assert encoder.pending == 1


def test_the_time_of_a_label_is_no_feature() -> None:
    encoder = Encoder(task=Task.CLASSIFICATION)
    block = timed_block([0.0, 1.0], ["a", "b"], known=[5.0, 6.0])
    DelayedEncoder(encoder, LabelDelay(0, None, "t", "known")).encode(block)
    assert [field.name for field in encoder.fields] == ["t"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"label_delay": -1}, "label_delay is -1, but must be a number of samples"),
        ({"label_delay": "soon"}, "label_delay is 'soon', but must be a number of samples"),
        ({"label_delay": "2h"}, "time is not given, but label_delay '2h' needs the column"),
        ({"label_time": "t"}, "time is not given, but label_time needs the column"),
        ({"label_time": "t", "time": "t"}, "label_time is 't', but must differ from time"),
        (
            {"label_time": "u", "time": "t", "label_delay": 3},
            "label_delay is given, but must not be where label_time is",
        ),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(given: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Learner(task=Task.REGRESSION, **given)


def test_a_time_that_is_no_column_is_refused_with_the_columns_there_are() -> None:
    encoder = DelayedEncoder(Encoder(task=Task.CLASSIFICATION), LabelDelay(0, 1.0, "when"))
    with pytest.raises(ConfigurationError, match=r"'when' is not a column, but must be .* 't'"):
        encoder.encode(timed_block([0.0], ["a"]))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("5min", 300), ("2h", 7200), ("1.5 d", 129600), ("1w", 604800)],
)
def test_durations_have_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


# ------------------------------------------------------------------ what is learned


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("delay", [2, 17, 100])
def test_a_sample_is_predicted_as_by_a_learner_that_knows_only_the_labels_that_have_arrived(
    task: Task, delay: int
) -> None:
    block = stream(task, 200, gaps=False)
    plain = {"encoder": {"scaling": "none", "target_scaling": "none"}, "serve": "champion"}
    if task is Task.CLASSIFICATION:
        del plain["encoder"]["target_scaling"]  # type: ignore[attr-defined]
    one = [candidate(hidden=(), optimizer="sgd", learning_rate=0.001)]
    late = learner_of(task, one, label_delay=delay, **plain)
    served = [row for one in feed(late, block, (31,)) for row in one.answers]
    now = learner_of(task, one, **plain)
    for number in (delay, delay + 1, 150, 199):
        list(feed(now, block.part(now.trainer.number, number - delay + 1), (1000,)))
        expected = now.predict(block.part(number, number + 1))[0]
        width = np.size(expected)
        found = served[number][:width] if task is Task.CLASSIFICATION else served[number]
        assert np.allclose(found, expected, rtol=1e-5, atol=1e-7), number


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("serve", ["ensemble", "champion"])
@given(data=st.data())
@settings(deadline=None, max_examples=8)
def test_the_result_does_not_depend_on_how_blocks_are_cut(
    task: Task, serve: str, data: st.DataObject
) -> None:
    sizes = data.draw(st.lists(st.integers(1, 90), min_size=1, max_size=6))
    delay = data.draw(st.integers(2, 150))
    block = stream(task, 320)
    learners = [
        learner_of(task, serve=serve, label_delay=delay, evolution={"every": 2}) for _ in range(2)
    ]
    first = [one.answers for one in feed(learners[0], block)]
    second = [one.answers for one in feed(learners[1], block, sizes)]
    assert differences(state_of(learners[0]), state_of(learners[1])) == []
    if task is Task.REGRESSION:
        assert np.array_equal(np.concatenate(first), np.concatenate(second))


@pytest.mark.parametrize("task", TASKS)
def test_a_restored_learner_goes_on_with_the_same_bits(task: Task) -> None:
    block = stream(task, 400)
    whole = learner_of(task, label_delay=70, evolution={"every": 2})
    list(feed(whole, block))
    begun = learner_of(task, label_delay=70, evolution={"every": 2})
    list(feed(begun, block.part(0, 3 * ROUND)))
    resumed = learner_of(task, label_delay=70, evolution={"every": 2})
    resumed.restore_state(begun.export_state())
    list(feed(resumed, block.part(3 * ROUND, 400), (7, 50)))
    assert differences(state_of(whole), state_of(resumed)) == []
    for learner in (whole, resumed):
        learner.learn_pending()
    assert differences(state_of(whole), state_of(resumed)) == []


def test_lags_are_the_last_known_targets() -> None:
    n, delay = 3000, 4
    bits = np.random.default_rng(2).integers(0, 2, n)
    # The label repeats the one of `delay` samples ago, which is the last that is known.
    flips = np.random.default_rng(3).random(n) < 0.05
    for number in range(delay, n):
        bits[number] = bits[number - delay] ^ flips[number]
    bits ^= bits[0]  # classes are numbered as they appear
    labels = np.array(["c0", "c1"], object)[bits]
    block = replace(stream(Task.CLASSIFICATION, n, gaps=False), target=labels)
    learner = learner_of(
        Task.CLASSIFICATION, [candidate(optimizer="adagrad", lags=True)], label_delay=delay
    )
    served = [one.answers.argmax(axis=1) for one in feed(learner, block)]
    assert (np.concatenate(served)[1500:] == bits[1500:]).mean() > 0.93


# ------------------------------------------------------------------ what is scored


@pytest.mark.parametrize("delay", [2, 40, 300])
def test_the_served_score_is_that_of_the_predictions_as_they_were_given(delay: int) -> None:
    block = stream(Task.REGRESSION, 500)
    learner = learner_of(Task.REGRESSION, label_delay=delay)
    served = np.concatenate([one.answers for one in feed(learner, block)])
    assert block.target is not None
    known = np.isfinite(block.target)
    arrived = known & (np.arange(500) + delay <= 499)
    expected = mean_absolute_error(block.target[arrived], served[arrived])
    assert learner.serving.measures()["mae"] == pytest.approx(expected, rel=1e-12)
    learner.learn_pending()
    expected = mean_absolute_error(block.target[known], served[known])
    assert learner.serving.measures()["mae"] == pytest.approx(expected, rel=1e-12)


def test_baselines_use_the_last_known_label() -> None:
    n, delay = 400, 25
    labels = np.array(["a", "b"], object)[np.arange(n) // 40 % 2]
    block = replace(stream(Task.CLASSIFICATION, n, gaps=False), target=labels)
    learner = learner_of(Task.CLASSIFICATION, label_delay=delay)
    list(feed(learner, block, (33,)))
    learner.learn_pending()
    known = [None] * delay + labels[:-delay].tolist()
    expected = accuracy_score(labels.astype(str), [str(label) for label in known])
    measures = learner.serving.contenders.scores.measures(4)
    assert measures["accuracy"] == pytest.approx(expected, rel=1e-12)


def test_nothing_is_scored_before_its_label_has_arrived() -> None:
    learner = learner_of(Task.CLASSIFICATION, label_delay=100)
    list(feed(learner, stream(Task.CLASSIFICATION, 100, gaps=False)))
    assert learner.serving.scored == 0
    assert math.isnan(learner.serving.measures()["accuracy"])
    assert learner.delayed is not None
    assert learner.delayed.pending == 100


def test_a_newcomer_is_not_scored_on_samples_that_it_did_not_predict() -> None:
    delay = 3 * ROUND
    learner = learner_of(Task.REGRESSION, label_delay=delay, evolution={"every": 1, "grace": 1})
    block = stream(Task.REGRESSION, 12 * ROUND, gaps=False)
    list(feed(learner, block))
    newcomers = [
        (slot, member) for slot, member in enumerate(learner.serving.members) if member.born
    ]
    assert newcomers
    losses = learner.serving.selector._totals[1]
    for slot, member in newcomers:
        assert losses[slot] <= max(0, 12 * ROUND - member.born - delay)


def test_drift_is_seen_when_labels_arrive() -> None:
    n, delay = 3000, 200
    block = stream(Task.CLASSIFICATION, n, classes=2, gaps=False)
    label = np.where(block.numbers[:, 0] > 0, "c0", "c1")
    label[1500:] = np.where(label[1500:] == "c0", "c1", "c0")
    learner = learner_of(Task.CLASSIFICATION, label_delay=delay, drift="hddm_a")
    list(feed(learner, replace(block, target=label.astype(object)), (64,)))
    events = [event for event in learner.serving.drift.events if event.since >= 1400]
    assert events
    assert 1500 + delay <= events[0].number < 1800 + delay


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("sizes", [(7,), (200,)])
def test_samples_without_a_label_are_told_from_those_whose_label_is_late(
    task: Task, sizes: tuple[int, ...]
) -> None:
    block = stream(task, 5 * ROUND)
    assert block.target is not None
    gaps = sum(one is None or one != one for one in block.target.tolist())
    learner = learner_of(task, label_delay=50)
    list(feed(learner, block, sizes))
    serving = learner.serving
    assert serving.unlabeled == gaps > 0
    assert serving.scored + serving.unlabeled + learner.pending == learner.trainer.number
    learner.learn_pending()
    assert (serving.scored, serving.unlabeled) == (5 * ROUND - gaps, gaps)

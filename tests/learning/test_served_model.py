"""What answers requests: bit by bit what is served in learning, and untouched by what follows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from streamnet.learning.learner import Learner
from streamnet.learning.served_model import ServedModel
from streamnet.neighbors.memory import NeighborMemory
from streamnet.samples import Block, ClassChange, Field, Kind, Schema, Task
from streamnet.sources.columns import Columns
from streamnet.sources.rows import RowReader
from tests.learning.streams import candidate
from tests.learning.test_joined_labels import late

TASKS = list(Task)
FIRST = 80  # sample before which all words, and all labels as last ones, have occurred
CANDIDATES = candidate(), candidate(lags=True), candidate(lags=True, hidden=())
FIELDS = Field("w", Kind.CATEGORY), Field("v", Kind.CATEGORY)


def follow(n: int, task: Task) -> Block:
    """Words that say little: mostly the target is the last one, or the last one and a bit."""
    rng = np.random.default_rng(7)
    words = tuple(np.array([f"{c}{i}" for i in rng.integers(0, 4, n)], object) for c in "wv")
    state = np.cumsum(rng.random(n) < 0.3) % 3
    target: Any = np.array([f"c{i}" for i in state], object)
    if task is Task.REGRESSION:
        target = 10.0 * state + rng.normal(size=n)
    records = np.arange(n + 1)
    marks = np.stack((10 * records, records, records + 1), axis=1)
    schema = Schema(FIELDS, "y", task)
    return Block(schema, "s.csv", np.empty((n, 0)), words, target, marks)


def learner_of(task: Task, **settings: Any) -> Learner:
    given = {"neighbors": 2000, "factors": 4, "trees": 300, "series": 50, "seed": 4} | settings
    return Learner(task=task, candidates=CANDIDATES, **given)


def answers_of(model: ServedModel, block: Block) -> NDArray[np.float64]:
    outputs = model.outputs(block)
    return outputs[:, 0] if model.task is Task.REGRESSION else outputs


@pytest.mark.parametrize("serve", ["ensemble", "champion"])
@pytest.mark.parametrize("task", TASKS)
def test_a_request_is_answered_as_test_then_train_with_the_same_delays_would(
    task: Task, serve: str
) -> None:
    """Delays are random, some labels come with their sample, and some never come.

    Where trees are to be grown, learning does that first, which a copy does not.
    """
    n, rng = 260, np.random.default_rng(5)
    arrival = np.arange(n) + 1 + rng.integers(0, 40, n)
    arrival[rng.random(n) < 0.2] = 0
    arrival[rng.random(n) < 0.1] = 10**6
    block = late(follow(n, task), arrival)
    learner = learner_of(task, late_labels=True, serve=serve, season=0)
    trees = learner.serving.contenders.experts["trees"]
    compared = grown = 0
    for i in range(n):
        one = block.part(i, i + 1)
        # Labels come before the sample that they may serve, so these are learned alone.
        learner.learn(replace(one.part(0, 0), arrivals=one.arrivals))
        one = replace(one, arrivals=None)
        is_due = (state := trees.export_state())["seen"] >= state["due"]
        grown += is_due
        is_comparable = i >= FIRST and not is_due
        answers = answers_of(learner.freeze(), one) if is_comparable else None
        served = learner.learn(one)
        if answers is not None:
            wanted = served.answers[:, : answers.shape[-1]] if answers.ndim > 1 else served.answers
            np.testing.assert_array_equal(answers.astype(wanted.dtype), wanted)
            compared += 1
    assert compared == n - FIRST - grown
    assert 2 < grown < 9


ROWS = [
    {"x": i % 7 / 7, "w": f"w{i % 5}", "text": f"some text, {i % 11}", "y": "abc"[i * i % 7 % 3]}
    for i in range(400)
]
LATER = [{"x": 50.0, "w": "new", "text": f"other {i}", "y": "dabc"[i % 4]} for i in range(300)]
INPUTS = [{"x": 1.5 * i, "w": f"w{i}", "text": "other text, 3"} for i in range(9)]


@pytest.mark.parametrize(
    "encoder",
    [{}, {"text": "auto", "scaling": "rank"}, {"text": "dictionary", "autoencoder": {"code": 2}}],
)
def test_what_is_learned_later_changes_no_answer(encoder: dict[str, Any]) -> None:
    """New classes, words, texts, columns and scales, and a class that is merged."""
    learner = learner_of(Task.CLASSIFICATION, encoder=encoder)
    reader = RowReader(Columns(target="y", kinds={"text": Kind.TEXT}))
    learner.learn(reader.read(ROWS))
    frozen = learner.freeze()
    before = frozen.outputs(INPUTS, on_unknown="ignore")
    plain = RowReader(Columns(kinds={"x": Kind.NUMBER, "w": Kind.CATEGORY, "text": Kind.TEXT}))
    np.testing.assert_array_equal(before, learner.predict(plain.read(INPUTS)))
    with ThreadPoolExecutor(2) as threads:
        learning = threads.submit(learner.learn, reader.read([{**row, "z": 1.0} for row in LATER]))
        during = [frozen.outputs(INPUTS, on_unknown="ignore") for _ in range(20)]
        learning.result()
    learner.change_classes(ClassChange("a", "b"))
    learner.serving.contenders.discount_losses()
    for answers in (*during, frozen.outputs(INPUTS, on_unknown="ignore")):
        np.testing.assert_array_equal(answers, before)
    assert frozen.labels == ("a", "b", "c")
    assert set(frozen.named(before)) <= {"a", "b", "c"}
    after = learner.freeze()
    assert after.changed_classes == {"a": "b"}
    assert not after.outputs(INPUTS, on_unknown="ignore")[:, 0].any()


def test_what_is_stored_of_neighbors_is_not_copied_while_only_samples_come() -> None:
    block = follow(200, Task.CLASSIFICATION)
    learner = learner_of(Task.CLASSIFICATION, late_labels=True)
    learner.learn(block.part(0, 150))
    memory = learner.serving.contenders.experts["neighbors"]
    assert isinstance(memory, NeighborMemory)
    first = memory.freeze()
    learner.learn(replace(block.part(150, 160), target=None))
    assert memory.freeze() is first
    learner.learn(block.part(160, 161))
    assert memory.freeze() is not first
    assert (first.samples, memory.freeze().samples) == (150, 151)


@pytest.mark.parametrize("task", TASKS)
def test_trees_answer_by_unscaled_numbers_as_they_do_in_learning(task: Task) -> None:
    """A copy goes on with the trees that it has, while others are grown, from a column more."""
    rng = np.random.default_rng(3)
    values = "ab" if task is Task.CLASSIFICATION else (5.0, 15.0)
    rows = [
        {"x": 1e3 * x, "w": f"w{i % 3}", "y": values[x > 0.4]}
        for i, x in enumerate(rng.random(400).tolist())
    ]
    learner = learner_of(task, neighbors=0, factors=0)
    reader = RowReader(Columns(target="y", task=task))
    learner.learn(reader.read(rows[:300]))
    trees = learner.serving.contenders.experts["trees"]
    frozen = learner.freeze()
    asked = RowReader(Columns()).read([{"x": 390.0, "w": "w1"}, {"x": 410.0, "w": "w9"}])
    before = answers_of(frozen, asked)
    np.testing.assert_array_equal(before, learner.predict(asked))
    earlier = trees.export_state()["forest"]["feature"]
    learner.learn(reader.read([{**row, "z": 1.0} for row in rows[300:]]))
    assert not np.array_equal(trees.export_state()["forest"]["feature"], earlier)
    np.testing.assert_array_equal(answers_of(frozen, asked), before)


def test_intervals_are_those_that_are_served() -> None:
    learner = learner_of(Task.REGRESSION, interval=0.8)
    learner.learn(follow(300, Task.REGRESSION))
    frozen, block = learner.freeze(), follow(20, Task.REGRESSION)
    predicted = learner.predict(block)
    assert frozen.interval == 0.8
    bounds = frozen.intervals(frozen.outputs(block))
    np.testing.assert_array_equal(bounds, learner.predict_intervals(predicted))

"""Learners whose candidates are in shards: the bits of one process, whatever becomes of a shard."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from streamnet.errors import ConfigurationError, DataError
from streamnet.executors import Actor, Executor, WorkerDiedError
from streamnet.executors.in_process import InProcessExecutor
from streamnet.executors.processes import ProcessExecutor
from streamnet.jit import numerics
from streamnet.learning.learner import Learner
from streamnet.pipeline.reader import BlockSplitter
from streamnet.samples import ClassChange, Task
from streamnet.shards import ShardedLearner, sharded_population, worker
from streamnet.shards.sharded_population import ShardedPopulation
from tests.learning.streams import ROUND, differences, feed, learner_of, state_of, stream

KINDS: dict[str, dict[str, Any]] = {
    "labels": {"task": Task.CLASSIFICATION},
    "numbers": {"task": Task.REGRESSION, "interval": 0.9},
    "late labels": {"task": Task.CLASSIFICATION, "label_delay": 30, "serve": "champion"},
    "late numbers": {"task": Task.REGRESSION, "label_delay": 30},
}
SEARCH = {"every": 2, "grace": 1, "budget": 1000.0}
SAMPLES = 700


def make(kind: str) -> Learner:
    return learner_of(evolution=SEARCH, **KINDS[kind])


def resting(learner: Learner) -> bool:
    return bool(learner.trainer.population.resting.any())


def play(
    learner: Learner,
    executor: Executor,
    shards: Sequence[int],
    between: Callable[[Learner], None] = lambda _: None,
) -> list[bytes]:
    """Learn a stream in as many parts as there are numbers of shards (0: in this process)."""
    block = stream(learner.task, SAMPLES)
    cutter = BlockSplitter(block_size=10_000, round_size=ROUND)
    bounds = np.linspace(0, SAMPLES, len(shards) + 1).astype(int).tolist()
    answers = []

    def learn(start: int, stop: int) -> None:
        for served in feed(learner, block.part(start, stop), (90,), cutter=cutter):
            answers.append(served.answers.tobytes())
            between(learner)

    for count, start, stop in zip(shards, bounds, bounds[1:], strict=False):
        if count:
            with ShardedLearner(learner, count, executor):
                learn(start, stop)
        else:
            learn(start, stop)
    return answers


class DyingExecutor(Executor):
    """Objects of this process that die now and then, before or after a call is made."""

    def __init__(self, seed: int = 0, share: float = 0.3) -> None:
        super().__init__(1)
        self.random, self.share, self.deaths = random.Random(seed), share, 0

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        return InProcessExecutor().submit(function, *arguments)

    def host(self, make: Callable[..., Any], *arguments: Any) -> Actor:
        return DyingActor(self, make(*arguments))

    def close(self) -> None:
        pass


class DyingActor(Actor):
    def __init__(self, executor: DyingExecutor, hosted: object) -> None:
        self.executor, self.hosted, self.dead = executor, hosted, False

    def call(self, method: str, *arguments: Any) -> Future[Any]:
        chance = self.executor.random.random()
        found = self.executor.submit(getattr(self.hosted, method), *arguments)
        if not self.dead and chance < self.executor.share:
            self.dead = True
            self.executor.deaths += 1
        if self.dead:
            found = Future()
            found.set_exception(WorkerDiedError("it was ended"))
        return found

    def close(self) -> None:
        self.dead = True


@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_shards_has_the_bits_of_one_process(kind: str) -> None:
    alone, rested = make(kind), []
    with InProcessExecutor() as executor:
        answers = play(alone, executor, [0, 0, 0], lambda one: rested.append(resting(one)))
        assert any(rested) is alone.serving.serves_ensemble
        assert alone.trainer.population.next_serial > 5, "no candidate was replaced"
        for shards in ([5, 1, 3], [0, 2, 0]):
            learner = make(kind)
            assert play(learner, executor, shards) == answers, shards
            assert differences(state_of(learner), state_of(alone)) == [], shards


def test_shards_that_die_are_replaced_with_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharded_population, "KEPT_ROWS", 200)
    alone, learner = make("late labels"), make("late labels")
    monkeypatch.setattr(worker, "MAX_DEATHS", 50)
    executor = DyingExecutor()
    answers = play(alone, executor, [0, 0])
    assert play(learner, executor, [3, 3]) == answers
    assert executor.deaths > 5
    assert differences(state_of(learner), state_of(alone)) == []


def test_a_shard_that_dies_again_and_again_ends_the_run() -> None:
    learner, executor = make("labels"), DyingExecutor(share=0.0)
    with ShardedLearner(learner, 2, executor):
        executor.share = 1.0
        with pytest.raises(DataError, match=r"shard 1 of 2 died 4 times in a row: it was ended"):
            list(feed(learner, stream(learner.task, 100)))
    assert executor.deaths >= 4


def test_a_shard_that_is_killed_is_replaced_with_the_same_bits() -> None:
    alone, learner = make("numbers"), make("numbers")
    killed: list[int] = []

    def kill(now: Learner) -> None:
        population = now.trainer.population
        if isinstance(population, ShardedPopulation) and not killed:
            process = population.workers[1]._actor._process._process  # type: ignore[attr-defined]
            os.kill(process.pid, signal.SIGKILL)
            killed.append(process.pid)

    with ProcessExecutor(2) as executor:
        answers = play(alone, executor, [0])
        assert play(learner, executor, [2], kill) == answers
    assert killed
    assert differences(state_of(learner), state_of(alone)) == []


def test_what_is_asked_in_between_is_answered_as_by_one_process() -> None:
    found: dict[int, list[Any]] = {0: [], 2: []}
    samples = stream(Task.CLASSIFICATION, 40, seed=9, gaps=False)
    for shards, asked in found.items():
        learner = make("labels")

        def ask(now: Learner, asked: list[Any] = asked) -> None:
            portable = now.model().predict(samples).tolist()
            asked.append((portable, now.predict(samples).tobytes()))

        with InProcessExecutor() as executor:
            play(learner, executor, [shards], ask)
            learner.change_classes(ClassChange("c1", "c0"))
            with ShardedLearner(learner, 2, executor):
                learner.change_classes(ClassChange("c2"))
                ask(learner)
    assert found[0] == found[2]


def test_there_must_be_a_candidate_for_each_shard() -> None:
    with (
        pytest.raises(ConfigurationError, match=r"shards is 6, but must be <= 5, the number of"),
        InProcessExecutor() as executor,
    ):
        ShardedLearner(make("labels"), 6, executor).__enter__()


def test_a_machine_that_computes_other_bits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamnet.shards.shard.numerics", lambda: {**numerics(), "cpu": "z80"})
    with (
        pytest.raises(ConfigurationError, match=r"shard 1 of 2 would compute other bits: cpu is "),
        InProcessExecutor() as executor,
    ):
        ShardedLearner(make("labels"), 2, executor).__enter__()

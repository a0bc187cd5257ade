"""The stage that trains: order, threads, decisions, barriers, and what happens on the way out."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from threading import Lock, get_ident
from time import sleep
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from anyio import create_memory_object_stream, create_task_group

from streamnet.pipeline.concurrency import INLINE_SECONDS
from streamnet.pipeline.control_messages import Barrier
from streamnet.pipeline.stages import EncodedBlock, Train
from streamnet.selection.champion import Decision
from tests.conftest import Runner

LONG = 10 * INLINE_SECONDS
SAMPLES = 64


class FakeTrainer:
    """Does nothing for a while and writes down what it is asked for."""

    def __init__(
        self, seconds: float = LONG, *, idles: float = LONG / 2, fails_at: int | None = None
    ) -> None:
        self.population = SimpleNamespace(members=[None] * 8)
        self.at_start, self.round, self.decisions = True, 0, ()
        self.heard: list[str] = []
        self.number = 0
        self.most = 0  # threads at once
        self.threads: set[int] = set()  # that were ever asked to learn
        self._seconds, self._idles, self._fails_at = seconds, idles, fails_at
        self._lock, self._running, self._left = Lock(), 0, 0.0

    def decide(self, decision: Decision) -> None:
        self.heard.append(f"decision {decision.round}")

    def begin(self, encoded: Any, threads: int, ends_round: bool) -> Any:
        self.heard.append(f"begin {self.number}")
        if self.number == self._fails_at:
            raise ValueError("it fails")
        self._left = self._seconds
        return SimpleNamespace(known=encoded.block)

    def run(self, job: Any) -> None:
        self.threads.add(get_ident())
        with self._lock:
            self._running += 1
            self.most = max(self.most, self._running)
            seconds, self._left = self._left, 0.0
        sleep(seconds or self._idles)
        with self._lock:
            self._running -= 1

    def finish(self, encoded: Any, job: Any, ending: Any) -> int:
        self.heard.append(f"finish {self.number}")
        assert self._running == 0
        self.number += 1
        return self.number - 1

    def learn(self, encoded: Any, ending: Any) -> int:
        self.run(self.begin(encoded, 1, ending is not None))
        return self.finish(encoded, "job", ending)

    def export_state(self) -> dict[str, int]:
        assert self.heard[-1].startswith("finish")
        return {"number": self.number}


def coded(samples: int = SAMPLES, *, ends: bool = False) -> Any:
    encoded: Any = SimpleNamespace(
        block=range(samples), inputs=SimpleNamespace(count=range(samples))
    )
    return EncodedBlock(encoded, "ending" if ends else None)  # type: ignore[arg-type]


async def trained(
    trainer: FakeTrainer,
    items: list[Any],
    threads: int = 2,
    decisions: int = 0,
    waiting: bool = True,  # items, one behind the other
) -> list[Any]:
    """What comes out of the stage."""
    send_in, receive_in = create_memory_object_stream[Any](len(items) if waiting else 0)
    send_out, receive_out = create_memory_object_stream[Any](len(items))

    async def feed() -> None:
        with send_in:
            for item in items:
                await send_in.send(item)

    train = Train(trainer, threads)  # type: ignore[arg-type]
    with receive_out, closing(train):
        for number in range(decisions):
            await train.decide(Decision(number))
        stage = partial(train.run, receive_in, send_out)
        if waiting:
            await feed()
            await stage()
        else:
            async with create_task_group() as group:
                group.start_soon(feed)
                await stage()
        return [item async for item in receive_out]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_blocks_are_learned_one_by_one_by_all_threads_and_passed_on_in_order(
    run: Runner, threads: int
) -> None:
    trainer = FakeTrainer()
    assert run(trained, trainer, [coded()] * 6, threads) == list(range(6))
    assert trainer.heard == [f"{what} {i}" for i in range(6) for what in ("begin", "finish")]
    assert trainer.most == threads


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("waiting", [True, False])
def test_idle_threads_do_not_make_blocks_look_short(
    run: Runner, threads: int, waiting: bool
) -> None:
    trainer = FakeTrainer(idles=0.0)
    assert run(trained, trainer, [coded()] * 8, threads, 0, waiting) == list(range(8))
    assert get_ident() not in trainer.threads


def test_short_blocks_are_learned_inline_and_keep_their_order(run: Runner) -> None:
    trainer = FakeTrainer(0.0)
    items = [coded(4), *[coded(1 + i % 3 * 200) for i in range(20)]]
    assert run(trained, trainer, items) == list(range(21))


def test_each_round_from_the_third_on_gets_one_decision_before_it_begins(run: Runner) -> None:
    trainer = FakeTrainer()
    items = [coded(ends=i % 2 == 1) for i in range(10)]  # five rounds of two blocks
    assert run(trained, trainer, items, 2, 3) == list(range(10))
    order = trainer.heard
    assert [told for told in order if "decision" in told] == [f"decision {r}" for r in range(3)]
    for r in range(3):
        told = order.index(f"decision {r}")
        assert order.index(f"finish {2 * r + 1}") < told < order.index(f"begin {2 * (r + 2)}")


def test_a_restored_trainer_continues_where_it_was(run: Runner) -> None:
    trainer = FakeTrainer()
    trainer.round, trainer.decisions = 7, (Decision(5),)  # type: ignore[assignment]
    run(trained, trainer, [coded(ends=True), coded(ends=True)], 2, 1)
    assert [told for told in trainer.heard if "decision" in told] == ["decision 0"]
    assert trainer.heard.index("decision 0") > trainer.heard.index("begin 0")


def test_a_barrier_keeps_its_place_between_blocks(run: Runner) -> None:
    trainer = FakeTrainer()
    barriers = [Barrier(reading={}) for _ in range(2)]
    items = [coded(), coded(), barriers[0], coded(), barriers[1]]
    assert run(trained, trainer, items) == [0, 1, barriers[0], 2, barriers[1]]
    assert [barrier.parts["trainer"] for barrier in barriers] == [{"number": 2}, {"number": 3}]


def test_after_a_block_that_fails_none_is_learned(run: Runner) -> None:
    trainer = FakeTrainer(fails_at=2)
    with pytest.raises(ValueError, match="it fails"):
        run(trained, trainer, [coded()] * 6)
    assert trainer.heard[-1] == "begin 2"


def test_a_block_in_training_is_finished_when_the_run_is_cancelled(run: Runner) -> None:
    trainer = FakeTrainer(0.1)

    async def cancelled() -> None:
        with anyio.move_on_after(0.25):
            await trained(trainer, [coded()] * 50)

    run(cancelled)
    begun = sum(told.startswith("begin") for told in trainer.heard)
    assert 1 <= begun == trainer.number < 10

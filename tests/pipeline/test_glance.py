"""A glance at a running pipeline is the model of that moment, and leaves no trace."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import numpy as np
import pytest

from streamnet.executors.in_process import InProcessExecutor
from streamnet.learning.learner import Learner
from streamnet.pipeline import Champion, Pipeline
from streamnet.pipeline.control_messages import Glance
from streamnet.pipeline.reader import BlockSplitter, Reader
from streamnet.samples import Task
from streamnet.settings.candidate import CandidateSettings
from streamnet.shards import sharded_learner
from streamnet.sources import IterableSource
from streamnet.sources.columns import Columns
from streamnet.sources.rows import RowReader
from tests.conftest import Runner

CANDIDATES = [CandidateSettings(hidden=(8,)), CandidateSettings(hidden=(4,), learning_rate=0.1)]
ROUND = 64
ROWS = [{"x": i % 7 / 7, "w": "uv"[i % 2], "y": "abc"[i * i % 7 % 3]} for i in range(400)]
STOPS = (0, 1, 60, 64, 65, 200, 300)


async def slowly(stops: tuple[int, ...], waiting: list[anyio.Event]) -> AsyncIterator[Any]:
    """The rows; in front of each of those numbers the stream waits to be told to go on."""
    for number, row in enumerate(ROWS):
        if number in stops:
            go_on = anyio.Event()
            waiting.append(go_on)
            await go_on.wait()
        yield row


async def glanced(
    stops: tuple[int, ...], shards: int = 0
) -> tuple[list[Champion | None], dict[str, Any]]:
    waiting: list[anyio.Event] = []
    source = IterableSource(
        slowly(stops, waiting), columns=Columns(target="y", task=Task.CLASSIFICATION)
    )
    pipeline = Pipeline(
        source, candidates=CANDIDATES, round_size=ROUND, evolution={"every": 1}, shards=shards
    )
    found = []
    async with anyio.create_task_group() as group:
        group.start_soon(pipeline.run)
        await pipeline.ready.wait()
        for place, stop in enumerate(stops):
            while len(waiting) <= place or pipeline.statistics().samples < stop:  # noqa: ASYNC110
                await anyio.sleep(0.001)
            found.append(await pipeline.glance())
            waiting[place].set()
    assert await pipeline.glance() is None
    return found, pipeline.report()


def learned(count: int) -> Learner:
    """What the four parts have learned of so many rows, one after the other."""
    learner = Learner(task=Task.CLASSIFICATION, candidates=CANDIDATES, evolution={"every": 1})
    cutter = BlockSplitter(block_size=1024, round_size=ROUND)
    reader = RowReader(Columns(target="y", task=Task.CLASSIFICATION))
    for block in reader.blocks(ROWS[:count]):
        for arrival in cutter.cut(block):
            learner.learn(arrival.block, ends_round=arrival.ends_round)
    return learner


@pytest.mark.parametrize("shards", [0, 2])
def test_a_glance_is_the_model_that_a_run_up_to_there_would_leave(
    run: Runner, shards: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharded_learner, "open_executor", lambda *_: InProcessExecutor())
    found, _ = run(glanced, STOPS, shards)
    assert found[0] is None
    for stop, champion in zip(STOPS[1:], found[1:], strict=True):
        assert champion is not None
        assert champion.number == stop
        wanted = learned(stop).model().outputs(ROWS)
        np.testing.assert_array_equal(champion.model.outputs(ROWS), wanted)


def test_glances_change_nothing(run: Runner) -> None:
    _, with_glances = run(glanced, STOPS)
    _, without = run(glanced, ())
    for report in (with_glances, without):
        for name in ("seconds", "startup_seconds", "samples_per_second", "environment"):
            del report[name]
    assert with_glances == without


async def never() -> AsyncIterator[Any]:
    """A stream that waits for its first row."""
    await anyio.sleep_forever()
    yield


def test_a_stop_while_a_glance_is_sent_ends_reading(run: Runner) -> None:
    """It comes when nothing is waited for that it could cancel."""

    async def main() -> None:
        columns = Columns(target="y", task=Task.CLASSIFICATION)
        source = IterableSource(never(), columns=columns)
        reader = Reader(source, BlockSplitter(block_size=1024, round_size=ROUND))
        send, receive = anyio.create_memory_object_stream[Any](0)
        glance = Glance()
        with receive:
            async with anyio.create_task_group() as group:
                await reader.open()
                reader.send_glance(glance)
                group.start_soon(reader.read, send)
                await anyio.wait_all_tasks_blocked()  # nobody takes the glance
                reader.stop()
                with anyio.fail_after(5):
                    assert await receive.receive() is glance
                    with pytest.raises(anyio.EndOfStream):
                        await receive.receive()
            await source.aclose()

    run(main)


def test_a_cancelled_glance_is_forgotten(run: Runner) -> None:
    waiting: list[anyio.Event] = []

    async def main() -> None:
        source = IterableSource(
            slowly((200,), waiting), columns=Columns(target="y", task=Task.CLASSIFICATION)
        )
        pipeline = Pipeline(source, candidates=CANDIDATES, round_size=ROUND)
        async with anyio.create_task_group() as group:
            group.start_soon(pipeline.run)
            await pipeline.ready.wait()
            for _ in range(20):
                with anyio.move_on_after(0):
                    await pipeline.glance()
            assert not pipeline._glances
            while not waiting or pipeline.statistics().samples < 200:  # noqa: ASYNC110
                await anyio.sleep(0.001)
            assert await pipeline.glance() is not None
            waiting[0].set()

    run(main)

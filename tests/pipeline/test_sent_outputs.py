"""Predictions that are sent to a sink: the same however a run is cut, paused, or broken off."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from streamnet.errors import OutputError
from streamnet.learning.learner import Learner
from streamnet.pipeline import Pipeline
from streamnet.pipeline.outputs import PredictionRows, Sink
from streamnet.pipeline.sent_outputs import SentPredictions
from streamnet.pipeline.state import State
from streamnet.samples import Schema, Task
from streamnet.sinks.outbox import Outbox
from tests.learning.streams import stream
from tests.pipeline.block_sources import Playing, pipeline_of
from tests.pipeline.interrupted_runs import CrashError, crashing_at
from tests.sinks.memory import MemoryDestination
from tests.sources.brokers.servers import wait_until


def make(
    task: Task,
    destination: MemoryDestination,
    folder: Path,
    *,
    largest: int = 100,
    crash: int | None = None,
    **settings: Any,
) -> Pipeline:
    """A pipeline that sends its predictions."""

    def prepare(learner: Learner, _: Schema) -> Sequence[Sink]:
        rows = PredictionRows(task=learner.task, labels=learner.encoder.labels)
        outbox = Outbox("predictions", destination)
        sent = SentPredictions(outbox, rows, lambda: pipeline.parts[""].emitted)
        return (sent, crashing_at(crash))

    pipeline = pipeline_of(
        Playing(stream(task, 1300), seed=1, largest=largest),
        prepare=prepare,
        state=State(folder, every_samples=1, every_seconds=None),
        **settings,
    )
    return pipeline


def is_stalled(pipeline: Pipeline) -> bool:
    """Whether its only output is full, and is reported to be stalled."""
    (output,) = pipeline.statistics().outputs
    return output.waiting >= 50 and bool(output.error)


def sent(destination: MemoryDestination) -> list[dict[str, Any]]:
    return [json.loads(record.value) for record in destination.held]


@pytest.mark.parametrize("task", list(Task))
def test_what_is_sent_depends_on_no_cut_and_no_crash(tmp_path: Path, task: Task) -> None:
    whole = MemoryDestination()
    anyio.run(make(task, whole, tmp_path / "a", round_size=128).run)
    rows = sent(whole)
    assert [row["number"] for row in rows] == list(range(len(rows)))
    assert [row["sample"] for row in rows] == list(range(len(rows)))
    assert rows[-1]["generation"] > 0
    assert ("probabilities" in rows[0]) == (task is Task.CLASSIFICATION)
    other = MemoryDestination()
    anyio.run(make(task, other, tmp_path / "b", round_size=128, largest=7, block_size=3).run)
    assert sent(other) == rows
    crashed = MemoryDestination(5, 0, 40)  # what is lost on the way besides
    for number in (300, 700, 1000):
        with pytest.raises(CrashError):
            anyio.run(make(task, crashed, tmp_path / "c", round_size=128, crash=number).run)
    anyio.run(make(task, crashed, tmp_path / "c", round_size=128).run)
    assert sent(crashed) == rows


def test_learning_waits_for_a_slow_sink_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamnet.sinks.outbox.MAX_WAITING", 50)
    monkeypatch.setattr("streamnet.sinks.outbox.STALLED_SECONDS", 0.05)
    destination = MemoryDestination()

    async def main() -> None:
        destination.goes_on.clear()
        pipeline = make(Task.REGRESSION, destination, tmp_path, largest=10)
        async with anyio.create_task_group() as group:
            group.start_soon(pipeline.run)
            with anyio.fail_after(200):
                await pipeline.ready.wait()
                await to_thread.run_sync(wait_until, partial(is_stalled, pipeline), "stall")
                await anyio.sleep(0.2)
            now = pipeline.statistics()
            assert 50 <= now.samples < 600  # what fits into the channels
            (output,) = now.outputs
            assert output.name == "predictions"
            assert output.error == "it does not answer"
            assert output.waiting >= 50
            destination.goes_on.set()

    anyio.run(main)
    assert destination.numbers() == list(range(1300))


def test_a_run_is_cancelled_while_its_sink_is_away(tmp_path: Path) -> None:
    destination = MemoryDestination()

    async def main() -> None:
        destination.away = True
        pipeline = make(Task.REGRESSION, destination, tmp_path)
        with anyio.move_on_after(3.0) as scope:
            await pipeline.run()
        assert scope.cancelled_caught

    anyio.run(main)
    destination.away = False
    anyio.run(make(Task.REGRESSION, destination, tmp_path).run)
    assert destination.numbers() == list(range(1300))


def test_a_sink_that_refuses_records_ends_the_run(tmp_path: Path) -> None:
    class Refusing(MemoryDestination):
        def send(self, records: object) -> None:
            raise OutputError("a record is too large")

    with pytest.raises(OutputError, match=r"^a record is too large$"):
        anyio.run(make(Task.REGRESSION, Refusing(), tmp_path).run)

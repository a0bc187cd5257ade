"""Callbacks hear of all that happens in a run, in the order of the samples, the same each time."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from msgspec.structs import replace

from streamnet.errors import ConfigurationError, DataError
from streamnet.learning.learner import Learner
from streamnet.pipeline import Callback, Champion, Result, State
from streamnet.pipeline.state import StateStatistics
from streamnet.reporting.builder import build_status
from streamnet.reporting.report import Drift, LearningStatus, Report
from streamnet.samples import Task
from tests.learning.streams import stream
from tests.pipeline.block_sources import CANDIDATES, ROUND, N, Playing, pipeline_of

ROUNDS = N // ROUND


class Notes(Callback):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []
        self.result: Result | None = None
        self.threads: set[int] = set()

    def on_start(self, settings: Mapping[str, Any]) -> None:
        self.heard.append(("start", dict(settings)))

    def on_round(self, status: LearningStatus, part: str) -> None:
        self.threads.add(threading.get_ident())
        self.heard.append(("round", (status, part)))

    def on_improvement(self, status: LearningStatus, part: str) -> None:
        self.heard.append(("improvement", (status.learned, part)))

    def on_champion(self, champion: Champion) -> None:
        self.heard.append(("champion", (champion.number, champion.candidate, champion.part)))

    def on_drift(self, drift: Drift, part: str) -> None:
        self.heard.append(("drift", (drift, part)))

    def on_checkpoint(self, statistics: StateStatistics) -> None:
        self.heard.append(("checkpoint", statistics.samples))

    def on_end(self, result: Result) -> None:
        self.result = result
        self.heard.append(("end", None))

    def on_error(self, error: BaseException) -> None:
        self.heard.append(("error", type(error)))

    def of(self, kind: str) -> list[Any]:
        return [what for name, what in self.heard if name == kind]


def follow(seed: int = 0, **settings: Any) -> tuple[Notes, Result]:
    notes = Notes()
    source = Playing(stream(Task.CLASSIFICATION, N), seed=seed)
    pipeline = pipeline_of(source, callbacks=[notes], **settings)
    return notes, anyio.run(pipeline.run)


def test_the_status_of_each_round_is_that_of_a_learner_that_stops_there() -> None:
    notes, _ = follow(seed=3)
    block = stream(Task.CLASSIFICATION, N)
    learner = Learner(task=Task.CLASSIFICATION, candidates=CANDIDATES, seed=4, window=50)
    expected = []
    for start in range(0, ROUNDS * ROUND, ROUND):
        learner.learn(block.part(start, start + ROUND), ends_round=True)
        expected.append((build_status(learner), ""))
    assert notes.of("round") == expected
    best = 0.0
    improved = []
    for status, _ in expected:
        assert status.sliding is not None
        assert status.sliding.served is not None
        if status.sliding.served > best:
            best = status.sliding.served
            improved.append((status.learned, ""))
    assert notes.of("improvement") == improved


def test_what_is_heard_does_not_depend_on_how_the_stream_was_cut() -> None:
    first, _ = follow(seed=1)
    second, _ = follow(seed=2, threads=1, block_size=60)
    assert first.heard == second.heard
    assert first.of("champion")


def test_rounds_are_told_in_worker_threads_and_the_end_has_the_result() -> None:
    notes, result = follow()
    assert notes.threads
    assert threading.get_ident() not in notes.threads
    assert notes.heard[0] == ("start", {})
    assert notes.heard[-1] == ("end", None)
    assert notes.result is not None
    assert notes.result.report == result.report


def test_a_checkpoint_is_told_when_it_is_on_disk(tmp_path: Path) -> None:
    notes, _ = follow(state=State(tmp_path, every_samples=2 * ROUND, every_seconds=None))
    assert notes.of("checkpoint")[0] == 0
    assert notes.of("checkpoint")[-1] == N
    assert notes.of("checkpoint") == sorted(notes.of("checkpoint"))


def test_a_run_that_fails_tells_why_and_no_end() -> None:
    notes = Notes()
    source = Playing(stream(Task.CLASSIFICATION, N), breaks_off=True)
    with pytest.raises(DataError, match="cable"):
        anyio.run(pipeline_of(source, callbacks=[notes]).run)
    assert notes.of("error") == [DataError]
    assert not notes.of("end")
    assert len(notes.of("round")) == ROUNDS  # all that was read before


def test_an_error_of_a_callback_ends_the_run() -> None:
    class Failing(Notes):
        def on_round(self, status: LearningStatus, part: str) -> None:
            super().on_round(status, part)
            raise OSError("the tracker is away")

    notes = Failing()
    pipeline = pipeline_of(Playing(stream(Task.CLASSIFICATION, N)), callbacks=[notes])
    with pytest.raises(OSError, match="the tracker is away"):
        anyio.run(pipeline.run)
    assert len(notes.of("round")) == 1
    assert notes.of("error") == [OSError]


def test_a_drift_is_told_at_the_end_of_its_round() -> None:
    block = stream(Task.CLASSIFICATION, N)
    assert block.target is not None
    target = block.target.copy()
    np.random.default_rng(0).shuffle(target[2 * ROUND :])
    notes = Notes()
    source = Playing(replace(block, target=target))
    result = anyio.run(pipeline_of(source, callbacks=[notes], drift="page_hinkley").run)
    found = Report.from_dict(result.report).last_drifts
    assert found
    assert notes.of("drift") == [(drift, "") for drift in found if drift.number < ROUNDS * ROUND]
    for number, (kind, _) in enumerate(notes.heard):
        if kind == "drift":
            assert notes.heard[number + 1][0] in ("drift", "round")


def test_each_part_of_a_run_is_told_by_its_name() -> None:
    notes = Notes()
    source = Playing(stream(Task.REGRESSION, N))
    pipeline = pipeline_of(source, callbacks=[notes], horizon="1,5")
    anyio.run(pipeline.run)
    assert {part for _, part in notes.of("round")} == set(pipeline.parts)
    assert notes.result is not None
    assert set(notes.result.parts) == set(pipeline.parts)


@pytest.mark.parametrize("given", [print, [print], [Notes]])
def test_what_is_no_callback_is_refused(given: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"callbacks (is|has) .*streamnet\.Callback"):
        pipeline_of(Playing(stream(Task.CLASSIFICATION, 10)), callbacks=given)

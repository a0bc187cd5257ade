"""One typed report: live and final views agree, and it survives a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anyio
import msgspec
import numpy as np
import pytest

import streamnet
from streamnet.errors import ConfigurationError
from streamnet.pipeline import Pipeline
from streamnet.reporting.builder import build_candidates, build_history, build_status
from streamnet.reporting.report import MAIN_METRICS, Report
from streamnet.samples import Task
from streamnet.sources import IterableSource


def rows(task: Task) -> list[dict[str, Any]]:
    """Samples whose target depends on x and turns in the middle of the stream."""
    random = np.random.default_rng(5)
    values = [x if i < 1500 else -x for i, x in enumerate(random.normal(size=3000))]
    if task is Task.REGRESSION:
        return [{"x": abs(v), "z": i % 5, "y": 3 * v} for i, v in enumerate(values)]
    return [
        {"x": abs(v), "z": i % 5, "y": "high" if v > 0 else "low"} for i, v in enumerate(values)
    ]


@pytest.fixture(scope="module", params=list(Task))
def pipeline(request: pytest.FixtureRequest) -> Pipeline:
    source = IterableSource(rows(request.param), target="y")
    candidates = [streamnet.CandidateSettings(learning_rate=rate) for rate in (0.1, 0.01, 0.5)]
    pipeline = Pipeline(source, candidates=candidates, seed=2**64 - 1, interval=0.8)
    anyio.run(pipeline.run)
    return pipeline


def test_the_main_metric_of_each_task_is_declared_and_reported(pipeline: Pipeline) -> None:
    report = pipeline.build_report()
    assert set(MAIN_METRICS) == set(Task)
    for scores in (report.served, *report.baselines.values(), *report.alternatives.values()):
        assert MAIN_METRICS[report.task] in scores


def test_a_report_read_from_a_file_is_the_same_report(pipeline: Pipeline) -> None:
    report = pipeline.build_report()
    text = json.dumps(report.as_dict(), allow_nan=False)
    assert Report.from_dict(json.loads(text)) == report
    assert report.seed == 2**64 - 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda values: values.pop("served"),
        lambda values: values.update(learned="many"),
        lambda values: values["outcomes"].update(kind="other"),
    ],
)
def test_a_damaged_report_is_refused(pipeline: Pipeline, damage: Callable[[Any], None]) -> None:
    values = pipeline.report()
    damage(values)
    with pytest.raises(ConfigurationError, match="the report is damaged"):
        Report.from_dict(values)


def test_a_learner_shows_live_what_the_report_says_at_the_end(pipeline: Pipeline) -> None:
    report, learner = pipeline.build_report(), pipeline.learner
    assert learner is not None
    status = build_status(learner)
    assert status.served == pytest.approx(report.status.served)
    assert status.baselines == pytest.approx(report.status.baselines)
    same: dict[str, Any] = {"served": None, "baselines": {}, "sliding": None, "fading": None}
    assert msgspec.structs.replace(status, **same) == msgspec.structs.replace(report.status, **same)
    assert build_candidates(learner) == report.leader_board[: len(learner.serving.members)]
    assert build_history(learner) == report.history
    assert status.intervals is not None
    assert status.intervals.scored > 2990
    assert status.intervals.recent == 1000


def test_a_leader_board_is_cut_to_its_best_rows(pipeline: Pipeline) -> None:
    learner = pipeline.learner
    assert learner is not None
    assert build_candidates(learner, 2) == build_candidates(learner)[:2]
    losses = [row.loss for row in build_candidates(learner)]
    assert losses == sorted(losses, key=lambda loss: np.inf if loss is None else loss)

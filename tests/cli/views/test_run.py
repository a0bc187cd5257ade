"""A run is shown as lines in a pipe and as a live display on a terminal."""

from __future__ import annotations

import io
from pathlib import Path
from typing import cast

import anyio
import pytest
from rich.console import Console, RenderableType

from streamnet.cli.views import run
from streamnet.cli.views.run import render_summary
from streamnet.pipeline import Pipeline, PipelineStatistics
from streamnet.reporting.report import LeaderBoard, LeaderBoardRow, LearningStatus
from streamnet.runs.replay import Replay
from streamnet.samples import Task
from streamnet.settings.run import RunSettings, apply_overrides
from tests.cli.invocation import csv_text, rows


@pytest.fixture
def replaying(tmp_path: Path) -> Replay:
    """A run of 900 samples that has not started."""
    path = tmp_path / "good.csv"
    path.write_text(csv_text(rows(900)), encoding="utf-8")
    values = {"source.files": [str(path)], "source.target": "label", "population.candidates": 4}
    return Replay(apply_overrides(RunSettings(), values))


def render(display: RenderableType, width: int, height: int = 40, encoding: str = "utf-8") -> str:
    """Render for a terminal without colors."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=file, width=width, height=height, color_system=None)
    console.print(display)
    file.seek(0)
    return file.read()


def test_the_headline_names_what_is_about_to_run(replaying: Replay) -> None:
    words = run.headline(replaying)
    for phrase in ("streamnet ", "good.csv", "target label", "4 candidates"):
        assert phrase in words
    assert "\n" not in words


def test_the_display_of_a_run_that_has_not_started_says_so(replaying: Replay) -> None:
    words = render(run.LiveView(replaying.pipeline), 80)
    assert "opening" in words
    assert "accuracy" not in words


def test_the_status_line_shows_samples_metric_and_baselines(replaying: Replay) -> None:
    anyio.run(replaying.run)
    words = run.status_line(replaying.pipeline)
    for phrase in ("900 samples", "accuracy 0.9", "majority 0.", "no-change 0.", "champion"):
        assert phrase in words
    assert "\n" not in words


@pytest.mark.parametrize("width", [40, 80, 200])
def test_coverage_of_intervals_is_shown_while_a_run_is_going_on(
    replaying: Replay, width: int
) -> None:
    values = {"evaluation.interval": 0.9}
    replaying = Replay(apply_overrides(replaying.settings, values))
    result = anyio.run(replaying.run)
    words = render(run.LiveView(replaying.pipeline), width)
    assert max(map(len, words.splitlines())) <= width
    assert "intervals" in words
    coverage = result.report["intervals"]["overall"]["coverage"]
    if width > 40:
        assert f"90 %: coverage {100 * coverage:.1f} %, mean set size" in words
    assert f"coverage {coverage:.4f}" in run.status_line(replaying.pipeline)


@pytest.mark.parametrize("width", [40, 60, 79, 80, 100, 200])
def test_the_display_fits_its_terminal(replaying: Replay, width: int) -> None:
    result = anyio.run(replaying.run)
    words = render(run.LiveView(replaying.pipeline), width)
    assert max(map(len, words.splitlines())) <= width
    for phrase in ("900 samples", "accuracy so far", "majority", "leader board", "loss now"):
        assert phrase in words
    assert "accuracy over time" in words
    losses = [row["loss"] for row in result.report["candidates"]]
    assert len(losses) == 4
    for loss in losses:
        assert f"{loss:.4f}" in words
    assert f"{result.report['served']['accuracy']:.4f}" in words
    assert ("▶" in words, "▁" in words) == (True, True)


@pytest.mark.parametrize("width", [40, 60, 79, 80, 200])
def test_the_summary_fits_its_terminal_and_loses_no_number(replaying: Replay, width: int) -> None:
    result = anyio.run(replaying.run)
    words = render(render_summary(replaying, result, width), width)
    assert max(map(len, words.splitlines())) <= width
    measures = [result.report["served"], *result.report["baselines"].values()]
    for one in measures:
        for name in ("accuracy", "balanced_accuracy", "kappa", "log_loss"):
            assert f"{one[name]:.4f}".replace("-0.0000", "0.0000") in words
    assert "…" not in words


def test_the_display_is_ascii_on_a_terminal_without_unicode(replaying: Replay) -> None:
    anyio.run(replaying.run)
    words = render(run.LiveView(replaying.pipeline), 100, encoding="ascii")
    assert "leader board" in words
    assert "?" not in words


class FakePipeline:
    """Stands in for a pipeline in a state that is hard to reach."""

    def __init__(self, board: LeaderBoard, now: PipelineStatistics) -> None:
        self.board = lambda: board
        self.statistics = lambda: now
        self.parts = {"": self}


@pytest.mark.parametrize(("encoding", "marks"), [("utf-8", "▶✗"), ("ascii", ">x")])
def test_the_champion_and_quarantined_candidates_are_marked(encoding: str, marks: str) -> None:
    rows_ = [
        LeaderBoardRow(0, "tanh 32", 0.5, "competing", champion=True, born=0, scores={}),
        LeaderBoardRow(1, "relu 64", None, "quarantined", champion=False, born=0, scores={}),
    ]
    status = LearningStatus(
        task=Task.CLASSIFICATION,
        learned=9,
        scored=9,
        metric="accuracy",
        served=0.5,
        baselines={"majority": 0.25},
        switches=1,
        drifts=0,
        quarantined=1,
    )
    board = LeaderBoard(status, rows_, [], [])
    now = PipelineStatistics(9, 3, 1.0, 0.1, None, "tanh 32", 1, (), 0)
    pipeline = cast("Pipeline", FakePipeline(board, now))
    lines = render(run.LiveView(pipeline), 100, encoding=encoding).splitlines()
    champion, quarantined = (next(x for x in lines if name in x) for name in ("tanh", "relu"))
    assert marks[0] in champion
    assert marks[1] in quarantined
    assert "-" in quarantined  # no loss
    assert "3 rejected" in "".join(lines)
    assert "%" not in "".join(lines)  # the size of the source is unknown
    assert "3 rejected" in run.status_line(pipeline)


@pytest.mark.parametrize(("scheme", "broker"), [("kafka", "kafka"), ("valkey", "redis")])
def test_a_stream_is_named_in_the_headline(scheme: str, broker: str) -> None:
    values = {"source.files": [f"{scheme}://host/bikes"], "source.target": "y"}
    words = run.headline(Replay(apply_overrides(RunSettings(), values)))
    assert f"replays bikes ({broker}), target y" in words


def test_many_files_are_counted_in_the_headline(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.csv" for name in "abcde"]
    for path in paths:
        path.write_text(csv_text(rows(20)), encoding="utf-8")
    values = {"source.files": [str(path) for path in paths], "source.target": "label"}
    words = run.headline(Replay(apply_overrides(RunSettings(), values)))
    assert f"{paths[2]} and 2 more, target label" in words


def test_a_low_terminal_gets_a_short_leader_board(replaying: Replay) -> None:
    anyio.run(replaying.run)
    display = run.LiveView(replaying.pipeline)
    high, low = (render(display, 100, height) for height in (60, 18))
    assert len(high.splitlines()) - len(low.splitlines()) == 1


def test_the_display_of_a_run_that_is_stopping_says_so(replaying: Replay) -> None:
    anyio.run(replaying.run)
    words = render(run.LiveView(replaying.pipeline, stopping=True), 100)
    assert "stopping" in words
    assert "left" not in words

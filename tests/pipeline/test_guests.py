"""Runs with guests: resumed, in several parts, reported, and never from settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from streamnet.errors import ConfigurationError, StateError
from streamnet.reporting.report import Report
from streamnet.runs.replay import replay, verify
from streamnet.samples import Task
from streamnet.settings.run import parse
from tests.guests.simple_models import Failing, Frequencies, Means, guest_for
from tests.learning.streams import stream
from tests.pipeline.block_sources import Playing, pipeline_of
from tests.pipeline.interrupted_runs import CrashError, go, left, made


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("delay", [0, 100])
def test_interruptions_leave_no_trace(tmp_path: Path, task: Task, delay: int) -> None:
    options: dict[str, Any] = {"guests": {"own": guest_for(task)}, "label_delay": delay}
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    for turn, crash in enumerate([10, 201, 640, 1100]):
        pipeline = made(tmp_path / "a", task, pace=turn, largest=40, crash=crash, **options)
        with pytest.raises(CrashError):
            go(pipeline)
    pipeline = made(tmp_path / "a", task, pace=99, block_size=37, threads=1, **options)
    go(pipeline)
    whole = made(tmp_path / "b", task, **options)
    go(whole)
    assert left(tmp_path / "a", pipeline) == left(tmp_path / "b", whole)
    counts = [run.result().guests["own"].counts for run in (pipeline, whole)]
    assert counts[0] == counts[1] != {}


def test_a_run_resumes_only_with_its_guests(tmp_path: Path) -> None:
    task = Task.CLASSIFICATION
    with pytest.raises(CrashError):
        go(made(tmp_path, task, crash=300, guests={"own": guest_for(task)}))
    with pytest.raises(
        StateError, match="guests is not given, but was 'own': only what gives them"
    ):
        go(made(tmp_path, task))
    with pytest.raises(StateError, match=r"guests\.own is Means, but was Frequencies"):
        go(made(tmp_path, task, guests={"own": Means()}))
    go(made(tmp_path, task, guests={"own": guest_for(task)}))


def test_guests_are_on_the_leader_board_of_reports() -> None:
    guests = {"own": Frequencies(), "bad": Failing(200, lambda: 7, {"c0": 1.0})}
    pipeline = pipeline_of(Playing(stream(Task.CLASSIFICATION, 600)), guests=guests)
    result = anyio.run(pipeline.run)
    report = result.report
    rows = {row["candidate"]: row for row in report["candidates"]}
    own, bad = rows[-4], rows[-5]
    assert own["settings"] == {"guest": "own", "model": "Frequencies"}
    assert 0.2 < own["scores"]["accuracy"] <= 1.0
    assert own["loss"] is not None
    assert own["sliding"].keys() == own["scores"].keys()
    assert bad["quarantined"]
    assert bad["failure"].startswith("at sample 200: TypeError(")
    assert "failure" not in own
    assert report["quarantines"] == 1 + sum(
        row["quarantined"] for row in rows.values() if row is not bad
    )
    present = [row for row in report["candidates"] if "left" not in row]
    order = [(row["quarantined"], row["loss"]) for row in present]
    assert order == sorted(order)
    assert sum(row["weight"] for row in present) == pytest.approx(1.0)
    assert Report.from_dict(report).as_dict() == report
    frame = result.candidates
    assert "guest own (Frequencies)" in frame["settings"].to_list()
    assert "guest own (Frequencies)" in result._repr_html_()
    assert list(result.guests) == ["own"]
    assert result.model.about["without_guests"] == ["own", "bad"]
    board = pipeline.board()
    assert board is not None
    assert "guest own (Frequencies)" in [row.settings for row in board.rows]


def test_each_part_of_a_replay_has_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    path.write_text("w,a,b\n" + "".join(f"w{i % 3},{i % 3},{10 * (i % 3)}\n" for i in range(300)))
    given: dict[str, Any] = {"guests": {"means": Means()}, "hidden": "4", "candidates": 1}
    result = replay(path, target=("a", "b"), task="regression", state=tmp_path / "s", **given)
    models = [part.guests["means"].counts for part in result.parts.values()]
    assert [model["w2"] for model in models] == [[200.0, 100.0], [2000.0, 100.0]]
    with pytest.raises(StateError, match="is of a run with the guests 'means', which only the"):
        anyio.run(verify, tmp_path / "s")


def test_settings_can_not_name_a_guest() -> None:
    with pytest.raises(ConfigurationError, match="guests"):
        parse("guests = {tree = 'river.tree.HoeffdingTreeClassifier'}")
    with pytest.raises(ConfigurationError, match="guests"):
        parse("population.guests = ['tree']")

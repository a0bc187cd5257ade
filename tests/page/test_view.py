"""The view of a report has the report's values, in the form that the page reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import streamnet
from streamnet.page import build_view
from streamnet.reporting.report import CandidateReport, Report


@pytest.fixture(scope="module", params=["classification", "regression"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("view")
    random = np.random.default_rng(3)
    rows = []
    for i in range(5000):
        x, z = random.normal(size=2)
        turned = x if i < 2500 else -x
        label = "high" if turned + 0.1 * z > 0 else "low"
        y = label if request.param == "classification" else f"{turned * 3:.3f}"
        rows.append(f"{x:.3f},{z:.3f},{y}\n")
    rows[100] = "1,2\n"
    path = folder / "stream.csv"
    path.write_text("x,z,y\n" + "".join(rows))
    options: dict[str, Any] = {
        "dead_letters": folder / "rejected.jsonl",
        "seed": 1,
        "candidates": 6,
        "interval": 0.9,
    }
    return streamnet.replay(path, target="y", task=request.param, **options).report


def view_of(report: dict[str, Any]) -> dict[str, Any]:
    return build_view(Report.from_dict(report))


def test_the_view_is_json_with_everything_the_page_reads(report: dict[str, Any]) -> None:
    view = json.loads(json.dumps(view_of(report), allow_nan=False))
    assert set(view) == {
        "status",
        "history",
        "leaders",
        "outcomes",
        "rejected",
        "events",
        "scores",
        "facts",
        "insight",
        "made",
    }


def test_the_points_of_the_history_add_up_to_the_score(report: dict[str, Any]) -> None:
    history = view_of(report)["history"]
    measure = history["measure"]
    widths = np.diff([0, *history["samples"]])
    errors = {"served": report["served"], **report["baselines"]}
    assert list(history["series"]) == list(errors)
    for place, (name, values) in enumerate(history["series"].items()):
        mean = np.average(values, weights=widths)
        total = report["curve"]["summed_errors"][-1][place] / history["samples"][-1]
        assert mean == pytest.approx(1 - total if measure == "accuracy" else total)
        assert mean == pytest.approx(errors[name][measure], rel=0.05)


def test_each_change_and_each_drift_is_a_mark_and_an_event(report: dict[str, Any]) -> None:
    noticed = {"number": 2600, "since": 2510, "before": 0.1234, "after": 0.5}
    view = view_of({**report, "last_drifts": [noticed]})
    marks = view["history"]["marks"]
    numbers = [mark["number"] for mark in marks]
    assert numbers == sorted(numbers)
    (drift,) = (mark for mark in marks if mark["kind"] == "drift")
    assert drift == {"number": 2600, "kind": "drift", "text": "loss rose from 0.123 to 0.5"}
    champions = [mark for mark in marks if mark["kind"] == "champion"]
    assert len(champions) == report["switches"] > 0
    assert [event["data"]["number"] for event in view["events"]] == numbers
    names = {row["candidate"]: row["settings"] for row in view["leaders"]}
    last = report["last_switches"][-1]["to"]
    assert champions[-1]["text"] == f"#{last} {names[last]}"


def test_there_is_one_champion_among_the_leaders(report: dict[str, Any]) -> None:
    (champion,) = (row for row in view_of(report)["leaders"] if row["champion"])
    assert champion["candidate"] == report["champion"]["candidate"]
    assert champion["state"] == "competing"


def test_a_candidate_is_competing_resting_quarantined_or_replaced() -> None:
    common: dict[str, Any] = {"settings": streamnet.CandidateSettings().as_dict(), "scores": {}}
    reports = [
        CandidateReport(candidate=1, born=0, quarantined=False, resting=False, **common),
        CandidateReport(candidate=1, born=0, quarantined=False, resting=True, **common),
        CandidateReport(candidate=1, born=0, quarantined=True, resting=True, **common),
        CandidateReport(candidate=1, born=0, quarantined=False, left=9, **common),
    ]
    states = [report.as_leader_board_row(None).state for report in reports]
    assert states == ["competing", "resting", "quarantined", "replaced"]


def test_rejected_records_and_served_scores_are_included(report: dict[str, Any]) -> None:
    view = view_of(report)
    assert view["status"]["name"] == "stream.csv"
    assert view["rejected"]["total"] == sum(view["rejected"]["by_reason"].values()) == 1
    assert view["status"]["learned"] == 4999
    assert view["scores"][0]["overall"] == report["served"]
    assert Path(report["streamnet"]).name == dict(view["facts"])["streamnet"]


def test_the_points_of_the_coverage_add_up_to_it(report: dict[str, Any]) -> None:
    view = view_of(report)
    intervals, history = view["status"]["intervals"], view["history"]["intervals"]
    assert (intervals["level"], intervals["recent"]) == (0.9, 1000)
    widths = np.diff([0, *history["samples"]])
    assert history["samples"][-1] > intervals["scored"] - 64
    for name, values in history["series"].items():
        mean = np.average(values, weights=widths)
        assert mean == pytest.approx(intervals["overall"][name], rel=0.02)

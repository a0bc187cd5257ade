"""What a run leaves, as data frames, plots and HTML, is what its report says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import numpy as np
import polars as pl
import pytest

from streamnet.errors import ConfigurationError
from streamnet.pipeline import Result
from streamnet.reporting.report import Report
from streamnet.runs.replay import replay
from streamnet.samples import Task
from tests.learning.streams import stream
from tests.pipeline.block_sources import N, Playing, pipeline_of
from tests.reporting.html_text import HtmlText


@pytest.fixture(scope="module", params=list(Task))
def result(request: pytest.FixtureRequest) -> Result:
    return anyio.run(pipeline_of(Playing(stream(request.param, N))).run)


def test_the_curve_sums_to_the_score_of_the_whole_run(result: Result) -> None:
    report = Report.from_dict(result.report)
    curve = result.curve
    metric = report.status.metric
    widths = curve["samples"].diff().fill_null(curve["samples"][0])
    mean = np.average(curve["served"], weights=widths)
    assert curve["samples"][-1] == report.scored
    assert mean == pytest.approx(report.served[metric])
    assert set(curve.columns) == {"samples", "served", *report.baselines}


def test_candidates_are_those_of_the_leader_board(result: Result) -> None:
    report = Report.from_dict(result.report)
    frame = result.candidates
    assert frame["candidate"].to_list() == [row.candidate for row in report.leader_board]
    assert frame.filter("champion")["candidate"].to_list() == [
        row.candidate for row in report.leader_board if row.champion
    ]
    for row, found in zip(report.leader_board, frame.iter_rows(named=True), strict=True):
        assert found["settings"] == row.settings
        assert {name: found[name] for name in row.scores} == row.scores


def test_plots_show_scores_and_outcomes_and_others_are_refused(
    result: Result, tmp_path: Path
) -> None:
    report = Report.from_dict(result.report)
    labels = report.task is Task.CLASSIFICATION
    scores = result.plot()
    assert scores.figure.axes[0].get_ylabel() == report.status.metric
    assert scores._repr_png_().startswith(b"\x89PNG")
    for kind in ("confusion", "calibration") if labels else ("residuals",):
        result.plot(kind).save(tmp_path / f"{kind}.svg")
        assert (tmp_path / f"{kind}.svg").read_bytes().startswith(b"<?xml")
    other: Any = "residuals" if labels else "confusion"
    with pytest.raises(ConfigurationError, match=f"kind is '{other}', but the task is"):
        result.plot(other)
    with pytest.raises(ConfigurationError, match="kind is 'pie', but must be 'scores'"):
        result.plot("pie")  # type: ignore[arg-type]


def test_notebooks_show_scores_curve_and_leader_board(result: Result) -> None:
    report = Report.from_dict(result.report)
    shown = HtmlText(result._repr_html_()).texts
    assert shown[0] == "Result"
    assert shown[shown.index("target") + 1] == report.target
    assert {row.settings for row in report.leader_board} <= set(shown)
    assert ("truth" in shown) == (report.task is Task.CLASSIFICATION)
    assert "<svg" in result._repr_html_()


@pytest.mark.parametrize("name", ["p.csv", "p.jsonl"])
def test_predictions_are_read_from_the_file_that_the_run_wrote(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{i % 7},{'ab'[i % 7 > 3]}\n" for i in range(300))
    Path("a.csv").write_text("x,y\n" + rows)
    result = replay("a.csv", target="y", candidates=2, predictions=name)
    frame = result.predictions
    assert frame["sample"].to_list() == list(range(300))
    assert frame.filter(pl.col("answer") == pl.col("truth")).height == round(
        result.report["served"]["accuracy"] * 300
    )


def test_without_a_file_of_predictions_the_message_says_how_to_get_one(result: Result) -> None:
    with pytest.raises(ConfigurationError, match=r"wrote no predictions; .*replay\("):
        _ = result.predictions


def test_a_run_of_several_parts_shows_each(tmp_path: Path) -> None:
    pipeline = pipeline_of(Playing(stream(Task.REGRESSION, 300)), horizon="1,5")
    result = anyio.run(pipeline.run)
    for name, part in result.parts.items():
        assert f"Result {name}" in HtmlText(result._repr_html_()).texts
        assert part.curve.height > 1
    with pytest.raises(ConfigurationError, match="the run has the parts"):
        result.plot()


def test_a_replay_knows_which_columns_are_important(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0).integers(0, 10, (1500, 2))
    Path("a.csv").write_text("noise,x,y\n" + "\n".join(f"{a},{b},{b > 4}" for a, b in draw))
    result = replay("a.csv", target="y", candidates=2)
    found = result.importance
    assert found["column"].to_list() == ["x", "noise"]
    assert found["importance"][0] > 0.3 > 0.05 > abs(found["importance"][1])
    axes: Any = result.plot("importance").figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["x", "noise"]
    (bars,) = axes.containers
    assert list(bars.datavalues) == found["importance"].to_list()


def test_a_pipeline_keeps_no_samples_and_says_what_to_do(result: Result) -> None:
    with pytest.raises(ConfigurationError, match=r"use streamnet\.permutation_importance"):
        result.plot("importance")


def test_drifts_are_those_of_the_report(result: Result) -> None:
    assert result.drifts.rows(named=True) == [
        {name: drift[name] for name in ("number", "since", "before", "after")}
        for drift in result.report["last_drifts"]
    ]

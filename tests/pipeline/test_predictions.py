"""The file of served answers, to the letter."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from streamnet.errors import ConfigurationError
from streamnet.learning.learner import Learner
from streamnet.learning.serving import Served
from streamnet.pipeline import Predictions
from streamnet.pipeline.outputs import Sink
from streamnet.samples import Block, Schema, Task
from streamnet.sources import IterableSource
from tests.conftest import Runner
from tests.learning.streams import feed, learner_of, stream, unscored
from tests.pipeline.block_sources import CANDIDATES, Playing, pipeline_of


def written(
    path: Path, block: Block, *, size: int = 1000, serve: str = "ensemble"
) -> tuple[str, list[Served]]:
    """What is written about a block, and what was served."""
    assert block.schema.task is not None
    learner = learner_of(block.schema.task, serve=serve)
    predictions = Predictions(path, task=block.schema.task, labels=learner.encoder.labels)
    served = list(feed(learner, block, (size,)))
    for part in served:
        predictions(part)
    predictions.close()
    return path.read_text(), served


def test_the_first_lines_of_labels_as_csv_are_exactly_these(tmp_path: Path) -> None:
    block = stream(Task.CLASSIFICATION, 2, gaps=False)
    block.target[:] = ["yes, sir", 'no "way"']  # type: ignore[index]
    text, _ = written(tmp_path / "p.csv", block)
    assert text == (
        "sample,source,position,answer,probabilities,truth,candidate\n"
        '0,s.csv,1,,{},"yes, sir",-2\n'
        '1,s.csv,2,"yes, sir","{""yes, sir"":1.0}","no ""way""",-2\n'
    )


def test_a_champion_that_is_served_alone_is_named_beside_its_predictions(tmp_path: Path) -> None:
    block = stream(Task.CLASSIFICATION, 200, gaps=False)
    text, served = written(tmp_path / "p.csv", block, serve="champion")
    named = [int(row["candidate"]) for row in csv.DictReader(text.splitlines())]
    assert named == np.concatenate([part.serials for part in served]).tolist()
    assert min(named) >= 0
    assert len(set(named)) > 1


def test_the_first_lines_of_numbers_as_json_are_exactly_these(tmp_path: Path) -> None:
    block = stream(Task.REGRESSION, 2, gaps=False)
    block.target[:] = [1.5, 2.5]  # type: ignore[index]
    text, served = written(tmp_path / "p.jsonl", block)
    rows = [
        {
            "sample": i,
            "source": "s.csv",
            "position": i + 1,
            "answer": float(served[0].answers[i]),
            "probabilities": None,
            "truth": truth,
            "candidate": int(served[0].serials[i]),
        }
        for i, truth in enumerate([1.5, 2.5])
    ]
    assert [json.loads(line) for line in text.splitlines()] == rows
    assert text.startswith('{"sample":0,"source":"s.csv","position":1,"answer":')


@pytest.mark.parametrize("task", list(Task))
def test_each_scored_sample_has_its_row_in_both_formats_and_for_all_cuts(
    tmp_path: Path, task: Task
) -> None:
    block = stream(task, 300)
    text, served = written(tmp_path / "p.csv", block)
    assert written(tmp_path / "q.csv", block, size=3)[0] == text
    lines = written(tmp_path / "p.jsonl", block)[0].splitlines()
    rows = [json.loads(line) for line in lines]
    table = list(csv.DictReader(text.splitlines()))
    assert [row["sample"] for row in rows] == list(range(300))
    assert [row["position"] for row in rows] == block.marks[:-1, 2].tolist()
    serials = np.concatenate([part.serials for part in served])
    assert [row["candidate"] for row in rows] == serials.tolist()
    for row, line in zip(rows, table, strict=True):
        for name in ("answer", "truth"):
            value = "" if row[name] is None else str(row[name])
            assert line[name] == value
        if task is Task.CLASSIFICATION:
            assert json.loads(line["probabilities"]) == row["probabilities"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_with_an_auto_encoder_the_last_column_is_the_outlier_score(
    tmp_path: Path, suffix: str
) -> None:
    block = stream(Task.CLASSIFICATION, 400)
    learner = learner_of(Task.CLASSIFICATION, encoder={"autoencoder": {"code": 2}})
    path = tmp_path / f"p.{suffix}"
    labels = learner.encoder.labels
    predictions = Predictions(path, task=learner.task, labels=labels, outliers=True)
    served = list(feed(learner, block, (100,)))
    for part in served:
        predictions(part)
    predictions.close()
    text = path.read_text()
    rows = [json.loads(line) for line in text.splitlines()] if suffix == "jsonl" else None
    rows = rows or list(csv.DictReader(text.splitlines()))
    assert list(rows[0])[-1] == "outlier"
    expected = np.concatenate([part.predicted.encoded.outlier for part in served])
    assert [float(row["outlier"]) for row in rows] == pytest.approx(expected, rel=1e-5)


def test_the_prediction_is_the_most_probable_label_and_probabilities_sum_to_one(
    tmp_path: Path,
) -> None:
    block = stream(Task.CLASSIFICATION, 400, gaps=False)
    rows = [json.loads(line) for line in written(tmp_path / "p.jsonl", block)[0].splitlines()]
    seen: list[str] = []
    for row, truth in zip(rows, block.target.tolist(), strict=True):  # type: ignore[union-attr]
        shares = row["probabilities"]
        assert list(shares) == seen
        assert row["truth"] == truth
        assert row["answer"] == (max(shares, key=shares.__getitem__) if seen else None)
        assert sum(shares.values()) == pytest.approx(1.0 if seen else 0.0, abs=1e-4)
        seen += [truth] if truth not in seen else []


def test_the_accuracy_of_the_file_is_that_of_the_report(tmp_path: Path, run: Runner) -> None:
    found: list[Predictions] = []

    def prepare(learner: Learner, _: Schema) -> Sequence[Sink]:
        path = tmp_path / "p.jsonl"
        found.append(Predictions(path, task=learner.task, labels=learner.encoder.labels))
        return found

    source = Playing(stream(Task.CLASSIFICATION, 1500))
    report = run(pipeline_of(source, prepare=prepare).run).report
    found[0].close()
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    known = [row["answer"] == row["truth"] for row in rows if row["truth"] is not None]
    assert len(known) == report["scored"] < len(rows) == report["learned"]
    assert sum(known) / len(known) == pytest.approx(report["served"]["accuracy"])


@pytest.mark.parametrize("task", list(Task))
def test_a_missing_truth_is_left_empty(tmp_path: Path, task: Task) -> None:
    block = stream(task, 100, gaps=False)
    block.target[50] = None if task is Task.CLASSIFICATION else np.nan  # type: ignore[index]
    rows = [json.loads(line) for line in written(tmp_path / "p.jsonl", block)[0].splitlines()]
    assert [row["sample"] for row in rows if row["truth"] is None] == [50]
    assert rows[50]["answer"] is not None


def test_samples_that_are_not_scored_have_no_row(tmp_path: Path) -> None:
    block = unscored(stream(Task.CLASSIFICATION, 100))
    assert written(tmp_path / "p.jsonl", block)[0] == ""


def test_where_there_are_no_lines_the_position_is_the_record(tmp_path: Path, run: Runner) -> None:
    rows: list[dict[str, Any]] = [{"x": i, "y": float(i)} for i in range(20)]
    found: list[Predictions] = []

    def prepare(learner: Learner, _: Schema) -> Sequence[Sink]:
        path = tmp_path / "p.csv"
        found.append(Predictions(path, task=learner.task, labels=learner.encoder.labels))
        return found

    source = IterableSource(rows, target="y", task=Task.REGRESSION, name="rows")
    run(pipeline_of(source, prepare=prepare, candidates=CANDIDATES[:1]).run)
    found[0].close()
    table = list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
    assert [(row["source"], row["position"]) for row in table] == [
        ("rows", str(i)) for i in range(20)
    ]


def test_the_labels_position_of_each_file_is_kept(tmp_path: Path) -> None:
    block = replace(stream(Task.REGRESSION, 10), source="other.csv")
    assert written(tmp_path / "p.csv", block)[0].splitlines()[1].startswith("0,other.csv,1,")


@pytest.mark.parametrize(
    ("name", "message"),
    [("p.txt", r"must end in \.csv or \.jsonl"), ("nowhere/p.csv", "No such file or directory")],
)
def test_an_unusable_path_is_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Predictions(tmp_path / name, task=Task.REGRESSION, labels=[]).begin()


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize("task", list(Task))
def test_with_an_interval_there_are_its_bounds_or_its_set(
    tmp_path: Path, task: Task, suffix: str
) -> None:
    block = stream(task, 300, gaps=False)
    learner, path = learner_of(task, interval=0.9), tmp_path / f"p.{suffix}"
    labels = learner.encoder.labels
    predictions = Predictions(path, task=task, labels=labels, intervals=True)
    served = list(feed(learner, block, (100,)))
    for part in served:
        predictions(part)
    predictions.close()
    text = path.read_text()
    rows: list[dict[str, Any]] = list(csv.DictReader(text.splitlines()))
    if suffix == "jsonl":
        rows = [json.loads(line) for line in text.splitlines()]
    given = [row for part in served for row in part.intervals.tolist()]  # type: ignore[union-attr]
    if task is Task.REGRESSION:
        assert list(rows[0])[-2:] == ["lower", "upper"]
        assert rows[0]["lower"] in ("", None)
        assert [[float(row["lower"]), float(row["upper"])] for row in rows[2:]] == given[2:]
        return
    assert list(rows[0])[-1] == "set"
    sets = [json.loads(row["set"]) if suffix == "csv" else row["set"] for row in rows]
    assert sets == [[labels[c] for c, inside in enumerate(row) if inside] for row in given]
    assert max(map(len, sets)) > 1

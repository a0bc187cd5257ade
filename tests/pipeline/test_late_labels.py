"""Runs whose labels arrive late: the same bits if interrupted, and scores of what was served."""

from __future__ import annotations

import csv
import json
import math
import random
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from river import linear_model, preprocessing

from streamnet.pipeline import Pipeline, Predictions
from streamnet.samples import Task
from streamnet.sources import IterableSource
from tests.pipeline.block_sources import ROUND
from tests.pipeline.interrupted_runs import CrashError, Left, finished, go, left, made

DELAY = 90

made_late = partial(made, label_delay=DELAY)


@pytest.fixture(scope="module")
def first_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("first")


@cache
def expected(task: Task, folder: Path) -> Left:
    return finished(folder / str(task), task, made_late)


@pytest.mark.parametrize("task", list(Task))
def test_repeated_interruptions_leave_no_trace(
    tmp_path: Path, first_folder: Path, task: Task
) -> None:
    for turn, crash in enumerate([10, 200, 201, 3 * ROUND, 3 * ROUND + 1, 900]):
        pipeline = made_late(tmp_path, task, pace=turn, largest=3 + 20 * turn, crash=crash)
        with pytest.raises(CrashError):
            go(pipeline)
    pipeline = made_late(tmp_path, task, pace=99, block_size=37, threads=1)
    go(pipeline)
    assert left(tmp_path, pipeline) == expected(task, first_folder)


def test_running_a_finished_run_again_leaves_the_same(tmp_path: Path, first_folder: Path) -> None:
    for _ in range(2):
        pipeline = made_late(tmp_path, Task.REGRESSION)
        go(pipeline)
        assert left(tmp_path, pipeline) == expected(Task.REGRESSION, first_folder)


# --------------------------------------------------- the report beside the predictions


def replay_late(folder: Path, rows: list[dict[str, Any]], **settings: Any) -> dict[str, float]:
    """What a run says of its served predictions, which it writes to a file."""
    predictions: list[Predictions] = []

    def prepare(learner: Any, _: Any) -> list[Predictions]:
        path, labels = folder / "p.csv", learner.encoder.labels
        predictions.append(Predictions(path, task=learner.task, labels=labels))
        return predictions

    pipeline = Pipeline(IterableSource(rows, target="y"), prepare=prepare, **settings)
    result = anyio.run(pipeline.run)
    predictions[0].close()
    assert result.report["pending"] == 0
    served: dict[str, float] = result.report["served"]
    return served


def make_rows(task: Task, seed: int, count: int = 500) -> list[dict[str, Any]]:
    """Samples of an hour and a half each, whose labels may be known after up to a week."""
    rng = np.random.default_rng(seed)
    rows, start = [], datetime(2024, 2, 27, tzinfo=UTC)
    for number in range(count):
        x, time = float(rng.normal()), start + timedelta(minutes=90 * number)
        late = "c" if number > 300 and x > 1.5 else "ab"[x > 0]
        y = late if task is Task.CLASSIFICATION else 3.0 * x + float(rng.normal())
        known = time + timedelta(minutes=int(rng.integers(0, 10_000)))
        rows.append({"x": x, "t": time.isoformat(), "known": known.isoformat(), "y": y})
    return rows


def score_plainly(path: Path, rows: list[dict[str, Any]], order: list[int]) -> dict[str, float]:
    """Scores of a predictions file beside the labels, which come in an order."""
    with path.open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(rows)
    right = cost = error = 0.0
    for scored, number in enumerate(order, start=1):
        line, y = lines[number], rows[number]["y"]
        if isinstance(y, float):
            assert float(line["truth"]) == y
            error += (abs(float(line["answer"]) - y) - error) * (1.0 / scored)  # a running mean
            continue
        assert line["truth"] == y
        shares = json.loads(line["probabilities"] or "{}")
        right += line["answer"] == y
        cost += -math.log(max(shares.get(y, 0.0), 1e-4))
    if isinstance(rows[0]["y"], float):
        return {"mae": error}
    return {"accuracy": right / len(rows), "log_loss": cost / len(rows)}


def check_scores(served: dict[str, float], expected: dict[str, float]) -> None:
    """Equal to the last digit, but for those of logarithms, which numpy rounds as it likes."""
    for name, value in expected.items():
        exact = name != "log_loss"
        assert served[name] == (value if exact else pytest.approx(value, rel=1e-14)), name


SERVE = ("ensemble", "champion")
RANDOM_DELAYS = random.Random(1).sample(range(2, 400), 20)


@pytest.mark.parametrize(("turn", "delay"), list(enumerate(RANDOM_DELAYS)))
def test_the_report_is_that_of_the_predictions_file_and_its_labels(
    tmp_path: Path, turn: int, delay: int
) -> None:
    task, serve = list(Task)[turn % 2], SERVE[turn // 2 % 2]
    rows = make_rows(task, delay)
    settings = {"label_delay": delay, "serve": serve, "candidates": None, "round_size": 64}
    served = replay_late(tmp_path, rows, **settings)
    check_scores(served, score_plainly(tmp_path / "p.csv", rows, list(range(len(rows)))))


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("serve", SERVE)
@pytest.mark.parametrize(
    "delay",
    [{"label_delay": "2h"}, {"label_delay": "3d"}, {"label_time": "known"}],
    ids=["2h", "3d", "column"],
)
def test_the_report_is_that_of_the_predictions_file_where_delays_are_times(
    tmp_path: Path, task: Task, serve: str, delay: dict[str, Any]
) -> None:
    rows = make_rows(task, 5)
    settings = {"time": "t", "serve": serve, "candidates": None, "round_size": 64, **delay}
    served = replay_late(tmp_path, rows, **settings)
    order = list(range(len(rows)))
    if "label_time" in delay:
        order.sort(key=lambda number: (rows[number]["known"], number))
    check_scores(served, score_plainly(tmp_path / "p.csv", rows, order))


def test_labels_that_stay_for_a_while_do_not_lead_late_predictions_astray(tmp_path: Path) -> None:
    """Two classes that stay with probability 0.97, and one feature that tells something."""
    n, delay = 10_000, 100
    rng = np.random.default_rng(2)
    states = np.cumsum(rng.random(n) > 0.97) % 2
    x = (rng.normal(size=n) + 1.8 * states).tolist()
    labels = ["ab"[state] for state in states]
    rows = [{"x": value, "y": label} for value, label in zip(x, labels, strict=True)]
    served = replay_late(tmp_path, rows, label_delay=delay)
    with (tmp_path / "p.csv").open() as file:
        answers = [line["answer"] for line in csv.DictReader(file)]
    assert set(answers[:delay]) == {""}, "there is no label to predict"
    right = np.array([answer == label for answer, label in zip(answers, labels, strict=True)])
    assert served["accuracy"] == right.mean()
    linear = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    said = []
    for number in range(n):
        if number >= delay:
            linear.learn_one({"x": x[number - delay]}, labels[number - delay] == "b")
        said.append("ab"[linear.predict_one({"x": x[number]})])
    other = np.array([answer == label for answer, label in zip(said, labels, strict=True)])
    assert right[delay:].mean() > max(0.8, other[delay:].mean() - 0.005)

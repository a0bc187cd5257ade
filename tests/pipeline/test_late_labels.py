"""Runs whose labels arrive late: the same bits if interrupted, and scores of what was served."""

from __future__ import annotations

import csv
import json
import math
import random
from functools import cache, partial
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

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


@pytest.mark.parametrize("delay", random.Random(1).sample(range(2, 400), 20))
def test_the_report_is_that_of_the_predictions_file_and_its_labels(
    tmp_path: Path, delay: int
) -> None:
    rng = np.random.default_rng(delay)
    rows = []
    for number in range(500):
        x = float(rng.normal())
        late = "c" if number > 300 and x > 1.5 else "ab"[x > 0]
        rows.append({"x": x, "y": late})
    served = replay_late(tmp_path, rows, label_delay=delay, candidates=None, round_size=64)
    right = cost = 0.0
    with (tmp_path / "p.csv").open() as file:
        lines = list(csv.DictReader(file))
    for row, line in zip(rows, lines, strict=True):
        assert line["truth"] == row["y"]
        shares = json.loads(line["probabilities"] or "{}")
        right += line["answer"] == row["y"]
        cost += -math.log(max(shares.get(row["y"], 0.0), 1e-4))
    assert served["accuracy"] == right / len(rows)
    assert served["log_loss"] == pytest.approx(cost / len(rows), rel=1e-14)

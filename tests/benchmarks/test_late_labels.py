"""The comparison under late labels: peers know what streamnet knows, and scores are alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import streamnet
from streamnet.samples import Task
from tests.benchmarks.late_labels import (
    NoChange,
    Score,
    build_forest,
    build_linear,
    predict_late,
    run_streamnet,
    score,
)
from tests.benchmarks.peers.rows import Rows
from tests.benchmarks.peers.streams import Stream
from tests.benchmarks.streams_for_peers import rows_of

DELAY = 7


def write_rows(folder: Path, task: Task) -> Rows:
    """A small stream with words, in whose numbers some targets are missing."""
    rng = np.random.default_rng(3)
    lines = ["x,w,y"]
    for number in range(300):
        x = float(rng.normal())
        y = "no" if x < 0 else "yes"
        if task is Task.REGRESSION:
            y = "" if number % 9 == 4 else f"{3 * x + 1:.4f}"
        lines.append(f"{x:.4f},{'ab'[number % 2]},{y}")
    return rows_of(folder, lines, stream=Stream("small", "y", task))


@pytest.mark.parametrize("task", list(Task))
def test_repeating_the_last_known_label_scores_as_the_baseline_of_a_replay(
    tmp_path: Path, task: Task
) -> None:
    rows = write_rows(tmp_path, task)
    answers = predict_late(NoChange(), [{}] * len(rows.target), rows, DELAY)
    report = streamnet.replay(rows.path, target="y", label_delay=DELAY, candidates=1).report
    name = "accuracy" if task is Task.CLASSIFICATION else "mae"
    expected = report["baselines"]["no_change"][name]
    assert score(answers, rows).value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("task", list(Task))
def test_a_peer_has_learned_what_was_known_before_each_sample(tmp_path: Path, task: Task) -> None:
    rows = write_rows(tmp_path, task)
    (model, samples), (naive, _) = (build_linear(rows, 0.01) for _ in range(2))
    expected = []
    for number, x in enumerate(samples):
        if number >= DELAY and np.isfinite(y := rows.target[number - DELAY].item()):
            naive.learn_one(samples[number - DELAY], bool(y) if rows.classification else y)
        expected.append(naive.predict_one(x))
    assert predict_late(model, samples, rows, DELAY) == expected


@pytest.mark.parametrize("task", list(Task))
def test_forests_learn_words_and_missing_targets(tmp_path: Path, task: Task) -> None:
    rows = write_rows(tmp_path, task)
    answers = predict_late(*build_forest(rows, 0), rows, DELAY)
    nothing = score([None] * len(answers), rows)
    assert score(answers, rows).beats(nothing)


def test_streamnet_is_run_as_replay_runs_it(tmp_path: Path) -> None:
    rows = write_rows(tmp_path, Task.CLASSIFICATION).head(200)
    report = streamnet.replay(rows.path, target="y", label_delay=DELAY, seed=1, limit=200).report
    assert run_streamnet(rows, DELAY, 1) == Score(report["served"]["accuracy"], rows.stream.task)

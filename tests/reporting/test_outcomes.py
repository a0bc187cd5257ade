"""Outcomes agree with scikit-learn and numpy on the answers that a run has written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

import streamnet
from streamnet.reporting.outcomes import (
    HISTOGRAM_BINS,
    MAX_LABELS,
    OTHERS,
    Residuals,
    build_confusion_matrix,
    build_residual_histogram,
)


def replayed(folder: Path, rows: list[str], task: str) -> tuple[dict[str, Any], list[Any]]:
    """The outcomes in the report of a replay, and its predictions."""
    path = folder / "stream.csv"
    path.write_text("x,y\n" + "".join(rows))
    answers = folder / "answers.jsonl"
    options: dict[str, Any] = {
        "candidates": 2,
        "predictions": answers,
        "dead_letters": folder / "r.jsonl",
    }
    report = streamnet.replay(path, target="y", task=task, **options).report
    return report["outcomes"], [json.loads(line) for line in answers.read_text().splitlines()]


def test_the_confusion_matrix_is_scikit_learns(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    xs = random.normal(size=800)
    rows = [f"{x:.3f},{'abc'[int(np.digitize(x + 0.2, [-0.5, 0.5]))]}\n" for x in xs]
    outcomes, answers = replayed(tmp_path, rows, "classification")
    answered = [row for row in answers if row["answer"] is not None]
    truth = [row["truth"] for row in answered]
    said = [row["answer"] for row in answered]
    assert outcomes["kind"] == "confusion"
    assert sorted(outcomes["labels"]) == ["a", "b", "c"]
    expected = confusion_matrix(truth, said, labels=outcomes["labels"])
    assert outcomes["matrix"] == expected.tolist()


def test_the_residuals_are_those_of_the_last_samples(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = [f"{x:.3f},{2 * x + 1:.3f}\n" for x in random.normal(size=1500)]
    outcomes, answers = replayed(tmp_path, rows, "regression")
    errors = np.array([row["answer"] - row["truth"] for row in answers[-1000:]])
    reach = outcomes["edges"][-1]
    assert outcomes["kind"] == "residuals"
    assert reach == pytest.approx(np.quantile(np.abs(errors), 0.98))
    inner = [np.sum((errors >= a) & (errors < b)) for a, b in zip(*_bins(outcomes), strict=True)]
    assert outcomes["counts"][1:-1] == inner
    assert sum(outcomes["counts"]) == 1000


def _bins(outcomes: dict[str, Any]) -> tuple[list[float], list[float]]:
    return outcomes["edges"][1:-2], outcomes["edges"][2:-1]


def test_many_labels_are_reduced_to_the_frequent_ones_without_losing_samples() -> None:
    random = np.random.default_rng(0)
    counts = random.integers(0, 50, (100, 101)).astype(float)
    counts[[5, 50, 99]] += 1000
    counts[:, -1] = 0
    labels = [f"label {i}" for i in range(100)]
    told = build_confusion_matrix(counts, labels)
    matrix = np.array(told.matrix)
    assert matrix.shape == (MAX_LABELS, MAX_LABELS)
    assert told.labels[-1] == OTHERS
    assert {"label 5", "label 50", "label 99"} <= set(told.labels)
    assert matrix.sum() == counts.sum()
    kept = [labels.index(name) for name in told.labels[:-1]]
    assert kept == sorted(kept)
    assert (matrix[:-1, :-1] == counts[np.ix_(kept, kept)]).all()
    least = counts.sum(axis=1)[kept].min()
    assert least >= np.delete(counts.sum(axis=1), kept).max()


@pytest.mark.parametrize("residuals", [[0.0] * 9, [1e308, -1e308], [3.0], [0.0] * 99 + [7.0]])
def test_every_residual_is_counted_however_large_it_is(residuals: list[float]) -> None:
    histogram = build_residual_histogram(np.array([[0.0, residual] for residual in residuals]))
    assert sum(histogram.counts) == len(residuals)
    assert len(histogram.counts) == HISTOGRAM_BINS
    assert np.isfinite(histogram.edges).all()
    assert (np.diff(histogram.edges) > 0).all()


def test_without_a_sample_there_is_no_bin() -> None:
    assert build_residual_histogram(np.empty((0, 2))) == Residuals([], [])


def test_a_residual_beyond_all_numbers_is_counted_too() -> None:
    histogram = build_residual_histogram(np.array([[1.7e308, -1.7e308], [0.0, 0.0]]))
    assert sum(histogram.counts) == 2
    assert np.isfinite(histogram.edges).all()

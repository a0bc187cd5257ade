"""Explanations over time are those of the functions, by the model before the samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from streamnet.errors import ConfigurationError, DataError
from streamnet.explanations import partial_dependence, permutation_importance
from streamnet.online import ExplanationHistory, OnlineClassifier, OnlineRegressor
from tests.online.estimators import FEW, flat

N = 1300


def made() -> tuple[list[dict[str, Any]], list[Any]]:
    """Samples whose target follows another column from the middle on."""
    draw = np.random.default_rng(4).random((N, 2))
    rows = [{"a": float(a), "b": float(b)} for a, b in draw]
    return rows, [row["a" if i < N // 2 else "b"] > 0.5 for i, row in enumerate(rows)]


@pytest.mark.parametrize("every", [1, 7, 400])
def test_however_samples_are_cut_they_are_explained_by_the_model_before_them(every: int) -> None:
    rows, targets = made()
    history = ExplanationHistory(
        OnlineClassifier(FEW), every=500, samples=200, dependence=["a"], points=4, repeats=3
    )
    for start in range(0, N, every):
        if every == 1:
            history.learn_one(rows[start], targets[start])
        else:
            history.partial_fit(rows[start : start + every], targets[start : start + every])
    plain = OnlineClassifier(FEW).partial_fit(rows, targets)
    assert flat(history.estimator.export_state()) == flat(plain.export_state())
    values = None
    for number in (500, 1000):
        before, part = number - 200, slice(number - 200, number)
        model = OnlineClassifier(FEW).partial_fit(rows[:before], targets[:before]).model()
        found = history.importance.filter(samples=number).drop("samples")
        assert found.equals(permutation_importance(model, rows[part], targets[part], repeats=3))
        expected = partial_dependence(model, rows[part], "a", values=values, points=4)
        assert history.dependence("a").filter(samples=number).drop("samples").equals(expected)
        values = expected["value"].to_list()
    assert history.importance["samples"].unique().to_list() == [500, 1000]


def test_the_plot_shows_that_another_column_matters() -> None:
    rows, targets = made()
    history = ExplanationHistory(OnlineClassifier(FEW), every=325, samples=100)
    history.partial_fit(rows, targets)
    axes = history.plot().figure.axes[0]
    lines: dict[str, Any] = {str(line.get_label()): line.get_ydata() for line in axes.get_lines()}
    assert lines["a"][0] > lines["b"][0]
    assert lines["b"][-1] > lines["a"][-1]
    assert axes.get_lines()[0].get_xdata().tolist() == [325, 650, 975, 1300]  # type: ignore[union-attr]


def test_unknown_targets_and_rejected_samples_are_not_explained() -> None:
    history = ExplanationHistory(OnlineRegressor(FEW), every=100, samples=50, dependence=["x"])
    for i in range(200):
        if i == 170:
            with pytest.raises(DataError):
                history.learn_one({"x": [1]}, 1.0)
        y = [float(i % 5), None, float("nan")][(i // 10) % 3 if i < 160 else 1]
        history.learn_one({"x": i % 5, **({"new": 1} if i > 150 else {})}, y)
    assert history.importance["samples"].unique().to_list() == [100, 200]
    assert history.importance["column"].unique().to_list() == ["x"]


def test_before_the_first_explanation_frames_are_empty() -> None:
    history = ExplanationHistory(OnlineClassifier(FEW), dependence=["x"])
    assert history.importance.columns == ["samples", "column", "importance", "deviation"]
    assert len(history.importance) == len(history.dependence("x")) == 0
    assert history.importance.schema["samples"] == pl.Int64
    with pytest.raises(ConfigurationError, match="column is 'z', but must be one of"):
        history.dependence("z")
    with pytest.raises(ConfigurationError, match="samples is empty"):
        history.plot()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"samples": 1}, "samples is 1, but must be from 2 to every = 1000"),
        ({"samples": 200, "every": 100}, "samples is 200, but must be from 2 to every = 100"),
        ({"repeats": 0}, "repeats is 0, but must be >= 1"),
        ({"every": 2.5}, "every is 2.5, but must be a whole number"),
    ],
)
def test_an_argument_that_is_out_of_range_is_refused(wrong: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ExplanationHistory(OnlineClassifier(FEW), **wrong)

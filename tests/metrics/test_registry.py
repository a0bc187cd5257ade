"""A metric is registered once, and everything that computes or shows metrics reads the registry."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from rich.console import Console

from streamnet.cli.views.tables import measures_table
from streamnet.errors import ConfigurationError
from streamnet.metrics import (
    METRICS,
    ClassificationEvaluator,
    Evaluation,
    Metric,
    RegressionEvaluation,
    RegressionEvaluator,
)
from streamnet.metrics.formulas import ConfusionCounts, Errors, Values, metric
from streamnet.samples import Task

LABELS, NUMBERS = Task.CLASSIFICATION, Task.REGRESSION


@pytest.fixture
def error_rate() -> Iterator[None]:
    @metric("error_rate", "counts", larger_is_better=False, title="errors")
    def error_rate(counts: ConfusionCounts) -> Values:
        """Fraction of wrong predictions."""
        n: Values = counts.truths.sum(-1)
        wrong: Values = (n - counts.hits.sum(-1)) / n
        return wrong

    yield
    del METRICS[LABELS]["error_rate"]


@pytest.fixture
def worst_case() -> Iterator[None]:
    @metric("mse", "errors", larger_is_better=False)
    def mean_squared_error(errors: Errors) -> Values:
        """Mean squared error."""
        return errors.square

    yield
    del METRICS[NUMBERS]["mse"]


@pytest.mark.usefixtures("error_rate")
def test_a_new_metric_of_labels_is_one_function() -> None:
    evaluator = ClassificationEvaluator(1)
    evaluator.update(np.array([[[1.0, 0.0], [1.0, 0.0]]], np.float32), [0, 1], [2, 2])
    for horizon in ("overall", "sliding", "fading"):
        assert evaluator.table(horizon)["error_rate"].shape == (1,)
    assert evaluator.measures(0)["error_rate"] == 0.5
    found = Evaluation.of(list("ab"), list("aa")).measures()
    assert found["error_rate"] == 0.5
    console = Console(record=True, width=80)
    console.print(measures_table({"model": found}))
    assert "error rate" in console.export_text()
    assert METRICS[LABELS]["error_rate"].description == "Fraction of wrong predictions."


@pytest.mark.usefixtures("worst_case")
def test_a_new_metric_of_numbers_is_one_function() -> None:
    evaluator = RegressionEvaluator(1)
    evaluator.update([[1.0, 3.0]], [2.0, 2.0])
    assert evaluator.measures(0)["mse"] == 1.0
    assert RegressionEvaluation.of([2.0, 2.0], [1.0, 3.0]).measures()["mse"] == 1.0


def test_a_name_cannot_be_registered_twice() -> None:
    with pytest.raises(ConfigurationError, match="metric 'kappa' is already registered"):
        metric("kappa", "counts")(lambda counts: counts)


@pytest.mark.parametrize(
    "one", [one for found in METRICS.values() for one in found.values()], ids=lambda one: one.name
)
def test_every_metric_is_described_by_a_sentence(one: Metric) -> None:
    assert one.description.endswith((".", "``"))
    assert METRICS[one.task][one.name] is one


def test_evaluators_report_what_they_always_did() -> None:
    assert list(ClassificationEvaluator(1).table()) == [
        "accuracy",
        "balanced_accuracy",
        "macro_f1",
        "kappa",
        "kappa_temporal",
        "mcc",
        "log_loss",
        "brier",
    ]
    assert list(RegressionEvaluator(1).table()) == ["mae", "rmse", "r2", "mape"]

"""What a report says beside the model: who needs no learning."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    mean_absolute_error,
    root_mean_squared_error,
)

from streamnet.datasets import Sample, Set
from streamnet.engine.report import evaluate_baselines
from streamnet.metrics import Evaluation, RegressionEvaluation

random = np.random.default_rng(0)


def labels(n: int, shares: tuple[float, ...]) -> Set:
    rows = Set("classification", columns=("x",))
    for label in random.choice(["a", "b", "c"], n, p=shares):
        rows.add(Sample([0.0], label=str(label)))
    return rows


def test_labels_are_compared_with_the_most_frequent_one_of_the_training_part() -> None:
    training, reported = (
        labels(n, shares).block() for n, shares in ((70, (0.2, 0.6, 0.2)), (30, (0.6, 0.2, 0.2)))
    )
    assert reported.target is not None
    truth = reported.target.tolist()
    model = Evaluation.of(truth, truth, labels=("a", "b", "c"))
    (name, found), *others = evaluate_baselines(training, reported, model).items()
    dummy = DummyClassifier(strategy="most_frequent").fit(training.numbers, training.target)
    said = dummy.predict(reported.numbers)
    assert (name, others) == ("majority", [])
    assert set(said) == {"b"}
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, said))
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, said))


def test_numbers_are_compared_with_the_mean_of_the_training_part() -> None:
    parts = []
    for n, level in ((70, 3.0), (30, 5.0)):
        rows = Set("regression", columns=("x",))
        for value in random.normal(level, 1.0, n).tolist():
            rows.add(Sample([0.0], value=value))
        parts.append(rows.block())
    training, reported = parts
    assert reported.target is not None
    model = RegressionEvaluation.of(reported.target, reported.target)
    (name, found), *others = evaluate_baselines(training, reported, model).items()
    said = DummyRegressor().fit(training.numbers, training.target).predict(reported.numbers)
    assert (name, others) == ("mean", [])
    assert found["mae"] == pytest.approx(mean_absolute_error(reported.target, said))
    assert found["rmse"] == pytest.approx(root_mean_squared_error(reported.target, said))


def test_the_mean_of_largest_numbers_is_one() -> None:
    rows = Set("regression", columns=("x",))
    for _ in range(4):
        rows.add(Sample([0.0], value=1e300))
    block = rows.block()
    assert (
        evaluate_baselines(block, block, RegressionEvaluation.of([1.0], [1.0]))["mean"]["mae"]
        == 0.0
    )

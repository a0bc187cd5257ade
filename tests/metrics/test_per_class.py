"""Measures of a class against all others are those of scikit-learn, and of a printed example."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn import metrics

from streamnet.metrics import formulas, per_class
from streamnet.metrics.formulas import ConfusionCounts
from streamnet.metrics.per_class import compute_per_class, measure_classes

confusions = arrays(np.int64, (3, 4), elements=st.sampled_from([0, 0, 1, 2, 17]))

# What gopher-neural prints of its sonar example: 23 of 31 samples of R found, no false alarm.
PRINTED = {
    "true_positives": 23.0,
    "true_negatives": 30.0,
    "false_positives": 0.0,
    "false_negatives": 8.0,
    "recall": 0.7419354838709677,
    "precision": 1.0,
    "fall_out": 0.0,
    "false_discovery_rate": 0.0,
    "negative_predictive_value": 0.7894736842105263,
    "accuracy": 0.8688524590163934,
    "f1": 0.8518518518518519,
    "balanced_accuracy": 0.8709677419354839,
    "informedness": 0.7419354838709677,
    "markedness": 0.7894736842105263,
}


def test_all_figures_of_a_printed_summary_are_found() -> None:
    confusion = np.array([[23.0, 8.0, 0.0], [0.0, 30.0, 0.0]])
    found = compute_per_class(("R", "M"), confusion)["R"]
    assert {name: found[name] for name in PRINTED} == pytest.approx(PRINTED, rel=1e-14)
    assert (found["positives"], found["negatives"], found["specificity"]) == (31, 30, 1)
    counts = ConfusionCounts.of(confusion)
    assert float(per_class.gopher_accuracy(counts)) == pytest.approx(53 / 61)
    assert float(per_class.gopher_balanced_accuracy(counts)) == pytest.approx(0.8709677419354839)


@settings(deadline=None, max_examples=30)
@given(confusions)
def test_each_is_that_of_scikit_learn_for_the_class_against_the_rest(
    matrix: NDArray[np.int64],
) -> None:
    truth, answer = np.nonzero(matrix)
    weight = matrix[truth, answer]
    for number, found in enumerate(compute_per_class("abc", matrix.astype(float)).values()):
        if not weight.size:
            assert set(found.values()) <= {0.0, -1.0}
            continue
        y, a = truth == number, answer == number
        negatives = metrics.confusion_matrix(y, a, labels=[False, True], sample_weight=weight)
        (tn, fp), (fn, tp) = negatives.tolist()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scores = {"sample_weight": weight, "zero_division": 0.0}
            expected = {
                "true_positives": tp,
                "false_positives": fp,
                "true_negatives": tn,
                "false_negatives": fn,
                "positives": tp + fn,
                "negatives": tn + fp,
                "recall": metrics.recall_score(y, a, **scores),
                "precision": metrics.precision_score(y, a, **scores),
                "specificity": metrics.recall_score(~y, ~a, **scores),
                "negative_predictive_value": metrics.precision_score(~y, ~a, **scores),
                "accuracy": metrics.accuracy_score(y, a, sample_weight=weight),
                "f1": metrics.f1_score(y, a, **scores),
                "fall_out": fp / (fp + tn) if fp + tn else 0.0,
                "false_discovery_rate": fp / (fp + tp) if fp + tp else 0.0,
            }
        expected["balanced_accuracy"] = (expected["recall"] + expected["specificity"]) / 2
        expected["informedness"] = expected["recall"] + expected["specificity"] - 1
        expected["markedness"] = expected["precision"] + expected["negative_predictive_value"] - 1
        assert found == pytest.approx(expected, abs=1e-12)


def test_a_ratio_of_nothing_is_zero() -> None:
    found = compute_per_class(("a", "b"), np.array([[0.0, 0.0, 0.0], [0.0, 5.0, 0.0]]))
    for name in ("recall", "precision", "f1", "false_discovery_rate"):
        assert found["a"][name] == 0.0
    assert found["b"]["specificity"] == found["b"]["fall_out"] == 0.0
    assert list(found["a"]) == list(measure_classes(half_wrong(2)))


def test_no_answer_is_a_false_negative_of_the_truth_only() -> None:
    found = compute_per_class(("a", "b"), np.array([[0.0, 0.0, 4.0], [0.0, 5.0, 0.0]]))
    assert (found["a"]["false_negatives"], found["b"]["false_positives"]) == (4, 0)
    assert found["b"]["true_negatives"] == 4


def half_wrong(classes: int) -> ConfusionCounts:
    confusion = np.zeros((classes, classes + 1))
    confusion[:, :classes] = np.eye(classes) + np.roll(np.eye(classes), 1, axis=1)
    return ConfusionCounts.of(confusion)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 40))
def test_gophers_accuracy_grows_with_the_classes_though_half_is_wrong(classes: int) -> None:
    counts = half_wrong(classes)
    assert float(per_class.gopher_accuracy(counts)) == pytest.approx(1 - 2 * 0.5 / classes)
    assert float(formulas.accuracy(counts)) == 0.5
    assert float(formulas.balanced_accuracy(counts)) == 0.5


def test_gophers_figures_of_ten_classes_half_of_them_wrong() -> None:
    assert round(float(per_class.gopher_accuracy(half_wrong(10))), 2) == 0.90
    assert round(float(per_class.gopher_balanced_accuracy(half_wrong(10))), 2) == 0.72


def test_gophers_f_measure_counts_classes_that_never_come_up() -> None:
    confusion = np.zeros((4, 5))
    confusion[0, 0] = confusion[1, 1] = 3.0
    counts = ConfusionCounts.of(confusion)
    assert (float(per_class.gopher_f_measure(counts)), float(formulas.macro_f1(counts))) == (
        0.5,
        1.0,
    )


def test_gophers_measures_of_no_samples_are_not_defined() -> None:
    counts = ConfusionCounts.of(np.zeros((2, 2, 3)))
    for function in (
        per_class.gopher_accuracy,
        per_class.gopher_balanced_accuracy,
        per_class.gopher_f_measure,
    ):
        assert np.isnan(function(counts)).all()
        assert function(counts).shape == (2,)

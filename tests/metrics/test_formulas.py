from __future__ import annotations

import warnings
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn import metrics

from streamnet.metrics import formulas
from streamnet.metrics.formulas import ConfusionCounts, Errors, Sums, format_number

FUNCTIONS = (
    formulas.accuracy,
    formulas.balanced_accuracy,
    formulas.macro_f1,
    formulas.cohen_kappa,
    formulas.matthews_corrcoef,
)


@settings(deadline=None, max_examples=150)
@given(arrays(np.int64, (4, 5), elements=st.sampled_from([0, 0, 0, 1, 2, 17, 1000])))
def test_measures_of_a_matrix_agree_with_scikit_learn_on_its_samples(
    matrix: NDArray[np.int64],
) -> None:
    truth, answer = np.nonzero(matrix)
    w = matrix[truth, answer]
    answer[answer == 4] = -1  # no answer
    counts = ConfusionCounts.of(matrix.astype(float))
    values = [float(function(counts)) for function in FUNCTIONS]
    if not w.size:
        assert np.isnan(values).all()
        return
    classes = sorted({*truth.tolist(), *answer.tolist()} - {-1})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kappa = metrics.cohen_kappa_score(truth, answer, sample_weight=w)
        expected = [
            metrics.accuracy_score(truth, answer, sample_weight=w),
            metrics.balanced_accuracy_score(truth, answer, sample_weight=w),
            metrics.f1_score(truth, answer, labels=classes, average="macro", sample_weight=w),
            0.0 if np.isnan(kappa) else kappa,
            metrics.matthews_corrcoef(truth, answer, sample_weight=w),
        ]
    assert values == pytest.approx(expected, rel=1e-9, abs=1e-9)


@settings(deadline=None)
@given(arrays(np.float64, (3, 2, 4, 5), elements=st.sampled_from([0.0, 1.0, 2.5, 30.0])))
def test_leading_axes_are_kept(matrices: NDArray[np.float64]) -> None:
    for function in FUNCTIONS:
        together = function(ConfusionCounts.of(matrices))
        assert together.shape == (3, 2)
        for at in np.ndindex(3, 2):
            alone = float(function(ConfusionCounts.of(matrices[at])))
            assert float(together[at]) == pytest.approx(alone, rel=1e-14, abs=1e-15, nan_ok=True)


@pytest.mark.parametrize("weight", [1.0, 0.1, 1e-9, 1 / 3, 1e12 / 7])
def test_one_class_always_answered_is_no_better_than_chance(weight: float) -> None:
    counts = ConfusionCounts.of(np.array([[weight, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    values = {function.__name__: float(function(counts)) for function in FUNCTIONS}
    assert values == {
        "accuracy": 1.0,
        "balanced_accuracy": 1.0,
        "macro_f1": 1.0,
        "cohen_kappa": 0.0,
        "matthews_corrcoef": 0.0,
    }


@pytest.mark.parametrize("faded", [1e-13, 1e-17, 1e-30, 1e-280])
def test_a_class_that_has_all_but_faded_leaves_no_rounding_errors_to_measure(faded: float) -> None:
    counts = ConfusionCounts.of(np.array([[0.7, faded, 0.0], [faded / 3, faded / 7, faded / 9]]))
    assert float(formulas.matthews_corrcoef(counts)) == 0.0
    assert float(formulas.cohen_kappa(counts)) == 0.0
    counts = ConfusionCounts.of(
        np.array([[0.4, faded, 0.0], [0.3, 0.0, 0.0]])
    )  # of the answers alone
    assert float(formulas.matthews_corrcoef(counts)) == 0.0


def test_kappa_temporal_follows_its_formula_and_its_stated_values() -> None:
    wrong = np.array([2.0, 5.0, 8.0, 0.0, 1.0, 0.0])
    no_change_wrong = np.array([5.0, 5.0, 5.0, 0.0, 0.0, 0.0])
    weight = np.array([10.0, 10.0, 10.0, 10.0, 10.0, 0.0])
    values = formulas.kappa_temporal(Sums(weight, wrong, no_change_wrong, weight, weight))
    assert values[:3] == pytest.approx([(0.8 - 0.5) / 0.5, 0.0, (0.2 - 0.5) / 0.5])
    assert values[3] == 0.0
    assert np.isnan(values[4:]).all()


def test_r_squared_has_its_stated_values() -> None:
    squares = np.array([1.0, 0.0, 1.0, 1.0, 1.0])
    variance = np.array([4.0, 0.0, 0.0, 4.0, 0.0])
    count = np.array([2, 2, 2, 1, 0])
    values = formulas.r2_score(Errors(count, np.sqrt(squares), squares, variance, squares))
    np.testing.assert_array_equal(values, [0.75, 1.0, 0.0, np.nan, np.nan])


def test_r_squared_of_squares_that_float64_can_not_hold_is_not_defined() -> None:
    squares = np.array([0.0, 1e-320, np.inf, 1.0, 1e300])
    variance = np.array([np.nan, 1e-320, 1e300, np.inf, np.inf])
    values = formulas.r2_score(Errors(np.full(5, 9), np.ones(5), squares, variance, squares))
    assert np.isnan(values).all()


def test_an_error_whose_square_vanishes_is_no_exact_answer() -> None:
    values = formulas.r2_score(
        Errors(np.full(2, 9), np.array([1e-200, 0.0]), np.zeros(2), np.zeros(2), np.zeros(2))
    )
    assert values.tolist() == [0.0, 1.0]


def test_a_mean_of_no_samples_is_nan() -> None:
    np.testing.assert_array_equal(
        formulas.ratio(np.array([3.0, 0.0]), np.array([2.0, 0.0])), [1.5, np.nan]
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (nan, "-"),
        (-inf, "-"),
        (0.0, "0.0000"),
        (-0.00004, "0.0000"),
        (-0.00006, "-0.0001"),
        (0.99999, "1.0000"),
        (12.345, "12.35"),
        (1234567.0, "1,234,567.00"),
        (2e12, "2.000e+12"),
    ],
)
def test_a_number_has_enough_digits_to_compare_it(value: float | None, text: str) -> None:
    assert format_number(value) == text

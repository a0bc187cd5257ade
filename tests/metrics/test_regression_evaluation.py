"""All measures of a finished regression are those of scikit-learn."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from streamnet.errors import ConfigurationError
from streamnet.metrics import RegressionEvaluation

numbers = st.floats(-1e6, 1e6).map(lambda x: round(x, 3))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=30))
def test_measures_are_those_of_scikit_learn(pairs: list[tuple[float, float]]) -> None:
    truth, answer = zip(*pairs, strict=True)
    found = RegressionEvaluation.of(truth, answer, quantiles=(0.25, 0.9)).measures()
    expected = {
        "mae": metrics.mean_absolute_error(truth, answer),
        "rmse": metrics.root_mean_squared_error(truth, answer),
        "distance": metrics.mean_squared_error(truth, answer) / 2,
        "quantile_loss_0.25": metrics.mean_pinball_loss(truth, answer, alpha=0.25),
        "quantile_loss_0.9": metrics.mean_pinball_loss(truth, answer, alpha=0.9),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-9)
    if np.ptp(truth) > 0:
        assert found["r2"] == pytest.approx(metrics.r2_score(truth, answer), rel=1e-6)
    if all(truth):
        mape = metrics.mean_absolute_percentage_error(truth, answer)
        assert found["mape"] == pytest.approx(mape, rel=1e-9)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e300])
def test_truths_whose_squares_float64_can_not_hold_have_no_r2(scale: float) -> None:
    truths = [scale, 2.0 * scale, 4.0 * scale]
    for answers in (truths, [2.0 * scale] * 3, [0.0] * 3):
        assert RegressionEvaluation.of(truths, answers).as_dict()["measures"]["r2"] is None


def test_a_truth_that_never_changes_has_the_r2_of_scikit_learn_without_its_rounding() -> None:
    for level in (0.1, 1e-300):  # the mean of many 0.1 is not 0.1
        truths = [level] * 700
        found = [
            RegressionEvaluation.of(truths, answers).measures()["r2"]
            for answers in (truths, [2.0 * level] * 700)
        ]
        assert found == [1.0, 0.0]


def test_the_root_mean_square_is_that_of_twice_the_distance() -> None:
    found = RegressionEvaluation.of([1.0, 2.0, 5.0], [1.5, 2.0, 4.0]).measures()
    assert found["rmse"] == pytest.approx(np.sqrt(2 * found["distance"]))


def test_correct_is_what_lies_strictly_within_the_threshold() -> None:
    evaluation = RegressionEvaluation.of([1.0, 1.0, 1.0], [1.0, 1.25, 0.5], threshold=0.25)
    assert (evaluation.correct, evaluation.wrong) == (1, 2)
    assert evaluation.measures()["correct_ratio"] == pytest.approx(1 / 3)


def test_without_a_threshold_nothing_is_called_correct_or_wrong() -> None:
    evaluation = RegressionEvaluation.of([1.0], [1.0])
    assert (evaluation.correct, evaluation.wrong) == (None, None)
    assert "correct_ratio" not in evaluation.measures()


def test_an_answer_that_is_not_finite_is_counted_and_wrong() -> None:
    answers = [1.5, np.nan, np.inf]
    evaluation = RegressionEvaluation.of([1.0, 2.0, 3.0], answers, threshold=1.0)
    assert (evaluation.unanswered, evaluation.correct, evaluation.wrong) == (2, 1, 2)
    assert evaluation.measures()["mae"] == 0.5
    assert len(evaluation) == 3


def test_of_no_samples_nothing_is_defined() -> None:
    evaluation = RegressionEvaluation(threshold=1.0)
    assert all(np.isnan(value) for value in evaluation.measures().values())
    assert set(evaluation.as_dict()["measures"].values()) == {None}


def test_it_is_plain_data() -> None:
    found = RegressionEvaluation.of([0.0, 0.0], [0.0, 1.0], threshold=0.5).as_dict()
    assert (found["samples"], found["correct"], found["measures"]["mape"]) == (2, 1, None)
    assert found["measures"]["r2"] == 0.0
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: RegressionEvaluation(threshold=0.0), "threshold is 0.0, but must be > 0"),
        (lambda: RegressionEvaluation(quantiles=(1.0,)), "quantiles has 1.0"),
        (lambda: RegressionEvaluation().add(float("nan"), 1.0), "truth is nan"),
        (lambda: RegressionEvaluation.of([1.0], [1.0, 2.0]), "answers has shape"),
    ],
)
def test_what_makes_no_sense_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        call()


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"truths": ["a"], "answers": [1.0]}, r"truths is \['a'\], but must be numbers"),
        ({"truths": [1.0], "answers": [[1.0], [1.0, 2.0]]}, "answers is .*, as many in each row"),
        ({"truths": [1.0], "answers": [1.0], "threshold": "x"}, "threshold is 'x', but must be a"),
        ({"truths": [1.0], "answers": [1.0], "quantiles": 0.5}, "quantiles is 0.5, but must be a"),
        ({"truths": [1.0], "answers": [1.0], "quantiles": ["a"]}, "quantiles is .*must be numbers"),
    ],
)
def test_what_is_no_number_is_refused(given: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigurationError, match=what):
        RegressionEvaluation.of(**given)

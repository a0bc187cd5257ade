"""Criteria compute what their table says, for all candidates at once, and choose the best."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from streamnet.errors import ConfigurationError
from streamnet.metrics import Evaluation, RegressionEvaluation
from streamnet.samples import Task
from streamnet.selection.criteria import CRITERIA, Tally, find_criterion
from streamnet.settings.learning import CRITERION_TASKS

NAMES = ("accuracy", "balanced_accuracy", "f1", "kappa", "simple", "distance", "log_loss")
finite = st.floats(-10, 10)


def tally_of_labels(evaluations: list[Evaluation]) -> Tally:
    found = [evaluation.measures() for evaluation in evaluations]
    samples = np.array([len(evaluation) for evaluation in evaluations], float)
    zeros = np.zeros(len(evaluations))
    return Tally(
        np.stack([evaluation.confusion for evaluation in evaluations]),
        samples,
        np.array([evaluation.correct for evaluation in evaluations], float),
        np.array([one["distance"] for one in found]) * samples,
        np.array([one["log_loss"] for one in found]) * samples,
        zeros,
        zeros,
    )


def test_those_of_labels_are_the_measures_of_an_evaluation_for_each_candidate() -> None:
    rng = np.random.default_rng(0)
    truth = [*"abc", *rng.choice(list("abc"), 57).tolist()]
    tables = [rng.dirichlet(np.ones(3), 60) for _ in range(4)]
    evaluations = [Evaluation.of(truth, probabilities=t, labels="abc") for t in tables]
    tally = tally_of_labels(evaluations)
    for name in (*NAMES, "gopher.accuracy", "gopher.balanced_accuracy", "gopher.f_measure"):
        same = {"f1": "macro_f1", "simple": "accuracy"}.get(name, name)
        expected = [evaluation.measures()[same] for evaluation in evaluations]
        found = find_criterion(name, "classification").values(tally)
        assert found.dtype == np.float64
        assert found.tolist() == pytest.approx(expected, rel=1e-12)
    answer = [["a", "b", "c"][i] for i in tables[2].argmax(1)]
    balanced = find_criterion("balanced_accuracy").values(tally)[2]
    assert balanced == pytest.approx(metrics.balanced_accuracy_score(truth, answer))


def test_those_of_numbers_are_the_measures_of_an_evaluation() -> None:
    rng = np.random.default_rng(1)
    truth, answers = rng.normal(size=50), rng.normal(size=(3, 50))
    error = truth - answers
    tally = Tally(
        np.zeros((3, 0, 1)),
        np.full(3, 50.0),
        (np.abs(error) < 0.5).sum(1).astype(float),
        0.5 * (error**2).sum(1),
        np.zeros(3),
        np.abs(error).sum(1),
        (error**2).sum(1),
    )
    for k in range(3):
        found = RegressionEvaluation.of(truth, answers[k], threshold=0.5).measures()
        expected = {
            "mae": found["mae"],
            "mse": found["rmse"] ** 2,
            "distance": found["distance"],
            "simple": found["correct_ratio"],
            "gopher.distance": found["distance"],
            "gopher.simple": found["correct_ratio"],
        }
        for name, value in expected.items():
            values = find_criterion(name, Task.REGRESSION).values(tally)
            assert values[k] == pytest.approx(value, rel=1e-12)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.one_of(finite, st.just(float("nan")), st.just(float("inf"))), max_size=8))
def test_the_best_is_the_first_of_the_extreme_finite_ones(values: list[float]) -> None:
    among = [(value, i) for i, value in enumerate(values) if np.isfinite(value)]
    highest = min(((-value, i) for value, i in among), default=(0.0, -1))[1]
    lowest = min(among, default=(0.0, -1))[1]
    assert find_criterion("accuracy").best(values) == highest
    assert find_criterion("distance").best(values) == lowest


@settings(deadline=None, max_examples=80)
@given(finite, finite)
def test_only_a_strictly_better_value_replaces_the_older(new: float, old: float) -> None:
    assert find_criterion("accuracy").better(new, old) == (new > old)
    assert find_criterion("distance").better(new, old) == (new < old)
    for one in CRITERIA.values():
        assert not one.better(float("nan"), old)
        assert not one.better(float("inf"), old)
        assert not one.better(float("-inf"), old)
        assert one.better(new, float("nan"))


@pytest.mark.parametrize("name", CRITERIA)
def test_without_samples_no_candidate_is_best(name: str) -> None:
    one = CRITERIA[name]
    classes = 2 if Task.CLASSIFICATION in CRITERION_TASKS[name] else 0
    tally = Tally(np.zeros((3, classes, classes + 1)), *[np.zeros(3)] * 6)
    assert np.isnan(one.values(tally)).all()
    assert one.best(one.values(tally)) == -1


def test_a_candidate_that_broke_down_never_wins() -> None:
    broken = np.array([np.nan, 2.0, 3.0])
    tally = Tally(np.zeros((3, 0, 1)), np.full(3, 9.0), *[broken] * 5)
    assert find_criterion("mse").best(find_criterion("mse").values(tally)) == 1


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "f1", "kappa", "log_loss"])
def test_numbers_have_no_criterion_of_labels(name: str) -> None:
    for given_name in (name, "gopher.accuracy", "gopher.f_measure", "gopher.balanced_accuracy"):
        with pytest.raises(ConfigurationError, match=r"for a regression must be one of distance,"):
            find_criterion(given_name, "regression")


def test_labels_have_no_criterion_of_numbers() -> None:
    with pytest.raises(ConfigurationError, match="'mse', but for a classification must be one of"):
        find_criterion("mse", "classification")


def test_an_unknown_name_is_rejected_with_a_list_of_all() -> None:
    with pytest.raises(ConfigurationError, match=r"'acc', but must be one of accuracy, .*simple"):
        find_criterion("acc")


def test_the_f_measure_is_f1_by_another_name() -> None:
    assert find_criterion("f_measure") is find_criterion("f1")
    assert find_criterion("gopher.f_measure").name == "gopher.f_measure"


def test_larger_is_better_for_shares_and_smaller_for_losses() -> None:
    smaller = {name for name, one in CRITERIA.items() if not one.larger_is_better}
    assert smaller == {"distance", "gopher.distance", "log_loss", "mae", "mse"}


def test_every_named_criterion_is_computed_and_no_other() -> None:
    assert set(CRITERIA) == set(CRITERION_TASKS)

"""All metrics of finished predictions agree with scikit-learn."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics

from streamnet.errors import ConfigurationError
from streamnet.metrics import ClassificationEvaluator, Evaluation, RegressionEvaluation
from streamnet.metrics.formulas import expected_calibration_error
from streamnet.metrics.ranking import Ranks, pr_auc, roc_auc

LABELS = ("a", "b", "c", "d")


def answered(classes: int, n: int = 200, seed: int = 0) -> tuple[list[str], NDArray[np.float64]]:
    """Truths, and probabilities that know something about them; some are equal."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=n)
    table = rng.random((n, classes)).round(1) + 0.01
    table[np.arange(n), truth] += 0.5
    return [LABELS[i] for i in truth], table / table.sum(1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_measures_are_those_of_scikit_learn(classes: int) -> None:
    truth, table = answered(classes)
    labels = LABELS[:classes]
    answer = [labels[i] for i in table.argmax(1)]
    found = Evaluation.of(truth, probabilities=table, labels=labels, floor=1e-15).measures()
    scores = table[:, 1] if classes == 2 else table
    expected = {
        "accuracy": metrics.accuracy_score(truth, answer),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, answer),
        "macro_f1": metrics.f1_score(truth, answer, average="macro"),
        "micro_f1": metrics.f1_score(truth, answer, average="micro"),
        "weighted_f1": metrics.f1_score(truth, answer, average="weighted"),
        "kappa": metrics.cohen_kappa_score(truth, answer),
        "mcc": metrics.matthews_corrcoef(truth, answer),
        "log_loss": metrics.log_loss(truth, table, labels=labels),
        "roc_auc": metrics.roc_auc_score(truth, scores, multi_class="ovr"),
    }
    own = [[label == one for label in truth] for one in labels]
    precisions = [metrics.average_precision_score(*pair) for pair in zip(own, table.T, strict=True)]
    rarer = precisions[0] if sum(own[0]) < sum(own[-1]) else precisions[1]
    expected["pr_auc"] = rarer if classes == 2 else np.mean(precisions)
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-12)
    ideal = np.eye(classes)[[labels.index(label) for label in truth]]
    assert found["brier"] == pytest.approx(((table - ideal) ** 2).sum(1).mean())
    assert found["distance"] == pytest.approx((0.5 * (table - ideal) ** 2).sum() / len(truth))
    if classes == 2:
        one_sided = metrics.brier_score_loss(truth, table[:, 1], pos_label="b")
        assert found["brier"] == pytest.approx(2 * one_sided)


def test_it_agrees_with_the_evaluator_of_streams() -> None:
    truth, table = answered(4)
    numbers = [LABELS.index(label) for label in truth]
    evaluator = ClassificationEvaluator(1)
    answers = table[None].astype(np.float32)
    evaluator.update(answers, numbers, [4] * len(numbers))
    streamed = evaluator.measures(0)
    found = Evaluation.of(truth, probabilities=answers[0], labels=LABELS).measures()
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "kappa", "mcc", "log_loss", "brier"):
        assert found[name] == pytest.approx(streamed[name], rel=1e-6)


def naive_calibration_error(
    truth: NDArray[np.int64], table: NDArray[np.float64], bins: int
) -> float:
    total = 0.0
    for b in range(bins):
        inside = [
            (max(row), int(np.argmax(row)) == t)
            for row, t in zip(table.tolist(), truth.tolist(), strict=True)
            if b / bins < max(row) <= (b + 1) / bins or (b == 0 and max(row) == 0)
        ]
        if inside:
            sure = sum(c for c, _ in inside) / len(inside)
            right = sum(r for _, r in inside) / len(inside)
            total += abs(right - sure) * len(inside) / len(truth)
    return total


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 20), st.integers(1, 30))
def test_the_calibration_error_is_that_of_a_naive_loop(seed: int, bins: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(3, size=n)
    table = rng.dirichlet((1.0, 1.0, 1.0), size=n)
    found = expected_calibration_error(truth, table, bins=bins)
    assert found == pytest.approx(naive_calibration_error(truth, table, bins), abs=1e-12)


def test_confident_and_correct_predictions_are_calibrated() -> None:
    truth = np.array([0, 1])
    assert expected_calibration_error(truth, np.eye(2)) == 0.0
    assert expected_calibration_error(truth, np.eye(2)[::-1]) == 1.0
    with pytest.raises(ConfigurationError, match="bins is 0"):
        expected_calibration_error(truth, np.eye(2), bins=0)


def test_the_area_of_constant_scores_is_half_and_classes_without_samples_are_left_out() -> None:
    assert roc_auc(Ranks.of(np.array([0, 1, 1]), np.full((3, 3), 1 / 3))) == 0.5
    for measure in (roc_auc, pr_auc):
        assert np.isnan(measure(Ranks.of(np.array([0, 0]), np.full((2, 2), 0.5))))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([*"abc", None])), max_size=20))
def test_one_by_one_is_the_same_as_all_at_once(pairs: list[tuple[str, str | None]]) -> None:
    whole = Evaluation.of([t for t, _ in pairs], [a for _, a in pairs], labels="abc")
    single = Evaluation("abc")
    for truth, answer in pairs:
        single.add(truth, answer)
    assert single.as_dict() == whole.as_dict()
    assert whole.correct + whole.wrong == len(whole) == len(pairs)
    assert whole.confusion.sum() == len(pairs)
    json.dumps(whole.as_dict(), allow_nan=False)


def test_rows_are_truths_and_columns_answers_in_the_order_of_the_labels() -> None:
    evaluation = Evaluation.of(list("bbab"), ["a", "b", None, "a"], labels="ba")
    assert evaluation.labels == ("b", "a")
    assert evaluation.confusion.tolist() == [[1, 2, 0], [0, 0, 1]]


def test_a_label_that_is_new_is_a_new_class_and_no_crash() -> None:
    evaluation = Evaluation(("a", "b"))
    evaluation.add("a", probabilities=[0.75, 0.25])
    evaluation.add("new", probabilities=[0.25, 0.75])
    evaluation.add("new", probabilities=[0.0, 0.0, 1.0])
    assert evaluation.labels == ("a", "b", "new")
    assert evaluation.confusion.tolist() == [[1, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0]]
    assert evaluation.probabilities().tolist() == [[0.75, 0.25, 0], [0.25, 0.75, 0], [0, 0, 1]]
    assert evaluation.per_class()["new"]["recall"] == 0.5


def test_an_answer_that_is_not_finite_is_wrong_and_ties_go_to_the_first_class() -> None:
    table = [[0.5, 0.5], [np.nan, 0.5], [0.5, np.inf]]
    evaluation = Evaluation.of(list("aaa"), probabilities=table, labels="ab")
    assert evaluation.confusion.tolist() == [[1, 0, 2], [0, 0, 0]]
    assert (evaluation.correct, evaluation.wrong) == (1, 2)
    assert np.isfinite(evaluation.measures()["log_loss"])


def test_an_answer_may_be_given_beside_its_probabilities() -> None:
    evaluation = Evaluation.of(["a"], ["b"], probabilities=[[0.9, 0.1]], labels="ab")
    assert evaluation.measures()["accuracy"] == 0.0
    assert evaluation.measures()["log_loss"] == pytest.approx(-np.log(0.9))


def test_probabilities_of_no_samples_have_no_measures() -> None:
    truth, table = np.zeros(0, np.int64), np.zeros((0, 2))
    assert np.isnan(expected_calibration_error(truth, table))
    for measure in (roc_auc, pr_auc):
        assert np.isnan(measure(Ranks.of(truth, table)))


def test_metrics_of_no_samples_are_undefined() -> None:
    evaluation = Evaluation("ab")
    assert all(np.isnan(value) for value in evaluation.measures().values())
    assert set(evaluation.as_dict()["measures"].values()) == {None}
    assert len(evaluation) == evaluation.correct == 0


def mixed() -> None:
    evaluation = Evaluation("ab")
    evaluation.add("a", "b")
    evaluation.add("a", probabilities=[0.5, 0.5])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Evaluation("aa"), "labels has 'a' twice"),
        (lambda: Evaluation("a", floor=0.0), "floor is 0.0"),
        (lambda: Evaluation.of("ab"), "answers is None"),
        (lambda: Evaluation.of("ab", "a"), "answers has length 1"),
        (lambda: Evaluation.of("a", probabilities=[[1.0], [1.0]], labels="a"), "length 2"),
        (lambda: Evaluation("a").add("a", probabilities=[0.5, 0.5]), "there are 1 classes"),
        (lambda: Evaluation("ab").add("a", probabilities=[-0.5, 1.5]), "from 0 to 1"),
        (mixed, "for all samples or for none"),
    ],
)
def test_invalid_arguments_are_rejected(call: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        call()


def test_labels_may_be_numbers_of_numpy_and_leave_plain_data() -> None:
    truths, answers = np.array([1, 2, 1, 2]), np.array([1, 1, 1, 2])
    evaluation = Evaluation.of(truths, answers)
    assert json.loads(json.dumps(evaluation.as_dict()))["labels"] == [1, 2]
    assert evaluation.measures()["accuracy"] == metrics.accuracy_score(truths, answers)


@pytest.mark.parametrize(
    ("given", "what"),
    [
        # The labels of a model are texts: numbers beside them would all be wrong in silence.
        (
            {"truths": [0, 1], "probabilities": [[0.9, 0.1], [0.2, 0.8]], "labels": ("0", "1")},
            "truth is 0, but must be a text, as the others are",
        ),
        ({"truths": [0, 1], "answers": ["0", "1"]}, "answer is '0', but must be no text, as"),
        ({"truths": ["a"], "answers": ["a"], "labels": ["a", 1]}, "label is 1, but must be a text"),
        ({"truths": [None], "answers": ["a"]}, "truth is None, but must be a label"),
        ({"truths": [[1]], "answers": [[1]]}, r"truth is \[1\], but must be a label"),
        ({"truths": [0.5], "answers": [np.nan]}, "answer is nan, but must be a label"),
        (
            {"truths": ["a"], "probabilities": [["x"]], "labels": ("a",)},
            r"probabilities is \[\['x'\]\], but must be numbers",
        ),
        ({"truths": ["a"], "answers": ["a"], "floor": "x"}, "floor is 'x', but must be a number"),
    ],
)
def test_values_that_are_neither_labels_nor_numbers_are_rejected(
    given: dict[str, Any], what: str
) -> None:
    with pytest.raises(ConfigurationError, match=what):
        Evaluation.of(**given)


def test_a_sample_that_is_refused_leaves_nothing() -> None:
    evaluation = Evaluation.of(["a", "b"], ["a", "a"])
    with pytest.raises(ConfigurationError, match="answer is 1"):
        evaluation.add("c", 1)  # type: ignore[arg-type]
    assert (len(evaluation), evaluation.labels) == (2, ("a", "b"))


numbers = st.floats(-1e6, 1e6).map(lambda x: round(x, 3))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=30))
def test_metrics_of_a_regression_are_those_of_scikit_learn(
    pairs: list[tuple[float, float]],
) -> None:
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


def test_metrics_of_a_regression_without_samples_are_undefined() -> None:
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
def test_meaningless_numbers_are_rejected(call: Any, message: str) -> None:
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
def test_values_that_are_not_numbers_are_rejected(given: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigurationError, match=what):
        RegressionEvaluation.of(**given)


def weights(n: int, seed: int = 0) -> NDArray[Any]:
    return np.random.default_rng(seed).choice([0.0, 0.5, 1.0, 3.0], n)


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_weighted_measures_of_labels_are_those_of_scikit_learn(classes: int) -> None:
    truth, table = answered(classes, seed=5)
    labels, w = LABELS[:classes], weights(len(truth))
    answer = [labels[i] for i in table.argmax(1)]
    evaluation = Evaluation.of(
        truth, probabilities=table, labels=labels, floor=1e-15, sample_weight=w
    )
    found = evaluation.measures()
    pair: Any = truth, answer
    expected = {
        "accuracy": metrics.accuracy_score(*pair, sample_weight=w),
        "balanced_accuracy": metrics.balanced_accuracy_score(*pair, sample_weight=w),
        "macro_f1": metrics.f1_score(*pair, average="macro", sample_weight=w),
        "weighted_f1": metrics.f1_score(*pair, average="weighted", sample_weight=w),
        "kappa": metrics.cohen_kappa_score(*pair, sample_weight=w),
        "mcc": metrics.matthews_corrcoef(*pair, sample_weight=w),
        "log_loss": metrics.log_loss(truth, table, labels=labels, sample_weight=w),
    }
    own = [[label == one for label in truth] for one in labels]
    areas = [metrics.roc_auc_score(*one, sample_weight=w) for one in zip(own, table.T, strict=True)]
    expected["roc_auc"] = np.mean(areas)
    precisions = [
        metrics.average_precision_score(*one, sample_weight=w)
        for one in zip(own, table.T, strict=True)
    ]
    rarer = precisions[int(np.dot(own[0], w) >= np.dot(own[1], w))]
    expected["pr_auc"] = rarer if classes == 2 else np.mean(precisions)
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-12)
    ideal = np.eye(classes)[[labels.index(label) for label in truth]]
    assert found["brier"] == pytest.approx(np.average(((table - ideal) ** 2).sum(1), weights=w))
    matrix = metrics.confusion_matrix(*pair, labels=list(labels), sample_weight=w)
    assert evaluation.confusion[:, :-1] == pytest.approx(matrix)
    assert evaluation.per_class()["b"]["roc_auc"] == pytest.approx(areas[1])


def test_weighted_measures_of_numbers_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(4)
    truth = rng.normal(size=150)
    answer, w = truth + rng.normal(size=150), weights(150)
    evaluation = RegressionEvaluation.of(truth, answer, threshold=0.5, sample_weight=w)
    found, pair = evaluation.measures(), (truth, answer)
    expected = {
        "mae": metrics.mean_absolute_error(*pair, sample_weight=w),
        "rmse": metrics.root_mean_squared_error(*pair, sample_weight=w),
        "r2": metrics.r2_score(*pair, sample_weight=w),
        "mape": metrics.mean_absolute_percentage_error(*pair, sample_weight=w),
        "quantile_loss_0.9": metrics.mean_pinball_loss(*pair, alpha=0.9, sample_weight=w),
        "correct_ratio": np.average(np.abs(truth - answer) < 0.5, weights=w),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("classes", [2, 4])
def test_a_weight_counts_like_so_many_samples(classes: int) -> None:
    truth, table = answered(classes, 90, seed=2)
    times = np.random.default_rng(2).integers(0, 4, 90)
    rows = np.repeat(np.arange(90), times)
    labels = LABELS[:classes]
    weighted = Evaluation.of(truth, probabilities=table, labels=labels, sample_weight=times)
    repeated = Evaluation.of([truth[i] for i in rows], probabilities=table[rows], labels=labels)
    assert weighted.measures() == pytest.approx(repeated.measures())
    numbers = np.array([labels.index(label) for label in truth], float)
    means = table.mean(axis=1) + numbers / 7
    pair = [
        RegressionEvaluation.of(numbers, means, threshold=0.3, sample_weight=times),
        RegressionEvaluation.of(numbers[rows], means[rows], threshold=0.3),
    ]
    assert pair[0].measures() == pytest.approx(pair[1].measures())


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf, "much"])
def test_a_weight_that_is_none_is_refused(weight: Any) -> None:
    with pytest.raises(ConfigurationError, match="weight is "):
        Evaluation().add("a", "a", weight=weight)
    with pytest.raises(ConfigurationError, match="weight is "):
        RegressionEvaluation().add(1.0, 1.0, weight=weight)
    with pytest.raises(ConfigurationError, match=r"sample_weight has shape \(1,\)"):
        Evaluation.of("ab", "ab", sample_weight=[1.0])

"""Weighted samples in metrics, against scikit-learn's sample_weight and against repetition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics

from streamnet.metrics import ClassificationEvaluator, Horizon, RegressionEvaluator
from streamnet.metrics.ranking import ScoreHistograms
from tests.metrics.streams import answered, cut, guessed, same_bits

N = 200


def draw(seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).choice([0.25, 0.5, 1.0, 2.0, 3.0, 1000.0], N)


def of_horizon(horizon: Horizon, weight: NDArray[np.float64]) -> tuple[slice, NDArray[np.float64]]:
    """The samples of a horizon, with a window of 50 and a fading of 0.9, and their weights."""
    rows = slice(N - 50, N) if horizon is Horizon.SLIDING else slice(None)
    fading = 0.9 ** np.arange(N)[::-1] if horizon is Horizon.FADING else np.ones(N)
    return rows, (weight * fading)[rows]


@pytest.mark.parametrize("horizon", Horizon)
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_metrics_of_labels_agree_with_scikit_learn(
    horizon: Horizon, whole: bool, seed: int
) -> None:
    stream, weight = answered(seed, N, 1, 3, hostile=False), draw(seed)
    known = np.full(N, 3)
    evaluator = ClassificationEvaluator(1, window=50, fading=0.9, whole=whole)
    losses = evaluator.update(stream.answers, stream.truth, known, weight=weight)
    found = evaluator.measures(0, horizon)
    rows, w = of_horizon(horizon, weight)
    truth, answer = stream.truth[rows], stream.answers[0].argmax(axis=1)[rows]
    given = {"sample_weight": w}
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth, answer, **given))
    wanted = metrics.balanced_accuracy_score(truth, answer, **given)
    assert found["balanced_accuracy"] == pytest.approx(wanted)
    wanted = metrics.f1_score(truth, answer, average="macro", **given)
    assert found["macro_f1"] == pytest.approx(wanted)
    assert found["kappa"] == pytest.approx(metrics.cohen_kappa_score(truth, answer, **given))
    assert found["mcc"] == pytest.approx(metrics.matthews_corrcoef(truth, answer, **given))
    assert found["log_loss"] == pytest.approx(np.average(losses[rows, 0], weights=w))
    if whole and horizon is Horizon.OVERALL:
        matrix = metrics.confusion_matrix(truth, answer, **given)
        assert evaluator.confusion(0)[:, :-1] == pytest.approx(matrix)


@pytest.mark.parametrize("horizon", Horizon)
@pytest.mark.parametrize("seed", range(3))
def test_metrics_of_numbers_agree_with_scikit_learn(horizon: Horizon, seed: int) -> None:
    stream, weight = guessed(seed, N, 1, hostile=False), draw(seed)
    evaluator = RegressionEvaluator(1, window=50, fading=0.9)
    evaluator.update(stream.answers, stream.truth, weight=weight)
    found = evaluator.measures(0, horizon)
    rows, w = of_horizon(horizon, weight)
    pair, given = (stream.truth[rows], stream.answers[0][rows]), {"sample_weight": w}
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(*pair, **given))
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(*pair, **given))
    assert found["r2"] == pytest.approx(metrics.r2_score(*pair, **given))
    wanted = metrics.mean_absolute_percentage_error(*pair, **given)
    assert found["mape"] == pytest.approx(wanted)


@pytest.mark.parametrize("horizon", Horizon)
def test_areas_agree_with_scikit_learn(horizon: Horizon) -> None:
    rng = np.random.default_rng(3)
    truth, weight = rng.integers(0, 2, N).astype(np.int32), draw(3)
    p = np.round(np.clip(0.5 + 0.2 * (truth - 0.5) + 0.2 * rng.normal(size=N), 0.05, 0.95), 1)
    table, known = np.column_stack((1.0 - p, p)), np.full(N, 2, np.int32)
    histograms = ScoreHistograms(window=50, fading=0.9)
    for start, stop in cut(N, (7, 50)):
        part = slice(start, stop)
        histograms.update(np.ascontiguousarray(table[part]), truth[part], known[part], weight[part])
        histograms = ScoreHistograms.restore_state(histograms.export_state())
    rows, w = of_horizon(horizon, weight)
    wanted = metrics.roc_auc_score(truth[rows], p[rows], sample_weight=w)
    assert histograms.measures(horizon)["roc_auc"] == pytest.approx(wanted)


def test_a_weight_of_two_counts_like_the_sample_twice_and_of_zero_like_none() -> None:
    times = np.random.default_rng(5).integers(0, 4, N)
    rows = np.repeat(np.arange(N), times)
    labels, numbers = answered(5, N, 2, 4, hostile=False), guessed(5, N, 2, hostile=False)
    known = np.full(N, 4)
    one, other = ClassificationEvaluator(2), ClassificationEvaluator(2)
    one.update(labels.answers, labels.truth, known, weight=times)
    other.update(labels.answers[:, rows], labels.truth[rows], known[rows])
    weighted, repeated = one.measures(1), other.measures(1)
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "kappa", "mcc", "log_loss", "brier"):
        assert weighted[name] == pytest.approx(repeated[name], rel=1e-9), name
    single, double = RegressionEvaluator(2), RegressionEvaluator(2)
    single.update(numbers.answers, numbers.truth, weight=times)
    double.update(numbers.answers[:, rows], numbers.truth[rows])
    assert single.measures(1) == pytest.approx(double.measures(1), rel=1e-9)


@pytest.mark.parametrize("sizes", [(1,), (7, 50), (3, 1, 100)])
def test_weights_of_one_change_no_bit_and_cuts_none_either(sizes: tuple[int, ...]) -> None:
    streams: list[tuple[Any, Any]] = [
        (ClassificationEvaluator, answered(2, N, 2, 5, hostile=True)),
        (RegressionEvaluator, guessed(2, N, 2, hostile=True)),
    ]
    for kind, stream in streams:
        plain, ones = kind(2, window=30, fading=0.9), kind(2, window=30, fading=0.9)
        assert same_bits(plain.update(*stream), ones.update(*stream, weight=np.ones(N)))
        for horizon in Horizon:
            assert same_bits(plain.table(horizon), ones.table(horizon))
        whole, parts = kind(2, window=30, fading=0.9), kind(2, window=30, fading=0.9)
        whole.update(*stream, weight=draw(2))
        for start, stop in cut(N, sizes):
            parts.update(*stream.part(start, stop), weight=draw(2)[start:stop])
            parts = kind.restore_state(parts.export_state())
        assert same_bits(whole.export_state(), parts.export_state())


def test_weights_from_the_middle_of_a_stream_on_leave_earlier_samples_a_weight_of_one() -> None:
    stream = guessed(1, N, 1, hostile=False)
    evaluator = RegressionEvaluator(1, window=50)
    evaluator.update(*stream.part(0, 170))
    evaluator.update(*stream.part(170, N), weight=np.full(30, 5.0))
    errors = np.abs(stream.truth - stream.answers[0])[-50:]
    wanted = np.average(errors, weights=np.repeat([1.0, 5.0], [20, 30]))
    assert evaluator.measures(0, "sliding")["mae"] == pytest.approx(wanted)


def test_weights_must_be_as_many_as_samples() -> None:
    stream = guessed(1, N, 1, hostile=False)
    with pytest.raises(ValueError, match=r"weight \(3,\) does not fit 200 samples"):
        RegressionEvaluator(1).update(*stream, weight=[1.0, 2.0, 3.0])

"""Areas under the curves of a stream, against scikit-learn with all predictions at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, roc_auc_score

from streamnet.errors import ModelFileError
from streamnet.metrics.ranking import BINS, MAX_CLASSES, Ranks, ScoreHistograms, _find_bin
from tests.learning.streams import differences


def predicted(
    n: int, classes: int, *, seed: int = 0, rare: float = 0.02, skill: float = 2.0
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Calibrated probabilities of classes, of which all but the first are rare."""
    rng = np.random.default_rng(seed)
    shares = np.array([1.0 - rare * (classes - 1), *[rare] * (classes - 1)])
    truth = rng.choice(classes, n, p=shares).astype(np.int32)
    scores = rng.normal(size=(n, classes)) + np.log(shares) * skill
    scores[np.arange(n), truth] += skill
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return (powers / powers.sum(1, keepdims=True)).astype(np.float32), truth


def exact_areas(truth: NDArray[Any], table: NDArray[Any]) -> dict[str, list[float]]:
    columns = [(truth == number, column) for number, column in enumerate(table.T)]
    return {
        "roc_auc": [roc_auc_score(*one) for one in columns],
        "pr_auc": [average_precision_score(*one) for one in columns],
    }


def round_to_bins(table: NDArray[Any]) -> NDArray[np.int64]:
    return np.array([[_find_bin(p) for p in row] for row in table.tolist()])


def fed(
    table: NDArray[Any], truth: NDArray[np.int32], sizes: tuple[int, ...] = (1000,), **how: Any
) -> ScoreHistograms:
    histograms = ScoreHistograms(**how)
    known = np.full(len(truth), table.shape[1], np.int32)
    start = turn = 0
    while start < len(truth):
        stop = start + sizes[turn % len(sizes)]
        histograms.update(
            np.ascontiguousarray(table[start:stop]), truth[start:stop], known[start:stop]
        )
        start, turn = stop, turn + 1
    return histograms


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("skill", [0.5, 3.0])
def test_areas_are_those_of_scikit_learn_within_the_stated_error(
    classes: int, skill: float
) -> None:
    table, truth = predicted(20_000, classes, skill=skill)
    histograms = fed(table, truth)
    expected, found = exact_areas(truth, table), histograms.per_class()
    own, others = histograms.ranks()
    bound = (own * others).sum(1) / (own.sum(1) * others.sum(1)) / 2
    assert (bound < 0.01).all()
    assert (np.abs(found["roc_auc"] - expected["roc_auc"]) <= bound + 1e-12).all()
    assert np.abs(found["roc_auc"] - expected["roc_auc"]).max() < 1e-3
    assert np.abs(found["pr_auc"] - expected["pr_auc"]).max() < 5e-3
    measures = histograms.measures()
    assert measures["roc_auc"] == pytest.approx(np.mean(expected["roc_auc"]), abs=1e-3)
    macro = np.mean(expected["pr_auc"]) if classes > 2 else expected["pr_auc"][1]
    assert measures["pr_auc"] == pytest.approx(macro, abs=5e-3)


@pytest.mark.parametrize("classes", [2, 5])
def test_the_calibration_is_that_of_scikit_learn(classes: int) -> None:
    table, truth = predicted(20_000, classes, skill=1.0)
    found = fed(table, truth).calibration()
    hits = truth[:, None] == np.arange(classes)
    observed, mean = calibration_curve(hits.ravel(), table.ravel(), n_bins=10)
    assert found[:, 0] == pytest.approx(mean, abs=0.01)
    assert found[:, 1] == pytest.approx(observed, abs=0.03)
    assert found[:, 2].sum() == table.size


@pytest.mark.parametrize("classes", [2, 4])
def test_areas_are_exactly_those_of_probabilities_rounded_to_bins(classes: int) -> None:
    table, truth = predicted(3000, classes, seed=4)
    expected = exact_areas(truth, round_to_bins(table))
    found = fed(table, truth).per_class()
    for name, values in expected.items():
        assert found[name].tolist() == pytest.approx(values, abs=1e-12)


def test_the_sliding_window_has_the_last_samples_and_fading_weighs_them() -> None:
    table, truth = predicted(4000, 3, seed=1, rare=0.1)
    truth[2000:] = (truth[2000:] + 1) % 3  # a drift
    histograms = fed(table, truth, window=700, fading=0.995)
    binned = round_to_bins(table)
    last = exact_areas(truth[-700:], binned[-700:])
    weight = 0.995 ** np.arange(3999, -1, -1.0)
    for number in range(3):
        given = truth == number, binned[:, number]
        for name, function in (("roc_auc", roc_auc_score), ("pr_auc", average_precision_score)):
            sliding = histograms.per_class("sliding")[name][number]
            assert sliding == pytest.approx(last[name][number], abs=1e-12)
            faded = histograms.per_class("fading")[name][number]
            assert faded == pytest.approx(function(*given, sample_weight=weight), abs=1e-9)


def test_classes_that_appear_later_had_no_probability_before() -> None:
    table, truth = predicted(1200, 5, seed=2, rare=0.15)
    truth = np.minimum(truth, np.arange(1200) // 200).astype(np.int32)
    known = np.append(0, np.maximum.accumulate(truth)[:-1] + 1).astype(np.int32)
    histograms = ScoreHistograms()
    for start in range(0, 1200, 77):
        part = slice(start, start + 77)
        width = max(int(known[part].max()), 1)
        histograms.update(np.ascontiguousarray(table[part, :width]), truth[part], known[part])
    seen = np.where(np.arange(5) < known[:, None], table, 0.0)
    expected = exact_areas(truth, round_to_bins(seen))
    for name, values in histograms.per_class().items():
        assert values.tolist() == pytest.approx(expected[name], abs=1e-12)


def test_samples_without_truth_or_finite_probabilities_are_left_out() -> None:
    table, truth = predicted(500, 2, rare=0.3)
    holes = table.copy()
    holes[::7, 1] = np.nan
    without = truth.copy()
    without[::5] = -1
    kept = (np.arange(500) % 7 > 0) & (np.arange(500) % 5 > 0)
    found = fed(holes, without).export_state()
    assert differences(found, fed(table[kept], truth[kept]).export_state()) == []


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.integers(0, 400))
def test_neither_cuts_nor_a_saved_state_change_a_bit(sizes: list[int], cut: int) -> None:
    table, truth = predicted(400, 3, rare=0.2)
    whole = fed(table, truth, window=50, fading=0.5)  # so that periods of weights are short
    first = fed(table[:cut], truth[:cut], tuple(sizes), window=50, fading=0.5)
    restored = ScoreHistograms.restore_state(first.export_state())
    known = np.full(400, 3, np.int32)
    restored.update(table[cut:], truth[cut:], known[cut:])
    assert differences(restored.export_state(), whole.export_state()) == []


def test_only_the_first_classes_have_histograms() -> None:
    n = 3 * MAX_CLASSES
    truth = np.arange(n, dtype=np.int32)
    table = np.full((n, n), 1 / n, np.float32)
    histograms = fed(table, truth)
    assert len(histograms.per_class()["roc_auc"]) == MAX_CLASSES
    own, others = histograms.ranks()
    assert (own.sum(1) == 1).all()
    assert (others.sum(1) == n - 1).all()


def test_bins_are_narrow_in_odds_and_hold_every_number() -> None:
    odds = 2.0 ** np.linspace(-23.9, 23.9, 5000)
    bins = [_find_bin(p) for p in (odds / (1 + odds)).tolist()]
    assert bins == sorted(bins)
    for p in (0.01, 0.2, 0.5, 0.9):
        around = np.linspace(p * 0.9, min(1.1 * p, 1), 20001).tolist()
        same = np.array([q for q in around if _find_bin(q) == _find_bin(p)])
        assert (same / (1 - same)).max() / (same / (1 - same)).min() <= 1.0321
    extremes = [_find_bin(p) for p in (-1.0, 0.0, np.nan, 1e-30, 1.0, 7.0)]
    assert extremes == [0, 0, 0, 0, BINS - 1, BINS - 1]


def test_a_state_that_does_not_fit_is_refused() -> None:
    table, truth = predicted(50, 2)
    state = fed(table, truth).export_state()
    for name, value in (
        ("counts", state["counts"][:, :, :1]),
        ("truths", state["truths"][1:]),
        ("bins", np.full_like(state["bins"], BINS)),
    ):
        with pytest.raises(ModelFileError, match="histograms"):
            ScoreHistograms.restore_state({**state, name: value})


def test_ranks_of_equal_probabilities_are_shared() -> None:
    truth, table = np.array([0, 1, 1, 0]), np.array([[0.5], [0.5], [0.25], [1.0]])
    own, others = Ranks.of(truth, table)
    assert own[0].tolist() == [1.0, 1.0, 0.0]
    assert others[0].tolist() == [0.0, 1.0, 1.0]

from __future__ import annotations

import csv
import gzip
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamnet.errors import ModelFileError
from streamnet.metrics import (
    ClassificationBaselines,
    ClassificationEvaluator,
    Horizon,
    RegressionBaselines,
)
from tests.metrics.streams import answered, cut, same_bits

LABELS = st.lists(st.integers(-1, 9), max_size=60)
NUMBERS = st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), max_size=60)
SIZES = st.lists(st.integers(1, 20), min_size=1, max_size=4)


@settings(deadline=None)
@given(truth=LABELS)
def test_majority_and_no_change_agree_with_counting(truth: list[int]) -> None:
    answers = ClassificationBaselines().answers(truth, [10] * len(truth))
    seen: Counter[int] = Counter()
    last = -1
    for i, label in enumerate(truth):
        majority = min(seen, key=lambda c: (-seen[c], c)) if seen else -1
        for answer, expected in zip(answers[:, i], (majority, last), strict=True):
            assert answer.sum() == (expected >= 0)
            assert expected < 0 or answer[expected] == 1.0
        if label >= 0:
            seen[label] += 1
            last = label


@settings(deadline=None)
@given(truth=LABELS, sizes=SIZES)
def test_blocks_of_any_size_give_the_same_answers(truth: list[int], sizes: list[int]) -> None:
    known = [10] * len(truth)
    whole = ClassificationBaselines()
    answers = whole.answers(truth, known)
    baselines = ClassificationBaselines()
    pieces = []
    for start, stop in cut(len(truth), sizes):
        pieces.append(baselines.answers(truth[start:stop], known[start:stop]))
        baselines = ClassificationBaselines.restore_state(baselines.export_state())
    assert same_bits(np.concatenate([answers[:, :0], *pieces], axis=1), answers)
    assert same_bits(baselines.export_state(), whole.export_state())


def test_predictions_have_columns_for_all_classes_or_as_many_as_requested() -> None:
    baselines = ClassificationBaselines()
    assert baselines.answers([], []).shape == (2, 0, 2)
    assert baselines.answers([0], [0]).shape == (2, 1, 2)
    assert baselines.answers([2], [2]).shape == (2, 1, 4)
    assert baselines.answers([0], [5]).shape == (2, 1, 8)
    assert baselines.answers([0], [3], width=3).shape == (2, 1, 3)
    assert baselines.answers([0], [3]).shape == (2, 1, 4)
    # A class without room can't be answered.
    assert baselines.answers([2, 2], [3, 3], width=2)[1].tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_the_no_change_baseline_gains_nothing_over_no_change() -> None:
    stream = answered(2, 300, 1, 5, hostile=False)
    evaluator = ClassificationEvaluator(2, window=50)
    answers = ClassificationBaselines().answers(stream.truth, stream.known)
    evaluator.update(answers, stream.truth, stream.known)
    for horizon in ("overall", "sliding", "fading"):
        assert evaluator.measures(1, horizon)["kappa_temporal"] == 0.0
        assert evaluator.measures(0, horizon)["kappa_temporal"] != 0.0


@settings(deadline=None)
@given(truth=NUMBERS, sizes=SIZES)
def test_mean_and_last_number_agree_with_numpy_in_blocks_of_any_size(
    truth: list[float], sizes: list[int]
) -> None:
    whole = RegressionBaselines()
    answers = whole.answers(truth)
    for i in range(len(truth)):
        seen = [y for y in truth[:i] if np.isfinite(y)]
        assert answers[0, i] == pytest.approx(np.mean(seen) if seen else 0.0, rel=1e-9, abs=1e-6)
        assert answers[1, i] == (seen[-1] if seen else 0.0)
    baselines = RegressionBaselines()
    pieces = []
    for start, stop in cut(len(truth), sizes):
        pieces.append(baselines.answers(truth[start:stop]))
        baselines = RegressionBaselines.restore_state(baselines.export_state())
    assert same_bits(np.concatenate([answers[:, :0], *pieces], axis=1), answers)
    assert same_bits(baselines.export_state(), whole.export_state())


def test_the_mean_stays_finite_whatever_the_numbers() -> None:
    truth = [1.7e308, -1.7e308, np.inf, -np.inf, np.nan, -1.7e308, 1.7e308]
    answers = RegressionBaselines().answers(truth * 50)
    assert np.isfinite(answers).all()


def test_names_are_in_the_order_of_the_predictions() -> None:
    assert ClassificationBaselines.names == ("majority", "no_change")
    assert RegressionBaselines.names == ("mean", "no_change")
    assert ClassificationBaselines().answers([0, 0, 1, 1], [0, 1, 1, 2])[:, 3, 0].tolist() == [1, 0]
    assert RegressionBaselines().answers([1.0, 3.0, 0.0])[:, 2].tolist() == [2.0, 3.0]


@pytest.mark.parametrize("memory", [[0, 9], [5, 0], [0, 0, 0]])
def test_a_state_that_does_not_fit_is_refused(memory: list[int]) -> None:
    state = ClassificationBaselines().export_state()
    with pytest.raises(ModelFileError, match="baselines: memory"):
        ClassificationBaselines.restore_state({**state, "memory": np.array(memory)})
    with pytest.raises(ModelFileError, match="baselines: memory"):
        RegressionBaselines.restore_state({"memory": np.zeros(2)})


def test_no_change_on_electricity_is_as_good_as_published_and_gains_nothing_over_itself(
    shared_data: Path,
) -> None:
    with gzip.open(shared_data / "electricity.csv.gz", "rt") as file:
        labels = [row["class"] for row in csv.DictReader(file)]
    numbers: dict[str, int] = {}
    known = []
    truth = []
    for label in labels:
        known.append(len(numbers))
        truth.append(numbers.setdefault(label, len(numbers)))
    evaluator = ClassificationEvaluator(2)
    evaluator.update(ClassificationBaselines().answers(truth, known), truth, known)
    assert len(labels) == 45_312
    assert evaluator.measures(1)["accuracy"] == pytest.approx(0.853, abs=5e-4)
    assert all(evaluator.measures(1, horizon)["kappa_temporal"] == 0.0 for horizon in Horizon)
    assert evaluator.measures(0)["accuracy"] == pytest.approx(0.575, abs=0.01)

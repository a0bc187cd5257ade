"""Boosted trees, against a naive forest, scikit-learn, and themselves cut otherwise."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from sklearn.datasets import make_classification, make_friedman1
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from streamnet.errors import StateError
from streamnet.experts import MAX_RATIO, REST, Answers
from streamnet.features.base import FIELD_BITS, LAG_BASE, SPARSE_BASE
from streamnet.features.columns.label import RETIRED, MovedClass
from streamnet.samples import Inputs
from streamnet.trees.boosted_trees import FIRST_GROWTH, OF_LABELS, OF_NUMBERS, BoostedTrees
from streamnet.trees.forest import Size
from streamnet.trees.growth import BINS, LEAST_SAMPLES
from tests.experts import label_batch, number_batch

N = 260


def alike(size: Size) -> dict[str, Any]:
    """What scikit-learn's trees are told, to be as large as these."""
    return {
        "max_iter": size.trees,
        "max_leaf_nodes": size.leaves,
        "learning_rate": size.learning_rate,
        "max_bins": BINS,
        "min_samples_leaf": LEAST_SAMPLES,
        "early_stopping": False,
        "random_state": 0,
    }


def inputs_of(numbers: NDArray[Any], words: NDArray[Any] | None = None) -> Inputs:
    """Inputs of numbers and, for each sample, the numbers of active rows, one for each column."""
    n = len(numbers)
    rows = np.zeros((n, 1), np.int32) if words is None else words.astype(np.int32)
    count = np.full(n, 0 if words is None else rows.shape[1], np.int32)
    fields = np.zeros(int(rows.max()) + 1, np.int32)
    for column in range(rows.shape[1] if words is not None else 0):
        fields[rows[:, column]] = column
    return Inputs(
        np.nan_to_num(numbers).clip(-1e30, 1e30).astype(np.float32),
        rows,
        np.ones(rows.shape, np.float32),
        count,
        len(fields) if words is not None else 0,
        fields=fields,
        unscaled=numbers.astype(np.float64),
    )


def part(inputs: Inputs, start: int, stop: int) -> Inputs:
    """Some of the samples."""
    names = "dense", "row", "value", "count", "unscaled"
    return replace(inputs, **{name: getattr(inputs, name)[start:stop] for name in names})


def stream(labels: int, n: int = N, seed: int = 0) -> tuple[Inputs, NDArray[Any]]:
    """Samples with two numbers and two categories; targets are numbers without labels."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(n, 2)).round(1)
    numbers[rng.random((n, 2)) < 0.05] = np.nan
    words = np.stack((rng.integers(0, 4, n), 4 + rng.integers(0, 9, n)), axis=1)
    signal = np.nan_to_num(numbers[:, 0]) + words[:, 0] + (words[:, 1] % 3) + rng.normal(size=n)
    if not labels:
        truth = np.where(rng.random(n) < 0.1, np.nan, signal)
        return inputs_of(numbers, words), truth
    ranks = np.digitize(signal, np.quantile(signal, np.arange(1, labels) / labels))
    return inputs_of(numbers, words), np.where(rng.random(n) < 0.1, -1, ranks).astype(np.int32)


def run(trees: BoostedTrees, inputs: Inputs, truth: NDArray[Any], labels: int) -> Predictions:
    """Predict and learn all samples, all labels of which are known from the start."""
    batch = label_batch(inputs, labels, truth) if labels else number_batch(inputs, truth)
    return read(trees.predict_then_learn(batch))


def ask(trees: BoostedTrees, inputs: Inputs, labels: int) -> Predictions:
    """Predict samples of which each might be the next one."""
    return read(trees.predict(label_batch(inputs, labels) if labels else number_batch(inputs)))


class Predictions(NamedTuple):
    """Predictions of samples, of numbers by corrected leaves, and whether there were any."""

    answers: NDArray[Any]
    present: NDArray[np.bool_]


def read(said: Answers) -> Predictions:
    """What trees say in their last column."""
    assert said.alive is not None
    return Predictions(said.answers[-1], said.alive[-1] == 1)


@pytest.mark.parametrize("labels", [0, 2, 3])
@given(cuts=st.lists(st.integers(1, N - 1), max_size=4), at=st.integers(0, 4))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_neither_cuts_nor_a_restored_state_change_a_bit(
    labels: int, cuts: list[int], at: int
) -> None:
    inputs, truth = stream(labels)
    whole, cut = (BoostedTrees(180, numeric=not labels) for _ in range(2))
    expected = run(whole, inputs, truth, labels)
    edges = [0, *sorted(set(cuts)), N]
    found = []
    for number, (start, stop) in enumerate(pairwise(edges)):
        if number == at:
            state = cut.export_state()
            cut = BoostedTrees(180, numeric=not labels)
            cut.restore_state(state)
        found.append(run(cut, part(inputs, start, stop), truth[start:stop], labels))
    for name in expected._fields:
        whole_field = getattr(expected, name)
        assert_array_equal(whole_field, np.concatenate([getattr(one, name) for one in found]))
    assert expected.present.sum() > N / 3
    asked = part(inputs, 0, 9)
    assert_array_equal(ask(whole, asked, labels).answers, ask(cut, asked, labels).answers)


@pytest.mark.parametrize("labels", [2, 5])
def test_labels_are_predicted_about_as_well_as_by_scikit_learn(labels: int) -> None:
    x, y = make_classification(
        3000, 12, n_informative=8, n_classes=labels, n_clusters_per_class=2, random_state=1
    )
    known = np.where(np.arange(3000) < 2000, y, -1).astype(np.int32)
    trees = BoostedTrees(2000, numeric=False)
    answers, present = run(trees, inputs_of(x), known, labels)
    assert_array_equal(present, np.arange(3000) >= FIRST_GROWTH)
    own = (answers[2000:].argmax(axis=1) == y[2000:]).mean()
    other = HistGradientBoostingClassifier(**alike(OF_LABELS)).fit(x[:2000], y[:2000])
    assert own > other.score(x[2000:], y[2000:]) - 0.03
    assert answers[present].sum(axis=1) == pytest.approx(1.0)


def test_numbers_are_predicted_about_as_well_as_by_scikit_learn() -> None:
    x, y = make_friedman1(3000, 8, noise=0.5, random_state=1)
    known = np.where(np.arange(3000) < 2000, y, np.nan)
    answers, _ = run(BoostedTrees(2000, numeric=True), inputs_of(x), known, 0)
    other = HistGradientBoostingRegressor(loss="absolute_error", **alike(OF_NUMBERS))
    other.fit(x[:2000], y[:2000])
    error = np.abs(other.predict(x[2000:]) - y[2000:]).mean()
    assert np.abs(answers[2000:] - y[2000:]).mean() < 1.1 * error


def test_numbers_that_move_are_followed_before_trees_are_grown_again() -> None:
    x, y = make_friedman1(1300, 8, noise=0.5, random_state=1)
    y = y / 5.0 + (np.arange(1300) >= 1000)
    trees = BoostedTrees(2000, numeric=True)
    said = trees.predict_then_learn(number_batch(inputs_of(x), y))
    grown, corrected = np.abs(said.answers - y)[:, 1050:].mean(axis=1)
    assert grown > 2.0 * corrected


def test_values_far_outside_and_missing_columns_are_predicted() -> None:
    inputs, truth = stream(0)
    trees = BoostedTrees(200, numeric=True)
    run(trees, inputs, truth, 0)
    odd = np.array([[np.inf, -np.inf], [1e308, np.nan], [np.nan, np.nan]])
    words = np.array([[0, 4], [3, 12], [3, 40]])  # the last one is new
    answers, present = ask(trees, inputs_of(odd, words), 0)
    assert present.all()
    assert ((answers > np.nanmin(truth)) & (answers < np.nanmax(truth))).all()


def test_columns_that_appear_later_are_used_from_the_next_growth_on() -> None:
    rng = np.random.default_rng(0)
    hidden = rng.integers(0, 2, 400)
    few = inputs_of(rng.normal(size=(200, 1)))
    more = inputs_of(np.stack((rng.normal(size=200), hidden[200:]), axis=1).astype(float))
    trees = BoostedTrees(1000, numeric=False)
    run(trees, few, hidden[:200].astype(np.int32), 2)
    answers, present = run(trees, more, hidden[200:].astype(np.int32), 2)
    assert present.all()
    assert (answers[100:].argmax(axis=1) == hidden[300:]).all()


@pytest.mark.parametrize("labels", [0, 3])
def test_a_frozen_copy_answers_as_before_whatever_is_learned(labels: int) -> None:
    inputs, truth = stream(labels)
    trees = BoostedTrees(N, numeric=not labels)
    run(trees, part(inputs, 0, 200), truth[:200], labels)
    asked = part(inputs, 0, 50)
    frozen, before = trees.freeze(), ask(trees, asked, labels).answers
    assert frozen.export_state()["values"].size == 0  # samples are not kept for it
    assert_array_equal(ask(frozen, asked, labels).answers, before)
    wider = replace(inputs, unscaled=np.hstack((inputs.unscaled, inputs.unscaled)))
    run(trees, part(wider, 200, N), truth[200:], labels)
    if labels:
        trees.move_class(MovedClass(1, RETIRED))
    trees.end_round(np.array([2.0 * MAX_RATIO]), 1.0)
    assert trees.rest
    assert_array_equal(ask(frozen, asked, labels).answers, before)


def test_texts_are_not_seen() -> None:
    rng = np.random.default_rng(0)
    words = rng.integers(0, 20, (300, 3))  # three words of one column
    inputs = replace(inputs_of(np.zeros((300, 0)), words), fields=np.zeros(20, np.int32))
    label = (words == 7).any(axis=1).astype(np.int32)
    answers, present = run(BoostedTrees(1000, numeric=False), inputs, label, 2)
    assert len(np.unique(answers[present], axis=0)) <= 8  # one for each growth


def test_a_retired_class_is_forgotten_by_the_next_trees() -> None:
    inputs, truth = stream(3)
    trees = BoostedTrees(1000, numeric=False)
    run(trees, inputs, truth, 3)
    trees.move_class(MovedClass(2, RETIRED))
    run(trees, *stream(2, 200, seed=1), 3)
    answers, _ = ask(trees, part(inputs, 0, 50), 3)
    assert answers[:, 2].max() < 0.01
    trees.move_class(MovedClass(1, 0))
    run(trees, *stream(2, 400, seed=2), 3)


def test_they_rest_longer_each_time_they_are_much_worse() -> None:
    inputs, truth = stream(2)
    trees = BoostedTrees(1000, numeric=False)
    rests = []
    for _ in range(3):
        run(trees, inputs, truth, 2)
        assert ask(trees, inputs, 2).present.all()
        trees.end_round(np.array([MAX_RATIO * 1.01]), 1.0)
        rests.append(0)
        while trees.rest:
            assert not ask(trees, inputs, 2).present.any()
            trees.end_round(np.array([9.0]), 1.0)
            rests[-1] += 1
    assert rests == [REST, 2 * REST + 1, 4 * REST + 3]
    trees.end_round(np.array([1.0]), 1.0)
    trees.end_round(np.array([2.0]), 1.0)
    assert trees.export_state()["resting"] == REST


def test_states_that_do_not_fit_are_refused() -> None:
    inputs, truth = stream(2)
    trees = BoostedTrees(1000, numeric=False)
    run(trees, inputs, truth, 2)
    for name, value in (
        ("values", np.zeros((3, 3))),
        ("forest", trees.export_state()["forest"] | {"left": np.zeros((2, 2), np.int32)}),
        ("grown", [0, 0, 0]),
    ):
        with pytest.raises(StateError, match="boosted trees"):
            BoostedTrees(1000, numeric=False).restore_state(trees.export_state() | {name: value})


def test_rows_of_earlier_targets_and_of_numbered_inputs_take_no_columns() -> None:
    """Their fields are beyond those of all columns, as `LAG_BASE` and `SPARSE_BASE` say."""
    inputs, truth = stream(2)
    beyond = np.array([SPARSE_BASE, LAG_BASE, LAG_BASE + (1 << FIELD_BITS)]) >> FIELD_BITS
    row = np.hstack((inputs.row, np.arange(inputs.rows, inputs.rows + 3) + np.zeros((N, 1), int)))
    more = replace(
        inputs,
        row=row.astype(np.int32),
        value=np.ones(row.shape, np.float32),
        count=inputs.count + 3,
        rows=inputs.rows + 3,
        fields=np.append(inputs.fields, beyond).astype(np.int32),
    )
    plain, other = BoostedTrees(N, numeric=False), BoostedTrees(N, numeric=False)
    assert_array_equal(run(plain, inputs, truth, 2).answers, run(other, more, truth, 2).answers)
    assert other.export_state()["columns"] == plain.export_state()["columns"] == [2, 2, 0]

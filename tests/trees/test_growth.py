"""Grown trees, against a naive forest that tries every split."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from streamnet.randomness import mix_key
from streamnet.trees import growth
from streamnet.trees.binning import bin_columns
from streamnet.trees.forest import Size
from streamnet.trees.growth import LEAST_SAMPLES, REGULARIZER, SKETCH, grow_forest
from streamnet.trees.prediction import predict_labels, predict_numbers

SIZE = Size(trees=3, leaves=15, learning_rate=0.2)


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    if scores.shape[1] == 1:
        return 1.0 / (1.0 + np.exp(-scores))
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    found: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return found


def score(sums: NDArray[np.float64], hessian: float) -> float:
    return float((sums**2).sum() / (hessian + REGULARIZER))


def find_slopes(
    scores: NDArray[np.float64], y: NDArray[np.float64], weight: NDArray[np.float64], outputs: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gradients and hessians of the loss of each sample; outputs is 0 for numbers."""
    weights = weight[:, np.newaxis]
    if not outputs:
        return weights * np.sign(scores - y[:, np.newaxis]), weights
    p = softmax(scores)
    truth = y[:, np.newaxis] if outputs == 1 else y[:, np.newaxis] == np.arange(outputs)
    return weights * (p - truth), weights * p * (1.0 - p)


def project(gradient: NDArray[np.float64], tree: int) -> NDArray[np.float64]:
    """Random projections of the gradients of more than one output."""
    outputs = gradient.shape[1]
    if outputs == 1:
        return gradient
    keys = [int(mix_key(np.uint64(growth._KEY + tree), np.uint64(c))) for c in range(outputs)]
    found: NDArray[np.float64] = gradient @ np.array(
        [[1.0 if k >> s & 1 else -1.0 for s in range(SKETCH)] for k in keys]
    )
    return found


def best_split(
    x: NDArray[np.float64], g: NDArray[np.float64], h: NDArray[np.float64], own: NDArray[np.intp]
) -> tuple[float, NDArray[np.intp], NDArray[np.intp]]:
    """The gain of the best split of a leaf, and both sides."""
    best = 1e-9, own, own
    whole = score(g[own].sum(axis=0), h[own].sum())
    for j in range(x.shape[1]):
        for edge in np.unique(x[own, j])[:-1]:
            left, right = own[x[own, j] <= edge], own[x[own, j] > edge]
            if min(len(left), len(right)) < LEAST_SAMPLES:
                continue
            sides = (score(g[one].sum(axis=0), h[one].sum()) for one in (left, right))
            gain = sum(sides) - whole
            if gain > best[0] * (1 + 1e-6):
                best = gain, left, right
    return best


def naive_forest(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    weight: NDArray[np.float64],
    outputs: int,
    trees: int,
) -> NDArray[np.float64]:
    """Scores of all samples after some trees."""
    scores = np.zeros((len(y), max(outputs, 1)))
    for tree in range(trees):
        gradient, hessian = find_slopes(scores, y, weight, outputs)
        slopes = project(gradient, tree), hessian.sum(axis=1)
        everything = np.arange(len(y))
        leaves = [(everything, best_split(x, *slopes, everything))]
        while len(leaves) < SIZE.leaves:
            number = max(range(len(leaves)), key=lambda k: leaves[k][1][0])
            gain, left, right = leaves[number][1]
            if gain <= 1e-9:
                break
            sides = [(own, best_split(x, *slopes, own)) for own in (left, right)]
            leaves[number : number + 1] = sides
        for own, _ in leaves:
            if not outputs:
                rest = np.repeat(y[own] - scores[own, 0], weight[own].astype(int))
                scores[own, 0] += SIZE.learning_rate * np.sort(rest)[(len(rest) - 1) // 2]
            else:
                step = -gradient[own].sum(axis=0) / (hessian[own].sum(axis=0) + REGULARIZER)
                scores[own] += SIZE.learning_rate * step.clip(-growth.MAX_STEP, growth.MAX_STEP)
    return scores


@pytest.mark.parametrize("outputs", [0, 1, 3, 9])
@given(seed=st.integers(0, 1000), weighted=st.booleans())
@settings(max_examples=5, deadline=None)
def test_trees_are_those_of_a_naive_forest(outputs: int, seed: int, weighted: bool) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 9, (150, 3)).astype(float)
    y = x[:, 0] - x[:, 1] + rng.normal(size=150)
    if outputs:
        y = np.digitize(y, np.linspace(-2.0, 2.0, outputs - 1) if outputs > 1 else [0.0]).astype(
            float
        )
    weight = rng.integers(1, 4, 150).astype(float) if weighted else np.ones(150)
    if outputs:  # first gradients are few numbers: equally good splits would be likely
        weight *= rng.uniform(0.9, 1.1, 150)
    samples, base = (*bin_columns(x), y, weight), np.zeros(max(outputs, 1))
    forest = grow_forest(*samples, base, SIZE, numeric=not outputs)
    expected = naive_forest(x, y, weight, outputs, SIZE.trees)
    if not outputs:
        numbers, nothing = np.empty((2, 150)), np.empty(0)
        lesson, leaf = (nothing, nothing, nothing), np.empty(3, np.int32)
        arrays: Any = x, 0, 0, nothing, *forest, *lesson, numbers, leaf
        predict_numbers(*arrays)
        assert_allclose(numbers, [expected[:, 0]] * 2, atol=2e-5)
        return
    expected = softmax(expected)
    classes = max(outputs, 2)
    answers, known = np.empty((150, classes)), np.full(150, classes, np.int32)
    scratch = np.empty(outputs), np.empty(classes)
    predict_labels(x, 0, 0, np.empty(0), *forest[:5], known, 0.1, answers, *scratch)
    assert_allclose(answers[:, -expected.shape[1] :], expected, atol=2e-5)
    assert answers.sum(axis=1) == pytest.approx(1.0)


def test_a_leaf_of_numbers_is_the_weighted_median() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=39)
    weight = rng.integers(1, 9, 39).astype(float)
    samples = *bin_columns(np.arange(39.0)[:, np.newaxis] % 2), y, weight
    # Too few samples for a split.
    forest = grow_forest(*samples, np.zeros(1), Size(1, 15, 0.2), numeric=True)
    repeated = np.sort(np.repeat(y, weight.astype(int)))
    median = repeated[(len(repeated) - 1) // 2]
    assert forest.value[0, 0, 0] == pytest.approx(0.2 * median, rel=1e-6)

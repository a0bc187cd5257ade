"""Numbers predicted by trees whose leaves are corrected, against a naive walk through the trees."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from streamnet.trees.binning import bin_columns
from streamnet.trees.forest import Forest, Size
from streamnet.trees.growth import grow_forest
from streamnet.trees.prediction import predict_numbers

SIZE = Size(trees=3, leaves=15, learning_rate=0.2)


def find_leaf(forest: Forest, tree: int, x: NDArray[np.float64]) -> int:
    node = 0
    while (column := forest.feature[tree, node]) >= 0:
        node = forest.left[tree, node] + int(x[column] > forest.threshold[tree, node])
    return int(node)


def test_each_number_corrects_its_leaves_by_a_share_of_a_bounded_error() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(200, 3))
    y = 2.0 * x[:, 0] + rng.normal(size=200)
    forest = grow_forest(*bin_columns(x), y, np.ones(200), np.zeros(1), SIZE, numeric=True)
    later, weight = np.where(np.arange(200) % 7 == 0, np.nan, y + 5.0), rng.uniform(0.0, 3.0, 200)
    weight[::2], spread = 1.0, np.full(200, 1.5)
    grown = forest.value[:, :, 0].astype(np.float64)
    corrected = grown.copy()
    expected = np.empty((2, 200))
    for i in range(200):
        own = [(tree, find_leaf(forest, tree, x[i])) for tree in range(SIZE.trees)]
        expected[:, i] = [sum(leaves[one] for one in own) for leaves in (grown, corrected)]
        error = np.clip(later[i] - expected[1, i], -spread[i], spread[i])
        for one in own if np.isfinite(error) else ():
            corrected[one] += error * (1.0 - 0.8 ** weight[i]) / SIZE.trees
    found, leaf = np.empty((2, 200)), np.empty(SIZE.trees, np.int32)
    arrays: Any = x, 0, 0, np.empty(0), *forest, later, weight, spread, found, leaf
    predict_numbers(*arrays)
    assert_allclose(found, expected, atol=1e-5)
    assert_allclose(forest.corrected, corrected, atol=1e-5)

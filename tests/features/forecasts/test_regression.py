"""Recursive least squares, beside the weights that solve the same problem at once."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from streamnet.features.forecasts.regression import (
    COUNT,
    LEVELS,
    learn_change,
    predict_change,
    update_levels,
)

VARIANCE, FORGETTING = 0.5, 0.99


def learn(features: np.ndarray, change: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights and covariance after all rows."""
    n = features.shape[1]
    weights, covariance, errors = np.zeros(n), VARIANCE * np.eye(n), np.array([1e9, 1.0])
    for row, truth in zip(features, change, strict=True):
        error = truth - predict_change(row, weights)
        learn_change(error, row, weights, covariance, errors, FORGETTING)
    return weights, covariance


def test_weights_are_those_of_discounted_least_squares() -> None:
    rng = np.random.default_rng(3)
    features = rng.normal(size=(300, 5))
    features[:, 3] = 0.0
    change = features @ [1.0, -2.0, 0.5, 0.0, 3.0] + rng.normal(scale=0.1, size=300)
    weights, _ = learn(features, change)
    discounts = FORGETTING ** np.arange(299, -1, -1)
    used = features[:, [0, 1, 2, 4]]
    prior = FORGETTING**300 / VARIANCE * np.eye(4)
    expected = np.linalg.solve((used.T * discounts) @ used + prior, (used.T * discounts) @ change)
    assert_allclose(weights[[0, 1, 2, 4]], expected, rtol=1e-6)
    assert weights[3] == 0.0


def test_the_covariance_stays_symmetric_and_bounded() -> None:
    rng = np.random.default_rng(4)
    features = rng.normal(scale=0.01, size=(5000, 6))
    features[:, 2] = 0.0
    _, covariance = learn(features, rng.normal(size=5000))
    assert_array_equal(covariance, covariance.T)
    assert np.linalg.eigvalsh(covariance).min() > 0.0
    assert covariance.diagonal().max() <= 1.0
    assert covariance[2, 2] <= VARIANCE


def test_levels_begin_as_means_and_forget() -> None:
    levels, targets = np.zeros(LEVELS + 1), np.arange(500.0)
    for count, y in enumerate(targets, 1):
        update_levels(levels, 4, 28, y)
        if count <= 28:
            assert_allclose(levels[1:LEVELS], targets[:count].mean())
    assert levels[COUNT] == 500.0
    assert_allclose(levels[0], 499.0 - 3.0)  # an exponential mean over 4 lags 3 behind a line

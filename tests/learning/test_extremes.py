"""Extreme input: no network becomes what nobody can use, and learning afterwards still works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from streamnet.online import OnlineClassifier, OnlineRegressor

Rows = list[dict[str, Any]]
HOSTILE = 3000
CLEAN = 1000


def numbers(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 4))


def rows_of(values: np.ndarray) -> Rows:
    return [{f"x{j}": float(x) for j, x in enumerate(row)} for row in values]


def huge(rng: np.random.Generator) -> np.ndarray:
    return rng.choice([1e38, -1e38, 1e300, -1.7e308, 1.0], (HOSTILE, 4))


def subnormal(rng: np.random.Generator) -> np.ndarray:
    return rng.choice([5e-324, -5e-324, 1e-310, 2e-308, 0.0], (HOSTILE, 4))


def constant(rng: np.random.Generator) -> np.ndarray:
    return np.full((HOSTILE, 4), 7.0) + 0.0 * rng.normal(size=(HOSTILE, 4))


def jumping(rng: np.random.Generator) -> np.ndarray:
    values = rng.normal(size=(HOSTILE, 4))
    values[HOSTILE // 2 :] *= 1e6
    return values


def alternating(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(HOSTILE, 4)) * 10.0 ** rng.integers(-300, 300, (HOSTILE, 1))


INPUTS = [huge, subnormal, constant, jumping, alternating]
Make = Callable[[np.random.Generator], np.ndarray]


def assert_sound(learner: OnlineClassifier | OnlineRegressor) -> None:
    """Every network that is not in quarantine has finite weights, and some answer."""
    population = learner._learner.trainer.population
    healthy = set(np.flatnonzero(population.healthy).tolist())
    assert healthy
    assert population.find_finite_slots() == healthy


@pytest.mark.parametrize("make", INPUTS)
def test_a_classifier_learns_again_after_extreme_inputs(make: Make) -> None:
    rng = np.random.default_rng(1)
    classifier = OnlineClassifier(seed=2)
    flipping = ["no" if i // 100 % 2 else "yes" for i in range(HOSTILE)]
    for start in range(0, HOSTILE, 500):
        part = slice(start, start + 500)
        classifier.partial_fit(rows_of(make(rng)[part]), flipping[part])
        assert_sound(classifier)
    values = numbers(CLEAN, 3)
    labels = ["yes" if a + b > 0 else "no" for a, b in values[:, :2]]
    losses = []
    for row, label in zip(rows_of(values), labels, strict=True):
        shares = classifier.predict_proba_one(row)
        losses.append(-np.log(max(shares.get(label, 0.0), 1e-4)))
        classifier.learn_one(row, label)
    assert_sound(classifier)
    assert np.isfinite(losses).all()
    assert np.mean(losses[-250:]) < 0.5 * np.mean(losses[:50])


@pytest.mark.parametrize("make", INPUTS)
def test_a_regressor_learns_again_after_extreme_inputs(make: Make) -> None:
    rng = np.random.default_rng(1)
    regressor = OnlineRegressor(seed=2)
    for start in range(0, HOSTILE, 500):
        part = slice(start, start + 500)
        values = make(rng)[part]
        regressor.partial_fit(rows_of(values), np.sign(values[:, 0]).tolist())
        assert_sound(regressor)
    values = numbers(CLEAN, 3)
    targets = values[:, 0] - 0.5 * values[:, 1]
    errors = []
    for row, target in zip(rows_of(values), targets.tolist(), strict=True):
        errors.append(abs(regressor.predict_one(row) - target))
        regressor.learn_one(row, target)
    assert_sound(regressor)
    assert np.isfinite(errors).all()
    assert np.mean(errors[-250:]) < 0.5 * np.mean(np.abs(targets - targets.mean()))


def test_targets_of_any_size_leave_every_network_sound() -> None:
    rng = np.random.default_rng(5)
    regressor = OnlineRegressor(seed=2)
    values = numbers(HOSTILE, 6)
    targets = rng.choice([1e38, -1e300, 1.7e308, 5e-324, 0.0, 3.0], HOSTILE)
    for start in range(0, HOSTILE, 500):
        part = slice(start, start + 500)
        regressor.partial_fit(rows_of(values[part]), targets[part].tolist())
        assert_sound(regressor)
    assert np.isfinite(regressor.predict_one({"x0": 1.0}))

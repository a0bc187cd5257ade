"""Intervals of regressors and sets of classifiers."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest

from streamnet.errors import ConfigurationError
from tests.online.estimators import classifier, label, number, regressor, samples


def test_bounds_hold_the_level_of_the_next_numbers() -> None:
    estimator, random = regressor(interval=0.8), np.random.default_rng(5)
    held = []
    for sample in samples(3000):
        truth = number(sample) + float(random.normal())
        lower, upper = estimator.predict_interval_one(sample)
        held.append(lower <= truth <= upper)
        estimator.learn_one(sample, truth)
    assert np.mean(held[1000:]) == pytest.approx(0.8, abs=0.02)
    assert estimator.served["coverage"] == pytest.approx(np.mean(held), abs=0.01)
    assert 0.0 < estimator.served["mean_width"] < estimator.served["interval_score"]
    bounds = estimator.predict_interval(samples(50, seed=9))
    assert bounds.shape == (50, 2)
    assert (bounds[:, 0] < bounds[:, 1]).all()


def test_sets_hold_the_level_of_the_next_labels() -> None:
    estimator, random = classifier(interval=0.9), np.random.default_rng(5)
    held, sizes = [], []
    for sample in samples(3000):
        truth = label(sample) if random.random() < 0.7 else "noise"
        found = estimator.predict_set_one(sample)
        held.append(truth in found)
        sizes.append(len(found))
        estimator.learn_one(sample, truth)
    assert np.mean(held[1000:]) == pytest.approx(0.9, abs=0.02)
    assert 1.0 < np.mean(sizes[1000:]) < 3.0
    assert estimator.served["coverage"] == pytest.approx(np.mean(held), abs=0.01)
    assert estimator.served["mean_set_size"] == pytest.approx(np.mean(sizes), rel=0.02)
    assert set().union(*estimator.predict_set(samples(50, seed=9))) <= {"yes", "no", "noise"}


def test_a_set_has_the_users_own_labels() -> None:
    estimator = classifier(interval=0.9)
    for i in range(300):
        estimator.learn_one({"x": i % 2}, i % 2 == 1)
    found = set().union(*estimator.predict_set([{"x": 0}, {"x": 1}]), estimator.predict_set_one({}))
    assert found <= {False, True}
    assert all(type(one) is bool for one in found)


@pytest.mark.parametrize(
    ("make", "target", "one", "many"),
    [
        (regressor, number, "predict_interval_one", "predict_interval"),
        (classifier, label, "predict_set_one", "predict_set"),
    ],
)
def test_one_by_one_and_in_blocks_copied_or_not_the_intervals_are_the_same(
    make: Any, target: Any, one: str, many: str
) -> None:
    rows = samples(400)
    targets = [target(row) for row in rows]
    single, block = make(interval=0.9), make(interval=0.9)
    for row, truth in zip(rows, targets, strict=True):
        single.learn_one(row, truth)
    block.partial_fit(rows[:150], targets[:150])
    block = deepcopy(block).partial_fit(rows[150:], targets[150:])
    for row in samples(20, seed=2):
        assert getattr(single, one)(row) == getattr(block, one)(row)
    found, expected = (getattr(estimator, many)(rows) for estimator in (single, block))
    assert np.array_equal(found, expected)
    model = getattr(single.model(), many)(rows)
    if make is regressor:
        assert model == pytest.approx(expected)
    else:
        assert model == expected


def test_before_the_first_error_is_known_there_are_no_bounds_and_no_labels() -> None:
    assert np.isnan(regressor(interval=0.9).predict_interval_one({"x": 1.0})).all()
    assert np.isnan(regressor(interval=0.9).predict_interval([{"x": 1.0}])).all()
    assert classifier(interval=0.9).predict_set_one({"x": 1.0}) == set()
    assert classifier(interval=0.9).predict_set([{"x": 1.0}]) == [set()]


def test_without_a_level_there_are_none() -> None:
    with pytest.raises(ConfigurationError, match="interval is not given"):
        regressor().predict_interval_one({"x": 1.0})
    with pytest.raises(ConfigurationError, match="interval is not given"):
        classifier().predict_set([{"x": 1.0}])

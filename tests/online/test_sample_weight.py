"""sample_weight of the estimators, with the meaning that scikit-learn gives it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import metrics
from sklearn.utils.validation import has_fit_parameter

from streamnet import CandidateSettings, OnlineClassifier, OnlineRegressor
from streamnet.errors import ConfigurationError
from tests.learning.streams import differences

SMALL: dict[str, Any] = {"candidates": [CandidateSettings(hidden=(6,)), CandidateSettings()]}
N = 300
X = np.random.default_rng(4).normal(size=(N, 3))
LABELS = np.where(X[:, 0] + 0.3 * X[:, 1] > 0, "up", "down")
NUMBERS = 3.0 * X[:, 0] - X[:, 2]
WEIGHT = np.random.default_rng(5).choice([0.0, 0.5, 1.0, 4.0], N)
BOTH = [(OnlineClassifier, LABELS), (OnlineRegressor, NUMBERS)]


@pytest.mark.parametrize(("kind", "y"), BOTH)
def test_one_by_one_and_together_give_the_same_bits(kind: Any, y: Any) -> None:
    single, together = kind(**SMALL), kind(**SMALL)
    for row, target, weight in zip(X, y, WEIGHT, strict=True):
        sample = {f"f{i}": float(value) for i, value in enumerate(row)}
        single.learn_one(sample, target, weight)
    together.partial_fit(X, y, sample_weight=WEIGHT)
    assert single.served == together.served
    assert single.predict(X).tolist() == together.predict(X).tolist()


@pytest.mark.parametrize(("kind", "y"), BOTH)
def test_fit_shuffles_weights_with_their_samples(kind: Any, y: Any) -> None:
    kept = WEIGHT > 0
    estimator = kind(**SMALL).fit(X, y, sample_weight=np.where(kept, 1.0, 0.0))
    assert estimator._learner.serving.scored == kept.sum()
    assert has_fit_parameter(estimator, "sample_weight")
    ones, plain = (kind(**SMALL).fit(X, y, *more) for more in ([np.ones(N)], []))
    assert ones.predict(X).tolist() == plain.predict(X).tolist()


@pytest.mark.parametrize(("kind", "y"), BOTH)
def test_the_score_is_weighted(kind: Any, y: Any) -> None:
    estimator = kind(**SMALL).fit(X, y)
    measure = metrics.accuracy_score if kind is OnlineClassifier else metrics.r2_score
    wanted = measure(y, estimator.predict(X), sample_weight=WEIGHT)
    assert estimator.score(X, y, sample_weight=WEIGHT) == pytest.approx(wanted)
    assert estimator.score(X, y) == pytest.approx(measure(y, estimator.predict(X)))


@pytest.mark.parametrize(("kind", "y"), BOTH)
def test_weights_survive_copies_to_the_bit(kind: Any, y: Any) -> None:
    whole, half = kind(**SMALL), kind(**SMALL)
    whole.partial_fit(X, y, sample_weight=WEIGHT)
    half.partial_fit(X[:150], y[:150], sample_weight=WEIGHT[:150])
    copy = kind(**SMALL)
    copy.restore_state(half.export_state())
    copy.partial_fit(X[150:], y[150:], sample_weight=WEIGHT[150:])
    assert not differences(copy.export_state(), whole.export_state())


@pytest.mark.parametrize(("kind", "y"), BOTH)
def test_invalid_weights_are_refused_before_anything_is_learned(kind: Any, y: Any) -> None:
    estimator = kind(**SMALL)
    with pytest.raises(ConfigurationError, match=r"sample_weight\[2\] is -1, but must be from 0"):
        estimator.partial_fit(X[:3], y[:3], sample_weight=[1, 1, -1])
    with pytest.raises(ConfigurationError, match=r"sample_weight\[0\] is inf"):
        estimator.learn_one({"f0": 1.0}, y[0], float("inf"))
    with pytest.raises(ConfigurationError, match="has shape"):
        estimator.fit(X, y, sample_weight=[1.0])
    assert not estimator._has_learned()

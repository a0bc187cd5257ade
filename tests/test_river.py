"""The estimators pass River's own checks and run in its tools."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any
from unittest.mock import patch

import pytest
from river import (
    anomaly,
    checks,
    compose,
    datasets,
    drift,
    ensemble,
    evaluate,
    metrics,
    model_selection,
    preprocessing,
    utils,
)

from streamnet.errors import ConfigurationError
from streamnet.online import OnlineClassifier
from streamnet.river import AnomalyDetector, Classifier, Regressor
from streamnet.settings.candidate import CandidateSettings

ONE = (CandidateSettings(hidden=(8,), learning_rate=0.02),)
MAKERS: list[Callable[[], Any]] = [
    lambda: Classifier(ONE),
    lambda: Regressor(ONE),
    lambda: AnomalyDetector(4),
]
PHISHING = list(datasets.Phishing().take(600))


class Payments:
    """In place of River's data set of credit cards, which would be downloaded."""

    def take(self, count: int) -> Iterator[tuple[dict[str, float], bool]]:
        draw = random.Random(1)
        for number in range(count):
            fraud = number % 50 == 49
            amount = draw.random()
            pair = {"amount": amount, "fee": (1.0 - amount if fraud else amount) / 10}
            yield {"V1": draw.random(), **pair, "V2": draw.random()}, fraud


with patch.object(datasets, "CreditCard", Payments):
    CHECKS = [
        pytest.param(make, check, id=f"{type(make()).__name__}-{check.__name__}-{number}")
        for make in MAKERS
        for number, check in enumerate(checks.yield_checks(make()))
    ]


@pytest.mark.parametrize(("make", "check"), CHECKS)
def test_an_estimator_passes_a_check_of_river(make: Callable[[], Any], check: Any) -> None:
    check(make())


def test_they_are_scored_as_a_loop_scores_the_estimator_itself() -> None:
    rows = [({name: x[name] for name in sorted(x)}, y) for x, y in PHISHING]
    mine, right = OnlineClassifier(ONE, seed=3), 0
    for x, y in rows:
        right += mine.predict_one(x) == y
        mine.learn_one(x, y)
    found = evaluate.progressive_val_score(PHISHING, Classifier(ONE, seed=3), metrics.Accuracy())
    assert found.get() == right / (len(rows) - 1)  # River skips the first, which has no answer


def test_labels_may_be_late() -> None:
    found = evaluate.progressive_val_score(PHISHING, Classifier(ONE), metrics.Accuracy(), delay=30)
    assert found.get() > 0.8


def test_pipelines_selection_and_ensembles_take_them() -> None:
    steps = compose.Select(*PHISHING[0][0]) | preprocessing.StandardScaler() | Classifier(ONE)
    tuned = model_selection.GreedyRegressor([Regressor(ONE), Regressor(ONE, seed=1)])
    voting = ensemble.VotingClassifier([Classifier(ONE), Classifier(ONE, seed=1)])
    bagged = ensemble.BaggingClassifier(Classifier(ONE), n_models=2, seed=1)
    for model in (steps, voting, bagged):
        found = evaluate.progressive_val_score(PHISHING[:300], model, metrics.Accuracy())
        assert found.get() > 0.7
    trump = list(islice(datasets.TrumpApproval(), 300))
    assert evaluate.progressive_val_score(trump, tuned, metrics.MAE()).get() < 3.0
    grid = utils.expand_param_grid(Classifier(ONE), {"seed": [1, 2], "serve": ["champion"]})
    assert [(one.seed, one.settings) for one in grid] == [
        (s, {"serve": "champion"}) for s in (1, 2)
    ]


def test_drift_retraining_replaces_them_where_the_rule_changes() -> None:
    model = drift.DriftRetrainingClassifier(Classifier(ONE), drift.binary.DDM())
    draw, first = random.Random(3), model.model
    right = []
    for number in range(1600):
        x = {"a": draw.random(), "b": draw.random()}
        y = (x["a"] > 0.5) == (number < 800)
        right.append(model.predict_one(x) == y)
        model.learn_one(x, y)
    assert model.model is not first
    assert sum(right[-300:]) > 240


def test_anomalies_are_filtered() -> None:
    detector = anomaly.ThresholdFilter(AnomalyDetector(2, seed=1), threshold=4.0)
    draw = random.Random(1)
    for _ in range(400):
        a = draw.random()
        detector.learn_one({"a": a, "b": 2 * a})
    assert detector.classify(detector.score_one({"a": 0.5, "b": -9.0}))
    assert not detector.classify(detector.score_one({"a": 0.5, "b": 1.0}))


def test_names_of_features_may_be_numbers_in_any_order() -> None:
    one, other = Classifier(ONE), Classifier(ONE)
    numbered: dict[int, Any] = {}
    for x, y in PHISHING[:100]:
        numbered = dict(enumerate(x.values()))
        one.learn_one(numbered, y)
        other.learn_one(dict(reversed(numbered.items())), y)
    assert one.predict_proba_one(numbered) == other.predict_proba_one(numbered)


def test_settings_are_those_of_the_estimator() -> None:
    with pytest.raises(ConfigurationError, match="sed is not a known setting of OnlineClassifier"):
        Classifier(sed=1)
    model = Classifier(ONE, serve="champion")
    for x, y in PHISHING[:50]:
        model.learn_one(x, y)
    again = copy.deepcopy(model)
    assert again.predict_proba_one(x) == model.predict_proba_one(x)
    assert model.clone().predict_proba_one(x) == {}
    assert model.clone().settings == {"serve": "champion"}

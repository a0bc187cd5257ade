"""Estimators with guests: copied, pickled, cloned, shown."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from river import datasets, naive_bayes, tree
from sklearn.base import clone

from streamnet.errors import ConfigurationError
from streamnet.guests import Guest
from streamnet.online import KeyedRegressor, OnlineClassifier, OnlineRegressor
from streamnet.settings.candidate import CandidateSettings
from tests.guests.simple_models import Means

ONE = (CandidateSettings(hidden=(8,)),)
PHISHING = list(datasets.Phishing().take(400))
X, Y = [list(column) for column in zip(*PHISHING, strict=True)]


def classifier(**settings: Any) -> OnlineClassifier:
    guests = {
        "tree": tree.HoeffdingTreeClassifier(grace_period=50),
        "bayes": Guest(naive_bayes.GaussianNB(), serializer=pickle),
    }
    return OnlineClassifier(ONE, guests=guests, **settings)


def test_learning_one_by_one_and_in_blocks_is_the_same() -> None:
    single, block = classifier(seed=1), classifier(seed=1)
    for x, y in PHISHING[:300]:
        single.predict_one(x)
        single.learn_one(x, y)
    block.partial_fit(X[:300], Y[:300])
    assert single.served == block.served
    assert single.predict_proba_one(X[300]) == block.predict_proba_one(X[300])
    assert list(single.guests_) == ["tree", "bayes"]
    assert single.guests_["tree"].predict_one(X[300]) == block.guests_["tree"].predict_one(X[300])


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))]
)
def test_copies_go_on_alike_and_apart(copied: Any) -> None:
    original = classifier().partial_fit(X[:200], Y[:200])
    twin = copied(original)
    before = twin.predict_proba_one(X[0])
    original.partial_fit(X[200:300], Y[200:300])
    assert twin.predict_proba_one(X[0]) == before
    twin.partial_fit(X[200:300], Y[200:300])
    assert twin.served == original.served
    assert twin.predict_proba_one(X[0]) == original.predict_proba_one(X[0])


def test_given_models_stay_as_they_were_and_are_parameters() -> None:
    first = classifier()
    first.fit(X[:100], Y[:100])
    second = clone(first)
    assert second.get_params()["guests"].keys() == {"tree", "bayes"}
    given = first.get_params()["guests"]["tree"]
    assert given.predict_one(X[0]) is None
    assert second.fit(X[:100], Y[:100]).served == first.served
    assert first.fit(X[:100], Y[:100]).served == second.served
    rows = {row["settings"]: row for row in first.leader_board.to_dicts()}
    assert 0.5 < rows["guest tree (HoeffdingTreeClassifier)"]["accuracy"] < 1.0
    assert sum(row["weight"] for row in rows.values()) == pytest.approx(1.0)
    assert OnlineClassifier(ONE).fit(X[:50], Y[:50]).guests_ == {}


def test_an_error_names_the_guest() -> None:
    regressor = OnlineRegressor(ONE, guests={"tree": tree.HoeffdingTreeClassifier()})
    with pytest.raises(ConfigurationError, match=r"guests\['tree'\] is a model for classification"):
        regressor.learn_one({"x": 1.0}, 2.0)


def test_keys_correct_what_guests_take_part_in() -> None:
    regressor = KeyedRegressor(ONE, key="w", guests={"means": Means()})
    for i in range(300):
        regressor.learn_one({"w": "ab"[i % 2], "x": i % 7}, 10.0 * (i % 2))
    assert regressor.guests_["means"].counts == {"a": [0.0, 150.0], "b": [1500.0, 150.0]}
    assert abs(regressor.predict_one({"w": "b", "x": 3}) - 10.0) < 1.0

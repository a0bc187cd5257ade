"""Estimators with a model for every key."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamnet import (
    CandidateSettings,
    KeyedClassifier,
    KeyedRegressor,
    OnlineClassifier,
    OnlineRegressor,
)
from streamnet.errors import ConfigurationError, DataError
from streamnet.modelfiles import Model

SMALL = [CandidateSettings(hidden=(8,), optimizer="adagrad", learning_rate=0.1)]
KINDS = [KeyedRegressor, KeyedClassifier]


def made_up(kind: type, n: int = 1500, *, keys: int = 12) -> tuple[list[dict[str, Any]], list[Any]]:
    """Samples of devices in which the same load means something else, some without a target."""
    rng = np.random.default_rng(2)
    X, y = [], []
    for i in range(n):
        device = int(rng.integers(keys))
        load = float(rng.normal())
        x = {"device": f"d{device}", "load": load, "mode": "ab"[i % 2]}
        number = 20.0 * device + (device - 5) * load
        target: Any = number if kind is KeyedRegressor else ("up", "down")[number < 20.0 * device]
        X.append(x)
        y.append(None if i % 50 == 49 else target)
    return X, y


def build(kind: Any, **settings: Any) -> Any:
    return kind(SMALL, key="device", seed=1, **settings)


def score(estimator: Any, X: list[Any], y: list[Any]) -> Iterator[tuple[Any, Any]]:
    for x, target in zip(X, y, strict=True):
        yield estimator.predict_one(x), target
        estimator.learn_one(x, target)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("late", [{}, {"delay": 40, "season": 5}])
def test_blocks_single_samples_and_few_resident_keys_give_the_same_bits(
    kind: Any, late: dict[str, Any]
) -> None:
    n = 350 if late else 700
    X, y = made_up(kind, n)
    whole, single, few = (
        build(kind, **late),
        build(kind, **late),
        build(kind, resident_keys=3, **late),
    )
    whole.partial_fit(X, y)
    for x, target in zip(X, y, strict=True):
        single.learn_one(x, target)
    for start in range(0, n, 33):
        few.partial_fit(X[start : start + 33], y[start : start + 33])
    expected = whole.served
    assert single.served == expected
    assert few.served == expected
    assert single.list_keys() == few.list_keys() == whole.list_keys()
    for key in whole.list_keys():
        assert single.key_scores(key) == few.key_scores(key) == whole.key_scores(key)
    predicted = whole.predict(X[:50]).tolist()
    assert single.predict(X[:50]).tolist() == few.predict(X[:50]).tolist() == predicted


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("delay", [0, 60])
def test_copies_and_pickles_continue_with_the_same_bits(kind: Any, delay: int) -> None:
    X, y = made_up(kind, 600)
    estimator = build(kind, resident_keys=5, delay=delay)
    estimator.partial_fit(X[:300], y[:300])
    others = [copy.deepcopy(estimator), pickle.loads(pickle.dumps(estimator))]
    for one in (estimator, *others):
        one.partial_fit(X[300:], y[300:])
    for other in others:
        assert other.served == estimator.served
        assert other.worst_keys(3) == estimator.worst_keys(3)


@pytest.mark.parametrize(("delay", "ratio"), [(0, 0.5), (60, 0.6)])
def test_each_key_is_predicted_better_than_by_one_model_for_all(delay: int, ratio: float) -> None:
    X, y = made_up(KeyedRegressor, 3000)
    keyed, one = build(KeyedRegressor, delay=delay), OnlineRegressor(SMALL, seed=1, delay=delay)
    keyed.partial_fit(X, y)
    one.partial_fit(X, y)
    assert keyed.served["mae"] < ratio * one.served["mae"]


def test_each_key_is_classified_better_than_by_one_model_for_all() -> None:
    X, y = made_up(KeyedClassifier, 3000)
    keyed, one = build(KeyedClassifier), OnlineClassifier(SMALL, seed=1)
    keyed.partial_fit(X, y)
    one.partial_fit(X, y)
    assert keyed.served["log_loss"] < 0.8 * one.served["log_loss"]
    assert keyed.served["accuracy"] > one.served["accuracy"]


def test_late_labels_teach_a_key_what_was_known_when_its_sample_was_predicted() -> None:
    X, y = made_up(KeyedRegressor, 400)
    delay = 60
    estimator = build(KeyedRegressor, delay=delay)
    errors = [abs(p - t) for p, t in score(estimator, X, y) if t is not None]
    known = [(x["device"], t) for x, t in zip(X[: 1 - delay], y, strict=False) if t is not None]
    assert np.mean(errors[: len(known)]) == pytest.approx(estimator.served["mae"], rel=1e-3)
    scores = {key: estimator.key_scores(key) for key in estimator.list_keys()}
    for device in {device for device, _ in known}:
        assert scores[device].samples == sum(d == device for d, _ in known)
    assert sum(s.samples * s.loss for s in scores.values()) == pytest.approx(
        len(known) * estimator.served["mae"]
    )


def test_labels_of_a_forgotten_key_do_not_bring_it_back() -> None:
    X, y = made_up(KeyedRegressor, 600)
    estimator = build(KeyedRegressor, delay=100)
    estimator.partial_fit(X[:400], y[:400])
    estimator.forget_key("d3")
    others = [(x, t) for x, t in zip(X[400:], y[400:], strict=True) if x["device"] != "d3"]
    estimator.partial_fit(*map(list, zip(*others, strict=True)))
    assert "d3" not in estimator.list_keys()
    again = copy.deepcopy(estimator)
    for one in (estimator, again):
        one.learn_one({**X[0], "device": "d3"}, 1.0)
        one.partial_fit(X[:120], y[:120])
    assert estimator.served == again.served
    assert estimator.key_scores("d3") == again.key_scores("d3")


def test_what_is_predicted_first_is_what_is_scored() -> None:
    X, y = made_up(KeyedRegressor, 800)
    estimator = build(KeyedRegressor)
    errors = [abs(p - t) for p, t in score(estimator, X, y) if t is not None]
    assert np.mean(errors) == pytest.approx(estimator.served["mae"], rel=0.05)
    scores = [estimator.key_scores(key) for key in estimator.list_keys()]
    samples = np.array([s.samples for s in scores])
    assert samples.sum() == len(errors)
    losses = np.array([s.loss for s in scores])
    assert samples @ losses / len(errors) == pytest.approx(estimator.served["mae"])


def test_a_new_key_starts_as_the_shared_model_and_one_without_key_stays_there() -> None:
    X, y = made_up(KeyedRegressor, 2000)
    estimator = build(KeyedRegressor)
    estimator.partial_fit(X, y)
    new, none = {**X[0], "device": "new"}, {"load": X[0]["load"], "mode": X[0]["mode"]}
    before = estimator.predict_one(new)
    assert before == estimator.predict_one({**new, "device": "another"})
    assert np.isfinite(estimator.predict_one(none))
    for _ in range(30):
        estimator.learn_one(new, -500.0)
    assert estimator.predict_one(new) == pytest.approx(-500.0, abs=60.0)
    assert estimator.key_scores("new").experts["shared"] < 0.1
    known = estimator.list_keys()
    estimator.learn_one(none, 10.0)
    assert estimator.list_keys() == known


def test_keys_are_texts_and_those_of_several_columns_are_joined() -> None:
    estimator = KeyedRegressor(SMALL, key=["store", "shelf"], seed=1)
    for i in range(40):
        estimator.learn_one({"store": "a|b" if i % 2 else 7, "shelf": i % 4, "x": i}, float(i))
    assert estimator.list_keys() == ["7|0", "7|2", "a\\|b|1", "a\\|b|3"]
    assert estimator.key_scores(["a|b", "1"]) == estimator.key_scores("a\\|b|1")
    assert estimator.key_scores(("7", "0")).samples == 10


@pytest.mark.parametrize("resident", [2, 100])
def test_a_forgotten_key_is_new_when_it_comes_again(resident: int) -> None:
    X, y = made_up(KeyedRegressor, 600)
    estimator = build(KeyedRegressor, resident_keys=resident)
    estimator.partial_fit(X, y)
    estimator.forget_key("d3")
    assert "d3" not in estimator.list_keys()
    assert len(estimator.list_keys()) == 11
    with pytest.raises(DataError, match="there is no key 'd3'; some are 'd"):
        estimator.key_scores("d3")
    with pytest.raises(DataError, match="there is no key 'd3'"):
        estimator.forget_key("d3")
    estimator.learn_one({**X[0], "device": "d3"}, 1.0)
    assert estimator.key_scores("d3").samples == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_the_model_of_a_key_predicts_without_the_others(
    kind: Any, suffix: str, tmp_path: Path
) -> None:
    # So many that forecasts from the targets alone, which no model has, weigh next to nothing.
    X, y = made_up(kind, 1500)
    estimator = build(kind, season=5, interval=0.9)
    estimator.partial_fit(X, y)
    X = [x for x in X if x["device"] == "d3"]
    path = tmp_path / f"d3{suffix}"
    estimator.key_model("d3").save(path)
    model = Model.load(path)
    assert (model.key, model.key_columns, model.about["key"]) == ("d3", ("device",), "d3")
    key = model.document()["key"]
    assert key["models"]["rows"]["keys"] == key["history"]["rows"]["keys"] == ["d3"]
    if kind is KeyedRegressor:
        assert model.predict(X) == pytest.approx(estimator.predict(X), abs=1e-4)
        assert model.predict_interval(X) == pytest.approx(estimator.predict_interval(X), abs=1e-4)
        shared = estimator.model().predict(X)
        assert np.abs(shared - model.predict(X)).mean() > 1.0
    else:
        assert model.predict_proba(X) == pytest.approx(estimator.predict_proba(X), abs=0.01)
        assert model.predict(X).tolist() == estimator.predict(X).tolist()
    with pytest.raises(ConfigurationError, match="start is the model of key 'd3'"):
        (OnlineRegressor if kind is KeyedRegressor else OnlineClassifier)(start=model).predict_one(
            {}
        )
    with pytest.raises(DataError, match="there is no key 'd99'"):
        estimator.key_model("d99")


def test_targets_of_a_season_ago_are_those_of_the_key() -> None:
    rng = np.random.default_rng(3)
    patterns = rng.normal(scale=20.0, size=(30, 12))
    turn, X, y = [0] * 30, [], []
    for _ in range(6000):
        k = int(rng.integers(30))
        X.append({"k": k})
        y.append(patterns[k, turn[k] % 12] + float(rng.normal()))
        turn[k] += 1
    plain, seasonal = (KeyedRegressor(SMALL, key="k", season=season) for season in (None, 12))
    plain.partial_fit(X, y)
    seasonal.partial_fit(X, y)
    assert seasonal.served["mae"] < 0.7 * plain.served["mae"]


def test_a_heavier_sample_counts_more() -> None:
    X = [{"k": "a", "x": i % 5} for i in range(800)]
    y = np.random.default_rng(6).choice([-10.0, -10.0, -10.0, 10.0], 800).tolist()
    weights = [9.0 if target > 0.0 else 1.0 for target in y]
    light, heavy = (KeyedRegressor(SMALL, key="k") for _ in range(2))
    light.partial_fit(X, y)
    heavy.partial_fit(X, y, sample_weight=weights)
    assert heavy.predict(X[:5]).mean() > light.predict(X[:5]).mean() + 3.0


def test_intervals_hold_as_many_truths_as_they_say() -> None:
    X, y = made_up(KeyedRegressor, 3000)
    rng = np.random.default_rng(5)
    noisy = [None if t is None else t + float(rng.normal()) for t in y]
    estimator = build(KeyedRegressor, interval=0.8)
    held = []
    for start in range(0, 3000, 50):
        part = slice(start, start + 50)
        bounds = estimator.predict_interval(X[part])
        for (low, high), truth in zip(bounds.tolist(), noisy[part], strict=True):
            if truth is not None and start > 500:
                held.append(low <= truth <= high)
        estimator.partial_fit(X[part], noisy[part])
    assert 0.72 < np.mean(held) < 0.9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "key is not given, but must name columns"),
        ({"key": ()}, "key is not given"),
        ({"key": ("a", "a")}, "key has 'a' twice"),
        ({"key": "a", "resident_keys": 0}, "resident_keys is 0, but must be >= 1"),
        ({"key": "a", "horizon": 5}, "horizon is given, but cannot be combined with a key"),
        ({"key": "a", "serve": "champion"}, "serve is 'champion', but must be 'ensemble'"),
        ({"key": "a", "season": 0}, "season is 0, but must be >= 2 with a key"),
        ({"key": "a", "kye": "b"}, "kye is not a known setting of KeyedRegressor; did you mean"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        KeyedRegressor(**settings).predict_one({"x": 1})


def test_an_estimator_without_keys_has_no_key_setting() -> None:
    with pytest.raises(ConfigurationError, match="key is not a known setting of OnlineRegressor"):
        OnlineRegressor(key="device")

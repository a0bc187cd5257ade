"""The estimators: as one sample or as many, what they answer, keep, and refuse."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import StandardScaler

from streamnet.engine import Engine
from streamnet.errors import ConfigurationError, DataError, NoCandidateError, NotReadyError
from streamnet.modelfiles import Model
from streamnet.networks.neural_network import NeuralNetwork
from streamnet.online import AutoEncoder, OnlineClassifier, OnlineRegressor
from streamnet.pipeline import Pipeline
from streamnet.samples import Kind
from streamnet.settings.candidate import CandidateSettings
from streamnet.sources import IterableSource
from tests.online.estimators import (
    FEW,
    KINDS,
    Estimator,
    classifier,
    flat,
    label,
    regressor,
    samples,
    taught,
)

# -------------------------------------------------------------- scikit-learn's way


def test_it_works_like_a_scikit_learn_estimator_and_learns_as_well() -> None:
    random = np.random.default_rng(1)
    X = random.normal(size=(3000, 6)) * [1, 10, 0.1, 5, 1, 1] + 3
    y = (X[:, 0] + X[:, 1] / 10 - X[:, 3] / 5 > 3).astype(int)
    ours = OnlineClassifier(FEW, seed=0)
    theirs, scaler = SGDClassifier(loss="log_loss", random_state=0), StandardScaler()
    for start in range(0, 2000, 250):
        part = slice(start, start + 250)
        assert ours.partial_fit(X[part], y[part]) is ours
        scaler.partial_fit(X[part])
        theirs.partial_fit(scaler.transform(X[part]), y[part], classes=[0, 1])
    guesses = ours.predict(X[2000:])
    assert guesses.shape == (1000,)
    assert guesses.dtype.kind == "i"
    score = accuracy_score(y[2000:], guesses)
    assert score > accuracy_score(y[2000:], theirs.predict(scaler.transform(X[2000:]))) - 0.02
    shares = ours.predict_proba(X[2000:])
    assert np.allclose(shares.sum(axis=1), 1.0, atol=1e-5)
    assert (np.array(ours.classes_)[shares.argmax(axis=1)] == guesses).all()


def test_more_samples_than_a_block_are_predicted_like_each_alone() -> None:
    estimator, rows = taught(), samples(3000, seed=9)
    assert estimator.predict(rows).tolist() == [estimator.predict([row])[0] for row in rows]


@pytest.mark.parametrize(("make", "target"), KINDS)
def test_a_single_sample_is_predicted_as_the_next_one_and_many_as_from_anywhere(
    make: Callable[[], Estimator], target: Callable[[dict[str, Any]], Any]
) -> None:
    estimator, rows = make(), samples(400)
    for row in rows[:-1]:
        estimator.learn_one(row, target(row))
    learner, row = estimator._learner, rows[-1]
    block = estimator._queries.read((row,))
    alone, full = (learner.predict(block, without_lags=way)[0] for way in (True, False))
    assert np.array_equal(estimator._predict_many([row])[0], alone)
    assert estimator._predict_next(row) == full.tolist()
    served = learner.learn(estimator._reader.read((row,), (target(row),)))
    # Moments include the sample itself where it is learned, so the inputs differ a little.
    assert served.answers[0, ...].tolist() == pytest.approx(full.tolist(), rel=0.05, abs=0.05)


def test_only_the_next_sample_is_predicted_from_the_last_labels() -> None:
    # Nothing but the label before tells the next one.
    estimator = OnlineClassifier([FEW[0], replace(FEW[0], lags=True)], seed=3)
    right = 0
    for i in range(600):
        right += estimator.predict_one({"x": 0.0}) == "abc"[i % 3]
        estimator.learn_one({"x": 0.0}, "abc"[i % 3])
    assert right > 500
    assert len(set(estimator.predict([{"x": 0.0}] * 30).tolist())) == 1
    assert max(estimator.predict_proba([{"x": 0.0}])[0]) < 0.6


def test_a_wide_matrix_is_learned_if_the_limit_allows_it() -> None:
    X, y = np.random.default_rng(1).random((30, 5000)), np.arange(30) % 2
    with pytest.raises(DataError, match=r"there may be 4096 \(most_fields\)"):
        OnlineClassifier(FEW).partial_fit(X, y)
    estimator = OnlineClassifier(FEW, most_fields=5000).partial_fit(X, y)
    assert estimator.predict(X).shape == (30,)
    assert len(estimator.model().fields) == 5000
    refused: tuple[Any, ...] = (0, 2.5, "many")
    for wrong in refused:
        with pytest.raises(ConfigurationError, match="most_fields"):
            OnlineRegressor(FEW, most_fields=wrong).predict_one({"x": 1})


# ------------------------------------------------------------ before, new, absent


def test_before_the_first_sample_there_is_no_prediction() -> None:
    names, values = classifier(), regressor()
    assert names.predict_one({"x": 1}) is None
    assert names.predict_proba_one({"x": 1}) == {}
    assert values.predict_one({"x": 1}) == 0.0
    for ask in (names.predict, names.predict_proba, values.predict):
        with pytest.raises(NotReadyError, match="instance is not fitted yet"):
            ask([{"x": 1}, {"x": 2}])
    assert names.champion is None
    with pytest.raises(NoCandidateError):
        names.model()


def test_no_samples_give_no_predictions() -> None:
    estimator = taught()
    assert estimator.predict([]).shape == (0,)
    assert estimator.predict_proba([]).shape == (0, 2)
    assert estimator.partial_fit([], []) is estimator


def test_features_may_appear_later_and_count_from_then_on() -> None:
    estimator = classifier()
    bits = np.random.default_rng(1).integers(0, 2, 600).tolist()  # nothing else tells the label
    for i, bit in enumerate(bits[:300]):
        estimator.learn_one({"noise": i % 7}, "ab"[bit])
    for i, bit in enumerate(bits[300:]):
        estimator.learn_one({"noise": i % 7, "clue": "x" if bit else "y"}, "ab"[bit])
    assert estimator.predict_one({"noise": 3, "clue": "x"}) == "b"
    assert estimator.predict_one({"noise": 3, "clue": "y"}) == "a"


def test_absent_and_missing_are_the_same() -> None:
    estimator, row = taught(), samples(1)[0]
    gap = {**row, "gap": None}
    without = {name: value for name, value in row.items() if name != "gap"}
    nan = {**row, "gap": float("nan")}
    answers = [estimator.predict_proba_one(sample) for sample in (gap, without, nan)]
    assert answers[0] == answers[1] == answers[2]
    assert estimator.predict_one({}) in ("yes", "no")


def test_a_feature_may_have_any_name() -> None:
    estimator = classifier()
    for i in range(200):
        estimator.learn_one({"target": i % 2, "y": 0, "": 1}, i % 2)
    assert estimator.predict_one({"target": 1, "y": 0, "": 1}) == 1
    assert estimator.predict_one({"target": 0, "y": 0, "": 1}) == 0


def test_the_kind_of_a_feature_can_be_given() -> None:
    estimator = OnlineClassifier(FEW, kinds={"code": Kind.CATEGORY})
    estimator.learn_one({"code": 17, "x": 1}, "a")
    estimator.learn_one({"code": "B2", "x": 2}, "b")
    assert estimator.model().fields == (("code", Kind.CATEGORY), ("x", Kind.NUMBER))


# ----------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ({"x": "many"}, "yes", "column 'x' has 'many', which is not a number"),
        ({"x": float("inf")}, "yes", "column 'x' has 'inf'"),
        ({"x": 1.0, "strange": object()}, "yes", "column 'strange' has"),
        ({"x": 1.0}, ["yes"], "y has"),
        ({"x": 1.0, 5: 2.0}, "yes", "the name 5 is not text"),
        ([1.0], "yes", "the sample is not a mapping"),
    ],
)
def test_a_wrong_value_is_reported_and_changes_nothing(x: Any, y: Any, message: str) -> None:
    wrong, right = taught(), taught()
    with pytest.raises(DataError) as caught:
        wrong.learn_one(x, y)
    assert message in str(caught.value)
    for row in samples(50, seed=2):
        wrong.learn_one(row, label(row))
        right.learn_one(row, label(row))
    assert flat(wrong.export_state()["learner"]) == flat(right.export_state()["learner"])
    assert wrong.classes_.tolist() == right.classes_.tolist()


def test_samples_before_a_wrong_one_are_learned() -> None:
    rows = samples(30)
    targets: list[Any] = [label(row) for row in rows]
    targets[20] = ["yes"]
    targets[25] = "never learned"
    broken, short = classifier(), classifier()
    with pytest.raises(DataError, match="sample 20: y has"):
        broken.partial_fit(rows, targets)
    short.partial_fit(rows[:20], targets[:20])
    assert flat(broken.export_state()["learner"]) == flat(short.export_state()["learner"])
    assert broken.classes_.tolist() == short.classes_.tolist()


@pytest.mark.parametrize("unknown", [None, math.nan, "", "None"])
@pytest.mark.parametrize(("make", "truth"), KINDS)
def test_a_sample_without_a_target_is_used_without_supervision(
    make: Callable[[], Estimator], truth: Callable[[dict[str, Any]], Any], unknown: Any
) -> None:
    rows = samples(80)
    targets: list[Any] = [truth(row) for row in rows]
    targets[0] = targets[30] = targets[79] = unknown
    at_once, one_by_one = make().partial_fit(rows, targets), make()
    for row, target in zip(rows, targets, strict=True):
        one_by_one.learn_one(row, target)
    assert flat(at_once.export_state()["learner"]) == flat(one_by_one.export_state()["learner"])
    learner = at_once.export_state()["learner"]
    assert (learner["serving"]["scored"], learner["serving"]["unlabeled"]) == (77, 3)
    assert min(learner["trainer"]["population"]["taken"]) == 77


@pytest.mark.parametrize(("make", "truth"), KINDS)
def test_fit_refuses_a_sample_without_a_target_and_changes_nothing(
    make: Callable[[], Estimator], truth: Callable[[dict[str, Any]], Any]
) -> None:
    rows, estimator = samples(50), make()
    estimator.fit(rows, [truth(row) for row in rows])
    before = flat(estimator.export_state())
    with pytest.raises(DataError, match=r"^sample 7: the target is missing: 'nan' stands for a"):
        estimator.fit(rows, [math.nan if i == 7 else truth(row) for i, row in enumerate(rows)])
    assert flat(estimator.export_state()) == before


def test_a_wrong_value_is_reported_when_predicting() -> None:
    estimator = taught()
    with pytest.raises(DataError, match="column 'x' has 'many'"):
        estimator.predict_one({"x": "many"})
    with pytest.raises(DataError, match="sample 2: column 'x' has 'many'"):
        estimator.predict([*samples(2), {"x": "many"}])
    not_a_sample: Any = 5
    with pytest.raises(DataError, match="not a mapping"):
        estimator.predict_one(not_a_sample)


def test_a_wrong_setting_is_reported_when_it_is_used() -> None:
    with pytest.raises(ConfigurationError, match="fading is 2"):
        OnlineClassifier(fading=2.0).learn_one({"x": 1}, 1)
    with pytest.raises(ConfigurationError):
        OnlineClassifier([]).partial_fit([{"x": 1}], [1])
    wrong = OnlineRegressor([CandidateSettings(loss="cross_entropy")])
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="'cross_entropy', but for a regression"):
            wrong.predict_one({"x": 1})
    assert wrong.set_params(candidates=FEW).predict_one({"x": 1}) == 0.0


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "a", None])
def test_a_wrong_seed_is_reported_before_anything_is_learned(seed: Any) -> None:
    makers: list[Callable[..., object]] = [
        lambda seed: OnlineClassifier(seed=seed).predict_one({"x": 1}),
        lambda seed: OnlineRegressor(seed=seed).predict_one({"x": 1}),
        lambda seed: AutoEncoder(seed=seed).score_one({"x": 1}),
        Engine,
        partial(NeuralNetwork, 3),
        partial(Pipeline, IterableSource([])),
    ]
    for make in makers:
        with pytest.raises(
            ConfigurationError,
            match=r"seed is .*, but must be (a whole number|>= 0|<= 18446744073709551615)",
        ):
            make(seed=seed)


def test_a_seed_may_be_a_number_of_numpy() -> None:
    rows = samples(40)
    targets = [label(row) for row in rows]
    seeds: tuple[Any, Any] = 3, np.int64(3)
    plain, numpys = (OnlineClassifier(FEW, seed=s).partial_fit(rows, targets) for s in seeds)
    assert flat(plain.export_state()) == flat(numpys.export_state())
    assert plain.model().about == numpys.model().about


def test_a_seed_may_have_64_bits() -> None:
    estimator = OnlineClassifier(FEW, seed=2**64 - 1, encoder={"autoencoder": {"code": 2}})
    for row in samples(300):
        estimator.learn_one(row, label(row))
    assert estimator.model().about["seed"] == 2**64 - 1


# --------------------------------------------------------------------- regression


@settings(max_examples=15)
@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_a_target_of_any_range_is_learned(center: float, spread: float) -> None:
    estimator = OnlineRegressor([CandidateSettings(hidden=(), learning_rate=0.01)])
    for i in range(600):
        estimator.learn_one({"x": i % 10}, center + spread * (i % 10))
    slack = 0.5 * spread + 1e-6 * abs(center)
    for x in range(10):
        assert abs(estimator.predict_one({"x": x}) - (center + spread * x)) < slack


def test_a_number_as_a_target_may_be_whole_or_a_text() -> None:
    estimator = regressor()
    for value in (3, 2.5, "4.5", np.float32(1.5)):
        estimator.learn_one({"x": 1}, value)
    with pytest.raises(DataError, match="y has 'much'"):
        estimator.learn_one({"x": 1}, "much")
    assert isinstance(estimator.predict_one({"x": 1}), float)


# -------------------------------------------------------------- explosions, models


def test_exploded_networks_never_predict() -> None:
    wild = CandidateSettings(hidden=(8,), activation="relu", optimizer="sgd", learning_rate=1e30)
    names, values = OnlineClassifier([wild]), OnlineRegressor([wild], seed=1)
    for i in range(300):
        sample = {"x": float(i % 17) - 8.0}
        names.learn_one(sample, i % 2)
        values.learn_one(sample, float(i % 5))
        assert names.predict_one(sample) in (0, 1, None)
        assert np.isfinite(values.predict_one(sample))
    assert set(names.predict([{"x": 1.0}]).tolist()) <= {0, 1, None}


def test_a_model_predicts_like_the_estimator_it_was_built_from(tmp_path: Any) -> None:
    estimator, rows = taught(), samples(100, seed=4)
    estimator.model().save(tmp_path / "model.json")
    model = Model.load(tmp_path / "model.json")
    assert model.predict(rows).tolist() == estimator.predict(rows).tolist()
    # The champion comes first in a model, so sums are reckoned in another order.
    assert model.predict_proba(rows) == pytest.approx(estimator.predict_proba(rows), rel=1e-12)


def test_it_reports_the_metrics_of_its_predictions() -> None:
    estimator = classifier()
    right = 0
    for row in samples(1500):
        right += estimator.predict_one(row) == label(row)
        estimator.learn_one(row, label(row))
    assert estimator.served["accuracy"] == pytest.approx(right / 1500, abs=2 / 1500)
    assert estimator.champion in FEW


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
    for row, truth in zip(rows_of(values), labels, strict=True):
        shares = classifier.predict_proba_one(row)
        losses.append(-np.log(max(shares.get(truth, 0.0), 1e-4)))
        classifier.learn_one(row, truth)
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


def test_targets_of_any_size_leave_every_network_finite() -> None:
    rng = np.random.default_rng(5)
    regressor = OnlineRegressor(seed=2)
    values = numbers(HOSTILE, 6)
    targets = rng.choice([1e38, -1e300, 1.7e308, 5e-324, 0.0, 3.0], HOSTILE)
    for start in range(0, HOSTILE, 500):
        part = slice(start, start + 500)
        regressor.partial_fit(rows_of(values[part]), targets[part].tolist())
        assert_sound(regressor)
    assert np.isfinite(regressor.predict_one({"x0": 1.0}))

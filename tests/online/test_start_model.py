"""Learning goes on from a model; from gopher-neural's weights it does what gopher-neural did."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamnet.errors import ConfigurationError
from streamnet.modelfiles.model import Model
from streamnet.networks.neural_network import NeuralNetwork
from streamnet.online.estimators import OnlineClassifier, OnlineRegressor
from streamnet.samples import Kind
from streamnet.settings.candidate import CandidateSettings
from tests.networks import gopher
from tests.online.estimators import flat

LETTERS = "abcdefg"


def like_gopher(*sizes: int) -> Model:
    """A model of gopher-neural's start weights."""
    inputs, *hidden, outputs = sizes
    network = NeuralNetwork(
        inputs,
        CandidateSettings.gopher(hidden=tuple(hidden)),
        labels=LETTERS[:outputs] if outputs > 1 else (),
    )
    network.weights = gopher.start_weights(*sizes)
    return Model.of(network)


def check(model: Model, weights: list) -> None:
    for mine, theirs in zip(model.neural_network().weights, weights, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-12)


def samples(X: list[list[float]]) -> list[dict[str, Any]]:
    return [{f"f{i}": value for i, value in enumerate(x)} for x in X]


@pytest.mark.parametrize("serve", ["champion", "ensemble"])
def test_a_number_is_learned_sample_by_sample_as_by_gopher_neural(serve: Any) -> None:
    numbers = gopher.golden()
    X, Y = gopher.stream(8, 1, numbers["steps"])
    regressor = OnlineRegressor(start=like_gopher(8, 16, 1), serve=serve)
    said = []
    for row, (y,) in zip(samples(X), Y, strict=True):
        if serve == "champion":
            said.append([regressor.predict_one(row)])
        regressor.learn_one(row, y)
    if serve == "champion":
        np.testing.assert_allclose(
            said[:5], numbers["outputs_before_update_first5"], rtol=0, atol=1e-14
        )
        check(regressor.model(), numbers["after"]["Weights"])
    network = regressor.model().networks[0]
    np.testing.assert_allclose(
        network.weights["output"], numbers["after"]["Weights"][1], rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("sizes", [(20, 20, 2), (54, 100, 7)])
def test_labels_in_blocks_are_learned_as_by_the_naive_reference(sizes: tuple[int, ...]) -> None:
    X, Y = gopher.stream(sizes[0], sizes[-1], 1000 if sizes[1] < 50 else 60)
    reference = gopher.Gopher(gopher.start_weights(*sizes))
    for x, y in zip(X, Y, strict=True):
        reference.learn(x, y, 0.05)
    classifier = OnlineClassifier(start=like_gopher(*sizes), serve="champion")
    classifier.partial_fit(np.array(X), [LETTERS[y.index(1.0)] for y in Y])
    check(classifier.model(), reference.weights)


def test_an_estimator_predicts_like_its_start_model_before_it_learns() -> None:
    X, _ = gopher.stream(8, 1, 20)
    for serve in ("champion", "ensemble"):
        start = like_gopher(8, 16, 1)
        regressor = OnlineRegressor(start=start, serve=serve)
        expected = start.predict(samples(X)).tolist()
        exactly = 0.0 if serve == "champion" else 1e-12
        one_by_one = [regressor.predict_one(row) for row in samples(X)]
        np.testing.assert_allclose(regressor.predict(np.array(X)), expected, rtol=exactly)
        np.testing.assert_allclose(one_by_one, expected, rtol=exactly)
    classifier = OnlineClassifier(start=like_gopher(8, 16, 3), serve="champion")
    expected = like_gopher(8, 16, 3).predict(samples(X)).tolist()
    assert classifier.predict(np.array(X)).tolist() == expected
    assert classifier.classes_.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize("kind", [OnlineClassifier, OnlineRegressor])
def test_networks_of_a_start_model_continue_to_predict_together(kind: Any) -> None:
    """Not as if each was as good as any other, which it takes hundreds of samples to find out."""
    random = np.random.default_rng(3)
    X = random.normal(size=(1500, 3))
    y = X[:, 0] + X[:, 1] * X[:, 2]
    targets = (y > 0).tolist() if kind is OnlineClassifier else y
    rates = (0.03, 0.0001, 0.3)  # of which one learns well
    first = kind([CandidateSettings(hidden=(8,), learning_rate=rate) for rate in rates], seed=1)
    start = first.partial_fit(X, targets).model()
    second, rows = kind(start=start), samples(X[:50].tolist())
    if kind is OnlineClassifier:
        ours = [list(second.predict_proba_one(row).values()) for row in rows]
        theirs = start.predict_proba(rows)
    else:
        ours, theirs = [second.predict_one(row) for row in rows], start.predict(rows)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    np.testing.assert_allclose(second.model().outputs(rows), start.outputs(rows), rtol=1e-9)


def test_any_model_continues_to_learn_with_its_encoder_columns_and_labels() -> None:
    def rows(n: int) -> list[dict[str, Any]]:
        return [{"x": 0.1 * (i % 10), "job": ["cook", "smith"][i % 2]} for i in range(n)]

    first = OnlineClassifier([CandidateSettings(hidden=(8,))] * 2, seed=1)
    first.partial_fit(rows(300), ["no" if i % 2 else "yes" for i in range(300)])
    start = first.model()
    second = OnlineClassifier(start=start)
    new = {"x": 0.3, "job": "smith", "height": 1.9}
    second.partial_fit([*rows(200), new], [*["yes" if i % 2 else "no" for i in range(200)], "new"])
    assert second.classes_.tolist() == ["yes", "no", "new"]
    model = second.model()
    assert [field.name for field in model.fields] == ["x", "job", "height"]
    assert model.labels == ("yes", "no", "new")
    assert model.predict({"x": 0.3, "job": "smith"}).tolist() == ["yes"]
    assert start.predict({"x": 0.3, "job": "smith"}).tolist() == ["no"], "the start stays as it is"


def test_booleans_and_integers_are_learned_as_the_start_model_spells_them() -> None:
    def rows(*words: Any) -> list[dict[str, Any]]:
        return [{"x": 0.1 * (i % 10), "b": words[i % 2]} for i in range(200)]

    kinds = {"b": Kind.CATEGORY}
    first = OnlineClassifier([CandidateSettings(hidden=(8,))] * 2, seed=1, kinds=kinds)
    start = first.partial_fit(rows("7.0", "8.0"), ["False", "True"] * 100).model()
    one, other = OnlineClassifier(start=start), OnlineClassifier(start=start)
    truths = [False, True] * 100
    one.partial_fit(rows(7, 8.0), truths, classes=truths[:2])
    other.partial_fit(rows("7.0", "8.0"), ["False", "True"] * 100)
    assert one.classes_.tolist() == ["False", "True"]
    assert flat(one.model().document()["encoder"]) == flat(other.model().document()["encoder"])
    assert one.score(rows(7.0, 8), truths) == 1.0
    one.partial_fit(rows("7.5", "7"), ["false", "maybe"] * 100)
    assert one.classes_.tolist() == ["False", "True", "maybe"]


def test_continuing_gives_the_same_bits_however_it_is_cut_and_restored() -> None:
    X, Y = gopher.stream(8, 1, 1500)
    targets = [y for (y,) in Y]
    one, other = (OnlineRegressor(start=like_gopher(8, 16, 1)) for _ in range(2))
    one.partial_fit(np.array(X), targets)
    other.partial_fit(np.array(X[:700]), targets[:700])
    third = OnlineRegressor(start=like_gopher(8, 16, 1))
    third.restore_state(other.export_state())
    third.partial_fit(np.array(X[700:]), targets[700:])
    for a, b in zip(one.model().networks, third.model().networks, strict=True):
        assert all(np.array_equal(a.weights[name], b.weights[name]) for name in a.weights)


@pytest.mark.parametrize(
    ("learning", "message"),
    [
        ({"candidates": [CandidateSettings()]}, "candidates is given, but start has its own"),
        ({"encoder": {"clip": 3.0}}, "encoder is given, but start has its own"),
    ],
)
def test_settings_of_the_start_model_cannot_be_given_again(learning, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        OnlineRegressor(start=like_gopher(8, 16, 1), **learning).predict_one({"x": 1})


def test_a_start_model_must_have_the_same_task() -> None:
    with pytest.raises(ConfigurationError, match="start is for regression, but the task is class"):
        OnlineClassifier(start=like_gopher(8, 16, 1)).predict_one({"x": 1})


def test_targets_far_outside_0_and_1_are_reached_by_default_and_by_unbounded_outputs() -> None:
    x = np.arange(600) % 10
    y = 0.1 + 16.6 * x / 9
    standard = OnlineRegressor([CandidateSettings(hidden=(8,))], seed=1)
    raw = OnlineRegressor(
        [CandidateSettings(hidden=(8,), loss="squared", learning_rate=0.03)],
        seed=1,
        serve="champion",
        encoder={"target_scaling": "none"},
    )
    for regressor in (standard, raw):
        regressor.partial_fit(x[:, None], y)
        assert abs(regressor.predict(np.array([[9]]))[0] - 16.7) < 1.0


def test_numbers_beyond_the_limit_of_a_score_are_reached_once_it_is_higher() -> None:
    x = np.array([0.5, 1.0] * 200)
    for limit, alive in ((1e6, False), (1e9, True)):
        settings = CandidateSettings(
            hidden=(), loss="squared", optimizer="sgd", learning_rate=0.3, score_limit=limit
        )
        regressor = OnlineRegressor(
            [settings], serve="champion", encoder={"scaling": "none", "target_scaling": "none"}
        )
        regressor.partial_fit(x[:, None], 4e6 * x)
        found = regressor.predict(np.array([[1.0]]))[0]
        assert bool(found == pytest.approx(4e6, rel=1e-3)) is alive

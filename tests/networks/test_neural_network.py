"""A network made by hand: gopher-neural's numbers, every gradient, harmless errors."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.errors import ConfigurationError, DataError, NoCandidateError
from streamnet.networks.neural_network import NeuralNetwork
from streamnet.settings.candidate import CandidateSettings
from tests.networks import gopher

SHAPES = [(8, 16, 1), (20, 20, 2), (54, 100, 7)]


def made(*sizes: int, labels: bool = True, **settings) -> NeuralNetwork:
    """A network like gopher-neural's with its start weights."""
    inputs, *hidden, outputs = sizes
    names = tuple("abcdefgh"[:outputs]) if labels and outputs > 1 else ()
    network = NeuralNetwork(
        inputs, CandidateSettings.gopher(hidden=tuple(hidden)), labels=names, outputs=outputs
    )
    network.weights = gopher.start_weights(*sizes)
    return network


def same(network: NeuralNetwork, weights: list, tolerance: float = 1e-12) -> None:
    for mine, theirs in zip(network.weights, weights, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=tolerance)


# --------------------------------------------------------------------- gopher-neural


def test_the_plain_reference_reproduces_the_output_of_gopher_neural() -> None:
    numbers = gopher.golden()
    X, Y = gopher.stream(8, 1, numbers["steps"])
    reference = gopher.Gopher(gopher.start_weights(8, 16, 1))
    assert reference.weights == numbers["before"]["Weights"]
    assert X[:5] == numbers["x_first5"]
    for x, y in zip(X, Y, strict=True):
        reference.learn(x, y, numbers["lr"])
    np.testing.assert_allclose(
        np.hstack([m.ravel() for m in map(np.array, reference.weights)]),
        np.hstack([np.array(m).ravel() for m in numbers["after"]["Weights"]]),
        rtol=0,
        atol=1e-14,
    )


@pytest.mark.parametrize("batch", [1, 1000])
def test_a_thousand_steps_give_the_weights_of_gopher_neural(batch: int) -> None:
    numbers = gopher.golden()
    X, Y = (np.array(rows) for rows in gopher.stream(8, 1, numbers["steps"]))
    network = NeuralNetwork(8, CandidateSettings.gopher(hidden=(16,)))
    network.weights = numbers["before"]["Weights"]
    said = [
        network.learn(X[i : i + batch], Y[i : i + batch], numbers["lr"])
        for i in range(0, len(X), batch)
    ]
    same(network, numbers["after"]["Weights"])
    np.testing.assert_allclose(
        np.concatenate(said)[:5], numbers["outputs_before_update_first5"], rtol=0, atol=1e-14
    )
    np.testing.assert_allclose(
        network.calculate(X[0]), numbers["calculate_x0_after"], rtol=0, atol=1e-13
    )


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("sizes", [*SHAPES, (5, 3), (6, 9, 4, 3), (3, 2, 2, 2, 2)])
def test_any_shape_learns_like_the_plain_reference(sizes: tuple[int, ...], labels: bool) -> None:
    steps = 1000 if sizes[-2] < 50 else 60
    X, Y = gopher.stream(sizes[0], sizes[-1], steps)
    reference = gopher.Gopher(gopher.start_weights(*sizes))
    network = made(*sizes, labels=labels)
    before = network.learn(X, Y, 0.3)
    expected = [reference.learn(x, y, 0.3) for x, y in zip(X, Y, strict=True)]
    np.testing.assert_allclose(before, expected, rtol=0, atol=1e-12)
    same(network, reference.weights)


def test_targets_need_not_be_one_hot() -> None:
    X, _ = gopher.stream(4, 3, 200)
    Y = np.random.default_rng(3).uniform(size=(200, 3)).tolist()
    reference = gopher.Gopher(gopher.start_weights(4, 6, 3))
    network = made(4, 6, 3)
    network.learn(X, Y, 0.5)
    for x, y in zip(X, Y, strict=True):
        reference.learn(x, y, 0.5)
    same(network, reference.weights)


def test_wide_sums_saturate_as_in_gopher_neural_and_learning_continues() -> None:
    network = made(2, 1)
    network.weights = [[[1e6, -3.0]]]
    assert network.learn([1e6, 1.0], [0.0], 0.5).tolist() == [1.0]
    assert network.calculate([-1e6, 1.0])[0] < 1e-300
    assert network.weights[0].tolist() == [[1e6, -3.0]]


def test_uniform_initial_weights_depend_only_on_the_seed() -> None:
    network = NeuralNetwork(100, CandidateSettings.gopher(hidden=(200,)), outputs=50, seed=4)
    for matrix in network.weights:
        assert matrix.min() >= -1
        assert matrix.max() < 1
        assert abs(matrix.mean()) < 0.02
        assert matrix.var() == pytest.approx(1 / 3, rel=0.03)
    other = NeuralNetwork(100, CandidateSettings.gopher(hidden=(200,)), outputs=50, seed=5)
    assert not np.array_equal(other.weights[0], network.weights[0])
    other.randomize(4)
    same(other, network.weights, 0.0)


# ------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("activation", "output"),
    [*product(("logistic", "tanh", "identity"), repeat=2), ("relu", "relu")],
)
def test_every_activation_descends_the_gradient_of_half_the_squared_error(
    activation: Any, output: Any, bias: bool
) -> None:
    settings = CandidateSettings(
        hidden=(5, 4),
        activation=activation,
        output=output,
        loss="squared",
        optimizer="sgd",
        bias=bias,
    )
    network = NeuralNetwork(3, settings, outputs=2, seed=2)
    x, ideal = np.array([0.3, -0.8, 0.5]), np.array([0.2, 0.6])

    def loss(weights) -> float:
        changed = network.copy()
        changed.weights = weights
        return 0.5 * float(((changed.calculate(x) - ideal) ** 2).sum())

    start, rate, step = network.weights, 1e-3, 1e-6
    learned = network.copy()
    learned.learn(x, ideal, rate)
    for layer, matrix in enumerate(start):
        for place in np.ndindex(*matrix.shape):
            up, down = ([m.copy() for m in start] for _ in range(2))
            up[layer][place] += step
            down[layer][place] -= step
            slope = (loss(up) - loss(down)) / (2 * step)
            moved = (learned.weights[layer][place] - matrix[place]) / -rate
            assert moved == pytest.approx(slope, abs=1e-6)
    assert any(vector.any() for vector in learned.biases) is bias


# --------------------------------------------------------------------------- answers


def test_one_sample_or_several_give_the_same_outputs() -> None:
    network = made(8, 16, 3)
    X, _ = gopher.stream(8, 3, 50)
    several = network.calculate(X)
    assert several.shape == (50, 3)
    for x, outputs in zip(X, several, strict=True):
        assert network.calculate(x).tolist() == outputs.tolist()
    assert network.calculate(np.empty((0, 8))).shape == (0, 3)


def test_each_label_has_an_output_and_the_largest_wins() -> None:
    network = made(3, 4, 2)
    said = network.calculate_labels([0.1, 0.2, 0.3])
    assert list(said) == ["a", "b"]
    assert list(said.values()) == network.calculate([0.1, 0.2, 0.3]).tolist()
    assert network.winner_label([0.1, 0.2, 0.3]) == max(said, key=lambda label: said[label])


def test_the_first_of_several_labels_with_equal_outputs_wins() -> None:
    network = NeuralNetwork(2, CandidateSettings.gopher(hidden=(3,)), labels=("x", "y", "z"))
    row = [[0.5, -0.2, 0.1]]
    network.weights = [np.ones((3, 2)), row * 3]
    assert {network.winner_label([0.3, v]) for v in np.linspace(-1, 1, 200)} == {"x"}


def test_a_network_without_labels_has_no_winner() -> None:
    with pytest.raises(ConfigurationError, match="labels is empty, but must name the outputs"):
        made(2, 2, labels=False).winner_label([1, 2])


def test_labels_are_calculated_for_one_sample_at_a_time() -> None:
    with pytest.raises(DataError, match="x has 2 dimensions, but must have 1"):
        made(2, 2).winner_label([[1, 2]])


def test_an_output_beyond_the_limit_is_refused() -> None:
    network = NeuralNetwork(1, CandidateSettings(hidden=(), output="identity"))
    network.weights = [[[1.0]]]
    assert network.calculate([9e5]).tolist() == [9e5]
    with pytest.raises(NoCandidateError, match="sample 1: the network has no finite output"):
        network.calculate([[1.0], [2e6]])


def test_many_threads_calculate_the_same_as_one() -> None:
    network = made(20, 20, 2)
    X = np.array(gopher.stream(20, 2, 400)[0])
    expected = network.calculate(X)

    def ask(offset: int) -> bool:
        places = np.roll(np.arange(len(X)), offset)
        alone = all(np.array_equal(network.calculate(X[i]), expected[i]) for i in places[:60])
        return alone and np.array_equal(network.calculate(X[places]), expected[places])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(64)))


# ---------------------------------------------------------------------------- errors


WRONG = [
    ([1.0], [0, 1], "x has 1 numbers, but must have 2"),
    ([1.0, 2.0, 3.0], [0, 1], "x has 3 numbers, but must have 2"),
    ([[1.0, 2.0]], [0, 1], r"x has shape \(1, 2\), but ideal has \(2,\)"),
    ([[1.0, 2.0]] * 2, [[0, 1]], r"x has shape \(2, 2\), but ideal has \(1, 2\)"),
    ([1.0, 2.0], [1], "ideal has 1 numbers, but must have 2"),
    ([1.0, float("nan")], [0, 1], "x: number 1 is nan, but must be finite"),
    ([[1.0, 0.0], [float("inf"), 0.0]], [[0, 1]] * 2, "x: sample 1, number 0 is inf"),
    ([1.0, 2.0], [0, float("nan")], "ideal: number 1 is nan, but must be finite"),
    (["a", "b"], [0, 1], "x must be numbers"),
    ([1, 10**400], [0, 1], "x must be numbers"),
    ([[1.0], [1.0, 2.0]], [0, 1], "x must be numbers, in rows of one length"),
    (3.0, [0, 1], "x has 0 dimensions, but must have 1 or 2"),
    ([1.0, 2.0], [0, 16.7], "number 1 is 16.7, but logistic outputs reach from 0 to 1 only"),
]


@pytest.mark.parametrize(("x", "ideal", "message"), WRONG)
def test_a_wrong_sample_is_refused_and_leaves_the_network_as_it_was(x, ideal, message) -> None:
    network = made(2, 3, 2)
    before = network.weights
    with pytest.raises(DataError, match=message):
        network.learn(x, ideal, 0.5)
    same(network, before, 0.0)
    assert np.isfinite(network.calculate([1.0, 2.0])).all()


def test_a_network_that_would_explode_stays_unchanged_and_can_continue() -> None:
    settings = CandidateSettings(hidden=(), loss="squared", optimizer="adam")
    network = NeuralNetwork(1, settings)
    network.learn([[1.0], [2.0]], [[1.0], [2.0]])
    twin = network.copy()
    with pytest.raises(NoCandidateError, match="would explode, so it learned nothing"):
        network.learn([[1.0]] * 50 + [[1e300]] * 50, [[1e300]] * 100, 1e300)
    same(network, twin.weights, 0.0)
    for one in (network, twin):
        one.learn([3.0], [3.0])
    same(network, twin.weights, 0.0)


@pytest.mark.parametrize("rate", [0.0, -0.1, float("nan"), float("inf")])
def test_a_rate_that_is_not_above_0_is_refused(rate: float) -> None:
    with pytest.raises(ConfigurationError, match=f"rate is {rate}, but must be > 0"):
        made(2, 3, 2).learn([1, 2], [0, 1], rate)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": 0}, "inputs is 0, but must be >= 1"),
        ({"inputs": 1, "outputs": 0}, "outputs is 0, but must be >= 1"),
        ({"inputs": "2"}, "inputs is '2', but must be a whole number"),
        ({"inputs": 1, "settings": {"hidden": (3,)}}, "settings is .*must be a CandidateSettings"),
        ({"inputs": 1, "labels": "ab", "outputs": 3}, "outputs is 3, but there are 2 labels"),
        ({"inputs": 1, "labels": "aa"}, "must have no name twice"),
        (
            {"inputs": 1, "settings": CandidateSettings(rehearsal=1)},
            "rehearsal is 1, but must be 0",
        ),
        (
            {"inputs": 1, "settings": CandidateSettings(lags=True)},
            "lags is True, but must be False",
        ),
        ({"inputs": 1, "dtype": "int32"}, "dtype is int32, but must be float32 or float64"),
    ],
)
def test_invalid_arguments_of_a_network_are_refused(arguments, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        NeuralNetwork(**arguments)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([np.ones((3, 2))], "weights has 1 layers, but must have 2"),
        ([np.ones((2, 3)), np.ones((2, 3))], r"of layer 0 has shape \(2, 3\), but must have \(3,"),
        ([np.ones((3, 2)), np.full((2, 3), np.nan)], "weights of layer 1 must be finite"),
        ([[["a", 1]] * 3, np.ones((2, 3))], "weights of layer 0 must be numbers"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights, message: str) -> None:
    network = made(2, 3, 2)
    before = network.weights
    with pytest.raises(ConfigurationError, match=message):
        network.weights = weights
    same(network, before, 0.0)


def test_biases_can_be_set_unless_there_are_none() -> None:
    network = NeuralNetwork(2, CandidateSettings(hidden=(3,)), outputs=2)
    network.biases = [[1, 2, 3], [4, 5]]
    assert [vector.tolist() for vector in network.biases] == [[1, 2, 3], [4, 5]]
    linear = NeuralNetwork(2, CandidateSettings(hidden=(), output="identity"))
    linear.weights, linear.biases = [[[2.0, 3.0]]], [[4.0]]
    assert linear.calculate([10.0, 100.0]).tolist() == [324.0]
    with pytest.raises(ConfigurationError, match="bias is False, so the network has no biases"):
        made(2, 3, 2).biases = [[0, 0, 0], [0, 0]]


# ------------------------------------------------------------------------------ laws


@given(
    st.lists(st.integers(1, 20), max_size=3),
    st.integers(1, 20),
    st.integers(1, 20),
    st.sampled_from(["sgd", "momentum", "adam"]),
    st.integers(0, 9),
)
def test_a_copy_learns_identically_and_weights_are_returned_as_set(
    hidden, inputs, outputs, optimizer, cut
) -> None:
    settings = CandidateSettings(hidden=tuple(hidden), optimizer=optimizer, loss="squared")
    network = NeuralNetwork(inputs, settings, outputs=outputs, seed=1)
    rng = np.random.default_rng(inputs)
    drawn = [rng.normal(size=shape) for shape in network.shapes]
    network.weights = drawn
    same(network, drawn, 0.0)
    X, Y = rng.normal(size=(10, inputs)), rng.normal(size=(10, outputs))
    network.learn(X[:cut], Y[:cut])
    others = network.copy(), copy.deepcopy(network), pickle.loads(pickle.dumps(network))
    for one in (network, *others):
        one.learn(X[cut:], Y[cut:])
    for other in others:
        same(other, network.weights, 0.0)
        assert np.array_equal(network.calculate(X), other.calculate(X))


def test_a_pickled_network_keeps_labels_type_and_settings() -> None:
    settings = CandidateSettings.gopher(hidden=(4,))
    network = NeuralNetwork(3, settings, labels=("same", "different"), dtype="float32")
    other = pickle.loads(pickle.dumps(network))
    assert (other.labels, other.dtype, other.settings) == (
        network.labels,
        network.dtype,
        network.settings,
    )
    assert other.calculate_labels([0, 1, 1]) == network.calculate_labels([0, 1, 1])

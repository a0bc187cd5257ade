from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict, astuple, replace
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.features import Encoder
from streamnet.features.autoencoder import AutoEncoderNetwork, AutoEncoderSettings
from streamnet.samples import Block, Field, Inputs, Kind, Schema, Task
from tests.features.autoencoder.naive import NaiveAutoEncoder
from tests.features.blocks import block_of, cut


def inputs_of(n: int, *, dense: int = 5, rows: int = 12, lags: int = 0, seed: int = 0) -> Inputs:
    """Correlated numbers, and up to four active rows that come into use one after the other."""
    random = np.random.default_rng(seed)
    numbers = np.tanh(random.normal(size=(n, 2)) @ random.normal(size=(2, dense)))
    row = np.zeros((n, 4 + lags), np.int32)
    value = random.uniform(0.2, 1.0, (n, 4 + lags)).astype(np.float32)
    count = random.integers(1, 5, n) * (rows > 0)
    for i in range(n):
        known = min(rows, 4 + i // 3)
        row[i, : count[i]] = random.permutation(known)[: count[i]]
        row[i, count[i] : count[i] + lags] = random.integers(0, max(rows, 1), lags)
    counts = (count + lags).astype(np.int32)
    return Inputs(numbers.astype(np.float32), row, value, counts, rows, lags)


def part(inputs: Inputs, start: int, stop: int) -> Inputs:
    """Some of the samples; their rows were given out by then."""
    return Inputs(
        inputs.dense[start:stop],
        inputs.row[start:stop],
        inputs.value[start:stop],
        inputs.count[start:stop],
        1 + int(inputs.row[:stop].max(initial=-1)),
        inputs.lags,
    )


def network(**given: Any) -> AutoEncoderNetwork:
    return AutoEncoderNetwork(AutoEncoderSettings(**{"code": 3, "seed": 5, **given}))


def flat(state: Any) -> Any:
    if isinstance(state, dict):
        return {name: flat(value) for name, value in state.items()}
    return (state.shape, state.tobytes()) if isinstance(state, np.ndarray) else state


def started(given: Any, inputs: Inputs) -> dict[str, NDArray[Any]]:
    """Start weights for so many inputs: those of a network that was told of rows but not taught."""
    fresh = network(**given)
    width = max(8, inputs.dense.shape[1] + int(inputs.count[0]) - inputs.lags)
    fresh.fan_in = width
    fresh.reserve(inputs.dense.shape[1], inputs.rows)
    units = fresh.settings.layers
    weights = fresh._weights._asdict()
    for name, count in (("first", 0), ("sparse", 0), ("output", -1), ("presence", -1)):
        weights[name] = weights[name][:, : units[count]].copy()
    return weights


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"noise": 0.4, "hidden": (6,)},
        {"hidden": (20, 5), "activation": "relu", "learning_rate": 0.02},
        {"activation": "identity", "optimizer": "rmsprop", "learning_rate": 0.01, "negatives": 2},
        {"code": 20, "fading": 0.9, "noise": 0.0},
    ],
    ids=str,
)
@pytest.mark.parametrize(("dtype", "precision"), [("float64", 1e-10), ("float32", 2e-3)])
def test_learning_matches_a_naive_auto_encoder(given: Any, dtype: str, precision: float) -> None:
    inputs = inputs_of(120)
    given = {**given, "dtype": dtype}
    real = network(**given)
    start = started({**given, "dtype": "float64"}, inputs)
    naive = NaiveAutoEncoder(real.settings, start)
    code, error, score = real.learn(inputs)
    for i in range(len(inputs.count)):
        rows = inputs.row[i, : inputs.count[i]].tolist()
        x = inputs.dense[i].astype(float)
        expected = naive.step(x, rows, inputs.value[i, : len(rows)].astype(float))
        assert code[i] == pytest.approx(expected[0], abs=precision)
        assert error[i] == pytest.approx(expected[1], rel=precision, abs=precision)
        assert score[i] == pytest.approx(expected[2], rel=precision, abs=50 * precision)
    assert real.rows == naive.known


@settings(max_examples=25)
@given(st.lists(st.integers(0, 30), max_size=6), st.integers(0, 3))
def test_the_cuts_of_the_stream_do_not_show(sizes: list[int], seed: int) -> None:
    inputs = inputs_of(60, lags=2, seed=seed)
    whole, parts = network(hidden=(4,)), network(hidden=(4,))
    expected = whole.learn(inputs)
    ends = [0, *np.minimum(np.cumsum(sizes, dtype=int), 60).tolist(), 60]
    found = [parts.learn(part(inputs, *pair)) for pair in pairwise(ends)]
    for name in expected._fields:
        joined = np.concatenate([getattr(coded, name) for coded in found])
        assert joined.tobytes() == getattr(expected, name).tobytes()
    assert flat(parts.export_state()) == flat(whole.export_state())


def test_restored_half_way_it_continues_to_the_same_bits() -> None:
    inputs = inputs_of(200)
    real = network(hidden=(7,), dtype="float64")
    real.learn(part(inputs, 0, 90))
    state = real.export_state()
    restored = network(hidden=(7,), dtype="float64")
    restored.restore_state(state, dense=5, rows=12)
    assert flat(restored.export_state()) == flat(state)
    assert flat(restored.learn(part(inputs, 90, 200))._asdict()) == flat(
        real.learn(part(inputs, 90, 200))._asdict()
    )
    assert flat(restored.export_state()) == flat(real.export_state())


def test_samples_are_coded_before_they_are_learned_and_transforming_changes_nothing() -> None:
    inputs = inputs_of(100)
    real = network()
    real.learn(part(inputs, 0, 99))
    before = flat(real.export_state())
    asked = real.transform(part(inputs, 99, 100))
    assert flat(real.export_state()) == before
    learned = real.learn(part(inputs, 99, 100))
    assert flat(asked._asdict()) == flat(learned._asdict())
    assert flat(real.export_state()) != before


def test_earlier_targets_are_ignored() -> None:
    inputs = inputs_of(100, lags=2)
    others = replace(inputs, row=inputs.row.copy())
    at = inputs.count[:, None] - 2 + np.arange(2)
    np.put_along_axis(others.row, at, 0, axis=1)
    first, second = network().learn(inputs), network().learn(others)
    assert flat(first._asdict()) == flat(second._asdict())


def test_noise_is_keyed_by_seed_and_number_alone() -> None:
    inputs = inputs_of(50, rows=0)
    codes = [network(noise=0.5, seed=seed).learn(inputs).code for seed in (1, 1, 2)]
    assert np.array_equal(codes[0], codes[1])
    assert not np.array_equal(codes[0], codes[2])
    plain = network(noise=0.0, seed=1).learn(inputs).code
    assert np.array_equal(plain[0], codes[0][0])  # nothing is hidden where it is coded
    assert not np.array_equal(plain[-1], codes[0][-1])


def test_a_linear_code_restores_nearly_as_much_as_principal_components() -> None:
    random = np.random.default_rng(0)
    signal = random.normal(size=(20_000, 3)) @ random.normal(size=(3, 10))
    noisy = signal + 0.3 * random.normal(size=signal.shape)
    values = (noisy / noisy.std(axis=0)).astype(np.float32)
    none = np.zeros((20_000, 1), np.int32), np.zeros((20_000, 1), np.float32)
    inputs = Inputs(values, *none, np.zeros(20_000, np.int32), 0)
    error = network(activation="identity", noise=0.0).learn(inputs).error[-5000:].mean()
    pca = PCA(3).fit(values)
    best = 0.5 * np.square(values - pca.inverse_transform(pca.transform(values))).mean()
    assert best < error < 1.2 * best


@pytest.mark.parametrize("activation", ["tanh", "relu", "identity"])
def test_the_error_is_that_of_the_decoded_code(activation: str) -> None:
    inputs = inputs_of(500)
    real = network(hidden=(8,), code=6, activation=activation, dtype="float64", learning_rate=0.02)
    real.learn(inputs)
    coded = real.transform(inputs)
    dense, active = real.decode(coded.code)
    assert active.shape == (500, real.rows)
    for i in (0, 77, 499):
        z = active[i, inputs.row[i, : inputs.count[i]]]
        terms = [*(0.5 * (dense[i] - inputs.dense[i]) ** 2), *np.log1p(np.exp(-z))]
        assert np.mean(terms) == pytest.approx(coded.error[i], rel=1e-9)


def test_rows_that_occur_together_are_reconstructed_together() -> None:
    n = 3000
    twos = np.full(n, 2, np.int32)
    pair = np.random.default_rng(0).integers(0, 4, n)
    row = np.stack((pair, 4 + pair), axis=1).astype(np.int32)
    inputs = Inputs(np.empty((n, 0), np.float32), row, np.ones((n, 2), np.float32), twos, 8)
    real = network(code=4)
    coded = real.learn(inputs)
    _, active = real.decode(coded.code[-100:])
    assert (active[:, 4:].argmax(axis=1) == pair[-100:]).mean() > 0.95
    parted = np.stack((pair, 4 + (pair + 1) % 4), axis=1).astype(np.int32)
    broken = part(replace(inputs, row=parted), n - 100, n)
    assert np.median(real.transform(broken).score) > np.median(coded.score[-100:]) + 2


@pytest.mark.parametrize("activation", ["tanh", "relu", "identity"])
def test_everything_stays_finite(activation: str) -> None:
    random = np.random.default_rng(1)
    values = random.choice([-1e6, 0.0, 1e6, 8.0, 3e38, -np.inf], (3000, 6)).astype(np.float32)
    none = np.zeros((3000, 1), np.int32), np.zeros((3000, 1), np.float32)
    real = network(activation=activation, hidden=(9,), learning_rate=50.0)
    coded = real.learn(Inputs(values, *none, np.zeros(3000, np.int32), 0))
    for array in coded:
        assert np.isfinite(array).all()
    state = real.export_state()
    assert all(np.isfinite(array).all() for array in state["weights"].values())


def test_a_network_with_unfit_weights_restarts() -> None:
    inputs = inputs_of(100)
    real = network()
    real.learn(part(inputs, 0, 50))
    real._weights.first[2, 0] = np.nan
    asked = real.transform(part(inputs, 50, 60))
    assert not asked.code.any()
    assert (asked.error == np.inf).all()
    coded = real.learn(part(inputs, 50, 100))
    assert real.restarts == 1
    assert all(np.isfinite(array).all() for array in coded)
    again = network()
    again.restore_state(real.export_state(), dense=5, rows=12)
    assert flat(again.learn(inputs)._asdict()) == flat(real.learn(inputs)._asdict())


# ---------------------------------------------------------------- in the encoder


def block(n: int = 300) -> Block:
    """All kinds of columns."""
    random = np.random.default_rng(2)
    size = random.normal(size=n)
    job = np.array(["cook", "smith", "pilot"])[(size > 0).astype(int) + (size > 1)]
    columns = {
        ("size", Kind.NUMBER): np.where(random.random(n) < 0.1, math.nan, size).tolist(),
        ("job", Kind.CATEGORY): job.tolist(),
        ("note", Kind.TEXT): [f"a {name}" for name in job],
    }
    return block_of(columns, ["ab"[int(x > 0)] for x in size])


def encoder(**given: Any) -> Encoder:
    settings: Any = {"code": 4, **given}
    return Encoder(task=Task.CLASSIFICATION, lags=2, autoencoder=settings)


@pytest.mark.parametrize("use", ["add", "replace"])
def test_the_code_comes_before_all_inputs_or_in_their_place(use: str) -> None:
    plain = Encoder(task=Task.CLASSIFICATION, lags=2).encode(block()).inputs
    coding = encoder(inputs=use)
    encoded = coding.encode(block())
    inputs = encoded.inputs
    assert encoded.outlier.shape == (300,)
    assert coding.statistics().dense == inputs.dense.shape[1]
    if use == "add":
        assert np.array_equal(inputs.dense[:, 4:], plain.dense)
        assert all(
            np.array_equal(*pair)
            for pair in zip(astuple(inputs)[1:4], astuple(plain)[1:4], strict=True)
        )
        return
    assert inputs.dense.shape == (300, 4)
    assert (inputs.count == 2).all()
    for i in range(300):  # the last targets stay
        assert inputs.row[i].tolist() == plain.row[i, plain.count[i] - 2 : plain.count[i]].tolist()


def test_a_later_column_does_not_move_the_code() -> None:
    coding = encoder()
    first = block()
    coding.encode(first)
    later = Schema((*first.schema.fields, Field("new", Kind.NUMBER)), "y", Task.CLASSIFICATION)
    numbers = np.column_stack((first.numbers, np.arange(300.0)))
    grown = Block(later, "a", numbers, first.words, first.target, first.marks)
    state = coding.export_state()["autoencoder"]["weights"]
    inputs = coding.encode(grown).inputs
    assert inputs.dense.shape[1] == 4 + 4
    after = coding.export_state()["autoencoder"]["weights"]
    assert len(after["output"]) == len(state["output"]) + 1


@settings(max_examples=10)
@given(st.lists(st.integers(0, 120), max_size=4), st.sampled_from(["add", "replace"]))
def test_the_cuts_do_not_show_in_an_encoder_with_a_code(sizes: list[int], use: str) -> None:
    whole, parts = encoder(inputs=use), encoder(inputs=use)
    expected = whole.encode(block())
    found = [parts.encode(piece) for piece in cut(block(), sizes)]
    dense = np.concatenate([part.inputs.dense for part in found])
    outlier = np.concatenate([part.outlier for part in found])
    assert dense.tobytes() == expected.inputs.dense.tobytes()
    assert outlier.tobytes() == expected.outlier.tobytes()
    assert flat(parts.export_state()) == flat(whole.export_state())


def test_an_encoder_with_a_code_restored_half_way_continues_to_the_same_bits() -> None:
    first, second = cut(block(), [150])
    coding = encoder(hidden=[8])
    coding.encode(first)
    snapshot = coding.snapshot()
    restored = Encoder.restore_state(coding.export_state())
    asked = coding.transform(second).dense
    assert restored.transform(second).dense.tobytes() == asked.tobytes()
    assert restored.outliers(second).tobytes() == coding.outliers(second).tobytes()
    assert flat(asdict(restored.encode(second).inputs)) == flat(
        asdict(coding.encode(second).inputs)
    )
    assert flat(restored.export_state()) == flat(coding.export_state())
    assert flat(Encoder.restore_state(snapshot.materialize()).export_state()) == flat(
        snapshot.materialize()
    )


def test_without_an_auto_encoder_there_is_no_state_and_no_outlier_score() -> None:
    plain = Encoder(task=Task.CLASSIFICATION)
    assert len(plain.encode(block()).outlier) == 0
    assert "autoencoder" not in plain.export_state()
    assert "autoencoder" not in plain.export_state()["settings"]
    with pytest.raises(ConfigurationError, match="autoencoder is None, but must be given to score"):
        plain.outliers(block())
    with pytest.raises(ConfigurationError, match="autoencoder is None, but must be given to decod"):
        plain.decode(np.zeros((1, 4)))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: state["weights"].update(output=np.zeros((9, 4))),
        lambda state: state["weights"].update(first=np.zeros((4, 5))),
        lambda state: state["weights"]["first"].fill(np.inf),
        lambda state: state["squares"]["inner"].resize(3, refcheck=False),
        lambda state: state["weights"].update(presence_bias=np.zeros(1 << 14)),
        lambda state: state.update(moments=np.zeros(2)),
        lambda state: state.update(moments=np.array([1.0, 0.0, -1.0])),
        lambda state: state.pop("squares"),
        lambda state: state.update(number="many"),
    ],
)
def test_a_damaged_state_is_refused(spoil: Any) -> None:
    coding = encoder(hidden=[8])
    coding.encode(block())
    state = coding.export_state()
    spoil(state["autoencoder"])
    with pytest.raises(ModelFileError):
        Encoder.restore_state(state)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"code": 0}, "code is 0, but must be >= 1"),
        ({"hidden": [8, 2000]}, r"hidden\[1\] is 2000, but must be <= 1024"),
        ({"hidden": [8] * 5}, "but must have at most 4 items"),
        ({"code": 1.5}, "code is 1.5, but must be a whole number"),
        ({"code": "a"}, "code is 'a', but must be a whole number"),
        ({"noise": "a"}, "noise is 'a', but must be a number"),
        ({"noise": 1.0}, "noise is 1.0, but must be < 1"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0, but must be > 0"),
        ({"fading": 0.0}, "fading is 0.0, but must be > 0"),
        ({"activation": "sine"}, "activation is 'sine', but must be 'tanh'"),
        ({"optimizer": "adam"}, "optimizer is 'adam', but must be 'adagrad'"),
        ({"inputs": "both"}, "inputs is 'both', but must be 'add'"),
        ({"dtype": "int8"}, "dtype is 'int8', but must be 'float32'"),
        ({"layers": 3}, "autoencoder.layers is not a known setting; known here: code, hidden"),
    ],
)
def test_an_invalid_setting_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Encoder(task=Task.REGRESSION, autoencoder=given)

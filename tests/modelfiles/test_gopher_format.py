"""Files of gopher-neural, go-neural and gopher-learn, and hand-made networks as models."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.modelfiles.model import Model
from streamnet.networks.neural_network import NeuralNetwork
from streamnet.online.estimators import OnlineClassifier, OnlineRegressor
from streamnet.samples import Task
from streamnet.settings.candidate import CandidateSettings
from streamnet.settings.keywords import EncoderKeywords
from tests.networks import gopher

# As gopher-neural's persist.ToFile wrote it: three enters, layers of two and two units.
DUMP = (
    '{"Enters":3,"Weights":[[[0.9400636758259604,0.4542782200233908,0.6815026053382123],'
    "[0.7247365990923136,0.15362538679273663,0.3466129585984483]],"
    "[[-0.35860474613019033,-0.034406795727558115],[0.21917089770765452,0.296751187988056]]],"
    '"OutLabels":{"0":"R","1":"M"}}'
)
UNNAMED = json.dumps({name: json.loads(DUMP)[name] for name in ("Enters", "Weights")})


def written(folder: Path, text: str) -> Path:
    path = folder / "gopher.json"
    path.write_text(text)
    return path


def rows_of(model: Model, X: list[list[float]]) -> list[dict[str, Any]]:
    names = [field.name for field in model.fields]
    return [dict(zip(names, x, strict=True)) for x in X]


# ------------------------------------------------------------------------------- reading


def test_a_model_predicts_what_gopher_neural_computes(tmp_path: Path) -> None:
    model = Model.load(written(tmp_path, DUMP))
    assert (model.task, model.labels) == (Task.CLASSIFICATION, ("R", "M"))
    assert [field.name for field in model.fields] == ["f0", "f1", "f2"]
    reference = gopher.Gopher(json.loads(DUMP)["Weights"])
    X = (np.random.default_rng(0).normal(size=(200, 3)) * 3).tolist()
    said = np.array([reference.calculate(x) for x in X])
    calculated = model.neural_network().calculate(X)
    np.testing.assert_allclose(calculated, said, rtol=0, atol=1e-15)
    rows = rows_of(model, X)
    shares = said / said.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(rows), shares, rtol=0, atol=1e-15)
    assert model.predict(rows).tolist() == ["RM"[i] for i in said.argmax(axis=1)]


def test_a_number_is_predicted_as_computed(tmp_path: Path) -> None:
    numbers = gopher.golden()
    model = Model.load(written(tmp_path, json.dumps(numbers["after"])))
    assert model.task is Task.REGRESSION
    (x,) = numbers["x_first5"][:1]
    found = model.predict(rows_of(model, [x]))
    np.testing.assert_allclose(found, numbers["calculate_x0_after"], rtol=0, atol=1e-15)


def test_outputs_without_labels_are_called_by_their_number(tmp_path: Path) -> None:
    assert Model.load(written(tmp_path, UNNAMED)).labels == ("0", "1")
    partly = json.loads(DUMP) | {"OutLabels": {"1": "M"}}
    assert Model.load(written(tmp_path, json.dumps(partly))).labels == ("0", "M")


def test_the_nested_network_of_gopher_learn_is_found(tmp_path: Path) -> None:
    text = json.dumps({"NetworkInput": 3, "Network": json.loads(DUMP), "AddedPoints": 0})
    assert Model.load(written(tmp_path, text)).labels == ("R", "M")


def test_inputs_get_the_names_that_are_given(tmp_path: Path) -> None:
    path = written(tmp_path, DUMP)
    model = Model.from_gopher(path, names=["a", "b", "c"], learning_rate=0.25)
    assert [field.name for field in model.fields] == ["a", "b", "c"]
    assert model.settings.learning_rate == 0.25
    with pytest.raises(ConfigurationError, match="names has 2 distinct names, but must have 3"):
        Model.from_gopher(path, names=["a", "b"])
    with pytest.raises(ConfigurationError, match="learning_rate is 0, but must be > 0"):
        Model.from_gopher(path, learning_rate=0)


def test_an_imported_model_is_saved_like_any_other(tmp_path: Path) -> None:
    model = Model.load(written(tmp_path, DUMP))
    rows = rows_of(model, [[0.1, -2.5, 1e9]])
    for name in ("model.json", "model.safetensors"):
        model.save(tmp_path / name)
        again = Model.load(tmp_path / name)
        assert np.array_equal(again.outputs(rows), model.outputs(rows))


# ------------------------------------------------------------------------------- damage

WRONG = [
    ({"Enters": "3"}, r"Enters is '3', but must be from 1 to"),
    ({"Enters": 0}, "Enters is 0"),
    ({"Enters": True}, "Enters is True"),
    ({"Enters": 3.0}, "Enters is 3.0"),
    ({"Enters": 4}, r"Weights\[0\]\[0\] has 3 weights, but must have 4"),
    ({"Weights": {}}, "Weights must be a list of 1 to 9 layers"),
    ({"Weights": []}, "Weights must be a list of 1 to 9 layers"),
    ({"Weights": [[]]}, r"Weights\[0\] must be a list of neurons"),
    ({"Weights": [[1.0]]}, r"Weights\[0\]\[0\] is 1.0, but must be a list of 3 weights"),
    ({"Weights": [[[1, 2]]]}, r"Weights\[0\]\[0\] has 2 weights, but must have 3"),
    ({"Weights": [[[1, 2, "3"]]]}, r"Weights\[0\]\[0\]\[2\] is '3', but must be a finite number"),
    ({"Weights": [[[1, None, 3]]]}, r"Weights\[0\]\[0\]\[1\] is None"),
    ({"Weights": [[[1, True, 3]]]}, r"Weights\[0\]\[0\]\[1\] is True"),
    ({"Weights": [[[1, 10**400, 3]]]}, r"Weights\[0\]\[0\]\[1\] is 1000000"),
    ({"Weights": [[[1, 2, 3]], [[1, 2]]]}, r"Weights\[1\]\[0\] has 2 weights, but must have 1"),
    ({"OutLabels": ["R"]}, "OutLabels is list, but must be an object"),
    (
        {"OutLabels": {"R": "0"}},
        "OutLabels has the key 'R', but must have numbers of the 2 outputs",
    ),
    ({"OutLabels": {"2": "R"}}, "OutLabels has the key '2'"),
    ({"OutLabels": {"-1": "R"}}, "OutLabels has the key '-1'"),
    ({"OutLabels": {"0": 5}}, r"OutLabels\[0\] is 5, but must be text"),
    ({"OutLabels": {"00": "R"}}, "OutLabels has the key '00'"),
    ({"OutLabels": {"0": "\ud800"}}, r"OutLabels\[0\] is '\\ud800', but must be Unicode text"),
    ({"OutLabels": {"0": "R", "1": "R"}}, "must have no name twice"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_an_invalid_file_is_refused_with_the_place(tmp_path: Path, change, message) -> None:
    path = written(tmp_path, json.dumps(json.loads(DUMP) | change))
    with pytest.raises(ModelFileError, match=message) as caught:
        Model.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        DUMP.replace("0.9400636758259604", "NaN"),
        DUMP.replace("0.9400636758259604", "1e999"),
        DUMP[:-20],
        '{"Weights":' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"Network":' * 100_000 + "{}" + "}" * 100_000,
        DUMP.replace('"Enters":3', '"Enters":3,"Enters":3'),
    ],
)
def test_invalid_json_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ModelFileError):
        Model.load(written(tmp_path, text))


def test_another_json_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ModelFileError, match="has no Weights, so it is no network of gopher-neural"
    ):
        Model.from_gopher(written(tmp_path, "{}"))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)


@hypothesis_settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    change=st.dictionaries(st.sampled_from(["Enters", "Weights", "OutLabels", "Network"]), anything)
)
def test_any_content_is_at_most_an_error(tmp_path: Path, change) -> None:
    path = written(tmp_path, json.dumps(json.loads(DUMP) | change))
    with suppress(ModelFileError):
        model = Model.load(path)
        assert np.isfinite(model.outputs(rows_of(model, [[0.0] * len(model.fields)]))).all()


# ------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("text", [DUMP, UNNAMED])
def test_imported_weights_are_exported_exactly(tmp_path: Path, text: str) -> None:
    Model.load(written(tmp_path, text)).export(tmp_path / "out.json")
    before, after = json.loads(text), json.loads((tmp_path / "out.json").read_text())
    assert after["Weights"] == before["Weights"]
    assert after["OutLabels"] == before.get("OutLabels", {"0": "0", "1": "1"})


def test_a_file_of_a_number_has_no_labels(tmp_path: Path) -> None:
    numbers = gopher.golden()["after"] | {"OutLabels": {}}
    Model.load(written(tmp_path, json.dumps(numbers))).export(tmp_path / "out.json")
    assert "OutLabels" not in json.loads((tmp_path / "out.json").read_text())


@given(
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    seed=st.integers(0, 99),
    scale=st.floats(1e-5, 1e5),
)
@hypothesis_settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_exported_network_is_imported_exactly(tmp_path: Path, sizes, seed, scale) -> None:
    inputs, *hidden, outputs = sizes
    network = NeuralNetwork(
        inputs,
        CandidateSettings.gopher(hidden=tuple(hidden)),
        labels=[f"label {o}" for o in range(outputs)],
        seed=seed,
    )
    network.weights = [matrix * scale for matrix in network.weights]
    Model.of(network).export(tmp_path / "out.json")
    again = Model.load(tmp_path / "out.json").neural_network()
    assert again.labels == network.labels
    for mine, theirs in zip(again.weights, network.weights, strict=True):
        assert np.array_equal(mine, theirs)


REFUSED = [
    ({"activation": "tanh"}, "layer 0 is tanh, but there is only logistic"),
    ({"output": "identity"}, "layer 1 is identity, but there is only logistic"),
    ({"bias": True}, "it has biases, but there are none"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_networks_that_gopher_neural_cannot_compute_are_not_exported(
    tmp_path: Path, change, message
) -> None:
    settings = {**CandidateSettings.gopher(hidden=(3,)).as_dict(), **change}
    network = NeuralNetwork(2, CandidateSettings.from_dict(settings), outputs=1)
    if change.get("bias"):
        network.biases = [[1, 2, 3], [4]]
    with pytest.raises(ConfigurationError, match=message):
        Model.of(network).export(tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


RAW = {"scaling": "none", "target_scaling": "none", "category_limit": 0}


@pytest.mark.parametrize(
    ("encoder", "row", "serve", "message"),
    [
        ({}, {"x": 1.5}, "champion", "it scales its inputs .*; it scales its target"),
        (RAW, {"x": "a"}, "champion", "columns that are a category"),
        (RAW, {"x": 1.5}, "ensemble", "through an ensemble"),
        (RAW, {"x": 1.5}, "champion", "for single values, or for missing ones"),
        ({**RAW, "scalings": {"x": "rank"}}, {"x": 1.5}, "champion", "it scales its inputs"),
    ],
)
def test_models_beyond_one_network_of_raw_numbers_are_refused(encoder, row, serve, message) -> None:
    learner = OnlineRegressor([CandidateSettings.gopher()], encoder=encoder, serve=serve)
    for i in range(20):
        learner.learn_one({"z": 1.0 * i, **(row if i < 10 else {})}, 0.5 + 0.01 * i)
    with pytest.raises(ConfigurationError, match=message):
        learner.model().neural_network()


def test_several_networks_are_refused() -> None:
    learner = OnlineClassifier([CandidateSettings.gopher()] * 2, encoder={"scaling": "none"})
    for i in range(20):
        learner.learn_one({"x": i * 0.1}, "ab"[i % 2])
    with pytest.raises(ConfigurationError, match="it has 2 networks"):
        learner.model().neural_network()


# ---------------------------------------------------------------------- hand-made networks


def test_any_network_survives_the_way_to_a_model_and_back(tmp_path: Path) -> None:
    settings = CandidateSettings(hidden=(5, 4), activation=("relu", "tanh"), optimizer="adam")
    network = NeuralNetwork(3, settings, labels=("a", "b", "c"), seed=3)
    rng = np.random.default_rng(1)
    X, Y = rng.normal(size=(50, 3)), np.eye(3)[rng.integers(0, 3, 50)]
    network.learn(X, Y)
    model = Model.of(network)
    network.learn(X, Y)  # which does not concern the model
    model.save(tmp_path / "model.safetensors")
    again = Model.load(tmp_path / "model.safetensors").neural_network()
    rows = rows_of(model, X.tolist())
    np.testing.assert_allclose(again.calculate(X), model.predict_proba(rows), atol=1e-15)
    assert not np.array_equal(again.calculate(X), network.calculate(X))
    assert again.labels == ("a", "b", "c")


def test_a_single_label_names_the_number(tmp_path: Path) -> None:
    model = Model.of(NeuralNetwork(2, labels=("output",)))
    assert model.task is Task.REGRESSION
    model.export(tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text())["OutLabels"] == {"0": "output"}


def test_several_outputs_without_labels_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="labels is empty, but must name 2 outputs"):
        Model.of(NeuralNetwork(2, outputs=2))
    with pytest.raises(ConfigurationError, match="labels must be texts that can be printed"):
        Model.of(NeuralNetwork(2, labels=("a", "\ud800")))


def test_learning_settings_do_not_prevent_export_and_splines_are_named() -> None:
    weighed = replace(CandidateSettings.gopher(), class_weight=0.5)
    rows = [({"x": i % 7 / 7.0}, "ab"[i % 7 > 3]) for i in range(100)]
    encoder: EncoderKeywords = {"scaling": "none", "category_limit": 0}
    for settings in (weighed, replace(weighed, knots=3)):
        learner = OnlineClassifier([settings], encoder=encoder, serve="champion")
        for x, y in rows:
            learner.learn_one(x, y)
        model = learner.model()
        if settings.knots:
            with pytest.raises(ConfigurationError, match=r"it has splines \(learn with knots 0\)"):
                model.neural_network()
        else:
            said = model.neural_network().calculate([3 / 7.0])
            share = model.predict_proba([{"x": 3 / 7.0}])[0]
            assert said / said.sum() == pytest.approx(share, abs=1e-6)

"""Models saved and loaded: the same to the bit, or refused."""

from __future__ import annotations

import copy
import json
import math
import os
import pickle
from collections import deque
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
import pytest
import safetensors.numpy
from msgspec import structs

from streamnet.errors import ConfigurationError, DataError, ModelFileError, SampleError, SchemaError
from streamnet.learning.learner import Learner
from streamnet.modelfiles import Model, json_format, safetensors_format
from streamnet.modelfiles.document import digest
from streamnet.networks.neural_network import NeuralNetwork
from streamnet.online import OnlineClassifier
from streamnet.samples import Block, Field, Kind, Schema, Task
from streamnet.settings.candidate import CandidateSettings
from streamnet.sources import Columns, RowReader
from tests.learning.streams import differences
from tests.modelfiles.models import SAMPLES, block_of, loaded, small, trained
from tests.online.estimators import FEW
from tests.sources.harness import FrameRow

GOLDEN = Path(__file__).parent / "golden"
SUFFIXES = ("json", "safetensors")
KINDS = [
    (task, hidden, dtype, sparse)
    for task in Task
    for hidden in ((), (4,), (5, 3))
    for dtype in ("float32", "float64")
    for sparse in (False, True)
]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(("task", "hidden", "dtype", "sparse"), KINDS)
def test_a_saved_model_is_restored_exactly(
    tmp_path: Path, suffix: str, task: Task, hidden: tuple[int, ...], dtype: str, sparse: bool
) -> None:
    model = trained(task, hidden, dtype, sparse=sparse)
    path = tmp_path / f"model.{suffix}"
    model.save(path)
    again = Model.load(path)
    assert differences(again.document(), model.document()) == []
    block = block_of(task, sparse=sparse)
    assert np.array_equal(again.outputs(block), model.outputs(block))
    assert again.predict(SAMPLES).tolist() == model.predict(SAMPLES).tolist()
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_saving_the_same_model_twice_gives_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        small().save(tmp_path / f"{name}.{suffix}")
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_both_formats_hold_the_same_checksum(tmp_path: Path) -> None:
    documents = []
    for suffix, form in (("json", json_format), ("safetensors", safetensors_format)):
        trained(Task.REGRESSION).save(tmp_path / f"m.{suffix}")
        data = (tmp_path / f"m.{suffix}").read_bytes()
        documents.append(form.decode(data, "m"))
    assert documents[0]["checksum"] == documents[1]["checksum"] == digest(documents[0])
    assert differences(*documents) == []


def test_the_json_file_can_be_read_by_anyone(tmp_path: Path) -> None:
    model = trained(Task.CLASSIFICATION)
    model.save(tmp_path / "m.json")
    document = json.loads((tmp_path / "m.json").read_text())
    assert document["labels"] == list(model.labels)
    first = document["networks"]["0"]["weights"]["first"]
    matrix = np.array(first["values"], first["dtype"]).reshape(first["shape"])
    assert np.array_equal(matrix, model.networks[0].weights["first"])


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("task", list(Task))
def test_a_file_of_format_version_1_predicts_as_it_did_when_it_was_written(
    task: Task, suffix: str
) -> None:
    expected = json.loads((GOLDEN / "answers.json").read_text())[str(task)]
    model = Model.load(GOLDEN / f"{task}.{suffix}")
    assert model.outputs(SAMPLES).tolist() == [pytest.approx(row, rel=1e-5) for row in expected]
    assert model.about["note"]["nested"][4] == "ü\ud800"


def test_a_file_without_a_known_suffix_is_recognized_by_its_content(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        small().save(tmp_path / f"m.{suffix}")
        (tmp_path / f"m.{suffix}").rename(tmp_path / f"{suffix}.model")
        again = Model.load(tmp_path / f"{suffix}.model")
        assert differences(again.document(), small().document()) == []


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"none\.json can't be read: No such file"):
        Model.load(tmp_path / "none.json")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.json").mkdir()
    with pytest.raises(ModelFileError, match=r"m\.json is no file"):
        Model.load(tmp_path / "m.json")


def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.json")
    with pytest.raises(ModelFileError, match=r"m\.json is no file"):
        Model.load(tmp_path / "m.json")


@pytest.mark.parametrize("name", ["m.json", "m.safetensors", "m.bin"])
@pytest.mark.parametrize(
    "data", [b"", b"{", b"{}", b"[]", b"null", b"\x00" * 100, b"\xff" * 100, b"[" * 100_000]
)
def test_any_other_file_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ModelFileError, match=name):
        Model.load(tmp_path / name)


def part(**values: Any) -> dict[str, Any]:
    """The only network of a document, but for some values."""
    return dict(small().document()["networks"]["0"], **values)


def changed(**values: Any) -> bytes:
    document = small().document() | values
    return json_format.encode(document | {"checksum": digest(document)})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": "another"}, "m is not a streamnet model"),
        ({"version": 2}, "m has format version 2, but this streamnet reads 1"),
        ({"version": None}, "m has format version None"),
        ({"task": "regression"}, "its task or labels are not its encoder's"),
        ({"labels": ["b", "a"]}, "its task or labels are not its encoder's"),
        ({"dtype": "float64"}, "has the type float32, but must have float64"),
        ({"dtype": "float16"}, "dtype is 'float16', but must be float32 or float64"),
        ({"dtype": "03"}, "dtype is '03', but must be float32 or float64"),
        ({"networks": {}}, "there are 0 networks, but 1 are needed"),
        ({"networks": {"1": {}}}, "is damaged: KeyError"),
        ({"networks": {"0": part(weights={})}}, "the network has the parts"),
        ({"networks": {"0": part(settings={"hidden": [3]})}}, "has shape"),
        (
            {"networks": {"0": part(settings={"hiden": [3]})}},
            "hiden is not a known setting of CandidateSettings",
        ),
        ({"ensemble": {}}, "ensemble: the state is damaged"),
        ({"encoder": {}}, "the encoder's state is damaged"),
    ],
)
def test_an_inconsistent_model_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        loaded(json_format, changed(**values))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_network_that_is_not_finite_is_refused(value: float) -> None:
    model = small()
    weights = {name: matrix.copy() for name, matrix in model.networks[0].weights.items()}
    weights["output"][0, 0] = value
    encoder = model.document()["encoder"]
    with pytest.raises(ModelFileError, match="output has a weight that is not finite"):
        Model(encoder=encoder, networks=[(model.settings, weights)])
    document = model.document() | {"networks": {"0": part(weights=weights)}}
    document["checksum"] = digest(document)
    with pytest.raises(ModelFileError, match="not finite"):
        loaded(safetensors_format, safetensors_format.encode(document))


def test_rows_that_the_encoder_does_not_know_are_refused() -> None:
    model = small()
    weights = dict(model.networks[0].weights)
    weights["sparse"] = weights["sparse"][:-1]
    with pytest.raises(ModelFileError, match="sparse has shape"):
        Model(encoder=model.document()["encoder"], networks=[(model.settings, weights)])


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"must end in one of \.safetensors, \.json"):
        small().save(tmp_path / "m.onnx")


def test_a_file_that_is_too_large_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small().save(tmp_path / "m.json")
    size = (tmp_path / "m.json").stat().st_size
    monkeypatch.setattr("streamnet.modelfiles.document._MAX_BYTES", size - 1)
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("it was read"))
    with pytest.raises(ModelFileError, match=rf"m\.json has {size} bytes, but must have <= "):
        Model.load(tmp_path / "m.json")


@pytest.mark.parametrize("form", [json_format, safetensors_format])
def test_values_that_a_file_cannot_hold_are_refused(form: ModuleType) -> None:
    for value in ({"a": {1, 2}}, {"a": 1 + 2j}, {"a": math.inf}):
        with pytest.raises((TypeError, ValueError)):
            form.encode(value)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"m\.json can't be written: No such file"):
        small().save(tmp_path / "nowhere" / "m.json")


def test_a_model_ignores_features_it_does_not_know() -> None:
    model = trained(Task.CLASSIFICATION)
    plain = model.predict_proba(SAMPLES[0])
    assert np.array_equal(model.predict_proba(SAMPLES[0] | {"new": "x"}), plain)


def test_one_sample_and_a_list_of_one_are_predicted_alike() -> None:
    model = trained(Task.REGRESSION)
    assert model.predict(SAMPLES[0]).tolist() == model.predict(SAMPLES[:1]).tolist()
    assert model.predict([]).shape == (0,)


def test_probabilities_sum_to_one_and_the_label_has_the_largest() -> None:
    model = trained(Task.CLASSIFICATION)
    shares = model.predict_proba(SAMPLES)
    assert shares.sum(axis=1) == pytest.approx(1.0)
    assert model.predict(SAMPLES).tolist() == [model.labels[i] for i in shares.argmax(axis=1)]


def test_numbers_have_no_probabilities() -> None:
    with pytest.raises(ConfigurationError, match="probabilities need classification"):
        trained(Task.REGRESSION).predict_proba(SAMPLES)


def test_an_unreadable_value_is_refused_with_its_sample() -> None:
    two: list[dict[str, Any]] = [{"size": 1}, {"size": "large"}]
    with pytest.raises(ConfigurationError, match=r"sample 1: .*'size'.*large"):
        trained(Task.REGRESSION).predict(two)
    with pytest.raises(ConfigurationError, match=r"sample 1: .*'size' has 'an integer of too"):
        trained(Task.REGRESSION).predict([{"size": 1}, {"size": 10**5000}])


@pytest.mark.parametrize("samples", ["abc", 5, None, np.zeros(4), [1, 2], [[1], {"size": 1}]])
def test_samples_of_another_type_are_refused(samples: Any) -> None:
    with pytest.raises(DataError, match=r"X (is of type|has 1 dimension|is neither)"):
        trained(Task.REGRESSION).predict(samples)
    with pytest.raises(ConfigurationError, match="sample 1: the sample is not a mapping of names"):
        trained(Task.REGRESSION).predict([{"size": 1}, samples])


def test_rows_of_a_frame_are_samples() -> None:
    model = trained(Task.REGRESSION)
    rows: list[Any] = [FrameRow({**sample, "other": 1}) for sample in SAMPLES]
    assert model.predict(rows).tolist() == model.predict(SAMPLES).tolist()
    assert model.predict(rows[0]).tolist() == model.predict(SAMPLES[:1]).tolist()


def test_a_model_predicts_everything_its_estimator_does() -> None:
    X = np.random.default_rng(0).normal(size=(200, 3))
    hidden = np.ma.masked_greater(X, 1.0)
    estimator = OnlineClassifier(FEW, encoder={"autoencoder": {"code": 2}})
    estimator.partial_fit(hidden, X[:, 0] > 0)
    model = estimator.model()
    rows = [{f"f{i}": float(v) for i, v in enumerate(row)} for row in X]
    forms: list[Any] = [X, X.tolist(), pl.DataFrame(rows), np.array(rows), deque(rows), iter(rows)]
    assert np.allclose(model.outputs(rows), estimator.predict_proba(rows))
    for samples in forms:
        assert np.array_equal(model.predict_proba(samples), model.outputs(rows))
    assert np.allclose(model.outputs(hidden), estimator.predict_proba(hidden))
    assert not np.array_equal(model.outputs(hidden), model.outputs(X))
    assert model.predict(X).tolist() == model.predict(rows).tolist()
    assert np.array_equal(model.outlier_scores(X), model.outlier_scores(rows))
    assert model.outputs(np.zeros((0, 3))).shape == (0, 2)


def test_columns_that_do_not_fit_a_model_are_refused_instead_of_missing() -> None:
    model, network = trained(Task.REGRESSION), Model.of(NeuralNetwork(3))
    with pytest.raises(
        SchemaError, match=r"2 columns without names \(f0, f1\), but must have the known ones"
    ):
        model.predict(np.zeros((1, 2)))
    with pytest.raises(SchemaError, match="columns Size, hue, but known are: size, "):
        model.predict(pl.DataFrame({"Size": [1], "hue": ["red"]}))
    for columns in (2, 4):
        with pytest.raises(SchemaError, match=f"X has {columns} columns .* known ones: f0, f1, f2"):
            network.predict(np.zeros((1, columns)))
    column: Any = FrameRow({0: 1.0, 1: 2.0})  # type: ignore[dict-item]
    with pytest.raises(SchemaError, match="columns 0, 1, but known are: size, "):
        model.predict(column)
    assert model.predict(pl.DataFrame({"size": [1.0]})).tolist() == [model.predict({"size": 1})[0]]
    with pytest.raises(SampleError, match="the model does not know the column 'other'"):
        model.predict({"other": 1})


def test_columns_of_a_block_are_put_in_the_models_order() -> None:
    model = trained(Task.REGRESSION)
    block = block_of(Task.REGRESSION)
    other = block.schema.fields[::-1]
    swapped = structs.replace(
        block,
        schema=Schema(other, "y", Task.REGRESSION),
        numbers=np.ascontiguousarray(block.numbers[:, ::-1]),
        words=block.words[::-1],
    )
    assert np.array_equal(model.outputs(swapped), model.outputs(block))


@pytest.mark.parametrize("absent", ["size", "since", "colour", "note"])
def test_an_absent_column_counts_as_missing(absent: str) -> None:
    model = trained(Task.CLASSIFICATION)
    given = {"size": 1.5, "since": "2024-02-29", "colour": "red", "note": "a large door"}
    fields = tuple(field for field in model.fields if field.name != absent)
    reader = RowReader(Columns(kinds={field.name: field.kind for field in fields}))
    (block,) = reader.blocks([{name: given[name] for name, _ in fields}])
    assert absent not in [field.name for field in block.schema.fields]
    expected = model.predict_proba({**given, absent: None})
    assert np.array_equal(model.predict_proba(block), expected)
    assert not np.array_equal(model.predict_proba(given), expected)


def test_a_column_of_another_kind_is_refused() -> None:
    block = block_of(Task.REGRESSION)
    fields = (Field("colour", Kind.TEXT), Field("note", Kind.TEXT))
    other = structs.replace(block, schema=Schema(fields, "y"), numbers=np.empty((len(block), 0)))
    with pytest.raises(SchemaError, match="column 'colour' is a text, but the model learned it"):
        trained(Task.REGRESSION).predict(other)


def test_safetensors_files_have_the_bytes_of_the_safetensors_package() -> None:
    codes = ("?", "u1", "i1", "i2", "u2", "f2", "i4", "u4", "f4", "f8", "i8", "u8")
    document: dict[str, Any] = {
        "plain": {"text": '\u00e9 " \\ \n', "numbers": [1, 0.1, None, True]},
        "arrays": {f"{code} of \u00e9\n": np.arange(6).astype(code) for code in reversed(codes)},
        "shapes": {
            "none": np.zeros((0, 3), np.float32),
            "turned": np.arange(6.0).reshape(2, 3).T,
            "big-endian": np.arange(3, dtype=">i4"),
            "large": np.arange(50_000, dtype=np.float64),
        },
    }
    data = safetensors_format.encode(document)
    tensors = safetensors.numpy.load(data)
    size = int.from_bytes(data[:8], "little")
    told = json.loads(data[8 : 8 + size])["__metadata__"]
    assert len(tensors) == 16
    assert data == safetensors.numpy.save(tensors, metadata=told)
    document["shapes"]["big-endian"] = np.arange(3, dtype="i4")  # the same numbers
    assert differences(safetensors_format.decode(data, "m"), document) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_model_of_the_first_sample_can_be_saved_and_loaded(tmp_path: Path, suffix: str) -> None:
    """Of the last targets, some are not known yet."""
    classifier = OnlineClassifier(seed=0)
    classifier.learn_one({"a": 1}, "x")
    model = classifier.model()
    model.save(tmp_path / f"m.{suffix}")
    again = Model.load(tmp_path / f"m.{suffix}")
    assert again.document()["checksum"] == model.document()["checksum"]
    assert again.predict([{"a": 1}]).tolist() == ["x"]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copied_or_pickled_model_is_the_same(copied: Callable[[Model], Model]) -> None:
    model = trained(Task.CLASSIFICATION)
    again = copied(model)
    assert again.document()["checksum"] == model.document()["checksum"]
    assert again.predict(SAMPLES).tolist() == model.predict(SAMPLES).tolist()


WAYS: dict[str, Any] = {
    "ranks": {"scaling": "rank", "scalings": {"size": "robust"}},
    "extremes": {"scaling": "minmax", "duplicates": "drop"},
    "raw": {"scaling": "none"},
    "tokens": {"texts": {"note": "tokens"}},
    "chosen": {"text": "auto"},
}


@cache
def model_of(way: str) -> Model:
    settings = CandidateSettings(hidden=(4,), optimizer="adam")
    learner = Learner(task=Task.CLASSIFICATION, candidates=[settings], encoder=WAYS[way], seed=2)
    learner.learn(block_of(Task.CLASSIFICATION))
    return learner.model()


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
@pytest.mark.parametrize("way", WAYS)
def test_a_model_keeps_its_encoder_settings(tmp_path: Path, way: str, suffix: str) -> None:
    model = model_of(way)
    path = tmp_path / f"model.{suffix}"
    model.save(path)
    again = Model.load(path)
    assert differences(again.document(), model.document()) == []
    assert np.array_equal(again.outputs(SAMPLES), model.outputs(SAMPLES))


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_infinite_extremes_of_an_empty_column_are_saved(tmp_path: Path, suffix: str) -> None:
    schema = Schema((Field("x", Kind.NUMBER), Field("gap", Kind.NUMBER)), "y", Task.REGRESSION)
    numbers = np.array([[0.0, np.nan], [1.0, np.nan]])
    block = Block(schema, "-", numbers, (), np.array([0.0, 1.0]), np.zeros((3, 3), np.int64))
    learner = Learner(
        task=Task.REGRESSION,
        candidates=[CandidateSettings(hidden=(4,))],
        encoder={"scaling": "minmax"},
    )
    learner.learn(block)
    model = learner.model()
    model.save(tmp_path / f"model.{suffix}")
    again = Model.load(tmp_path / f"model.{suffix}")
    assert again.document()["encoder"]["extremes"].tolist() == [[0.0, 1.0], [np.inf, -np.inf]]
    assert again.document()["checksum"] == model.document()["checksum"]


@pytest.mark.parametrize(
    ("way", "part"),
    [
        ("ranks", "summaries"),
        ("extremes", "extremes"),
        ("extremes", "compared_products"),
        ("tokens", "texts"),
        ("tokens", "text_vocabularies"),
    ],
)
def test_a_file_without_state_that_its_encoder_needs_is_refused(way: str, part: str) -> None:
    document = model_of(way).document()
    document["encoder"] = {k: v for k, v in document["encoder"].items() if k != part}
    with pytest.raises(ModelFileError, match=f"encoder.*{part}"):
        Model.from_document(document)

"""Exports to ONNX and C predict as the model does, whatever the samples are."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import polars as pl
import pytest

import streamnet
from streamnet.errors import ConfigurationError
from streamnet.modelfiles import Model
from streamnet.modelfiles.columns import align_columns
from streamnet.modelfiles.exports import frozen_model
from streamnet.samples import Block, ClassChange, Task
from streamnet.settings.candidate import CandidateSettings
from tests.benchmarks.peers.streams import STREAMS, Stream
from tests.modelfiles.exports.exported import (
    FIELDS,
    NETWORKS,
    learn,
    make_block,
    make_odd_block,
    run_c,
    run_onnx,
)
from tests.modelfiles.models import trained

CLASSES, NUMBERS = Task.CLASSIFICATION, Task.REGRESSION
LOGISTIC = CandidateSettings(hidden=(3,), output="logistic", loss="squared", knots=4)
LOGARITHMIC = CandidateSettings(hidden=(3,), target_transform="log")

MODELS: dict[str, tuple[Task, dict[str, Any]]] = {
    "labels": (CLASSES, {}),
    "numbers": (NUMBERS, {}),
    "labels in float64": (CLASSES, {"dtype": "float64"}),
    "one network for labels": (CLASSES, {"networks": NETWORKS[:1], "serve": "champion"}),
    "one network for numbers": (NUMBERS, {"networks": NETWORKS[1:2], "serve": "champion"}),
    "a champion with last targets": (CLASSES, {"networks": NETWORKS[1:3], "serve": "champion"}),
    "logistic outputs": (CLASSES, {"networks": (LOGISTIC, NETWORKS[0])}),
    "logarithms": (NUMBERS, {"networks": (LOGARITHMIC, NETWORKS[0])}),
    "raw targets": (NUMBERS, {"encoder": (("target_scaling", "none"),)}),
    "minmax": (NUMBERS, {"encoder": (("scaling", "minmax"),)}),
    "robust": (CLASSES, {"encoder": (("scaling", "robust"), ("duplicates", "drop"))}),
    "rank": (CLASSES, {"encoder": (("scaling", "rank"), ("category_limit", 0))}),
    "balanced": (CLASSES, {"criterion": "balanced_accuracy"}),
    "sets": (CLASSES, {"interval": 0.8}),
    "intervals": (NUMBERS, {"interval": 0.8}),
    "a merged class": (CLASSES, {"change": ClassChange("mid", "low")}),
    "a retired class": (CLASSES, {"change": ClassChange("mid", None), "interval": 0.8}),
    "few rows": (CLASSES, {"encoder": (("max_rows", 6),), "skip": ("shop",)}),
    "only categories": (CLASSES, {"skip": tuple(n for n, _ in FIELDS if n != "colour ?")}),
}


def compare(model: Model, block: Block, answers: Any) -> None:
    """Check outputs to 1e-5, of numbers in standard deviations, and labels where it is no tie."""
    wanted = model.outputs(block)
    unit = model.encoder().scale[1] if model.task is NUMBERS else 1.0
    np.testing.assert_allclose(answers.outputs / unit, wanted / unit, rtol=0, atol=1e-5)
    if model.task is CLASSES:
        assert answers.labels == model.predict(block).tolist()
    if model.interval is not None:
        bounds = model.intervals(wanted)
        if model.task is NUMBERS:
            np.testing.assert_allclose(answers.bounds, bounds, rtol=1e-5, atol=1e-5 * unit)
        else:
            np.testing.assert_array_equal(answers.bounds, bounds)


@pytest.mark.parametrize("name", MODELS)
def test_exports_predict_as_the_model_does(name: str, tmp_path: Path) -> None:
    task, settings = MODELS[name]
    model = learn(task, **settings)
    model.export(tmp_path / "m.onnx")
    model.export(tmp_path / "m.c")
    onnx.checker.check_model(tmp_path / "m.onnx", full_check=True)
    for block in (make_block(task, 50), make_odd_block(task)):
        block = align_columns(block, model.fields)
        compare(model, block, run_onnx(tmp_path / "m.onnx", block))
        compare(model, block, run_c(tmp_path / "m.c", model, block))


def test_hashed_values_are_for_c_alone(tmp_path: Path) -> None:
    """A full vocabulary, and large ids."""
    model = learn(CLASSES, encoder=(("max_categories", 3),), ids=2.0**40)
    with pytest.raises(ConfigurationError) as refused:
        model.export(tmp_path / "m.onnx")
    for reason in (
        "column 'shop' has ids from 2147483648 on, which are hashed",
        "column 'colour ?' has more than max_categories values, so that others are hashed",
    ):
        assert reason in str(refused.value)
    model.export(tmp_path / "m.c")
    block = make_odd_block(CLASSES)
    block.numbers[::3, 5] = 2.0**40 + 3.0
    compare(model, block, run_c(tmp_path / "m.c", model, block))


def test_what_can_not_be_exported_is_refused_with_all_reasons(tmp_path: Path) -> None:
    for model, reasons in (
        (trained(CLASSES, sparse=True), ("column 'note' is a text", "it has numbered inputs")),
        (learn(CLASSES, encoder=(("max_rows", 6),)), ("column 'shop' has more ids than",)),
        (
            learn(CLASSES, networks=NETWORKS[2:3], serve="champion"),
            ("its network needs the last targets",),
        ),
        (learn(CLASSES, encoder=(("autoencoder", (("code", 2),)),)), ("it has an auto-encoder",)),
        (learn(CLASSES, n=0), ("it has seen no label yet",)),
    ):
        for suffix in (".c", ".onnx"):
            with pytest.raises(ConfigurationError, match="the model can't be exported: ") as error:
                model.export(tmp_path / f"m{suffix}")
            for reason in reasons:
                assert reason in str(error.value)
            assert not (tmp_path / f"m{suffix}").exists()


def test_an_activation_that_exports_do_not_know_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(frozen_model, "ACTIVATIONS", ("identity", "tanh", "softmax"))
    reasons = "the activation logistic; exports don't know the activation relu"
    with pytest.raises(ConfigurationError, match=reasons):
        learn(CLASSES).export(tmp_path / "m.c")


def test_without_onnx_the_command_that_installs_it_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("streamnet.validation.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"onnx is not installed.*learn\[onnx\]"):
        learn(CLASSES).export(tmp_path / "m.onnx")


def test_an_onnx_file_says_what_it_is_and_takes_any_number_of_samples(tmp_path: Path) -> None:
    model = learn(CLASSES)
    model.export(tmp_path / "m.onnx")
    proto = onnx.load(tmp_path / "m.onnx")
    facts = {each.key: each.value for each in proto.metadata_props}
    assert (facts["streamnet"], facts["task"]) == (streamnet.__version__, "classification")
    assert json.loads(facts["classes"]) == list(model.labels)
    assert json.loads(facts["about"]) == model.about
    kinds = {each.name: each.type.tensor_type for each in proto.graph.input}
    assert list(kinds) == [name for name, _ in model.fields]
    assert kinds["size"].elem_type == onnx.TensorProto.DOUBLE
    assert kinds["int"].elem_type == onnx.TensorProto.STRING
    whole = make_block(CLASSES, 20)
    for count in (0, 1, 20):
        part = whole.part(0, count)
        found = run_onnx(tmp_path / "m.onnx", part)
        assert found.outputs.shape == (count, 3)
        np.testing.assert_array_equal(found.labels, model.predict(part))


@pytest.mark.parametrize(
    ("classes", "dtype"),
    [([2, -5], "tensor(int64)"), ([True, False], "tensor(bool)"), ([0.5, 1.5], "tensor(double)"),
     ([1, "a"], "tensor(string)"), (["a", "None"], "tensor(string)")],
)  # fmt: skip
def test_labels_keep_their_type(classes: list[Any], dtype: str, tmp_path: Path) -> None:
    classifier = streamnet.OnlineClassifier(candidates=NETWORKS[1:2], seed=1)
    for i in range(100):
        classifier.learn_one({"output_label": i % 3}, classes[i % 3 == 0])
    model = classifier.model()
    model.export(tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    assert session.get_outputs()[0].type == dtype
    (given,) = session.get_inputs()  # whose name is that of an output
    samples = np.array([[0.0], [1.0], [np.nan]])
    found = session.run(None, {given.name: samples})[0].tolist()
    rows = [{"output_label": x} for (x,) in samples]
    wanted = model.predict(rows).tolist()
    assert found == (wanted if dtype != "tensor(string)" else [str(label) for label in wanted])


def test_a_network_that_explodes_has_no_output(tmp_path: Path) -> None:
    network = streamnet.NeuralNetwork(
        2, streamnet.CandidateSettings(hidden=(2,), activation="relu", output="identity"), seed=1
    )
    model = Model.of(network, names=["a", "b"])
    for suffix in (".onnx", ".c"):
        model.export(tmp_path / f"m{suffix}")
    block = align_columns(make_block(NUMBERS, 3), model.fields)
    block.numbers[:] = [[1.0, 2.0], [1e7, 1e7], [np.nan, 3.0]]
    wanted = model.outputs(block)
    assert np.isfinite(wanted[:, 0]).tolist() == [True, False, True]
    for found in (run_onnx(tmp_path / "m.onnx", block), run_c(tmp_path / "m.c", model, block)):
        np.testing.assert_allclose(found.outputs, wanted, rtol=1e-5)


def test_the_program_of_the_docs_predicts(repository: Path, tmp_path: Path) -> None:
    text = (repository / "docs/exports.md").read_text("utf-8")
    caption, _, code = text.partition("```{code-block} c\n:caption: ")[2].partition("\n")
    _, *commands = caption.split("; ")
    (tmp_path / "main.c").write_text(code.partition("```")[0])
    classifier = streamnet.OnlineClassifier(candidates=NETWORKS[:1], seed=0)
    for i in range(200):
        classifier.learn_one({"hour": i % 24, "day": "mon"}, "busy" if i % 24 > 8 else "quiet")
    model = classifier.model()
    model.export(tmp_path / "busy.c")
    for command in commands:
        subprocess.run(command.split(), cwd=tmp_path, check=True, timeout=120)
    said = subprocess.run(tmp_path / "main", capture_output=True, check=True, text=True, timeout=60)
    label, probability = said.stdout.split()
    wanted = model.predict_proba({"hour": 12, "day": "mon"}).max()
    assert label == "busy"
    assert abs(float(probability) - wanted) < 0.001


def test_two_models_fit_into_one_program(tmp_path: Path) -> None:
    """Each with a prefix of its own, used through its declarations alone."""
    for name, task in (("first", CLASSES), ("second", NUMBERS)):
        learn(task).export(tmp_path / f"{name}.c")
    (tmp_path / "main.c").write_text(
        r"""
#include <math.h>
#include <stdio.h>
#define MODEL_HEADER_ONLY
#define MODEL_PREFIX first
#include "first.c"
#undef MODEL_PREFIX
#define MODEL_PREFIX second
#include "second.c"
int main(void)
{
    first_input a = {.size = 1e6, .rooms = 4, .no_where = NAN, .since = NAN, .day = NAN,
                     .shop = 3, .colour__ = "gr\303\274n", .int_ = NULL};
    second_input b = {.size = 1e6, .rooms = 4, .no_where = NAN, .since = NAN, .day = NAN,
                      .shop = 3, .colour__ = " gr\303\274n\n", .int_ = "?"};
    first_output one;
    second_output two;
    int class = first_predict(&a, &one);
    second_predict(&b, &two);
    printf("%s %.12g %.12g\n", first_labels[class], one.probability[class], two.value);
    return 0;
}
"""
    )
    strict = ("cc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
    for name in ("first", "second"):
        command = (*strict, f"-DMODEL_PREFIX={name}", "-c", f"{name}.c")
        subprocess.run(command, check=True, cwd=tmp_path, timeout=120)
    link = (*strict, "main.c", "first.o", "second.o", "-o", "main", "-lm")
    subprocess.run(link, check=True, cwd=tmp_path, timeout=120)
    said = subprocess.run(tmp_path / "main", capture_output=True, check=True, text=True, timeout=60)
    label, probability, number = said.stdout.split()
    sample = {"size": 1e6, "rooms": 4, "shop": 3, "colour ?": "grün"}
    model, other = learn(CLASSES), learn(NUMBERS)
    assert [label] == model.predict(sample).tolist()
    assert abs(float(probability) - model.predict_proba(sample).max()) < 1e-5
    assert abs(float(number) - other.predict(sample)[0]) < 1e-5 * other.encoder().scale[1]


def test_names_and_labels_may_be_anything(tmp_path: Path) -> None:
    names = ["a */ b", "??/", "new\nline", 'quote"', "größe", "if", "2nd", "a-b", "a.b", "_X", "/*"]
    labels = ["*/ ??/ \\", 'say\n"no"', "größe", ""]
    classifier = streamnet.OnlineClassifier(candidates=NETWORKS[1:2], seed=1)
    samples = [{name: (i >> k) % 2 for k, name in enumerate(names)} for i in range(60)]
    for i, sample in enumerate(samples):
        classifier.learn_one(sample | {"w": labels[i % 3]}, labels[i % 3])
    model = classifier.model()
    assert set(model.labels) == set(labels[:3])
    block = model.read_blocks([{**samples[-1], "w": label} for label in labels], "raise")[0]
    for suffix in (".onnx", ".c"):
        model.export(tmp_path / f"m{suffix}")
    compare(model, block, run_onnx(tmp_path / "m.onnx", block))
    compare(model, block, run_c(tmp_path / "m.c", model, block))


def test_a_real_stream_with_dates_is_predicted_alike(repository: Path, tmp_path: Path) -> None:
    rows = pl.read_csv(repository / "examples/data/bike_hourly.csv.gz", n_rows=600)
    regressor = streamnet.OnlineRegressor(candidates=NETWORKS[:2], seed=1, interval=0.9)
    regressor.partial_fit(rows.drop("cnt"), rows["cnt"])
    check_exports(regressor.model(), rows.drop("cnt"), tmp_path)


def check_exports(model: Model, rows: pl.DataFrame, folder: Path) -> None:
    """Compare predictions of all rows."""
    (block,) = model.read_blocks(rows, "ignore")
    for suffix in (".onnx", ".c"):
        model.export(folder / f"m{suffix}")
    compare(model, block, run_onnx(folder / "m.onnx", block))
    compare(model, block, run_c(folder / "m.c", model, block))


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "stream", [s for s in STREAMS if not s.folder], ids=lambda stream: stream.name
)
def test_whole_ensembles_of_real_streams_predict_alike(
    stream: Stream, shared_data: Path, tmp_path: Path
) -> None:
    """The default population on 10,000 samples, which are then predicted by all three."""
    file = shared_data / f"{stream.name}.csv.gz"
    rows = pl.read_csv(file, n_rows=10_000, infer_schema_length=None)
    result = streamnet.replay(file, target=stream.target, limit=10_000)
    if stream.texts:
        with pytest.raises(ConfigurationError, match="is a text"):
            result.model.export(tmp_path / "m.onnx")
        return
    for part in rows.iter_slices(1000):
        check_exports(result.model, part, tmp_path)

"""Runs are recorded by the trackers' own clients, and read back by them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from streamnet.errors import ConfigurationError
from streamnet.modelfiles import Model
from streamnet.online import (
    AutoEncoder,
    KeyedClassifier,
    KeyedRegressor,
    OnlineClassifier,
    OnlineRegressor,
)
from streamnet.runs.replay import replay
from streamnet.samples import Kind
from streamnet.version import DISTRIBUTION, __version__
from tests.conftest import REPOSITORY
from tests.online.estimators import FEW, flat

# The clients warn of their own matters when they are imported.
pytestmark = pytest.mark.filterwarnings("ignore")

SAMPLES = 3000
RANDOM_FROM = 1200


@pytest.fixture
def stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file whose labels follow no rule any more from some sample on; the clients send nothing."""
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_DISABLE_TELEMETRY", "MLFLOW_ALLOW_FILE_STORE", "DO_NOT_TRACK"):
        monkeypatch.setenv(name, "true")
    draw = np.random.default_rng(0)
    x = draw.integers(0, 10, SAMPLES)
    y = np.where(np.arange(SAMPLES) < RANDOM_FROM, x > 4, draw.random(SAMPLES) < 0.5)
    path = Path("a.csv")
    path.write_text(
        "x,y\n" + "\n".join(f"{a},{'ab'[b]}" for a, b in zip(x, y.astype(int), strict=True))
    )
    return path


def test_mlflow_has_settings_scores_report_and_model(stream: Path, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    from streamnet.tracking.mlflow import MlflowCallback

    mlflow.set_tracking_uri((tmp_path / "ml").as_uri())
    callback = MlflowCallback(experiment="labels")
    result = replay(stream, target="y", candidates=2, seed=3, callbacks=[callback])
    client = mlflow.MlflowClient()
    run = client.get_run(callback.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["run.seed"] == "3"
    history = client.get_metric_history(callback.run_id, "served/accuracy")
    assert [metric.step for metric in history] == [1024, 2048]
    (drift, *_) = result.report["last_drifts"]
    losses = client.get_metric_history(callback.run_id, "drift_loss")
    assert (losses[0].step, losses[0].value) == (drift["number"], drift["after"])
    folder = Path(client.download_artifacts(callback.run_id, "", str(tmp_path)))
    assert json.loads((folder / "report.json").read_text())["served"] == result.report["served"]
    sample = {"x": 3}
    loaded = Model.load(folder / "model.safetensors")
    assert loaded.predict(sample) == result.model.predict(sample)


def test_mlflow_goes_on_with_the_active_run_and_leaves_it_open(
    stream: Path, tmp_path: Path
) -> None:
    mlflow = pytest.importorskip("mlflow")
    from streamnet.tracking.mlflow import MlflowCallback

    mlflow.set_tracking_uri((tmp_path / "ml").as_uri())
    with mlflow.start_run() as run:
        callback = MlflowCallback(log_model=False)
        replay(stream, target="y", candidates=1, limit=1500, callbacks=[callback])
        assert callback.run_id == run.info.run_id
        found = mlflow.MlflowClient().get_run(run.info.run_id)
        assert found.info.status == "RUNNING"
        assert "served/accuracy" in found.data.metrics


def test_mlflow_marks_a_run_that_fails(stream: Path, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    from streamnet.errors import DataError
    from streamnet.tracking.mlflow import MlflowCallback

    mlflow.set_tracking_uri((tmp_path / "ml").as_uri())
    callback = MlflowCallback()
    stream.write_text(stream.read_text() + "\nshort" * 900)
    with pytest.raises(DataError):
        replay(stream, target="y", candidates=1, callbacks=[callback])
    run = mlflow.MlflowClient().get_run(callback.run_id)
    assert run.info.status == "FAILED"
    assert "rejected" in run.data.tags["error"]


def test_mlflow_stores_a_fitted_estimator_and_predicts_with_it(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    program = """
import sys, mlflow, numpy as np, streamnet
from streamnet.tracking.mlflow import TRUSTED_TYPES
mlflow.set_tracking_uri(sys.argv[1])
X = np.random.default_rng(0).normal(size=(400, 3))
model = streamnet.OnlineClassifier(seed=1, evolution={"every": 0}).fit(X, (X[:, 0] > 0).astype(int))
with mlflow.start_run():
    stored = mlflow.sklearn.log_model(model, name="m", skops_trusted_types=TRUSTED_TYPES)
again = mlflow.sklearn.load_model(stored.model_uri)
assert (again.predict_proba(X) == model.predict_proba(X)).all()
"""
    environment = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ALLOW_FILE_STORE": "true"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, (tmp_path / "ml").as_uri()],
        cwd=tmp_path,
        env={**os.environ, **environment, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_types_to_trust_are_those_of_all_estimators() -> None:
    skops = pytest.importorskip("skops.io")
    from streamnet.tracking.mlflow import TRUSTED_TYPES

    rows = [{"key": "ab"[i % 2], "x": float(i)} for i in range(20)]
    numbers = [float(i) for i in range(20)]
    fitted: list[Any] = [
        AutoEncoder(code=2).partial_fit(rows),
        OnlineClassifier(FEW).fit(rows, [i % 3 for i in range(20)]),
        OnlineRegressor(FEW, kinds={"x": Kind.NUMBER}).fit(rows, numbers),
        KeyedClassifier(FEW, key="key").fit(rows, [i % 3 for i in range(20)]),
        KeyedRegressor(FEW, key="key").fit(rows, numbers),
    ]
    found = set[str]()
    for estimator in fitted:
        data = skops.dumps(estimator)
        found |= {*skops.get_untrusted_types(data=data)}
        again = skops.loads(data, trusted=TRUSTED_TYPES)
        assert flat(again.export_state()) == flat(estimator.export_state())
    assert sorted(found) == TRUSTED_TYPES


def test_mlflow_loads_our_own_file_as_a_function(stream: Path, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("mlflow.pyfunc")
    from streamnet.tracking.mlflow import load_model, log_model, save_model

    rows = pd.DataFrame({"size": np.arange(300) % 7, "hue": ["red", "blue", None] * 100})
    labels = rows["size"] > 3
    model = OnlineClassifier(FEW).fit(rows, labels).model()
    save_model(model, tmp_path / "saved")
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "saved"))
    assert loaded.predict(rows).tolist() == model.predict(rows).tolist()
    assert loaded.predict(rows[["size"]].astype(float)).tolist() == labels.tolist()
    assert loaded.metadata.get_input_schema().input_names() == ["size", "hue"]
    assert load_model(tmp_path / "saved").predict(rows).tolist() == model.predict(rows).tolist()
    requirements = (tmp_path / "saved" / "requirements.txt").read_text().split()
    assert f"{DISTRIBUTION}=={__version__}" in requirements
    mlflow.set_tracking_uri((tmp_path / "ml").as_uri())
    with mlflow.start_run():
        logged = log_model(model, "colors")
    config = {"method": "predict_proba"}
    probabilities = mlflow.pyfunc.load_model(logged.model_uri, model_config=config).predict(rows)
    assert np.array_equal(probabilities, model.predict_proba(rows))
    with pytest.raises(ConfigurationError, match="method is 'learn', but must be one of"):
        mlflow.pyfunc.load_model(logged.model_uri, model_config={"method": "learn"})


def test_tensorboard_reads_the_scores_at_their_samples(stream: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    from tensorboardX.event_file_writer import EventFileWriter  # noqa: F401 - what wrote the file
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import RecordWriter  # noqa: F401

    from streamnet.tracking.tensorboard import TensorBoardCallback

    result = replay(stream, target="y", candidates=2, callbacks=[TensorBoardCallback("board")])
    (file,) = Path("board").iterdir()
    found: dict[str, list[tuple[int, float]]] = {}
    for record in read_records(file.read_bytes()):
        event = Event.FromString(record)
        for value in event.summary.value:
            if value.HasField("simple_value"):
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    assert [step for step, _ in found["served/accuracy"]] == [1024, 2048]
    (drift, *_) = result.report["last_drifts"]
    assert found["drift_loss"][0][0] == drift["number"]


def read_records(data: bytes) -> list[bytes]:
    """The records of a TFRecord file: length, its checksum, content, its checksum."""
    found, place = [], 0
    while place < len(data):
        length = int.from_bytes(data[place : place + 8], "little")
        found.append(data[place + 12 : place + 12 + length])
        place += 16 + length
    return found


def test_wandb_has_a_run_on_disk_without_a_network(stream: Path, tmp_path: Path) -> None:
    wandb: Any = pytest.importorskip("wandb")
    from streamnet.tracking.wandb import WandbCallback

    callback = WandbCallback(
        project="labels", mode="offline", dir=str(tmp_path), settings=wandb.Settings(silent=True)
    )
    result = replay(stream, target="y", candidates=2, callbacks=[callback])
    (kept,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    records = kept.read_bytes()  # names, and values as JSON
    assert records.count(b"served/accuracy_sliding") >= 2
    for step in (b"1024", b"2048", str(result.report["last_drifts"][0]["number"]).encode()):
        assert step in records
    assert result.report["champion"] is not None
    assert b"champion_settings" in records

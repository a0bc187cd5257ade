"""Samples to predict whose columns a model does not know: one policy, wherever they come from."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import anyio
import polars as pl
import pytest

from streamnet.errors import ConfigurationError, SampleError, SchemaError
from streamnet.modelfiles.model import Model
from streamnet.online import OnlineClassifier
from streamnet.runs.inference import predict_files
from streamnet.runs.replay import replay
from streamnet.settings.candidate import CandidateSettings
from streamnet.sources.unknown_columns import MAX_WARNINGS, ColumnCheck

ROWS = [{"temperature": i % 5, "wind": i % 3} for i in range(200)]
RENAMED = [{"temprature": row["temperature"], "wind": row["wind"]} for row in ROWS]
FRAMES = [pl.DataFrame]


def learned(on_unknown: Any = "warn") -> OnlineClassifier:
    few = [CandidateSettings(hidden=(4,))]
    estimator = OnlineClassifier(few, seed=1, on_unknown=on_unknown)
    return estimator.partial_fit(ROWS, ["ab"[i % 2] for i in range(200)])


@pytest.fixture(scope="module")
def model() -> Model:
    return learned().model()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("frame", FRAMES)
def test_a_renamed_column_of_a_frame_is_refused_or_reported(
    model: Model, frame: Any, caplog: pytest.LogCaptureFixture
) -> None:
    told = "the model does not know the column 'temprature'. Did you mean 'temperature'?"
    with pytest.raises(SchemaError, match="X: the model does not know") as failure:
        model.predict(frame(RENAMED), on_unknown="raise")
    assert str(failure.value) == f"X: {told}"
    with pytest.raises(SchemaError, match="Did you mean 'temperature'"):
        learned("raise").predict(frame(RENAMED))
    fresh = Model.from_document(model.document())
    assert not warnings(caplog)
    plain = fresh.predict([{"wind": row["wind"]} for row in ROWS])
    for _ in range(3):
        assert fresh.predict(frame(RENAMED)).tolist() == plain.tolist()
    assert warnings(caplog) == [f"X: {told}"], "once"
    fresh.predict(frame(RENAMED), on_unknown="ignore")
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize("given", [{}, {"zzz": 2}, {"temprature": 2}])
@pytest.mark.parametrize("policy", ["warn", "ignore", "raise"])
def test_a_sample_without_any_known_column_is_refused_whatever_the_policy(
    model: Model, given: dict[str, Any], policy: Any
) -> None:
    with pytest.raises(SampleError) as failure:
        model.predict([ROWS[0], given], on_unknown=policy)
    assert failure.value.number == 1
    message = failure.value.detail
    assert "'temperature'" in message
    assert ("Did you mean" in message) == ("temprature" in given)


def test_missing_values_and_the_target_are_no_unknown_columns(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    pl.DataFrame([{**row, "label": "ab"[i % 2]} for i, row in enumerate(ROWS)]).write_csv(path)
    model = replay(path, target="label", candidates=1).model
    caplog.clear()
    for given in ({"temperature": None}, {"wind": 1}, {"wind": 1, "label": "a"}):
        model.predict(given, on_unknown="raise")
    assert not warnings(caplog)


def test_an_estimator_goes_on_where_a_sample_has_only_new_features(
    caplog: pytest.LogCaptureFixture,
) -> None:
    estimator = learned()
    assert estimator.predict_one({"zzz": 2}) in ("a", "b")
    assert estimator.predict_one({}) in ("a", "b")
    (message,) = warnings(caplog)
    assert message == ("the model does not know the column 'zzz'; it knows 'temperature', 'wind'")
    estimator.learn_one({"zzz": 2}, "a")
    strict = learned("raise")
    with pytest.raises(SchemaError, match="does not know the column 'zzz'"):
        strict.predict_one({"zzz": 2, "wind": 1})
    with pytest.raises(SchemaError, match="sample 1: the model does not know"):
        strict.predict([ROWS[0], {"zzz": 2, "wind": 1}])
    strict.learn_one({"zzz": 2, "wind": 1}, "a")
    assert strict.predict_one({"zzz": 2, "wind": 1}) in ("a", "b"), "it has been learned"


def test_a_policy_that_does_not_exist_is_refused(model: Model) -> None:
    with pytest.raises(ConfigurationError, match="on_unknown is 'stop'"):
        model.predict(ROWS, on_unknown="stop")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="on_unknown is 'stop'"):
        learned("stop")


def test_warnings_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    check = ColumnCheck("warn")
    check.know(["x"])
    for i in range(3 * MAX_WARNINGS):
        told = check.rows([{"x": 1, f"new {i}": 2}])
        assert told is not None
        assert f"new {i}" in told
    assert len(warnings(caplog)) == MAX_WARNINGS


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_columns_of_files_are_checked_alike(
    model: Model, tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"new.{suffix}"
    frame = pl.DataFrame([{**row, "tempereture": 1} for row in ROWS])
    frame.write_csv(path) if suffix == "csv" else frame.write_ndjson(path)

    async def predict(**options: Any) -> int:
        blocks = predict_files(model, [str(path)], options)
        return sum([len(outputs) async for _, outputs in blocks])

    assert anyio.run(predict) == 200
    (message,) = warnings(caplog)
    told = "the model does not know the column 'tempereture'; it knows 'temperature', 'wind'"
    assert message.endswith(f"new.{suffix}: {told}")
    assert anyio.run(lambda: predict(on_unknown="ignore")) == 200
    with pytest.raises(SchemaError, match="does not know the column 'tempereture'"):
        anyio.run(lambda: predict(on_unknown="raise"))
    assert len(warnings(caplog)) == 1

"""A replay goes on from a model; from gopher-neural's weights it ends with gopher-neural's."""

from __future__ import annotations

import json
from errno import EACCES
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

from streamnet.durability.state_directory import Generations
from streamnet.errors import ConfigurationError, DataError, SchemaError, StateError, StreamnetError
from streamnet.modelfiles import Model
from streamnet.runs.replay import replay, verify
from tests.networks import gopher


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def gopher_file(steps: int) -> tuple[list[list[float]], list[list[float]]]:
    """gopher-neural's start weights and stream as files."""
    X, Y = gopher.stream(8, 1, steps)
    Path("gopher.json").write_text(json.dumps(gopher.golden()["before"]))
    lines = [",".join(map(repr, (*x, *y))) for x, y in zip(X, Y, strict=True)]
    header = ",".join([*(f"f{i}" for i in range(8)), "y"])
    Path("stream.csv").write_text("\n".join([header, *lines]) + "\n")
    return X, Y


@pytest.mark.parametrize("block_size", [7, 1024])
def test_a_replay_from_gopher_neurals_weights_ends_with_its_weights(block_size: int) -> None:
    gopher_file(1000)
    result = replay(
        "stream.csv",
        target="y",
        start="gopher.json",
        serve="champion",
        block_size=block_size,
        model="after.safetensors",
        predictions="answers.csv",
    )
    numbers = gopher.golden()
    for mine, theirs in zip(
        Model.load("after.safetensors").neural_network().weights,
        numbers["after"]["Weights"],
        strict=True,
    ):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-12)
    assert result.report["learned"] == 1000
    assert [row["settings"]["learning_rate"] for row in result.report["candidates"]] == [0.05]


def test_a_file_that_can_not_be_read_at_the_start_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(generations: Generations) -> None:
        raise PermissionError(EACCES, "Permission denied", str(generations.folder))

    gopher_file(10)
    monkeypatch.setattr(Generations, "newest", refuse)
    with pytest.raises(
        StreamnetError, match=r"the run failed: state.checkpoints: Permission denied$"
    ):
        replay("stream.csv", target="y", state="state", resume=True)


def test_a_replay_with_a_start_resumes_from_its_state_to_the_bit() -> None:
    gopher_file(900)
    common: dict[str, Any] = {"target": "y", "start": "gopher.json", "serve": "champion"}
    whole = replay("stream.csv", **common, state="one")
    replay("stream.csv", **common, state="two", limit=400)
    resumed = replay("stream.csv", **common, state="two", limit=10_000, resume=True)
    for a, b in zip(whole.model.networks, resumed.model.networks, strict=True):
        assert all(np.array_equal(a.weights[name], b.weights[name]) for name in a.weights)
    assert anyio.run(verify, Path("two")).differences == ()
    network = Model.load("gopher.json").neural_network()
    network.randomize(1)
    Model.of(network).save("other.json")
    with pytest.raises(StateError, match="start is "):
        replay("stream.csv", **common | {"start": "other.json"}, state="two", resume=True)


def test_a_start_excludes_other_networks() -> None:
    gopher_file(3)
    others: list[dict[str, Any]] = [{"candidates": 3}, {"hidden": "8"}, {"dtype": "float32"}]
    for other in others:
        with pytest.raises(ConfigurationError, match=r"is given, but .*start names has its own"):
            replay("stream.csv", target="y", start="gopher.json", **other)


def test_a_start_that_knows_none_of_the_columns_is_refused() -> None:
    gopher_file(3)
    Path("b.csv").write_text("x,y\n1,2\n")
    with pytest.raises(SchemaError, match="no column is one that the model knows: f0, f1, f2"):
        replay("b.csv", target="x", task="regression", start="gopher.json")


def lines_of(form: str, rows: list[dict[str, Any]]) -> str:
    if form == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows)
    lines = [",".join(map(str, row.values())) for row in rows]
    return "\n".join([",".join(rows[0]), *lines]) + "\n"


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_columns_are_read_as_the_start_learned_them(form: str) -> None:
    """Whatever their values look like now, and also where some are not there any more."""
    before = [
        {
            "day": f"{1 + i % 28}/{1 + i % 12}/2026",
            "code": "a1",
            "size": i % 5,
            "y": ["no", "yes"][i % 2],
        }
        for i in range(400)
    ]
    kinds = {"day": "day_first", "code": "category", "size": "number"}
    Path(f"a.{form}").write_text(lines_of(form, before))
    common: dict[str, Any] = {"target": "y", "candidates": 2}
    replay(f"a.{form}", **common, kinds=kinds, model="a.safetensors")
    after = [{"day": "3/4/2026", "code": i % 30, "y": "yes"} for i in range(400)]
    Path(f"b.{form}").write_text(lines_of(form, after))
    result = replay(f"b.{form}", target="y", start="a.safetensors", state="state")
    assert {field.name: str(field.kind) for field in result.model.fields} == kinds
    assert result.report["learned"] == 400
    assert anyio.run(verify, Path("state")).differences == ()
    with pytest.raises(SchemaError, match=r"'size' \(requested by --kind"):
        replay(f"b.{form}", target="y", start="a.safetensors", kinds={"size": "text"})


def test_labels_and_categories_are_spelled_as_in_the_start_also_after_a_resume() -> None:
    rows = [{"x": i % 7, "b": i % 2 == 0, "y": i % 7 < 3} for i in range(600)]
    Path("a.csv").write_text(lines_of("csv", rows))
    Path("b.jsonl").write_text(lines_of("jsonl", rows))
    replay("a.csv", target="y", candidates=2, model="a.safetensors")
    whole = replay("b.jsonl", target="y", start="a.safetensors")
    assert whole.model.labels == ("True", "False")
    common: dict[str, Any] = {"target": "y", "start": "a.safetensors", "state": "state"}
    replay("b.jsonl", **common, limit=300)
    resumed = replay("b.jsonl", **common, limit=600, resume=True)
    assert resumed.model.labels == ("True", "False")
    assert resumed.report["served"] == whole.report["served"]


def test_targets_are_read_as_the_start_learned_them() -> None:
    rows = [{"x": i % 7, "y": i % 7 / 2} for i in range(300)]
    Path("a.csv").write_text(lines_of("csv", rows))
    replay("a.csv", target="y", task="classification", candidates=2, model="a.json")
    result = replay("a.csv", target="y", start="a.json")
    assert result.report["task"] == "classification"
    assert result.model.labels[:2] == ("0.0", "0.5")
    with pytest.raises(ConfigurationError, match="start is for classification"):
        replay("a.csv", target="y", start="a.json", task="regression")


def test_a_run_file_alone_builds_networks_like_gopher_neurals() -> None:
    X, Y = gopher_file(300)
    Path("run.toml").write_text(
        """
        encoder = { scaling = "none", target_scaling = "none", category_limit = 0 }
        selection.serve = "champion"
        [population]
        dtype = "float64"
        [[population.candidate]]
        hidden = [16]
        activation = "logistic"
        output = "logistic"
        loss = "squared"
        optimizer = "sgd"
        learning_rate = 0.05
        bias = false
        initialization = "uniform"
        """
    )
    beginning = replay("stream.csv", target="y", config="run.toml", limit=1, seed=3)
    first = beginning.model.neural_network()
    whole = replay("stream.csv", target="y", config="run.toml", seed=3)
    first.learn(X[1:], Y[1:], 0.05)
    for mine, theirs in zip(whole.model.neural_network().weights, first.weights, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-12)
    assert np.abs(first.weights[0]).max() > 0.9


@pytest.mark.parametrize("more", [{"shuffle_buffer": 50}, {"epochs": 2}])
def test_a_limit_that_affects_the_order_may_not_change(more: dict[str, Any]) -> None:
    gopher_file(900)
    common: dict[str, Any] = {"target": "y", "candidates": 2, "state": "one", **more}
    replay("stream.csv", **common, limit=300)
    with pytest.raises(StateError, match=r"source\.limit is 600, but was 300"):
        replay("stream.csv", **common, limit=600, resume=True)
    replay("stream.csv", **common, limit=300, resume=True)


@pytest.mark.parametrize("more", [{"shuffle_buffer": 50}, {"epochs": 2}])
def test_files_that_affect_the_order_may_not_change(more: dict[str, Any]) -> None:
    """With another one behind them its samples would come in the last epoch alone, unscored."""
    gopher_file(300)
    Path("later.csv").write_text(Path("stream.csv").read_text())
    common: dict[str, Any] = {"target": "y", "candidates": 2, "state": "one", **more}
    replay("stream.csv", **common)
    what = r"source\.files is \['stream.csv', 'later.csv'\], but was \['stream.csv'\]"
    with pytest.raises(StateError, match=what):
        replay("stream.csv", "later.csv", **common, resume=True)
    replay("stream.csv", **common, resume=True)


def test_a_run_that_a_drift_stopped_resumes_as_if_configured_so_from_the_start() -> None:
    lines = [f"{i % 7},{'ab'[i % 7 > 3]}" for i in range(600)]
    lines[400] = "many,a"
    Path("stream.csv").write_text("\n".join(["x,y", *lines]) + "\n")
    common: dict[str, Any] = {"target": "y", "candidates": 2, "kinds": {"x": "number"}}
    stopping: dict[str, Any] = {"state": "one", "source.drift": {"changed": "stop"}}
    for resume in (False, True):
        with pytest.raises(DataError, match=r"line 402: .* \(source\.drift says stop\)"):
            replay("stream.csv", **common, **stopping, resume=resume)
    relaxed = replay("stream.csv", **common, state="one", resume=True)
    whole = replay("stream.csv", **common, state="two")
    assert relaxed.report["rejected"] == whole.report["rejected"] == 1
    assert relaxed.report["served"] == whole.report["served"]
    assert anyio.run(verify, Path("one")).differences == ()


@pytest.mark.parametrize(
    "default",
    [{"max_record_bytes": 1 << 20}, {"most_fields": 4096, "epochs": 1}, {"shuffle_buffer": 0}],
)
@pytest.mark.parametrize("first", [True, False])
def test_an_explicit_default_is_no_change(default: dict[str, Any], first: bool) -> None:
    gopher_file(300)
    common: dict[str, Any] = {"target": "y", "candidates": 2, "state": "one"}
    given, later = (default, {}) if first else ({}, default)
    replay("stream.csv", **common, **given, limit=100)
    assert replay("stream.csv", **common, **later, limit=200, resume=True).report["learned"] == 200


def test_the_handling_of_gaps_may_change() -> None:
    gopher_file(600)
    common: dict[str, Any] = {"target": "y", "candidates": 2, "state": "one"}
    replay("stream.csv", **common, limit=300)
    going_on: dict[str, Any] = {"on_gap": "go_on", "limit": 400, "resume": True}
    assert replay("stream.csv", **common, **going_on).report["learned"] == 400
    assert replay("stream.csv", **common, limit=500, resume=True).report["learned"] == 500

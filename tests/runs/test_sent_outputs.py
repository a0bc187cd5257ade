"""All outputs of a run that are sent to sinks, each to a stream of a real server."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest

from streamnet import replay
from streamnet.errors import ConfigurationError
from streamnet.modelfiles.model import Model
from tests.sinks.readers import read_entries
from tests.sources.brokers.servers import Server, require_module

require_module("redis")

from tests.sources.brokers.conftest import own_valkey  # noqa: E402, F401 - a fixture

SETTINGS: dict[str, Any] = {"hidden": ["8", "linear", "4"], "round_size": 128, "threads": 1}


def write_stream(path: Path, count: int = 4000) -> Path:
    """Samples whose rule is lost in the middle; some records can't be read."""
    chance = random.Random(3)
    lines = []
    for i in range(count):
        x, z = chance.random(), chance.random()
        y = "ab"[(x if i < count // 2 else chance.random()) > 0.5]
        lines.append("broken" if i % 211 == 7 else json.dumps({"x": x, "z": z, "y": y}))
    path.write_text("\n".join(lines) + "\n")
    return path


def unnumbered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    assert [row.pop("number") for row in rows] == list(range(len(rows)))
    return rows


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_output_has_a_stream(own_valkey: Server, tmp_path: Path) -> None:  # noqa: F811
    file, server = write_stream(tmp_path / "s.jsonl"), f"valkey://{own_valkey.address}"
    state = tmp_path / "state"
    report = replay(
        file,
        target="y",
        state=state,
        predictions=f"{server}/predictions",
        dead_letters=f"{server}/rejected",
        champions=f"{server}/champions",
        events=f"{server}/events",
        **SETTINGS,
    ).report
    assert not (state / "dead-letters.jsonl").exists()
    again = replay(
        file,
        target="y",
        predictions=tmp_path / "p.jsonl",
        dead_letters=tmp_path / "r.jsonl",
        champions=f"{server}/models",
        **SETTINGS,
    ).report
    assert again["served"] == report["served"]
    rejected = unnumbered(read_entries(own_valkey, "rejected"))
    assert rejected == read_lines(tmp_path / "r.jsonl")
    assert len(rejected) == report["rejected"] > 0
    predictions = unnumbered(read_entries(own_valkey, "predictions"))
    generations = [row.pop("generation") for row in predictions]
    assert predictions == read_lines(tmp_path / "p.jsonl")

    champions = unnumbered(read_entries(own_valkey, "champions"))
    assert [one["generation"] for one in champions] == list(range(1, len(champions) + 1))
    assert generations[-1] == len(champions) > 0
    for one in champions:
        # It is what answered from the sample before which it was copied.
        assert generations.index(one["generation"]) == one["samples"]
    newest = champions[-1]
    content = (state / "models" / newest["file"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == newest["sha256"]
    assert newest["name"] == "y"
    assert "model" not in newest
    (tmp_path / "m.safetensors").write_bytes(
        base64.b64decode(read_entries(own_valkey, "models")[-1]["model"])
    )
    model, other = (
        Model.load(tmp_path / "m.safetensors"),
        Model.load(state / "models" / newest["file"]),
    )
    samples = [{"x": i / 9, "z": 0.5} for i in range(9)]
    assert model.predict(samples).tolist() == other.predict(samples).tolist()

    events = unnumbered(read_entries(own_valkey, "events"))
    kinds = {event["event"] for event in events}
    assert {"champion", "drift"} <= kinds
    assert [event["sample"] for event in events] == sorted(event["sample"] for event in events)
    drifts = [event["sample"] for event in events if event["event"] == "drift"]
    assert drifts == [drift["number"] for drift in report["last_drifts"]]


def test_each_part_of_a_run_has_a_stream(own_valkey: Server, tmp_path: Path) -> None:  # noqa: F811
    path, server = tmp_path / "n.csv", f"valkey://{own_valkey.address}"
    path.write_text("x,y\n" + "".join(f"{i % 7},{i % 7 * 2}\n" for i in range(600)) + "1,2,3\n")
    replay(
        path,
        target="y",
        task="regression",
        horizon="1,2",
        predictions=f"{server}/answers",
        dead_letters=f"{server}/rejected",
        **SETTINGS,
    )
    for name in ("y+1", "y+2"):
        assert len(read_entries(own_valkey, f"answers.{name}")) == 600
    assert len(read_entries(own_valkey, "rejected")) == 1
    assert read_entries(own_valkey, "rejected.y+2") == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"champions": "c.jsonl"}, "champions is 'c.jsonl', but must be the URL of a stream or"),
        ({"model": "kafka://h/t"}, "model is 'kafka://h/t', but must be a file"),
        ({"predictions": "kafka://h/t?x=1"}, "x is not a known setting of kafka://h/t"),
        (
            {"predictions": "nats://h/t", "events": "nats://h/t"},
            "events is 'nats://h/t', but that is where predictions go",
        ),
    ],
)
def test_mistakes_are_named_before_anything_is_read(
    tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    file = write_stream(tmp_path / "s.jsonl", 10)
    with pytest.raises(ConfigurationError) as error:
        replay(file, target="y", dead_letters=tmp_path / "r", **given)
    assert message in str(error.value)

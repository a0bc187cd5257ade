"""Models over HTTP: created, inspected, changed, downloaded, and deleted."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from anyio import create_task_group
from anyio.lowlevel import checkpoint
from starlette.testclient import TestClient

from streamnet.daemon.http.routes.models import ENDPOINTS
from tests.conftest import Runner
from tests.daemon.app_client import is_problem
from tests.daemon.stand_ins import StandIn, StandInRegistry


def test_models_are_created_listed_changed_and_deleted(
    http: TestClient, registry: StandInRegistry
) -> None:
    body = {"name": "beer", "settings": {"source": {"target": "label"}}}
    made = http.post("/v1/models", json=body)
    assert (made.status_code, made.headers["location"]) == (201, "/v1/models/beer")
    assert registry.settings["beer"].source.target == "label"
    assert [line["name"] for line in http.get("/v1/models").json()] == ["beer", "wine"]
    assert http.post("/v1/models/beer/pause").json()["state"] == "paused"
    assert http.post("/v1/models/beer/resume").json()["state"] == "learning"
    assert http.post("/v1/models/beer/reset").json()["samples"] == 0
    assert is_problem(http.post("/v1/models", json=body), 409, "beer")
    assert http.delete("/v1/models/beer").status_code == 204
    assert is_problem(http.get("/v1/models/beer"), 404)


@pytest.mark.parametrize("operation", ["models", "overview"])
def test_a_list_of_many_models_lets_other_requests_in_between(operation: str, run: Runner) -> None:
    turns, at = 0, []
    wine = StandIn("wine")

    class Watched:
        def status(self) -> Any:
            at.append(turns)
            return wine.status()

        overview = status

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await checkpoint()
            turns += 1

    async def main() -> None:
        service: Any = SimpleNamespace(visible_models=lambda _: [Watched() for _ in range(9)])
        request: Any = None
        async with create_task_group() as group:
            group.start_soon(take_turns)
            await ENDPOINTS[operation](request, service)
            group.cancel_scope.cancel()

    run(main)
    assert len(at) == 9
    assert at[-1] >= 6  # the other task begins one turn later, and counts after its first one


@pytest.mark.parametrize("name", ["", "UP", "../x", "a/b", "-x", "x" * 65])
def test_a_model_name_cannot_be_a_path(http: TestClient, name: str) -> None:
    assert is_problem(http.post("/v1/models", json={"name": name}), 422, "name")


def test_invalid_settings_are_named(http: TestClient) -> None:
    body = {"name": "beer", "settings": {"source": {"targt": "y"}, "run": {"seed": -1}}}
    assert is_problem(http.post("/v1/models", json=body), 422, "source.targt", "run.seed")


def test_deeply_nested_settings_are_refused(http: TestClient) -> None:
    deep: Any = {}
    for _ in range(20):
        deep = {"a": [deep]}
    deepest = b'{"a":' * 900 + b"1" + b"}" * 900
    for text in (json.dumps(deep).encode(), deepest):
        body = b'{"name": "deep", "settings": ' + text + b"}"
        headers = {"content-type": "application/json"}
        assert is_problem(http.post("/v1/models", content=body, headers=headers), 422, "nested")


@pytest.mark.parametrize(
    "part",
    ["", "/champion", "/classes", "/leaders", "/scores", "/insight", "/confusion", "/rejected"],
)
def test_views_of_a_model_match_their_schemas(http: TestClient, part: str) -> None:
    assert http.get(f"/v1/models/wine{part}").status_code == 200


def test_classes_are_merged_and_retired(http: TestClient) -> None:
    merged = http.post("/v1/models/wine/classes/merge", json={"label": "on", "into": "off"})
    assert merged.json() == {"label": "on", "into": "off", "record": 40}
    retired = http.post("/v1/models/wine/classes/retire", json={"label": "on"})
    assert retired.json() == {"label": "on", "into": None, "record": 40}
    lines = http.get("/v1/models/wine/classes").json()
    assert [(line["label"], line["merged_into"]) for line in lines] == [
        ("off", None),
        ("on", "off"),
    ]
    assert is_problem(
        http.post("/v1/models/wine/classes/retire", json={"label": "none"}), 422, "none"
    )
    for action, body in (("merge", {"label": "on"}), ("retire", {"label": "on", "into": "off"})):
        assert is_problem(http.post(f"/v1/models/wine/classes/{action}", json=body), 422, "into")


def test_keys_are_listed_described_forgotten_and_downloaded(http: TestClient) -> None:
    listed = http.get("/v1/models/wine/keys", params={"count": 7}).json()
    assert (listed["count"], listed["worst"][0]["key"], listed["best"]) == (7, "d|7", [])
    assert http.get("/v1/models/wine/keys").json()["count"] == 20
    for count in ("0", "1001", "many", "-1"):
        assert is_problem(http.get(f"/v1/models/wine/keys?count={count}"), 422, "count", "1000")
    one = {"key": "d|7"}
    details = http.get("/v1/models/wine/key", params=one).json()
    assert details["targets"] == {"last target": 3.0, "mean target": None}
    assert http.delete("/v1/models/wine/key", params=one).json() == {"key": "d|7", "record": 40}
    file = http.get("/v1/models/wine/key/model", params={"key": "d|7", "format": "json"})
    assert file.content == b"d|7json"
    assert 'filename="wine-key.json"' in file.headers["content-disposition"]
    for path in ("key", "key/model"):
        assert is_problem(http.get(f"/v1/models/wine/{path}?key=d8"), 404, "d8")
        assert is_problem(http.get(f"/v1/models/wine/{path}"), 422, "key is not given")
    assert is_problem(http.delete("/v1/models/wine/key?key=d8"), 404, "d8")


def test_views_that_are_not_ready_return_503(http: TestClient) -> None:
    assert is_problem(http.get("/v1/models/wine/history"), 503, "not learned")


def test_a_model_is_downloaded_in_each_format(http: TestClient) -> None:
    for name, suffix, media_type in (
        ("safetensors", "safetensors", "application/octet-stream"),
        ("json", "json", "application/json"),
        ("gopher", "json", "application/json"),
        ("onnx", "onnx", "application/x-onnx"),
        ("c", "c", "text/x-c; charset=utf-8"),
    ):
        reply = http.get(f"/v1/models/wine/model?format={name}")
        assert reply.content == name.encode()
        assert f'filename="wine.{suffix}"' in reply.headers["content-disposition"]
        assert reply.headers["content-type"] == media_type
    refused = http.get("/v1/models/wine/model?format=pickle")
    assert is_problem(refused, 422, "format is 'pickle'", "safetensors, json, gopher, onnx, c")


def test_rejected_records_are_downloaded_as_whole_lines(http: TestClient) -> None:
    reply = http.get("/v1/models/wine/dead-letters")
    assert reply.content == b'{"line":3}\n{"line":4}\n'
    assert reply.headers["content-type"] == "application/x-ndjson"
    assert is_problem(http.get("/v1/models/absent/dead-letters"), 404)


def test_without_rejected_records_the_download_is_empty(
    http: TestClient, wine: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(type(wine), "dead_letters", tmp_path / "absent")
    assert http.get("/v1/models/wine/dead-letters").content == b""


def test_a_growing_file_is_read_up_to_its_initial_size(
    http: TestClient, wine: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Read in several chunks, with a line across a boundary."""
    path = tmp_path / "letters"
    lines = [b"%d" % number * 1000 for number in range(1000)]
    path.write_bytes(b"\n".join(lines))
    monkeypatch.setattr(type(wine), "dead_letters", path)
    assert http.get("/v1/models/wine/dead-letters").content.splitlines() == lines[:-1]

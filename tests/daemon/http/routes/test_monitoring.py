"""Monitoring over HTTP: health, metrics, and events."""

from __future__ import annotations

import json
import re
from pathlib import Path

import anyio
from starlette.testclient import TestClient

from tests.daemon.app_client import client, is_problem
from tests.daemon.stand_ins import StandIn, StandInRegistry


def test_health_and_metrics_are_served(http: TestClient, wine: StandIn) -> None:
    assert http.get("/healthz").json() == http.get("/readyz").json() == {"status": "ok"}
    wine.state = "starting"
    assert http.get("/readyz").status_code == 503
    text = http.get("/metrics").text
    assert 'streamnet_accepted_total{model="wine"} 0.0' in text
    assert 'streamnet_state{model="wine",state="starting"} 1.0' in text
    assert 'streamnet_request_seconds_count{operation="readyz"} 2.0' in text
    assert 'streamnet_baseline{baseline="no_change",horizon="overall",model="wine"} NaN' in text


def test_a_daemon_with_a_full_disk_is_alive_and_predicts_but_is_not_ready(
    http: TestClient, wine: StandIn
) -> None:
    wine.waits_for_disk = True
    told = http.get("/readyz")
    assert (told.status_code, told.json()) == (503, {"status": "refusing"})
    assert told.headers["retry-after"] == "1"
    assert http.get("/healthz").status_code == 200
    assert http.post("/v1/models/wine/predict", json={"sample": {"x": 1}}).status_code == 200
    wine.waits_for_disk = False
    assert http.get("/readyz").status_code == 200


def test_a_daemon_is_not_ready_while_kernels_are_compiled_or_once_every_model_has_failed() -> None:
    registry = StandInRegistry("wine", "beer")
    http, (wine, beer) = client(registry), registry.models.values()
    wine.is_compiling = True
    assert http.get("/readyz").json() == {"status": "compiling"}
    wine.is_compiling = False
    wine.state = "failed"  # the other one is in service
    assert http.get("/readyz").status_code == 200
    beer.state = "failed"
    told = http.get("/readyz")
    assert (told.status_code, told.json()) == (503, {"status": "failed"})


def test_readiness_ends_with_the_daemon(registry: StandInRegistry) -> None:
    stopping = anyio.Event()
    http = client(registry, stopping=stopping)
    stopping.set()
    assert http.get("/readyz").json() == http.get("/readyz").json() == {"status": "stopping"}
    assert http.get("/healthz").status_code == 200


def test_events_resume_after_the_last_one_read(http: TestClient, wine: StandIn) -> None:
    for number in range(3):
        wine.events.add("champion", number=number)
    wine.events.close()
    text = http.get("/v1/models/wine/events", headers={"last-event-id": "2"}).text
    told = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    assert [(event["id"], event["data"]) for event in told] == [
        (3, {"number": 1}),
        (4, {"number": 2}),
    ]
    assert is_problem(http.get("/v1/models/wine/events?after=x"), 422)


def test_a_head_request_for_events_ends(http: TestClient) -> None:
    told = http.head("/v1/models/wine/events")
    assert (told.status_code, told.content) == (200, b"")
    assert told.headers["content-type"].startswith("text/event-stream")


def test_long_responses_are_compressed_on_request_but_events_never(
    http: TestClient, wine: StandIn
) -> None:
    packed = http.get("/openapi.json", headers={"accept-encoding": "gzip"})
    plain = http.get("/openapi.json", headers={"accept-encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content
    assert int(packed.headers["content-length"]) < len(plain.content) / 3
    assert "content-encoding" not in http.get("/healthz").headers  # too short to be compressed
    for number in range(300):
        wine.events.add("champion", number=number)
    wine.events.close()
    events = http.get("/v1/models/wine/events", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in events.headers


def test_the_dashboard_uses_only_existing_metrics(http: TestClient, repository: Path) -> None:
    http.get("/v1/models")
    text = http.get("/metrics").text
    told = set(re.findall(r"^(?:# TYPE )?(streamnet_\w+)", text, re.MULTILINE))
    dashboard = (repository / "config" / "grafana.json").read_text(encoding="utf-8")
    asked = set(re.findall(r"\bstreamnet_\w+", dashboard))
    assert asked
    assert asked <= told

"""Traces and logs, as a collector receives them over HTTP."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from streamnet.daemon.telemetry import Telemetry
from tests.daemon.app_client import client
from tests.daemon.stand_ins import StandIn, StandInRegistry
from tests.web_servers import serving

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector(ThreadingHTTPServer):
    """Keeps what it receives, by path."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: dict[str, list[bytes]] = {}

    @property
    def spans(self) -> list[Any]:
        parts = map(ExportTraceServiceRequest.FromString, self.received.get("/v1/traces", ()))
        resources = [one for part in parts for one in part.resource_spans]
        return [span for one in resources for scope in one.scope_spans for span in scope.spans]

    @property
    def logs(self) -> list[Any]:
        parts = map(ExportLogsServiceRequest.FromString, self.received.get("/v1/logs", ()))
        resources = [one for part in parts for one in part.resource_logs]
        return [one for each in resources for scope in each.scope_logs for one in scope.log_records]


class Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        self.server.received.setdefault(self.path, []).append(body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with serving(Collector()) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        yield server


def attributes_of(one: Any) -> dict[str, Any]:
    return {
        entry.key: entry.value.int_value or entry.value.string_value for entry in one.attributes
    }


def test_a_request_is_a_span_of_the_callers_trace_and_its_logs_belong_to_it(
    collector: Collector, registry: StandInRegistry, wine: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "streamnet")
    telemetry = Telemetry()
    try:
        http = client(registry, telemetry=telemetry)
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-request-id": "first"}
        assert http.post("/v1/models/wine/pause", headers=headers).status_code == 200
        wine.errors.append(RuntimeError("broken"))
        body = {"sample": {"x": 1}}
        assert http.post("/v1/models/wine/samples", json=body).status_code == 500
    finally:
        telemetry.close()
    pause, learn = collector.spans
    assert (pause.trace_id.hex(), pause.parent_span_id.hex()) == (TRACE, PARENT)
    assert pause.name == "pause"
    known = attributes_of(pause)
    assert (known["http.request.method"], known["http.response.status_code"]) == ("POST", 200)
    assert (known["streamnet.model"], known["streamnet.request_id"]) == ("wine", "first")
    assert learn.status.code == 2
    assert learn.trace_id.hex() != TRACE
    bodies = {one.body.string_value: one for one in collector.logs}
    assert bodies["pause: 200"].trace_id.hex() == TRACE
    assert attributes_of(bodies["pause: 200"])["request_id"] == "first"


def test_without_a_collector_requests_are_handled_and_an_end_does_not_wait_for_long(
    monkeypatch: pytest.MonkeyPatch, registry: StandInRegistry
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    before = list(logging.getLogger("streamnet").handlers)
    telemetry = Telemetry()
    http = client(registry, telemetry=telemetry)
    assert http.get("/v1/models").status_code == 200
    telemetry.close()
    assert logging.getLogger("streamnet").handlers == before

"""Calling a daemon's application within the test's own process."""

from __future__ import annotations

import json
from typing import Any

import httpx2
from starlette.testclient import TestClient

from streamnet.client.operation import Scope
from streamnet.daemon.http.app import create_app

__all__ = ("SAMPLES", "TOKENS", "client", "client_beside", "is_problem", "lines")

TOKENS = {scope: f"{scope}-" + "x" * 20 for scope in Scope}
SAMPLES = [{"x": i, "y": 1, "shade": "red"} for i in range(30)]


def client(registry: Any, **options: Any) -> TestClient:
    return TestClient(create_app(registry, **options), raise_server_exceptions=False)


def client_beside(registry: Any) -> httpx2.AsyncClient:
    """A client in the event loop of models that run."""
    transport = httpx2.ASGITransport(create_app(registry))
    return httpx2.AsyncClient(transport=transport, base_url="http://localhost")


def lines(samples: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(sample).encode() + b"\n" for sample in samples)


def is_problem(response: Any, status: int, *phrases: str) -> bool:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    told = response.json()
    assert told["status"] == status
    assert all(phrase in told["detail"] for phrase in phrases), told
    return True

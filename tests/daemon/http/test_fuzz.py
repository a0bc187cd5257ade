"""Whatever body comes, the answer is one that is meant, never an error of the daemon itself."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from streamnet.daemon.http.access import Limits
from streamnet.daemon.http.app import create_app
from tests.daemon.stand_ins import StandInRegistry

BODIES = {
    "samples": {"samples": [{"x": 1, "y": 2.5, "shade": "red", "label": "on"}]},
    "predict": {"samples": [{"x": 1, "y": None, "shade": "blue"}], "ids": ["a"], "explain": True},
    "labels": {"labels": [{"id": "a", "label": "on"}]},
    "": {"name": "beer", "settings": {"source": {"target": "y", "drop": ["a"]}}},
}
TYPES = ("application/json", "application/x-ndjson")
WORDS = st.sampled_from(
    [
        *(b"{", b"}", b"[", b'"', b"\\u0000", b"\xff", b"\n", b"null", b"1e999", b"NaN", b"-0"),
        *(b"\0", b'{"a":' * 500, b"9" * 400, b'"' + b"x" * 2000 + b'"', b"\xf4\x8f\xbf\xbf"),
    ]
)


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, bytes, dict[str, str]]:
    """A good body with some of it replaced, removed, repeated or packed, and where to send it."""
    part = draw(st.sampled_from(list(BODIES)))
    body = bytearray(json.dumps(BODIES[part]).encode())
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(body)))
        end = start + draw(st.integers(0, 8))
        body[start:end] = draw(WORDS | st.binary(max_size=8))
    headers = {"content-type": draw(st.sampled_from(TYPES))}
    if draw(st.booleans()):
        body = bytearray(gzip.compress(bytes(body)))
        headers["content-encoding"] = "gzip"
        if draw(st.booleans()):
            body[draw(st.integers(0, len(body) - 1))] ^= draw(st.integers(1, 255))
    return f"/v1/models/wine/{part}" if part else "/v1/models", bytes(body), headers


@pytest.fixture(scope="module")
def daemon() -> Iterator[TestClient]:
    limits = Limits(rate=1e9, body=100_000)
    app = create_app(StandInRegistry("wine"), limits=limits)  # type: ignore[arg-type]
    with TestClient(app, raise_server_exceptions=False) as client:  # one event loop for all
        yield client


def send(daemon: TestClient, path: str, body: bytes, headers: dict[str, str]) -> None:
    answer = daemon.post(path, content=body, headers=headers)
    assert answer.status_code in (200, 201, 400, 409, 413, 415, 422), answer.text
    if answer.status_code >= 400:
        assert answer.json()["status"] == answer.status_code


@given(sent=mutated())
@settings(max_examples=200)
def test_a_mutated_body_is_taken_or_refused(
    daemon: TestClient, sent: tuple[str, bytes, dict[str, str]]
) -> None:
    send(daemon, *sent)


@pytest.mark.long
@pytest.mark.timeout(3600)
@given(sent=mutated())
@settings(max_examples=100_000)
def test_a_hundred_thousand_mutated_bodies_are(
    daemon: TestClient, sent: tuple[str, bytes, dict[str, str]]
) -> None:
    send(daemon, *sent)

"""Open pages share views for a moment; nobody else gets an old one, or one of another token."""

from __future__ import annotations

import gzip
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from streamnet.client.operation import Scope
from streamnet.daemon.http.access import Access
from streamnet.daemon.http.shared_responses import SharedResponses
from tests.conftest import Runner
from tests.daemon.app_client import TOKENS, client
from tests.daemon.stand_ins import StandInRegistry

MAX_AGE = {"cache-control": "max-age=60"}


def ask(path: str = "/v1/models", query: bytes = b"", **fields: str) -> Request:
    headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    return Request({"type": "http", "path": path, "query_string": query, "headers": headers})


def test_requests_share_a_response_that_is_new_enough_for_them(run: Runner) -> None:
    now, built = [0.0], list[int]()
    shared = SharedResponses(2, clock=lambda: now[0])

    async def build() -> Response:
        built.append(len(built))
        status = 503 if now[0] == 9.0 else 200
        return Response(b"%d" % built[-1] * 2000, status, media_type="application/json")

    async def respond(**fields: Any) -> bytes:
        response = await shared.respond(ask(**fields), build)
        body = bytes(response.body)
        if response.headers.get("content-encoding") == "gzip":
            assert response.headers["vary"] == "Accept-Encoding"
            body = gzip.decompress(body)
        assert response.headers["content-type"] == "application/json"
        return body[:1]

    async def story() -> None:
        assert [await respond(cache_control="max-age=2") for _ in range(3)] == [b"0"] * 3
        assert await respond() == b"1"  # without the field it is always built
        now[0] = 1.9
        assert await respond(cache_control="no-transform, Max-Age=2") == b"0"
        assert await respond(cache_control="max-age=1") == b"2"
        assert await respond(cache_control="max-age=1", accept_encoding="br, gzip") == b"3"
        assert await respond(cache_control="max-age=1", accept_encoding="gzip") == b"3"
        assert await respond(cache_control="max-age=1", query=b"x=1") == b"4"  # drops the first
        assert await respond(cache_control="max-age=1") == b"5"
        assert await respond(cache_control="max-age=1", authorization="Bearer a") == b"6"
        assert await respond(cache_control="max-age=1", authorization="Bearer b") == b"7"
        shared.clear()
        assert await respond(cache_control="max-age=1", authorization="Bearer b") == b"8"
        now[0] = 9.0
        assert await respond(cache_control="max-age=1") == b"9"
        assert len(built) == 10
        await shared.respond(ask(cache_control="max-age=1"), build)
        assert len(built) == 11  # failures are not kept

    run(story)


def test_an_administrator_sees_the_effect_of_a_change_at_once(registry: StandInRegistry) -> None:
    http = client(registry)
    assert http.get("/v1/models", headers=MAX_AGE).json()[0]["state"] == "learning"
    registry.models["wine"].state = "failed"
    assert http.get("/v1/models").json()[0]["state"] == "failed"
    aged = http.get("/v1/models", headers=MAX_AGE)
    assert (aged.json()[0]["state"], aged.headers["age"]) == ("learning", "0")
    assert http.post("/v1/models/wine/pause").is_success
    assert http.get("/v1/models", headers=MAX_AGE).json()[0]["state"] == "paused"


def test_a_shared_view_needs_a_token_like_any_other(registry: StandInRegistry) -> None:
    http = client(registry, access=Access({TOKENS[Scope.READ]: {Scope.READ}}))
    token = {"authorization": f"Bearer {TOKENS[Scope.READ]}"}
    assert http.get("/v1/models", headers=MAX_AGE | token).status_code == 200
    assert http.get("/v1/models", headers=MAX_AGE).status_code == 401

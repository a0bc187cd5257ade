"""Admission: scopes, guessed tokens, foreign pages, and too many requests."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import anyio
import pytest
from starlette.testclient import TestClient

from streamnet.client.operation import Scope
from streamnet.client.operations import OPERATIONS
from streamnet.daemon.http import app as app_module
from streamnet.daemon.http.access import Access, Limits, RateLimiter
from streamnet.daemon.http.app import create_app
from tests.daemon.app_client import TOKENS, client, is_problem
from tests.daemon.asgi import Talk, http_scope
from tests.daemon.stand_ins import StandIn, StandInRegistry


def test_each_operation_requires_its_scope(registry: StandInRegistry) -> None:
    access = Access({token: {scope} for scope, token in TOKENS.items()})
    http = client(registry, access=access, limits=Limits(max_rate=1e6, guess=1e-6))
    for line in OPERATIONS.values():
        path = line.path.format(name="absent", shadow="absent")
        assert http.request(line.method, path).status_code == (401 if line.scope else 200), line
        for scope, token in TOKENS.items():
            headers = {"authorization": f"Bearer {token}"}
            status = http.request(line.method, path, headers=headers).status_code
            allowed = line.scope in (None, scope) or scope is Scope.ADMIN
            assert (status not in (401, 403)) == allowed, (line.name, scope, status)


def test_guessing_tokens_is_slowed_down(
    registry: StandInRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However slow the machine, no further guess becomes free during the test.
    monkeypatch.setattr(app_module, "RateLimiter", partial(RateLimiter, clock=lambda: 0.0))
    access = Access({TOKENS[Scope.READ]: {Scope.READ}})
    http = client(registry, access=access, limits=Limits(max_rate=10.0, guess=0.4))
    headers = {"authorization": "Bearer guessed"}
    statuses = [http.get("/v1/models", headers=headers).status_code for _ in range(5)]
    assert statuses == [401, 401, 429, 429, 429]
    assert http.get("/healthz").status_code == 200


def test_a_wrong_token_never_locks_a_client_out(registry: StandInRegistry) -> None:
    token = {"authorization": f"Bearer {TOKENS[Scope.READ]}"}
    http = client(
        registry, access=Access({TOKENS[Scope.READ]: {Scope.READ}}), limits=Limits(max_rate=10.0)
    )
    assert http.get("/v1/models", headers={"authorization": "Bearer wrong"}).status_code == 401
    assert http.get("/v1/models", headers=token).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "LOCALHOST:8000"}, 200),
        ({"host": "evil.example:8000"}, 421),
        ({"host": "localhost:8000.evil.example"}, 421),
        ({"host": ""}, 421),
        ({"origin": "http://localhost:8000"}, 200),
        ({"origin": "https://friend.example"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "https://localhost:8000"}, 403),
        ({"origin": "null"}, 403),
    ],
)
def test_foreign_pages_are_refused(
    registry: StandInRegistry, headers: dict[str, str], status: int
) -> None:
    app = create_app(registry, hosts={"localhost:8000"}, origins={"https://friend.example"})  # type: ignore[arg-type]
    http = TestClient(app, base_url="http://localhost:8000")
    assert http.get("/v1/models", headers=headers).status_code == status


def test_probes_may_call_by_any_name_and_networks_and_a_star_allow_addresses_and_all(
    registry: StandInRegistry,
) -> None:
    def ask(host: str, path: str, *hosts: str) -> int:
        app = create_app(registry, hosts={"localhost:8000", *hosts})  # type: ignore[arg-type]
        status: int = TestClient(app).get(path, headers={"host": host}).status_code
        return status

    for path in ("/healthz", "/readyz"):
        assert ask("10.244.0.7:8000", path) == 200
    assert ask("10.244.0.7:8000", "/metrics") == 421
    networks = ("10.244.0.0/16", "fd00::/8")
    for host in ("10.244.0.7:8000", "10.244.255.1", "[fd00::7]:8000", "localhost:8000"):
        assert ask(host, "/metrics", *networks) == 200, host
    for host in ("10.245.0.7", "10.244.0.7.evil.example", "10.244.0.7:8000x", "evil.example", ""):
        assert ask(host, "/metrics", *networks) == 421, host
    assert ask("anything.example", "/metrics", "*") == 200


FRIEND = "https://friend.example"


def test_pages_of_allowed_origins_may_send_and_read(registry: StandInRegistry) -> None:
    access = Access({TOKENS[Scope.LEARN]: {Scope.LEARN}})
    http = client(registry, access=access, origins={"https://Friend.example"})
    asked = {
        "origin": FRIEND,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,idempotency-key",
    }
    preflight = http.options("/v1/models/wine/samples", headers=asked)  # without a token
    assert preflight.status_code == 204
    allowed = preflight.headers["access-control-allow-headers"].split(", ")
    assert allowed == ["authorization", "content-type", "idempotency-key", "last-event-id"]
    assert "POST" in preflight.headers["access-control-allow-methods"].split(", ")
    token = {"authorization": f"Bearer {TOKENS[Scope.LEARN]}"}
    body = {"sample": {"x": 1}}
    for headers, status in ((token, 200), ({}, 401)):
        response = http.post(
            "/v1/models/wine/samples", json=body, headers={"origin": FRIEND, **headers}
        )
        assert response.status_code == status
        for told in (preflight, response):
            assert told.headers["access-control-allow-origin"] == FRIEND
            assert "origin" in told.headers["vary"]
            assert told.headers["access-control-expose-headers"] == "retry-after"


def test_other_origins_get_no_cors_headers(registry: StandInRegistry) -> None:
    asked = {"access-control-request-method": "GET"}
    some = client(registry, origins={FRIEND})
    for http in (some, client(registry)):
        refused = http.options("/v1/models", headers={"origin": "http://evil.example", **asked})
        assert is_problem(refused, 403, "Origin")
        own = http.options("/v1/models", headers={"origin": "http://testserver", **asked})
        assert is_problem(own, 405)
        for response in (refused, own, http.get("/v1/models")):
            assert not any(name.startswith("access-control") for name in response.headers)
            assert ("origin" in response.headers.get("vary", "")) == (http is some)
    assert is_problem(some.options("/v1/models", headers={"origin": FRIEND}), 405)


def test_every_response_has_security_headers(http: TestClient) -> None:
    for path in ("/v1/models", "/v1/models/absent", "/nothing", "/healthz"):
        headers = http.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


def test_an_unknown_path_is_a_problem(http: TestClient) -> None:
    assert is_problem(http.get("/nothing"), 404)
    refused = http.put("/v1/models")
    assert is_problem(refused, 405)
    assert set(refused.headers["allow"].split(", ")) >= {"GET"}


def test_the_dashboard_needs_no_token(registry: StandInRegistry) -> None:
    http = client(registry, access=Access({TOKENS[Scope.READ]: {Scope.READ}}))
    page = http.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for file in re.findall(r"(?:src|href)=\"(page/[^\"]+)", page.text):
        assert http.get(f"/{file}").status_code == 200
    assert is_problem(http.get("/page/absent.js"), 404)
    assert is_problem(http.get("/page/..%2fassets.py"), 404)


def test_the_rate_of_requests_is_limited(registry: StandInRegistry) -> None:
    http = client(registry, limits=Limits(max_rate=2.0))
    statuses = [http.get("/v1/models").status_code for _ in range(3)]
    assert statuses == [200, 200, 429]


def test_the_application_can_be_mounted(registry: StandInRegistry) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    outer = Starlette(routes=[Mount("/ml", create_app(registry))])  # type: ignore[arg-type]
    http = TestClient(outer)
    assert http.get("/ml/v1/models/wine").json()["name"] == "wine"
    body = {"name": "beer", "settings": {"source": {"target": "y"}}}
    assert http.post("/ml/v1/models", json=body).headers["location"] == "/ml/v1/models/beer"
    assert http.get("/ml/openapi.json").json()["servers"] == [{"url": "/ml"}]
    assert client(registry).get("/openapi.json").json()["servers"] == [{"url": "/"}]


def ask(app: Any, scope: dict[str, Any], talk: Talk) -> Talk:
    async def main() -> None:
        with anyio.fail_after(10):
            await app(scope, talk.receive, talk.send)

    anyio.run(main)
    return talk


def test_two_host_headers_are_refused(registry: StandInRegistry) -> None:
    app = create_app(registry)  # type: ignore[arg-type]
    scope = http_scope("/healthz", [(b"host", b"a"), (b"host", b"b")])
    assert ask(app, scope, Talk()).status == 400


def test_a_websocket_is_closed(registry: StandInRegistry) -> None:
    app = create_app(registry)  # type: ignore[arg-type]
    talk = ask(app, {**http_scope("/"), "type": "websocket"}, Talk())
    assert talk.sent == [{"type": "websocket.close", "code": 1008}]


def test_a_client_that_stops_reading_is_disconnected(registry: StandInRegistry) -> None:
    app = create_app(registry, limits=Limits(response_seconds=0.05))  # type: ignore[arg-type]
    talk = Talk()
    talk.reads = False
    assert ask(app, http_scope("/v1/models/wine/events"), talk).status == 200


def test_excess_requests_are_refused_but_health_checks_pass(registry: StandInRegistry) -> None:
    app = create_app(registry, limits=Limits(requests=1))  # type: ignore[arg-type]

    async def main() -> list[int]:
        talks = [Talk() for _ in range(3)]
        paths = ["/v1/models/wine/events", "/v1/models", "/healthz"]
        async with anyio.create_task_group() as group:
            for talk, path in zip(talks, paths, strict=True):
                group.start_soon(app, http_scope(path), talk.receive, talk.send)
                await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        return [talk.status for talk in talks]

    assert anyio.run(main) == [200, 503, 200]


@pytest.mark.parametrize("kind", [b"application/json", b"application/x-ndjson"])
def test_a_client_that_disconnects_gets_no_response(
    registry: StandInRegistry, wine: StandIn, kind: bytes
) -> None:
    app = create_app(registry)  # type: ignore[arg-type]
    headers = [(b"host", b"a"), (b"content-type", kind)]
    body = {"type": "http.request", "body": b'{"x": 1}\n{"x"', "more_body": True}
    talk = Talk(body, {"type": "http.disconnect"})
    assert ask(app, http_scope("/v1/models/wine/samples", headers, "POST"), talk).sent == []
    assert wine.taken == ([] if kind.endswith(b"/json") else [b'{"x": 1}'])


def test_the_number_of_batches_in_memory_is_limited(registry: StandInRegistry) -> None:
    app = create_app(registry, limits=Limits(batches=1))  # type: ignore[arg-type]
    headers = [(b"host", b"a"), (b"content-type", b"application/x-ndjson")]

    async def main() -> int:
        first, second = Talk(), Talk({"type": "http.request", "body": b'{"x": 1}'})
        scope = http_scope("/v1/models/wine/predict", headers, "POST")
        async with anyio.create_task_group() as group:
            group.start_soon(app, dict(scope), first.receive, first.send)
            await anyio.wait_all_tasks_blocked()
            await app(dict(scope), second.receive, second.send)
            group.cancel_scope.cancel()
        return second.status

    assert anyio.run(main) == 503

"""Bodies: within their limits, and by their type."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import anyio
import pytest
from starlette.testclient import TestClient

from streamnet.daemon.http.access import Limits
from streamnet.errors import NotReadyError
from tests.conftest import Runner
from tests.daemon.app_client import SAMPLES, client, is_problem, lines
from tests.daemon.asgi import Talk, lines_scope
from tests.daemon.stand_ins import StandIn, StandInRegistry


@pytest.mark.parametrize(
    ("body", "status", "phrase"),
    [
        (b"", 400, "JSON"),
        (b"{", 400, "JSON"),
        (b"[]", 422, "object"),
        (b"{}", 422, "exactly one of sample and samples"),
        (b'{"sample": {}, "samples": []}', 422, "exactly one"),
        (b'{"samples": [3]}', 422, "$.samples[0]"),
        (b'{"sample": {}, "extra": 1}', 422, "extra"),
        (b'{"sample": {}, "ids": ["a"]}', 422, "ids"),
        (b'{"samples": [{}], "id": "a"}', 422, "id"),
        (b'{"samples": [{}], "ids": ["a", "b"]}', 422, "one for each"),
        (b'{"sample": ' + b'{"a":' * 100_000, 400, "nested too deeply"),
        (b'{"sample": {"a": "\xff"}}', 400, "JSON"),
        (b'{"sample": {"a": 1e999}}', 422, "range"),
    ],
)
def test_a_body_that_is_wrong_is_told_what_is(
    http: TestClient, body: bytes, status: int, phrase: str
) -> None:
    headers = {"content-type": "application/json"}
    refused = http.post("/v1/models/wine/predict", content=body, headers=headers)
    assert is_problem(refused, status, phrase)


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"content-type": "text/html"}, b"{}", 415),
        ({"content-encoding": "br"}, b"{}", 415),
        ({"content-encoding": "gzip"}, b"no gzip", 400),
        ({"content-encoding": "gzip"}, gzip.compress(b"{}" * 100)[:-9], 400),
        ({"content-encoding": "gzip"}, gzip.compress(b" " * 100_000_000), 413),
        ({}, b" " * 1001, 413),
        ({"idempotency-key": "a b"}, b"{}", 422),
        ({"idempotency-key": "a\x7f"}, b"{}", 422),
    ],
    ids=["type", "encoding", "no gzip", "half a gzip", "gzip bomb", "large", "a space", "no sign"],
)
def test_a_body_within_no_limits_is_refused(
    registry: StandInRegistry, headers: dict[str, str], body: bytes, status: int
) -> None:
    http = client(registry, limits=Limits(body=1000))
    refused = http.post("/v1/models/wine/samples", content=body, headers=headers)
    assert is_problem(refused, status)


def test_a_body_of_two_gzip_members_is_one(http: TestClient, wine: StandIn) -> None:
    text = gzip.compress(b'{"sample"') + gzip.compress(b': {"x": 1}}')
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert http.post("/v1/models/wine/samples", content=text, headers=headers).is_success
    assert wine.taken == [{"x": 1}]


def test_only_so_many_batches_are_at_work(registry: StandInRegistry) -> None:
    http = client(registry, limits=Limits(lines=1000))
    headers = {"content-type": "application/x-ndjson"}
    refused = http.post("/v1/models/wine/predict", content=lines(SAMPLES * 5), headers=headers)
    assert is_problem(refused, 413, "1000")


def endless() -> Iterator[bytes]:
    for _ in range(1000):
        yield b'{"x": 1}\n' * 100


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1/models/none/samples", 404), ("/v1/models/wine/samples?ack=bad", 422)],
)
def test_a_refusal_before_a_long_body_ends_the_connection(
    http: TestClient, path: str, status: int
) -> None:
    lines_kind = {"content-type": "application/x-ndjson"}
    for body in (endless(), b"{}\n" * 30_000):
        refused = http.post(path, content=body, headers=lines_kind)
        assert refused.status_code == status
        assert refused.headers["connection"] == "close"
    short = http.post(path, content=b"{}\n", headers=lines_kind)
    assert short.status_code == status
    assert "connection" not in short.headers


def test_an_error_behind_some_lines_ends_the_connection(
    registry: StandInRegistry, run: Runner
) -> None:
    registry.models["wine"].errors.append(NotReadyError("it has failed"))
    piece = {"type": "http.request", "body": b'{"x": 1}\n', "more_body": True}
    talk = Talk(piece, piece)  # and more may come for ever
    scope = lines_scope("/v1/models/wine/samples")

    async def main() -> None:
        with anyio.fail_after(10):
            await client(registry).app(scope, talk.receive, talk.send)

    run(main)
    assert talk.status == 503
    assert (b"connection", b"close") in talk.sent[0]["headers"]

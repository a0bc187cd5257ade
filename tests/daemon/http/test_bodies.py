"""Bodies: limits, media types, prefetching, and blocks decoded from lines."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Iterator
from functools import cache

import anyio
import numpy as np
import pytest
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.testclient import TestClient

from streamnet.daemon.http.access import Limits
from streamnet.daemon.http.bodies import decode_block, prefetch, split_lines
from streamnet.daemon.http.responses import http_error
from streamnet.errors import DataError, NotReadyError
from streamnet.modelfiles import Model
from streamnet.online import OnlineRegressor
from streamnet.samples import Field, Kind
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
def test_an_invalid_body_is_explained(
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
def test_a_body_beyond_the_limits_is_refused(
    registry: StandInRegistry, headers: dict[str, str], body: bytes, status: int
) -> None:
    http = client(registry, limits=Limits(max_body=1000))
    refused = http.post("/v1/models/wine/samples", content=body, headers=headers)
    assert is_problem(refused, status)


def test_two_gzip_members_are_one_body(http: TestClient, wine: StandIn) -> None:
    text = gzip.compress(b'{"sample"') + gzip.compress(b': {"x": 1}}')
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert http.post("/v1/models/wine/samples", content=text, headers=headers).is_success
    assert wine.taken == [{"x": 1}]


def test_the_size_of_a_batch_is_limited(registry: StandInRegistry) -> None:
    http = client(registry, limits=Limits(lines=1000))
    headers = {"content-type": "application/x-ndjson"}
    refused = http.post("/v1/models/wine/predict", content=lines(SAMPLES * 5), headers=headers)
    assert is_problem(refused, 413, "1000")


def endless() -> Iterator[bytes]:
    for _ in range(1000):
        yield b'{"x": 1}\n' * 100


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/models/none/samples", 404), ("/v1/models/wine/samples?ack=bad", 422)]
)
def test_refusing_a_long_body_closes_the_connection(
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


def test_an_error_after_some_lines_closes_the_connection(
    registry: StandInRegistry, run: Runner
) -> None:
    registry.models["wine"].errors.append(NotReadyError("it has failed"))
    piece = {"type": "http.request", "body": b'{"x": 1}\n', "more_body": True}
    talk = Talk(piece, piece)  # and never ends
    scope = lines_scope("/v1/models/wine/samples")

    async def main() -> None:
        with anyio.fail_after(10):
            await client(registry).app(scope, talk.receive, talk.send)

    run(main)
    assert talk.status == 503
    assert (b"connection", b"close") in talk.sent[0]["headers"]


async def given_as(pieces: list[bytes], then: Exception | None = None) -> AsyncIterator[bytes]:
    for piece in pieces:
        await checkpoint()
        yield piece
    if then is not None:
        raise then


@pytest.mark.parametrize("failure", [http_error(413, "too large"), ClientDisconnect()])
def test_pieces_are_delivered_before_the_error_that_ended_reading(
    failure: Exception, backend: str
) -> None:
    taken: list[bytes] = []

    async def main() -> None:
        async with prefetch(given_as([b"a", b"b", b"c"], failure), 8) as ahead:
            await wait_all_tasks_blocked()
            async for piece in ahead:
                taken.append(piece)  # noqa: PERF401 - those before an error count

    with pytest.raises(type(failure)) as caught:
        anyio.run(main, backend=backend)
    assert caught.value is failure
    assert taken == [b"a", b"b", b"c"]


def test_prefetching_is_bounded(backend: str) -> None:
    read: list[bytes] = []

    async def counted() -> AsyncIterator[bytes]:
        async for piece in given_as([b"%d" % number for number in range(10)]):
            read.append(piece)
            yield piece

    async def main() -> None:
        async with prefetch(counted(), 3) as ahead:
            await wait_all_tasks_blocked()
            assert read == [b"0", b"1", b"2", b"3"]  # the last one waits to be sent
            assert ahead.drain(await anext(ahead)) == b"0123"

    anyio.run(main, backend=backend)


def test_an_error_in_the_block_stops_reading_and_is_raised_ungrouped(backend: str) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            await checkpoint()
            yield b""

    async def main() -> None:
        async with prefetch(endless(), 2) as ahead:
            async for _ in ahead:
                raise DataError("enough")

    with pytest.raises(DataError, match="enough"):
        anyio.run(main, backend=backend)


@given(st.lists(st.lists(st.sampled_from([b"\n", b"ab\n", b"abcdefgh\n"])), max_size=9))
def test_splitting_does_not_depend_on_how_lines_arrive(pieces: list[list[bytes]]) -> None:
    text = b"".join(map(b"".join, pieces))
    expected, rest = [], text
    while (end := rest.find(b"\n", 5) + 1) > 0:
        expected.append(rest[:end])
        rest = rest[end:]

    async def main() -> list[bytes]:
        return [part async for part in split_lines(given_as(list(map(b"".join, pieces))), 5)]

    assert anyio.run(main) == expected + [rest] * bool(rest)


def test_the_stop_error_is_raised_after_all_pieces_read(run: Runner) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"1"
        yield b"2"
        await anyio.sleep_forever()

    async def main() -> list[bytes]:
        event, found = anyio.Event(), []

        async def read() -> None:
            async with prefetch(pieces(), 4, (event, http_error(503, "over"))) as ahead:
                async for piece in ahead:
                    found.append(piece)
                    await wait_all_tasks_blocked()
                    event.set()

        with anyio.fail_after(5), pytest.raises(HTTPException, match="503"):
            await read()
        return found

    assert run(main) == [b"1", b"2"]


def test_a_completely_read_body_is_not_stopped(run: Runner) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"1"
        yield b"2"

    async def main() -> list[bytes]:
        event, found = anyio.Event(), []
        async with prefetch(pieces(), 4, (event, http_error(503, "over"))) as ahead:
            await wait_all_tasks_blocked()
            event.set()
            await anyio.sleep(0.3)  # longer than the poll interval
            found += [piece async for piece in ahead]
        return found

    assert run(main) == [b"1", b"2"]


NUMBERS = (Field("a", Kind.NUMBER), Field("b c", Kind.NUMBER))


@cache
def model() -> Model:
    learner = OnlineRegressor(seed=1)
    for i in range(300):
        learner.learn_one({"a": i % 10, "b c": i % 7}, 2.0 * (i % 10) - i % 7)
    return learner.model()


VALUES = st.none() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.dictionaries(st.sampled_from(["a", "b c", "d"]), VALUES)


@given(st.lists(ROWS, min_size=1, max_size=20))
def test_the_block_decoder_predicts_the_same_as_dicts(rows: list[dict[str, float]]) -> None:
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    block = decode_block(lines, model().fields, ("d",))
    if any(row.get("a") is None and row.get("b c") is None for row in rows):
        assert block is None, "whether a line is empty is left to the slower way"
        return
    assert block is not None
    assert decode_block(lines, model().fields) is None or not any("d" in row for row in rows)
    np.testing.assert_array_equal(model().predict(block), model().predict(rows))


@pytest.mark.parametrize(
    "line",
    [b'{"a": "1"}', b'{"a": true}', b"[1]", b"{", b'{"a": 1e999}', b'{"a": [1]}', b'{"a": "\xff"}'],
)
def test_values_other_than_plain_numbers_use_dicts(line: bytes) -> None:
    assert decode_block(b'{"a": 1}\n' + line, NUMBERS) is None


@pytest.mark.parametrize("fields", [(), (*NUMBERS, Field("w", Kind.CATEGORY))])
def test_text_columns_use_dicts(fields: tuple[Field, ...]) -> None:
    assert decode_block(b'{"a": 1}', fields) is None


def test_no_lines_decode_to_no_samples() -> None:
    block = decode_block(b"\n", NUMBERS)
    assert block is not None
    assert block.numbers.shape == (0, 2)

"""Connections on which another protocol is offered, as clients of Java's library do by default."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from itertools import pairwise
from time import sleep

import pytest

from tests.daemon.processes import Server, connected, running, said

OFFER = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAEAAEAAAAIA")
LINES = b'{"x": 1}\n{"x": 2}\n{"x": 3}\n'
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(LINES), LINES)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as started:
        yield started
        _, logged = started.end(signal.SIGTERM)
    assert "Traceback" not in logged


def request(server: Server, start: bytes, *lines: bytes, body: bytes = b"") -> bytes:
    host = f"Host: {server.host}:{server.port}".encode()
    return b"\r\n".join((start + b" HTTP/1.1", host, *lines, b"", body))


def lines_to_learn(server: Server, *more: bytes, body: bytes = LINES) -> bytes:
    start = b"POST /v1/models/wine/samples"
    return request(server, start, b"Content-Type: application/x-ndjson", *OFFER, *more, body=body)


@pytest.mark.parametrize("cuts", [(), (-len(LINES),), (-5,), (30, 170, -20)])
@pytest.mark.parametrize(
    "length", [b"Content-Length: %d" % len(LINES), b"Transfer-Encoding: chunked"]
)
def test_the_body_of_an_offer_is_taken_once(
    server: Server, length: bytes, cuts: tuple[int, ...]
) -> None:
    body = CHUNKED if length.endswith(b"chunked") else LINES
    sent = lines_to_learn(server, length, body=body)
    with connected(server) as connection:
        for start, end in pairwise((0, *(cut % len(sent) for cut in cuts), len(sent))):
            connection.sendall(sent[start:end])
            sleep(0.05)
        # The connection goes on behind it.
        connection.sendall(request(server, b"GET /healthz", b"Connection: close"))
        first, second = said(connection).split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert json.loads(first.partition(b"\r\n\r\n")[2])["accepted"] == 3
    assert second.endswith(b'{"status":"ok"}')


def test_a_body_of_an_offer_is_no_request_of_its_own(server: Server) -> None:
    hidden = request(server, b"GET /healthz")
    with connected(server) as connection:
        length = b"Content-Length: %d" % len(hidden)
        connection.sendall(lines_to_learn(server, b"Connection: close", length, body=hidden))
        answer = said(connection)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1") == 1


def test_many_offers_at_once_are_answered_one_after_the_other(server: Server) -> None:
    offer = request(server, b"GET /healthz", *OFFER)
    with connected(server) as connection:
        connection.sendall(offer * 400 + request(server, b"GET /healthz", b"Connection: close"))
        assert said(connection).count(b'{"status":"ok"}') == 401


def test_nobody_is_connected_to_elsewhere(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(request(server, b"CONNECT example.org:80", b"Connection: close"))
        assert said(connection).startswith(b"HTTP/1.1 40")

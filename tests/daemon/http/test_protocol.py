"""Connections: protocol upgrades, slow clients, and large heads."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise, repeat
from socket import SHUT_WR, socket
from time import monotonic, sleep

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
def test_the_body_of_an_upgrade_request_is_processed_once(
    server: Server, length: bytes, cuts: tuple[int, ...]
) -> None:
    body = CHUNKED if length.endswith(b"chunked") else LINES
    sent = lines_to_learn(server, length, body=body)
    with connected(server) as connection:
        for start, end in pairwise((0, *(cut % len(sent) for cut in cuts), len(sent))):
            connection.sendall(sent[start:end])
            sleep(0.05)
        # The connection stays usable.
        connection.sendall(request(server, b"GET /healthz", b"Connection: close"))
        first, second = said(connection).split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert json.loads(first.partition(b"\r\n\r\n")[2])["accepted"] == 3
    assert second.endswith(b'{"status":"ok"}')


def test_the_body_of_an_upgrade_request_is_not_parsed_as_a_request(server: Server) -> None:
    hidden = request(server, b"GET /healthz")
    with connected(server) as connection:
        length = b"Content-Length: %d" % len(hidden)
        connection.sendall(lines_to_learn(server, b"Connection: close", length, body=hidden))
        response = said(connection)
    assert response.startswith(b"HTTP/1.1 200 ")
    assert response.count(b"HTTP/1.1") == 1


def test_pipelined_upgrade_requests_are_answered_in_order(server: Server) -> None:
    offer = request(server, b"GET /healthz", *OFFER)
    with connected(server) as connection:
        connection.sendall(offer * 400 + request(server, b"GET /healthz", b"Connection: close"))
        assert said(connection).count(b'{"status":"ok"}') == 401


def test_connect_requests_are_refused(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(request(server, b"CONNECT example.org:80", b"Connection: close"))
        assert said(connection).startswith(b"HTTP/1.1 40")


# The allowed pause is much longer than the interval between two drops.
LIMITS = {"header_seconds": 1.0, "body_seconds": 1.5, "min_body_rate": 200.0}
DROP = 0.05  # seconds between two
LONGEST = 30.0  # seconds until a whole response has arrived
SAMPLE = b'{"sample": {"x": 1}}'
LINE = b'{"x": 1, "lit": "on"}\n'


@pytest.fixture(scope="module")
def strict_server() -> Iterator[Server]:
    with running({"limits": LIMITS}) as strict_server:
        yield strict_server


def head(strict_server: Server, path: str, *lines: str, method: str = "POST") -> bytes:
    start = (
        f"{method} /v1/models/{path} HTTP/1.1",
        f"Host: {strict_server.host}:{strict_server.port}",
    )
    return "\r\n".join((*start, *lines, "", "")).encode()


def receive_response(connection: socket, response: bytes = b"") -> bytes:
    """One whole response, however many pieces it arrives in; ``response`` has arrived already."""
    while True:
        found = re.search(rb"content-length: (\d+)\r\n(?s:.*?)\r\n\r\n", response)
        if found is not None and len(response) >= found.end() + int(found[1]):
            return response
        part = connection.recv(4096)
        assert part, response
        response += part


def drip(connection: socket, drops: Iterator[bytes], seconds: float) -> tuple[bytes, float]:
    """Send drops one by one; returns the response, empty if there was none, and the time taken."""
    begun = monotonic()
    connection.settimeout(DROP)
    while (took := monotonic() - begun) < seconds:
        with suppress(BrokenPipeError, ConnectionResetError):  # the response can still be read
            connection.sendall(next(drops))
        try:
            part = connection.recv(4096)
        except TimeoutError:
            continue
        except ConnectionResetError:
            return b"closed", took
        connection.settimeout(LONGEST)
        return receive_response(connection, part) if part else b"", took
    return b"", took


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("wine/samples", "application/json"),
        ("wine/predict", "application/json"),
        ("wine/predict", "application/x-ndjson"),
        ("wine/labels", "application/json"),
    ],
)
def test_a_body_that_arrives_too_slowly_is_refused(
    strict_server: Server, path: str, kind: str
) -> None:
    with connected(strict_server) as connection:
        lines = (f"Content-Type: {kind}", "Content-Length: 60000")
        connection.sendall(head(strict_server, path, *lines))
        response, took = drip(connection, repeat(b" "), 10)
        assert response.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in response
        assert b"less than 200 bytes per second" in response
        assert took >= 1.4


def test_a_slow_body_above_the_minimum_rate_is_accepted(strict_server: Server) -> None:
    body = b'{"sample": {"x": 1' + b" " * 1000 + b"}}"
    size = 50  # bytes of a drop: 1,000 a second or somewhat fewer
    drops = (body[at : at + size] for at in range(0, len(body), size))
    with connected(strict_server) as connection:
        kind, length = "Content-Type: application/json", f"Content-Length: {len(body)}"
        connection.sendall(head(strict_server, "wine/samples", kind, length))
        response, _ = drip(connection, drops, 10)
        assert response.startswith(b"HTTP/1.1 200 ")


def test_a_stream_of_lines_to_learn_may_be_slow(strict_server: Server) -> None:
    drop = b"%x\r\n%s\r\n" % (len(LINE), LINE)
    with connected(strict_server) as connection:
        lines = ("Content-Type: application/x-ndjson", "Transfer-Encoding: chunked")
        connection.sendall(head(strict_server, "wine/samples", *lines))
        for _ in range(6):  # of 3 seconds, where 22 bytes may take 1.6
            connection.sendall(drop)
            sleep(0.5)
        connection.sendall(b"0\r\n\r\n")
        response = receive_response(connection)
        assert response.startswith(b"HTTP/1.1 200 ")
        assert b'"accepted":6' in response


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("none/samples", "POST", b"404"), ("wine", "GET", b"200")],
    ids=["refused", "accepted"],
)
def test_continuing_a_body_after_its_response_closes_the_connection(
    strict_server: Server, path: str, method: str, status: bytes
) -> None:
    with connected(strict_server) as connection:
        connection.sendall(head(strict_server, path, "Content-Length: 60000", method=method) + b"{")
        assert receive_response(connection).startswith(b"HTTP/1.1 " + status)
        response, took = drip(connection, repeat(b" "), 10)
        assert response in (b"", b"closed")
        assert took < 5


def test_a_connection_survives_a_short_unread_body(strict_server: Server) -> None:
    with connected(strict_server) as connection:
        connection.sendall(
            head(strict_server, "none/samples", "Content-Length: 50000") + b" " * 10_000
        )
        assert receive_response(connection).startswith(b"HTTP/1.1 404 ")
        connection.sendall(b" " * 40_000)
        sleep(1.2)  # longer than the rest may take
        connection.sendall(head(strict_server, "wine", method="GET"))
        assert receive_response(connection).startswith(b"HTTP/1.1 200 ")


def test_a_head_following_a_large_body_is_not_counted_as_large(strict_server: Server) -> None:
    body = b'{"sample": {"x": 1' + b" " * 60_000 + b"}}"
    kind, length = "Content-Type: application/json", f"Content-Length: {len(body)}"
    second = head(strict_server, "wine", method="GET")
    with connected(strict_server) as connection:
        connection.sendall(head(strict_server, "wine/samples", kind, length) + body + second[:20])
        assert receive_response(connection).startswith(b"HTTP/1.1 200 ")
        connection.sendall(second[20:])
        assert receive_response(connection).startswith(b"HTTP/1.1 200 ")


def test_half_a_request_is_dropped_when_its_client_disconnects(strict_server: Server) -> None:
    with connected(strict_server) as connection:
        connection.sendall(head(strict_server, "wine/samples", "Content-Length: 100") + b"{")
        connection.shutdown(SHUT_WR)
        begun = monotonic()
        assert said(connection) == b""
        assert monotonic() - begun < 1.4


@pytest.mark.parametrize("heard", [True, False])
def test_events_end_when_the_client_disconnects(strict_server: Server, heard: bool) -> None:
    with connected(strict_server) as connection:
        connection.sendall(head(strict_server, "wine/events", method="GET"))
        while heard and b"retry: 2000" not in connection.recv(4096):
            pass
        connection.shutdown(SHUT_WR)
        begun = monotonic()
        said(connection)
        assert monotonic() - begun < 5

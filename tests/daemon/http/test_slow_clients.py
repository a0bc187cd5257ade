"""A real server and plain sockets: who sends too slowly, and who has said all and listens on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import repeat
from socket import SHUT_WR, socket
from time import monotonic, sleep

import pytest

from tests.daemon.processes import Server, connected, running, said

# The pause that is allowed is long beside that between two drops, which is no pause at all.
LIMITS = {"header_seconds": 1.0, "body_seconds": 1.5, "body_rate": 200.0}
DROP = 0.05  # seconds between two
LONGEST = 30.0  # seconds until the rest of an answer is here
SAMPLE = b'{"sample": {"x": 1}}'
LINE = b'{"x": 1, "lit": "on"}\n'


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running({"limits": LIMITS}) as server:
        yield server


def head(server: Server, path: str, *lines: str, method: str = "POST") -> bytes:
    start = (f"{method} /v1/models/{path} HTTP/1.1", f"Host: {server.host}:{server.port}")
    return "\r\n".join((*start, *lines, "", "")).encode()


def answered(connection: socket, answer: bytes = b"") -> bytes:
    """One whole answer, however many pieces it comes in; ``answer`` has come already."""
    while True:
        found = re.search(rb"content-length: (\d+)\r\n(?s:.*?)\r\n\r\n", answer)
        if found is not None and len(answer) >= found.end() + int(found[1]):
            return answer
        part = connection.recv(4096)
        assert part, answer
        answer += part


def drip(connection: socket, drops: Iterator[bytes], seconds: float) -> tuple[bytes, float]:
    """Send them, one now and one then; the answer and how long it took, empty if none came."""
    begun = monotonic()
    connection.settimeout(DROP)
    while (took := monotonic() - begun) < seconds:
        with suppress(BrokenPipeError, ConnectionResetError):  # what was answered can be read
            connection.sendall(next(drops))
        try:
            part = connection.recv(4096)
        except TimeoutError:
            continue
        except ConnectionResetError:
            return b"closed", took
        connection.settimeout(LONGEST)
        return answered(connection, part) if part else b"", took
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
def test_who_sends_a_body_drop_by_drop_is_sent_away(server: Server, path: str, kind: str) -> None:
    with connected(server) as connection:
        lines = (f"Content-Type: {kind}", "Content-Length: 60000")
        connection.sendall(head(server, path, *lines))
        answer, took = drip(connection, repeat(b" "), 10)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in answer
        assert b"less than 200 bytes a second" in answer
        assert took >= 1.4


def test_a_line_that_is_slow_but_fast_enough_is_heard_out(server: Server) -> None:
    body = b'{"sample": {"x": 1' + b" " * 1000 + b"}}"
    size = 50  # bytes of a drop: 1,000 a second or somewhat fewer
    drops = (body[at : at + size] for at in range(0, len(body), size))
    with connected(server) as connection:
        kind, length = "Content-Type: application/json", f"Content-Length: {len(body)}"
        connection.sendall(head(server, "wine/samples", kind, length))
        answer, _ = drip(connection, drops, 10)
        assert answer.startswith(b"HTTP/1.1 200 ")


def test_a_stream_of_lines_to_learn_may_be_as_slow_as_it_likes(server: Server) -> None:
    drop = b"%x\r\n%s\r\n" % (len(LINE), LINE)
    with connected(server) as connection:
        lines = ("Content-Type: application/x-ndjson", "Transfer-Encoding: chunked")
        connection.sendall(head(server, "wine/samples", *lines))
        for _ in range(6):  # of 3 seconds, where 22 bytes may take 1.6
            connection.sendall(drop)
            sleep(0.5)
        connection.sendall(b"0\r\n\r\n")
        answer = answered(connection)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b'"accepted":6' in answer


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("none/samples", "POST", b"404"), ("wine", "GET", b"200")],
    ids=["refused", "answered"],
)
def test_who_goes_on_with_a_body_that_was_answered_unread_is_sent_away(
    server: Server, path: str, method: str, status: bytes
) -> None:
    with connected(server) as connection:
        connection.sendall(head(server, path, "Content-Length: 60000", method=method) + b"{")
        assert answered(connection).startswith(b"HTTP/1.1 " + status)
        answer, took = drip(connection, repeat(b" "), 10)
        assert answer in (b"", b"closed")
        assert took < 5


def test_a_connection_goes_on_behind_a_body_that_was_answered_unread(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(head(server, "none/samples", "Content-Length: 50000") + b" " * 10_000)
        assert answered(connection).startswith(b"HTTP/1.1 404 ")
        connection.sendall(b" " * 40_000)
        sleep(1.2)  # longer than the rest may take
        connection.sendall(head(server, "wine", method="GET"))
        assert answered(connection).startswith(b"HTTP/1.1 200 ")


def test_who_has_said_all_is_answered_though_it_closes_its_side(server: Server) -> None:
    kind, length = "Content-Type: application/json", f"Content-Length: {len(SAMPLE)}"
    asked = head(server, "wine/samples", kind, length) + SAMPLE
    two = head(server, "wine", method="GET") + head(server, "wine/leaders", method="GET")
    for request, answers in ((asked, 1), (two, 2)):
        with connected(server) as connection:
            connection.sendall(request)
            connection.shutdown(SHUT_WR)
            answer = said(connection)  # and then the connection is closed
            assert answer.count(b"HTTP/1.1 200 OK\r\n") == answers
            _, _, body = answer.rpartition(b"\r\n\r\n")
            assert json.loads(body)


def test_a_head_that_begins_behind_a_large_body_is_not_taken_for_a_large_head(
    server: Server,
) -> None:
    body = b'{"sample": {"x": 1' + b" " * 60_000 + b"}}"
    kind, length = "Content-Type: application/json", f"Content-Length: {len(body)}"
    second = head(server, "wine", method="GET")
    with connected(server) as connection:
        connection.sendall(head(server, "wine/samples", kind, length) + body + second[:20])
        assert answered(connection).startswith(b"HTTP/1.1 200 ")
        connection.sendall(second[20:])
        assert answered(connection).startswith(b"HTTP/1.1 200 ")


def test_half_a_request_is_not_waited_for_when_its_sender_is_gone(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(head(server, "wine/samples", "Content-Length: 100") + b"{")
        connection.shutdown(SHUT_WR)
        begun = monotonic()
        assert said(connection) == b""
        assert monotonic() - begun < 1.4


@pytest.mark.parametrize("heard", [True, False])
def test_events_end_with_their_reader(server: Server, heard: bool) -> None:
    with connected(server) as connection:
        connection.sendall(head(server, "wine/events", method="GET"))
        while heard and b"retry: 2000" not in connection.recv(4096):
            pass
        connection.shutdown(SHUT_WR)
        begun = monotonic()
        said(connection)
        assert monotonic() - begun < 5

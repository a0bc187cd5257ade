"""The process: listening, signals, TLS, JSON logs and notifications of a service manager."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import anyio
import httpx2
import pytest

from streamnet.daemon.logs import log_as_json
from streamnet.daemon.server import Address, notify, serve, watchdog_seconds
from streamnet.errors import ConfigurationError, StreamnetError
from streamnet.settings.daemon import DaemonSettings, ServeSection
from streamnet.settings.run import validate_settings
from tests.daemon.processes import Server, connected, running, said
from tests.daemon.stand_ins import StandInRegistry

SLOW = {"header_seconds": 0.4, "body_seconds": 0.4, "max_connections": 5}


@pytest.fixture(scope="module")
def strict() -> Iterator[Server]:
    """A server whose patience is short."""
    with running({"limits": SLOW}) as server:
        yield server


def head(server: Server, *lines: str) -> bytes:
    start = ("POST /v1/models/wine/samples HTTP/1.1", f"Host: {server.host}:{server.port}")
    return "\r\n".join((*start, "Content-Type: application/json", *lines, "", "")).encode()


def test_a_connection_without_headers_is_closed(strict: Server) -> None:
    with connected(strict) as connection:
        begun = monotonic()
        assert said(connection).startswith(b"HTTP/1.1 408 ")
        assert monotonic() - begun < 3


def test_headers_that_are_too_slow_are_refused(strict: Server) -> None:
    with connected(strict) as connection:
        begun = monotonic()
        connection.settimeout(0.1)
        connection.sendall(b"GET / HTTP/1.1\r\n")
        answer = b""
        while not answer and monotonic() - begun < 5:
            connection.sendall(b"X: y\r\n")
            try:
                answer = connection.recv(1000)
            except TimeoutError:
                continue
        assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_second_request_has_its_own_deadline(strict: Server) -> None:
    with connected(strict) as connection:
        get = f"GET /healthz HTTP/1.1\r\nHost: {strict.host}:{strict.port}\r\n"
        connection.sendall(f"{get}\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        connection.sendall(get.encode())
        assert b"HTTP/1.1 408 " in said(connection)


def test_a_body_that_is_too_slow_is_refused(strict: Server) -> None:
    with connected(strict) as connection:
        connection.sendall(head(strict, "Content-Length: 100") + b"{")
        answer = said(connection)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"application/problem+json" in answer


def test_headers_without_an_end_are_refused(strict: Server) -> None:
    with connected(strict) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 40_000)
        assert said(connection).startswith(b"HTTP/1.1 431 ")


def test_one_connection_too_many_is_refused(strict: Server) -> None:
    connections = [connected(strict) for _ in range(6)]
    try:
        assert said(connections[-1]).startswith(b"HTTP/1.1 503 ")
    finally:
        for connection in connections:
            connection.close()


def test_a_body_that_declares_too_great_a_length_is_refused_before_it_arrives(
    strict: Server,
) -> None:
    with connected(strict) as connection:
        connection.sendall(head(strict, "Content-Length: 99999999999"))
        assert said(connection).startswith(b"HTTP/1.1 413 ")


def test_a_server_stops_in_time_and_ends_event_streams(tmp_path: Path) -> None:
    with (
        running() as server,
        httpx2.Client(base_url=server.url) as http,
        http.stream("GET", "/v1/models/wine/events") as events,
    ):
        lines = events.iter_lines()
        assert next(lines) == "retry: 2000"
        begun = monotonic()
        code, logged = server.end(signal.SIGTERM)
        assert list(lines) == [""]  # an end, no broken connection
        assert monotonic() - begun < 3
    assert code == 0
    assert "Traceback" not in logged
    messages = [json.loads(line)["message"] for line in logged.splitlines()]
    assert messages == ["ready", "stopping"]


def test_a_server_whose_models_are_starting_can_be_stopped() -> None:
    with running({"state": "starting"}) as server:
        code, logged = server.end(signal.SIGTERM)
    assert (code, [json.loads(line)["message"] for line in logged.splitlines()]) == (
        0,
        ["stopping"],
    )


def test_active_requests_are_answered_before_the_stop() -> None:
    with running() as server, connected(server) as connection:
        body = b'{"sample": {"x": 1}}'
        connection.sendall(head(server, f"Content-Length: {len(body)}") + body[:5])
        server.process.send_signal(signal.SIGTERM)
        server.process.stderr.readline()  # type: ignore[union-attr]
        connection.sendall(body[5:])
        assert said(connection).startswith(b"HTTP/1.1 200 ")
        assert server.end()[0] == 0


def test_a_request_that_never_finishes_does_not_delay_the_stop() -> None:
    with running({"address": {"drain_seconds": 0.5}}) as server, connected(server) as connection:
        connection.sendall(head(server, "Content-Length: 100") + b"{")
        begun = monotonic()
        assert server.end(signal.SIGTERM)[0] == 0
        assert monotonic() - begun < 4


def test_a_second_signal_ends_at_once() -> None:
    with running({"address": {"drain_seconds": 60.0}}) as server, connected(server) as connection:
        connection.sendall(head(server, "Content-Length: 100") + b"{")
        begun = monotonic()
        server.process.send_signal(signal.SIGTERM)
        logged = server.process.stderr
        assert logged is not None
        while "stopping" not in logged.readline():
            pass
        server.end(signal.SIGINT)
        assert monotonic() - begun < 15


def test_sighup_reloads_tokens(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("first-first-first read\n")
    tokens.chmod(0o600)
    with running({"token_file": str(tokens)}) as server, httpx2.Client() as http:
        address = f"{server.url}/v1/models"

        def status(token: str) -> int:
            headers = {"Authorization": f"Bearer {token}"}
            return http.get(address, headers=headers).status_code

        assert (status("first-first-first"), status("second-second-2")) == (200, 401)
        tokens.write_text("second-second-second read\n")
        server.process.send_signal(signal.SIGHUP)
        logged = server.process.stderr
        assert logged is not None
        while "tokens were reloaded" not in logged.readline():
            pass
        assert (status("first-first-first"), status("second-second-second")) == (401, 200)
        tokens.write_text("third read")
        server.process.send_signal(signal.SIGHUP)
        told = f"reload refused: {tokens}:1: the token is 5 long"
        assert told in logged.readline()
        assert status("second-second-second") == 200


def test_a_service_manager_is_notified(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(10)
        with running(NOTIFY_SOCKET=str(path), WATCHDOG_USEC="300000") as server:
            told = {manager.recv(100) for _ in range(3)}
            assert told == {b"READY=1", b"WATCHDOG=1"}
            server.process.send_signal(signal.SIGTERM)
            while (last := manager.recv(100)) == b"WATCHDOG=1":
                pass
            assert last == b"STOPPING=1"
            assert server.end()[0] == 0


def made_certificate(folder: Path, *more: str) -> tuple[Path, Path]:
    """Files of a certificate and of its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate")
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    files = ("-keyout", "key.pem", "-out", "cert.pem", "-days", "1", *more)
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    subprocess.run(
        [openssl, "req", "-x509", *curve, *files, *names],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder / "cert.pem", folder / "key.pem"


def test_a_key_with_a_passphrase_is_refused_without_a_prompt(tmp_path: Path) -> None:
    certificate, key = made_certificate(tmp_path, "-passout", "pass:secret")
    settings = ServeSection(tls_certificate=str(certificate), tls_key=str(key))
    with pytest.raises(ConfigurationError, match=r"key\.pem is encrypted, but must be a key with"):
        Address(settings).check_certificate()


def test_tls_is_used_if_there_is_a_certificate(tmp_path: Path) -> None:
    certificate, key = made_certificate(tmp_path, "-nodes")
    address = {"tls_certificate": str(certificate), "tls_key": str(key)}
    trust = ssl.create_default_context(cafile=certificate)
    with running({"address": address}) as server, httpx2.Client(verify=trust) as http:
        assert server.scheme == "https"
        assert http.get(f"{server.url}/healthz").json() == {"status": "ok"}


def test_other_machines_need_a_token() -> None:
    async def main() -> None:
        await serve(StandInRegistry(), ServeSection(host="0.0.0.0", port=0))  # type: ignore[arg-type]

    with pytest.raises(
        ConfigurationError, match=r"host is '0\.0\.0\.0'.*token_file or token_env must be given"
    ):
        anyio.run(main)


def test_a_port_in_use_is_reported_as_temporary() -> None:
    with Address(ServeSection(port=0)).listen() as taken:
        port = taken.getsockname()[1]
        told = f"^can't listen on 127.0.0.1:{port}: Address already in use$"
        with pytest.raises(StreamnetError, match=told) as caught:
            Address(ServeSection(port=port)).listen()
    assert not isinstance(caught.value, ConfigurationError)  # after which no service is restarted


def test_an_address_of_another_machine_is_reported_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Address(ServeSection(host="8.8.8.8", port=18412)).listen()
    told = "can't listen on 8.8.8.8:18412: Cannot assign requested address"
    assert str(caught.value) == told


def test_websocket_requests_log_no_warnings() -> None:
    wish = b"GET /healthz HTTP/1.1\r\nhost: %s\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    with running() as server:
        with connected(server) as connection:
            connection.sendall(wish % f"{server.host}:{server.port}".encode())
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
        logged = server.end(signal.SIGTERM)[1]
    assert not [line for line in logged.splitlines() if "warning" in line.lower()]


@pytest.mark.parametrize(
    ("address", "names"),
    [
        ({"host": "localhost"}, {"localhost:80", "127.0.0.1:80", "[::1]:80"}),
        ({"host": "::", "hosts": ["A.example:9"]}, {"a.example:9"}),
        ({"host": "10.0.0.7"}, {"10.0.0.7:80"}),
        ({"host": "fd00::7"}, {"[fd00::7]:80"}),
    ],
)
def test_names_are_those_of_the_interface_and_configured_ones(
    address: dict, names: set[str]
) -> None:
    bare = {name.removesuffix(":80") for name in names if name.endswith(":80")}
    assert Address(ServeSection(**address)).names(80) == names | bare
    assert Address(ServeSection(**address)).names(8080) == {
        name.replace(":80", ":8080") for name in names
    }


@pytest.mark.parametrize(
    ("host", "names"),
    [
        ("Models.example", {"models.example", "models.example:18412"}),
        ("models.example:443", {"models.example", "models.example:443"}),
        ("models.example:80", {"models.example", "models.example:80"}),
        ("models.example:8443", {"models.example:8443"}),
        ("[fd00::7]", {"[fd00::7]", "[fd00::7]:18412"}),
        ("[fd00::7]:443", {"[fd00::7]", "[fd00::7]:443"}),
        ("10.0.0.0/8", {"10.0.0.0/8"}),
        ("*", {"*"}),
    ],
)
def test_a_proxy_may_use_a_standard_port(host: str, names: set[str]) -> None:
    own = Address(ServeSection(port=18412)).names(18412)
    assert "localhost" not in own  # a name that nobody gave has the daemon's port
    assert Address(ServeSection(port=18412, hosts=(host,))).names(18412) == names | own


@pytest.mark.parametrize(
    "wrong", [{"port": 70_000}, {"tls_certificate": "a"}, {"drain_seconds": 0.0}]
)
def test_an_invalid_address_is_refused(wrong: dict) -> None:
    with pytest.raises(ConfigurationError, match=f"{next(iter(wrong))}"):
        validate_settings(DaemonSettings, {"serve": wrong})


@pytest.fixture
def restored() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("streamnet", "uvicorn")]
    before = [(one.handlers, one.propagate, one.level) for one in loggers]
    yield
    for one, (handlers, propagate, level) in zip(loggers, before, strict=True):
        one.handlers, one.propagate = handlers, propagate
        one.setLevel(level)


def test_each_record_is_a_line_of_json(restored: None) -> None:
    out = io.StringIO()
    log_as_json("info", out)
    logger = logging.getLogger("streamnet.daemon")
    logger.debug("unsaid")
    logger.info("%d samples\nof two lines", 3, extra={"model": "a", "path": io})
    try:
        raise ValueError("broken")
    except ValueError:
        logger.exception("it failed")
    first, second = map(json.loads, out.getvalue().splitlines())
    assert (first["level"], first["message"]) == ("info", "3 samples\nof two lines")
    assert (first["model"], first["logger"]) == ("a", "streamnet.daemon")
    assert "ValueError: broken" in second["traceback"]


def test_requests_cancelled_at_the_end_leave_no_tracebacks(restored: None) -> None:
    out = io.StringIO()
    log_as_json("info", out)
    logger = logging.getLogger("uvicorn.error")
    logger.error("Cancel %s running task(s), timeout graceful shutdown exceeded", 2)
    for raised in (asyncio.CancelledError(), ValueError("broken")):
        logger.error("Exception in ASGI application", exc_info=raised)
    number, error = map(json.loads, out.getvalue().splitlines())
    assert "2 running" in number["message"]
    assert "ValueError: broken" in error["traceback"]


@pytest.mark.parametrize("abstract", [False, True])
def test_a_state_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    name = f"@streamnet-test-{os.getpid()}" if abstract else str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0"))
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        assert notify("READY=1")
        assert manager.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["", "relative", "/absent/socket"])
def test_a_missing_service_manager_is_no_error(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not notify("READY=1")


@pytest.mark.parametrize(
    ("given", "process", "seconds"),
    [("3000000", None, 3.0), ("3000000", "1", None), ("", None, None), ("0", None, None)],
)
def test_a_watchdog_applies_to_this_process_only(
    monkeypatch: pytest.MonkeyPatch, given: str, process: str | None, seconds: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", given)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if process is None else process)
    assert watchdog_seconds() == seconds

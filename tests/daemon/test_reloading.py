"""SIGHUP: a run file is taken over whole or not at all, and no sample is lost meanwhile."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from queue import Queue

import anyio
import httpx
import pytest

from streamnet.client.clients import Client
from streamnet.daemon.hosting.registry import Registry
from streamnet.daemon.http.access import Access, Limits
from streamnet.daemon.reloading import ConfigReloader
from streamnet.errors import ConflictError, RefusedError
from streamnet.settings.daemon import load
from tests.conftest import Runner
from tests.daemon.hosted_models import hosting_all, settings_of, until
from tests.daemon.processes import Server

IN_TIME = 120.0
MODEL = """
[model.{name}]
source.target = "label"
population.candidates = 2
state.every_seconds = 0.2
"""


@contextmanager
def daemon(path: Path) -> Iterator[tuple[Server, Queue[str]]]:
    """A daemon, and the lines that it logs."""
    server = Server([sys.executable, "-m", "streamnet", "serve", str(path)])
    lines: Queue[str] = Queue()

    def listen() -> None:
        assert server.process.stderr is not None
        for line in server.process.stderr:
            lines.put(line)

    listening = threading.Thread(target=listen)
    listening.start()
    try:
        yield server, lines
    finally:
        server.process.kill()
        server.process.wait()
        listening.join()
        for pipe in (server.process.stdout, server.process.stderr):
            assert pipe is not None
            pipe.close()


def write(path: Path, *models: str, serve: str = "", more: str = "") -> None:
    text = f"[serve]\ndir = '{path.parent}/models'\nport = 0\n{serve}"
    path.write_text(text + "".join(MODEL.format(name=name) for name in models) + more)


def hang_up(server: Server, lines: Queue[str]) -> str:
    """Send SIGHUP; the line that says what came of it."""
    server.process.send_signal(signal.SIGHUP)
    while True:
        line = lines.get(timeout=IN_TIME)
        if "were reloaded" in line or "reload refused" in line:
            return line


def samples(count: int, start: int) -> list[dict[str, object]]:
    return [
        {"x": i % 30, "label": "on" if i % 30 > 20 else "off"} for i in range(start, start + count)
    ]


def test_a_hangup_before_the_daemon_listens_is_delayed(tmp_path: Path) -> None:
    path = tmp_path / "serve.toml"
    write(path, "lamp")
    text = path.read_text()
    path.unlink()
    os.mkfifo(path)
    command = [sys.executable, "-m", "streamnet", "serve", str(path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        with path.open("w") as file:  # opened once it is being read
            process.send_signal(signal.SIGHUP)
            file.write(text)
            path.unlink()
            path.write_text(text)
        too_late = threading.Timer(IN_TIME, process.kill)
        too_late.start()
        assert process.stderr is not None
        assert any("were reloaded" in line for line in process.stderr)
        too_late.cancel()
        process.kill()


def test_a_run_file_is_reloaded_while_samples_arrive(tmp_path: Path) -> None:
    path = tmp_path / "serve.toml"
    write(path, "lamp")
    with daemon(path) as (server, lines), Client(server.url) as client:
        stop = threading.Event()
        sent: list[int | None] = []

        def send() -> None:
            with Client(server.url, patience=0.0) as own:
                while not stop.is_set():
                    sent.append(own.learn("lamp", samples(10, 10 * len(sent))).last)

        sending = threading.Thread(target=send)
        sending.start()
        try:
            # What is wrong is refused as a whole.
            write(path, "lamp", "new", serve="prt = 1\n")
            line = hang_up(server, lines)
            assert "reload refused" in line
            assert "prt" in line
            assert [one.name for one in client.models()] == ["lamp"]
            # What is new begins, what can change does, and what can't is told by name.
            write(
                path,
                "lamp",
                "new",
                serve="max_body = 300\ndrain_seconds = 1.0\n",
                more="run.seed = 7\n",
            )
            line = hang_up(server, lines)
            assert "model.new is new and starts" in line
            assert "serve.drain_seconds stays 5.0 instead of 1.0" in line
            assert client.learn("new", samples(2, 0)).accepted == 2
            with pytest.raises(RefusedError) as caught:
                client.learn("new", samples(100, 0))
            assert caught.value.status == 413
            # The same again changes nothing; what is gone or changed is told, and left.
            write(path, "lamp", serve="max_body = 100000\n", more="run.seed = 8\n")
            line = hang_up(server, lines)
            assert "model.lamp.run stays as it was" in line
            assert "model.new keeps running" in line
            assert client.learn("new", samples(100, 0)).accepted == 100
            client.delete("new")
            assert [one.name for one in client.models()] == ["lamp"]
            metrics = httpx.get(f"{server.url}/metrics").text
            assert 'streamnet_reloads_total{outcome="taken"} 2.0' in metrics
            assert 'streamnet_reloads_total{outcome="refused"} 1.0' in metrics
        finally:
            stop.set()
            sending.join()
        assert sent == [10 * number + 9 for number in range(len(sent))]
        assert len(sent) > 0
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=IN_TIME) == 0
    write(path, "lamp")  # with the seed that it began with
    with daemon(path) as (server, _), Client(server.url) as client:
        assert client.learn("lamp", samples(1, 0)).first == 10 * len(sent)


def test_a_model_created_over_http_keeps_its_name(tmp_path: Path) -> None:
    path = tmp_path / "serve.toml"
    write(path)
    with daemon(path) as (server, lines), Client(server.url) as client:
        client.create("mine", {"source": {"target": "z"}})
        write(path, "mine")
        assert "model.mine stays the one that was created over HTTP" in hang_up(server, lines)
        assert client.status("mine").target == "z"


def test_a_model_being_deleted_keeps_the_whole_run_file_from_being_reloaded(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "serve.toml"
    write(path)
    settings, limits = load(path), Limits()
    may_go_on, remove = threading.Event(), Registry._remove

    def held_up(registry: Registry, name: str) -> None:
        assert may_go_on.wait(IN_TIME)
        remove(registry, name)

    monkeypatch.setattr(Registry, "_remove", held_up)

    async def main() -> None:
        async with hosting_all(tmp_path / "models") as registry:
            reload = ConfigReloader(path, settings, registry, Access(), limits)
            await (await registry.create("lamp", settings_of())).opened()
            write(path, "lamp", "new", serve="max_body = 300\n")
            async with anyio.create_task_group() as group:
                group.start_soon(registry.delete, "lamp")
                await until(lambda: "lamp" not in registry.models)
                try:
                    with pytest.raises(ConflictError, match="lamp is being created or deleted"):
                        reload()
                finally:
                    may_go_on.set()
                assert limits == Limits()
                assert registry.models == {}
            assert "model.lamp is new and starts; model.new is new" in reload()
            assert limits.max_body == 300

    run(main)


def certify(folder: Path, name: str) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate")
    command = f"{openssl} req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name}"
    out = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run([*command.split(), *out], check=True, capture_output=True)


def shown(server: Server) -> str:
    """A hash of the certificate that a new connection is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((server.host, server.port), timeout=IN_TIME) as plain,
        context.wrap_socket(plain) as secure,
    ):
        return sha256(secure.getpeercert(binary_form=True) or b"").hexdigest()


def test_new_connections_get_a_new_certificate(tmp_path: Path) -> None:
    path = tmp_path / "serve.toml"
    files = f"tls_certificate = '{tmp_path}/cert.pem'\ntls_key = '{tmp_path}/key.pem'\n"
    certify(tmp_path, "first")
    write(path, serve=files)
    with daemon(path) as (server, lines):
        first = shown(server)
        certify(tmp_path, "second")
        assert shown(server) == first
        assert "were reloaded" in hang_up(server, lines)
        second = shown(server)
        assert second != first
        (tmp_path / "key.pem").write_text("no key")
        assert "reload refused: tls_certificate and tls_key " in hang_up(server, lines)
        assert shown(server) == second


def test_a_certificate_that_cannot_be_loaded_is_reported_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "serve.toml"
    files = f"tls_certificate = '{tmp_path}/cert.pem'\ntls_key = '{tmp_path}/key.pem'\n"
    write(path, serve=files)
    with pytest.raises(AssertionError, match="tls_certificate and tls_key "):
        Server([sys.executable, "-m", "streamnet", "serve", str(path)])

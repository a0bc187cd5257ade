"""A service manager is told by a datagram, where there is one."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from streamnet.daemon.server import notify, watchdog_seconds


@pytest.mark.parametrize("abstract", [False, True])
def test_a_state_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    name = f"@streamnet-test-{os.getpid()}" if abstract else str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0"))
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        assert notify("READY=1")
        assert manager.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["", "relative", "/absent/socket"])
def test_nobody_there_is_no_error(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not notify("READY=1")


@pytest.mark.parametrize(
    ("given", "process", "seconds"),
    [("3000000", None, 3.0), ("3000000", "1", None), ("", None, None), ("0", None, None)],
)
def test_a_watchdog_is_of_this_process_alone(
    monkeypatch: pytest.MonkeyPatch, given: str, process: str | None, seconds: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", given)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if process is None else process)
    assert watchdog_seconds() == seconds

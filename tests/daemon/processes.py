"""Servers as processes of their own, and plain sockets to speak with them."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ("REPOSITORY", "Server", "connected", "running", "said")

REPOSITORY = Path(__file__).parents[2]
_LISTENING = re.compile(r"listening on (\w+)://(.+):(\d+)")
_IN_TIME = 120.0  # seconds: a busy machine may compile kernels meanwhile


class Server:
    """A process that listens."""

    def __init__(self, command: list[str], **environment: str) -> None:
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, **environment},
        )
        assert self.process.stdout is not None
        self.before: list[str] = []  # what it says until it listens
        for line in self.process.stdout:
            self.before.append(line)
            if found := _LISTENING.search(line):
                self.scheme, self.host, self.port = found[1], found[2], int(found[3])
                break
        else:
            raise AssertionError(f"it ended early: {self.end()[1]}")

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    def end(self, number: int | None = None) -> tuple[int, str]:
        """Send a signal and wait; the exit code, and what was logged."""
        if number is not None:
            self.process.send_signal(number)
        _, logged = self.process.communicate(timeout=_IN_TIME)
        return self.process.returncode, logged


@contextmanager
def running(options: dict[str, Any] | None = None, **environment: str) -> Iterator[Server]:
    """A server of stand-ins."""
    command = [sys.executable, "-m", "tests.daemon.stand_in_server", json.dumps(options or {})]
    server = Server(command, **environment)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
        server.process.communicate(timeout=_IN_TIME)


def connected(server: Server) -> socket.socket:
    """A plain connection."""
    return socket.create_connection((server.host, server.port), timeout=10)


def said(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    parts = []
    while part := connection.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)

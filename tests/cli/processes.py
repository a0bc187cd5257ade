"""The command in its own process: in a pipe, on a terminal, with closed standard files."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

from tests.cli.invocation import csv_text, rows

__all__ = ("COMMAND", "STREAM", "begin_to_learn", "on_a_terminal", "redirected", "start")

COMMAND = (sys.executable, "-m", "streamnet")
STREAM = ("replay", "-", "--target", "label", "--candidates", "2", "--model", "model.json")


def start(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Start the command with pipes."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment},
    )


def begin_to_learn(process: subprocess.Popen[str]) -> None:
    """Feed a stream that stays open, and wait until some of it is learned."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(csv_text(rows(20_000)))
    process.stdin.flush()
    assert any(" samples " in line for line in process.stdout)


def redirected(shell: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command by a shell: ``redirected(">&-", "inspect", "model.json")``."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {shell}', "sh", *COMMAND, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def on_a_terminal(
    *arguments: object, columns: int = 100, lines: int = 40, **environment: str
) -> tuple[int, str]:
    """Exit code, and everything sent to a terminal of that size."""
    master, slave = pty.openpty()
    size = {"COLUMNS": str(columns), "LINES": str(lines), "TERM": "xterm-256color"}
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, **size, **environment},
    )
    os.close(slave)
    sent = b""
    while part := _sent_to(master):
        sent += part
    os.close(master)
    return process.wait(timeout=60), sent.decode()


def _sent_to(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError:  # how Linux reports that the other side was closed
        return b""

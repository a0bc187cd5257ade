"""A folder to follow a page in, and a daemon to call."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.processes import Server
from tests.docs.documents import REPOSITORY
from tests.processes import environment

LONGEST = 240  # seconds; kernels may have to be compiled first
COPIED = ("config", "examples")  # what commands and programs find in the folder they run in
# The daemon of a test has another port, which curl is led to; and it may still have no model.
CURLRC = """
connect-to = "localhost:8000:127.0.0.1:{port}"
fail
noproxy = "*"
retry = 100
"""


class Place:
    """A folder that looks like the repository to a reader, where anything may be written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            shutil.copytree(REPOSITORY / name, folder / name)
        command = folder / ".venv" / "bin" / "streamnet"
        command.parent.mkdir(parents=True)
        command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m streamnet "$@"\n')
        command.chmod(0o755)

    def run(self, command: list[str], **more: str) -> str:
        """Run a command here, where `streamnet` is the code under test; what it printed."""
        modules = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
        programs = os.pathsep.join((str(self.folder / ".venv" / "bin"), os.environ["PATH"]))
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment(PYTHONPATH=modules, PATH=programs, PYTHONIOENCODING="utf-8", **more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=LONGEST,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def calling(self, server: Server) -> dict[str, str]:
        """The environment in which curl and the client find a daemon."""
        home = self.folder / "curl"
        home.mkdir(exist_ok=True)
        (home / ".curlrc").write_text(CURLRC.format(port=server.port), "ascii")
        return {"CURL_HOME": str(home), "STREAMNET_URL": server.url}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder of its own for each test."""
    folder = tmp_path / "repository"
    folder.mkdir()
    return Place(folder)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Server]:
    """The daemon of config/serve.toml, with a port and a folder of the test."""
    text = (REPOSITORY / "config" / "serve.toml").read_text("utf-8")
    for wanted, other in {
        'dir = "models"': f"dir = {str(tmp_path / 'models')!r}",
        "port = 8000": 'port = 0\nhosts = ["localhost:8000"]',
    }.items():
        assert text.count(wanted) == 1
        text = text.replace(wanted, other)
    path = tmp_path / "serve.toml"
    path.write_text(text, "utf-8")
    server = Server([sys.executable, "-m", "streamnet", "serve", str(path)])
    yield server
    code, logged = server.end(signal.SIGTERM)
    assert code == 0, logged

"""The calls of README.md, as they stand there, do what it says, one after the other."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import IN_CI
from tests.daemon.processes import REPOSITORY, Server

README = (REPOSITORY / "README.md").read_text("utf-8")
CALLS = [line for line in README.splitlines() if line.startswith("curl ")]
# The daemon of the test has another port, which curl is led to; and it may still have no model.
CURLRC = """
connect-to = "localhost:8000:127.0.0.1:{port}"
fail
noproxy = "*"
retry = 100
"""

pytestmark = [
    pytest.mark.timeout(150),
    pytest.mark.skipif(
        shutil.which("curl") is None and not IN_CI, reason="no curl, which CI needs"
    ),
]


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


def called(command: str, server: Server, home: Path) -> dict[str, Any]:
    """What a command answers, by way of the shell that a reader has."""
    (home / ".curlrc").write_text(CURLRC.format(port=server.port), "ascii")
    done = subprocess.run(
        ["sh", "-c", command],
        env={**os.environ, "CURL_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_sample_is_learned_another_answered_and_its_label_joined(
    served: Server, tmp_path: Path
) -> None:
    learned, answered, joined = (called(command, served, tmp_path) for command in CALLS)
    assert (learned["accepted"], learned["rejected"]) == (1, 0)
    (answer,) = answered["answers"]
    assert isinstance(answer, float)
    assert joined == {"outcomes": ["joined"]}
    status = "curl -s localhost:8000/v1/models/wine"
    assert called(status, served, tmp_path)["delivered"]["mae"] == pytest.approx(abs(answer - 6))

"""A signal that arrives while kernels are being compiled ends a process at once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streamnet.durability.state_directory import StateDirectory
from tests.cli.invocation import Cli
from tests.conftest import REPOSITORY
from tests.durability.killed_runs import CONFIG, write_stream
from tests.processes import environment

# A process that ignores the signal goes on to compile all of more than 40 kernels, at any speed of
# the machine: one was compiled when the signal arrived, and a few more before it is handled.
MOST = 15
HANGS = 120

SERVE = """[serve]
port = 0
dir = "models"
[model.cold]
source = { target = "y", task = "classification" }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_stream(tmp_path / "stream.csv", 300)
    (tmp_path / "run.toml").write_text(CONFIG)
    (tmp_path / "serve.toml").write_text(SERVE)
    return tmp_path


def stopped_while_compiling(
    folder: Path, number: signal.Signals, *arguments: str
) -> tuple[int, str]:
    """Exit code and errors of a process that got a signal after its first compiled kernel."""
    cache = folder / "cache"
    given = environment(PYTHONPATH=str(REPOSITORY), XDG_CACHE_HOME=str(cache))
    given.pop("NUMBA_CACHE_DIR", None)
    child = subprocess.Popen(
        [sys.executable, "-m", "streamnet", *arguments],
        cwd=folder,
        env=given,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while child.poll() is None and not any(cache.rglob("*.nbi")):
            time.sleep(0.01)
        child.send_signal(number)
        _, words = child.communicate(timeout=HANGS)
    finally:
        child.kill()
        child.wait()
    assert len(list(cache.rglob("*.nbi"))) <= MOST
    return child.returncode, words


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_run_ends_before_anything_was_learned(folder: Path, number: signal.Signals) -> None:
    code, words = stopped_while_compiling(folder, number, "run", "run.toml", "--quiet")
    assert code == 128 + number
    assert words.splitlines()[-1] == "streamnet: interrupted"
    assert "Traceback" not in words
    assert StateDirectory(folder / "state").generations.numbers() == []
    assert not list(folder.glob("**/.*.part"))


def test_a_resumed_run_leaves_its_state_as_it_was(cli: Cli, folder: Path) -> None:
    assert cli("run", folder / "run.toml", "--quiet").code == 0
    with (folder / "stream.csv").open("a") as file:
        file.write((folder / "stream.csv").read_text().partition("\n")[2])
    before = {path: path.read_bytes() for path in folder.glob("state/*/*")}
    assert stopped_while_compiling(folder, signal.SIGTERM, "run", "run.toml", "--quiet")[0] == 143
    assert {path: path.read_bytes() for path in folder.glob("state/*/*")} == before
    assert cli("run", folder / "run.toml", "--quiet").code == 0
    assert cli("verify", "state").code == 0


def test_a_daemon_ends_with_exit_code_0(folder: Path) -> None:
    code, words = stopped_while_compiling(folder, signal.SIGTERM, "serve", "serve.toml")
    assert code == 0
    assert json.loads(words.splitlines()[-1])["message"] == "model cold: stopped"
    assert "Traceback" not in words

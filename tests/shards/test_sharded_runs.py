"""Runs whose candidates are in shards, and what becomes of them when a process is killed.

``pytest -m long tests/shards`` kills shards ten times and the run itself three times, and uses Ray.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

import streamnet
from streamnet.durability.state_directory import StateDirectory
from streamnet.errors import ConfigurationError
from streamnet.executors.in_process import InProcessExecutor
from streamnet.pipeline import Pipeline
from streamnet.samples import Task
from streamnet.shards import sharded_learner
from tests.learning.streams import differences
from tests.pipeline.block_sources import CANDIDATES
from tests.pipeline.interrupted_runs import crashed, finished, go, left, made

MODEL = "model.safetensors"
RUN_FILE = """
[source]
files = ["stream.csv"]
target = "y"
[run]
shards = {shards}
shard_executor = "{executor}"
[population]
candidates = 6
[search]
every = 1
[state]
dir = "state-{name}"
every_samples = 3000
[output]
model = "{name}.safetensors"
predictions = "{name}.csv"
"""


def test_a_run_resumes_with_any_number_of_shards_and_leaves_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharded_learner, "open_executor", lambda *_: InProcessExecutor())
    seldom = {"every_samples": 100}
    whole = finished(tmp_path / "whole", Task.CLASSIFICATION, partial(made, state=seldom))
    folder = tmp_path / "shards"
    folder.mkdir()
    for number, shards in ((300, 3), (700, 1), (1000, 0)):
        crashed(folder, number, shards=shards, state=seldom)
    pipeline = made(folder, Task.CLASSIFICATION, shards=2, state=seldom)
    go(pipeline)
    assert left(folder, pipeline) == whole
    trees = [
        StateDirectory(path / "state").generations.newest() for path in (tmp_path / "whole", folder)
    ]
    kept = [tree.tree["learner"] for tree in trees if tree is not None]
    assert differences(*kept) == []


def test_the_number_of_shards_and_where_they_are_have_rules(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"shards is -1, but must be >= 0"):
        made(tmp_path, Task.REGRESSION, shards=-1)
    where = "shard_executor is 'moon', but must be 'processes' or 'ray'"
    with pytest.raises(ConfigurationError, match=where):
        made(tmp_path, Task.REGRESSION, shard_executor="moon")
    pipeline: Pipeline = made(tmp_path, Task.REGRESSION, shards=len(CANDIDATES) + 1)
    with pytest.raises(ConfigurationError, match=r"shards is 5, but must be <= 4"):
        go(pipeline)


def write_stream(folder: Path, samples: int = 60_000) -> None:
    """Numbers by a rule that drifts half-way."""
    chance = random.Random(1)
    lines = ["a,b,c,y"]
    for i in range(samples):
        a, b, c = chance.random(), chance.random(), chance.gauss(0.0, 1.0)
        up = a + b > 1.0 if i < samples // 2 else a > b + 0.1 * c
        lines.append(f"{a:.4f},{b:.4f},{c:.4f},{'up' if up else 'down'}")
    (folder / "stream.csv").write_text("\n".join(lines) + "\n")


def start(
    folder: Path, name: str, shards: int, executor: str = "processes"
) -> subprocess.Popen[bytes]:
    """Start a run, or resume it."""
    run_file = folder / f"{name}.toml"
    run_file.write_text(RUN_FILE.format(name=name, shards=shards, executor=executor))
    command = [sys.executable, "-m", "streamnet", "run", str(run_file), "--quiet"]
    with (folder / "errors.txt").open("ab") as errors:
        return subprocess.Popen(command, cwd=folder, stderr=errors)


def list_shards(process: subprocess.Popen[bytes], executor: str) -> list[int]:
    """Processes of the shards of a run, which use the most processor time of its descendants."""
    parents, names = {}, {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                fields = (path / "stat").read_text().rpartition(")")[2].split()
                names[int(path.name)] = (path / "cmdline").read_bytes()
                parents[int(path.name)] = int(fields[1])
            except OSError:
                continue
    mine = {process.pid}
    for _ in range(6):
        mine |= {pid for pid, parent in parents.items() if parent in mine}
    mark = b"ray::_Host" if executor == "ray" else b"spawn_main"
    return [pid for pid in mine if mark in names[pid]]


def wait_for_shards(
    folder: Path, process: subprocess.Popen[bytes], executor: str, size: int
) -> list[int]:
    """Wait until so many bytes of predictions are there, and shards, which are returned."""
    path = folder / "shards.csv"
    while process.poll() is None:
        far = path.exists() and path.stat().st_size >= size
        if far and (found := list_shards(process, executor)):
            return found
        time.sleep(0.05)
    pytest.fail((folder / "errors.txt").read_text())


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("executor", ["processes", "ray"])
def test_killed_shards_and_drivers_leave_no_trace(tmp_path: Path, executor: str) -> None:
    if executor == "ray":
        pytest.importorskip("ray")
    write_stream(tmp_path)
    assert start(tmp_path, "alone", 0).wait() == 0
    total = (tmp_path / "alone.csv").stat().st_size
    drivers = 0
    process = start(tmp_path, "shards", 3, executor)
    for step in range(1, 14):
        found = wait_for_shards(tmp_path, process, executor, step * total // 20)
        if step in (4, 8, 12):
            process.kill()
            process.wait()
            drivers += 1
            process = start(tmp_path, "shards", 1 + drivers, executor)
        else:
            os.kill(random.Random(step).choice(found), signal.SIGKILL)
    assert process.wait() == 0, (tmp_path / "errors.txt").read_text()
    for name in (".csv", ".safetensors"):
        assert (tmp_path / f"shards{name}").read_bytes() == (tmp_path / f"alone{name}").read_bytes()


@pytest.mark.long
@pytest.mark.parametrize("executor", ["processes", "ray"])
def test_results_are_those_of_one_process_for_any_number_of_shards(
    tmp_path: Path, executor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if executor == "ray":
        pytest.importorskip("ray")
    monkeypatch.chdir(tmp_path)
    write_stream(tmp_path, 5000)

    def learn(shards: int) -> str:
        found = streamnet.replay(
            "stream.csv",
            target="y",
            candidates=6,
            seed=3,
            shards=shards,
            shard_executor=executor,  # type: ignore[arg-type]
        )
        return str(found.model.document()["checksum"])

    assert {learn(shards) for shards in (0, 1, 2, 3, 5)} == {learn(0)}

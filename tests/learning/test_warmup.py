"""After the warm-up a stream is learned without a pause in which a kernel is loaded or compiled."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamnet.jit import is_cached
from streamnet.learning import warmup
from streamnet.learning.warmup import CompileProcess, count_processors, warm_up
from streamnet.networks.kernels.prequential import learn
from streamnet.samples import Task
from tests.conftest import REPOSITORY
from tests.processes import environment

PROGRAM = """
import sys

import anyio
from numba.core.dispatcher import Dispatcher

from streamnet.runs.replay import Replay
from streamnet.settings.run import RunSettings, apply_overrides

compile_ = Dispatcher.compile
run = Replay(apply_overrides(RunSettings(), {"source.files": sys.argv[1], "source.target": "y"}))
late = set()


def noted(self, signature):
    if run.pipeline.ready.is_set():
        late.add(f"{self.py_func.__module__}.{self.py_func.__name__}")
    return compile_(self, signature)


Dispatcher.compile = noted
learned = anyio.run(run.run).report["samples"]
print(learned, *sorted(late))
"""


@pytest.mark.parametrize("task", Task)
def test_no_kernel_is_loaded_while_a_stream_is_learned(task: Task, tmp_path: Path) -> None:
    rows = ["a,b,word,day,words,y"]
    for i in range(3000):
        drifted = (i % 7 > 3) != (i > 1500)  # so that a change is noticed, too
        y = f"{10 + 5 * drifted + i % 3}" if task is Task.REGRESSION else ["no", "yes"][drifted]
        day = f"2026-{1 + i // 250 % 12:02}-{1 + i % 28:02} {i % 24:02}:00:00"
        words = f"some words {i % 50} and a few more of {i % 11} for {i} of them"
        rows.append(f"{i % 7},{i * 37 % 101 / 10},{'uvw'[i % 3]},{day},{words},{y}")
    path = tmp_path / "stream.csv"
    path.write_text("\n".join(rows) + "\n")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)], capture_output=True, check=True, text=True
    )
    assert done.stdout.split() == ["3000"], done.stderr


HANGS = 60.0

COMPILES = """
import sys
from numba.core.dispatcher import Dispatcher
from streamnet.learning.warmup import warm_up
from streamnet.samples import Task

compile_ = Dispatcher.compile
compiled = []

def noted(self, signature):
    misses = self._cache_misses[signature]
    entry = compile_(self, signature)
    if self.stats.cache_path and self._cache_misses[signature] > misses:
        compiled.append(self.py_func.__name__)
    return entry

Dispatcher.compile = noted
warm_up(Task(sys.argv[1]))
print(*compiled)
"""


def waits_for(path: str) -> None:
    """Work that is never done."""
    Path(path).write_text(str(os.getpid()))
    time.sleep(10 * HANGS)


def appears(path: Path) -> bool:
    end = time.monotonic() + HANGS
    while not (path.exists() and path.read_text()) and time.monotonic() < end:
        time.sleep(0.01)
    return path.exists()


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return "zombie" not in Path(f"/proc/{process}/status").read_text()


def write(path: str, text: str) -> None:
    Path(path).write_text(f"{text} by {os.getpid()}")


def fails(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    raise ValueError("no")


def done(work: Callable[..., object], *arguments: object) -> None:
    """Let a helper do some work to its end."""
    helper = CompileProcess(work, *arguments)
    helper.wait()
    helper.end()


def test_the_child_process_does_the_work_and_is_waited_for(tmp_path: Path) -> None:
    done(write, str(tmp_path / "done"), "work")
    text = (tmp_path / "done").read_text()
    assert text.startswith("work by ")
    assert text != f"work by {os.getpid()}"


def test_a_child_process_that_fails_does_no_harm(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    done(fails, str(tmp_path / "failed"))
    assert appears(tmp_path / "failed")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("given", ["", "nowhere/python", "/bin/false", "/bin/sh"])
def test_if_no_child_process_can_be_started_there_is_none(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if given == "/bin/false":  # an interpreter that ends at once
        (tmp_path / "python").symlink_to(given)
        given = str(tmp_path / "python")
    monkeypatch.setattr(sys, "executable", given)
    done(write, str(tmp_path / "done"), "work")
    assert not (tmp_path / "done").exists()


def test_arguments_that_are_not_json_start_no_child_process(tmp_path: Path) -> None:
    done(write, tmp_path / "done", "work")
    assert not (tmp_path / "done").exists()


def test_the_child_process_ends_when_its_work_is_no_longer_needed(tmp_path: Path) -> None:
    helper = CompileProcess(waits_for, str(tmp_path / "helper"))
    assert appears(tmp_path / "helper")
    helper.end()
    helper.end()
    assert not is_alive(int((tmp_path / "helper").read_text()))


def test_the_child_process_ends_with_a_killed_parent(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from streamnet.learning.warmup import CompileProcess\n"
        "from tests.learning.test_warmup import waits_for\n"
        "CompileProcess(waits_for, sys.argv[1]).wait()\n"
    )
    path = tmp_path / "helper"
    started = subprocess.Popen([sys.executable, "-c", program, str(path)], cwd=REPOSITORY)
    try:
        assert appears(path)
    finally:
        started.kill()
        started.wait()
    helper, end = int(path.read_text()), time.monotonic() + HANGS
    while is_alive(helper) and time.monotonic() < end:
        time.sleep(0.01)
    assert not is_alive(helper)


def compiled_at_a_start(task: Task, **more: str) -> set[str]:
    """Kernels that a process of its own compiles, but not its helper."""
    command = [sys.executable, "-c", COMPILES, task]
    given = {**environment(**more), "PYTHONPATH": str(REPOSITORY)}
    ended = subprocess.run(command, env=given, capture_output=True, text=True, check=True)
    return set(ended.stdout.split())


@pytest.mark.parametrize("task", list(Task))
def test_a_later_start_compiles_nothing(task: Task) -> None:
    warm_up(task)
    assert compiled_at_a_start(task) == set()


@pytest.mark.long
@pytest.mark.parametrize("task", list(Task))
def test_the_first_start_compiles_everything_but_the_kernels_that_train(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The helper does that meanwhile; the second start compiles nothing."""
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    for first in (True, False):
        compiled = compiled_at_a_start(task, XDG_CACHE_HOME=str(tmp_path))
        assert compiled.isdisjoint({"learn", "predict_then_learn", "grow", "write_values"})
        assert bool(compiled) is first, compiled
        if first:
            kept = {path.name.split(".")[1].partition("-")[0] for path in tmp_path.rglob("*.nbi")}
            trees = {"_fill_bins", "grow", "predict_labels", "predict_numbers", "write_values"}
            trained = trees | {"learn", "predict_then_learn", "insert"}
            assert trained <= kept - compiled
            assert kept - compiled <= trained | {"fill_rows", "mix_key"}


@pytest.mark.parametrize(("compiled", "on"), [(True, 2), (False, 1)])
def test_there_is_no_child_process_at_later_starts_or_with_one_processor(
    compiled: bool, on: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: Any) -> None:
        raise AssertionError(arguments)

    monkeypatch.setattr(warmup, "CompileProcess", refused)
    monkeypatch.setattr(warmup, "needs_compiling", lambda: not compiled)
    monkeypatch.setattr(warmup, "count_processors", lambda: on)
    monkeypatch.setattr(warmup, "_WARMED", set())
    assert warm_up(Task.CLASSIFICATION)
    assert is_cached(learn)


def test_processors_are_those_that_this_process_may_run_on() -> None:
    assert 1 <= count_processors() <= (os.cpu_count() or 1)

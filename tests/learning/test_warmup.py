"""After the warm-up a stream is learned without a pause in which a kernel is loaded or compiled."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streamnet.samples import Task

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

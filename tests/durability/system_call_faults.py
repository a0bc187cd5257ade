"""Lets system calls of real ``streamnet run``s go wrong, and compares what the next ones leave.

Run as ``python -m tests.durability.system_call_faults FOLDER FAULT FIRST STEP`` in a process into
which the library made of ``shim.c`` is preloaded: every ``STEP``-th call from ``FIRST`` on goes
wrong in this way, each in a run of its own. It prints a line of JSON. Each run is a fork of one
process that has imported everything; what it does is all of the command line but the start of the
interpreter.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import sys
from errno import EIO, ENOSPC
from pathlib import Path
from typing import Any, final

from streamnet.cli.app import run as streamnet
from streamnet.learning.warmup import warm_up
from streamnet.pipeline import state as store
from streamnet.samples import Task
from tests.durability.killed_runs import CONFIG, left, write_stream

__all__ = ("FAULTS", "Faulter")

FAULTS = ("kill", "torn", "ENOSPC", "EIO", "short")  # in the order of the codes of shim.c
ROWS = 600
TRIES = 3  # to go on with what one fault left


@final
class Faulter:
    """Runs one stream again and again, and lets something go wrong in each.

    Args:
        folder: Where the runs' folders are made.
    """

    def __init__(self, folder: Path) -> None:
        self._shim = ctypes.CDLL(None)
        self.folder = folder
        self.killed = 0  # runs
        self.told = 0  # runs that have told of their fault
        self._errors = folder / "errors.txt"
        self.home = folder / "run"  # of every run, since what is left names its files
        assert self.run(at=-1) == 0, self.errors()
        self.expected = left(self.home)
        self.calls = int((folder / "calls.txt").read_text())

    def begin(self) -> None:
        """Forget the run before."""
        shutil.rmtree(self.home)
        self._errors.unlink()

    def run(self, *, at: int, fault: str = "kill") -> int:
        """Run, or go on, with call ``at`` going wrong; the exit code."""
        home = self.home
        if not home.exists():
            home.mkdir()
            write_stream(home / "stream.csv", ROWS)
            (home / "run.toml").write_text(absolute(CONFIG, home))
        pid = os.fork()
        if pid:
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        code = 3
        try:
            with self._errors.open("a") as errors:
                os.dup2(errors.fileno(), 1)
                os.dup2(errors.fileno(), 2)
            self._arm(at, fault)
            code = streamnet(["run", str(home / "run.toml"), "--quiet"])
            if at < 0:
                (self.folder / "calls.txt").write_text(str(self._shim.fault_count()))
        except BaseException:  # noqa: BLE001 - a child must not go on as its parent
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)

    def _arm(self, at: int, fault: str) -> None:
        path = ctypes.c_char_p(str(self.home).encode())
        self._shim.fault_arm(path, ctypes.c_long(at), ctypes.c_long(FAULTS.index(fault)))

    def errors(self) -> str:
        """What the runs have said since the last beginning."""
        return self._errors.read_text()

    def trial(self, at: int, fault: str) -> str:
        """Let call ``at`` go wrong, and what follows go right; what was not as it should, or ""."""
        self.begin()
        code = self.run(at=at, fault=fault)
        self.killed += code == -signal.SIGKILL
        self.told += any(os.strerror(number) in self.errors() for number in (ENOSPC, EIO))
        tries = 0
        while (code := self.run(at=-1)) != 0 and tries < TRIES:
            tries += 1
        if code != 0:
            return f"exit code {code}: {self.errors()}"
        found = left(self.home)
        names = sorted({*found, *self.expected})
        return ", ".join(name for name in names if found.get(name) != self.expected.get(name))


def absolute(config: str, home: Path) -> str:
    """The run file with all files in ``home``, by paths from the root, as the shim knows them."""
    for name in ("stream.csv", "model.json", "predictions.csv", "report.json", "state"):
        config = config.replace(f'"{name}"', f'"{home / name}"')
    return config.replace("every_samples = 150", "every_samples = 100")


def main(folder: Path, fault: str, first: int, step: int) -> None:
    """Print what came of it."""
    store._MIN_RETRY_SECONDS = store._FINAL_RETRY_SECONDS = 0.01
    warm_up(Task.CLASSIFICATION)
    faulter = Faulter(folder)
    tried: dict[str, Any] = {"calls": faulter.calls, "cases": 0, "wrong": {}}
    for at in range(first, faulter.calls, step):
        tried["cases"] += 1
        if wrong := faulter.trial(at, fault):
            tried["wrong"][at] = wrong
    sys.stdout.write(json.dumps({**tried, "killed": faulter.killed, "told": faulter.told}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

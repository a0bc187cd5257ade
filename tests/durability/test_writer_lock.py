"""One writer at most; who was killed is no obstacle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streamnet.durability.state_directory import StateDirectory, WriterLock
from streamnet.errors import StateError
from tests.durability.disks import Faulty, Memory

HOLD = """
import sys, time
from pathlib import Path
from streamnet.durability.state_directory import WriterLock
from streamnet.errors import StateError
try:
    lock = WriterLock(Path(sys.argv[1]))
except StateError:
    sys.exit(9)
print("held", flush=True)
time.sleep(60)
"""


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLD, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_of_many_at_once_exactly_one_wins_and_a_killed_one_is_no_obstacle(tmp_path: Path) -> None:
    children = [start(tmp_path) for _ in range(6)]
    try:
        codes: list[int] = []
        while len(codes) < 5:
            pid, status = os.waitpid(-1, 0)
            (child,) = (c for c in children if c.pid == pid)
            child.returncode = os.waitstatus_to_exitcode(status)
            codes.append(child.returncode)
        assert codes == [9] * 5
        (winner,) = (child for child in children if child.returncode is None)
        assert winner.stdout is not None
        assert winner.stdout.readline() == "held\n"
        with pytest.raises(StateError, match=f"in use by process {winner.pid}: only one"):
            WriterLock(tmp_path)
        winner.send_signal(signal.SIGKILL)
        winner.wait()
        WriterLock(tmp_path).release()
    finally:
        for child in children:
            if child.returncode is None:
                child.kill()
                child.wait()
            if child.stdout is not None:
                child.stdout.close()


def test_a_folder_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(StateError, match=r"state .*file/state: Not a directory"):
        StateDirectory(file / "state").open()


def test_a_full_disk_does_not_keep_a_run_from_its_lock() -> None:
    WriterLock(Path("/state"), files=Faulty(Memory(), 0, "ENOSPC", times=99)).release()


def test_a_lock_whose_folder_was_replaced_is_held_no_more(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    lock = WriterLock(folder)
    lock.check()
    folder.rename(tmp_path / "aside")
    with pytest.raises(FileNotFoundError):
        lock.check()
    folder.mkdir()
    other = WriterLock(folder)
    with pytest.raises(StateError, match=r"state/lock was replaced: another process may write"):
        lock.check()
    other.check()
    other.release()
    lock.release()
    lock.check()


def test_what_a_crash_left_incomplete_is_removed(tmp_path: Path) -> None:
    folder = StateDirectory(tmp_path)
    folder.open()
    folder.close()
    rests = [tmp_path / part / ".a.1-2.part" for part in ("checkpoints", "models")]
    for rest in rests:
        rest.write_text("half")
    folder.open()
    assert not any(rest.exists() for rest in rests)
    folder.close()

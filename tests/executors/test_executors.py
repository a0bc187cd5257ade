"""Executors: calls and their futures, whatever runs them, and processes that die or are ended."""

from __future__ import annotations

import math
import operator
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from streamnet.errors import ConfigurationError
from streamnet.executors import Executor, WorkerDiedError, open_executor
from streamnet.executors.registry import EXECUTORS
from tests.processes import environment

PROGRAM = """
import os, time
from streamnet.executors import open_executor

if __name__ == "__main__":
    executor = open_executor("processes", 1)
    print(executor.submit(os.getpid).result(), flush=True)
    executor.submit(time.sleep, 600)
    time.sleep(600)
"""


def is_alive(pid: int) -> bool:
    path = Path(f"/proc/{pid}/stat")
    return path.exists() and path.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until_gone(pid: int) -> None:
    for _ in range(600):
        if not is_alive(pid):
            return
        time.sleep(0.1)
    pytest.fail(f"process {pid} is still there")


@pytest.mark.parametrize(("name", "workers"), [("in_process", 1), ("processes", 2)])
def test_a_call_gives_its_result_or_raises_its_exception(name: str, workers: int) -> None:
    with open_executor(name, workers) as executor:
        assert executor.workers == workers
        futures = [executor.submit(math.factorial, n) for n in range(6)]
        failing = executor.submit(operator.truediv, 1, 0)
        assert [future.result() for future in futures] == [1, 1, 2, 6, 24, 120]
        with pytest.raises(ZeroDivisionError):
            failing.result()
        assert executor.submit(abs, -1).result() == 1


def test_several_workers_are_processes_and_one_is_this() -> None:
    assert set(EXECUTORS) >= {"in_process", "processes"}
    with open_executor(None, 1) as executor:
        assert executor.submit(os.getpid).result() == os.getpid()
    with pytest.raises(ConfigurationError, match="workers is 2, but must be 1 with executor 'in_"):
        open_executor("in_process", 2)


@pytest.fixture(scope="module")
def executor() -> Executor:
    """Two processes for the tests below, the last of which ends them."""
    return open_executor(None, 2)


class Collector:
    """What executors host here."""

    def __init__(self, *first: int) -> None:
        if not first:
            raise ValueError("there must be one")
        self.numbers = list(first)

    def add(self, number: int) -> int:
        self.numbers.append(number)
        return os.getpid()

    def double(self, array: np.ndarray) -> tuple[object, ...]:
        array *= 2
        return self.numbers, array, array[:, :3], "end"

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("name", ["in_process", "processes"])
def test_a_hosted_object_keeps_its_state_between_calls(name: str) -> None:
    with open_executor(name, 1) as executor:
        actor, failing = executor.host(Collector, 1), None
        pids = {actor.call("add", n).result() for n in (5, 6)}
        assert (pids == {os.getpid()}) == (name == "in_process")
        large = np.arange(40_000.0).reshape(100, 400)
        numbers, doubled, part, end = actor.call("double", large.copy()).result()
        assert (numbers, end) == ([1, 5, 6], "end")
        assert np.array_equal(doubled, 2 * large)
        assert np.array_equal(part, doubled[:, :3])
        doubled += 1  # kernels are compiled for arrays that can be written to
        with pytest.raises(AttributeError):
            actor.call("unknown").result()
        if name == "processes":
            failing = actor.call("die")
            with pytest.raises(WorkerDiedError, match="killed by signal 9"):
                failing.result()
            with pytest.raises(WorkerDiedError):  # what it held is gone
                actor.call("add", 7).result()
            with pytest.raises(ValueError, match="there must be one"):
                executor.host(Collector).call("add", 1).result()
        actor.close()
        actor.close()


def test_two_workers_run_at_the_same_time_in_processes_of_their_own(executor: Executor) -> None:
    pids = {executor.submit(os.getpid).result() for _ in range(20)}
    assert len(pids) == 2
    assert os.getpid() not in pids


def test_a_dead_process_fails_its_call_only(executor: Executor) -> None:
    pid = executor.submit(os.getpid).result()
    other = executor.submit(time.sleep, 1.0)
    killed = executor.submit(signal.raise_signal, signal.SIGKILL)
    with pytest.raises(WorkerDiedError, match="its process was killed by signal 9"):
        killed.result()
    other.result()
    ended = executor.submit(os._exit, 3)
    with pytest.raises(WorkerDiedError, match="it exited with 3"):
        ended.result()
    assert pid not in {executor.submit(os.getpid).result() for _ in range(4)} or is_alive(pid)


def test_ctrl_c_is_left_to_the_parent(executor: Executor) -> None:
    executor.submit(signal.raise_signal, signal.SIGINT).result()


def test_an_exception_that_cannot_be_pickled_arrives_as_text(executor: Executor) -> None:
    future = executor.submit(exec, "class E(Exception): pass\nraise E('why')", {})
    with pytest.raises(RuntimeError, match="E: why"):
        future.result()


def test_closing_ends_calls_and_processes_at_once(executor: Executor) -> None:
    pids = {executor.submit(os.getpid).result() for _ in range(20)}
    running = [executor.submit(time.sleep, 600) for _ in range(2)]
    while not all(future.running() for future in running):
        time.sleep(0.01)
    executor.close()
    executor.close()
    assert all(isinstance(future.exception(), WorkerDiedError) for future in running)
    for pid in pids:
        wait_until_gone(pid)


def test_processes_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, str(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(), text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        parent.kill()
    wait_until_gone(pid)

"""Ray as an executor: `pytest -m long tests/executors` starts it on this machine."""

from __future__ import annotations

import math
import operator
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import streamnet
from streamnet.errors import ConfigurationError
from streamnet.executors import Executor, WorkerDiedError, open_executor
from streamnet.executors import on_ray as on_ray_module


def test_without_ray_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ConfigurationError, match=r"without ray: pip install .*\[ray\]"):
        on_ray_module.RayExecutor(1)


@pytest.fixture(scope="module")
def executor() -> Iterator[Executor]:
    pytest.importorskip("ray")
    with open_executor("ray", 2) as found:
        yield found


@pytest.mark.long
@pytest.mark.filterwarnings("default")
def test_calls_give_results_or_raise_and_a_dead_worker_fails_its_call_only(
    executor: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    futures = [executor.submit(math.factorial, n) for n in range(6)]
    failing = executor.submit(operator.truediv, 1, 0)
    assert [future.result() for future in futures] == [1, 1, 2, 6, 24, 120]
    with pytest.raises(ZeroDivisionError):
        failing.result()
    assert executor.submit(os.getpid).result() != os.getpid()
    assert executor.submit(os.getcwd).result() == str(tmp_path)
    other = executor.submit(time.sleep, 1.0)
    with pytest.raises(WorkerDiedError, match="its worker died"):
        executor.submit(signal.raise_signal, signal.SIGKILL).result()
    other.result()
    unknown = executor.submit(exec, "class E(Exception): pass\nraise E('why')", {})
    with pytest.raises(Exception, match="why"):
        unknown.result()


@pytest.mark.long
@pytest.mark.filterwarnings("default")
def test_a_sweep_on_ray_has_the_same_results_as_in_this_process(
    executor: Executor, tmp_path: Path
) -> None:
    file = tmp_path / "numbers.csv"
    file.write_text("x,y\n" + "".join(f"{i % 9},{i % 9 * 2}\n" for i in range(600)))

    def sweep(name: str) -> list[dict[str, object]]:
        found = streamnet.replay_many(
            file,
            target="y",
            candidates=2,
            seeds=[0, 1, 2],
            threads=1,
            results=str(tmp_path / name),
            workers=1 if name == "in_process" else 2,
            executor=name,  # type: ignore[arg-type]
        )
        return [{k: v for k, v in row.items() if k != "seconds"} for row in found.table]

    assert sweep("ray") == sweep("in_process")


@pytest.mark.long
@pytest.mark.filterwarnings("default")
def test_closing_ends_calls_that_run() -> None:
    pytest.importorskip("ray")
    import ray

    ray.shutdown()  # that of the tests above
    executor = open_executor("ray", 1)
    pid = executor.submit(os.getpid).result()
    running = executor.submit(time.sleep, 600)
    executor.close()
    executor.close()
    assert isinstance(running.exception(timeout=60), WorkerDiedError)
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{pid}").exists()

"""Work in a thread of its own: waited for, or left alone."""

from __future__ import annotations

import threading

import anyio
import pytest

from streamnet.pipeline.concurrency import run_abandonable

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def fail() -> None:
    raise KeyError("x")


@BACKENDS
def test_what_it_raises_is_raised(backend: str) -> None:
    with pytest.raises(KeyError, match="x"):
        anyio.run(run_abandonable, fail, backend=backend)


@BACKENDS
def test_an_event_loop_ends_before_work_that_was_abandoned(backend: str) -> None:
    begun, go_on = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def work() -> None:
        threads.append(threading.current_thread())
        begun.set()
        go_on.wait()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(run_abandonable, work)
            await anyio.to_thread.run_sync(begun.wait)
            group.cancel_scope.cancel()

    anyio.run(main, backend=backend)
    (thread,) = threads
    assert thread.is_alive()
    assert thread.daemon
    go_on.set()
    thread.join()  # a failure in it, as to report to a loop that has ended, would be a warning

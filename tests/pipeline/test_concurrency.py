"""Concurrency: worker threads, abandonable work, and threads spread over CPUs."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Event, Thread, get_ident, get_native_id
from time import sleep

import anyio
import pytest

from streamnet.pipeline import concurrency
from streamnet.pipeline.concurrency import (
    INLINE_SECONDS,
    Worker,
    current_cpu,
    run_abandonable,
    spread_over_cpus,
)
from tests.conftest import Runner


def test_the_first_work_runs_in_a_thread_since_it_may_have_to_be_compiled(run: Runner) -> None:
    worker = Worker()

    async def idents() -> list[int]:
        return [await worker.run(1, get_ident), await worker.run(1, get_ident)]

    first, second = run(idents)
    assert first != get_ident() == second


def test_long_work_runs_in_a_thread_from_then_on(run: Runner) -> None:
    worker = Worker()

    async def idents() -> list[int]:
        worker.note(1, INLINE_SECONDS)
        first = await worker.run(1, ident_after, 10 * INLINE_SECONDS)
        return [first, await worker.run(1, ident_after, 10 * INLINE_SECONDS)]

    here = get_ident()
    first, second = run(idents)
    assert first == here
    assert second != here


def test_work_that_took_no_time_runs_inline(run: Runner) -> None:
    worker = Worker()
    worker.measure(100, int)
    assert worker.runs_inline(100)
    assert run(worker.run, 100, get_ident) == get_ident()


def test_the_longest_inline_work_can_be_set(run: Runner) -> None:
    patient, hasty = Worker(inline_seconds=10.0), Worker(inline_seconds=-1.0)
    for worker in (patient, hasty):
        worker.note(100, 5.0)
    assert patient.runs_inline(100)
    assert not patient.runs_inline(1000)
    assert not hasty.runs_inline(100)
    assert run(patient.run, 100, get_ident) == get_ident() != run(hasty.run, 100, get_ident)


def ident_after(seconds: float) -> int:
    sleep(seconds)
    return get_ident()


BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def fail() -> None:
    raise KeyError("x")


@BACKENDS
def test_the_error_of_abandonable_work_is_raised(backend: str) -> None:
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


if sys.platform != "linux":
    pytest.skip("only Linux lets threads be moved", allow_module_level=True)


class Busy(Thread):
    """Counts until it is told to stop, and tells where it runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.number, self.where, self.goes_on = 0, -1, True
        self.began, self.looked = Event(), Event()

    def place_after_a_while(self) -> int:
        """Where it runs once it has looked again."""
        self.looked.clear()
        assert self.looked.wait(10)
        return self.where

    def run(self) -> None:
        self.number = get_native_id()
        self.began.set()
        while self.goes_on:
            self.where = current_cpu()
            self.looked.set()


@contextmanager
def busy(count: int) -> Iterator[list[Busy]]:
    threads = [Busy() for _ in range(count)]
    try:
        for thread in threads:
            thread.start()
            assert thread.began.wait(10)
        yield threads
    finally:
        for thread in threads:
            thread.goes_on = False
            thread.join(10)


def test_a_thread_knows_on_which_of_its_processors_it_runs() -> None:
    assert current_cpu() in os.sched_getaffinity(0)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one processor")
def test_a_thread_is_moved_from_here_and_may_go_anywhere_afterwards() -> None:
    allowed = os.sched_getaffinity(0)
    with busy(1) as (thread,):
        here = min(allowed)
        asked: list[tuple[int, set[int]]] = []
        found: list[int] = []
        real = os.sched_setaffinity

        def moved(number: int, places: Iterable[int]) -> None:
            asked.append((number, set(places)))
            real(number, places)
            if set(places) != allowed:
                found.append(thread.place_after_a_while())

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "sched_setaffinity", moved)
            patch.setattr(concurrency, "current_cpu", lambda: here)
            spread_over_cpus([thread.number])
        assert here not in found
        assert len(found) == 1
        assert asked == [(thread.number, allowed - {here}), (thread.number, allowed)]
        assert os.sched_getaffinity(thread.number) == allowed


def test_several_threads_get_processors_of_their_own_if_there_are_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[int, list[int]]] = []
    monkeypatch.setattr(concurrency, "current_cpu", lambda: 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 4})
    monkeypatch.setattr(os, "sched_setaffinity", lambda n, to: asked.append((n, sorted(to))))
    spread_over_cpus([11, 12])
    everywhere = [0, 1, 2, 3, 4]
    assert asked == [(11, [0, 3]), (11, everywhere), (12, [1, 4]), (12, everywhere)]
    asked.clear()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 2})
    spread_over_cpus([11, 12])
    assert [to for _, to in asked] == [[1], [1, 2], [1], [1, 2]]
    asked.clear()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2})
    spread_over_cpus([11])
    assert asked == []
    monkeypatch.setattr(os, "sched_getaffinity", lambda number: {11: {2, 3}, 12: {5, 6}}[number])
    spread_over_cpus([11, 12])
    assert asked == [(11, [3]), (11, [2, 3]), (12, [6]), (12, [5, 6])], "each by its own"


def test_a_thread_that_has_ended_is_left_alone() -> None:
    with busy(1) as (thread,):
        pass
    spread_over_cpus([thread.number])


def test_where_the_current_processor_is_unknown_nothing_is_moved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(concurrency, "_getcpu", lambda: None)
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: pytest.fail("a thread was moved"))
    assert current_cpu() == -1
    spread_over_cpus([get_native_id()])

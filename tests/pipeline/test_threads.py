"""A worker does brief work at once and all else in threads; idle threads do not mislead it."""

from __future__ import annotations

from threading import Lock
from threading import get_ident
from time import sleep

import anyio
import anyio.lowlevel
import pytest

from streamnet.pipeline.threads import BRIEF
from streamnet.pipeline.threads import FEW
from streamnet.pipeline.threads import Worker
from tests.conftest import Runner


def test_work_that_takes_long_is_done_in_another_thread_from_then_on(run: Runner) -> None:
    worker = Worker()

    async def idents() -> list[int]:
        first = await worker.run(FEW, ident_after, 10 * BRIEF)
        return [first, await worker.run(FEW, ident_after, 10 * BRIEF)]

    here = get_ident()
    first, second = run(idents)
    assert first == here
    assert second != here


def test_work_that_took_no_time_is_done_at_once(run: Runner) -> None:
    worker = Worker()
    worker.measure(100, int)
    assert worker.is_brief(100)
    assert run(worker.run, 100, get_ident) == get_ident()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_that_find_nothing_to_do_do_not_make_work_look_brief(
    run: Runner, threads: int
) -> None:
    worker, lock, left = Worker(), Lock(), [20 * BRIEF]

    def take_all() -> None:
        with lock:
            seconds = left.pop() if left else 0.0
        sleep(seconds)

    async def nothing() -> None:
        await anyio.lowlevel.checkpoint()

    async def shared() -> None:
        await worker.share(threads, 64, take_all, meanwhile=nothing)

    run(shared)
    assert not left
    assert not worker.is_brief(64)


def ident_after(seconds: float) -> int:
    sleep(seconds)
    return get_ident()

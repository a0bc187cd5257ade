"""A worker does brief work at once and all else in threads."""

from __future__ import annotations

from threading import get_ident
from time import sleep

from streamnet.pipeline.concurrency import INLINE_SECONDS, Worker
from tests.conftest import Runner


def test_the_first_work_is_done_in_another_thread_since_it_may_have_to_be_compiled(
    run: Runner,
) -> None:
    worker = Worker()

    async def idents() -> list[int]:
        return [await worker.run(1, get_ident), await worker.run(1, get_ident)]

    first, second = run(idents)
    assert first != get_ident() == second


def test_work_that_takes_long_is_done_in_another_thread_from_then_on(run: Runner) -> None:
    worker = Worker()

    async def idents() -> list[int]:
        worker.note(1, INLINE_SECONDS)
        first = await worker.run(1, ident_after, 10 * INLINE_SECONDS)
        return [first, await worker.run(1, ident_after, 10 * INLINE_SECONDS)]

    here = get_ident()
    first, second = run(idents)
    assert first == here
    assert second != here


def test_work_that_took_no_time_is_done_at_once(run: Runner) -> None:
    worker = Worker()
    worker.measure(100, int)
    assert worker.runs_inline(100)
    assert run(worker.run, 100, get_ident) == get_ident()


def test_what_counts_as_brief_can_be_told(run: Runner) -> None:
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

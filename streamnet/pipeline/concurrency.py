"""Concurrency of the stages on top of anyio: sending, worker threads, first errors.

Short work runs in the event loop, long work in worker threads; uninterruptible work can be
abandoned. When a stage fails and takes others down with it, the error that started it is raised.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from math import inf
from threading import Thread, get_native_id
from time import perf_counter
from typing import TypeVar, final

from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    EndOfStream,
    Event,
    RunFinishedError,
    WouldBlock,
    from_thread,
    to_thread,
)
from anyio.lowlevel import checkpoint_if_cancelled, current_token
from anyio.streams.memory import MemoryObjectSendStream

T = TypeVar("T")


async def put(send: MemoryObjectSendStream[T], item: T) -> None:
    """Send at once if there is room, else wait.

    A stage yields to the others when it receives. Yielding here as well, as `send` does, would take
    as long as the work on a small block.

    >>> import anyio
    >>> send, receive = anyio.create_memory_object_stream(1)
    >>> with send, receive:
    ...     anyio.run(put, send, "block")
    ...     receive.receive_nowait()
    'block'
    """
    await checkpoint_if_cancelled()  # the receiver may have been cancelled first, and be gone
    try:
        send.send_nowait(item)
    except WouldBlock:
        await send.send(item)


_SECONDARY_ERRORS = (BrokenResourceError, ClosedResourceError, EndOfStream)


def first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The original error: a stage that fails cancels the others, or closes their channels.

    >>> first_cause(BaseExceptionGroup("", [EndOfStream(), OSError("disk")]))
    OSError('disk')
    """
    errors = list(_flatten_errors(group))
    causes = (error for error in errors if not isinstance(error, _SECONDARY_ERRORS))
    return next(causes, errors[0])


def raise_cause(
    group: BaseExceptionGroup[BaseException], *, unless_of: BaseException | None = None
) -> None:
    """Raise the original error of a group, with its own cause and context.

    ``unless_of`` is the error of the task group's own body, perhaps a group: if the original error
    is part of it, nothing is raised, since it propagates anyway.
    """
    cause = first_cause(group)
    # A task group may have wrapped the body's errors in another group.
    if unless_of is not None and any(cause is error for error in _flatten_errors(unless_of)):
        return
    context = cause.__context__
    try:
        raise cause
    finally:
        cause.__context__ = context


def _flatten_errors(error: BaseException) -> Iterator[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        yield error
        return
    for part in error.exceptions:
        yield from _flatten_errors(part)


# Handing work to a thread and back costs about 0.15 ms, so work of up to this many seconds is done
# inline and blocks the event loop no longer than that. If nothing else needs the loop, more is
# better: threads that compete for the interpreter are slower than one.
INLINE_SECONDS = 0.0005
NEVER_INLINE = -inf  # all work runs in threads
PACE_DECAY = 1.1


@final
class Worker:
    """Runs the work of one stage, inline or in a thread, by how long a sample takes.

    The measured time affects where work runs, never its result. Work that takes no longer than
    ``inline_seconds`` runs inline. The first work runs in a thread, since kernels may have to be
    compiled.

    >>> import anyio
    >>> worker = Worker()
    >>> worker.runs_inline(1), anyio.run(worker.run, 1, max, 2, 3), worker.runs_inline(1)
    (False, 3, True)
    """

    def __init__(self, inline_seconds: float = INLINE_SECONDS) -> None:
        self._inline_seconds = inline_seconds
        self._pace = inf  # seconds per sample, recent minimum

    def runs_inline(self, samples: float) -> bool:
        """Whether work on so many samples runs inline."""
        return samples * self._pace <= self._inline_seconds

    async def run(self, samples: float, function: Callable[..., T], *arguments: object) -> T:
        """Run ``function``; it is never cancelled halfway."""
        if self.runs_inline(samples):
            return self.measure(samples, function, *arguments)
        return await to_thread.run_sync(self.measure, samples, function, *arguments)

    def measure(self, samples: float, function: Callable[..., T], *arguments: object) -> T:
        """Run ``function`` in this thread and measure it."""
        start = perf_counter()
        result = function(*arguments)
        self.note(samples, perf_counter() - start)
        return result

    def note(self, samples: float, seconds: float) -> None:
        """Update the pace with the time that work on so many samples took."""
        # The recent minimum, since a thread that waits for others seems slower than it is.
        if samples:  # without samples, perhaps no kernel ran
            self._pace = min(self._pace * PACE_DECAY, seconds / samples)


@cache
def _getcpu() -> Callable[[], int] | None:
    if sys.platform != "linux":
        return None
    # PyDLL keeps the interpreter's lock: releasing it would take far longer than the call.
    return getattr(ctypes.PyDLL(None), "sched_getcpu", None)


def current_cpu() -> int:
    """Number of the CPU that runs this thread; -1 where that is unknown."""
    ask = _getcpu()
    return -1 if ask is None else ask()


def spread_over_cpus(threads: Sequence[int]) -> None:
    """Move threads of this process, given by native ids, away from the CPU that runs this thread.

    Linux may wake a thread on the CPU of the thread that woke it, and move it to an idle one only
    milliseconds later, which may be longer than their work takes. Each thread is moved once, to a
    CPU of its own if there are enough; the system may move it again at any time. Does nothing on
    other systems, or with a single CPU.

    >>> spread_over_cpus([])
    """
    here = current_cpu()
    if here < 0:
        return
    # A thread may have ended, or a sandbox may forbid it: then threads stay where they are.
    with suppress(OSError):
        for place, thread in enumerate(threads):
            allowed = os.sched_getaffinity(thread)
            free = sorted(allowed - {here})
            own = free[place :: len(threads)] or free
            if own:
                os.sched_setaffinity(thread, own)
                os.sched_setaffinity(thread, allowed)


@final
class Helpers:
    """Threads that help others with work which is shared, as long as there is any.

    >>> sorted(helper.result() for helper in share_helpers(2).submit(pow, 2, 3))
    [8, 8]
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._thread_ids: list[int] = []  # native ones
        self._executor = ThreadPoolExecutor(
            max(count, 1), "learning-too", initializer=self._note_thread
        )

    def submit(self, function: Callable[..., T], *arguments: object) -> list[Future[T]]:
        """Let each of the threads call ``function``."""
        futures = [self._executor.submit(function, *arguments) for _ in range(self._count)]
        spread_over_cpus(self._thread_ids)
        return futures

    def _note_thread(self) -> None:
        self._thread_ids.append(get_native_id())


@cache
def share_helpers(count: int) -> Helpers:
    """The helpers that all pipelines of a process share which want so many."""
    return Helpers(count)


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=share_helpers.cache_clear)  # no thread survives it


async def run_abandonable(function: Callable[[], T]) -> T:
    """Run ``function`` in a thread; after cancellation it is abandoned and its result is dropped.

    Unlike the threads of `anyio.to_thread`, its thread is a daemon, for which the interpreter does
    not wait at exit.

    >>> import anyio
    >>> anyio.run(run_abandonable, lambda: 6 * 7)
    42
    """
    done, token = Event(), current_token()
    returned: list[T] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            returned.append(function())
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            raised.append(error)
        with suppress(RunFinishedError):  # it was abandoned, and the event loop has ended since
            from_thread.run_sync(done.set, token=token)

    Thread(target=work, daemon=True).start()
    await done.wait()
    if raised:
        raise raised[0]
    return returned[0]

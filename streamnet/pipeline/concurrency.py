"""Concurrency of the stages on top of anyio: sending, worker threads, first errors.

Short work runs in the event loop, long work in worker threads; uninterruptible work can be
abandoned. When a stage fails and takes others down with it, the error that started it is raised.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from math import inf
from threading import Thread
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

__all__ = (
    "INLINE_SECONDS",
    "NEVER_INLINE",
    "Worker",
    "first_cause",
    "processor",
    "put",
    "raise_cause",
    "run_abandonable",
    "spread_over_cpus",
)


ItemT = TypeVar("ItemT")


async def put(send: MemoryObjectSendStream[ItemT], item: ItemT) -> None:
    """Send at once where there is room, else wait for it.

    A stage gives way to the others when it receives. To do so here as well, as `send` does, would
    take as long as the work on a small block.

    >>> import anyio
    >>> send, receive = anyio.create_memory_object_stream(1)
    >>> with send, receive:
    ...     anyio.run(put, send, "block")
    ...     receive.receive_nowait()
    'block'
    """
    await checkpoint_if_cancelled()  # who is to receive may have been cancelled first, and be gone
    try:
        send.send_nowait(item)
    except WouldBlock:
        await send.send(item)


_SECONDARY_ERRORS = (BrokenResourceError, ClosedResourceError, EndOfStream)


def first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that began it: a stage that breaks cancels the others, or closes their channels.

    >>> first_cause(BaseExceptionGroup("", [EndOfStream(), OSError("disk")]))
    OSError('disk')
    """
    errors = list(_flatten_errors(group))
    causes = (error for error in errors if not isinstance(error, _SECONDARY_ERRORS))
    return next(causes, errors[0])


def raise_cause(
    group: BaseExceptionGroup[BaseException], *, unless_of: BaseException | None = None
) -> None:
    """Raise the error that began it, with the cause and context that it has itself.

    Args:
        group: What a task group raised.
        unless_of: The error of the task group's own body, which may be a group: if it began it,
            nothing is raised, for it goes on as it is.
    """
    cause = first_cause(group)
    # A task group may have made another group of the body's own, with the same errors in it.
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


ResultT = TypeVar("ResultT")

# Handing work to a thread and back costs about 0.15 ms of computing, so less than this much work,
# in seconds, is done at once: the event loop waits no longer than that. Where nobody else needs
# the loop more is better: threads that take turns with each other at Python are slower than one.
INLINE_SECONDS = 0.0005
NEVER_INLINE = -inf  # all work is done in threads
PACE_DECAY = 1.1


@final
class Worker:
    """Does the work of one stage, and learns how long a sample takes.

    What it measures decides where work is done, never what comes out. What was never measured is
    done in a thread: kernels may have to be compiled for it.

    Args:
        brief: Longest work, in seconds, that is done at once.

    >>> import anyio
    >>> worker = Worker()
    >>> worker.runs_inline(1), anyio.run(worker.run, 1, max, 2, 3), worker.runs_inline(1)
    (False, 3, True)
    """

    def __init__(self, inline_seconds: float = INLINE_SECONDS) -> None:
        self._inline_seconds = inline_seconds
        self._pace = inf  # seconds a sample, the least of late

    def runs_inline(self, samples: float) -> bool:
        """Whether the work on so many samples is done at once."""
        return samples * self._pace <= self._inline_seconds

    async def run(
        self, samples: float, function: Callable[..., ResultT], *arguments: object
    ) -> ResultT:
        """Run ``function``, which is never cancelled half-way."""
        if self.runs_inline(samples):
            return self.measure(samples, function, *arguments)
        return await to_thread.run_sync(self.measure, samples, function, *arguments)

    def measure(
        self, samples: float, function: Callable[..., ResultT], *arguments: object
    ) -> ResultT:
        """Run ``function`` in this thread and note its pace."""
        start = perf_counter()
        result = function(*arguments)
        self.note(samples, perf_counter() - start)
        return result

    def note(self, samples: float, seconds: float) -> None:
        """Take in how long the work on so many samples took."""
        # The least of late, since a thread that waits for others seems slower than it is.
        if samples:  # without any, kernels were perhaps not asked
            self._pace = min(self._pace * PACE_DECAY, seconds / samples)


@cache
def _getcpu() -> Callable[[], int] | None:
    if sys.platform != "linux":
        return None
    # With the interpreter's lock held: to give it away for so short a call takes far longer.
    return getattr(ctypes.PyDLL(None), "sched_getcpu", None)


def processor() -> int:
    """Number of the processor that runs this thread; -1 where that can't be told."""
    ask = _getcpu()
    return -1 if ask is None else ask()


def spread_over_cpus(threads: Sequence[int]) -> None:
    """Let threads of this process, by their native numbers, go on where this one does not run.

    Linux may wake a thread on the processor of the one that woke it. That it waits there while
    another processor has become idle is noticed milliseconds later, which may be all that their
    common work lasts. They are moved once, each to processors of its own if there are enough, and
    may be moved again by the system at any time. Does nothing on other systems, or with a single
    processor.

    >>> spread_over_cpus([])
    """
    here = processor()
    if here < 0:
        return
    # A thread may have ended, and a sandbox may forbid it: then they stay where they are.
    with suppress(OSError):
        for place, thread in enumerate(threads):
            allowed = os.sched_getaffinity(thread)
            free = sorted(allowed - {here})
            own = free[place :: len(threads)] or free
            if own:
                os.sched_setaffinity(thread, own)
                os.sched_setaffinity(thread, allowed)


ReturnT = TypeVar("ReturnT")


async def run_abandonable(function: Callable[[], ReturnT]) -> ReturnT:
    """What ``function`` returns or raises; cancelled, it goes on alone, and nobody hears of it.

    Its thread is a daemon, unlike those of `anyio.to_thread`, for whose end the interpreter waits.

    >>> import anyio
    >>> anyio.run(run_abandonable, lambda: 6 * 7)
    42
    """
    done, token = Event(), current_token()
    returned: list[ReturnT] = []
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

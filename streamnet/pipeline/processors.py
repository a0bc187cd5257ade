"""Processors: threads that compute together are kept from sharing one while another is idle."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import suppress
from functools import cache

__all__ = ("processor", "send_away")


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


def send_away(threads: Sequence[int]) -> None:
    """Let threads of this process, by their native numbers, go on where this one does not run.

    Linux may wake a thread on the processor of the one that woke it. That it waits there while
    another processor has become idle is noticed milliseconds later, which may be all that their
    common work lasts. They are moved once, each to processors of its own if there are enough, and
    may be moved again by the system at any time. Does nothing on other systems, or with a single
    processor.

    >>> send_away([])
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

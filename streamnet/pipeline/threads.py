"""Where a stage computes: long work in worker threads, brief work at once."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import perf_counter
from typing import TypeVar
from typing import final

from anyio import to_thread

__all__ = ("BRIEF", "NEVER_BRIEF", "Worker")

T = TypeVar("T")

# Handing work to a thread and back costs about 0.15 ms of computing, so less than this much work,
# in seconds, is done at once: the event loop waits no longer than that. Where nobody else needs
# the loop more is better: threads that take turns with each other at Python are slower than one.
BRIEF = 0.0005
NEVER_BRIEF = -inf  # all work is done in threads
SLOWER = 1.1


@final
class Worker:
    """Does the work of one stage, and learns how long a sample takes.

    What it measures decides where work is done, never what comes out. What was never measured is
    done in a thread: kernels may have to be compiled for it.

    Args:
        brief: Longest work, in seconds, that is done at once.

    >>> import anyio
    >>> worker = Worker()
    >>> worker.is_brief(1), anyio.run(worker.run, 1, max, 2, 3), worker.is_brief(1)
    (False, 3, True)
    """

    def __init__(self, brief: float = BRIEF) -> None:
        self._brief = brief
        self._pace = inf  # seconds a sample, the least of late

    def is_brief(self, samples: float) -> bool:
        """Whether the work on so many samples is done at once."""
        return samples * self._pace <= self._brief

    async def run(self, samples: float, function: Callable[..., T], *arguments: object) -> T:
        """Run ``function``, which is never cancelled half-way."""
        if self.is_brief(samples):
            return self.measure(samples, function, *arguments)
        return await to_thread.run_sync(self.measure, samples, function, *arguments)

    def measure(self, samples: float, function: Callable[..., T], *arguments: object) -> T:
        """Run ``function`` in this thread and note its pace."""
        start = perf_counter()
        result = function(*arguments)
        self.note(samples, perf_counter() - start)
        return result

    def note(self, samples: float, seconds: float) -> None:
        """Take in how long the work on so many samples took."""
        # The least of late, since a thread that waits for others seems slower than it is.
        if samples:  # without any, kernels were perhaps not asked
            self._pace = min(self._pace * SLOWER, seconds / samples)

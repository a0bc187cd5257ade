"""Clock: what ages in the journal are counted by."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from time import time
from typing import final

__all__ = ("Clock", "now")


@final
class Clock:
    """Seconds since 1970 as they were at the start, and as they have passed since.

    A machine's time may be set anew while a process runs: by years, where a clock was wrong. What
    waits for its label would be given up at once, all of it, or not for years.

    Args:
        wall: Seconds since 1970, read once.
        steady: Seconds that only ever grow.

    >>> clock = Clock(wall=lambda: 1e9, steady=iter([5.0, 7.5]).__next__)
    >>> clock()
    1000000002.5
    """

    def __init__(
        self, *, wall: Callable[[], float] = time, steady: Callable[[], float] = monotonic
    ) -> None:
        self._steady = steady
        self._start = wall() - steady()

    def __call__(self) -> float:
        """Seconds since 1970, never fewer than before."""
        return self._start + self._steady()


now = Clock()
"""The clock of this process."""

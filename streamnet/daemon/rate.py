"""Rate: how fast a count grows, of late."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import final

__all__ = ("Rate",)

_HALF_LIFE = 5.0  # seconds after which growth counts half


@final
class Rate:
    """Growth of a count a second; what was earlier counts the less, however often it is looked at.

    Args:
        clock: Seconds that only ever grow.

    Attributes:
        value: What it was at the last look; 0 before the first.

    >>> clock = iter([0.0, 1.0, 6.0]).__next__
    >>> rate = Rate(clock=clock)
    >>> rate.look(100)
    >>> rate.value
    100.0
    >>> rate.look(100)
    >>> round(rate.value, 1)
    11.5
    """

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self.value = 0.0
        self._weight = 0.0  # of what was measured so far, from 0 to 1
        self._clock = clock
        self.begin(0)

    def begin(self, count: int) -> None:
        """Leave out what it has grown since the last look, and the time."""
        self._time, self._count = self._clock(), count

    def look(self, count: int) -> None:
        """Take in how far the count has come."""
        before, since = self._count, self._time
        self.begin(count)
        passed = max(self._time - since, 1e-9)
        new = 1 - 0.5 ** (passed / _HALF_LIFE)
        self._weight += new * (1 - self._weight)
        self.value += new / self._weight * ((count - before) / passed - self.value)

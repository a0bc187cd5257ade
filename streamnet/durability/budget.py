"""What several users share: a budget, such as bytes to write a minute, and turns in order."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from time import monotonic
from typing import final


@final
class Budget:
    """A token bucket that may be overdrawn: whoever finds it positive may spend any amount.

    Args:
        rate: What comes in each second.
        most: What it holds at most, and at the start.
        clock: A monotonic clock, in seconds.

    >>> clock = iter([0.0, 0.0, 0.0, 2.0]).__next__
    >>> budget = Budget(10.0, most=20.0, clock=clock)
    >>> budget.spend(50.0)
    >>> budget.seconds_left(), budget.seconds_left()
    (3.0, 1.0)
    """

    def __init__(self, rate: float, *, most: float, clock: Callable[[], float] = monotonic) -> None:
        self.most = most
        self._rate, self._clock = rate, clock
        self._level, self._time = most, clock()
        self._lock = Lock()

    def spend(self, amount: float) -> None:
        """Take an amount, also if there is less; a negative one is given back."""
        with self._lock:
            self._fill()
            self._level -= amount

    def seconds_left(self) -> float:
        """Seconds until something may be spent again; 0 if it may be now."""
        with self._lock:
            self._fill()
            return max(0.0, -self._level / self._rate)

    def _fill(self) -> None:
        before, self._time = self._time, self._clock()
        self._level = min(self.most, self._level + (self._time - before) * self._rate)


@final
class Turns:
    """Turns that come at most so many a second, in the order in which they were asked for.

    Args:
        rate: Turns a second.
        most: Turns that come at once after a quiet time.
        clock: A monotonic clock, in seconds.

    >>> turns = Turns(10.0, most=2, clock=lambda: 5.0)
    >>> [round(turns.take(), 3) for _ in range(4)]
    [0.0, 0.0, 0.1, 0.2]
    """

    def __init__(self, rate: float, *, most: float, clock: Callable[[], float] = monotonic) -> None:
        self._step, self._ahead, self._clock = 1.0 / rate, (most - 1) / rate, clock
        self._next = clock() - self._ahead
        self._lock = Lock()

    def take(self) -> float:
        """Take the next turn; return the seconds until it comes, 0 if it has."""
        with self._lock:
            now = self._clock()
            turn = max(self._next, now - self._ahead)
            self._next = turn + self._step
            return max(0.0, turn - now)

"""Cadence: when the next checkpoint is due."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import monotonic
from typing import final

from streamnet.errors import ConfigurationError

__all__ = ("Cadence",)

_BUSY = 0.25  # seconds until it is looked whether a cut that is on its way has arrived
_SOONEST, _LATEST = 1.0, 60.0  # seconds until the next try after a failure


@final
class Cadence:
    """Counts samples and seconds since the last cut; at most one cut is on its way.

    Rejected records are no samples, but news all the same: what holds them waits for a cut, too.

    Args:
        every_samples: Samples between two cuts; None: their number does not matter.
        every_seconds: Seconds between two cuts, if a record came; None: time does not matter.
        clock: Seconds that only ever grow.

    Raises:
        ConfigurationError: If a number breaks its rule.

    >>> cadence = Cadence(every_samples=100, every_seconds=None)
    >>> cadence.due(99, 120), cadence.due(100, 121)
    (False, True)
    """

    def __init__(
        self,
        *,
        every_samples: int | None,
        every_seconds: float | None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.every_samples: float = inf
        self.every_seconds: float = inf
        self.change(every_samples=every_samples, every_seconds=every_seconds)
        self.failures = 0  # in a row
        self._clock = clock
        self._busy = False
        self._number = self._records = 0
        self._time = clock()
        self._not_before = -inf
        self._overdue = False  # since the last one failed
        self._asked = False

    def change(self, *, every_samples: int | None, every_seconds: float | None) -> None:
        """Use other distances from now on.

        Raises:
            ConfigurationError: If a number breaks its rule.
        """
        if every_samples is not None and every_samples < 1:
            raise ConfigurationError(f"every_samples is {every_samples}, but must be >= 1")
        if every_seconds is not None and not every_seconds > 0:
            raise ConfigurationError(f"every_seconds is {every_seconds}, but must be > 0")
        self.every_samples = inf if every_samples is None else every_samples
        self.every_seconds = inf if every_seconds is None else every_seconds

    def begin_at(self, number: int, records: int) -> None:
        """A state of so many samples, and records in all, is durable already."""
        self._number, self._records = number, records
        self._time = self._clock()

    def ask(self) -> None:
        """Let the next one be due at once, even if nothing is new."""
        self._asked = True

    def due(self, number: int, records: int) -> bool:
        """Whether to cut behind sample ``number``, which is one of so many records."""
        if self._busy:
            return False
        if not self._overdue and number - self._number >= self.every_samples:
            return True
        return self.seconds_left(records) <= 0

    def seconds_left(self, records: int) -> float:
        """Seconds until a cut may be due, even if no further record comes."""
        if self._busy:
            return _BUSY  # it may fail, so that another one is due
        if self._overdue:
            return self._not_before - self._clock()
        if self._asked:
            return 0.0
        if records == self._records:
            return inf
        return self._time + self.every_seconds - self._clock()

    def cut(self, number: int, records: int) -> None:
        """A cut was made behind sample ``number``, and so many records in all."""
        self._busy = True
        self._overdue = self._asked = False
        self._number, self._records = number, records
        self._time = self._clock()

    def done(self, *, failed: bool) -> None:
        """The state of the cut was written, or could not be: then a later one is tried."""
        self._busy = False
        self.failures = self.failures + 1 if failed else 0
        self._overdue = failed
        if failed:
            wait = _SOONEST * 2.0 ** min(self.failures - 1, 10)
            self._not_before = self._clock() + min(wait, _LATEST)

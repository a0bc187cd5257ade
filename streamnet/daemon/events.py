"""EventLog: what happened, for whoever wants to follow it live."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from collections.abc import Callable
from time import time
from typing import Any
from typing import NamedTuple
from typing import final

from anyio import Event as Signal

from streamnet.errors import ConfigurationError

__all__ = ("Event", "EventLog")


class Event(NamedTuple):
    """Something that happened."""

    id: int  # grows by one each time; a gap has that of the last event that is lost
    kind: str  # champion, checkpoint, drift, gap, quarantine, rejected or state
    time: float  # seconds since 1970
    data: dict[str, Any]


@final
class EventLog:
    """Keeps the last events and tells them to any number of readers; nobody waits for a reader.

    A reader that is too late for an event gets one of kind "gap" in the place of all it missed.
    Ids begin at a number that grows with time, so that one from before a restart is an early one.

    Args:
        most: Events to keep.
        clock: Seconds since 1970.

    Raises:
        ConfigurationError: If ``most`` is below 1.

    >>> import anyio
    >>> log = EventLog(2, clock=lambda: 0.0)
    >>> for number in range(4):
    ...     log.add("checkpoint", number=number)
    >>> log.close()
    >>> async def main():
    ...     return [(event.id, event.kind, event.data) async for event in log.follow(after=1)]
    >>> anyio.run(main)
    [(2, 'gap', {'missed': 1}), (3, 'checkpoint', {'number': 2}), (4, 'checkpoint', {'number': 3})]
    """

    def __init__(self, most: int = 1000, *, clock: Callable[[], float] = time) -> None:
        if most < 1:
            raise ConfigurationError(f"events is {most}, but must be >= 1")
        self._kept: deque[Event] = deque(maxlen=most)
        self._clock = clock
        self._newest = self._begin = int(clock() * 1e6)
        self._closed = False
        self._changed = Signal()

    @property
    def newest(self) -> int:
        """Id of the last event; that of a new log's first one is greater by one."""
        return self._newest

    def add(self, kind: str, **data: Any) -> None:
        """Note an event; in the event loop."""
        self._newest += 1
        self._kept.append(Event(self._newest, kind, self._clock(), data))
        self._wake()

    def close(self) -> None:
        """Say that none will follow: readers end when they have read the last one."""
        self._closed = True
        self._wake()

    def last(self, count: int) -> list[Event]:
        """The last events, the oldest first."""
        return list(self._kept)[-count:] if count > 0 else []

    def follow(self, after: int | None = None) -> AsyncIterator[Event]:
        """Events behind the one of that id; None: those that are still to come."""
        return _Reader(self, self._newest if after is None else min(after, self._newest))

    async def next_after(self, seen: int) -> Event | None:
        """The event behind the one of that id, or a gap; None at the end."""
        while seen >= self._newest:
            if self._closed:
                return None
            await self._changed.wait()
        oldest = self._kept[0].id if self._kept else self._newest + 1
        if seen < oldest - 1:
            # How many there were before this log, nobody knows.
            missed = None if seen < self._begin else oldest - 1 - seen
            return Event(oldest - 1, "gap", self._clock(), {"missed": missed})
        return self._kept[seen + 1 - oldest]

    def _wake(self) -> None:
        changed, self._changed = self._changed, Signal()
        changed.set()


@final
class _Reader(AsyncIterator[Event]):
    """No generator, which would have to be closed by who leaves the loop over it early."""

    def __init__(self, log: EventLog, seen: int) -> None:
        self._log = log
        self._seen = seen

    async def __anext__(self) -> Event:
        event = await self._log.next_after(self._seen)
        if event is None:
            raise StopAsyncIteration
        self._seen = event.id
        return event

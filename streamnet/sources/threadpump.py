"""ThreadPump: a thread that takes from a plain iterator what it has, and keeps it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import suppress
from contextvars import copy_context
from threading import Event as ThreadEvent
from threading import Thread
from typing import Generic
from typing import TypeVar
from typing import final

from anyio import Event
from anyio import RunFinishedError
from anyio import current_time
from anyio import from_thread
from anyio import get_cancelled_exc_class
from anyio import move_on_after
from anyio import sleep
from anyio.lowlevel import current_token

from streamnet.errors import DataError

__all__ = ("ThreadPump",)

PATIENCE = 0.2  # seconds in which an iterator that does not wait for anything gives its next item
GATHER = 0.01  # seconds in which more is waited for where items come faster than that

T = TypeVar("T")


@final
class ThreadPump(Generic[T]):
    """Iterates in a thread of its own, so that whoever waits for items can be cancelled.

    An iterator that waits, as for a queue, can't be interrupted: its thread is left alone then. It
    is a daemon, for whose end the interpreter does not wait. No other thread touches the iterator.
    At most ``most`` items are kept; the iterator then is not asked for more.

    >>> import anyio
    >>> async def main():
    ...     pump = ThreadPump(iter("ab"), 10)
    ...     pump.start()
    ...     found = await pump.take()
    ...     while more := await pump.take():
    ...         found += more
    ...     await pump.aclose()
    ...     return found
    >>> anyio.run(main)
    ['a', 'b']
    """

    def __init__(self, iterator: Iterator[T], most: int) -> None:
        self._iterator = iterator
        self._most = most
        self._items: deque[T] = deque()
        self._failure: BaseException | None = None
        self._taken = -math.inf  # when items were taken last, by the event loop's clock
        self._room = ThreadEvent()
        self._waiting: Event | None = None  # set by who waits, looked at by the thread
        self._running = False
        self._closed = False
        self._ended = False

    def start(self) -> None:
        """Begin to iterate, and tell the event loop of the caller what comes."""
        self._token = current_token()
        self._running = True
        Thread(target=copy_context().run, args=(self._run,), daemon=True).start()

    async def take(self) -> list[T]:
        """The items that are there, at least one; none at the end.

        Raises:
            BaseException: what the iterator raised, once all items before it were taken.
        """
        if not self._items:
            await self._wait_until(lambda: bool(self._items) or self._ended or self._closed)
            if current_time() - self._taken < GATHER:
                await sleep(GATHER)
        self._taken = current_time()
        if not self._items and self._failure is not None:
            if isinstance(self._failure, get_cancelled_exc_class()):
                # Raised here it would end the task that asks, as if somebody had cancelled it.
                name = type(self._failure).__name__
                raise DataError(f"{name} was raised in it") from self._failure
            raise self._failure
        # One after the other, since the thread may append meanwhile.
        items = [self._items.popleft() for _ in range(len(self._items))]
        self._room.set()
        return items

    async def aclose(self) -> None:
        """Iterate no more; an iterator that does not wait is at rest then."""
        if self._running:
            self._running = False
            self._closed = True
            self._room.set()
            with move_on_after(PATIENCE, shield=True):
                await self._wait_until(lambda: self._ended)

    async def _wait_until(self, ready: Callable[[], bool]) -> None:
        # Told first and looked at then, while the thread does it the other way round: whichever
        # comes second sees what the other one did.
        try:
            while not ready():
                told = self._waiting = Event()
                if not ready():
                    await told.wait()
        finally:
            self._waiting = None

    def _tell(self) -> None:
        waiting = self._waiting
        if waiting is not None and not waiting.is_set():
            with suppress(RunFinishedError):  # nobody waits any more
                from_thread.run_sync(waiting.set, token=self._token)

    def _run(self) -> None:
        try:
            for item in self._iterator:
                self._items.append(item)
                self._tell()
                if len(self._items) >= self._most:
                    self._wait_for_room()
                if self._closed:
                    break
        except BaseException as error:  # noqa: BLE001 - `take` raises it
            self._failure = error
        self._ended = True
        self._tell()

    def _wait_for_room(self) -> None:
        self._room.clear()
        if len(self._items) >= self._most and not self._closed:
            self._room.wait()

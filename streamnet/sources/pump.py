"""Pump: a task that takes from an asynchronous iterable what it has, and keeps it."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from contextvars import copy_context
from threading import Thread
from typing import Any
from typing import Generic
from typing import TypeVar
from typing import final

from anyio import CancelScope
from anyio import Event
from anyio import RunFinishedError
from anyio import from_thread
from anyio.lowlevel import EventLoopToken
from anyio.lowlevel import current_token

from streamnet.errors import DataError

__all__ = ("Pump",)

T = TypeVar("T")


@final
class Pump(Generic[T]):
    """Iterates in a task of its own, so that whoever waits for items can be cancelled.

    The task is no child of the one that starts it, since a source may be opened by one task and
    closed by another, which no task group could bear: `aclose` ends it, or else the event loop.
    At most ``most`` items are kept, each as ``keep`` returns it; the iterable then has to wait.

    >>> import anyio
    >>> async def letters():
    ...     yield "a"
    ...     yield "b"
    >>> async def main():
    ...     pump = Pump(letters(), 10, str.upper)
    ...     pump.start()
    ...     found = await pump.take()
    ...     await pump.aclose()
    ...     return found
    >>> anyio.run(main)
    ['A', 'B']
    """

    def __init__(self, iterable: AsyncIterable[T], most: int, keep: Callable[[T], T]) -> None:
        self._iterable = iterable
        self._most = most
        self._keep = keep
        self._items: deque[T] = deque()
        self._failure: Exception | None = None
        self._running = False
        self._ended = False

    def start(self) -> None:
        """Begin to iterate, in the event loop of the caller."""
        self._scope = CancelScope()
        self._arrived = Event()
        self._room = Event()
        self._done = Event()
        self._running = True
        run = copy_context().run
        Thread(target=run, args=(self._host, current_token()), daemon=True).start()

    async def take(self) -> list[T]:
        """The items that are there, at least one; none at the end.

        Raises:
            Exception: what the iterable raised, once all items before it were taken.
        """
        while not self._items and not self._ended:
            self._arrived = Event()
            await self._arrived.wait()
        if not self._items and self._failure is not None:
            raise self._failure
        items = list(self._items)
        self._items.clear()
        self._room.set()
        return items

    async def aclose(self) -> None:
        """End the task."""
        if self._running:
            self._scope.cancel()
            await self._done.wait()
            self._running = False

    def _host(self, token: EventLoopToken) -> None:
        # The loop may be gone first; then nobody waits for items any more.
        with suppress(RunFinishedError, CancelledError):
            from_thread.run(self._run, token=token)

    async def _run(self) -> None:
        try:
            with self._scope:
                await self._iterate()
        except Exception as error:  # noqa: BLE001 - `take` raises it
            self._failure = error
        except BaseException as error:  # noqa: BLE001 - likewise
            # Not by us, whose scope keeps that to itself: the iterable was cancelled from outside,
            # wants to exit, or the event loop ends, and nobody is there to be told.
            self._failure = DataError(f"{type(error).__name__} was raised in it")
            self._failure.__cause__ = error
        finally:
            self._ended = True
            self._arrived.set()
            self._done.set()

    async def _iterate(self) -> None:
        iterator = aiter(self._iterable)
        try:
            async for item in iterator:
                self._items.append(self._keep(item))
                self._arrived.set()
                if len(self._items) >= self._most:
                    self._room = Event()
                    await self._room.wait()
        finally:
            close: Any = getattr(iterator, "aclose", None)
            if close is not None:
                with CancelScope(shield=True):
                    await close()

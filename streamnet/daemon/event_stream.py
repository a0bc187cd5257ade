"""Server-sent events: what happens in a model, as it happens, until the reader or the daemon ends.

References:
    HTML Living Standard, section 9.2: server-sent events.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from collections.abc import Awaitable
from collections.abc import Callable
from typing import Any
from typing import final

import anyio
import msgspec
from anyio.abc import TaskGroup
from starlette.responses import Response
from starlette.types import Receive
from starlette.types import Scope
from starlette.types import Send

from streamnet.daemon.events import Event

__all__ = ("ENDS_WITH_READER", "READER_LEFT", "EventStream")

ENDS_WITH_READER = "streamnet.ends_with_reader"
"""True in the scope of a request whose answer goes on until its reader leaves."""
READER_LEFT = "streamnet.reader_left"
"""True in the scope of a request whose reader left before that was known."""

_HEARTBEAT = 15.0  # seconds: proxies close connections on which nothing comes for a minute
_BEGINNING = b"retry: 2000\n\n"  # milliseconds until a browser tries again
_ENCODER = msgspec.json.Encoder()


@final
class EventStream(Response):
    """Events as a response that ends when the reader leaves, the log ends, or the daemon stops.

    Args:
        events: What to tell; whoever waits for its next one may be cancelled, and loses nothing.
        stopping: Set when the daemon stops.
        heartbeat: Seconds between two comments while nothing happens.
    """

    media_type = "text/event-stream"

    def __init__(
        self, events: AsyncIterator[Event], stopping: anyio.Event, heartbeat: float = _HEARTBEAT
    ) -> None:
        self._events = events
        self._stopping = stopping
        self._heartbeat = heartbeat
        self.status_code = 200
        self.background = None
        self.init_headers({"x-accel-buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write until one of the three ends; to HEAD, nothing."""
        scope[ENDS_WITH_READER] = True
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        if scope["method"] != "HEAD" and not scope.get(READER_LEFT, False):
            await self._follow(receive, send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _follow(self, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._end_with, group, self._stopping.wait)
            group.start_soon(self._end_with, group, _left, receive)
            await self._write(send)
            group.cancel_scope.cancel()

    async def _end_with(
        self, group: TaskGroup, wait: Callable[..., Awaitable[Any]], *arguments: Any
    ) -> None:
        await wait(*arguments)
        group.cancel_scope.cancel()

    async def _write(self, send: Send) -> None:
        text = _BEGINNING
        while True:
            await send({"type": "http.response.body", "body": text, "more_body": True})
            text = b": nothing happens\n\n"
            with anyio.move_on_after(self._heartbeat):
                try:
                    text = _text_of(await anext(self._events))
                except StopAsyncIteration:
                    return


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _text_of(event: Event) -> bytes:
    data = _ENCODER.encode(event._asdict())
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.id, event.kind.encode(), data)

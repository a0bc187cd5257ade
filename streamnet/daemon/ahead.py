"""Reading ahead: a body comes in while what has come before is worked on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self
from typing import final

import anyio
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from streamnet.errors import StreamnetError

__all__ = ("Ahead", "cut", "reading_ahead")

# Seconds between two looks at what ends reading early; not the 0.1 between two looks of anyio's
# `wait_all_tasks_blocked`, which would find it awake each time.
_TICK = 0.15


@final
class Ahead:
    """The pieces of a body, in their order; behind the last one comes what ended it too early."""

    def __init__(self, pieces: AsyncIterator[bytes], most: int) -> None:
        self._pieces = pieces
        self._send, self._receive = anyio.create_memory_object_stream[bytes](most)
        self._failure: HTTPException | ClientDisconnect | None = None
        self._reading = anyio.CancelScope()
        self._whole = False

    async def read(self) -> None:
        """Read until the body ends; not more than the channel holds before it is taken."""
        async with self._send:
            with self._reading:
                try:
                    async for piece in self._pieces:
                        await self._send.send(piece)
                    self._whole = True
                except (HTTPException, ClientDisconnect) as error:
                    self._failure = error

    async def end_at(self, event: anyio.Event, why: HTTPException) -> None:
        """Read no more once that has happened; behind what was read, ``why`` is raised."""
        # An event is one event loop's; an application may be asked by several, as tests do.
        while not event.is_set():  # noqa: ASYNC110
            await anyio.sleep(_TICK)
        if not self._whole:
            self._failure = why
            self._reading.cancel()

    def with_more(self, piece: bytes) -> bytes:
        """This piece and all that have come meanwhile."""
        pieces = [piece]
        while self._receive.statistics().current_buffer_used:
            pieces.append(self._receive.receive_nowait())
        return b"".join(pieces)

    def close(self) -> None:
        """Take no more."""
        self._receive.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._receive.receive()
        except anyio.EndOfStream:
            if self._failure is not None:
                raise self._failure from None
            raise StopAsyncIteration from None


@asynccontextmanager
async def reading_ahead(
    pieces: AsyncIterator[bytes], most: int, until: tuple[anyio.Event, HTTPException] | None = None
) -> AsyncIterator[Ahead]:
    """Read ``pieces`` by a task of its own, which ends with the block.

    Args:
        pieces: A body as it comes.
        most: Pieces that may wait before they are taken.
        until: What ends reading early once it has happened, and what is raised then.

    Raises:
        HTTPException: What reading raised, behind all that was read before, as for the others.
        ClientDisconnect: The client is gone.
        StreamnetError: What the block raised, by itself and in no group.
    """
    ahead = Ahead(pieces, most)
    failure: Exception | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(ahead.read)
        if until is not None:
            group.start_soon(ahead.end_at, *until)
        try:
            yield ahead
        except (HTTPException, ClientDisconnect, StreamnetError) as error:
            failure = error
        finally:
            group.cancel_scope.cancel()
            ahead.close()
    if failure is not None:
        raise failure


async def cut(lines: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """The same lines, cut at the first end of a line behind each ``size`` bytes.

    Where they are cut does not depend on how they came.

    Args:
        lines: Pieces of whole lines.
        size: Bytes; a part has more by less than a line, and the last one may have fewer.
    """
    waiting = b""
    async for piece in lines:
        waiting += piece
        start = 0
        while end := waiting.find(b"\n", start + size) + 1:
            yield waiting[start:end]
            start = end
        waiting = waiting[start:]
    if waiting:
        yield waiting

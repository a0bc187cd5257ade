"""Channels: how items get from one stage to the next."""

from __future__ import annotations

from typing import TypeVar

from anyio import WouldBlock
from anyio.lowlevel import checkpoint_if_cancelled
from anyio.streams.memory import MemoryObjectSendStream

__all__ = ("put",)

T = TypeVar("T")


async def put(send: MemoryObjectSendStream[T], item: T) -> None:
    """Send at once where there is room, else wait for it.

    A stage gives way to the others when it receives. To do so here as well, as `send` does, would
    take as long as the work on a small block.

    >>> import anyio
    >>> send, receive = anyio.create_memory_object_stream(1)
    >>> with send, receive:
    ...     anyio.run(put, send, "block")
    ...     receive.receive_nowait()
    'block'
    """
    await checkpoint_if_cancelled()  # who is to receive may have been cancelled first, and be gone
    try:
        send.send_nowait(item)
    except WouldBlock:
        await send.send(item)

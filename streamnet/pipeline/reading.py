"""Reading: from the source to the first channel, until the source ends or somebody says stop."""

from __future__ import annotations

import logging
from typing import final

from anyio import CancelScope
from anyio.streams.memory import MemoryObjectSendStream

from streamnet.errors import DataError
from streamnet.pipeline.cutting import Arrival
from streamnet.pipeline.cutting import Cutter
from streamnet.samples import Block
from streamnet.samples import Schema
from streamnet.sources.base import Source

__all__ = ("Reader", "records_of")

logger = logging.getLogger("streamnet.pipeline")


def records_of(block: Block) -> int:
    """Records of a block, good and rejected ones."""
    return len(block) + len(block.rejected)


@final
class Reader:
    """Reads a source, and stops at once when told so, even while it waits for a sample.

    Args:
        source: Where samples come from.
        cutter: Cuts what comes at the rounds' ends.

    >>> from streamnet.sources import IterableSource
    >>> reader = Reader(IterableSource([{"x": 1.0}]), Cutter(block_size=256, round_size=1024))
    >>> reader.stop()
    >>> reader.stopped, reader.broken, reader.records
    (True, None, 0)
    """

    def __init__(self, source: Source, cutter: Cutter) -> None:
        self.source = source
        self.stopped = False
        self.broken: DataError | None = None  # why there is no more, if the source did not end
        self.records = 0  # good and rejected ones that were given by the source and used
        self._cutter = cutter
        self._waiting: CancelScope | None = None

    def stop(self) -> None:
        """Read no more."""
        self.stopped = True
        if self._waiting is not None:
            self._waiting.cancel()

    def give_up(self, error: DataError, block: Block, used: Block) -> None:
        """Read no more because of an error in a block that was sent, of which a part was used."""
        self.stop()
        self.broken = error
        self.records -= records_of(block) - records_of(used)

    def take_back(self, block: Block) -> None:
        """Count a block that was sent as not read, since nobody used it."""
        self.records -= records_of(block)

    async def open(self) -> Schema | None:
        """Open the source; None if reading was stopped before that was done.

        Raises:
            StreamnetError: If it can't be opened.
        """
        schema = None
        if not self.stopped:
            with CancelScope() as self._waiting:
                schema = await self.source.open()
        return schema

    async def read(self, send: MemoryObjectSendStream[Arrival]) -> None:
        """Send what the source gives until it ends, breaks off or is stopped."""
        with send:
            try:
                while (block := await self._receive()) is not None:
                    await self._send(send, block)
            except DataError as error:
                logger.error("the source broke off: %s", error)
                self.broken = error

    async def _receive(self) -> Block | None:
        block = None
        if not self.stopped:
            with CancelScope() as self._waiting:
                block = await self.source.receive()
        return block

    async def _send(self, send: MemoryObjectSendStream[Arrival], block: Block) -> None:
        sent = 0
        for arrival in self._cutter.cut(block):
            await send.send(arrival)
            sent += records_of(arrival.block)
            if self.stopped:
                break
        else:
            # What the source gave, not what was sent: a record lost in cutting would show.
            sent = records_of(block)
        self.records += sent

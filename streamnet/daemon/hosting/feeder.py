"""Feeding the files of a model's run file into its journal, each record exactly once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Literal, final

import numpy as np
from anyio import CancelScope, Event, sleep
from msgspec.structs import replace

from streamnet.daemon.hosting.events import EventLog
from streamnet.daemon.journal.committer import Committer
from streamnet.daemon.journal.frames import Frame, build_file_frame
from streamnet.errors import OutputError, StreamnetError
from streamnet.pipeline.concurrency import Worker
from streamnet.pipeline.rejections import RejectionLimit
from streamnet.samples import Block
from streamnet.sources.base import Source

__all__ = ("FeedState", "Feeder")

logger = logging.getLogger("streamnet.daemon")

FeedState = Literal["reading", "ended", "failed"]
_POLL_SECONDS = 0.02  # seconds between two looks for room, or for a disk that is written again
_MAX_VALUES_PER_FRAME = 1 << 18  # values of samples that go into one frame


@final
class Feeder:
    """Reads files and appends their samples to a journal, together with where it stands in them.

    So a place in the files and the samples up to there reach the disk together or not at all, and
    another feeder goes on behind them. It takes half of the room, which leaves senders the other
    half, and waits for it. What stops it, such as a file that is not the same any more, stops no
    model.

    Args:
        make: Makes the source; called again by `resume`.
        committer: Of the journal.
        limit: Makes the limit of rejected records, as it is at the start of a file.
        queued: How many samples wait to be learned.
        most: How many may.
        events: Where it is told how it stands.

    Attributes:
        state: Reading, also while it waits; or ended; or failed.
        failure: Why it failed, in words.
    """

    def __init__(
        self,
        make: Callable[[], Source],
        committer: Committer,
        *,
        limit: Callable[[], RejectionLimit],
        queued: Callable[[], int],
        most: int,
        events: EventLog,
    ) -> None:
        self.state: FeedState = "reading"
        self.failure: str | None = None
        self._make = make
        self._committer = committer
        self._make_limit = limit
        self._limit = limit()
        self._queued = queued
        self._most = max(1, most // 2)
        self._events = events
        self._source: Source | None = None
        self._again = Event()
        self._worker = Worker()

    @property
    def progress(self) -> float | None:
        """Share of the files that was read; None where that is not known."""
        return None if self._source is None else self._source.progress()

    def resume(self) -> None:
        """Try once more, if it has failed, and forget the records that were rejected before."""
        if self.state == "failed":
            self._limit = self._make_limit()
            self._enter("reading")
            self._again.set()

    async def run(self) -> None:
        """Feed to the end of the files; after a failure wait for `resume`."""
        fed = self._committer.intake.fed
        if fed is not None:
            self._limit.restore_state(_parse_limit(fed.limit))
        while True:
            self._again = Event()
            try:
                await self._feed()
            except (StreamnetError, OSError) as error:
                logger.error("files of %s: %s", self._committer.journal.folder.parent, error)
                self._enter("failed", str(error))
                await self._again.wait()
            else:
                self._enter("ended")
                return

    def _enter(self, state: FeedState, failure: str | None = None) -> None:
        self.state, self.failure = state, failure
        self._events.add("feed", state=state, failure=failure)

    async def _feed(self) -> None:
        source = self._source = self._make()
        try:
            fed = self._committer.intake.fed
            if fed is not None:
                source.restore_state(fed.state)
            await source.open(None if fed is None else fed.position)
            while (block := await source.receive()) is not None:
                await self._put(source, block)
        finally:
            with CancelScope(shield=True):
                await source.aclose()

    async def _put(self, source: Source, block: Block) -> None:
        start = 0
        while start < len(block) or not start:
            rows = await self._room(block, len(block) - start)
            part = block if rows >= len(block) else block.part(start, start + rows)
            start += max(1, rows)
            part = self._cut(part)
            error = self._limit.count(part)
            limit = _export_limit(self._limit)
            state = source.export_state(part.end)
            frame = await self._worker.run(len(part), build_file_frame, part, state, limit)
            await self._commit(frame)
            if error is not None:
                raise error

    def _cut(self, part: Block) -> Block:
        """The part up to the sample at which too many were rejected before it."""
        cut = self._limit.cut(part)
        if cut is part:
            return part
        # Those behind the one that was too many are told as well: reading goes on behind them.
        told = int(np.count_nonzero(part.places() <= len(cut)))
        return replace(cut, rejected=part.rejected[:told])

    async def _room(self, block: Block, left: int) -> int:
        """Wait until there is room for samples, as many as are worth a frame; how many."""
        widest = max(1, _MAX_VALUES_PER_FRAME // (1 + len(block.schema.fields)))
        wanted = min(left, widest, max(1, self._most // 8))
        while (room := self._most - self._queued()) < max(1, wanted):  # noqa: ASYNC110 - a figure
            await sleep(_POLL_SECONDS)
        return min(left, widest, room)

    async def _commit(self, frame: Frame) -> None:
        """Append a frame; where the disk takes none, wait until it does."""
        before = self._committer.intake.fed
        while True:
            try:
                self._committer.check()
                self._committer.intake.feed(frame)
                await self._committer.commit(frame, durable=False)
            except OutputError:
                while self._committer.failure is not None:  # noqa: ASYNC110 - as above
                    await sleep(_POLL_SECONDS)
                # What could not be written is forgotten; what could is known again.
                if self._committer.intake.fed != before:
                    return
                await sleep(_POLL_SECONDS)
            else:
                return


def _export_limit(limit: RejectionLimit) -> dict[str, Any]:
    state = limit.export_state()
    return state | {"recent": state["recent"].tolist()}


def _parse_limit(values: dict[str, Any]) -> dict[str, Any]:
    return values | {"recent": np.array(values["recent"], np.int64)}

"""Feeds the files of a model's run file into its journal, each record exactly once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, final

import numpy as np
from anyio import CancelScope, Event, sleep
from msgspec.structs import replace

from streamnet.client.schemas import FeedState
from streamnet.daemon.hosting.events import EventLog
from streamnet.daemon.journal.committer import Committer
from streamnet.daemon.journal.frames import Frame, build_file_frame
from streamnet.errors import OutputError, StreamnetError
from streamnet.pipeline.concurrency import Worker
from streamnet.pipeline.rejections import RejectionLimit
from streamnet.samples import Block
from streamnet.sources.base import Source

_LOG = logging.getLogger("streamnet.daemon")

_POLL_SECONDS = 0.02  # between checks for space in the queue, or a disk that recovers
_MAX_VALUES_PER_FRAME = 1 << 18


@final
class Feeder:
    """Reads files and appends their samples to a journal, together with the position in the files.

    Position and samples reach the disk together or not at all, so that the next feeder resumes
    after them. It uses half of the queue and waits for space in it; senders have the other half.
    What makes it fail, such as a changed file, does not stop the model; after `resume` the source
    and the limit of rejected records are built again.

    Args:
        build_source: Builds the source.
        committer: Committer of the journal.
        limit: Builds the limit of rejected records.
        queued: Returns the number of samples waiting to be learned.
        most: Limit of waiting samples.
        events: Log for events.
    """

    def __init__(
        self,
        build_source: Callable[[], Source],
        committer: Committer,
        *,
        limit: Callable[[], RejectionLimit],
        queued: Callable[[], int],
        most: int,
        events: EventLog,
    ) -> None:
        self.state: FeedState = "reading"  # also while it waits
        self.failure: str | None = None
        self._build_source = build_source
        self._committer = committer
        self._build_limit = limit
        self._limit = limit()
        self._queued = queued
        self._most = max(1, most // 2)
        self._events = events
        self._source: Source | None = None
        self._retry = Event()
        self._worker = Worker()

    @property
    def progress(self) -> float | None:
        """Fraction of the files that was read; None if unknown."""
        return None if self._source is None else self._source.progress()

    def resume(self) -> None:
        """Retry after a failure, and forget the records that were rejected before."""
        if self.state == "failed":
            self._limit = self._build_limit()
            self._enter("reading")
            self._retry.set()

    async def run(self) -> None:
        """Feed the files to their end; after a failure, wait for `resume`."""
        head = self._committer.intake.file_head
        if head is not None:
            self._limit.restore_state(_parse_limit(head.limit))
        while True:
            self._retry = Event()
            try:
                await self._feed()
            except (StreamnetError, OSError) as error:
                _LOG.error("files of %s: %s", self._committer.journal.folder.parent, error)
                self._enter("failed", str(error))
                await self._retry.wait()
            else:
                self._enter("ended")
                return

    def _enter(self, state: FeedState, failure: str | None = None) -> None:
        self.state, self.failure = state, failure
        self._events.add("feed", state=state, failure=failure)

    async def _feed(self) -> None:
        source = self._source = self._build_source()
        try:
            head = self._committer.intake.file_head
            if head is not None:
                source.restore_state(head.state)
            await source.open(None if head is None else head.position)
            while (block := await source.receive()) is not None:
                await self._append(source, block)
        finally:
            with CancelScope(shield=True):
                await source.aclose()

    async def _append(self, source: Source, block: Block) -> None:
        start = 0
        while start < len(block) or not start:
            rows = await self._wait_for_space(block, len(block) - start)
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
        """Cut a part where the limit of rejected records is exceeded."""
        cut = self._limit.cut(part)
        if cut is part:
            return part
        # Rejected records after the last one are included: reading resumes after them.
        count = int(np.count_nonzero(part.places() <= len(cut)))
        return replace(cut, rejected=part.rejected[:count])

    async def _wait_for_space(self, block: Block, left: int) -> int:
        """Wait for space in the queue that is worth a frame; return the number of samples."""
        widest = max(1, _MAX_VALUES_PER_FRAME // (1 + len(block.schema.fields)))
        wanted = min(left, widest, max(1, self._most // 8))
        while (space := self._most - self._queued()) < max(1, wanted):  # noqa: ASYNC110 - a number
            await sleep(_POLL_SECONDS)
        return min(left, widest, space)

    async def _commit(self, frame: Frame) -> None:
        """Append a frame; while the disk fails, wait until it recovers."""
        before = self._committer.intake.file_head
        while True:
            try:
                self._committer.check()
                self._committer.intake.feed(frame)
                await self._committer.commit(frame, durable=False)
            except OutputError:
                while self._committer.failure is not None:  # noqa: ASYNC110 - as above
                    await sleep(_POLL_SECONDS)
                # The intake has been rebuilt from what was written.
                if self._committer.intake.file_head != before:
                    return
                await sleep(_POLL_SECONDS)
            else:
                return


def _export_limit(limit: RejectionLimit) -> dict[str, Any]:
    state = limit.export_state()
    return state | {"recent": state["recent"].tolist()}


def _parse_limit(values: dict[str, Any]) -> dict[str, Any]:
    return values | {"recent": np.array(values["recent"], np.int64)}

"""Feeds one stream, or files, into a model's journal, each record exactly once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from operator import itemgetter
from typing import Any, Protocol, final

import numpy as np
from anyio import CancelScope, Event, Lock, create_task_group, move_on_after, sleep, to_thread
from msgspec import json
from msgspec.structs import replace

from streamnet.client.schemas import MAX_ID_LENGTH, Feed, FeedState
from streamnet.daemon.hosting.events import EventLog
from streamnet.daemon.journal.committer import Committer
from streamnet.daemon.journal.delayed_labels import now
from streamnet.daemon.journal.frames import FEED_START, FeedFrameHead, Frame, build_feed_frame
from streamnet.daemon.journal.intake import Intake
from streamnet.errors import OutputError, StreamnetError
from streamnet.pipeline.concurrency import Worker
from streamnet.pipeline.rejections import RejectionLimit
from streamnet.samples import Block, DeadLetter, Schema
from streamnet.sources.base import Reason, Rejection, Source, drop_rejected

_LOG = logging.getLogger("streamnet.daemon")

_POLL_SECONDS = 0.02  # between checks for space in the queue, or a disk that recovers
_MAX_VALUES_PER_FRAME = 1 << 18
_ACKNOWLEDGE_SECONDS = 0.5  # between two messages to a broker about what is in the journal
_END_SECONDS = 2.0  # for the last one


@final
class QueueShare:
    """The share of a model's queue that its feeds use in turn; senders have the rest.

    Args:
        queued: Returns the number of samples waiting to be learned.
        most: Limit of waiting samples for all feeds.
    """

    def __init__(self, queued: Callable[[], int], most: int) -> None:
        self.most: int = max(1, most)
        self._queued = queued
        self._reserved = 0
        self._turn = Lock()

    async def reserve(self, wanted: int) -> int:
        """Wait for space that is worth a frame, and reserve at most that much."""
        least = max(1, min(wanted, self.most // 8))
        async with self._turn:
            while (space := self.most - self._queued() - self._reserved) < least:  # noqa: ASYNC110 - a number
                await sleep(_POLL_SECONDS)
            reserved = min(wanted, space)
            self._reserved += reserved
            return reserved

    def release(self, reserved: int) -> None:
        """Give back what was reserved, and is in the queue by now."""
        self._reserved -= reserved


class Recipient(Protocol):
    """Turns blocks of a feed into frames of the journal."""

    def check(self, block: Block) -> Block:
        """The block, in which records that can't be used are rejected."""

    def prepare(self, block: Block, head: FeedFrameHead) -> Any:
        """Prepare a frame, perhaps in a thread."""

    def accept(self, prepared: Any, intake: Intake) -> Frame:
        """Apply what was prepared to an intake; return the frame that records it."""


@final
class SampleRecipient:
    """Takes samples, to be learned."""

    def __init__(self) -> None:
        self._schema: Schema | None = None  # of the last frame

    def check(self, block: Block) -> Block:
        """All of it: samples that can't be learned were rejected before."""
        return block

    def prepare(self, block: Block, head: FeedFrameHead) -> tuple[Frame, Schema]:
        """Build the frame; it has the schema only if that has changed."""
        if block.schema != self._schema:
            head = head._replace(schema=block.schema)
        return build_feed_frame(block, head), block.schema

    def accept(self, prepared: tuple[Frame, Schema], intake: Intake) -> Frame:
        """Accept the samples."""
        frame, self._schema = prepared
        intake.feed(frame)
        return frame


@final
class LabelRecipient:
    """Takes labels, and joins them with the predictions of their IDs."""

    def __init__(self, identity: str) -> None:
        self._identity = identity

    def check(self, block: Block) -> Block:
        """Reject what has no ID, or one that no prediction can have."""
        (column,) = block.words
        letters = {
            row: self._reject(block, row, f"column {self._identity!r} {problem}")
            for row, identity in enumerate(column)
            if (problem := _find_problem(identity))
        }
        if not letters:
            return block
        places = block.places().tolist()  # of the records that are rejected already
        kept = drop_rejected(replace(block, rejected=()), letters)
        both = sorted(
            [*zip(places, block.rejected, strict=True), *letters.items()], key=itemgetter(0)
        )
        return replace(kept, rejected=tuple(letter for _, letter in both))

    def _reject(self, block: Block, row: int, detail: str) -> DeadLetter:
        assert block.target is not None
        given = {self._identity: block.words[0][row], block.schema.target: block.target[row]}
        raw = json.encode(given, enc_hook=str).decode()
        rejection = Rejection(Reason.MESSAGE, detail)
        return rejection.letter(block.source, block.marks[row], raw)

    def prepare(self, block: Block, head: FeedFrameHead) -> tuple[Block, FeedFrameHead]:
        """Nothing: which labels can be joined is known when they are accepted."""
        return block, head

    def accept(self, prepared: tuple[Block, FeedFrameHead], intake: Intake) -> Frame:
        """Join the labels."""
        block, head = prepared
        assert block.target is not None
        labels = list(zip(block.words[0].tolist(), block.target.tolist(), strict=True))

        def reject(row: int, detail: str) -> DeadLetter:
            return self._reject(block, row, detail)

        return intake.feed_labels(head, labels, block.rejected, reject, now())


def _find_problem(identity: str | None) -> str | None:
    if identity is None:
        return "is missing, but must be the id of a prediction"
    if len(identity) > MAX_ID_LENGTH:
        return f"has {len(identity):,} characters, but must have <= {MAX_ID_LENGTH}"
    return None


@final
class Feeder:
    """Reads a source and appends what it holds to a journal, together with the position in it.

    Position and records reach the disk together or not at all, so that the next feeder resumes
    after them; what is on the disk is acknowledged to the broker. While the queue is full, nothing
    is read. What makes it fail, such as a changed file, does not stop the model; after `resume` the
    source and the limit of rejected records are built again.

    Args:
        name: Name of the feed, and of its stream if it has several.
        build_source: Builds the source.
        recipient: Makes frames of blocks.
        committer: Committer of the journal.
        limit: Builds the limit of rejected records.
        share: The share of the queue.
        events: Log for events.
    """

    def __init__(
        self,
        name: str,
        build_source: Callable[[], Source],
        recipient: Recipient,
        committer: Committer,
        *,
        limit: Callable[[], RejectionLimit],
        share: QueueShare,
        events: EventLog,
    ) -> None:
        self.name = name
        self._state: FeedState = "reading"  # also while it waits
        self._failure: str | None = None  # why it failed
        self._build_source = build_source
        self._recipient = recipient
        self._committer = committer
        self._build_limit = limit
        self._limit = limit()
        self._share = share
        self._events = events
        self._source: Source | None = None
        self._is_open = False
        self._unacknowledged: tuple[Source, dict[str, Any]] | None = None
        self._appended = Event()
        self._retry = Event()
        self._running = Event()  # set unless paused
        self._running.set()
        self._worker = Worker()

    def describe(self) -> Feed:
        """How far it is, and what keeps it from reading."""
        source, position = self._source, self._committer.intake.feeds.get(self.name, FEED_START)
        place = position.position
        is_paused = self._state == "reading" and not self._running.is_set()
        is_live = source is not None and self._state == "reading"
        problem = source.failure if source is not None and is_live else None
        return Feed(
            name=self.name,
            state="paused" if is_paused else self._state,
            failure=self._failure or problem,
            connected=self._is_open and problem is None,
            records=position.records,
            stream=place.source.encode(errors="replace").decode() or None,
            offset=place.offset if place.source else None,
            line=place.line or None,
            progress=None if source is None else source.progress(),
            lag=source.lag() if source is not None and is_live else None,
        )

    def pause(self) -> None:
        """Read nothing more until `resume`."""
        if self._running.is_set():
            self._running = Event()

    def resume(self) -> None:
        """Read on, also after a failure; then records that were rejected before are forgotten."""
        self._running.set()
        if self._state == "failed":
            self._limit = self._build_limit()
            self._enter("reading")
            self._retry.set()

    async def run(self) -> None:
        """Feed the source to its end; after a failure, wait for `resume`."""
        feed = self._committer.intake.feeds.get(self.name)
        if feed is not None:
            self._limit.restore_state(_parse_limit(feed.limit))
        async with create_task_group() as group:
            group.start_soon(self._acknowledge_on)
            while self._state != "ended":
                self._retry = Event()
                try:
                    await self._feed()
                except (StreamnetError, OSError) as error:
                    folder = self._committer.journal.folder.parent
                    _LOG.error("feed %s of %s: %s", self.name, folder, error)
                    self._enter("failed", str(error))
                    await self._retry.wait()
                else:
                    self._enter("ended")
            group.cancel_scope.cancel()

    def _enter(self, state: FeedState, failure: str | None = None) -> None:
        self._state, self._failure = state, failure
        self._events.add("feed", feed=self.name, state=state, failure=failure)

    async def _feed(self) -> None:
        source = self._source = self._build_source()
        try:
            feed = self._committer.intake.feeds.get(self.name)
            if feed is not None:
                source.restore_state(feed.state)
            await source.open(None if feed is None else feed.position)
            self._is_open = True
            while (block := await self._receive(source)) is not None:
                await self._append(source, self._recipient.check(block))
        finally:
            self._is_open = False
            with CancelScope(shield=True):
                with move_on_after(_END_SECONDS):
                    await self._acknowledge()
                self._unacknowledged = None
                await source.aclose()

    async def _receive(self, source: Source) -> Block | None:
        await self._running.wait()
        return await source.receive()

    # ----------------------------------------------------------------------- frames

    async def _append(self, source: Source, block: Block) -> None:
        start = 0
        while start < len(block) or not start:
            wanted = max(1, min(len(block) - start, _count_rows_per_frame(block)))
            reserved = await self._share.reserve(wanted)
            try:
                part = block if reserved >= len(block) else block.part(start, start + reserved)
                await self._append_part(source, part)
            finally:
                self._share.release(reserved)
            start += reserved

    async def _append_part(self, source: Source, part: Block) -> None:
        part = self._cut(part)
        error = self._limit.count(part)
        state = source.export_state(part.end)
        before = self._committer.intake.feeds.get(self.name, FEED_START).state
        limit = _export_limit(self._limit)
        head = FeedFrameHead.build(self.name, part, state, limit, before)
        prepared = await self._worker.run(len(part), self._recipient.prepare, part, head)
        await self._commit(prepared)
        self._unacknowledged = source, state
        self._appended.set()
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

    async def _commit(self, prepared: Any) -> None:
        """Append a frame; while the disk fails, wait until it recovers."""
        committer = self._committer
        before = committer.intake.feeds.get(self.name)
        while True:
            try:
                committer.check()
                frame = self._recipient.accept(prepared, committer.intake)
                await committer.commit(frame, durable=False)
            except OutputError:
                while committer.failure is not None:  # noqa: ASYNC110 - a number
                    await sleep(_POLL_SECONDS)
                # The intake has been rebuilt from what was written.
                if committer.intake.feeds.get(self.name) != before:
                    return
                await sleep(_POLL_SECONDS)
            else:
                return

    # -------------------------------------------------------------- acknowledgements

    async def _acknowledge_on(self) -> None:
        """Acknowledge to the broker what is on the disk, until cancelled."""
        while True:
            await self._appended.wait()
            self._appended = Event()
            await sleep(_ACKNOWLEDGE_SECONDS)
            if not await self._acknowledge():
                self._appended.set()

    async def _acknowledge(self) -> bool:
        """Acknowledge to the broker what is on the disk; return whether nothing is left."""
        given = self._unacknowledged
        if given is None:
            return True
        try:
            await self._committer.commit(None, durable=True)
        except StreamnetError:  # logged by the committer
            return False
        source, state = given
        await to_thread.run_sync(source.commit, state)
        if self._unacknowledged is given:
            self._unacknowledged = None
        return True


def _count_rows_per_frame(block: Block) -> int:
    return max(1, _MAX_VALUES_PER_FRAME // (1 + len(block.schema.fields)))


def _export_limit(limit: RejectionLimit) -> dict[str, Any]:
    state = limit.export_state()
    return state | {"recent": state["recent"].tolist()}


def _parse_limit(values: dict[str, Any]) -> dict[str, Any]:
    return values | {"recent": np.array(values["recent"], np.int64)}

"""Group commit: many senders share one write and one fsync of the journal."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, final

from anyio import Event, create_task_group, move_on_after, sleep, to_thread

from streamnet.daemon.journal.frames import Frame
from streamnet.daemon.journal.intake import Intake
from streamnet.daemon.journal.segments import Journal
from streamnet.durability import checkpoint
from streamnet.errors import ClosedError, OutputError
from streamnet.pipeline.concurrency import Worker

__all__ = ("Committer",)

logger = logging.getLogger("streamnet.daemon")

_MAX_SYNC_DELAY = 0.1  # seconds until what nobody waits for is on the disk
_RETRY_SECONDS = 0.25  # seconds until the next try after a failure
_CLOSED_MESSAGE = "the model ends, and takes nothing more"
_MAX_PROBE_BYTES = (
    1 << 16
)  # bytes: a large batch for which there is no room keeps out no small ones
_BYTES_PER_WORK_UNIT = 4096  # bytes that are reckoned as one piece of work


class _PendingCommit(NamedTuple):
    """A sender who waits until frame number ``number`` is written, or on the disk."""

    number: int
    durable: bool
    done: Event
    failure: list[OSError]  # why it came to nothing; empty if it did not


@final
class Committer:
    """Appends frames in the order in which they come. While one fsync runs, the next is filled.

    The intake is changed before its frames are written; where that fails, all senders of frames
    that are not written are told so, and the intake is made again from what is in the journal.

    Args:
        journal: It is opened and closed here.
        make: Makes an intake that knows nothing yet.

    Attributes:
        intake: What all frames, also those on their way, have led to.
        failure: Why nothing can be taken just now.

    >>> import anyio, tempfile
    >>> from pathlib import Path
    >>> async def main():
    ...     journal = Journal(Path(tempfile.mkdtemp()))
    ...     committer = Committer(journal, lambda: Intake(target="y"))
    ...     await committer.open()
    ...     async with anyio.create_task_group() as group:
    ...         group.start_soon(committer.run)
    ...         committer.check()
    ...         receipt, frame = committer.intake.take(b'{"x": 1}', 1)
    ...         await committer.commit(frame, durable=True)
    ...         committer.stop()
    ...     return receipt.last, journal.samples, journal.synced == journal.end
    >>> anyio.run(main)
    (0, 1, True)
    """

    def __init__(self, journal: Journal, make: Callable[[], Intake]) -> None:
        self.journal = journal
        self.intake = make()
        self.failure: OSError | None = None
        self._make = make
        self._frames: list[Frame] = []  # taken, not written
        self._taken = self._written = self._synced = 0  # frames so far
        self._size = 0  # bytes that were to be written last
        self._sync_fails = False
        self._to_write: deque[_PendingCommit] = deque()
        self._to_sync: deque[_PendingCommit] = deque()
        self._stopping = False
        self._came = Event()
        self._grew = Event()
        self._dirty = Event()
        self._urgent = Event()
        self._ended = False  # nothing more will be written
        self._worker = Worker()

    async def open(self) -> None:
        """Go on with what is in the journal.

        Raises:
            StateError: If it is damaged.
            OSError: If it can't be read or written.
        """
        await to_thread.run_sync(self.journal.open, self.intake.snapshot())
        wanted = self.intake.bounds
        self.intake = await to_thread.run_sync(self._replay_frames)
        if self.intake.bounds != wanted:
            self.intake.limit(wanted)
            # A snapshot tells under which bounds the frames behind it were taken.
            await to_thread.run_sync(self.journal.roll, self.intake.snapshot())

    def _replay_frames(self) -> Intake:
        intake = self._make()
        for frame in self.journal.since_snapshot():
            intake.apply(frame)
        return intake

    # -------------------------------------------------------------- senders

    def check(self) -> None:
        """Ask before the intake is changed whether its frame could be written.

        Raises:
            OutputError: If that is known to fail.
            ClosedError: If this has stopped.
        """
        if self._stopping:
            raise ClosedError(_CLOSED_MESSAGE)
        if self.failure is not None:
            raise OutputError(self._why(self.failure))

    @property
    def refuses(self) -> bool:
        """Whether what is to be on the disk would be refused just now."""
        return self.failure is not None or self._sync_fails

    async def commit(self, frame: Frame | None, *, durable: bool) -> None:
        """Take a frame that the intake has just given, and wait until it is written.

        No await may lie between the two. Without a frame, wait for all before.

        Args:
            frame: It goes behind all that were taken before.
            durable: Wait until it is on the disk, too.

        Raises:
            OutputError: If it can't be written; not durable, it may be there all the same.
            ClosedError: If this ended first, of which the same is true.
        """
        if frame is not None:
            self._frames.append(frame)
            self._taken += 1
            self._came.set()
        if (self._synced if durable else self._written) == self._taken:
            return
        waiting = _PendingCommit(self._taken, durable, Event(), [])
        (self._to_sync if self._written == self._taken else self._to_write).append(waiting)
        if durable:
            self._urgent.set()
        await waiting.done.wait()
        if waiting.failure:
            raise OutputError(self._why(waiting.failure[0])) from waiting.failure[0]
        if self._ended and (self._synced if durable else self._written) < waiting.number:
            raise ClosedError(_CLOSED_MESSAGE)

    def _why(self, error: OSError) -> str:
        return f"journal {self.journal.folder}: {error.strerror or error}"

    async def grown(self, offset: int) -> None:
        """Wait until the journal reaches beyond an offset."""
        while self.journal.end <= offset:
            await self._grew.wait()

    # -------------------------------------------------------------- running

    async def run(self) -> None:
        """Write and sync until `stop`; then what was taken is on the disk."""
        try:
            async with create_task_group() as group:
                group.start_soon(self._write)
                group.start_soon(self._sync)
        finally:  # cancelled, it leaves senders behind who would wait for ever
            self._stopping = self._ended = True
            for waiting in (*self._to_write, *self._to_sync):
                waiting.done.set()

    def stop(self) -> None:
        """Take no more frames, and end `run` when all are on the disk or failed."""
        self._stopping = True
        self._came.set()

    async def _write(self) -> None:
        while self._frames or not self._stopping:
            self._came = Event()
            if not self._frames:
                await self._came.wait()
                continue
            try:
                await self._write_some()
            except OSError as error:
                await self._recover(error)
        self._ended = True
        self._dirty.set()

    async def _write_some(self) -> None:
        frames, self._frames = self._frames, []
        # Now, since meanwhile the intake goes on.
        state = self.intake.export_state() if self.journal.is_full else None
        self._size = sum(frame.size for frame in frames)
        if self.journal.waits_for_sync:
            await to_thread.run_sync(self.journal.sync)
        await self._worker.run(self._size / _BYTES_PER_WORK_UNIT, self.journal.append, frames)
        self._written += len(frames)
        self._tell_written()
        if state is not None:
            snapshot = await to_thread.run_sync(checkpoint.encode, state)
            await to_thread.run_sync(self.journal.roll, snapshot)

    def _tell_written(self) -> None:
        grew, self._grew = self._grew, Event()
        grew.set()
        self._dirty.set()
        while self._to_write and self._to_write[0].number <= self._written:
            waiting = self._to_write.popleft()
            if waiting.durable:
                self._to_sync.append(waiting)
                self._urgent.set()
            else:
                waiting.done.set()

    async def _recover(self, error: OSError) -> None:
        """Refuse all that is not written, and go back to what is."""
        logger.warning("%s; nothing more is taken until it can be written", self._why(error))
        self.failure = error
        self._frames.clear()
        self._taken = self._written
        _fail_all(self._to_write, error)
        while self.failure is not None and not self._stopping:
            await sleep(_RETRY_SECONDS)
            with suppress(OSError):
                await to_thread.run_sync(self.journal.probe, min(self._size, _MAX_PROBE_BYTES))
                self.intake = await to_thread.run_sync(self._replay_frames)
                self.failure = None

    async def _sync(self) -> None:
        while not (self._ended and self._synced == self._written):
            await self._dirty.wait()
            self._dirty = Event()
            if not (self._to_sync or self._stopping):
                with move_on_after(_MAX_SYNC_DELAY):
                    await self._urgent.wait()
            self._urgent = Event()
            written = self._written
            try:
                await to_thread.run_sync(self.journal.sync)
            except OSError as error:
                if not self._sync_fails:  # once, though it may be tried for days
                    logger.warning("%s; it is tried again", self._why(error))
                self._sync_fails = True
                _fail_all(self._to_sync, error)
                if self._ended:
                    return
                await sleep(_RETRY_SECONDS)
                self._dirty.set()
                continue
            self._sync_fails, self._synced = False, written
            while self._to_sync and self._to_sync[0].number <= written:
                self._to_sync.popleft().done.set()


def _fail_all(waiting: deque[_PendingCommit], error: OSError) -> None:
    while waiting:
        one = waiting.popleft()
        one.failure.append(error)
        one.done.set()

"""Group commit: many senders share one write and one fsync of the journal."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, final

from anyio import Event, create_task_group, move_on_after, sleep, to_thread

from streamnet.daemon.journal.commit_log import CommitLog
from streamnet.daemon.journal.delayed_labels import now
from streamnet.daemon.journal.frames import Frame
from streamnet.daemon.journal.intake import Intake
from streamnet.daemon.journal.segments import Journal
from streamnet.durability import checkpoint
from streamnet.errors import ClosedError, OutputError
from streamnet.pipeline.concurrency import Worker

_LOG = logging.getLogger("streamnet.daemon")

_MAX_SYNC_DELAY = 0.1  # seconds until a sync without waiters
_RETRY_SECONDS = 0.25  # after a failure
_CLOSED_MESSAGE = "the model is stopping and accepts nothing more"
_MAX_PROBE_BYTES = 1 << 16  # a large batch that doesn't fit must not keep small ones out
_BYTES_PER_WORK_UNIT = 4096  # to estimate the work


class _PendingCommit(NamedTuple):
    """A sender that waits until frame ``number`` is written, or on the disk."""

    number: int
    durable: bool
    done: Event
    failure: list[OSError]  # why it failed; empty if it did not


@final
class Committer:
    """Appends frames in order; while one fsync runs, frames gather for the next.

    The intake changes before its frames are written. If writing fails, all senders whose frames are
    not written get an error, and the intake is rebuilt from the journal. With a ``log``, journals
    share its fsync.

    >>> import anyio, tempfile
    >>> from pathlib import Path
    >>> async def main():
    ...     journal = Journal(Path(tempfile.mkdtemp()))
    ...     committer = Committer(journal, lambda: Intake("y"))
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

    def __init__(
        self, journal: Journal, build_intake: Callable[[], Intake], log: CommitLog | None = None
    ) -> None:
        self.journal = journal
        self._log = log
        self.intake: Intake = build_intake()  # what all frames lead to, written or not
        self.failure: OSError | None = None  # why nothing is accepted now
        self._build_intake = build_intake
        self._frames: list[Frame] = []  # accepted, not written
        self._taken = self._written = self._synced = 0  # frames so far
        self._size = 0  # bytes of the last write
        self._sync_failure: OSError | None = None
        self._to_write: deque[_PendingCommit] = deque()
        self._to_sync: deque[_PendingCommit] = deque()
        self._stopping = False
        self._arrived = Event()
        self._grown = Event()
        self._dirty = Event()
        self._urgent = Event()
        self._ended = False  # whether nothing more will be written
        self._worker = Worker()

    async def open(self) -> None:
        """Open the journal and rebuild the intake from it."""
        await to_thread.run_sync(self.journal.open, self.intake.snapshot())
        if self._log is not None:
            await to_thread.run_sync(self.journal.identify)
        wanted = self.intake.bounds
        self.intake = await to_thread.run_sync(self._replay_frames)
        if self.intake.bounds != wanted:
            frame = self.intake.limit(wanted)
            if frame is not None:
                await to_thread.run_sync(self.journal.append, [frame])
                self.intake.apply(frame)
            # A snapshot records the bounds that the frames after it were accepted with.
            await to_thread.run_sync(self.journal.roll, self.intake.snapshot())

    def _replay_frames(self) -> Intake:
        intake = self._build_intake()
        for frame in self.journal.read_since_snapshot():
            intake.apply(frame)
        return intake

    # -------------------------------------------------------------- senders

    def check(self) -> None:
        """Check that frames can be written; to be called before the intake is changed."""
        if self._stopping:
            raise ClosedError(_CLOSED_MESSAGE)
        if self.failure is not None:
            raise OutputError(self._describe(self.failure))

    @property
    def refuses(self) -> bool:
        """Whether durable commits fail now."""
        return self.failure is not None or self._sync_failure is not None

    @property
    def problem(self) -> str | None:
        """Why durable commits fail now, in words."""
        error = self.failure or self._sync_failure
        return None if error is None else self._describe(error)

    async def commit(self, frame: Frame | None, *, durable: bool) -> None:
        """Commit a frame that the intake has just returned, with no await in between.

        Waits until it, or with None every earlier one, is written, or ``durable`` on the disk.

        Raises:
            OutputError: If it can't be written; if it can't be synced, it may still be there.
            ClosedError: If the committer stopped first; it may still be there, too.
        """
        if frame is not None:
            self._frames.append(frame._replace(time=now()))
            self._taken += 1
            self._arrived.set()
        if (self._synced if durable else self._written) == self._taken:
            return
        waiting = _PendingCommit(self._taken, durable, Event(), [])
        (self._to_sync if self._written == self._taken else self._to_write).append(waiting)
        if durable:
            self._urgent.set()
        await waiting.done.wait()
        if waiting.failure:
            raise OutputError(self._describe(waiting.failure[0])) from waiting.failure[0]
        if self._ended and (self._synced if durable else self._written) < waiting.number:
            raise ClosedError(_CLOSED_MESSAGE)

    def _describe(self, error: OSError) -> str:
        return f"journal {self.journal.folder}: {error.strerror or error}"

    def _warn(self, error: OSError, consequence: str) -> None:
        extra = {"model": self.journal.folder.parent.name}
        _LOG.warning("%s; %s", self._describe(error), consequence, extra=extra)

    async def wait_beyond(self, offset: int) -> None:
        """Wait until the journal extends beyond an offset."""
        while self.journal.end <= offset:
            await self._grown.wait()

    # -------------------------------------------------------------- running

    async def run(self) -> None:
        """Write and sync until `stop`; in the end everything accepted is on the disk."""
        try:
            async with create_task_group() as group:
                group.start_soon(self._write)
                group.start_soon(self._sync)
        finally:  # release the senders, also if cancelled
            self._stopping = self._ended = True
            for waiting in (*self._to_write, *self._to_sync):
                waiting.done.set()

    def stop(self) -> None:
        """Accept no more frames, and end `run` once all are on the disk or have failed."""
        self._stopping = True
        self._arrived.set()

    async def _write(self) -> None:
        while self._frames or not self._stopping:
            self._arrived = Event()
            if not self._frames:
                await self._arrived.wait()
                continue
            try:
                await self._write_some()
            except OSError as error:
                await self._recover(error)
        self._ended = True
        self._dirty.set()

    async def _write_some(self) -> None:
        frames, self._frames = self._frames, []
        # Exported now, since the intake changes while the frames are written.
        state = self.intake.export_state() if self.journal.is_full else None
        self._size = sum(frame.size for frame in frames)
        if self.journal.needs_sync:
            await to_thread.run_sync(self.journal.sync)
        await self._worker.run(self._size / _BYTES_PER_WORK_UNIT, self.journal.append, frames)
        self._written += len(frames)
        self._notify_written()
        if state is not None:
            snapshot = await to_thread.run_sync(checkpoint.encode, state)
            await to_thread.run_sync(self.journal.roll, snapshot)

    def _notify_written(self) -> None:
        grown, self._grown = self._grown, Event()
        grown.set()
        self._dirty.set()
        while self._to_write and self._to_write[0].number <= self._written:
            waiting = self._to_write.popleft()
            if waiting.durable:
                self._to_sync.append(waiting)
                self._urgent.set()
            else:
                waiting.done.set()

    async def _recover(self, error: OSError) -> None:
        """Fail everything that is not written, and rebuild the intake from what is."""
        self._warn(error, "nothing is accepted until it can be written")
        self.failure = error
        self._frames.clear()
        self._taken = self._written
        _fail_all(self._to_write, error)
        is_rebuilt = False
        with suppress(OSError):  # at once: what was refused counts no longer
            self.intake = await to_thread.run_sync(self._replay_frames)
            is_rebuilt = True
        while self.failure is not None and not self._stopping:
            await sleep(_RETRY_SECONDS)
            with suppress(OSError):
                await to_thread.run_sync(self.journal.probe, min(self._size, _MAX_PROBE_BYTES))
                if not is_rebuilt:
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
                await self._make_durable()
            except OSError as error:
                if self._sync_failure is None:  # logged once, though retries may take days
                    self._warn(error, "retrying")
                self._sync_failure = error
                _fail_all(self._to_sync, error)
                if self._ended:
                    return
                await sleep(_RETRY_SECONDS)
                self._dirty.set()
                continue
            self._sync_failure, self._synced = None, written
            while self._to_sync and self._to_sync[0].number <= written:
                self._to_sync.popleft().done.set()
        # The folder may be moved now, which the log must not matter to.
        try:
            await to_thread.run_sync(self.journal.sync)
        except OSError as error:
            self._warn(error, "the log keeps what it lacks")

    async def _make_durable(self) -> None:
        if self._log is None:
            await to_thread.run_sync(self.journal.sync)
        else:
            await self._log.commit(self.journal)


def _fail_all(waiting: deque[_PendingCommit], error: OSError) -> None:
    while waiting:
        commit = waiting.popleft()
        commit.failure.append(error)
        commit.done.set()

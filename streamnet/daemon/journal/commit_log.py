"""The log of a daemon: one write and one fsync make the journals of many models durable."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import NamedTuple, final

from anyio import Event, create_task_group, move_on_after, sleep, to_thread
from msgspec import json

from streamnet.daemon.journal.frames import Frame, FrameKind, decode_frames, encode_frame
from streamnet.daemon.journal.segments import IDENTITY_FILE, Journal, JournalPart
from streamnet.durability.files import DISK, FileSystem, write_all

_LOG = logging.getLogger("streamnet.daemon")

FOLDER_NAME = ".commits"  # not a valid name of a model
_FILE_NAME = re.compile(r"[0-9]{16}\.log")
_MAX_FILE_BYTES = 8 << 20
_MAX_FILE_AGE = 60.0  # seconds
_MAX_PART_BYTES = 64 << 10  # of one journal; one with more is synced itself, not written twice
_RETRY_SECONDS = 1.0


class _Head(NamedTuple):
    """Whose bytes a frame of the log has."""

    folder: str  # of the journal, relative to that of all models
    identity: str  # of the journal: after a reset, another one has its name
    segment: str  # name of the file
    offset: int  # in the file


class _Commit(NamedTuple):
    """A journal that is to be made durable."""

    journal: Journal
    done: Event
    failure: list[OSError]  # why it failed; empty if it did not


@dataclass
class _LogFile:
    path: Path
    handle: int
    begun: float
    size: int = 0
    journals: set[Journal] = field(default_factory=set)


@final
class CommitLog:
    """Makes journals durable together; each is synced itself only now and then.

    What journals have that is not on the disk is copied to a file, and that file is synced. Once it
    has some megabytes, or is a minute old, another one begins; then the journals themselves are
    synced, and the old file is removed. So a folder of a model is complete by itself but after
    a power cut, until `recover` has appended what journals had lost. If the log can't be written,
    journals are synced one by one.

    Args:
        folder: The folder of all models.
        files: The file system.
        max_file_bytes: Bytes of a file after which another one begins.
        clock: A monotonic clock, in seconds.

    >>> import anyio, tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "spam").mkdir()
    >>> async def main():
    ...     log, journal = CommitLog(folder), Journal(folder / "spam")
    ...     journal.open(b"snapshot")
    ...     journal.identify()
    ...     journal.append([Frame(FrameKind.SAMPLES, b"", b'{"x": 1}' + bytes([10]), 1)])
    ...     async with anyio.create_task_group() as group:
    ...         group.start_soon(log.run)
    ...         await anyio.wait_all_tasks_blocked()
    ...         await log.commit(journal)
    ...         group.cancel_scope.cancel()
    ...     journal.close()
    >>> anyio.run(main)
    """

    def __init__(
        self,
        folder: Path,
        *,
        files: FileSystem = DISK,
        max_file_bytes: int = _MAX_FILE_BYTES,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._models, self._folder = folder, folder / FOLDER_NAME
        self._files, self._clock = files, clock
        self._max_file_bytes = max_file_bytes
        self._commits: list[_Commit] = []
        self._arrived = Event()
        self._runs = False
        self._number = 0  # of the newest file
        self._file: _LogFile | None = None
        self._logged: dict[Journal, int] = {}  # offset up to which the log has each
        self._retired: list[_LogFile] = []  # whose journals are to be synced
        self._has_retired = Event()
        self._is_damaged = False  # whether writing failed, until the journals are synced
        self._is_failing = False  # likewise, until something is written

    # ------------------------------------------------------------ committing

    async def commit(self, journal: Journal) -> None:
        """Make durable what was appended to a journal; raises OSError if that fails."""
        unlogged = journal.end - max(journal.synced, self._logged.get(journal, 0))
        if unlogged > _MAX_PART_BYTES or self._is_damaged or not self._runs:
            await to_thread.run_sync(journal.sync)
            return
        commit = _Commit(journal, Event(), [])
        self._commits.append(commit)
        self._arrived.set()
        await commit.done.wait()
        if commit.failure:
            raise commit.failure[0]

    async def run(self) -> None:
        """Commit until cancelled."""
        self._runs = True
        try:
            async with create_task_group() as group:
                group.start_soon(self._settle)
                await self._commit_all()
        finally:
            self._runs = False
            for commit in self._commits:
                commit.failure.append(OSError("the daemon is stopping"))
                commit.done.set()
            self._retire()
            self._settle_retired()

    async def _commit_all(self) -> None:
        while True:
            self._arrived = Event()
            if not self._commits:
                with move_on_after(_MAX_FILE_AGE):
                    await self._arrived.wait()
            commits = list(self._commits)
            journals = list({commit.journal: None for commit in commits})
            failures = await to_thread.run_sync(self._write, journals) if journals else {}
            del self._commits[: len(commits)]  # only now: if cancelled, `run` tells all
            for commit in commits:
                if (failure := failures.get(commit.journal)) is not None:
                    commit.failure.append(failure)
                commit.done.set()
            if self._is_damaged or self._is_full():
                self._retire()

    def _is_full(self) -> bool:
        if self._file is None:
            return False
        is_old = self._clock() - self._file.begun >= _MAX_FILE_AGE
        return is_old or self._file.size >= self._max_file_bytes

    def _write(self, journals: Sequence[Journal]) -> dict[Journal, OSError]:
        """Make journals durable; return why it failed for some."""
        failures: dict[Journal, OSError] = {}
        parts: dict[Journal, JournalPart] = {}
        for journal in journals:
            try:
                part = journal.read_unsynced(self._logged.get(journal, 0))
            except OSError as error:
                failures[journal] = error
                continue
            if part is not None:
                parts[journal] = part
        if not parts:
            return failures
        try:
            self._append(parts)
        except OSError as error:
            self._note_damage(error)
            for journal in parts:
                try:
                    journal.sync()
                except OSError as failure:
                    failures[journal] = failure
        return failures

    def _note_damage(self, error: OSError) -> None:
        """Write no more to the file until its journals are synced, and then to another one."""
        if not self._is_failing:
            why = error.strerror or error
            _LOG.warning("%s: %s; journals are synced one by one", self._folder, why)
        self._is_damaged = self._is_failing = True

    def _append(self, parts: dict[Journal, JournalPart]) -> None:
        if self._file is None:
            self._file = self._begin()
        frames = []
        for journal, part in parts.items():
            folder = journal.folder.relative_to(self._models)
            head = _Head(str(folder), journal.identity, part.segment.name, part.offset)
            frames.append(encode_frame(Frame(FrameKind.PART, json.encode(head), part.data)))
        data = b"".join(frames)
        # Also what may not be there: if the write fails, journals are synced before it is removed.
        self._file.journals |= parts.keys()
        write_all(self._files, self._file.handle, data)
        self._files.fsync(self._file.handle)
        self._is_failing = False
        self._file.size += len(data)
        for journal, part in parts.items():
            self._logged[journal] = part.segment.base + part.offset + len(part.data)

    def _begin(self) -> _LogFile:
        self._files.make_dir(self._folder)
        self._files.fsync_dir(self._models)
        self._number += 1
        path = self._folder / f"{self._number:016d}.log"
        handle = self._files.open_new(path)
        try:
            self._files.fsync_dir(self._folder)
        except BaseException:
            self._files.close(handle)
            raise
        return _LogFile(path, handle, self._clock())

    # -------------------------------------------------------------- settling

    def _retire(self) -> None:
        """Let the next write begin another file."""
        if self._file is not None:
            self._retired.append(self._file)
            self._file = None
        self._has_retired.set()

    async def _settle(self) -> None:
        while True:
            await self._has_retired.wait()
            self._has_retired = Event()
            if self._is_damaged:
                await sleep(_RETRY_SECONDS)
            while not await to_thread.run_sync(self._settle_retired):  # noqa: ASYNC110 - of a disk
                await sleep(_RETRY_SECONDS)

    def _settle_retired(self) -> bool:
        """Sync the journals of retired files and remove these; False if that is to be retried."""
        while self._retired:
            file = self._retired[0]
            try:
                for journal in file.journals:
                    journal.sync()
            except OSError:
                return False  # the file keeps it; checkpoints need it, and tell
            self._files.close(file.handle)
            # A journal that was closed before it could be synced is recovered by the next start.
            if all(journal.synced == journal.end for journal in file.journals):
                with suppress(OSError):
                    self._files.unlink(file.path)
            del self._retired[0]
            kept = self._file.journals if self._file is not None else set()
            for journal in file.journals - kept:
                self._logged.pop(journal, None)
        self._is_damaged = False
        return True

    # -------------------------------------------------------------- recovery

    def recover(self) -> None:
        """Append to journals what they have lost in a power cut; before any of them is opened.

        Raises:
            StateError: If the log was written by a later version.
            OSError: If the disk fails.
        """
        paths = [
            self._folder / name
            for name in self._files.names(self._folder)
            if _FILE_NAME.fullmatch(name)
        ]
        lost: dict[Path, list[tuple[int, bytes]]] = {}
        for path in paths:
            self._number = max(self._number, int(path.stem))
            for head, data in _read_parts(self._files.read(path)):
                folder = self._models / head.folder
                if self._read_identity(folder) == head.identity:
                    lost.setdefault(folder / head.segment, []).append((head.offset, data))
        for path, parts in lost.items():
            # Otherwise all models have learned from its samples.
            if path.name in self._files.names(path.parent):
                self._restore(path, parts)
        for path in paths:
            self._files.unlink(path)
        if paths:
            self._files.fsync_dir(self._folder)

    def _read_identity(self, folder: Path) -> str | None:
        with suppress(FileNotFoundError, NotADirectoryError):
            return self._files.read(folder / IDENTITY_FILE).decode("ascii", "replace")
        return None

    def _restore(self, path: Path, parts: Sequence[tuple[int, bytes]]) -> None:
        """Write parts of a file again, from the first one on that differs."""
        start, size = parts[0][0], self._files.size(path)
        whole, differs = bytearray(self._files.read_part(path, start, size)), None
        for offset, data in parts:
            at = offset - start
            if start > size or not 0 <= at <= len(whole):
                _LOG.warning("%s ends before byte %d: it is another copy", path, offset)
                break
            if whole[at : at + len(data)] != data:
                whole[at:] = data  # what followed was not durable
                differs = at if differs is None else min(differs, at)
        if differs is None:
            return
        _LOG.warning("%s: its last %d bytes are recovered", path, len(whole) - differs)
        handle = self._files.open_truncated_at(path, start + differs)
        try:
            write_all(self._files, handle, bytes(whole[differs:]))
            self._files.fsync(handle)
        finally:
            self._files.close(handle)


def _read_parts(data: bytes) -> Iterator[tuple[_Head, bytes]]:
    for _, frame in decode_frames(data):
        yield json.decode(frame.head, type=_Head), frame.body

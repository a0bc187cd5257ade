"""`TailStream`: the bytes of a growing file, across rotation, truncation and deletion."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from io import FileIO
from pathlib import Path
from time import monotonic
from typing import Any, final

from anyio import sleep, to_thread

from streamnet.sources.files.compression import MAGIC
from streamnet.sources.files.fingerprints import FINGERPRINT_BYTES, digest

__all__ = ("TailStream", "find_rotated_since")

FIRST_PAUSE = 0.05  # seconds before looking again, growing up to the longest
LONGEST_PAUSE = 0.4
PAUSE_GROWTH = 1.5
LEAVING = 0.6  # seconds without growth after which a file that was renamed is left

_ROTATED = re.compile(r"[.-][0-9][0-9T:._-]*")


@final
class TailStream:
    """The bytes of one file, as long as it is the one under its name.

    It ends when another file has taken its name and it was read to its end; but where that one
    continues it (its first bytes and the last ones read stand in it at their places), reading goes
    on there. A file that has shrunk, or has other bytes before the place, is looked for under the
    names of rotated files, such as ``log.1``; if it is not there, it ends with a gap. One that is
    deleted is waited for.

    A file that was renamed is left when it has not grown for 0.6 seconds.

    Args:
        path: Name of the file; it need not exist yet.
        chunk_bytes: How much is read at once.
        mark: What the file looked like at a place, see `Trace.mark`; None begins at its start.

    Attributes:
        ended: No more bytes will come.
        failure: Why it can't be read, None if it can.
        transient: That may be over when the file is opened again.
        gap: What was lost, None if nothing was.
        raw: Bytes read.
        size: Bytes of the file, when it was looked at last.
    """

    live = True
    packed = False

    def __init__(self, path: str, chunk_bytes: int, mark: Mapping[str, Any] | None = None) -> None:
        self.name = path
        self.ended = False
        self.failure: str | None = None
        self.transient = False
        self.gap: str | None = None
        self.raw = 0
        self.size: int | None = 0
        self.status: os.stat_result | None = None  # of the file that is read
        self._chunk_bytes = chunk_bytes
        self._mark = mark
        self._file: FileIO | None = None
        self._first = b""
        self._tail = b""  # bytes before the place
        self._grew = monotonic()

    @property
    def unpacked(self) -> int:
        """Bytes read: nothing is packed."""
        return self.raw

    async def wait(self) -> None:
        """Wait until there is something to read, or the end. Being cancelled loses nothing."""
        pause = FIRST_PAUSE
        while not await to_thread.run_sync(self._look):
            await sleep(pause)
            pause = min(PAUSE_GROWTH * pause, LONGEST_PAUSE)

    def read(self) -> bytes:
        """Some more bytes, none if there are none yet."""
        if self.ended or self._file is None:
            return b""
        try:
            more = os.pread(self._file.fileno(), self._chunk_bytes, self.raw)
            # Whatever happened before those bytes were read shows now.
            if more and not self._is_same(self._file):
                self._lose(f"has other content before byte {self.raw}, up to where it was read")
                return b""
        except OSError as error:
            self._fail(f"can't be read on ({error.strerror})", transient=True)
            return b""
        self.raw += len(more)
        self.size = max(self.size or 0, self.raw)
        self._first += more[: FINGERPRINT_BYTES - len(self._first)]
        self._tail = (self._tail + more)[-FINGERPRINT_BYTES:]
        return more

    def skip_to(self, offset: int) -> bool:
        """Go on at ``offset``."""
        if self._file is None or offset > (self.size or 0):
            return False
        start = max(0, offset - FINGERPRINT_BYTES)
        try:
            self._tail = os.pread(self._file.fileno(), offset - start, start)
        except OSError:
            return False
        self.raw = offset
        return True

    def close(self) -> None:
        """Let go of the file."""
        self.ended = True
        if self._file is not None:
            self._file.close()

    # ------------------------------------------------------------------ looking

    def _look(self) -> bool:
        """Whether there is something to read, or nothing ever will be."""
        if self.ended:
            return True
        try:
            if self._file is None:
                return self._open()
            return self._look_at(self._file)
        except OSError as error:
            self._fail(f"can't be looked at ({error.strerror})", transient=True)
            return True

    def _open(self) -> bool:
        mark, self._mark = self._mark, None
        for path in [self.name] if mark is None else [self.name, *_list_rotated(self.name)]:
            file = _open_if(path, lambda file: mark is None or _matches_fingerprint(file, mark))
            if file is not None:
                self._use(file)
                self._check_packing(file)
                return self.ended
        if mark is not None:
            held = f"what it held behind byte {mark['offset']}"
            self._lose(f"is not the file any more that was read, and {held} was not found")
        return self.ended

    def _look_at(self, file: FileIO) -> bool:
        status = os.fstat(file.fileno())
        if status.st_size < max(self.raw, self.size or 0):
            self._lose(f"was cut to {status.st_size} bytes, but had {self.size}")
            return True
        self.size, self.status = status.st_size, status
        if status.st_size > self.raw:
            self._grew = monotonic()
            return True
        if monotonic() < self._grew + LEAVING:
            return False
        try:
            taken = _identity(Path(self.name).stat()) != _identity(status)
        except FileNotFoundError:
            return False
        if taken:
            other = _open_if(self.name, self._is_same)
            if other is not None:
                self._use(other)
            self.ended = other is None
        return self.ended

    def _use(self, file: FileIO) -> None:
        if self._file is not None:
            self._file.close()
        self._file = file
        self.status = os.fstat(file.fileno())
        self.size = self.status.st_size
        self._grew = monotonic()

    def _is_same(self, file: FileIO) -> bool:
        """Whether a file holds what was read from this one."""
        place = self.raw - len(self._tail)
        first = os.pread(file.fileno(), len(self._first), 0)
        return (
            first == self._first and os.pread(file.fileno(), len(self._tail), place) == self._tail
        )

    def _check_packing(self, file: FileIO) -> None:
        head = os.pread(file.fileno(), max(map(len, MAGIC)), 0)
        if head.startswith(tuple(MAGIC)):
            self._fail("is packed, but only plain text can be followed")

    def _lose(self, gap: str) -> None:
        """End with a gap, unless the file was copied to another one before it was cut."""
        for path in _list_rotated(self.name) if self._file is not None else ():
            other = _open_if(path, self._is_same)
            if other is not None:
                self._use(other)
                return
        self.gap = gap
        self.ended = True

    def _fail(self, why: str, *, transient: bool = False) -> None:
        self.failure = why
        self.transient = transient
        self.ended = True


def find_rotated_since(path: str, status: os.stat_result) -> list[str]:
    """Files that were renamed from ``path`` and written behind another one, the oldest first.

    Only names count that are ``path`` with a number or a date behind it, such as ``log.1``.
    """
    found = []
    taken = _identity(status)
    for name in _list_rotated(path):
        try:
            other = Path(name).stat()
        except OSError:  # it was renamed again, or taken away
            continue
        newer = other.st_mtime_ns > status.st_mtime_ns and _identity(other) != taken
        if newer and stat.S_ISREG(other.st_mode):
            found.append((other.st_mtime_ns, name))
    return [name for _, name in sorted(found)]


def _list_rotated(path: str) -> list[str]:
    name = Path(path).name
    folder = Path(path).parent
    try:
        names = sorted(other.name for other in folder.iterdir() if other.name.startswith(name))
    except OSError:
        return []
    return [str(folder / other) for other in names if _ROTATED.fullmatch(other[len(name) :])]


def _open_if(path: str, fits: Callable[[FileIO], bool]) -> FileIO | None:
    """The plain file of that name, None if there is none that fits."""
    try:
        file = FileIO(path)
    except (FileNotFoundError, IsADirectoryError):
        return None
    fit = False
    try:
        fit = stat.S_ISREG(os.fstat(file.fileno()).st_mode) and fits(file)
    finally:
        if not fit:
            file.close()
    return file if fit else None


def _matches_fingerprint(file: FileIO, mark: Mapping[str, Any]) -> bool:
    """Whether a file looks like the one that was marked."""
    offset = mark["offset"]
    if os.fstat(file.fileno()).st_size < max(offset, mark["bytes"] or 0):
        return False
    start = max(0, offset - FINGERPRINT_BYTES)
    first = os.pread(file.fileno(), min(FINGERPRINT_BYTES, offset), 0)
    last = os.pread(file.fileno(), offset - start, start)
    return bool(digest(first) == mark["first"] and digest(last) == mark["last"])


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino

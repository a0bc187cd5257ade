"""Files that survive crashes while they are written: appended, synced, and cut back on restart."""

from __future__ import annotations

import hashlib
import logging
from errno import EIO, ESTALE
from io import StringIO
from pathlib import Path
from threading import Lock
from typing import Any, final

from streamnet.durability.files import DISK, FileSystem, write_all
from streamnet.errors import ConfigurationError, OutputError, StateError


@final
class SafeFile:
    """A file that is appended to; one thread appends, one syncs, any may read.

    What was written since the last `sync` is kept in memory, because after a failed fsync the
    content of a file is unknown: it is written again. Methods raise OSError if the disk fails.

    Args:
        path: Path of the file.
        handle: Handle of the file, open for writing at ``length``; closed by `close`.
        length: Length of the file in bytes, all of it on the disk.
        files: The file system.
        max_unsynced: Bytes to keep in memory; with more, a failed fsync can't be repaired. None
            keeps everything.
        must_keep_name: Fail `sync` if another file has taken the path.

    >>> import tempfile
    >>> from streamnet.durability.files import DISK
    >>> path = Path(tempfile.mkdtemp(), "rows")
    >>> file = SafeFile(path, DISK.open_new(path), files=DISK)
    >>> file.append(b"one")
    >>> file.synced, file.length
    (0, 3)
    >>> file.sync()
    >>> file.synced, file.read(1, 9)
    (3, b'ne')
    >>> file.close()
    """

    length: int
    synced: int  # bytes that are known to be on the disk

    def __init__(
        self,
        path: Path,
        handle: int,
        length: int = 0,
        *,
        files: FileSystem,
        max_unsynced: int | None = None,
        must_keep_name: bool = False,
    ) -> None:
        self.path = path
        self.length = self.synced = length
        self._files = files
        self._handle: int | None = handle
        self._max_unsynced = max_unsynced
        self._must_keep_name = must_keep_name
        self._unsynced: bytearray | None = bytearray()  # None: more than are kept
        self._is_lost = False  # whether an fsync failed
        self._has_torn_tail = False  # whether there may be bytes after `length`
        self._syncing = Lock()  # held while the file is synced or repaired; acquired first
        self._lock = Lock()  # held while the file is written

    @property
    def unsynced_bytes(self) -> int:
        """Bytes that are not known to be on the disk."""
        return self.length - self.synced

    def append(self, data: bytes) -> None:
        """Write all of ``data`` or nothing."""
        if self._is_lost or self._has_torn_tail:
            self.repair()
        with self._lock:
            assert self._handle is not None
            self._has_torn_tail = True
            write_all(self._files, self._handle, data)
            self._has_torn_tail = False
            self._remember(data)

    def write_some(self, data: bytes) -> int:
        """Write some of ``data``, at least a byte; return how many bytes."""
        with self._lock:
            assert self._handle is not None
            written = self._files.write(self._handle, data)
            self._remember(data[:written])
            return written

    def _remember(self, data: bytes) -> None:
        self.length += len(data)
        if self._unsynced is not None:
            self._unsynced += data
            if self._max_unsynced is not None and len(self._unsynced) > self._max_unsynced:
                self._unsynced = None

    def probe(self, size: int) -> None:
        """Check that ``size`` bytes could be appended, by writing zeros and cutting them off."""
        with self._syncing, self._lock:
            self._repair()
            if self._handle is not None:
                self._has_torn_tail = True
                write_all(self._files, self._handle, bytes(size))
                self._repair()

    def sync(self) -> None:
        """Put on the disk what was written before, after repairing an earlier failure."""
        with self._syncing:
            with self._lock:
                self._repair()
                handle, length = self._handle, self.length
            if handle is None or self.synced == length:
                return
            try:
                self._files.fsync(handle)
                self._check_name()
            except OSError:
                self._is_lost = True
                raise
            with self._lock:
                if self._unsynced is not None:
                    del self._unsynced[: length - self.synced]
                elif length == self.length:
                    self._unsynced = bytearray()
                self.synced = length

    def repair(self) -> None:
        """Undo a failed write, and write again what a failed fsync may have lost."""
        with self._syncing, self._lock:
            self._repair()

    def _repair(self) -> None:
        if self._handle is None:
            return
        if self._is_lost:
            self._check_name()
            if self._unsynced is None:
                raise OSError(EIO, "an fsync failed, and too much was written since the one before")
            self._reopen(self.synced, bytes(self._unsynced))
            self._is_lost = self._has_torn_tail = False
        if self._has_torn_tail:
            self._reopen(self.length)
            self._has_torn_tail = False

    def _reopen(self, length: int, data: bytes = b"") -> None:
        """Open the file again, cut to ``length``, and append ``data``."""
        handle = self._files.open_truncated_at(self.path, length)
        try:
            write_all(self._files, handle, data)
        except BaseException:
            self._files.close(handle)
            raise
        old, self._handle = self._handle, handle
        assert old is not None
        self._files.close(old)

    def _check_name(self) -> None:
        """Check that the file was neither removed nor replaced at its path."""
        assert self._handle is not None
        if self._must_keep_name and not self._files.is_same_file(self._handle, self.path):
            raise OSError(ESTALE, f"{self.path.name} was replaced")

    def read(self, offset: int, size: int) -> bytes:
        """Read up to ``size`` bytes; those that are not synced come from memory.

        The file is read only as far as it is synced, since a failed fsync may damage the rest.
        """
        with self._lock:
            synced, unsynced = self.synced, self._unsynced
            if offset >= synced:
                assert unsynced is not None
                return bytes(unsynced[offset - synced : offset - synced + size])
        return self._files.read_part(self.path, offset, min(size, synced - offset))

    def read_unsynced(self, offset: int) -> tuple[int, bytes]:
        """Read what `sync` would put on the disk, from an offset on; return where it begins, too.

        It is kept in memory; raises OSError if the file lost its name, as `sync` would.
        """
        with self._lock:
            assert self._unsynced is not None
            start = max(offset, self.synced)
            data = bytes(self._unsynced[start - self.synced :])
            if data and self._handle is not None:
                self._check_name()
        return start, data

    def read_all(self) -> bytes:
        """Read everything that was written."""
        with self._lock:
            assert self._unsynced is not None
            synced, rest = self.synced, bytes(self._unsynced)
        return self._files.read_part(self.path, 0, synced) + rest

    def close(self) -> None:
        """Close the file. Closing twice is allowed."""
        with self._syncing, self._lock:
            handle, self._handle = self._handle, None
            if handle is not None:
                self._files.close(handle)


_LOG = logging.getLogger("streamnet.durability")

_FLUSH_CHARACTERS = 1 << 16
_MAX_BUFFERED_BYTES = 1 << 24
_TAIL_BYTES = 4096  # at the end of a file, by which it is recognized


@final
class AppendedFile:
    r"""A text file that grows at its end.

    Write to ``text``. While the file can't be written, as on a full disk, up to 16 MiB wait in
    memory; up to 16 MiB that are not synced can be written again after a failed fsync. ``what``
    names the output in error messages.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "rows.txt")
    >>> file = AppendedFile(path, "rows")
    >>> file.start()
    >>> _ = file.text.write("one\n")
    >>> state = file.export_state()
    >>> _ = file.text.write("two\n")
    >>> file.close()
    >>> file.restore_state(state)
    >>> file.close()
    >>> path.read_text()
    'one\n'
    """

    def __init__(self, path: Path, what: str, *, files: FileSystem = DISK) -> None:
        self.path = path
        self.what = what
        self.name: str = files.describe(path)  # in messages
        self.text: StringIO = StringIO(newline="")
        self.failure: OSError | None = None  # why nothing can be written now
        self._files = files
        self._file: SafeFile | None = None
        self._tail = b""
        self._is_named = True  # whether the file's name is on the disk
        self._waiting = b""

    @property
    def is_open(self) -> bool:
        """Whether the file is open."""
        return self._file is not None

    def start(self) -> None:
        """Create an empty file."""
        try:
            handle = self._files.open_new(self.path)
        except OSError as error:
            raise ConfigurationError(f"{self.what} {self.name}: {error.strerror}") from error
        self._open(handle, 0)
        self._tail = b""
        self._is_named = False

    def _open(self, handle: int, length: int) -> None:
        limit = _MAX_BUFFERED_BYTES
        self._file = SafeFile(self.path, handle, length, files=self._files, max_unsynced=limit)

    def size(self) -> int:
        """Size of an existing file in bytes; 0 if there is none."""
        try:
            return self._files.size(self.path)
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise ConfigurationError(f"{self.what} {self.name}: {error.strerror}") from error

    def check_empty(self) -> None:
        """Check that `start` would not overwrite anything.

        Raises:
            StateError: If the file exists and is not empty.
            ConfigurationError: If its size can't be determined.
        """
        if size := self.size():
            raise StateError(
                f"{self.what} {self.name} has {size:,} bytes, but must be absent or empty, since "
                "the state to resume from has no such output"
            )

    def export_state(self) -> dict[str, Any]:
        """Flush the file; return its length and a digest of its end."""
        return {"length": self.flush(), "end": hashlib.sha256(self._tail).hexdigest()}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Truncate the file to its length at a checkpoint, and continue after it.

        Raises:
            StateError: If it is another file, or gone.
            ConfigurationError: If it can't be read or written.
        """
        length = state["length"]
        try:
            self._tail = self._files.read_part(
                self.path, max(0, length - _TAIL_BYTES), min(length, _TAIL_BYTES)
            )
            digest = hashlib.sha256(self._tail).hexdigest()
            if len(self._tail) < min(length, _TAIL_BYTES) or state["end"] != digest:
                raise StateError(
                    f"{self.what} {self.name} is not the file that had {length:,} "
                    "bytes when the state was written"
                )
            self._open(self._files.open_truncated_at(self.path, length), length)
        except FileNotFoundError as error:
            raise StateError(
                f"{self.what} {self.name} is gone, but the state resumes after its {length:,} bytes"
            ) from error
        except OSError as error:
            raise ConfigurationError(f"{self.what} {self.name}: {error.strerror}") from error

    def settle(self, *, at_once: bool = False) -> None:
        """Flush if enough is buffered, or ``at_once``; a failed write waits."""
        if self.text.tell() < _FLUSH_CHARACTERS and not self._waiting and not at_once:
            return
        try:
            self.flush()
        except OSError as error:
            if len(self._waiting) > _MAX_BUFFERED_BYTES:
                raise OutputError(
                    f"{self.what} {self.name}: {error.strerror}, and more than "
                    f"{_MAX_BUFFERED_BYTES >> 20} MiB wait to be written"
                ) from error

    def flush(self) -> int:
        """Write what is buffered; return the file's length in bytes.

        Raises:
            OSError: If that fails; what was not written waits.
        """
        file = self._file
        assert file is not None
        if self.text.tell():
            added = self.text.getvalue().encode("utf-8", "backslashreplace")
            self._waiting = self._waiting + added if self._waiting else added
            # Emptied, not replaced: writers hold it.
            self.text.seek(0)
            self.text.truncate()
        try:
            while self._waiting:
                count = file.write_some(self._waiting)
                written = self._waiting[max(0, count - _TAIL_BYTES) : count]
                self._tail = (self._tail + written)[-_TAIL_BYTES:]
                self._waiting = self._waiting[count:]
        except OSError as error:
            if self.failure is None:
                _LOG.warning("%s %s: %s; retrying", self.what, self.name, error.strerror)
            self.failure = error
            raise
        self.failure = None
        return file.length

    def sync(self) -> None:
        """Put on the disk what was flushed."""
        if self._file is None:
            return
        self._file.sync()
        if not self._is_named:
            self._files.fsync_dir(self.path.parent)
            self._is_named = True

    def close(self) -> None:
        """Flush and close the file. Closing twice is allowed."""
        if self._file is None:
            return
        try:
            self.flush()
        except OSError as error:
            raise OutputError(f"{self.what} {self.name}: {error.strerror}") from error
        finally:
            file, self._file = self._file, None
            file.close()

"""SafeFile: a growing file that loses nothing when the disk fails for a while."""

from __future__ import annotations

from errno import EIO, ESTALE
from pathlib import Path
from threading import Lock
from typing import final

from streamnet.durability.files import FileSystem, write_all


@final
class SafeFile:
    """A file that is appended to; one thread appends, one syncs, any may read.

    What was written since the last `sync` is kept in memory, because after a failed fsync the
    content of a file is unknown: it is written again.

    Args:
        path: Path of the file.
        handle: Handle of the file, open for writing at ``length``; closed by `close`.
        length: Length of the file in bytes, all of it on the disk.
        files: The file system.
        max_unsynced: Bytes to keep in memory; with more, a failed fsync can't be repaired. None
            keeps everything.
        must_keep_name: Fail `sync` if another file has taken the path.

    Attributes:
        length: Bytes in the file.
        synced: Bytes that are known to be on the disk.

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
    synced: int

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
        """Write all of ``data`` or nothing.

        Raises:
            OSError: If that fails.
        """
        if self._is_lost or self._has_torn_tail:
            self.repair()
        with self._lock:
            assert self._handle is not None
            self._has_torn_tail = True
            write_all(self._files, self._handle, data)
            self._has_torn_tail = False
            self._remember(data)

    def write_some(self, data: bytes) -> int:
        """Write some of ``data``, at least a byte; return how many bytes.

        Raises:
            OSError: If that fails.
        """
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
        """Check that ``size`` bytes could be appended, by writing zeros and cutting them off.

        Raises:
            OSError: If they could not.
        """
        with self._syncing, self._lock:
            self._repair()
            if self._handle is not None:
                self._has_torn_tail = True
                write_all(self._files, self._handle, bytes(size))
                self._repair()

    def sync(self) -> None:
        """Put on the disk what was written before.

        Raises:
            OSError: If that fails, or an earlier failure can't be repaired.
        """
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
        """Undo a failed write, and write again what a failed fsync may have lost.

        Raises:
            OSError: If that fails.
        """
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
        """Check that whoever opens the path would find this file.

        Raises:
            OSError: If it was removed or replaced.
        """
        assert self._handle is not None
        if self._must_keep_name and not self._files.is_same_file(self._handle, self.path):
            raise OSError(ESTALE, f"{self.path.name} was replaced")

    def read(self, offset: int, size: int) -> bytes:
        """Read up to ``size`` bytes; those that are not synced come from memory.

        The file is read only as far as it is synced, since a failed fsync may damage the rest.

        Raises:
            OSError: If the file can't be read.
        """
        with self._lock:
            synced, unsynced = self.synced, self._unsynced
            if offset >= synced:
                assert unsynced is not None
                return bytes(unsynced[offset - synced : offset - synced + size])
        return self._files.read_part(self.path, offset, min(size, synced - offset))

    def read_all(self) -> bytes:
        """Read everything that was written.

        Raises:
            OSError: If the file can't be read.
        """
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

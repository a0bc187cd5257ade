"""AppendedFile: a growing output that can be truncated to its length at a checkpoint."""

from __future__ import annotations

import hashlib
import logging
from errno import EIO
from io import StringIO
from pathlib import Path
from threading import Lock
from typing import Any, final

from streamnet.durability.files import DISK, FileSystem, write_all
from streamnet.errors import ConfigurationError, OutputError, StateError

__all__ = ("AppendedFile",)

logger = logging.getLogger("streamnet.durability")

_FLUSH_CHARACTERS = 1 << 16  # that are written in one call
_MAX_BUFFERED_BYTES = 1 << 24  # while the file can't be written
_TAIL_BYTES = 4096  # at the end of a file, by which it is recognized


@final
class AppendedFile:
    r"""A text file that only grows at its end.

    Write to ``text``. While the file can't be written, as on a full disk, up to 16 MiB are buffered
    in memory. What was written since the last `sync` is kept as well, up to 16 MiB, and written
    again after a failed fsync, since the content of the disk is unknown then.

    Args:
        path: The file.
        what: Its name in errors.
        files: The file system.

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
        self.text = StringIO(newline="")
        self.failure: OSError | None = None  # why it can't be written at the moment
        self._files = files
        self._handle: int | None = None
        self._length = 0  # bytes in the file
        self._end = b""  # the last of them
        self._is_named = True  # whether its directory entry is synced
        self._waiting = b""
        self._synced = 0  # bytes that are durable
        self._unsynced: bytearray | None = None  # those after them; None if they are too many
        self._is_lost = False  # whether an fsync failed
        self._lock = Lock()  # one thread writes, another one syncs

    @property
    def is_open(self) -> bool:
        """Whether it was started and not closed."""
        return self._handle is not None

    def start(self) -> None:
        """Create the file, or empty it.

        Raises:
            ConfigurationError: If that fails.
        """
        try:
            self._handle = self._files.open_new(self.path)
        except OSError as error:
            raise ConfigurationError(f"{self.what} {self.path}: {error.strerror}") from error
        self._length = self._synced = 0
        self._end = b""
        self._is_named = False

    def size(self) -> int:
        """Size of the existing file in bytes, 0 if there is none.

        Raises:
            ConfigurationError: If it can't be determined.
        """
        try:
            return self._files.size(self.path)
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise ConfigurationError(f"{self.what} {self.path}: {error.strerror}") from error

    def check_empty(self) -> None:
        """Check that the file is absent or empty.

        Raises:
            StateError: If it has content.
            ConfigurationError: If its size can't be determined.
        """
        if size := self.size():
            raise StateError(
                f"{self.what} {self.path} has {size:,} bytes, but must be absent or empty, since "
                "the state that is gone on from knows of none"
            )

    def export_state(self) -> dict[str, Any]:
        """Flush; the length of the file, and a hash of its end by which it is recognized.

        Raises:
            OSError: If that fails; the rest stays buffered.
        """
        return {"length": self.flush(), "end": hashlib.sha256(self._end).hexdigest()}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Truncate the file to its length in the state, and append from there.

        Raises:
            StateError: If it was replaced or removed.
            ConfigurationError: If it can't be read or written.
        """
        length = state["length"]
        try:
            self._end = self._files.read_part(
                self.path, max(0, length - _TAIL_BYTES), min(length, _TAIL_BYTES)
            )
            digest = hashlib.sha256(self._end).hexdigest()
            if len(self._end) < min(length, _TAIL_BYTES) or state["end"] != digest:
                raise StateError(
                    f"{self.what} {self.path} is another file than the one that had {length:,} "
                    "bytes when the state was written"
                )
            self._handle = self._files.open_truncated_at(self.path, length)
        except FileNotFoundError as error:
            raise StateError(
                f"{self.what} {self.path} is gone, but the state goes on from its {length:,} bytes"
            ) from error
        except OSError as error:
            raise ConfigurationError(f"{self.what} {self.path}: {error.strerror}") from error
        self._length = self._synced = length
        self._unsynced = bytearray()

    def settle(self, *, at_once: bool = False) -> None:
        """Flush if enough text is buffered, or ``at_once``.

        Raises:
            OutputError: If it can't be written and too much is buffered already.
        """
        if self.text.tell() < _FLUSH_CHARACTERS and not self._waiting and not at_once:
            return
        try:
            self.flush()
        except OSError as error:
            if len(self._waiting) > _MAX_BUFFERED_BYTES:
                raise OutputError(
                    f"{self.what} {self.path}: {error.strerror}, and more than "
                    f"{_MAX_BUFFERED_BYTES >> 20} MiB wait to be written"
                ) from error

    def flush(self) -> int:
        """Pass everything to the operating system; the file's length in bytes.

        Raises:
            OSError: If that fails; the rest stays buffered.
        """
        if self.text.tell():
            added = self.text.getvalue().encode("utf-8", "backslashreplace")
            self._waiting = self._waiting + added if self._waiting else added
            self.text = _clear(self.text)
        try:
            with self._lock:
                self._write()
        except OSError as error:
            if self.failure is None:
                logger.warning("%s %s: %s; it waits", self.what, self.path, error.strerror)
            self.failure = error
            raise
        self.failure = None
        return self._length

    def _write(self) -> None:
        assert self._handle is not None
        while self._waiting:
            taken = self._files.write(self._handle, self._waiting)
            self._remember(self._waiting[:taken])
            self._end = (self._end + self._waiting[max(0, taken - _TAIL_BYTES) : taken])[
                -_TAIL_BYTES:
            ]
            self._length += taken
            self._waiting = self._waiting[taken:]

    def _remember(self, written: bytes) -> None:
        if self._unsynced is not None:
            self._unsynced += written
            if len(self._unsynced) > _MAX_BUFFERED_BYTES:
                self._unsynced = None

    def sync(self) -> None:
        """Sync to disk what was flushed.

        Raises:
            OSError: If that fails.
        """
        with self._lock:
            if self._handle is None:
                return
            if self._is_lost:
                self._write_again()
            handle, length = self._handle, self._length
        try:
            self._files.fsync(handle)
        except OSError:
            self._is_lost = True
            raise
        if not self._is_named:
            self._files.fsync_dir(self.path.parent)
            self._is_named = True
        with self._lock:
            if self._unsynced is not None:
                del self._unsynced[: length - self._synced]
            elif length == self._length:
                self._unsynced = bytearray()
            self._synced = length

    def _write_again(self) -> None:
        """Write what a failed fsync may have lost again."""
        if self._unsynced is None:
            raise OSError(EIO, "an fsync failed, and too much was written since the one before")
        content = bytes(self._unsynced)
        handle = self._files.open_truncated_at(self.path, self._synced)
        try:
            write_all(self._files, handle, content)
        except BaseException:
            self._files.close(handle)
            raise
        assert self._handle is not None
        old, self._handle = self._handle, handle
        self._files.close(old)
        self._is_lost = False

    def close(self) -> None:
        """Flush and close the file. Closing twice is allowed.

        Raises:
            OutputError: If something can't be written.
        """
        if self._handle is None:
            return
        try:
            self.flush()
        except OSError as error:
            raise OutputError(f"{self.what} {self.path}: {error.strerror}") from error
        finally:
            handle, self._handle = self._handle, None
            self._files.close(handle)


def _clear(text: StringIO) -> StringIO:
    """Empty it in place, since a writer holds it."""
    text.seek(0)
    text.truncate()
    return text

"""AppendedFile: a growing output that can be truncated to its length at a checkpoint."""

from __future__ import annotations

import hashlib
import logging
from io import StringIO
from pathlib import Path
from typing import Any, final

from streamnet.durability.files import DISK, FileSystem
from streamnet.durability.safe_file import SafeFile
from streamnet.errors import ConfigurationError, OutputError, StateError

_LOG = logging.getLogger("streamnet.durability")

_FLUSH_CHARACTERS = 1 << 16
_MAX_BUFFERED_BYTES = 1 << 24
_TAIL_BYTES = 4096  # at the end of a file, by which it is recognized


@final
class AppendedFile:
    r"""A text file that grows at its end.

    Write to ``text``. While the file can't be written, as on a full disk, up to 16 MiB wait in
    memory; up to 16 MiB that are not synced can be written again after a failed fsync.

    Args:
        path: Path of the file.
        what: Name of the output in error messages.
        files: The file system.

    Attributes:
        text: Buffer to write to.
        failure: Why nothing can be written now; None if nothing failed.

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
        self.text: StringIO = StringIO(newline="")
        self.failure: OSError | None = None
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
        """Create an empty file.

        Raises:
            ConfigurationError: If it can't be created.
        """
        try:
            handle = self._files.open_new(self.path)
        except OSError as error:
            raise ConfigurationError(f"{self.what} {self.path}: {error.strerror}") from error
        self._open(handle, 0)
        self._tail = b""
        self._is_named = False

    def _open(self, handle: int, length: int) -> None:
        limit = _MAX_BUFFERED_BYTES
        self._file = SafeFile(self.path, handle, length, files=self._files, max_unsynced=limit)

    def size(self) -> int:
        """Size of an existing file in bytes; 0 if there is none.

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
        """Check that `start` would not overwrite anything.

        Raises:
            StateError: If the file exists and is not empty.
            ConfigurationError: If its size can't be determined.
        """
        if size := self.size():
            raise StateError(
                f"{self.what} {self.path} has {size:,} bytes, but must be absent or empty, since "
                "the state to resume from has no such output"
            )

    def export_state(self) -> dict[str, Any]:
        """Flush the file; return its length and a digest of its end.

        Raises:
            OSError: If it can't be written; what was not written waits.
        """
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
                    f"{self.what} {self.path} is another file than the one that had {length:,} "
                    "bytes when the state was written"
                )
            self._open(self._files.open_truncated_at(self.path, length), length)
        except FileNotFoundError as error:
            raise StateError(
                f"{self.what} {self.path} is gone, but the state resumes after its {length:,} bytes"
            ) from error
        except OSError as error:
            raise ConfigurationError(f"{self.what} {self.path}: {error.strerror}") from error

    def settle(self, *, at_once: bool = False) -> None:
        """Flush if enough is buffered, or ``at_once``; a failed write waits.

        Raises:
            OutputError: If writing fails and too much is waiting.
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
                _LOG.warning("%s %s: %s; retrying", self.what, self.path, error.strerror)
            self.failure = error
            raise
        self.failure = None
        return file.length

    def sync(self) -> None:
        """Put on the disk what was flushed.

        Raises:
            OSError: If that fails.
        """
        if self._file is None:
            return
        self._file.sync()
        if not self._is_named:
            self._files.fsync_dir(self.path.parent)
            self._is_named = True

    def close(self) -> None:
        """Flush and close the file. Closing twice is allowed.

        Raises:
            OutputError: If something can't be written.
        """
        if self._file is None:
            return
        try:
            self.flush()
        except OSError as error:
            raise OutputError(f"{self.what} {self.path}: {error.strerror}") from error
        finally:
            file, self._file = self._file, None
            file.close()

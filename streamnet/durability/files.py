"""Files: the few calls to the file system that durable writing is made of.

All that streamnet keeps goes through this seam, so a test can put a disk in its place that fails,
tears or forgets at any call.
"""

from __future__ import annotations

import fcntl
import os
from abc import ABC
from abc import abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import final

__all__ = ("DISK", "DiskFiles", "Files", "write_all")


class Files(ABC):
    """Calls to a file system; each raises OSError if it fails."""

    @abstractmethod
    def open_new(self, path: Path) -> int:
        """Open an empty file for writing, in place of what was there."""

    @abstractmethod
    def open_end(self, path: Path, length: int) -> int:
        """Open a file for writing behind its first ``length`` bytes; what follows them is cut."""

    @abstractmethod
    def write(self, handle: int, data: bytes) -> int:
        """Write some of ``data``, at least a byte; how many bytes."""

    @abstractmethod
    def fsync(self, handle: int) -> None:
        """Put a file's content on the disk."""

    @abstractmethod
    def close(self, handle: int) -> None:
        """Let go of a file."""

    @abstractmethod
    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name, in place of the file that had it."""

    @abstractmethod
    def fsync_dir(self, folder: Path) -> None:
        """Put a folder's names on the disk: without it a crash may undo a rename."""

    @abstractmethod
    def unlink(self, path: Path) -> None:
        """Remove a file."""

    @abstractmethod
    def make_dir(self, folder: Path) -> None:
        """Make a folder that may be there already."""

    @abstractmethod
    def names(self, folder: Path) -> list[str]:
        """Names in a folder, sorted; none if it does not exist."""

    @abstractmethod
    def size(self, path: Path) -> int:
        """Length of a file in bytes."""

    @abstractmethod
    def read(self, path: Path) -> bytes:
        """All that is in a file."""

    @abstractmethod
    def read_part(self, path: Path, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes of a file from ``offset`` on; fewer only at its end."""

    @abstractmethod
    def lock(self, path: Path) -> int | None:
        """Open and lock a file, made if absent; None if another process or handle has the lock."""

    @abstractmethod
    def is_there(self, handle: int, path: Path) -> bool:
        """Whether an open file is the one that has this name; it is an error if none has."""


@final
class DiskFiles(Files):
    """The real file system.

    >>> import tempfile
    >>> files, folder = DiskFiles(), Path(tempfile.mkdtemp())
    >>> handle = files.open_new(folder / "a")
    >>> files.write(handle, b"text"), files.names(folder)
    (4, ['a'])
    >>> files.close(handle)
    """

    def open_new(self, path: Path) -> int:  # noqa: D102
        return os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o666)

    def open_end(self, path: Path, length: int) -> int:  # noqa: D102
        handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.ftruncate(handle, length)
            os.lseek(handle, length, os.SEEK_SET)
        except BaseException:
            os.close(handle)
            raise
        return handle

    def write(self, handle: int, data: bytes) -> int:  # noqa: D102
        return os.write(handle, data)

    def fsync(self, handle: int) -> None:  # noqa: D102
        os.fsync(handle)

    def close(self, handle: int) -> None:  # noqa: D102
        os.close(handle)

    def rename(self, old: Path, new: Path) -> None:  # noqa: D102
        old.replace(new)

    def fsync_dir(self, folder: Path) -> None:  # noqa: D102
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def unlink(self, path: Path) -> None:  # noqa: D102
        path.unlink()

    def make_dir(self, folder: Path) -> None:  # noqa: D102
        folder.mkdir(parents=True, exist_ok=True)

    def names(self, folder: Path) -> list[str]:  # noqa: D102
        with suppress(FileNotFoundError):
            return sorted(os.listdir(folder))  # noqa: PTH208 - names, not paths
        return []

    def size(self, path: Path) -> int:  # noqa: D102
        return path.stat().st_size

    def read(self, path: Path) -> bytes:  # noqa: D102
        return path.read_bytes()

    def read_part(self, path: Path, offset: int, size: int) -> bytes:  # noqa: D102
        with path.open("rb", buffering=0) as file:
            parts = []
            while size > 0 and (part := os.pread(file.fileno(), size, offset)):
                parts.append(part)
                offset, size = offset + len(part), size - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def lock(self, path: Path) -> int | None:  # noqa: D102
        handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        except BaseException:
            os.close(handle)
            raise
        return handle

    def is_there(self, handle: int, path: Path) -> bool:  # noqa: D102
        return os.path.samestat(os.fstat(handle), path.stat())


DISK = DiskFiles()
"""The real file system."""


def write_all(files: Files, handle: int, data: bytes | memoryview) -> None:
    """Write all of ``data``, however little a single call takes.

    Raises:
        OSError: If a call fails; some of the data may be written.
    """
    rest = memoryview(data)
    while rest:
        taken = files.write(handle, rest)  # type: ignore[arg-type]
        rest = rest[taken:]

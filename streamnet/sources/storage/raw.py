"""`RawFile`: the bytes of a file wherever it is, as they are stored there."""

from __future__ import annotations

import os
import re
import stat
from abc import ABC, abstractmethod
from errno import EACCES, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, EPERM
from glob import has_magic
from io import FileIO
from pathlib import Path
from typing import final

from anyio import wait_readable

from streamnet.errors import DataError, ReadError

STANDARD_INPUT = "-"
UNFINISHED = (".tmp", ".part", ".partial", "~")  # ends of names of files that are being written
PERMANENT_ERRNOS = (ENOENT, EACCES, EPERM, EISDIR, ENOTDIR, ELOOP, ENAMETOOLONG)
"""Errors that persist when a file is opened again."""


class DamagedFileError(Exception):
    """A file can't be read on because its content is damaged, which trying again won't change."""


class RawFile(ABC):
    """The bytes of an open file, in order."""

    size: int | None = None  # bytes; None for a pipe

    @abstractmethod
    def read(self, most: int) -> bytes:
        """Read up to so many bytes; none only at the end.

        Raises:
            OSError: If that fails, perhaps only for now.
            DamagedFileError: If it fails for good.
        """

    def seek(self, offset: int) -> bool:
        """Continue at ``offset`` if that needs no reading up to it."""
        del offset
        return False

    async def wait(self) -> None:
        """Wait until reading would not block for an unknown time."""
        return

    @abstractmethod
    def close(self) -> None:
        """Close the file. Closing twice is allowed."""


@final
class LocalFile(RawFile):
    """A file of this machine, a pipe or standard input."""

    def __init__(self, path: str) -> None:
        try:
            place = 0 if path == STANDARD_INPUT else path
            self._file = FileIO(place, closefd=path != STANDARD_INPUT)
        except (OSError, ValueError) as error:
            raise make_open_error(path, error) from None
        status = os.fstat(self._file.fileno())
        self.size: int | None = status.st_size if stat.S_ISREG(status.st_mode) else None

    def read(self, most: int) -> bytes:
        """Read up to so many bytes."""
        return self._file.read(most) or b""

    def seek(self, offset: int) -> bool:
        """Continue at ``offset`` in a regular file that has so many bytes."""
        if self.size is None or offset > self.size:
            return False
        self._file.seek(offset)
        return True

    async def wait(self) -> None:
        """Wait until a pipe can be read."""
        if self.size is None:
            try:
                await wait_readable(self._file)
            except PermissionError:  # a device that epoll does not support, such as /dev/null
                return

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def find_root(given: str) -> str:
    """The folder below which all matches of a pattern are; what is no pattern is its own root.

    >>> find_root("s3://bucket/sales/"), find_root("sales/year=*/*.csv"), find_root("year=*/*.csv")
    ('s3://bucket/sales/', 'sales/', '')
    """
    if not has_magic(given):
        return given
    start = re.split(r"[*?\[]", given, maxsplit=1)[0]
    return start[: start.rfind("/") + 1]


def display_name(path: str) -> str:
    """The name of a file in messages."""
    return "standard input" if path == STANDARD_INPUT else path


def check_file_name(path: str) -> None:
    """Refuse a name that can't be written to predictions and dead letters, which are UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise DataError(f"the name of {shown} is not UTF-8, but must be") from None


def make_open_error(path: str, error: OSError | ValueError) -> DataError:
    """The error for a file that can't be opened; a `ReadError` if that may be temporary."""
    why = error.strerror if isinstance(error, OSError) else str(error)
    permanent = not isinstance(error, OSError) or error.errno in PERMANENT_ERRNOS
    kind = DataError if permanent else ReadError
    return kind(f"{display_name(path)} can't be read: {why}")


def check_readable(path: str) -> None:
    """Refuse a path that names no readable file."""
    if path == STANDARD_INPUT:
        return
    if not Path(path).exists():
        raise DataError(f"{path} does not exist")
    if not os.access(path, os.R_OK):
        raise DataError(f"{path} can't be read: permission denied")

"""WriterLock: at most one process writes into a state directory."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import final

from streamnet.durability.files import DISK
from streamnet.durability.files import Files
from streamnet.durability.files import write_all
from streamnet.errors import StateError

__all__ = ("WriterLock",)


@final
class WriterLock:
    """Holds the lock of a folder until `release`, or until the process has died.

    The kernel keeps it, so one that a killed process held is no obstacle. The file tells a person
    who holds it; nothing relies on that.

    Args:
        folder: An existing folder.
        name: Of its file there.
        files: The file system.

    Raises:
        StateError: If another one holds the lock.
        OSError: If the lock can't be made.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> lock = WriterLock(folder)
    >>> WriterLock(folder)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    streamnet.errors.StateError: ... is in use by process ...: only one may write there
    >>> lock.release()
    >>> WriterLock(folder).release()
    """

    NAME = "lock"

    def __init__(self, folder: Path, *, name: str = NAME, files: Files = DISK) -> None:
        self._files = files
        self._path = path = folder / name
        handle = files.lock(path)
        if handle is None:
            who = ""
            with suppress(OSError):
                who = files.read(path).decode(errors="replace").strip()
            who = who or "another process"
            raise StateError(f"{folder} is in use by {who}: only one may write there")
        self._handle: int | None = handle
        # Who it is, is for people: a full disk must not keep a run from going on.
        with suppress(OSError):
            files.close(files.open_end(path, 0))
            write_all(files, handle, f"process {os.getpid()}\n".encode())

    def check(self) -> None:
        """See that the folder is still the one that is locked, to be called before writing there.

        Raises:
            StateError: If it was replaced, or its lock was: another process may write there.
            OSError: If it is gone, or can't be looked at.
        """
        if self._handle is not None and not self._files.is_there(self._handle, self._path):
            raise StateError(
                f"{self._path} was replaced: another process may write there now, so this one "
                "does no more"
            )

    def release(self) -> None:
        """Let another one in. Releasing twice is allowed."""
        handle, self._handle = self._handle, None
        if handle is not None:
            self._files.close(handle)

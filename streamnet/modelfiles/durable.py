"""Files that are there whole or not at all, also after a crash or a power cut."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

__all__ = ("write_durably",)


def write_durably(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to ``path`` in place of what was there.

    A reader at any moment finds the old content or the new one. When this returns, the new one is
    on the disk. If it fails, the old one is still there.

    Raises:
        OSError: If the file can't be written.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "number.txt")
    >>> write_durably(path, b"1")
    >>> path.read_bytes(), [file.name for file in path.parent.iterdir()]
    (b'1', ['number.txt'])
    """
    path = Path(path)
    # Named for its writer, so that two at once don't write into the same one.
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Put a folder's list of names on the disk: without it a rename may be undone by a crash."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

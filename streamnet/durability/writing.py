"""Files that are there whole or not at all, also after a crash or a power cut."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from itertools import groupby
from pathlib import Path

from streamnet.durability.files import DISK
from streamnet.durability.files import Files
from streamnet.durability.files import write_all

__all__ = ("PART", "joined", "remove_parts", "write_durably")

PART = ".part"
"""How the name of a file ends that is not complete; one that a crash left may be removed."""
_LARGE = 1 << 16  # bytes


def write_durably(
    path: str | os.PathLike[str], *data: bytes | memoryview, files: Files = DISK
) -> None:
    """Write ``data``, one behind the other, to ``path`` in place of what was there.

    A reader at any moment finds the old content or the new one. When this returns, the new one is
    on the disk. If it fails, either may be there, but nothing else. A file whose fsync failed is
    never used: what it holds is not known.

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
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}{PART}")
    try:
        handle = files.open_new(part)
        try:
            for piece in data:
                write_all(files, handle, piece)
            files.fsync(handle)
        finally:
            files.close(handle)
        files.rename(part, path)
    except BaseException:
        with suppress(OSError):
            files.unlink(part)
        raise
    files.fsync_dir(path.parent)


def remove_parts(folder: Path, *, files: Files = DISK) -> None:
    """Remove files of a folder that a crash left incomplete; only its one writer may do so.

    One that can't be removed does no harm, and stays.

    Raises:
        OSError: If the folder can't be read.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("kept", ".new.1-2.part"):
    ...     _ = (folder / name).write_bytes(b"")
    >>> remove_parts(folder)
    >>> [path.name for path in folder.iterdir()]
    ['kept']
    """
    for name in files.names(folder):
        if name.endswith(PART):
            with suppress(OSError):
                files.unlink(folder / name)


def joined(parts: Iterable[bytes | memoryview]) -> list[bytes | memoryview]:
    """Parts of a file with small ones in a row made one, since each will be a write of its own.

    >>> joined([b"a", b"b", bytes(1 << 16)])[0]
    b'ab'
    """
    fewer: list[bytes | memoryview] = []
    for large, row in groupby(parts, lambda part: len(part) >= _LARGE):
        pieces = list(row)
        fewer += pieces if large else [b"".join(pieces)]
    return fewer

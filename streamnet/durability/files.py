"""File system calls behind one interface, atomic durable writes, and checks of output paths.

Everything streamnet persists goes through `FileSystem`, in whose place tests put a disk that
fails, tears writes, or loses data at any call.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import glob, has_magic
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple

from streamnet import objects
from streamnet.errors import ConfigurationError, StreamnetError
from streamnet.objects import is_url


class FileSystem:
    """Calls to the file system; each raises OSError if it fails."""

    @property
    def took_over(self) -> bool:
        """Whether a lock was taken from a process that may still run; the kernel's never are."""
        return False

    def describe(self, path: Path) -> str:
        """The name of a file or folder in messages."""
        return str(path)

    def open_new(self, path: Path) -> int:
        """Create a file, or empty it, and open it for writing."""
        return os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o666)

    def open_truncated_at(self, path: Path, length: int) -> int:
        """Open a file for writing, truncated to its first ``length`` bytes."""
        handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.ftruncate(handle, length)
            os.lseek(handle, length, os.SEEK_SET)
        except BaseException:
            os.close(handle)
            raise
        return handle

    def write(self, handle: int, data: bytes) -> int:
        """Write some of ``data``, at least a byte; returns how many bytes."""
        return os.write(handle, data)

    def fsync(self, handle: int) -> None:
        """Sync a file's content to disk."""
        os.fsync(handle)

    def close(self, handle: int) -> None:
        """Close a file."""
        os.close(handle)

    def rename(self, old: Path, new: Path) -> None:
        """Rename a file, replacing the one of that name."""
        old.replace(new)

    def fsync_dir(self, folder: Path) -> None:
        """Sync a folder's entries to disk: without it a crash may undo a rename."""
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        path.unlink()

    def make_dir(self, folder: Path) -> None:
        """Create a folder, if it is absent."""
        folder.mkdir(parents=True, exist_ok=True)

    def names(self, folder: Path) -> list[str]:
        """Sorted names in a folder; none if it does not exist."""
        with suppress(FileNotFoundError):
            return sorted(os.listdir(folder))  # noqa: PTH208 - names, not paths
        return []

    def size(self, path: Path) -> int:
        """Length of a file in bytes."""
        return path.stat().st_size

    def read(self, path: Path) -> bytes:
        """The content of a file."""
        return path.read_bytes()

    def read_part(self, path: Path, offset: int, size: int) -> bytes:
        """``size`` bytes of a file from ``offset`` on; fewer only at its end."""
        with path.open("rb", buffering=0) as file:
            parts = []
            while size > 0 and (part := os.pread(file.fileno(), size, offset)):
                parts.append(part)
                offset, size = offset + len(part), size - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def lock(self, path: Path) -> int | None:
        """Open and lock a file, created if absent; None if it is locked already."""
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

    def is_same_file(self, handle: int, path: Path) -> bool:
        """Whether an open file is the one at ``path``; an error if there is none."""
        return os.path.samestat(os.fstat(handle), path.stat())


DISK = FileSystem()


def write_all(files: FileSystem, handle: int, data: bytes | memoryview) -> None:
    """Write all of ``data``; after an OSError some of it may have been written."""
    rest = memoryview(data)
    while rest:
        taken = files.write(handle, rest)  # type: ignore[arg-type]
        rest = rest[taken:]


PARTIAL_SUFFIX = ".part"
"""Suffix of incomplete files; those that a crash left may be removed."""
_LARGE_PART_BYTES = 1 << 16


def write_durably(
    path: str | os.PathLike[str], *data: bytes | memoryview, files: FileSystem = DISK
) -> None:
    """Replace the content of a file, or of an object in a bucket, atomically and durably.

    A reader finds the old content or the new one at any moment. On return, the new one is durable.
    On failure, either may be there, but nothing else. A file whose fsync failed is never used,
    since its content is unknown.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "number.txt")
    >>> write_durably(path, b"1")
    >>> path.read_bytes(), [file.name for file in path.parent.iterdir()]
    (b'1', ['number.txt'])
    """
    if is_url(os.fspath(path)):
        objects.write(os.fspath(path), b"".join(data))
        return
    path = Path(path)
    # Named after its writer, so that concurrent writers never share one.
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}{PARTIAL_SUFFIX}")
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


@contextmanager
def explain_write_errors(what: str) -> Iterator[None]:
    """Name what can't be written, for example because the disk is full."""
    try:
        yield
    except OSError as error:
        raise StreamnetError(f"{what} can't be written: {error.strerror}") from error


def remove_partial_files(folder: Path, *, files: FileSystem = DISK) -> None:
    """Remove incomplete files that a crash left in a folder; only its writer may do so.

    Files that can't be removed stay, which does no harm.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("kept", ".new.1-2.part"):
    ...     _ = (folder / name).write_bytes(b"")
    >>> remove_partial_files(folder)
    >>> [path.name for path in folder.iterdir()]
    ['kept']
    """
    for name in files.names(folder):
        if name.endswith(PARTIAL_SUFFIX):
            with suppress(OSError):
                files.unlink(folder / name)


def merge_small_parts(parts: Iterable[bytes | memoryview]) -> list[bytes | memoryview]:
    """Join small neighboring parts of a file, since each part is written by a call of its own.

    >>> merge_small_parts([b"a", b"b", bytes(1 << 16)])[0]
    b'ab'
    """
    fewer: list[bytes | memoryview] = []
    for large, row in groupby(parts, lambda part: len(part) >= _LARGE_PART_BYTES):
        pieces = list(row)
        fewer += pieces if large else [b"".join(pieces)]
    return fewer


_STANDARD_INPUT = "-"


class OutputPath(NamedTuple):
    """A file that is to be written."""

    name: str  # of the setting, for errors
    path: str | os.PathLike[str]
    suffixes: tuple[str, ...] = ()  # allowed ones; () allows any
    replaced: bool = True  # whether it is replaced as a whole, not appended to


def check_output_paths(
    outputs: Iterable[OutputPath], inputs: Mapping[str, str] | None = None
) -> None:
    """Check that outputs can be written and overwrite neither an input nor each other.

    Called before hours of work. Nothing is changed: existing outputs keep their content, and others
    are not created.

    Args:
        outputs: Files to be written.
        inputs: Files to be read, names or glob patterns, with a description: ``"the model"``.

    Raises:
        ConfigurationError: If a check fails.

    >>> check_output_paths([OutputPath("report", "report.txt", (".json",))])
    Traceback (most recent call last):
        ...
    streamnet.errors.ConfigurationError: report is 'report.txt', but must end in .json
    """
    taken = dict(_identify_inputs(inputs or {}))
    for output in outputs:
        path = Path(output.path)
        url = os.fspath(output.path)
        identity = url if is_url(url) else _identify_file(path)
        shown = f"{output.name} is {os.fspath(output.path)!r}, but"
        if output.suffixes and path.suffix not in output.suffixes:
            raise ConfigurationError(f"{shown} must end in {' or '.join(output.suffixes)}")
        if identity in taken:
            raise ConfigurationError(f"{shown} that is {taken[identity]}")
        taken[identity] = f"where {output.name} goes"
        if is_url(url):
            _probe_bucket(url, shown)
            continue
        if path.is_dir():
            raise ConfigurationError(f"{shown} that is a folder")
        if not path.absolute().parent.is_dir():
            raise ConfigurationError(f"{shown} its folder does not exist")
        try:
            _probe_writable(path, replaced=output.replaced)
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConfigurationError(f"{shown} it can't be written: {reason}") from error


def _identify_inputs(inputs: Mapping[str, str]) -> Iterator[tuple[object, str]]:
    for name, what in inputs.items():
        pattern = has_magic(name) and not Path(name).exists()
        for match in glob(name, recursive=True) if pattern else [name]:  # noqa: PTH207 - absolute and relative patterns alike
            if is_url(match):
                yield match, what
            elif match != _STANDARD_INPUT:
                path = Path(match)  # or a member of an archive, which is a parent then
                archive = next((parent for parent in path.parents if parent.is_file()), path)
                yield _identify_file(archive), what


def _identify_file(path: Path) -> object:
    """A value that is equal for all names of a file, also through links."""
    try:
        known = path.stat()
    except OSError:
        return path.resolve()
    return known.st_dev, known.st_ino


def _probe_bucket(url: str, shown: str) -> None:
    """Look whether a bucket can be reached; only writing there would tell more."""
    if not objects.can_list(url):
        raise ConfigurationError(f"{shown} a web server can't be written to")
    try:
        objects.list_below(f"{url}/")
    except objects.NoBucketError as error:
        raise ConfigurationError(f"{shown} {error.strerror}") from error
    except OSError as error:
        raise ConfigurationError(f"{shown} it can't be reached: {error.strerror}") from error


def _probe_writable(path: Path, *, replaced: bool) -> None:
    """Try to write, since permissions alone are not sufficient."""
    if path.is_file():
        path.open("ab").close()
    elif path.exists():  # a device or a pipe, which might block until it is read
        if not os.access(path, os.W_OK):
            raise PermissionError(None, "Permission denied")
        return
    if replaced or not path.exists():
        TemporaryFile(dir=path.absolute().parent).close()

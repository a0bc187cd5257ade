"""Files of rows that checkpoints share: each holds the rows that changed since the last one.

A file never changes once it has its name. Its content, numbers little-endian: the length of the
head in 8 bytes, the head in the format of a `checkpoint`, and the rows, all of one size. The head
has the rows' keys and checksums, so damage of the head is found when a file is opened, and damage
of a row when it is read.
"""

from __future__ import annotations

import os
import re
import threading
import zlib
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from streamnet.durability.checkpoint import CorruptCheckpointError, StateDict, decode, encode
from streamnet.durability.files import PARTIAL_SUFFIX, FileSystem, write_all
from streamnet.errors import DamagedStateError

_NAME = re.compile(r"([0-9]{12})\.rows")
_LENGTH_BYTES = 8


class RowBatch(NamedTuple):
    """Rows of one shape to be written, and keys that no longer have one."""

    shape: str
    keys: list[str]
    numbers: NDArray[np.uint8]  # shape=(rows, bytes)
    samples: NDArray[np.float64]  # shape=(rows,); with the losses, what keys are ranked by
    losses: NDArray[np.float64]
    removed: list[str]


@final
class RowFile:
    """Reads the rows of a file.

    Raises:
        DamagedStateError: If the file or its head is damaged.
    """

    def __init__(self, path: Path, files: FileSystem) -> None:
        self._path, self._files = path, files
        head = self._read_head()
        self.name: str = path.name
        self.shape: str = head["shape"]
        self.keys: list[str] = head["keys"]
        self.removed: list[str] = head["removed"]
        self.samples: NDArray[np.float64] = head["samples"]
        self.losses: NDArray[np.float64] = head["losses"]
        self.row_bytes: int = head["row_bytes"]
        self._checksums: list[int] = head["checksums"].tolist()

    def _read_head(self) -> StateDict:
        try:
            length = int.from_bytes(self._files.read_part(self._path, 0, _LENGTH_BYTES), "little")
            self._start = _LENGTH_BYTES + length
            size = self._files.size(self._path)
            if self._start > size:
                raise CorruptCheckpointError(f"it has only {size} bytes")
            head = decode(self._files.read_part(self._path, _LENGTH_BYTES, length))
            if size != self._start + head["row_bytes"] * len(head["keys"]):
                raise CorruptCheckpointError("its length does not match its header")
        except (CorruptCheckpointError, OSError) as error:
            raise self._damaged(str(error)) from error
        return head

    def read(self, place: int) -> bytes:
        """The numbers of a row; its checksum is checked."""
        offset = self._start + place * self.row_bytes
        try:
            row = self._files.read_part(self._path, offset, self.row_bytes)
        except OSError as error:
            raise self._damaged(str(error)) from error
        if zlib.crc32(row) != self._checksums[place]:
            raise self._damaged(f"the row of key {self.keys[place]!r} has changed")
        return row

    def _damaged(self, why: str) -> DamagedStateError:
        return DamagedStateError(f"{self._files.describe(self._path)}: {why}")


def _encode_head(batch: RowBatch) -> bytes:
    head = encode(
        {
            "shape": batch.shape,
            "keys": batch.keys,
            "removed": batch.removed,
            "samples": batch.samples,
            "losses": batch.losses,
            "row_bytes": batch.numbers.shape[1],
            "checksums": np.array([zlib.crc32(row) for row in batch.numbers], np.uint32),
        }
    )
    return len(head).to_bytes(_LENGTH_BYTES, "little") + head


@dataclass
class _Fresh:
    """A file that no checkpoint names yet."""

    handle: int | None
    size: int
    ahead: bool = False  # written before its barrier: an attempt without it does not drop it
    error: OSError | None = None
    passed: int = 0  # checkpoints that did not name it


@final
class RowFolder:
    """The row files of a state directory.

    Learning threads write files as they come to a barrier; the thread that writes checkpoints makes
    those durable that the next one names. A file goes when no checkpoint names it any more.

    >>> import tempfile
    >>> folder = RowFolder(Path(tempfile.mkdtemp(), "rows"), FileSystem())
    >>> rows, score = np.arange(8, dtype=np.uint8).reshape(2, 4), np.zeros(2)
    >>> name = folder.write(RowBatch("4;", ["a", "b"], rows, score, score, []))
    >>> written = folder.make_durable([name])
    >>> folder.commit([name])
    >>> folder.is_committed(name), list(folder.open(name).read(1))
    (True, [4, 5, 6, 7])
    """

    def __init__(self, path: Path, files: FileSystem) -> None:
        self.path = path
        self._files = files
        self._lock = threading.Lock()
        self._next: int | None = None  # found at the first write
        self._fresh: dict[str, _Fresh] = {}
        self._open: dict[str, RowFile] = {}
        self._committed: frozenset[str] = frozenset()
        self._kept: frozenset[str] = frozenset()  # whatever checkpoints name

    def names(self) -> list[str]:
        """Names of the files, oldest first."""
        return [name for name in self._files.names(self.path) if _NAME.fullmatch(name)]

    def write(self, batch: RowBatch, *, ahead: bool = False) -> str:
        """Write a file, not durable yet; if that fails, `make_durable` raises the error.

        One that is written ``ahead`` of its barrier stays until a checkpoint names it. There may be
        many, so it is closed meanwhile.
        """
        with self._lock:
            if self._next is None:
                there = self.names()
                self._next = int(there[-1].partition(".")[0]) + 1 if there else 0
            name, self._next = f"{self._next:012d}.rows", self._next + 1
            fresh = self._fresh[name] = _Fresh(None, 0, ahead)
        head = _encode_head(batch)
        numbers = np.ascontiguousarray(batch.numbers).reshape(-1).data
        fresh.size = len(head) + len(numbers)
        try:
            self._files.make_dir(self.path)
            fresh.handle = self._files.open_new(self._find_part(name))
            write_all(self._files, fresh.handle, head)
            write_all(self._files, fresh.handle, numbers)
        except OSError as error:
            fresh.error = error
        if ahead:
            self._close(fresh)
        return name

    def _close(self, file: _Fresh) -> None:
        handle, file.handle = file.handle, None
        try:
            if handle is not None:
                self._files.close(handle)
        except OSError as error:
            file.error = error

    def make_durable(self, names: Collection[str]) -> int:
        """Make the new ones among these files durable; returns how many bytes they have.

        After an OSError, the files are not to be used. New ones that no checkpoint names, as it
        could not be written, are dropped later: the next barrier may be on its way.
        """
        with self._lock:
            fresh = dict(self._fresh)
        for name in fresh.keys() - set(names):
            other = fresh.pop(name)
            other.passed += not other.ahead
            if other.passed > 1:
                self._drop(name, other)
        if missing := set(names) - fresh.keys() - set(self.names()):
            raise RuntimeError(f"internal error: {self.path} has no {', '.join(sorted(missing))}")
        for name, file in fresh.items():
            if file.error is not None:
                raise file.error
            if file.handle is None and not file.ahead:  # an earlier attempt was made
                continue
            try:
                self._finish(self._find_part(name), self.path / name, file)
            except OSError as error:
                file.error = error
                raise
        if fresh:
            self._files.fsync_dir(self.path)
            self._files.fsync_dir(self.path.parent)
        return sum(file.size for file in fresh.values())

    def _finish(self, part: Path, path: Path, file: _Fresh) -> None:
        """Make a file durable, and give it its name."""
        handle, file.handle = file.handle, None
        if handle is None:
            handle = self._files.open_truncated_at(part, file.size)
        try:
            self._files.fsync(handle)
            self._files.rename(part, path)
        finally:
            self._files.close(handle)
        file.ahead = False

    def abandon(self, names: Collection[str]) -> bool:
        """If one of these files can't be used, let them all be dropped; returns whether so."""
        with self._lock:
            files = [self._fresh[name] for name in names if name in self._fresh]
            has_failed = any(file.error is not None for file in files)
            for file in files if has_failed else ():
                file.ahead = False
        return has_failed

    def commit(self, names: Collection[str]) -> None:
        """Note that a checkpoint which names these files is durable."""
        with self._lock:
            for name in names:
                self._fresh.pop(name, None)
            self._committed = frozenset(names)

    def is_committed(self, name: str) -> bool:
        """Whether the newest checkpoint names a file."""
        return name in self._committed

    def open(self, name: str) -> RowFile:
        """A file whose head was checked."""
        with self._lock:
            file = self._open.get(name)
        if file is None:
            file = RowFile(self.path / name, self._files)
            with self._lock:
                self._open[name] = file
        return file

    def protect(self) -> None:
        """Never remove the files that are there, as a checkpoint that names them is damaged."""
        self._kept |= frozenset(self.names())

    def remove_all_but(self, names: Collection[str]) -> None:
        """Remove the files that no checkpoint needs; one that stays does no harm."""
        with self._lock:
            needed = self._kept | self._fresh.keys() | set(names)
        for name in self.names():
            if name not in needed:
                with suppress(OSError):
                    self._files.unlink(self.path / name)
                with self._lock:
                    self._open.pop(name, None)

    def _find_part(self, name: str) -> Path:
        return self.path / f".{name}.{os.getpid()}{PARTIAL_SUFFIX}"

    def _drop(self, name: str, file: _Fresh) -> None:
        with self._lock:
            del self._fresh[name]
        handle, file.handle = file.handle, None
        with suppress(OSError):
            if handle is not None:
                self._files.close(handle)
        for path in (self._find_part(name), self.path / name):
            with suppress(OSError):
                self._files.unlink(path)

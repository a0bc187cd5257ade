"""The bytes of a file: `ByteStream` decompresses, `TailStream` follows a growing file."""

from __future__ import annotations

import os
import re
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from hashlib import sha256
from io import FileIO
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple, final

from anyio import sleep, to_thread

from streamnet.errors import DataError
from streamnet.sources.storage.compression import (
    COMPRESSION_SIGNATURES,
    DECOMPRESSION_ERRORS,
    LONGEST_SIGNATURE,
    PIECE,
    Decompressor,
    find_compression,
    may_be_compressed,
)
from streamnet.sources.storage.raw import DamagedFileError, LocalFile, RawFile, display_name
from streamnet.sources.text.encodings import TextDecoder

COMPRESSED_CHUNK_BYTES = 1 << 16  # bytes of a compressed file that are read at once

FINGERPRINT_BYTES = 4096  # bytes compared at the start of a file and before a position


class TextWindow(NamedTuple):
    r"""A part of a text, with what is needed to fingerprint any offset in it.

    >>> window = TextWindow(b"age,income\n", 0, b"age,income\n39,low\n", 18)
    >>> window.find_difference(window.fingerprint(11)) is None
    True
    >>> cut = TextWindow(b"age,income\n", 0, b"age,income\n39,low\n", 17)
    >>> cut.find_difference(window.fingerprint(18))
    'it has 17 bytes, but had 18'
    """

    first: bytes  # of the text, at most `FINGERPRINT_BYTES`
    begin: int  # offset of data[0]
    data: bytes  # at least `FINGERPRINT_BYTES` bytes before any offset, if there are so many
    size: int | None  # bytes of the file, compressed or not; None for a pipe
    encoding: str | None = None  # None while it did not matter
    encoded_from: int = 0  # offset of the first byte for which it matters

    def fingerprint(self, offset: int) -> dict[str, Any]:
        """The fingerprint of the file at ``offset``, as plain values."""
        stop = offset - self.begin
        encoded = self.encoding is not None and offset > self.encoded_from
        return {
            "bytes": self.size,
            "first": digest(self.first[:offset]),
            "last": digest(self.data[max(0, stop - FINGERPRINT_BYTES) : stop]),
            "offset": offset,
            **({"encoding": self.encoding} if encoded else {}),
        }

    def find_difference(self, mark: Mapping[str, Any]) -> str | None:
        """How the file differs from a fingerprint; None if it does not."""
        offset = mark["offset"]
        difference = self.find_difference_at_start(mark)
        if difference is None and self.fingerprint(offset)["last"] != mark["last"]:
            return f"it has something else before byte {offset}"
        return difference

    def find_difference_at_start(self, mark: Mapping[str, Any]) -> str | None:
        """Like `find_difference`, while only the start of the file is in memory."""
        if mark["bytes"] is not None and self.size is not None and self.size < mark["bytes"]:
            return f"it has {self.size} bytes, but had {mark['bytes']}"
        if digest(self.first[: mark["offset"]]) != mark["first"]:
            return "it starts with something else"
        return None


def digest(data: bytes) -> str:
    """The SHA-256 of some bytes, in hexadecimal."""
    return sha256(data).hexdigest()


def fingerprint_names(names: tuple[str, ...]) -> list[Any]:
    """The fingerprint of the names of files that precede a position."""
    return [len(names), digest("\0".join(names).encode(errors="surrogateescape"))]


def check_fingerprinted_names(names: tuple[str, ...], mark: list[Any], path: str) -> None:
    """Refuse to resume in ``path`` after other files than before."""
    if fingerprint_names(names) != list(mark):
        raise DataError(
            f"the files have changed: {path} comes after {len(names)} files, which are not the "
            f"{mark[0]} that were read before it"
        )


class FileStream(ABC):
    """The bytes of a file in order. Methods other than `wait` block: call them in a thread."""

    size: int | None  # bytes of the file; None for a pipe
    compressed: bool = False  # known once something was read
    live: bool = True  # whether more bytes may arrive with time
    follows: bool = False  # whether the file is followed as it grows
    ended: bool = False  # whether no more bytes will come
    failure: str | None = None  # why reading failed
    transient: bool = False  # whether the failure may be gone when the file is opened again
    gap: str | None = None  # what was lost because the file changed
    raw: int = 0  # bytes read from the file, before decompression
    status: os.stat_result | None = None  # of a followed file

    encoding: str | None = None  # None while it does not matter
    encoded_from: int = 0  # offset of the first byte for which it matters

    def __init__(self, path: str, chunk_bytes: int) -> None:
        self.name: str = path
        self._chunk_bytes = chunk_bytes

    @property
    def decompressed(self) -> int:
        """Bytes of the file that were decompressed so far."""
        return self.raw

    @abstractmethod
    async def wait(self) -> None:
        """Wait until reading would not block. Being cancelled here loses nothing."""

    @abstractmethod
    def read(self) -> bytes:
        """Read about ``chunk_bytes`` bytes, or those that are there; maybe none before the end."""

    @abstractmethod
    def skip_to(self, offset: int) -> bool:
        """Continue at ``offset`` (decompressed bytes) if that needs no reading up to it."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def _fail(self, why: str, *, transient: bool = False) -> None:
        self.failure = why
        self.transient |= transient
        self.ended = True


@final
class ByteStream(FileStream):
    """The text of a file, a pipe or standard input: decompressed, and converted to UTF-8.

    Args:
        path: Name of the file.
        chunk_bytes: Bytes to read at once.
        raw: The file, which is closed with the stream; by default it is opened by its name.
        encoding: Encoding of the text; None to find it.
        mark: The fingerprint where reading resumes.
    """

    def __init__(
        self,
        path: str,
        chunk_bytes: int,
        *,
        raw: RawFile | None = None,
        encoding: str | None = None,
        mark: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(path, chunk_bytes)
        self._file = LocalFile(path) if raw is None else raw
        self.size: int | None = self._file.size
        self.live: bool = self.size is None
        self._head = b""
        self._decompressor: Decompressor | None = None
        self._piece = PIECE
        self._begun = False
        known = encoding or (None if mark is None else mark.get("encoding"))
        self._decoder = TextDecoder(display_name(path), known, live=self.live)
        self._is_ascii_skipped = mark is not None  # up to the mark, if its encoding is not known

    @property
    def decompressed(self) -> int:
        """Bytes of the file that were decompressed so far."""
        return self.raw - len(self._head)

    async def wait(self) -> None:
        """Wait until reading would not block."""
        decompressor = self._decompressor
        pending = bool(self._head) or (
            decompressor is not None and not decompressor.needs_input and not decompressor.eof
        )
        if not pending:
            await self._file.wait()

    def read(self) -> bytes:
        """Read, decompress and convert some bytes."""
        data = self._read_decompressed()
        if data or self.ended:
            data = self._decoder.feed(data, last=self.ended and not self.transient)
            self.encoding: str | None = self._decoder.encoding
            self.encoded_from: int = self._decoder.decided_at
        return data

    def skip_to(self, offset: int) -> bool:
        """Seek to ``offset`` in a file of UTF-8 that is not compressed."""
        known = self._is_ascii_skipped or self.encoding is not None
        if not (self._begun and known) or self.compressed or not self._decoder.keeps_offsets:
            return False
        if not self._file.seek(offset):
            return False
        self._head = b""
        self.raw: int = offset
        self._decoder.restart(offset)
        return True

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read_decompressed(self) -> bytes:
        if not self._begun:
            self._detect_compression()
            if not self._begun:
                return b""
        if self.compressed:
            return self._decompress()
        found, self._head = self._head or self._read_raw(), b""
        return found

    def _detect_compression(self) -> None:
        """Read until it is clear whether the file is compressed."""
        while not self.ended:
            self._head += self._read_raw()
            if len(self._head) >= LONGEST_SIGNATURE or not may_be_compressed(self._head):
                break
            if self.size is None:
                break
        if self.failure is not None:
            return  # else a compressed file of which nothing came yet would count as text
        clear = len(self._head) >= LONGEST_SIGNATURE or self.ended
        if clear or not may_be_compressed(self._head):
            self._begun = True
            self._start_member(self._head)
            self.compressed: bool = self._decompressor is not None
            self.ended: bool = self.ended and not self._head

    def _start_member(self, head: bytes) -> None:
        if (compression := find_compression(head)) is not None:
            self._decompressor, self._piece = compression.make(), compression.piece

    def _read_raw(self) -> bytes:
        chunk = self._chunk_bytes
        try:
            most = min(chunk, COMPRESSED_CHUNK_BYTES) if self.compressed else chunk
            found = self._file.read(most)
        except OSError as error:
            self._fail(f"can't be read on ({error.strerror or error})", transient=True)
            return b""
        except DamagedFileError as error:
            self._fail(f"is damaged ({error})")
            return b""
        self.raw += len(found)
        self.ended = not found
        return found

    def _decompress(self) -> bytes:
        """Decompress up to a chunk, with at most one read of a pipe."""
        pieces: list[bytes] = []
        wanted = self._chunk_bytes
        given, self._head = self._head, b""
        while wanted > 0 and not self.ended:
            decompressor = self._decompressor
            if decompressor is None:
                break
            if decompressor.eof:
                if pieces and self.size is None:
                    break
                given = self._next_member(decompressor.unused_data + given)
                continue
            if decompressor.needs_input and not given:
                if pieces and self.size is None:
                    break
                given = self._read_raw()
                if not given:
                    self._fail("is cut off in the middle of its compressed data")
                    break
            fed = given[: self._piece] if decompressor.needs_input else b""
            given = given[len(fed) :]
            try:
                piece = decompressor.decompress(fed, max_length=min(self._piece, wanted))
            except DECOMPRESSION_ERRORS as error:
                self._fail(f"is damaged ({error})")
                break
            if not (piece or given) and self.size is None and decompressor.needs_input:
                break
            pieces.append(piece)
            wanted -= len(piece)
        self._head = given
        return b"".join(pieces)

    def _next_member(self, rest: bytes) -> bytes:
        """Start with what follows a member: another one, padding, or the end."""
        rest = rest.lstrip(b"\0")
        while len(rest) < LONGEST_SIGNATURE:
            more = self._read_raw()
            if self.ended:
                break
            rest = (rest + more).lstrip(b"\0")
        if not rest:
            return b""
        self.ended = False
        self._start_member(rest)
        if self._decompressor is None or self._decompressor.eof:
            self._fail("has something else after its compressed data")
        return rest


FIRST_PAUSE = 0.05  # seconds before looking again, growing up to the longest
LONGEST_PAUSE = 0.4
PAUSE_GROWTH = 1.5
ROTATION_GRACE = 0.6  # seconds without growth after which a renamed file is left

_ROTATED = re.compile(r"[.-][0-9][0-9T:._-]*")


@final
class TailStream(FileStream):
    """The bytes of a growing file, across rotation, truncation and deletion.

    The stream ends when another file has taken the name of this one, which was read to its end. If
    the new file continues it, with the same first bytes and the same bytes before the current
    offset, reading continues there. A file that has shrunk, or has other bytes before the offset,
    is looked for under the names of rotated files such as ``log.1``; if it is not found, the stream
    ends with a gap. A deleted file is waited for. A renamed file is left once it has not grown for
    0.6 seconds. To resume, ``mark`` is the fingerprint at the offset.
    """

    follows: bool = True

    def __init__(self, path: str, chunk_bytes: int, mark: Mapping[str, Any] | None = None) -> None:
        super().__init__(path, chunk_bytes)
        self.size: int | None = 0
        self._mark = mark
        self._file: FileIO | None = None
        self._first = b""
        self._tail = b""  # bytes before the offset
        self._grew = monotonic()

    async def wait(self) -> None:
        """Wait until there is something to read, or the end."""
        pause = FIRST_PAUSE
        while not await to_thread.run_sync(self._look):
            await sleep(pause)
            pause = min(PAUSE_GROWTH * pause, LONGEST_PAUSE)

    def read(self) -> bytes:
        """Read some bytes; none if there are none yet."""
        if self.ended or self._file is None:
            return b""
        try:
            more = os.pread(self._file.fileno(), self._chunk_bytes, self.raw)
            # Whatever happened before those bytes were read is visible now.
            if more and not self._is_same(self._file):
                self._lose(f"has other content before byte {self.raw}, up to where it was read")
                return b""
        except OSError as error:
            self._fail(f"can't be read on ({error.strerror})", transient=True)
            return b""
        self.raw += len(more)
        self.size = max(self.size or 0, self.raw)
        self._first += more[: FINGERPRINT_BYTES - len(self._first)]
        self._tail = (self._tail + more)[-FINGERPRINT_BYTES:]
        return more

    def skip_to(self, offset: int) -> bool:
        """Continue at ``offset``."""
        if self._file is None or offset > (self.size or 0):
            return False
        start = max(0, offset - FINGERPRINT_BYTES)
        try:
            self._tail = os.pread(self._file.fileno(), offset - start, start)
        except OSError:
            return False
        self.raw: int = offset
        return True

    def close(self) -> None:
        """Close the file."""
        self.ended: bool = True
        if self._file is not None:
            self._file.close()

    def _look(self) -> bool:
        """Whether there is something to read, or will never be."""
        if self.ended:
            return True
        try:
            if self._file is None:
                return self._open()
            return self._look_at(self._file)
        except OSError as error:
            self._fail(f"can't be looked at ({error.strerror})", transient=True)
            return True

    def _open(self) -> bool:
        mark, self._mark = self._mark, None
        for path in [self.name] if mark is None else [self.name, *_list_rotated(self.name)]:
            file = _open_if(path, lambda file: mark is None or _matches_fingerprint(file, mark))
            if file is not None:
                self._use(file)
                head = os.pread(file.fileno(), LONGEST_SIGNATURE, 0)
                if head.startswith(COMPRESSION_SIGNATURES):
                    self._fail("is compressed, but only plain text can be followed")
                return self.ended
        if mark is not None:
            rest = f"what it held after byte {mark['offset']}"
            self._lose(f"has changed since it was read, and {rest} was not found")
        return self.ended

    def _look_at(self, file: FileIO) -> bool:
        status = os.fstat(file.fileno())
        if status.st_size < max(self.raw, self.size or 0):
            self._lose(f"was cut to {status.st_size} bytes, but had {self.size}")
            return True
        self.size, self.status = status.st_size, status
        if status.st_size > self.raw:
            self._grew = monotonic()
            return True
        if monotonic() < self._grew + ROTATION_GRACE:
            return False
        try:
            replaced = _identity(Path(self.name).stat()) != _identity(status)
        except FileNotFoundError:
            return False
        if replaced:
            other = _open_if(self.name, self._is_same)
            if other is not None:
                self._use(other)
            self.ended = other is None
        return self.ended

    def _use(self, file: FileIO) -> None:
        if self._file is not None:
            self._file.close()
        self._file = file
        self.status: os.stat_result | None = os.fstat(file.fileno())
        self.size = self.status.st_size
        self._grew = monotonic()

    def _is_same(self, file: FileIO) -> bool:
        """Whether a file contains what was read from this one."""
        start = self.raw - len(self._tail)
        first = os.pread(file.fileno(), len(self._first), 0)
        return (
            first == self._first and os.pread(file.fileno(), len(self._tail), start) == self._tail
        )

    def _lose(self, gap: str) -> None:
        """End with a gap, unless the file was copied to another one before it was cut."""
        for path in _list_rotated(self.name) if self._file is not None else ():
            other = _open_if(path, self._is_same)
            if other is not None:
                self._use(other)
                return
        self.gap: str | None = gap
        self.ended = True


def find_rotated_since(path: str, status: os.stat_result) -> list[str]:
    """Find files that were renamed from ``path`` and written after another one, oldest first.

    Only names count that are ``path`` with a number or a date after it, such as ``log.1``.
    """
    found = []
    known = _identity(status)
    for name in _list_rotated(path):
        try:
            other = Path(name).stat()
        except OSError:  # it was renamed again, or removed
            continue
        newer = other.st_mtime_ns > status.st_mtime_ns and _identity(other) != known
        if newer and stat.S_ISREG(other.st_mode):
            found.append((other.st_mtime_ns, name))
    return [name for _, name in sorted(found)]


def _list_rotated(path: str) -> list[str]:
    name = Path(path).name
    folder = Path(path).parent
    try:
        names = sorted(other.name for other in folder.iterdir() if other.name.startswith(name))
    except OSError:
        return []
    return [str(folder / other) for other in names if _ROTATED.fullmatch(other[len(name) :])]


def _open_if(path: str, fits: Callable[[FileIO], bool]) -> FileIO | None:
    """Open the regular file of this name; None if there is none that fits."""
    try:
        file = FileIO(path)
    except (FileNotFoundError, IsADirectoryError):
        return None
    fit = False
    try:
        fit = stat.S_ISREG(os.fstat(file.fileno()).st_mode) and fits(file)
    finally:
        if not fit:
            file.close()
    return file if fit else None


def _matches_fingerprint(file: FileIO, mark: Mapping[str, Any]) -> bool:
    offset = mark["offset"]
    if os.fstat(file.fileno()).st_size < max(offset, mark["bytes"] or 0):
        return False
    start = max(0, offset - FINGERPRINT_BYTES)
    first = os.pread(file.fileno(), min(FINGERPRINT_BYTES, offset), 0)
    last = os.pread(file.fileno(), offset - start, start)
    return bool(digest(first) == mark["first"] and digest(last) == mark["last"])


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino

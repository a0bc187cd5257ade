"""`ByteStream`: the decompressed bytes of a file, a pipe or standard input."""

from __future__ import annotations

import os
import stat
from errno import EACCES, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, EPERM
from io import FileIO
from pathlib import Path
from typing import final

from anyio import wait_readable

from streamnet.errors import DataError, ReadError
from streamnet.sources.files import compression
from streamnet.sources.files.compression import (
    MAGIC,
    Decompressor,
    find_decompressor,
    get_piece_size,
)

__all__ = (
    "STANDARD_INPUT",
    "ByteStream",
    "check_file_name",
    "display_name",
    "get_file_size",
    "is_regular_file",
    "make_open_error",
)

STANDARD_INPUT = "-"
COMPRESSED_CHUNK_BYTES = 1 << 16  # of a packed file that are read at once
LONGEST_MAGIC = max(map(len, MAGIC))
PERMANENT_ERRNOS = (ENOENT, EACCES, EPERM, EISDIR, ENOTDIR, ELOOP, ENAMETOOLONG)
"""Errors that are still there when a file is opened again."""


@final
class ByteStream:
    """The bytes of a file in order. Its methods block, so they belong into a worker thread.

    Attributes:
        ended: All bytes were given.
        failure: Why they broke off, None if they did not.
        transient: That may be over when the file is opened again.
        raw: Bytes read from the file, before unpacking.
        size: Bytes of the file, None for a pipe.
    """

    def __init__(self, path: str, chunk_bytes: int) -> None:
        self.name = path
        self.ended = False
        self.failure: str | None = None
        self.transient = False
        self.raw = 0
        self._chunk_bytes = chunk_bytes
        try:
            place = 0 if path == STANDARD_INPUT else path
            self._file = FileIO(place, closefd=path != STANDARD_INPUT)
        except (OSError, ValueError) as error:
            raise make_open_error(path, error) from None
        status = os.fstat(self._file.fileno())
        self.size = status.st_size if stat.S_ISREG(status.st_mode) else None
        self._head = b""
        self._decoder: Decompressor | None = None
        self._begun = False

    @property
    def packed(self) -> bool:
        """Whether the file is compressed; known once something was read."""
        return self._decoder is not None

    @property
    def live(self) -> bool:
        """Whether more bytes may come with time, as in a pipe."""
        return self.size is None

    @property
    def unpacked(self) -> int:
        """Bytes of a packed file that were unpacked."""
        return self.raw - len(self._head)

    async def wait(self) -> None:
        """Wait until reading would not block. Being cancelled here loses nothing."""
        if self.size is None and not self._pending:
            try:
                await wait_readable(self._file)
            except PermissionError:  # a device that epoll does not know, such as /dev/null
                return

    def read(self) -> bytes:
        """Some more bytes, at most about ``chunk_bytes``; of a pipe, those that are there.

        None at all does not mean the end: that is `ended`.
        """
        if not self._begun:
            self._look()
            if not self._begun:
                return b""
        if self._decoder is not None:
            return self._unpack()
        found, self._head = self._head or self._next_raw(), b""
        return found

    def skip_to(self, offset: int) -> bool:
        """Go on at ``offset`` (unpacked bytes) if that can be done without reading up to it."""
        if not self._begun or self.packed or self.size is None or offset > self.size:
            return False
        self._head = b""
        self.raw = self._file.seek(offset)
        return True

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    @property
    def _pending(self) -> bool:
        decoder = self._decoder
        return bool(self._head) or (
            decoder is not None and not decoder.needs_input and not decoder.eof
        )

    def _look(self) -> None:
        """Read until it is clear whether the file is packed."""
        while not self.ended:
            self._head += self._next_raw()
            whole = len(self._head) >= LONGEST_MAGIC
            if whole or not any(magic.startswith(self._head) for magic in MAGIC):
                break
            if self.size is None:
                break
        if self.failure is not None:
            return  # a packed file of which nothing came yet is no text
        clear = len(self._head) >= LONGEST_MAGIC or self.ended
        if clear or not any(magic.startswith(self._head) for magic in MAGIC):
            self._begun = True
            self._decoder = find_decompressor(self._head)
            self.ended = self.ended and not self._head

    def _next_raw(self) -> bytes:
        try:
            most = (
                min(self._chunk_bytes, COMPRESSED_CHUNK_BYTES) if self.packed else self._chunk_bytes
            )
            found = self._file.read(most) or b""
        except OSError as error:
            self._fail(f"can't be read on ({error.strerror})")
            self.transient = True
            return b""
        self.raw += len(found)
        self.ended = not found
        return found

    def _unpack(self) -> bytes:
        """Unpack up to a chunk, with at most one read of a pipe."""
        pieces: list[bytes] = []
        wanted = self._chunk_bytes
        given, self._head = self._head, b""
        while wanted > 0 and not self.ended:
            decoder = self._decoder
            if decoder is None:
                break
            if decoder.eof:
                if pieces and self.size is None:
                    break
                given = self._next_member(decoder.unused_data + given)
                continue
            if decoder.needs_input and not given:
                if pieces and self.size is None:
                    break
                given = self._next_raw()
                if not given:
                    self._fail("is cut off in the middle of its compressed data")
                    break
            most = get_piece_size(decoder)
            fed = given[:most] if decoder.needs_input else b""
            given = given[len(fed) :]
            try:
                piece = decoder.decompress(fed, max_length=min(most, wanted))
            except compression.errors as error:
                self._fail(f"is damaged ({error})")
                break
            if not (piece or given) and self.size is None and decoder.needs_input:
                break
            pieces.append(piece)
            wanted -= len(piece)
        self._head = given
        return b"".join(pieces)

    def _next_member(self, behind: bytes) -> bytes:
        """Start with what stands behind a member: another one, padding, or the end."""
        behind = behind.lstrip(b"\0")
        while len(behind) < LONGEST_MAGIC:
            more = self._next_raw()
            if self.ended:
                break
            behind = (behind + more).lstrip(b"\0")
        if not behind:
            return b""
        self.ended = False
        self._decoder = find_decompressor(behind) or self._decoder
        if self._decoder is None or self._decoder.eof:
            self._fail("has something else behind its compressed data")
        return behind

    def _fail(self, why: str) -> None:
        self.failure = why
        self.ended = True


def display_name(path: str) -> str:
    """A path as it stands in a message."""
    return "standard input" if path == STANDARD_INPUT else path


def check_file_name(path: str) -> None:
    """Refuse a name that predictions and rejected records, which are UTF-8, could not tell.

    Raises:
        DataError: If it is such a name.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise DataError(f"the name of {shown} is not UTF-8, but must be") from None


def get_file_size(path: str) -> int | None:
    """Bytes of a file, None if it is none."""
    if path == STANDARD_INPUT:
        return None
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def is_regular_file(path: str) -> bool:
    """Whether a path is that of a plain file, or of none yet."""
    return path != STANDARD_INPUT and (Path(path).is_file() or not Path(path).exists())


def make_open_error(path: str, error: OSError | ValueError) -> DataError:
    """The error that says why a file can't be opened."""
    why = error.strerror if isinstance(error, OSError) else str(error)
    lasts = not isinstance(error, OSError) or error.errno in PERMANENT_ERRNOS
    kind = DataError if lasts else ReadError
    return kind(f"{display_name(path)} can't be read: {why}")

"""Messages on disk: those of a broker that keeps them only until they are acknowledged.

A message is acknowledged once it is here, and leaves once a checkpoint holds what was learned from
it. So it is read again after a crash, although the broker has it no more.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, final
from zlib import crc32

from msgspec import msgpack

from streamnet.errors import ConfigurationError, DataError, StateError
from streamnet.sources.brokers.messages import Message

SEGMENT_BYTES = 8 << 20  # from which on a new file is begun
SUFFIX = ".messages"
_HEADER_BYTES = 8  # of a record: its size and its checksum, four bytes each


@final
class Spool:
    """Numbered messages in files of a folder, appended at one end and removed at the other.

    A record that a crash cut off at the end of the last file is dropped: it was not acknowledged.

    Raises:
        ConfigurationError: If the folder can't be created.
        StateError: If another process uses it.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._lock = Lock()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._guard = (self._folder / "lock").open("wb")
        except OSError as error:
            raise ConfigurationError(f"spool is {folder!r}, but: {error.strerror}") from error
        try:
            fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._guard.close()
            raise StateError(f"spool {folder} is in use by another process") from None
        self._segments = sorted(self._folder.glob(f"*{SUFFIX}"))
        self._next = self._recover()
        self._out: BinaryIO | None = None
        self._in: BinaryIO | None = None  # the segment that is read
        self._reading: Path | None = None
        self._wanted = 0  # number of the first message that is wanted

    @property
    def next_place(self) -> int:
        """The number of the next message that is appended."""
        return self._next

    @property
    def first_place(self) -> int:
        """The number of the oldest message that is kept."""
        return _parse_first(self._segments[0]) if self._segments else self._next

    def bytes(self) -> int:
        """Bytes of all files."""
        with self._lock:
            return sum(path.stat().st_size for path in self._segments)

    def append(self, messages: Sequence[Message]) -> None:
        """Append messages, whose numbers are assigned here; they are on disk afterwards."""
        with self._lock:
            data = b"".join(_encode(message, self._next + i) for i, message in enumerate(messages))
            out = self._open_segment()
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
            self._next += len(messages)
            if out.tell() >= SEGMENT_BYTES:
                out.close()
                self._out = None

    def seek(self, place: int) -> None:
        """Read the messages from a number on."""
        with self._lock:
            self._close_input()
            before = [path for path in self._segments if _parse_first(path) <= place]
            self._reading = before[-1] if before else None
            self._wanted = place

    def read(self, most: int) -> list[Message]:
        """The next messages that are there, at most ``most``."""
        found: list[Message] = []
        with self._lock:
            while len(found) < most and (path := self._current_segment()) is not None:
                if self._in is None:
                    self._in = path.open("rb")
                message = self._read_record(self._in, path)
                if message is None:
                    if path == self._segments[-1]:
                        break
                    self._close_input()
                    self._reading = self._segments[self._segments.index(path) + 1]
                elif message.place >= self._wanted:
                    found.append(message)
        return found

    def forget(self, through: int) -> None:
        """Remove the files whose messages all have at most this number."""
        with self._lock:
            while len(self._segments) > 1 and _parse_first(self._segments[1]) <= through + 1:
                gone = self._segments.pop(0)
                if gone == self._reading:
                    self._close_input()
                    self._reading = None
                gone.unlink()

    def close(self) -> None:
        """Close the files, and let another process use them. Closing twice is allowed."""
        with self._lock:
            self._close_input()
            if self._out is not None:
                self._out.close()
                self._out = None
            self._guard.close()

    def _recover(self) -> int:
        """Drop what a crash cut off, and return the number of the next message."""
        if not self._segments:
            return 0
        path = self._segments[-1]
        place, end = _parse_first(path), 0
        data = path.read_bytes()
        while (size := _check_record(data, end)) is not None:
            place, end = place + 1, end + size
        if end < len(data):
            with path.open("r+b") as file:
                file.truncate(end)
                os.fsync(file.fileno())
        return place

    def _open_segment(self) -> BinaryIO:
        """The file to append to."""
        if self._out is None:
            path = self._folder / f"{self._next:020d}{SUFFIX}"
            self._out = path.open("ab")
            if not self._segments or self._segments[-1] != path:
                self._segments.append(path)
            folder = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        return self._out

    def _current_segment(self) -> Path | None:
        if self._reading is None and self._segments:
            self._reading = self._segments[0]
        return self._reading

    def _close_input(self) -> None:
        if self._in is not None:
            self._in.close()
            self._in = None

    @staticmethod
    def _read_record(file: BinaryIO, path: Path) -> Message | None:
        """The next message of a file; None at its end."""
        header = file.read(_HEADER_BYTES)
        if not header:
            return None
        size, checksum = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:], "big")
        body = file.read(size)
        if len(body) < size or crc32(body) != checksum:
            raise DataError(f"{path} is damaged at byte {file.tell() - len(body) - len(header)}")
        return _decode(body)


def _parse_first(path: Path) -> int:
    """The number of the first message of a file, which is its name."""
    return int(path.name.removesuffix(SUFFIX))


def _encode(message: Message, place: int) -> bytes:
    values = [place, message.value, message.key, list(message.headers), message.time]
    body = msgpack.encode(values)
    return len(body).to_bytes(4, "big") + crc32(body).to_bytes(4, "big") + body


def _decode(body: bytes) -> Message:
    values: list[Any] = msgpack.decode(body)
    place, value, key, headers, time = values
    return Message(place, place, value, key, [tuple(pair) for pair in headers], time)


def _check_record(data: bytes, at: int) -> int | None:
    """The size of the whole record at a byte; None if it is not whole."""
    body = at + _HEADER_BYTES
    end = body + int.from_bytes(data[at : at + 4], "big")
    if body > len(data) or end > len(data):
        return None
    checksum = int.from_bytes(data[at + 4 : body], "big")
    return end - at if crc32(data[body:end]) == checksum else None

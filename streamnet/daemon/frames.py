"""Frames: what a journal is made of, so that a torn one is noticed.

All numbers are little-endian and without sign:

========================  =========================================================
bytes                     content
========================  =========================================================
0 to 3                    CRC-32 of all bytes of the frame that follow
4 to 7                    length H of the head
8 to 11                   length B of the body
12 to 15                  samples in the body: they are what is learned
16                        kind, see `Kind`; never 0
17 to 19                  zeros
20 to 20+H-1              head: of a snapshot a checkpoint's bytes, else JSON or nothing
then B bytes              body: JSON lines, each with its line end
========================  =========================================================
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple
from zlib import crc32

from streamnet.errors import StateError

__all__ = ("HEADER_BYTES", "Frame", "Kind", "encode", "frames_of", "size_at")

_HEADER = struct.Struct("<IIIIB3x")
HEADER_BYTES = _HEADER.size


class Kind(IntEnum):
    """What a frame tells."""

    SNAPSHOT = 1  # all that the frames before have led to
    SAMPLES = 2  # samples to learn
    PREDICTIONS = 3  # answers that wait for their labels; the body has the samples
    LABELS = 4  # labels; the body has the samples that they complete
    TIME = 5  # how late it is, so that what is too old can be given up
    MODEL = 6  # a model was published
    FED = 7  # samples of a file to learn, and the place behind them; see `streamnet.daemon.fed`


_KINDS = tuple(map(int, Kind))


class Frame(NamedTuple):
    r"""One entry of a journal.

    >>> data = encode(Frame(Kind.SAMPLES, b"", b'{"x": 1}\n', 1))
    >>> [(offset, frame.body) for offset, frame in frames_of(data + data[:-1])]
    [(0, b'{"x": 1}\n')]
    """

    kind: Kind
    head: bytes = b""
    body: bytes = b""
    samples: int = 0  # in the body, that are to be learned

    @property
    def size(self) -> int:
        """Bytes that it takes in the journal."""
        return HEADER_BYTES + len(self.head) + len(self.body)

    @property
    def is_fed(self) -> bool:
        """Whether it comes from a file."""
        return self.kind is Kind.FED


def encode(frame: Frame) -> bytes:
    """The bytes of a frame."""
    kind, head, body, samples = frame
    header = _HEADER.pack(0, len(head), len(body), samples, kind)
    check = crc32(body, crc32(head, crc32(header[4:])))
    return b"".join((check.to_bytes(4, "little"), header[4:], head, body))


def frames_of(data: bytes) -> Iterator[tuple[int, Frame]]:
    """The frames at the start of ``data``, each with its offset, up to one that is not whole.

    Raises:
        StateError: If one was written by a later version.
    """
    at = 0
    while (frame := _frame_at(data, at)) is not None:
        yield at, frame
        at += frame.size


def size_at(data: bytes) -> int:
    """Bytes that the frame at the start of ``data`` takes, of which the header must be there."""
    _, head, body, _, _ = _HEADER.unpack_from(data)
    return int(HEADER_BYTES + head + body)


def _frame_at(data: bytes, at: int) -> Frame | None:
    if len(data) < at + HEADER_BYTES:
        return None
    check, head, body, samples, kind = _HEADER.unpack_from(data, at)
    end = at + HEADER_BYTES + head + body
    if end > len(data) or crc32(memoryview(data)[at + 4 : end]) != check:
        return None
    if kind not in _KINDS:
        raise StateError(f"a frame is of kind {kind}, but this streamnet reads {_KINDS}")
    middle = at + HEADER_BYTES + head
    return Frame(Kind(kind), data[at + HEADER_BYTES : middle], data[middle:end], samples)

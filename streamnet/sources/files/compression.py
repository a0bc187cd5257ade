"""Detection of compressed files and incremental decompression (gzip, zstd, xz)."""

from __future__ import annotations

import lzma
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ("MAGIC", "Decompressor", "errors", "find_decompressor", "get_piece_size")

PIECE = 4096  # unpacked bytes: all that a damaged file can lose in front of the damage
GZIP_PIECE = 1 << 16

GZIP_FORMAT = 16 + zlib.MAX_WBITS
SKIPPABLE = tuple(bytes((number, 0x2A, 0x4D, 0x18)) for number in range(0x50, 0x60))
"""What a frame of zstd begins with that holds no data, as pzstd and seekable files have them."""


class Decompressor(Protocol):
    """Unpacks one member of a file; `lzma` and `zstd` have this interface."""

    @property
    def eof(self) -> bool:
        """The member is complete."""
        ...

    @property
    def needs_input(self) -> bool:
        """Nothing more can be had from what was given."""
        ...

    @property
    def unused_data(self) -> bytes:
        """What stands behind the member."""
        ...

    def decompress(self, data: bytes, /, max_length: int) -> bytes:
        """At most ``max_length`` bytes."""
        ...


class _GzipDecompressor:
    """`zlib` with the interface of a `Decompressor`; it can go back in front of a damage."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(GZIP_FORMAT)
        self._full = False

    @property
    def eof(self) -> bool:
        """The member is complete, checksum included."""
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        """Nothing more can be had from what was given."""
        return not self._full and not self._inner.unconsumed_tail and not self._inner.eof

    @property
    def unused_data(self) -> bytes:
        """What stands behind the member."""
        return self._inner.unused_data

    def decompress(self, data: bytes, /, max_length: int) -> bytes:
        """At most ``max_length`` bytes."""
        before = self._inner.copy()
        given = before.unconsumed_tail + data
        try:
            found = self._inner.decompress(given, max_length)
        except zlib.error:
            self._inner = before
            if found := self._up_to_damage(given):
                return found
            raise
        self._full = len(found) == max_length  # more may wait inside zlib
        return found

    def _up_to_damage(self, given: bytes) -> bytes:
        """What can be had of data that is damaged; what unpacks is broken from then on."""
        pieces: list[bytes] = []
        with suppress(zlib.error):
            while given:
                pieces.append(self._inner.decompress(given, PIECE))
                given = self._inner.unconsumed_tail
        self._full = True  # so that the damage is met again before more is read
        return b"".join(pieces)


MAGIC: dict[bytes, Callable[[], Decompressor]] = {
    b"\x1f\x8b": _GzipDecompressor,
    b"\x28\xb5\x2f\xfd": zstd.ZstdDecompressor,
    **dict.fromkeys(SKIPPABLE, zstd.ZstdDecompressor),
    b"\xfd7zXZ\x00": lzma.LZMADecompressor,
}
"""What a packed file begins with."""

errors = (zlib.error, lzma.LZMAError, zstd.ZstdError, EOFError)
"""What unpacking raises for a file that is damaged."""


def find_decompressor(head: bytes) -> Decompressor | None:
    """What unpacks a file that begins with ``head``, None if it is not packed.

    >>> find_decompressor(b"age,income") is None
    True
    """
    for magic, make in MAGIC.items():
        if head.startswith(magic):
            return make()
    return None


def get_piece_size(decoder: Decompressor) -> int:
    """Bytes that are given to it and wanted of it in a step.

    Each step gives other threads a turn at Python and has to wait for its own. Who can't go back in
    front of a damage loses what a step would have given.
    """
    return GZIP_PIECE if isinstance(decoder, _GzipDecompressor) else PIECE

"""Compressions of files, recognized by the first bytes."""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import PurePosixPath
from typing import NamedTuple, Protocol

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PIECE = 4096  # decompressed bytes: at most so many are lost in front of damaged data
GZIP_PIECE = 1 << 16
GZIP_WBITS = 16 + zlib.MAX_WBITS


class Decompressor(Protocol):
    """Decompresses one member of a file; `lzma` and `zstd` have this interface."""

    @property
    def eof(self) -> bool:
        """Whether the member is complete, checksum included."""

    @property
    def needs_input(self) -> bool:
        """Whether nothing more can be decompressed without further input."""

    @property
    def unused_data(self) -> bytes:
        """The bytes after the member."""

    def decompress(self, data: bytes, /, max_length: int) -> bytes:
        """Decompress at most ``max_length`` bytes."""


class DecompressionError(Exception):
    """Damaged data of a decompressor that has no error of its own for it."""


class _GzipDecompressor:
    """`zlib` with the interface of a `Decompressor`; recovers what precedes damaged data."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(GZIP_WBITS)
        self._full = False

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._full and not self._inner.unconsumed_tail and not self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, /, max_length: int) -> bytes:
        before = self._inner.copy()
        given = before.unconsumed_tail + data
        try:
            found = self._inner.decompress(given, max_length)
        except zlib.error:
            self._inner = before
            if found := self._recover(given):
                return found
            raise
        self._full = len(found) == max_length  # more may wait inside zlib
        return found

    def _recover(self, given: bytes) -> bytes:
        """Decompress what precedes the damage; the decompressor is broken from then on."""
        pieces: list[bytes] = []
        with suppress(zlib.error):
            while given:
                pieces.append(self._inner.decompress(given, PIECE))
                given = self._inner.unconsumed_tail
        self._full = True  # so that the damage is met again before more is read
        return b"".join(pieces)


class _Bzip2Decompressor:
    """`bz2` with the interface of a `Decompressor`, and an error of its own for damaged data."""

    def __init__(self) -> None:
        self._inner = bz2.BZ2Decompressor()

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return self._inner.needs_input and not self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        try:
            return self._inner.decompress(data, max_length)
        except OSError as error:
            raise DecompressionError(str(error)) from None


class Compression(NamedTuple):
    """A way to compress files. Whether a file is compressed is decided by its first bytes."""

    name: str
    suffix: str  # of file names, in lower case
    signatures: tuple[bytes, ...]
    make: Callable[[], Decompressor]  # for one member
    # Bytes that are decompressed in one step. Each step lets other threads run. If the decompressor
    # can't recover what precedes damaged data, the bytes of a step are lost.
    piece: int = PIECE


SKIPPABLE_FRAMES = tuple(bytes((number, 0x2A, 0x4D, 0x18)) for number in range(0x50, 0x60))
"""First bytes of zstd frames without data, as in pzstd and seekable files."""

_BZIP2_BLOCKS = (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90")  # the latter of an empty file
_BZIP2_SIGNATURES = tuple(
    b"BZh%d" % size + block for size in range(1, 10) for block in _BZIP2_BLOCKS
)

COMPRESSIONS = (
    Compression("gzip", ".gz", (b"\x1f\x8b",), _GzipDecompressor, GZIP_PIECE),
    Compression("zstd", ".zst", (b"\x28\xb5\x2f\xfd", *SKIPPABLE_FRAMES), zstd.ZstdDecompressor),
    Compression("xz", ".xz", (b"\xfd7zXZ\x00",), lzma.LZMADecompressor),
    Compression("bzip2", ".bz2", _BZIP2_SIGNATURES, _Bzip2Decompressor),
)
_SUFFIXES = frozenset(compression.suffix for compression in COMPRESSIONS)
COMPRESSION_SIGNATURES = tuple(s for c in COMPRESSIONS for s in c.signatures)
LONGEST_SIGNATURE = max(map(len, COMPRESSION_SIGNATURES))

DECOMPRESSION_ERRORS = (zlib.error, lzma.LZMAError, zstd.ZstdError, DecompressionError, EOFError)
"""Errors that decompressors raise for damaged files."""


def find_compression(head: bytes) -> Compression | None:
    """Find the compression of a file by its first bytes; None if it is not compressed.

    >>> find_compression(b"age,income") is None
    True
    """
    return next((c for c in COMPRESSIONS if head.startswith(c.signatures)), None)


def find_suffix(path: str) -> str:
    """The suffix of a file name in lower case, without that of a compression.

    >>> find_suffix("data/A.CSV.gz"), find_suffix("a.tar"), find_suffix("a.zst")
    ('.csv', '.tar', '')
    """
    name = PurePosixPath(path)
    if name.suffix.lower() in _SUFFIXES:
        name = name.with_suffix("")
    return name.suffix.lower()


def may_be_compressed(start: bytes) -> bool:
    """Whether a file that starts with these few bytes may be a compressed one."""
    return any(signature.startswith(start) for signature in COMPRESSION_SIGNATURES)

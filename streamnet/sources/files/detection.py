"""What a file is: formats, compressions, and binary files that are not text.

`registry` lists the formats; compressions are listed here.
"""

from __future__ import annotations

import lzma
import sys
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

from streamnet.errors import DataError
from streamnet.sources.base import Source
from streamnet.sources.columns import Columns
from streamnet.sources.text.records import MAX_RECORD_BYTES, TextFormat

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


# --------------------------------------------------------------------- formats


class TextOptions(NamedTuple):
    """How files of text are read; see `open_files`."""

    columns: Columns
    delimiter: str | None = None
    header: bool | None = None
    quote: str | None = '"'
    max_record_bytes: int = MAX_RECORD_BYTES


class TextFileFormat(NamedTuple):
    """A format of text files."""

    name: str  # in settings
    suffixes: tuple[str, ...]  # of file names, in lower case
    make: Callable[[TextOptions], TextFormat]
    matches: Callable[[bytes], object] | None = None  # whether a first line is of this format


class ColumnarFileFormat(NamedTuple):
    """A binary format of whole columns."""

    name: str  # in settings
    suffixes: tuple[str, ...]  # of file names, in lower case
    signature: bytes  # first bytes of every file of this format, also in `SIGNATURES`
    open: Callable[[Sequence[str], Columns], Source]


FileFormat = TextFileFormat | ColumnarFileFormat

# ---------------------------------------------------------------- compressions

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

COMPRESSIONS = (
    Compression("gzip", ".gz", (b"\x1f\x8b",), _GzipDecompressor, GZIP_PIECE),
    Compression("zstd", ".zst", (b"\x28\xb5\x2f\xfd", *SKIPPABLE_FRAMES), zstd.ZstdDecompressor),
    Compression("xz", ".xz", (b"\xfd7zXZ\x00",), lzma.LZMADecompressor),
)
COMPRESSION_SIGNATURES = tuple(s for c in COMPRESSIONS for s in c.signatures)
LONGEST_SIGNATURE = max(map(len, COMPRESSION_SIGNATURES))

DECOMPRESSION_ERRORS = (zlib.error, lzma.LZMAError, zstd.ZstdError, EOFError)
"""Errors that decompressors raise for damaged files."""


def find_compression(head: bytes) -> Compression | None:
    """Find the compression of a file by its first bytes; None if it is not compressed.

    >>> find_compression(b"age,income") is None
    True
    """
    return next((c for c in COMPRESSIONS if head.startswith(c.signatures)), None)


def may_be_compressed(start: bytes) -> bool:
    """Whether a file that starts with these few bytes may be a compressed one."""
    return any(signature.startswith(start) for signature in COMPRESSION_SIGNATURES)


# -------------------------------------------------------- files that are no text

SNIFFED_BYTES = 1 << 16  # a line is expected to end within these bytes

ARROW_STREAM = b"\xff\xff\xff\xff"
SIGNATURES = {
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"PK\x03\x04": "a ZIP archive, as .xlsx is one",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an old Excel workbook",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    ARROW_STREAM: "an Arrow stream",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"SQLite format 3\0": "an SQLite database",
    b"%PDF-": "a PDF document",
}
BZIP2 = b"BZh"
BZIP2_BLOCK = b"1AY&SY"  # after a digit


def check_is_text(file: str, data: bytes, *, whole: bool) -> None:
    r"""Refuse a file that is not text, and say what it is.

    >>> check_is_text("f.csv", b"age,income\n", whole=True)
    >>> check_is_text("f.csv", b"%PDF-1.4", whole=True)
    Traceback (most recent call last):
        ...
    streamnet.errors.DataError: f.csv is a PDF document, but must be text in UTF-8
    """
    for signature, what in SIGNATURES.items():
        if data.startswith(signature):
            raise DataError(f"{file} is {what}, but must be text in UTF-8")
    if data.startswith(BZIP2) and data[4:].startswith(BZIP2_BLOCK):
        *names, last = ("plain", *(compression.name for compression in COMPRESSIONS))
        rule = f"must be {', '.join(names)} or {last}"
        raise DataError(f"{file} is compressed with bzip2, but {rule}")
    start = data[:SNIFFED_BYTES]
    if b"\0" in start.partition(b"\n")[0]:
        raise DataError(
            f"{file} has a zero byte in its first line: it is UTF-16 or no text, but must be UTF-8"
        )
    complete = whole or len(data) >= SNIFFED_BYTES
    if complete and b"\n" not in start and b"\r" in start.strip(b"\r"):
        raise DataError(
            f"{file} ends its lines with a carriage return alone, but must use a line feed"
            r" (tr '\r' '\n' converts it)"
        )

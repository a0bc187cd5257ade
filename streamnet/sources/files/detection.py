"""What a file is: formats, which `registry` lists, and binary files that are not text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from streamnet.errors import DataError
from streamnet.sources.base import Source
from streamnet.sources.columns import Columns
from streamnet.sources.text.records import MAX_RECORD_BYTES, TextFormat

if TYPE_CHECKING:
    from streamnet.sources.storage.locations import Locations
    from streamnet.sources.storage.raw import RawFile


# --------------------------------------------------------------------- formats


class TextOptions(NamedTuple):
    """How files of text are read; see `open_files`."""

    columns: Columns
    delimiter: str | None = None
    header: bool | None = None
    quote: str | None = '"'
    max_record_bytes: int = MAX_RECORD_BYTES


class TextFileFormat(NamedTuple):
    """A format of text files, or of files that are converted to text."""

    name: str  # in settings
    suffixes: tuple[str, ...]  # of file names, in lower case
    make: Callable[[TextOptions], TextFormat]
    matches: Callable[[bytes], object] | None = None  # whether a first line is of this format
    # For files that are no text: their first bytes if all have the same ones, and how they are
    # converted, given their name, that of a local copy, and the part of it that is named.
    signature: bytes | None = None
    convert: Callable[[str, str, str | None], RawFile] | None = None


class ColumnarFileFormat(NamedTuple):
    """A binary format of whole columns."""

    name: str  # in settings
    suffixes: tuple[str, ...]  # of file names, in lower case
    signature: bytes  # first bytes of every file of this format, also in `SIGNATURES`
    open: Callable[[Sequence[str], Columns, Locations], Source]


FileFormat = TextFileFormat | ColumnarFileFormat

# -------------------------------------------------------- files that are no text

SNIFFED_BYTES = 1 << 16  # a line is expected to end within these bytes

ARROW_STREAM = b"\xff\xff\xff\xff"
SIGNATURES = {  # first bytes: what the file is, and what to do
    b"\xff\xfe": ("UTF-16", "leave --encoding out, and it is found"),
    b"\xfe\xff": ("UTF-16", "leave --encoding out, and it is found"),
    b"PK\x03\x04": ("a ZIP archive", "give it the suffix .zip, or that of the document it is"),
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": ("an old Office document", "save it as .xlsx or .csv"),
    b"PAR1": ("a Parquet file", "say --format parquet"),
    b"ARROW1": ("an Arrow file", "say --format ipc"),
    ARROW_STREAM: ("an Arrow stream", "write it as an Arrow file"),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", "unpack it (7z x)"),
    b"Rar!\x1a\x07": ("a RAR archive", "unpack it (unrar x)"),
    b"SQLite format 3\0": ("an SQLite database", "export a table of it as text"),
    b"%PDF-": ("a PDF document", "get the data from where it was made"),
    b"\x89HDF\r\n\x1a\n": ("an HDF5 file", "export it as Parquet or text"),
}


def check_is_text(file: str, data: bytes, *, whole: bool) -> None:
    r"""Refuse a file that is not text, and say what it is.

    >>> check_is_text("f.csv", b"age,income\n", whole=True)
    >>> check_is_text("f.csv", b"%PDF-1.4", whole=True)
    Traceback (most recent call last):
        ...
    streamnet.errors.DataError: f.csv is a PDF document, but must be text: get the data from ...
    """
    for signature, (what, advice) in SIGNATURES.items():
        if data.startswith(signature):
            raise DataError(f"{file} is {what}, but must be text: {advice}")
    start = data[:SNIFFED_BYTES]
    if b"\0" in start.partition(b"\n")[0]:
        raise DataError(
            f"{file} has a zero byte in its first line: it is no text, or in an encoding that is "
            "not found (--encoding names it)"
        )
    complete = whole or len(data) >= SNIFFED_BYTES
    if complete and b"\n" not in start and b"\r" in start.strip(b"\r"):
        raise DataError(
            f"{file} ends its lines with a carriage return alone, but must use a line feed"
            r" (tr '\r' '\n' converts it)"
        )

"""Foreign files: what is no text that can be read, known by how it begins."""

from __future__ import annotations

from streamnet.errors import DataError

__all__ = ("check_is_text",)

LOOKED_AT = 1 << 16  # bytes in which a line ends, if lines end as they should

SIGNATURES = {
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"PK\x03\x04": "a ZIP archive, as .xlsx is one",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an old Excel workbook",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"\xff\xff\xff\xff": "an Arrow stream",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"SQLite format 3\0": "an SQLite database",
    b"%PDF-": "a PDF document",
}
BZIP2 = b"BZh"
BZIP2_BLOCK = b"1AY&SY"  # behind a digit


def check_is_text(file: str, data: bytes, *, whole: bool) -> None:
    r"""Refuse a file by the name of what it is, if it is no text.

    Args:
        file: Its name.
        data: Its beginning, unpacked.
        whole: Nothing comes behind that.

    Raises:
        DataError: If it is something else.

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
        raise DataError(f"{file} is packed with bzip2, but must be plain, gzip, zstd or xz")
    start = data[:LOOKED_AT]
    if b"\0" in start.partition(b"\n")[0]:
        raise DataError(
            f"{file} has a zero byte in its first line: it is UTF-16 or no text, but must be UTF-8"
        )
    complete = whole or len(data) >= LOOKED_AT
    if complete and b"\n" not in start and b"\r" in start.strip(b"\r"):
        raise DataError(
            f"{file} ends its lines with a carriage return alone, but must with a line feed"
            r" (tr '\r' '\n' makes that of it)"
        )

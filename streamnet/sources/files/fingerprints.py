"""Fingerprints and signatures of files: is it text, and is it still the same file?"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from streamnet.errors import DataError

__all__ = (
    "FINGERPRINT_BYTES",
    "TextWindow",
    "check_fingerprinted_names",
    "check_is_text",
    "digest",
    "fingerprint_names",
)


FINGERPRINT_BYTES = 4096  # bytes at the beginning of a file and before a place that are looked at


class TextWindow(NamedTuple):
    r"""A piece of a text, with what is needed to mark any place in it.

    >>> trace = TextWindow(b"age,income\n", 0, b"age,income\n39,low\n", 18)
    >>> trace.differs(trace.mark(11)) is None
    True
    >>> TextWindow(b"age,income\n", 0, b"age,income\n39,low\n", 17).differs(trace.mark(18))
    'it has 17 bytes, but had 18'
    """

    first: bytes  # of the text, at most `FINGERPRINT_BYTES`
    begin: int  # offset of data[0]
    data: (
        bytes  # at least `FINGERPRINT_BYTES` bytes before any place asked for, if there are so many
    )
    size: int | None  # bytes of the file, packed or not; None of a pipe

    def mark(self, offset: int) -> dict[str, Any]:
        """What the file looks like around ``offset``, as plain values."""
        stop = offset - self.begin
        return {
            "bytes": self.size,
            "first": digest(self.first[:offset]),
            "last": digest(self.data[max(0, stop - FINGERPRINT_BYTES) : stop]),
            "offset": offset,
        }

    def differs(self, mark: Mapping[str, Any]) -> str | None:
        """In what the file differs from the one that was marked, None if in nothing."""
        offset = mark["offset"]
        other = self.differs_at_start(mark)
        if other is None and self.mark(offset)["last"] != mark["last"]:
            return f"it has something else before byte {offset}"
        return other

    def differs_at_start(self, mark: Mapping[str, Any]) -> str | None:
        """Like `differs`, while only the beginning is in memory."""
        if mark["bytes"] is not None and self.size is not None and self.size < mark["bytes"]:
            return f"it has {self.size} bytes, but had {mark['bytes']}"
        if digest(self.first[: mark["offset"]]) != mark["first"]:
            return "it begins with something else"
        return None


def digest(data: bytes) -> str:
    """A short text that stands for some bytes."""
    return sha256(data).hexdigest()


def fingerprint_names(names: tuple[str, ...]) -> list[Any]:
    """What stands for the names of files that were read before the one with the place."""
    return [len(names), digest("\0".join(names).encode(errors="surrogateescape"))]


def check_fingerprinted_names(names: tuple[str, ...], mark: list[Any], path: str) -> None:
    """Refuse to go on in ``path`` behind other files than those that were read.

    Raises:
        DataError: if they are others.
    """
    if fingerprint_names(names) != list(mark):
        raise DataError(
            f"{path} comes behind {len(names)} files, which are not the {mark[0]} that were read "
            "before it: the files are not the same any more"
        )


SNIFFED_BYTES = 1 << 16  # bytes in which a line ends, if lines end as they should

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
    start = data[:SNIFFED_BYTES]
    if b"\0" in start.partition(b"\n")[0]:
        raise DataError(
            f"{file} has a zero byte in its first line: it is UTF-16 or no text, but must be UTF-8"
        )
    complete = whole or len(data) >= SNIFFED_BYTES
    if complete and b"\n" not in start and b"\r" in start.strip(b"\r"):
        raise DataError(
            f"{file} ends its lines with a carriage return alone, but must with a line feed"
            r" (tr '\r' '\n' makes that of it)"
        )

"""Marks: what a file looks like around a place in it, so that it is known again."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from typing import NamedTuple

from streamnet.errors import DataError

__all__ = ("REMEMBERED", "Trace", "check_names", "digest", "names_mark")

REMEMBERED = 4096  # bytes at the beginning of a file and before a place that are looked at


class Trace(NamedTuple):
    r"""A piece of a text, with what is needed to mark any place in it.

    >>> trace = Trace(b"age,income\n", 0, b"age,income\n39,low\n", 18)
    >>> trace.differs(trace.mark(11)) is None
    True
    >>> Trace(b"age,income\n", 0, b"age,income\n39,low\n", 17).differs(trace.mark(18))
    'it has 17 bytes, but had 18'
    """

    first: bytes  # of the text, at most `REMEMBERED`
    begin: int  # offset of data[0]
    data: bytes  # at least `REMEMBERED` bytes before any place asked for, if there are so many
    size: int | None  # bytes of the file, packed or not; None of a pipe

    def mark(self, offset: int) -> dict[str, Any]:
        """What the file looks like around ``offset``, as plain values."""
        stop = offset - self.begin
        return {
            "bytes": self.size,
            "first": digest(self.first[:offset]),
            "last": digest(self.data[max(0, stop - REMEMBERED) : stop]),
            "offset": offset,
        }

    def differs(self, mark: Mapping[str, Any]) -> str | None:
        """In what the file differs from the one that was marked, None if in nothing."""
        offset = mark["offset"]
        other = self.begins_otherwise(mark)
        if other is None and self.mark(offset)["last"] != mark["last"]:
            return f"it has something else before byte {offset}"
        return other

    def begins_otherwise(self, mark: Mapping[str, Any]) -> str | None:
        """Like `differs`, while only the beginning is in memory."""
        if mark["bytes"] is not None and self.size is not None and self.size < mark["bytes"]:
            return f"it has {self.size} bytes, but had {mark['bytes']}"
        if digest(self.first[: mark["offset"]]) != mark["first"]:
            return "it begins with something else"
        return None


def digest(data: bytes) -> str:
    """A short text that stands for some bytes."""
    return sha256(data).hexdigest()


def names_mark(names: tuple[str, ...]) -> list[Any]:
    """What stands for the names of files that were read before the one with the place."""
    return [len(names), digest("\0".join(names).encode(errors="surrogateescape"))]


def check_names(names: tuple[str, ...], mark: list[Any], path: str) -> None:
    """Refuse to go on in ``path`` behind other files than those that were read.

    Raises:
        DataError: if they are others.
    """
    if names_mark(names) != list(mark):
        raise DataError(
            f"{path} comes behind {len(names)} files, which are not the {mark[0]} that were read "
            "before it: the files are not the same any more"
        )

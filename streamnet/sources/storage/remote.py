"""Files in buckets and on web servers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from errno import EACCES, ENOENT
from fnmatch import translate
from glob import has_magic
from typing import final

from streamnet import objects
from streamnet.errors import DataError, ReadError
from streamnet.objects import ObjectInfo, VersionError
from streamnet.sources.storage.archives import is_hidden
from streamnet.sources.storage.raw import DamagedFileError, RawFile, find_root


@final
class RemoteFile(RawFile):
    """An object, in the version that it had when the source was made."""

    def __init__(self, info: ObjectInfo) -> None:
        self._info = info
        self._pieces: Iterator[bytes] | None = None  # opened with the first byte that is read
        self._rest = memoryview(b"")
        self._at = 0
        self.size: int | None = info.size

    def read(self, most: int) -> bytes:
        """Read up to so many bytes."""
        if self._at >= self._info.size:
            return b""
        try:
            if self._pieces is None:
                self._pieces = objects.stream(self._info.url, self._at, self._info.version)
            if not self._rest:
                self._rest = memoryview(next(self._pieces, b""))
        except VersionError as error:
            raise DamagedFileError(str(error.strerror)) from None
        except OSError:
            self._pieces = None
            raise
        found, self._rest = bytes(self._rest[:most]), self._rest[most:]
        if not found:
            raise OSError(None, "the connection was closed early")
        self._at += len(found)
        return found

    def seek(self, offset: int) -> bool:
        """Continue at ``offset`` with a new request."""
        if offset > self._info.size:
            return False
        self._pieces, self._rest, self._at = None, memoryview(b""), offset
        return True

    def close(self) -> None:
        """Drop the connection."""
        self._pieces = None


def find_object(url: str) -> ObjectInfo:
    """Size and version of an object; a `DataError` if it can't be read."""
    try:
        return objects.head(url)
    except OSError as error:
        raise make_object_error(error) from None


def make_object_error(error: OSError) -> DataError:
    """The error for an object; a `ReadError` if it may be temporary."""
    kind = DataError if error.errno in (ENOENT, EACCES) else ReadError
    return kind(str(error.strerror))


def list_objects(url: str) -> list[ObjectInfo]:
    """The objects below a URL that may hold samples, in the order of their names."""
    folder = url.rstrip("/") + "/"
    try:
        found = objects.list_below(folder)
    except OSError as error:
        raise make_object_error(error) from None
    return [
        info for info in found if info.size > 0 and not is_hidden(info.url.removeprefix(folder))
    ]


def match_objects(pattern: str) -> list[ObjectInfo]:
    """The objects that match a pattern, in which ``**`` stands for any folders."""
    rule = _compile(pattern)
    return [info for info in list_objects(find_root(pattern)) if rule.fullmatch(info.url)]


def _compile(pattern: str) -> re.Pattern[str]:
    parts = []
    for part in pattern.split("/"):
        if part == "**":
            parts.append("(?:[^/]+/)*")
            continue
        text = re.escape(part)
        if has_magic(part):
            text = re.sub(r"^\(\?s:|\)\\[Zz]$", "", translate(part)).replace(".*", "[^/]*")
        parts.append(f"{text}/")
    return re.compile("".join(parts).removesuffix("/"))

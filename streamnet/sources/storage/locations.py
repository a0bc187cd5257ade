"""`Locations`: finds files by the names that are given, and opens them."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import partial
from glob import glob, has_magic
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, final

from streamnet.errors import DataError, ReadError
from streamnet.objects import ObjectInfo, can_list, check_url, is_url
from streamnet.sources.columns import format_names, suggest_column
from streamnet.sources.storage.archives import (
    ARCHIVE_SUFFIXES,
    TAR_HEAD_BYTES,
    TAR_SIGNATURE,
    TAR_SIGNATURE_AT,
    ZIP_SIGNATURES,
    Archive,
    TarArchive,
    ZipArchive,
    find_zip_content,
    is_hidden,
)
from streamnet.sources.storage.compression import (
    COMPRESSIONS,
    DECOMPRESSION_ERRORS,
    find_compression,
    find_suffix,
)
from streamnet.sources.storage.raw import (
    STANDARD_INPUT,
    UNFINISHED,
    DamagedFileError,
    LocalFile,
    RawFile,
    check_file_name,
    check_readable,
    make_open_error,
)
from streamnet.sources.storage.remote import RemoteFile, find_object, list_objects, match_objects

_HEAD_BYTES = 1 << 12  # by which an archive without a suffix is recognized
DOCUMENT_SUFFIXES = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
"""Suffixes of documents that consist of parts."""
_COPY_BYTES = 1 << 20
_ARCHIVE_ENDS = (*ARCHIVE_SUFFIXES, *(f".tar{compression.suffix}" for compression in COMPRESSIONS))


@final
class Locations:
    """Files of this machine, in buckets and on web servers, and members of archives.

    A member is named like ``parts.zip/2026.csv``.

    Args:
        suffixes: Suffixes of files that are read as they are, whatever they contain.
    """

    def __init__(self, suffixes: frozenset[str] = frozenset()) -> None:
        self._suffixes = suffixes
        self._archives: dict[str, Archive] = {}
        self._objects: dict[str, ObjectInfo] = {}  # by URL
        self._copies: dict[str, BinaryIO] = {}  # of files that are read at any place

    def expand(self, given: Sequence[str], *, follow: bool = False) -> list[str]:
        """The names of all files that these names and patterns stand for.

        Members of an archive and files below a folder come in the order of their names, like the
        matches of a pattern. If ``follow``, the last file may be gone for a moment: that is noticed
        when it is opened.

        Raises:
            DataError: If nothing matches, or a file can't be read.
        """
        names: list[str] = []
        for path in given:
            names += self._find(path)
        if not names:
            raise DataError("no file is given")
        files: list[str] = []
        for name in names:
            check_file_name(name)
            if Path(name).is_dir():
                for found in list_files(name):
                    files += self._list_archive(found)
            elif self._split(name) is not None:
                files.append(name)
            elif not Path(name).exists() and (whole := self.split_document(name)[0]) != name:
                check_readable(whole)
                files.append(name)
            elif is_url(name):
                files += self._list_archive(name)
            elif follow and name == names[-1]:
                files.append(name)
                if Path(name).exists():
                    check_readable(name)
            else:
                check_readable(name)
                files += self._list_archive(name)
        return files

    def open(self, path: str) -> RawFile:
        """Open a file by one of the names that `expand` returned."""
        found = self._split(path)
        if found is None:
            return self._open_raw(path)
        archive, name = found
        if name not in archive.members:
            raise DataError(f"{archive.path} no longer has {name!r}")
        return archive.open(name)

    def size(self, path: str) -> int | None:
        """Size of a file in bytes; None for what is no regular file, or is gone."""
        path = self.split_document(path)[0]
        if path == STANDARD_INPUT:
            return None
        if (found := self._split(path)) is not None:
            archive, name = found
            return archive.members[name].size if name in archive.members else None
        if is_url(path):
            return self._find_object(path).size
        try:
            status = Path(path).stat()
        except OSError:
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def head(self, path: str, most: int) -> bytes:
        """The first bytes of a regular file; none of anything else."""
        if self.size(path) is None:
            return b""
        raw = self.open(path)
        try:
            return _read_fully(raw, most)
        except (OSError, DamagedFileError):
            return b""  # the error is reported when the file is read
        finally:
            raw.close()

    @staticmethod
    def split_document(path: str) -> tuple[str, str | None]:
        """A document and the part that a path names, as in ``book.xlsx/Sheet 2``; or the path."""
        whole, slash, part = path.rpartition("/")
        if slash and part and whole.lower().endswith(DOCUMENT_SUFFIXES):
            return whole, part
        return path, None

    def is_local(self, path: str) -> bool:
        """Whether a file is one of this machine, outside of archives."""
        return not is_url(path) and self._split(path) is None

    def local(self, path: str) -> str:
        """The path of a file of this machine with the content of a file.

        What is no file of this machine is copied to a temporary one, which is never left behind.
        """
        if self.is_local(path):
            return path
        if path not in self._copies:
            self._copies[path] = _copy(path, self.open(path))
        return f"/proc/self/fd/{self._copies[path].fileno()}"

    def forget(self, path: str) -> None:
        """Remove the copy of a file that was read."""
        copy = self._copies.pop(path, None)
        if copy is not None:
            copy.close()

    def close(self) -> None:
        """Close archives and copies."""
        for copy in self._copies.values():
            copy.close()
        self._copies.clear()
        for archive in self._archives.values():
            archive.close()
        self._archives.clear()

    def _open_raw(self, path: str) -> RawFile:
        """Open a file that is not in an archive."""
        return RemoteFile(self._find_object(path)) if is_url(path) else LocalFile(path)

    def _find_object(self, url: str) -> ObjectInfo:
        """Size and version of an object, which must not change from then on."""
        if url not in self._objects:
            self._objects[url] = find_object(url)
        return self._objects[url]

    def _find_objects(self, url: str) -> list[str]:
        """The URLs of objects that a URL stands for: those of a folder, or that match."""
        check_url(url)
        if has_magic(url) and can_list(url):
            found = match_objects(url)
        elif url.endswith("/") and can_list(url):
            found = list_objects(url)
        else:
            return [url]
        if not found:
            raise DataError(f"{url} matches no object")
        self._objects |= {info.url: info for info in found}
        return [info.url for info in found]

    def _find(self, path: str) -> list[str]:
        """The names that a name or a pattern stands for; a missing file stands for itself."""
        if path == STANDARD_INPUT or (not is_url(path) and Path(path).exists()):
            return [path]
        if (found := self._split(path)) is not None:
            archive, wanted = found
            matches = [name for name in archive.members if fnmatchcase(name, wanted)]
            if wanted in archive.members or not matches:
                matches = [wanted]
            if matches == [wanted] and wanted not in archive.members:
                names = list(archive.members)
                raise DataError(
                    f"{archive.path} has no {wanted!r}, but only {format_names(names)}."
                    f"{suggest_column(wanted, names)}"
                )
            return [f"{archive.path}/{name}" for name in matches]
        if is_url(path):
            return self._find_objects(path)
        if not has_magic(path):
            return [path]
        matches = sorted(match for match in glob(path, recursive=True) if not Path(match).is_dir())  # noqa: PTH207 - absolute and relative patterns alike
        if not matches:
            raise DataError(f"{path} matches no file")
        return matches

    def _list_archive(self, path: str) -> list[str]:
        """The members of a file that is an archive; the file itself if it is none."""
        archive = self._open_archive(path)
        if archive is None:
            return [path]
        if not archive.members:
            raise DataError(f"{path} is an archive that holds no files")
        return [f"{path}/{name}" for name in archive.members]

    def _split(self, path: str) -> tuple[Archive, str] | None:
        """The archive of which a path names a member, and the member; None for any other path."""
        for place in re.finditer("/", path):
            where = path[: place.start()]
            known = self._archives.get(where)
            if known is None and self._may_be_archive(where):
                known = self._open_archive(where)
            if known is not None:
                return known, path[place.end() :]
        return None

    def _may_be_archive(self, path: str) -> bool:
        """Whether a path that precedes a member's name may be that of an archive."""
        if is_url(path):  # each look at an object takes a request
            return path.lower().endswith(_ARCHIVE_ENDS)
        return Path(path).is_file()

    def _open_archive(self, path: str) -> Archive | None:
        """Open a file that is an archive; None if it is none."""
        if path == STANDARD_INPUT or not (is_url(path) or Path(path).is_file()):
            return None
        if path not in self._archives:
            make = self._find_kind(path)
            if make is None:
                return None
            self._archives[path] = make()
        return self._archives[path]

    def _find_kind(self, path: str) -> Callable[[], Archive] | None:
        """What opens an archive: by its content, if its name does not say what it is."""
        suffix = find_suffix(path)
        if suffix in self._suffixes:
            return None
        raw = self._open_raw(path)
        try:
            head = _read_fully(raw, _HEAD_BYTES)
        except OSError as error:
            raise make_open_error(path, error) from None
        finally:
            raw.close()
        if head.startswith(ZIP_SIGNATURES):
            content = Path(self.local(path))
            with content.open("rb") as file:
                is_document = find_zip_content(file) is not None
            if is_document:
                return None
            return partial(ZipArchive, path, lambda: content.open("rb"))
        is_tar = _decompress(head)[TAR_SIGNATURE_AT:].startswith(TAR_SIGNATURE)
        if is_tar or suffix in ARCHIVE_SUFFIXES[1:]:
            return partial(TarArchive, path, partial(self._open_raw, path))
        return None


def list_files(folder: str) -> list[str]:
    """The files below a folder that may hold samples, in the order of their names."""
    found = []
    for path in Path(folder).rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not is_hidden(name) and not name.endswith(UNFINISHED):
            found.append(name)
    if not found:
        raise DataError(f"{folder} is a folder without files to read")
    return [str(Path(folder, name)) for name in sorted(found)]


def _decompress(head: bytes) -> bytes:
    """The decompressed start of a file, of which this is the start."""
    compression = find_compression(head)
    if compression is None:
        return head
    try:
        return compression.make().decompress(head, max_length=TAR_HEAD_BYTES)
    except DECOMPRESSION_ERRORS:
        return b""


def _read_fully(raw: RawFile, most: int) -> bytes:
    """The next bytes of a file; fewer only at its end."""
    pieces = []
    while most > 0 and (piece := raw.read(most)):
        pieces.append(piece)
        most -= len(piece)
    return b"".join(pieces)


def _copy(path: str, raw: RawFile) -> BinaryIO:
    file = TemporaryFile()  # noqa: SIM115 - it is returned
    try:
        while piece := raw.read(_COPY_BYTES):
            file.write(piece)
        file.flush()
    except DamagedFileError as error:
        file.close()
        raise DataError(f"{path} is damaged: {error}") from None
    except OSError as error:
        file.close()
        raise ReadError(f"{path} can't be copied to a temporary file: {error}") from None
    finally:
        raw.close()
    return file

"""Archives, whose members are read like files: zip, and tar in any compression."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from lzma import LZMAError
from typing import Any, BinaryIO, NamedTuple, cast, final

from streamnet.errors import DataError
from streamnet.sources.storage.compression import (
    DECOMPRESSION_ERRORS,
    Decompressor,
    find_compression,
)
from streamnet.sources.storage.raw import DamagedFileError, RawFile

TAR_SIGNATURE = b"ustar"
TAR_SIGNATURE_AT = 257
TAR_HEAD_BYTES = TAR_SIGNATURE_AT + len(TAR_SIGNATURE)
ZIP_SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")  # the latter of one without members
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".tzst")
_HIDDEN = (".", "_")  # first characters of names that hold no samples, such as __MACOSX, _SUCCESS
_READ_BYTES = 1 << 16
_ENCRYPTED = 1  # flag of a member of a zip file
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, LZMAError, EOFError, NotImplementedError)

OpenRaw = Callable[[], RawFile]


class Member(NamedTuple):
    """A file in an archive."""

    name: str
    size: int  # bytes
    offset: int  # of its content in the bytes of a tar file; 0 in a zip file


class Archive(ABC):
    """A file that contains files; hidden ones, folders and links do not count."""

    def __init__(self, path: str, members: list[Member]) -> None:
        self.path = path
        shown = [member for member in members if not is_hidden(member.name)]
        self.members: dict[str, Member] = {
            member.name: member for member in sorted(shown, key=lambda member: member.name)
        }

    @abstractmethod
    def open(self, name: str) -> RawFile:
        """Open a member."""

    @abstractmethod
    def close(self) -> None:
        """Close the archive. Closing twice is allowed."""


def is_hidden(path: str) -> bool:
    """Whether a file, or a folder that it is in, has a name that marks it as no data.

    >>> is_hidden("__MACOSX/x.csv"), is_hidden("data/.x.csv"), is_hidden("data/x.csv")
    (True, True, False)
    """
    return any(part.startswith(_HIDDEN) for part in path.split("/"))


# -------------------------------------------------------------------------- zip


def find_zip_content(file: BinaryIO) -> str | None:
    """What a zip file is if it is a document rather than an archive: a suffix, or None."""
    try:
        names = frozenset(zipfile.ZipFile(file).namelist())
    except _ZIP_ERRORS:
        return None
    if "[Content_Types].xml" in names:
        found = {"xl/workbook.xml": "xlsx", "xl/workbook.bin": "xlsb", "word/document.xml": "docx"}
        return next((kind for name, kind in found.items() if name in names), "Office document")
    return "ods" if "content.xml" in names and "mimetype" in names else None


@final
class ZipArchive(Archive):
    """A zip file. ``open_content`` opens it so that it can be read at any place."""

    def __init__(self, path: str, open_content: Callable[[], BinaryIO]) -> None:
        self._open_content = open_content
        self._zip: zipfile.ZipFile | None = None  # opened with the first member
        self._content: BinaryIO | None = None
        try:
            with open_content() as file, zipfile.ZipFile(file) as listed:
                infos = [info for info in listed.infolist() if not info.is_dir()]
        except _ZIP_ERRORS as error:
            raise DataError(f"{path} is a damaged ZIP archive: {error}") from None
        super().__init__(path, [Member(info.filename, info.file_size, 0) for info in infos])

    def open(self, name: str) -> RawFile:
        """Open a member."""
        try:
            if self._zip is None:
                self._content = self._open_content()
                self._zip = zipfile.ZipFile(self._content)
            if self._zip.getinfo(name).flag_bits & _ENCRYPTED:
                what = f"{self.path}/{name} is encrypted with a password"
                raise DataError(f"{what}: unpack it (unzip asks for it)")
            return _ZipMember(cast(BinaryIO, self._zip.open(name)), self.members[name].size)
        except _ZIP_ERRORS as error:
            raise DataError(f"{self.path}/{name} can't be unpacked: {error}") from None
        except KeyError:
            raise DataError(f"{self.path} no longer has {name!r}") from None

    def close(self) -> None:
        """Close the archive."""
        zipped, content = self._zip, self._content
        self._zip = self._content = None
        if zipped is not None:
            zipped.close()
        if content is not None:
            content.close()


@final
class _ZipMember(RawFile):
    """A member of a zip file, whose checksum is compared at its end."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self.size: int | None = size

    def read(self, most: int) -> bytes:
        """Read up to so many bytes."""
        try:
            return self._file.read(most)
        except _ZIP_ERRORS as error:
            raise DamagedFileError(str(error)) from None

    def close(self) -> None:
        """Close the member; the archive stays open."""
        self._file.close()


# -------------------------------------------------------------------------- tar


@final
class _Plain:
    """A tar file that is not compressed, in the shape of a decompressor."""

    eof = False
    needs_input = True
    unused_data = b""

    def decompress(self, data: bytes, max_length: int) -> bytes:  # noqa: ARG002 - as others
        return data


@final
class _TarBytes:
    """The decompressed bytes of a tar file, in order; a file of which only forward is possible."""

    def __init__(self, raw: RawFile) -> None:
        self._raw = raw
        self._decompressor: Decompressor | None = None
        self._given = b""
        self._found = b""
        self.at = 0  # offset of the next byte

    def read(self, most: int = -1) -> bytes:
        """Read so many bytes; fewer only at the end."""
        pieces = []
        while most > 0:
            if not self._found:
                self._found = self._decompress()
                if not self._found:
                    break
            piece, self._found = self._found[:most], self._found[most:]
            pieces.append(piece)
            most -= len(piece)
        found = b"".join(pieces)
        self.at += len(found)
        return found

    def tell(self) -> int:
        """Offset of the next byte."""
        return self.at

    def seek(self, offset: int) -> None:
        """Continue at an offset that is not behind."""
        if self._decompressor is None:
            self._found = self._decompress()
        if isinstance(self._decompressor, _Plain) and self._raw.seek(offset):
            self._given = self._found = b""
            self.at = offset
        while self.at < offset and self.read(min(_READ_BYTES, offset - self.at)):
            pass

    def release(self) -> None:
        """Close the file."""
        self._raw.close()

    def _decompress(self) -> bytes:
        """Some bytes; none at the end."""
        while True:
            decompressor = self._decompressor
            if decompressor is None or decompressor.eof:
                rest = b"" if decompressor is None else decompressor.unused_data
                self._given = (rest + self._given).lstrip(b"\0") or self._raw.read(_READ_BYTES)
                if not self._given:
                    return b""
                compression = find_compression(self._given)
                if compression is None and decompressor is not None:
                    raise DamagedFileError("has something else after its compressed data")
                self._decompressor = _Plain() if compression is None else compression.make()
                continue
            if decompressor.needs_input and not self._given:
                self._given = self._raw.read(_READ_BYTES)
                if not self._given:
                    if isinstance(decompressor, _Plain):
                        return b""
                    raise DamagedFileError("it is cut off in the middle of its compressed data")
            given, self._given = (
                (self._given, b"") if decompressor.needs_input else (b"", self._given)
            )
            try:
                found = decompressor.decompress(given, max_length=_READ_BYTES)
            except DECOMPRESSION_ERRORS as error:
                raise DamagedFileError(str(error)) from None
            if found:
                return found


@final
class TarArchive(Archive):
    """A tar file, compressed or not.

    A compressed one is decompressed once to list its members, and then from its start up to a
    member, unless that follows the one that was read before.
    """

    def __init__(self, path: str, open_raw: OpenRaw) -> None:
        self._open_raw = open_raw
        self._kept: _TarBytes | None = None  # positioned behind the member that was closed last
        super().__init__(path, self._list_members(path))

    def _list_members(self, path: str) -> list[Member]:
        raw = self._open_raw()
        found = []
        try:
            with tarfile.open(fileobj=cast(Any, _TarBytes(raw)), mode="r:") as tar:
                for info in tar:
                    if info.issparse():
                        raise DataError(f"{path}/{info.name} is a sparse file: unpack it (tar xf)")
                    if info.isfile():
                        found.append(Member(info.name, info.size, info.offset_data))
        except (tarfile.TarError, DamagedFileError) as error:
            raise DataError(f"{path} is a damaged tar archive: {error}") from None
        except OSError as error:
            raise DataError(f"{path} can't be read: {error.strerror or error}") from None
        finally:
            raw.close()
        return found

    def open(self, name: str) -> RawFile:
        """Open a member."""
        member = self.members[name]
        kept, self._kept = self._kept, None
        if kept is not None and kept.at > member.offset:
            kept.release()
            kept = None
        return _TarMember(self, kept or _TarBytes(self._open_raw()), member)

    def close(self) -> None:
        """Close the file that was kept."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.release()

    def keep(self, tar: _TarBytes) -> None:
        """Keep what a member was read from for the next one."""
        if self._kept is not None:
            self._kept.release()
        self._kept = tar


@final
class _TarMember(RawFile):
    """A member of a tar file."""

    def __init__(self, archive: TarArchive, tar: _TarBytes, member: Member) -> None:
        self._archive = archive
        self._tar: _TarBytes | None = tar
        self._begin = member.offset
        self._end = member.offset + member.size
        self._begun = False
        self.size: int | None = member.size

    def read(self, most: int) -> bytes:
        """Read up to so many bytes."""
        tar = self._tar
        assert tar is not None
        if not self._begun:
            tar.seek(self._begin)
            self._begun = True
        wanted = min(most, self._end - tar.at)
        found = tar.read(wanted)
        if wanted > 0 and not found:
            raise DamagedFileError("it is cut off: its archive ends before it")
        return found

    def close(self) -> None:
        """Close the member, and keep the archive for the next one."""
        tar, self._tar = self._tar, None
        if tar is not None:
            self._archive.keep(tar)

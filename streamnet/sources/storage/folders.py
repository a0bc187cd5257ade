"""Folders in which files appear: on this machine, and in buckets."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, final

from streamnet import objects
from streamnet.errors import DataError
from streamnet.sources.storage.raw import UNFINISHED, check_file_name, make_open_error
from streamnet.sources.storage.remote import list_objects, make_object_error


class FolderEntry(NamedTuple):
    """A file in a folder."""

    name: str  # relative to the folder
    size: int
    version: object  # differs once the file has changed


class Folder(ABC):
    """The files of a folder.

    Args:
        path: Path or URL of the folder.
    """

    settled_seconds: float  # without a change after which a file is complete
    pause_seconds: float  # between two listings

    def __init__(self, path: str) -> None:
        self.path = path

    @abstractmethod
    def join(self, name: str) -> str:
        """The path of a file."""

    @abstractmethod
    def exists(self, path: str) -> bool:
        """Whether a file is there."""

    @abstractmethod
    def list(self) -> list[FolderEntry]:
        """All files with a name that may be read, in order.

        Raises:
            DataError: If the folder can't be read.
        """

    @abstractmethod
    def version(self) -> object:
        """What differs once a file has come or gone, if that is known without listing them."""

    @abstractmethod
    def look(self, name: str) -> FolderEntry | None:
        """A file as it is now; None if it is gone."""


@final
class LocalFolder(Folder):
    """A folder of this machine, without those in it."""

    settled_seconds: float = 1.0
    pause_seconds: float = 0.2

    def join(self, name: str) -> str:
        """The path of a file."""
        return str(Path(self.path, name))

    def exists(self, path: str) -> bool:
        """Whether a file is there."""
        return Path(path).exists()

    def list(self) -> list[FolderEntry]:
        """All files but hidden and unfinished ones."""
        found = []
        try:
            with os.scandir(self.path) as entries:
                for entry in filter(_is_complete_name, entries):
                    with suppress(FileNotFoundError):  # files that were read may be removed
                        status = entry.stat()
                        found.append(FolderEntry(entry.name, status.st_size, status.st_mtime_ns))
        except OSError as error:
            raise make_open_error(self.path, error) from None
        for name, *_ in found:
            check_file_name(os.path.join(self.path, name))  # noqa: PTH118 - for thousands
        return sorted(found, key=lambda entry: entry.name)

    def version(self) -> object:
        """When the folder itself has changed."""
        try:
            return Path(self.path).stat().st_mtime_ns
        except OSError as error:
            raise make_open_error(self.path, error) from None

    def look(self, name: str) -> FolderEntry | None:
        """A file as it is now."""
        try:
            status = Path(self.path, name).stat()
        except OSError:
            return None
        return FolderEntry(name, status.st_size, status.st_mtime_ns)


@final
class ObjectFolder(Folder):
    """All objects below a URL; each is complete as soon as it is there."""

    settled_seconds: float = 0.0
    pause_seconds: float = 2.0

    def __init__(self, path: str) -> None:
        super().__init__(path.rstrip("/") + "/")
        self._known: dict[str, FolderEntry] = {}  # as they were listed

    def join(self, name: str) -> str:
        """The URL of an object."""
        return self.path + name

    def exists(self, path: str) -> bool:
        """Whether an object is there."""
        try:
            objects.head(path)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise make_object_error(error) from None
        return True

    def list(self) -> list[FolderEntry]:
        """All objects but hidden and unfinished ones."""
        found = [
            FolderEntry(info.url.removeprefix(self.path), info.size, info.version)
            for info in list_objects(self.path)
            if not info.url.endswith(UNFINISHED)
        ]
        self._known = {entry.name: entry for entry in found}
        return found

    def version(self) -> object:
        """Always the same: only listing the objects shows what has changed."""
        return None

    def look(self, name: str) -> FolderEntry | None:
        """An object as it was listed."""
        return self._known.get(name)


def open_folder(path: str) -> Folder | None:
    """The folder of a path or URL; None if it is none."""
    if objects.is_url(path):
        if not objects.can_list(path):
            raise DataError(f"{path} is on a web server, whose files can't be listed: name them")
        return ObjectFolder(path)
    return LocalFolder(path) if Path(path).is_dir() else None


def _is_complete_name(entry: os.DirEntry[str]) -> bool:
    name = entry.name
    return not name.startswith(".") and not name.endswith(UNFINISHED) and entry.is_file()

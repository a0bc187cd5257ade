"""Origins: where a replica finds the newest models, in files or at another daemon."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from errno import ENOENT
from functools import partial
from pathlib import Path
from time import time
from typing import NamedTuple, TypeVar, final

from anyio import to_thread

from streamnet import objects
from streamnet.client.clients import AsyncClient
from streamnet.durability.state_directory import POINTER, PublishedModel, parse_pointer
from streamnet.errors import (
    ConfigurationError,
    ModelFileError,
    RefusedError,
    StateError,
    StreamnetError,
)
from streamnet.objects import is_url, join_url
from streamnet.settings.daemon import MODEL_NAME
from streamnet.settings.replica import ReplicaSection

_MODELS = "models"  # folder of a state directory
_CHECKPOINTS = "checkpoints"  # likewise
_STATE = "state"  # folder of a hosted model
_TIMEOUT_SECONDS = 10.0

T = TypeVar("T")


class OriginError(StreamnetError):
    """An origin gave no answer, for a reason that may be temporary."""


class Listed(NamedTuple):
    """A model as an origin lists it."""

    version: str | None  # changes with the model; None before the first one
    generation: int = 0
    age: float = 0.0  # seconds since it was published


class Origin(ABC):
    """Where models are published."""

    @abstractmethod
    async def list(self) -> Mapping[str, Listed]:
        """The models by name; raises an OriginError if that can't be found out."""

    @abstractmethod
    async def load(self, name: str) -> bytes:
        """The newest file of a model, which may be newer than the one that was listed.

        Raises:
            OriginError: If it can't be read.
            ModelFileError: If it is damaged.
        """

    async def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Close connections."""


def open_origin(settings: ReplicaSection) -> Origin:
    """Open the origin of a replica.

    Raises:
        ConfigurationError: If it can't be one, or its token is missing.
    """
    return DaemonOrigin(settings) if settings.reads_daemon else FileOrigin(settings)


@final
class DaemonOrigin(Origin):
    """The models that a daemon publishes for its own predictions."""

    def __init__(self, settings: ReplicaSection) -> None:
        token = None
        if (variable := settings.token_env) is not None:
            token = os.environ.get(variable)
            if not token:
                raise ConfigurationError(
                    f"replica.token_env is {variable!r}, but there is no such variable"
                )
        self._client = AsyncClient(settings.of, token=token, timeout=_TIMEOUT_SECONDS, patience=0.0)

    async def list(self) -> Mapping[str, Listed]:
        """The models that the token is for."""
        try:
            lines = await self._client.models()
        except RefusedError as error:
            raise OriginError(str(error)) from error
        return {
            line.name: Listed(line.version, line.generation or 0, line.model_age or 0.0)
            for line in lines
        }

    async def load(self, name: str) -> bytes:
        """Download a model."""
        try:
            return await self._client.download(name)
        except RefusedError as error:
            raise OriginError(str(error)) from error

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


@final
class FileOrigin(Origin):
    """The models that runs write into their state directories, or a daemon into its folder.

    They are the champions of the runs, see `streamnet.durability.state_directory`.
    """

    def __init__(self, settings: ReplicaSection) -> None:
        self._files: _Files = _Bucket(settings.of) if is_url(settings.of) else _Folder(settings.of)
        self._of = settings.of
        self._name = settings.name
        self._published: dict[str, tuple[str, PublishedModel]] = {}  # with the path of its folder

    async def list(self) -> Mapping[str, Listed]:
        """The models whose folders are there."""
        return await to_thread.run_sync(self._explained, self._list)

    async def load(self, name: str) -> bytes:
        """Read the file that the pointer named when it was listed."""
        return await to_thread.run_sync(self._explained, partial(self._load, name))

    def _explained(self, act: Callable[[], T]) -> T:
        try:
            return act()
        except OSError as error:
            place = error.filename or self._of
            raise OriginError(f"{place} can't be read: {error.strerror or error}") from error
        except StateError as error:
            raise OriginError(str(error)) from error

    def _list(self) -> dict[str, Listed]:
        folders = self._files.folders("")
        if {_MODELS, _CHECKPOINTS} <= folders:
            return self._list_parts()
        found = {}
        for name in sorted(filter(MODEL_NAME.fullmatch, folders)):
            listed = self._look(name, f"{name}/{_STATE}/{_MODELS}")
            # A reset moves the state away for a moment.
            if (
                listed.version is not None
                or name in self._published
                or _STATE in self._files.folders(name)
            ):
                found[name] = listed
        return found

    def _list_parts(self) -> dict[str, Listed]:
        """The model of a run, or those of its parts."""
        parts = self._files.folders(_MODELS)
        if parts:
            return {name: self._look(name, f"{_MODELS}/{name}") for name in sorted(parts)}
        name = self._name or self._of.rstrip("/").rpartition("/")[2].lower()
        if not MODEL_NAME.fullmatch(name):
            raise OriginError(f"{self._of} has no name that a model can have: give replica.name")
        return {name: self._look(name, _MODELS)}

    def _look(self, name: str, folder: str) -> Listed:
        path = f"{folder}/{POINTER}"
        try:
            data, modified = self._files.read(path)
        except FileNotFoundError:
            return Listed(None)
        published = parse_pointer(data, f"{self._of}/{path}")
        if published is None:
            return Listed(None)
        self._published[name] = folder, published
        version = f"{published.file}-{published.checksum}"
        return Listed(version, published.generation, max(0.0, time() - modified))

    def _load(self, name: str) -> bytes:
        folder, published = self._published[name]
        data, _ = self._files.read(f"{folder}/{published.file}")
        if hashlib.sha256(data).hexdigest() != published.checksum:
            raise ModelFileError(
                f"{self._of}/{folder}/{published.file} does not match the checksum in {POINTER}"
            )
        return data


class _Files(ABC):
    """Files below a folder; paths have slashes."""

    @abstractmethod
    def folders(self, path: str) -> set[str]:
        """Names of the folders in a folder; an OSError if there is nothing at all in it."""

    @abstractmethod
    def read(self, path: str) -> tuple[bytes, float]:
        """The content of a file, and when it was written, in seconds since 1970."""


@final
class _Folder(_Files):
    def __init__(self, root: str) -> None:
        self._root = Path(root)

    def folders(self, path: str) -> set[str]:
        with os.scandir(self._root / path) as entries:
            found = {entry.name: entry.is_dir() for entry in entries}
        if not found:  # a file system that is not mounted looks like that
            raise OSError(ENOENT, "it is empty", str(self._root / path))
        return {name for name, is_folder in found.items() if is_folder}

    def read(self, path: str) -> tuple[bytes, float]:
        with (self._root / path).open("rb") as file:
            return file.read(), os.fstat(file.fileno()).st_mtime


@final
class _Bucket(_Files):
    def __init__(self, url: str) -> None:
        objects.check_url(url)
        self._url = url

    def folders(self, path: str) -> set[str]:
        url = join_url(self._url, path) if path else self._url
        folders, names = objects.list_names(url)
        if not folders and not names:
            raise OSError(ENOENT, "it is empty", url)
        return set(folders)

    def read(self, path: str) -> tuple[bytes, float]:
        return objects.read_dated(join_url(self._url, path))

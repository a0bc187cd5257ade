"""The state directory: single-writer lock, checkpoint generations, and published models."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, final

from streamnet.durability.checkpoint import (
    CorruptCheckpointError,
    StateDict,
    compress,
    decode,
    encode_parts,
)
from streamnet.durability.files import (
    DISK,
    FileSystem,
    remove_partial_files,
    write_all,
    write_durably,
)
from streamnet.durability.row_files import RowFolder
from streamnet.errors import ConfigurationError, DamagedStateError, InUseError, StateError


@final
class WriterLock:
    """Holds the lock of a folder until `close`, or until the process dies.

    It is a lock of the kernel, which releases it when a process is killed. The file names the
    holder for people; nothing relies on that.

    Raises:
        InUseError: If the lock is held already.
        OSError: If the lock file can't be created.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> lock = WriterLock(folder)
    >>> WriterLock(folder)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    streamnet.errors.InUseError: ... is in use by process ...: only one may write there
    >>> lock.close()
    >>> WriterLock(folder).close()
    """

    NAME = "lock"

    def __init__(self, folder: Path, *, name: str = NAME, files: FileSystem = DISK) -> None:
        self._files = files
        self._path = path = folder / name
        handle = files.lock(path)
        if handle is None:
            who = ""
            with suppress(OSError):
                who = files.read(path).decode(errors="replace").strip()
            who = who or "another process"
            name = files.describe(folder)
            raise InUseError(f"{name} is in use by {who}: only one may write there")
        self._handle: int | None = handle
        # The name is only for people: a full disk must not keep a run from resuming.
        with suppress(OSError):
            files.close(files.open_truncated_at(path, 0))
            write_all(files, handle, f"process {os.getpid()}\n".encode())

    @classmethod
    def find_holder(cls, folder: Path) -> str:
        """The process that holds the lock of a folder, empty if none does.

        Reads the kernel's list of locks, so that it never keeps a process from taking the lock.
        """
        lock = folder / cls.NAME
        with suppress(OSError, ValueError):
            status = lock.stat()
            for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
                words = line.split()
                if words[1] == "FLOCK" and int(words[5].split(":")[2]) == status.st_ino:
                    return lock.read_text(encoding="utf-8").strip() or f"process {words[4]}"
        return ""

    def check(self) -> None:
        """Check that the folder is still the locked one; call it before writing there."""
        if self._handle is not None and not self._files.is_same_file(self._handle, self._path):
            raise InUseError(
                f"{self._files.describe(self._path)} was replaced: another process may write there "
                "now, so this one has stopped writing"
            )

    def close(self) -> None:
        """Release the lock. Closing twice is allowed."""
        handle, self._handle = self._handle, None
        if handle is not None:
            self._files.close(handle)


MIN_GENERATIONS = 3
_CHECKPOINT_NAME = re.compile(r"([0-9]{12})\.checkpoint")


class LoadedCheckpoint(NamedTuple):
    """An intact generation, and the damage of newer ones."""

    number: int
    tree: StateDict
    damaged: tuple[str, ...]  # a sentence on each damaged newer generation


@final
class Generations:
    """Writes and reads the checkpoints in a folder.

    A new one is durable before an old one is removed. Damaged ones are neither removed nor counted
    among those to keep. The ``row_files`` that a checkpoint names are in a folder below; those that
    none names any more are removed.

    >>> import tempfile
    >>> generations = Generations(Path(tempfile.mkdtemp()))
    >>> [generations.save({"n": n}) for n in range(5)], generations.numbers()
    ([0, 1, 2, 3, 4], [2, 3, 4])
    >>> generations.newest().tree
    {'n': 4}
    """

    def __init__(
        self, folder: Path, *, keep: int = MIN_GENERATIONS, files: FileSystem = DISK
    ) -> None:
        if keep < MIN_GENERATIONS:
            raise ConfigurationError(f"generations is {keep}, but must be >= {MIN_GENERATIONS}")
        self.folder = folder
        self.keep = keep
        self._files = files
        self._unreadable: set[int] = set()
        self.rows: RowFolder = RowFolder(folder / "rows", files)
        self._row_files: dict[int, Sequence[str]] = {}  # by number
        self.written: int = 0
        """Bytes that the last checkpoint took, with the row files that were new."""

    def numbers(self) -> list[int]:
        """Numbers of the existing generations, oldest first."""
        matches = (_CHECKPOINT_NAME.fullmatch(name) for name in self._files.names(self.folder))
        return [int(match[1]) for match in matches if match]

    def save(self, tree: StateDict) -> int:
        """Write the next generation and remove those that are too old; returns its number.

        After an OSError all earlier ones still exist.
        """
        numbers = self.numbers()
        number = numbers[-1] + 1 if numbers else 0
        row_files: Sequence[str] = tree.get("row_files", ())
        written = self.rows.make_durable(row_files)
        write_durably(self._path(number), compress(encode_parts(tree)), files=self._files)
        self.rows.commit(row_files)
        self._row_files[number] = row_files
        self.written = written + self.size(number)
        sound = [n for n in (*numbers, number) if n not in self._unreadable]
        for old in sound[: -self.keep]:
            # One that stays does no harm, and is removed the next time.
            with suppress(OSError):
                self._files.unlink(self._path(old))
        self._remove_row_files()
        return number

    def claim(self) -> None:
        """Save the newest generation again, so that no other process can write the next one.

        In a bucket, a number can be written once. Whoever took over the lock of a process that may
        still run claims that one's next number: each owner has numbers, an epoch, of its own.

        Raises:
            InUseError: If that process was faster.
        """
        newest = self.newest()
        if newest is not None:
            data = self._files.read(self._path(newest.number))
            write_durably(self._path(self.numbers()[-1] + 1), data, files=self._files)

    def _remove_row_files(self) -> None:
        """Remove the row files that no generation names."""
        if not self.rows.names():
            return
        needed: set[str] = set()
        for number in self.numbers():
            if number not in self._row_files and number not in self._unreadable:
                try:
                    self._row_files[number] = self.load(number).get("row_files", ())
                except StateError:
                    self._unreadable.add(number)
                    self.rows.protect()
            needed.update(self._row_files.get(number, ()))
        self.rows.remove_all_but(needed)

    def load(self, number: int) -> StateDict:
        """The content of one generation."""
        numbers = self.numbers()
        if number not in numbers:
            there = f"{', '.join(map(str, numbers))} are there" if numbers else "there is none"
            name = self._files.describe(self.folder)
            raise StateError(f"{name} has no generation {number}; {there}")
        try:
            return decode(self._files.read(self._path(number)))
        except FileNotFoundError as error:
            raise StateError(
                f"{self._files.describe(self.folder)} no longer has generation {number}"
            ) from error
        except (CorruptCheckpointError, OSError) as error:
            path = self._files.describe(self._path(number))
            raise DamagedStateError(f"{path}: {error}") from error

    def forget(self, after: int, before: int) -> None:
        """Remove the generations between two others, durably."""
        between = [number for number in self.numbers() if after < number < before]
        for number in between:
            self._files.unlink(self._path(number))
        if between:
            self._files.fsync_dir(self.folder)

    def size(self, number: int) -> int:
        """Size of a generation in bytes."""
        return self._files.size(self._path(number))

    def newest(self) -> LoadedCheckpoint | None:
        """The newest intact generation; None if there are no generations."""
        damaged: list[str] = []
        for number in reversed(self.numbers()):
            try:
                tree = self.load(number)
                for name in tree.get("row_files", ()):
                    self.rows.open(name)
                return LoadedCheckpoint(number, tree, tuple(damaged))
            except StateError as error:
                self._unreadable.add(number)
                self.rows.protect()
                damaged.append(str(error))
        if damaged:
            name = self._files.describe(self.folder)
            raise DamagedStateError(
                f"no generation in {name} can be used; {'; '.join(damaged)}. Put a copy "
                "back, or start a new run with another directory"
            )
        return None

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:012d}.checkpoint"


POINTER = "current.json"
_MODEL_NAME = re.compile(r"([0-9]{12})-([0-9a-f]{16})\.safetensors")


class PublishedModel(NamedTuple):
    """A model file."""

    file: str  # its name, in the folder of the pointer
    generation: int  # number of the emitted model in its run, from 1
    lineage: str
    samples: int  # learned before it
    checksum: str  # SHA-256 of the file


@final
class ModelPublisher:
    """Writes model files and a pointer to the newest; a reader never finds half a model.

    The last ``keep`` models are kept, and always the one that the pointer names. A model that is
    written again, as after a crash, has the same name and content.

    >>> import tempfile
    >>> publisher = ModelPublisher(Path(tempfile.mkdtemp()), keep=2)
    >>> for generation in (1, 2, 3):
    ...     publisher.publish(b"model", generation, "00" * 8, 1024 * generation)
    >>> read_pointer(publisher.folder).file, publisher.names()
    ('000000000003-0000000000000000.safetensors',
     ['000000000002-0000000000000000.safetensors', '000000000003-0000000000000000.safetensors'])
    """

    def __init__(self, folder: Path, *, keep: int = 16, files: FileSystem = DISK) -> None:
        if keep < 1:
            raise ConfigurationError(f"models is {keep}, but must be >= 1")
        self.folder = folder
        self.keep = keep
        self.files = files

    @staticmethod
    def file_name(generation: int, lineage: str) -> str:
        """Name of a model's file."""
        return f"{generation:012d}-{lineage}.safetensors"

    def names(self) -> list[str]:
        """Names of the model files, oldest first."""
        return [name for name in self.files.names(self.folder) if _MODEL_NAME.fullmatch(name)]

    def publish(
        self,
        data: bytes | Sequence[bytes | memoryview],
        generation: int,
        lineage: str,
        samples: int,
        *,
        point: bool = True,
    ) -> None:
        """Write a model, and move the pointer to it unless another model follows at once.

        After an OSError the pointer still names a complete model. The numbers are those of
        `PublishedModel`.
        """
        parts = (data,) if isinstance(data, bytes) else data
        name = self.file_name(generation, lineage)
        write_durably(self.folder / name, *parts, files=self.files)
        if point:
            checksum = hashlib.sha256()
            for part in parts:
                checksum.update(part)
            self.point(PublishedModel(name, generation, lineage, samples, checksum.hexdigest()))
            self._remove_old(name)

    def point(self, published: PublishedModel | None) -> None:
        """Move the pointer to an existing model, or to none."""
        text = json.dumps(None if published is None else published._asdict(), indent=1) + "\n"
        write_durably(self.folder / POINTER, text.encode(), files=self.files)

    def _remove_old(self, newest: str) -> None:
        """Remove the oldest models, first those of lineages that were rolled back.

        These may have higher numbers.
        """
        ours = newest.split("-")[1]
        others = [name for name in self.names() if name != newest]
        others.sort(key=lambda name: name.split("-")[1] == ours)
        for name in others[: max(0, len(others) - self.keep + 1)]:
            # One that stays does no harm, and is removed the next time.
            with suppress(OSError):
                self.files.unlink(self.folder / name)


def read_pointer(folder: Path, *, files: FileSystem = DISK) -> PublishedModel | None:
    """The model that the pointer of a folder names; None if nothing was published yet."""
    path = folder / POINTER
    try:
        return parse_pointer(files.read(path), str(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"{path} can't be read: {error}") from error


def parse_pointer(data: bytes, where: str) -> PublishedModel | None:
    """The model that the content of a pointer names, which is called ``where`` in messages."""
    try:
        values = json.loads(data)
        return None if values is None else PublishedModel(**values)
    except (TypeError, ValueError) as error:
        raise StateError(f"{where} can't be read: {error}") from error


@final
class StateDirectory:
    """A state directory.

    ::

        checkpoints/   the last generations, and in rows/ those of keys
        models/        the last emitted champions, and current.json, which names the newest; of a
                       run with several parts, such folders by name of the part
        lock           held while a process writes here

    Raises:
        ConfigurationError: If fewer than 3 checkpoints or no models are to be kept.

    >>> import tempfile
    >>> folder = StateDirectory(Path(tempfile.mkdtemp()))
    >>> folder.open()
    >>> folder.generations.save({})
    0
    >>> folder.close()
    """

    def __init__(
        self,
        path: Path,
        *,
        generations: int = MIN_GENERATIONS,
        models: int = 8,
        files: FileSystem = DISK,
    ) -> None:
        self.path = path
        self.files = files
        self.generations: Generations = Generations(
            path / "checkpoints", keep=generations, files=files
        )
        self.publishers: dict[str, ModelPublisher] = {
            "": ModelPublisher(path / "models", keep=models, files=files)
        }
        self._lock: WriterLock | None = None

    @property
    def publisher(self) -> ModelPublisher:
        """Where models are published, of the first part if the run has several."""
        return next(iter(self.publishers.values()))

    def split(self, folders: Mapping[str, str]) -> None:
        """Publish the models of each part of a run in a folder of its own.

        Args:
            folders: Their names by name of the part.
        """
        keep, files = self.publisher.keep, self.files
        self.publishers = {
            name: ModelPublisher(self.path / "models" / folder, keep=keep, files=files)
            for name, folder in folders.items()
        }

    def open(self) -> None:
        """Create the directory if absent, lock it, and remove what a crash left.

        Raises:
            StateError: If another process writes there, or it can't be written.
        """
        try:
            self.files.make_dir(self.path)
            self._lock = WriterLock(self.path, files=self.files)
            self.files.make_dir(self.generations.folder)
            for publisher in self.publishers.values():
                self.files.make_dir(publisher.folder)
            self.files.fsync_dir(self.path)
            self.files.fsync_dir(self.path.parent)
            if self.files.took_over:
                self.generations.claim()
        except StateError:
            self.close()
            raise
        except OSError as error:
            self.close()
            name = self.files.describe(self.path)
            raise StateError(f"state {name}: {error.strerror}") from error
        publishers = self.publishers.values()
        checkpoints = self.generations
        for folder in (
            checkpoints.folder,
            checkpoints.rows.path,
            *(one.folder for one in publishers),
        ):
            remove_partial_files(folder, files=self.files)

    def check(self) -> None:
        """Check that this process still is the only writer; see `WriterLock.check`."""
        if self._lock is not None:
            self._lock.check()

    def close(self) -> None:
        """Unlock the directory. Closing twice is allowed."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

"""ModelPublisher: model files for other processes, and a pointer to the newest one."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, final

from streamnet.durability.files import DISK, FileSystem, remove_partial_files, write_durably
from streamnet.errors import ConfigurationError, StateError

__all__ = ("POINTER", "ModelPublisher", "PublishedModel", "current", "read_published_model")

POINTER = "current.json"
_MAX_ATTEMPTS = 100
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
    """Writes models and moves the pointer; a reader never finds half of one.

    The last ``keep`` stay; the one that the pointer names is never removed. Written again, as after
    a crash, a model is the same file with the same content.

    Args:
        folder: Where they go; it must exist when one is published.
        keep: How many.
        files: The file system.

    Raises:
        ConfigurationError: If ``keep`` is below 1.

    >>> import tempfile
    >>> publisher = ModelPublisher(Path(tempfile.mkdtemp()), keep=2)
    >>> for generation in (1, 2, 3):
    ...     publisher.publish(b"model", generation, "00" * 8, 1024 * generation)
    >>> current(publisher.folder).file, publisher.names()
    ('000000000003-0000000000000000.safetensors',
     ['000000000002-0000000000000000.safetensors', '000000000003-0000000000000000.safetensors'])
    """

    def __init__(self, folder: Path, *, keep: int = 16, files: FileSystem = DISK) -> None:
        if keep < 1:
            raise ConfigurationError(f"models is {keep}, but must be >= 1")
        self.folder = folder
        self.keep = keep
        self._files = files

    def names(self) -> list[str]:
        """Names of the model files, the oldest first."""
        return [name for name in self._files.names(self.folder) if _MODEL_NAME.fullmatch(name)]

    def publish(
        self,
        data: bytes | Sequence[bytes | memoryview],
        generation: int,
        lineage: str,
        samples: int,
        *,
        point: bool = True,
    ) -> None:
        """Write a model and let the pointer name it, unless another one follows at once.

        Args:
            data: Content of its file, whole or in parts.
            generation: Number of the emitted model in its run, from 1.
            lineage: Of the run.
            samples: Learned before it.
            point: Whether the pointer names it; it need not if another one follows at once.

        Raises:
            OSError: If that fails; the pointer names a whole model all the same.
        """
        parts = (data,) if isinstance(data, bytes) else data
        name = f"{generation:012d}-{lineage}.safetensors"
        write_durably(self.folder / name, *parts, files=self._files)
        if point:
            checksum = hashlib.sha256()
            for part in parts:
                checksum.update(part)
            self.point(PublishedModel(name, generation, lineage, samples, checksum.hexdigest()))
            self._remove_old(name)

    def point(self, published: PublishedModel | None) -> None:
        """Let the pointer name a model that is there, or none.

        Raises:
            OSError: If that fails.
        """
        text = json.dumps(None if published is None else published._asdict(), indent=1) + "\n"
        write_durably(self.folder / POINTER, text.encode(), files=self._files)

    def clean_up(self) -> None:
        """Remove files that a crash left incomplete; only the one writer may do so."""
        remove_partial_files(self.folder, files=self._files)

    def _remove_old(self, newest: str) -> None:
        """Remove the oldest ones, and before all others those of the runs it was rolled back from.

        Theirs may have higher numbers.
        """
        ours = newest.split("-")[1]
        others = [name for name in self.names() if name != newest]
        others.sort(key=lambda name: name.split("-")[1] == ours)
        for name in others[: max(0, len(others) - self.keep + 1)]:
            # One that stays does no harm, and goes the next time.
            with suppress(OSError):
                self._files.unlink(self.folder / name)


def current(folder: Path, *, files: FileSystem = DISK) -> PublishedModel | None:
    """What the pointer of a folder names; None if nothing was published yet.

    Raises:
        StateError: If the pointer makes no sense.
    """
    try:
        values = json.loads(files.read(folder / POINTER))
        return None if values is None else PublishedModel(**values)
    except FileNotFoundError:
        return None
    except (OSError, TypeError, ValueError) as error:
        raise StateError(f"{folder / POINTER} can't be read: {error}") from error


def read_published_model(
    folder: Path, *, files: FileSystem = DISK
) -> tuple[PublishedModel, bytes] | None:
    """The newest model and its file's content; None if nothing was published yet.

    Raises:
        StateError: If the pointer or the model is damaged.
    """
    for _ in range(_MAX_ATTEMPTS):
        published = current(folder, files=files)
        if published is None:
            return None
        try:
            data = files.read(folder / published.file)
        except FileNotFoundError:
            continue  # removed meanwhile, so the pointer names a newer one by now
        if hashlib.sha256(data).hexdigest() != published.checksum:
            raise StateError(f"{folder / published.file} is damaged")
        return published, data
    raise StateError(f"{folder / POINTER} names a model that is not there")

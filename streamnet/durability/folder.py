"""StateFolder: the layout of a state directory, and the parts that write into it."""

from __future__ import annotations

from pathlib import Path
from typing import final

from streamnet.durability.files import DISK
from streamnet.durability.files import Files
from streamnet.durability.generations import FEWEST
from streamnet.durability.generations import Generations
from streamnet.durability.lock import WriterLock
from streamnet.durability.publisher import Publisher
from streamnet.errors import StateError

__all__ = ("StateFolder",)


@final
class StateFolder:
    """A state directory.

    ::

        checkpoints/   the last generations
        models/        the last emitted champions, and current.json, which names the newest
        lock           held while a process writes here

    Args:
        path: The folder; it need not exist.
        generations: Checkpoints to keep, at least 3.
        models: Models to keep.
        files: The file system.

    Raises:
        ConfigurationError: If a number breaks its rule.

    >>> import tempfile
    >>> folder = StateFolder(Path(tempfile.mkdtemp()))
    >>> folder.open()
    >>> folder.generations.save({})
    0
    >>> folder.close()
    """

    def __init__(
        self, path: Path, *, generations: int = FEWEST, models: int = 8, files: Files = DISK
    ) -> None:
        self.path = path
        self.files = files
        self.generations = Generations(path / "checkpoints", keep=generations, files=files)
        self.publisher = Publisher(path / "models", keep=models, files=files)
        self._lock: WriterLock | None = None

    def open(self) -> None:
        """Make the folder if it is absent, become its one writer, and remove a crash's rests.

        Raises:
            StateError: If another process writes there, or it can't be written.
        """
        try:
            self.files.make_dir(self.path)
            self._lock = WriterLock(self.path, files=self.files)
            self.files.make_dir(self.generations.folder)
            self.files.make_dir(self.publisher.folder)
            self.files.fsync_dir(self.path)
            self.files.fsync_dir(self.path.parent)
        except OSError as error:
            self.close()
            raise StateError(f"state {self.path}: {error.strerror}") from error
        self.generations.tidy()
        self.publisher.tidy()

    def check(self) -> None:
        """See that this process is still the folder's one writer.

        Raises:
            StateError: If the folder was replaced, so that another one may write there.
            OSError: If it is gone.
        """
        if self._lock is not None:
            self._lock.check()

    def close(self) -> None:
        """Let another process write there. Closing twice is allowed."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

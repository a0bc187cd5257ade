"""Generations: numbered checkpoints of which the last few are kept."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from typing import final

from streamnet.durability.checkpoint import DamagedError
from streamnet.durability.checkpoint import decode
from streamnet.durability.checkpoint import encode_parts
from streamnet.durability.files import DISK
from streamnet.durability.files import Files
from streamnet.durability.tree import Tree
from streamnet.durability.writing import remove_parts
from streamnet.durability.writing import write_durably
from streamnet.errors import ConfigurationError
from streamnet.errors import DamagedStateError
from streamnet.errors import StateError

__all__ = ("FEWEST", "Generations", "Loaded")

FEWEST = 3
_NAME = re.compile(r"([0-9]{12})\.checkpoint")


class Loaded(NamedTuple):
    """A generation that was read, and what was wrong with newer ones."""

    number: int
    tree: Tree
    damaged: tuple[str, ...]  # a sentence on each newer generation that can't be used


@final
class Generations:
    """Writes and reads the checkpoints in a folder.

    A new one is durable before an old one is removed. One that can't be read is neither removed
    nor counted among those that are kept.

    Args:
        folder: Where they are; it must exist when one is saved.
        keep: How many, at least 3.
        files: The file system.

    Raises:
        ConfigurationError: If ``keep`` is below 3.

    >>> import tempfile
    >>> generations = Generations(Path(tempfile.mkdtemp()))
    >>> [generations.save({"n": n}) for n in range(5)], generations.numbers()
    ([0, 1, 2, 3, 4], [2, 3, 4])
    >>> generations.newest().tree
    {'n': 4}
    """

    def __init__(self, folder: Path, *, keep: int = FEWEST, files: Files = DISK) -> None:
        if keep < FEWEST:
            raise ConfigurationError(f"generations is {keep}, but must be >= {FEWEST}")
        self.folder = folder
        self.keep = keep
        self._files = files
        self._unreadable: set[int] = set()

    def numbers(self) -> list[int]:
        """Numbers of the generations that are there, oldest first."""
        matches = (_NAME.fullmatch(name) for name in self._files.names(self.folder))
        return [int(match[1]) for match in matches if match]

    def save(self, tree: Tree) -> int:
        """Write the next generation and remove those that are too old; its number.

        Raises:
            OSError: If it could not be made durable; the earlier ones are all still there.
        """
        numbers = self.numbers()
        number = numbers[-1] + 1 if numbers else 0
        write_durably(self._path(number), *encode_parts(tree), files=self._files)
        sound = [n for n in (*numbers, number) if n not in self._unreadable]
        for old in sound[: -self.keep]:
            # One that stays does no harm, and goes the next time.
            with suppress(OSError):
                self._files.unlink(self._path(old))
        return number

    def load(self, number: int) -> Tree:
        """The content of one generation.

        Raises:
            StateError: If there is none of that number.
            DamagedStateError: If it can't be used.
        """
        numbers = self.numbers()
        if number not in numbers:
            there = f"{', '.join(map(str, numbers))} are there" if numbers else "there is none"
            raise StateError(f"{self.folder} has no generation {number}; {there}")
        try:
            return decode(self._files.read(self._path(number)))
        except FileNotFoundError as error:
            raise StateError(f"{self.folder} has generation {number} no more") from error
        except (DamagedError, OSError) as error:
            raise DamagedStateError(f"{self._path(number)}: {error}") from error

    def forget(self, after: int, before: int) -> None:
        """Remove the generations between two others, for good.

        Raises:
            OSError: If one could not be removed durably.
        """
        between = [number for number in self.numbers() if after < number < before]
        for number in between:
            self._files.unlink(self._path(number))
        if between:
            self._files.fsync_dir(self.folder)

    def size(self, number: int) -> int:
        """Bytes of a generation that is there.

        Raises:
            OSError: If it is not.
        """
        return self._files.size(self._path(number))

    def newest(self) -> Loaded | None:
        """The newest generation that can be used; None if there never was one.

        Raises:
            DamagedStateError: If there are some, but none can be used.
        """
        damaged: list[str] = []
        for number in reversed(self.numbers()):
            try:
                return Loaded(number, self.load(number), tuple(damaged))
            except StateError as error:
                self._unreadable.add(number)
                damaged.append(str(error))
        if damaged:
            raise DamagedStateError(
                f"no generation in {self.folder} can be used; {'; '.join(damaged)}. Put a copy "
                "back, or begin anew with another folder"
            )
        return None

    def tidy(self) -> None:
        """Remove files that a crash left incomplete; only the one writer may do so."""
        remove_parts(self.folder, files=self._files)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:012d}.checkpoint"

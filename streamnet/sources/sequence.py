"""FileSequence: text files one after the other, of which the last may be followed."""

from __future__ import annotations

from collections import Counter
from collections import deque
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import Literal
from typing import final

from streamnet.errors import ConfigurationError
from streamnet.errors import DataError
from streamnet.sources.bytestreams import ByteStream
from streamnet.sources.bytestreams import is_plain_file
from streamnet.sources.bytestreams import size_of
from streamnet.sources.following import FollowedBytes
from streamnet.sources.following import rotated_since
from streamnet.sources.marks import names_mark
from streamnet.sources.textfile import TextFile

__all__ = ("FileSequence", "OnGap", "distinct")

OnGap = Literal["stop", "go_on"]
"""What to do where a followed file lost something that was not read."""


@final
class FileSequence:
    """Which file is read, and which comes next.

    Args:
        paths: Files in order.
        chunk_bytes: How much is read at once.
        follow: The last file is waited for and read on as it grows, see `FollowedBytes`. Files
            that it was renamed to in between are read before the one that has its name then.
    """

    def __init__(self, paths: tuple[str, ...], chunk_bytes: int, *, follow: bool = False) -> None:
        if chunk_bytes < 1:
            raise ConfigurationError(f"chunk_bytes is {chunk_bytes}, but must be >= 1")
        if not paths:
            raise ConfigurationError("paths is empty, but must name at least one file")
        self.paths = distinct(paths)
        self.file: TextFile | None = None  # that is read; None before the first and at the end
        self._chunk_bytes = chunk_bytes
        self.follows = follow
        self._number = 0
        self._between: deque[str] = deque()  # rotated files to be read before the followed one
        self._sizes: list[int | None] = []  # None where it is not known
        self._share = 0.0  # the largest that was told

    def number_of(self, path: str) -> int:
        """Which of the files has that name.

        Raises:
            DataError: if none has.
        """
        if path not in self.paths:
            raise DataError(f"the position is in {path!r}, which is not among the files")
        return self.paths.index(path)

    def before(self, path: str) -> list[Any]:
        """What stands for the files before that one."""
        return names_mark(self.paths[: self.number_of(path)])

    def measure(self, exist: bool) -> None:
        """Look how large the files are.

        Args:
            exist: A followed file must be there, as it need not be where one goes on.

        Raises:
            DataError: if it is not.
        """
        if exist and self.follows and not Path(self.paths[-1]).exists():
            raise DataError(f"{self.paths[-1]} does not exist")
        self._sizes = [size_of(path) for path in self.paths]
        if self.follows:
            self._sizes[-1] = None

    def open(self, number: int, mark: Mapping[str, Any] | None = None) -> TextFile:
        """Go to that file; a followed one is looked for by its mark, if there is one."""
        if self.file is not None:
            self.file.stream.close()
        self._number = number
        path = self.paths[number]
        stream: ByteStream | FollowedBytes
        if self._is_followed(number):
            stream = FollowedBytes(path, self._chunk_bytes, mark)
        else:
            stream = ByteStream(path, self._chunk_bytes)
        self.file = TextFile(path, stream)
        return self.file

    def advance(self) -> None:
        """Go to the next file; behind the last one there is none."""
        file = self.file
        if file is None:
            return
        if isinstance(file.stream, FollowedBytes) and file.stream.status and not file.gap:
            self._between.extend(rotated_since(file.path, file.stream.status))
        file.stream.close()
        if self._between:
            stream = ByteStream(self._between.popleft(), self._chunk_bytes)
            self.file = TextFile(file.path, stream)
        elif self.follows and self._number == len(self.paths) - 1:
            self.open(self._number)
        elif self._number + 1 < len(self.paths):
            self.open(self._number + 1)
        else:
            self.close()

    def close(self) -> None:
        """Let go of the files."""
        if self.file is not None:
            self.file.stream.close()
            self.file = None
            self._number = len(self.paths)

    def progress(self) -> float | None:
        """Share of the bytes that were given, None if one of the files is a pipe or followed."""
        sizes = [size for size in self._sizes if size is not None]
        if len(sizes) < len(self.paths):
            return None
        done: float = sum(sizes[: self._number])
        if self.file is not None:
            done += self.file.used()
        self._share = max(self._share, min(1.0, done / max(1, sum(sizes))))
        return self._share

    def _is_followed(self, number: int) -> bool:
        last = self.follows and number == len(self.paths) - 1
        return last and is_plain_file(self.paths[number])


def distinct(paths: Sequence[str]) -> tuple[str, ...]:
    """The same paths, each of which tells one place among them.

    Raises:
        ConfigurationError: If one is there twice.
    """
    for path, times in Counter(paths).items():
        if times > 1:
            raise ConfigurationError(
                f"{path!r} is given twice (by FILE or source.files), but each file must be another"
            )
    return tuple(paths)

"""Source: the interface of everything that samples come from."""

from __future__ import annotations

from abc import ABC
from abc import abstractmethod

from streamnet.samples import Block
from streamnet.samples import Position
from streamnet.samples import Schema

__all__ = ("Source",)


class Source(ABC):
    """Samples of a stream, in order.

    The reading stage of a pipeline calls `open` once, `receive` until it gives None, and `aclose`
    whatever happened. One task at a time uses a source; it need not always be the same task.
    """

    @abstractmethod
    async def open(self, after: Position | None = None) -> Schema:
        """Look at the head of the stream and say what its columns are.

        Args:
            after: Where to resume: the `Block.end` of the last block that was used. None starts
                at the first sample.

        Raises:
            DataError: if the source can't be read, holds no samples or lacks that position.
            SchemaError: if a column that was asked for does not exist.
            ConfigurationError: if a setting makes no sense for this source.
        """

    @abstractmethod
    async def receive(self) -> Block | None:
        """The next samples that are there, at most 8,192; None at the end.

        A block may hold no sample and still carry rejected records. A call that is cancelled
        loses nothing: the next one goes on with the same sample.

        Raises:
            DataError: if the source breaks off; all samples before the break were given.
        """

    async def aclose(self) -> None:
        """Let go of files and tasks. Closing twice is allowed."""
        return

    def progress(self) -> float | None:
        """Share of the source that was given, 0 to 1; None where the whole is not known.

        What was read ahead, but not given yet, does not count.
        """
        return None

"""The `Source` interface: samples of a stream, in order, resumable at any position."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from streamnet.samples import Block, Position, Schema

__all__ = ("Source",)


class Source(ABC):
    """Samples of a stream, in order.

    The reading stage of a pipeline calls `open` once, `receive` until it gives None, and `aclose`
    whatever happened. One task at a time uses a source; it need not always be the same task.

    To go on elsewhere or later, as if nothing had happened, keep a block's end and the state, and
    hand both to a new source over the same data:

        position, state = block.end, source.export_state(block.end)
        ...
        source.restore_state(state)
        await source.open(position)
    """

    @abstractmethod
    async def open(self, after: Position | None = None) -> Schema:
        """Look at the head of the stream and say what its columns are.

        Args:
            after: Where to resume: the `Block.end` of the last block that was used, or of a part
                of it. None starts at the first sample.

        Raises:
            DataError: if the source can't be read, holds no samples, lacks that position, or is
                not the one any more whose state was restored.
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

    def export_state(self, after: Position | None) -> dict[str, Any]:
        """What a new source over the same data needs to know in order to go on behind ``after``.

        It tells what the head of the stream has told, such as kinds of columns, and how to know
        the data again. Plain values: numbers, texts, None, and lists and dicts of them.

        Args:
            after: The end of the block received last, or of a part of it; None: the start.
        """
        del after
        return {}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Go on where the source that exported ``state`` stood; to be called before `open`."""
        del state

    async def aclose(self) -> None:
        """Let go of files and tasks. Closing twice is allowed."""
        return

    def progress(self) -> float | None:
        """Share of the source that was given, 0 to 1; None where the whole is not known.

        What was read ahead, but not given yet, does not count.
        """
        return None

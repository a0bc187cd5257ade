"""The `Source` interface: samples of a stream, in order, resumable at any position."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

from streamnet.errors import DataError
from streamnet.samples import Block, Position, Schema

MAX_BLOCK_ROWS = 8192
"""Maximum number of samples in a block."""

OnGap = Literal["stop", "go_on"]
"""What to do when part of a followed file or folder was lost before it was read."""


def check_gap(gap: str, on_gap: OnGap) -> None:
    """Raise a gap as an error unless reading has to continue.

    Raises:
        DataError: If ``on_gap`` is "stop".
    """
    if on_gap == "stop":
        raise DataError(f"{gap} (on_gap 'go_on' would continue nevertheless)")


class Source(ABC):
    """Samples of a stream, in order.

    The reading stage of a pipeline calls `open` once, `receive` until it returns None, and `aclose`
    in any case. Only one task may use a source at a time, but not necessarily always the same one.

    To resume exactly where another source stopped, keep the end of a block and the state, and pass
    both to a new source over the same data:

        position, state = block.end, source.export_state(block.end)
        ...
        source.restore_state(state)
        await source.open(position)
    """

    @abstractmethod
    async def open(self, after: Position | None = None) -> Schema:
        """Open the source and infer its schema from its first samples.

        Args:
            after: Where to resume: the `Block.end` of the last block that was used, or of a part
                of it. None starts at the first sample.

        Raises:
            DataError: If the source can't be read, holds no samples, lacks that position, or has
                changed since its state was exported.
            SchemaError: If a requested column does not exist.
            ConfigurationError: If a setting makes no sense for this source.
        """

    @abstractmethod
    async def receive(self) -> Block | None:
        """Receive the next available samples, at most `MAX_BLOCK_ROWS`; None at the end.

        A block without samples may carry rejected records. Cancelling a call loses nothing: the
        next call continues with the same sample.

        Raises:
            DataError: If reading fails; all samples before the failure were returned.
        """

    def export_state(self, after: Position | None) -> dict[str, Any]:
        """Export what a new source over the same data needs to resume after a position.

        The state has what was inferred, such as kinds of columns, and fingerprints of the data. It
        consists of plain values: numbers, texts, None, and lists and dicts of them.

        Args:
            after: The end of the block received last, or of a part of it; None for the start.
        """
        del after
        return {}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Restore a state that another source exported; call it before `open`."""
        del state

    async def aclose(self) -> None:
        """Close files and end tasks. Closing twice is allowed."""
        return

    def progress(self) -> float | None:
        """Fraction of the source returned so far, 0 to 1; None if the total is unknown.

        Samples that were read ahead, but not returned yet, do not count.
        """
        return None

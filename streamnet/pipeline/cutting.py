"""Cutter: blocks of any size cut so that none straddles a round's end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple
from typing import Protocol
from typing import final

from streamnet.checked import whole
from streamnet.errors import ConfigurationError
from streamnet.samples import Block
from streamnet.samples import Kind

__all__ = ("Arrival", "Cuts", "Cutter")


MOST_CELLS = 1 << 17  # samples times columns of a block
TEXT = 16  # columns that a text counts as


class Arrival(NamedTuple):
    """A block on its way, and whether its last sample ends a round."""

    block: Block
    ends_round: bool


class Cuts(Protocol):
    """Decides how blocks travel, and where rounds end."""

    number: int  # of the next sample

    def cut(self, block: Block) -> Iterator[Arrival]:
        """The parts of a block, in order."""


@final
class Cutter:
    """Cuts blocks to at most ``block_size`` samples and at every ``round_size``-th sample.

    Blocks of many columns are cut to fewer samples: what is learned as one block can't be stopped,
    and is not seen before its end, which with thousands of columns would be minutes.

    >>> Cutter(block_size=256, round_size=1024).block_size
    256

    Raises:
        ConfigurationError: If a size is below 1.
    """

    def __init__(self, *, block_size: int, round_size: int) -> None:
        for name, value in (("block_size", block_size), ("round_size", round_size)):
            if whole(name, value) < 1:
                raise ConfigurationError(f"{name} is {value}, but must be >= 1")
        self.block_size = block_size
        self.round_size = round_size
        self.number = 0  # of the next sample

    def cut(self, block: Block) -> Iterator[Arrival]:
        """The parts of a block, in order; rejected records stay with the samples they follow."""
        if not len(block):
            yield Arrival(block, False)
            return
        most = 1 if len(block) == 1 else min(self.block_size, _most_of(block))
        start = 0
        while start < len(block):
            left = self.round_size - self.number % self.round_size
            stop = min(len(block), start + most, start + left)
            whole = start == 0 and stop == len(block)
            self.number += stop - start
            ends_round = self.number % self.round_size == 0
            yield Arrival(block if whole else block.part(start, stop), ends_round)
            start = stop


def _most_of(block: Block) -> int:
    """Samples of such a block that travel together at most."""
    schema = block.schema
    texts = sum(field.kind is Kind.TEXT for field in schema.fields) if schema.words else 0
    entries = 0 if block.sparse is None else int(block.sparse.count.sum()) // len(block)
    columns = len(schema.fields) + (TEXT - 1) * texts + entries
    return max(1, MOST_CELLS // max(1, columns))

"""Epochs: a set as a stream, the training part again and again, the held-out part behind each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import final

from msgspec.structs import replace

from streamnet.pipeline.cutting import Arrival
from streamnet.randomness import key_of
from streamnet.randomness import permutation
from streamnet.randomness import seed_of
from streamnet.samples import Block
from streamnet.samples import Position
from streamnet.samples import Schema
from streamnet.sources.base import Source

__all__ = ("EpochCutter", "Epochs")

SALT = 0x45504F4348  # keeps these random numbers apart from others of the same seed


@final
class Epochs(Source):
    """Gives the training part, then what is held out, and so on for some epochs.

    Args:
        training: Samples to learn.
        held_out: Samples to be answered behind each epoch, but not learned; None for none.
        epochs: How many times.
        shuffled: Whether each epoch has an order of its own, which only seed and epoch decide;
            otherwise all have the order of ``training``.
        seed: See ``shuffled``.
        iterations: Most samples to give for learning, over all epochs; None is no limit. The last
            epoch may be cut short by it.

    >>> import anyio
    >>> from streamnet.sources.columns import Columns
    >>> from streamnet.sources.rows import RowReader
    >>> block = RowReader(Columns(target="y")).read([{"x": i, "y": "a"} for i in range(4)])
    >>> async def lengths(**settings):
    ...     source = Epochs(block.part(0, 3), block.part(3, 4), epochs=2, **settings)
    ...     await source.open()
    ...     return [len(await source.receive()) for _ in range(4)]
    >>> anyio.run(lambda: lengths()), anyio.run(lambda: lengths(iterations=4))
    ([3, 1, 3, 1], [3, 1, 1, 1])
    """

    def __init__(
        self,
        training: Block,
        held_out: Block | None,
        *,
        epochs: int,
        shuffled: bool = True,
        seed: int = 0,
        iterations: int | None = None,
    ) -> None:
        self._training = replace(training, rejected=(), scored=False)
        self._held_out = held_out and replace(held_out, rejected=(), learned=False)
        self._shuffled = shuffled
        self._seed = seed_of(seed)
        self._total = epochs * len(training)
        if iterations is not None:
            self._total = min(self._total, iterations)
        self._given = 0
        self._waiting: deque[Block] = deque()

    async def open(self, after: Position | None = None) -> Schema:
        """What the set's columns are; it can't be gone on with ``after`` some of it."""
        del after
        return self._training.schema

    async def receive(self) -> Block | None:
        """The next part, whole; None behind the last epoch."""
        if not self._waiting and self._given < self._total:
            self._waiting.append(self._next())
            if self._held_out is not None:
                self._waiting.append(self._held_out)
        return self._waiting.popleft() if self._waiting else None

    def _next(self) -> Block:
        n = len(self._training)
        epoch = self._given // n
        left = min(n, self._total - self._given)
        self._given += left
        if not self._shuffled:
            return self._training.part(0, left)
        return self._training.take(permutation(key_of(self._seed, SALT, epoch), n)[:left])

    def progress(self) -> float:
        """Share of all samples to learn that was given."""
        return self._given / self._total


@final
class EpochCutter:
    """Cuts the parts of an epoch to blocks, of which the last one ends a round.

    Args:
        block_size: Most samples of a block.
        held_out: Whether a part that is not learned ends each epoch.
    """

    def __init__(self, *, block_size: int, held_out: bool) -> None:
        self.block_size = block_size
        self.number = 0  # of the next sample
        self._held_out = held_out

    def cut(self, block: Block) -> Iterator[Arrival]:
        """The pieces of a part, in order."""
        last = not (self._held_out and block.learned)
        for start in range(0, len(block), self.block_size):
            stop = min(start + self.block_size, len(block))
            self.number += stop - start
            yield Arrival(block.part(start, stop), last and stop == len(block))

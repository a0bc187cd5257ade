"""Sources that limit another one to its first samples or repeat it for several epochs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, final

import numpy as np
from msgspec.structs import replace

from streamnet.errors import ConfigurationError, DataError
from streamnet.samples import Block, Position, Schema, schema_from_dict, schema_to_dict, widen_block
from streamnet.sources.base import Source
from streamnet.sources.wrappers.retry import open_or_close

__all__ = ("LimitedSource", "RepeatedSource")


@final
class LimitedSource(Source):
    """The first ``n`` samples of a source, and the records rejected before the last of them.

    To resume without a state, the source is read again from its start, since a position does not
    say how many samples were before it.

    >>> import anyio
    >>> from streamnet.sources.iterable import IterableSource
    >>> async def first(n):
    ...     source = LimitedSource(IterableSource([{"x": 1.0}, {"x": 2.0}, {"x": 3.0}]), n)
    ...     await source.open()
    ...     return (await source.receive()).numbers[:, 0]
    >>> anyio.run(first, 2)
    array([1., 2.])
    """

    def __init__(self, source: Source, n: int) -> None:
        if n < 1:
            raise ConfigurationError(f"n is {n}, but must be >= 1")
        self._source = source
        self._n = n
        self._left = n
        self._last: Block | None = None  # given last
        self._rest: Block | None = None  # of the block that holds the position
        self._known: int | None = None  # samples left, as another source exported it

    async def open(self, after: Position | None = None) -> Schema:
        """Open the source and go to ``after`` by reading."""
        if self._known is not None and after is not None:
            self._left = self._known
            return await self._source.open(after)
        schema = await self._source.open()
        while after is not None and after.source and self._rest is None:
            block = await self._source.receive()
            if block is None:
                raise DataError(f"the source ends before {after}: it is not the same any more")
            before = _count_samples_before(block, after)
            if before is not None:
                self._rest = block.part(before, len(block))
            self._left -= len(block) if before is None else before
        return schema

    async def receive(self) -> Block | None:
        """The next samples; None at the end."""
        if self._left <= 0:
            return None
        block, self._rest = self._rest, None
        if block is None:
            block = await self._source.receive()
        if block is None:
            return None
        if len(block) >= self._left:
            block = _take_first(block, self._left)
        self._left -= len(block)
        self._last = block
        return block

    def export_state(self, after: Position | None) -> dict[str, Any]:
        """How many samples were given, and the state of the source."""
        left = self._left
        if after is None or not after.source:
            left = self._n
        elif self._last is not None:
            before = _count_samples_before(self._last, after)
            left += 0 if before is None else len(self._last) - before
        return {"given": self._n - left, "source": self._source.export_state(after)}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Take over how many samples were given: the limit may be another one now."""
        self._known = max(self._n - int(state["given"]), 0)
        self._source.restore_state(state["source"])

    async def aclose(self) -> None:
        """Close the source."""
        await self._source.aclose()

    def progress(self) -> float | None:
        """Share of the n samples that were given, or of the source if that is more."""
        given = 1.0 - max(0, self._left) / self._n
        return max(given, self._source.progress() or 0.0)


@final
class RepeatedSource(Source):
    """A source that begins anew until all its samples came ``epochs`` times.

    Blocks of later epochs have ``scored=False`` and reject nothing again. Their positions name
    the epoch in front of the file. Fields that came up late in the first epoch stay.

    Args:
        make_source: Makes the source of an epoch, counted from 1, each with the same samples;
            their order may differ.
        epochs: How often.

    >>> import anyio
    >>> from streamnet.sources.iterable import IterableSource
    >>> async def scored():
    ...     source = RepeatedSource(lambda epoch: IterableSource([{"x": 1.0}]), 2)
    ...     await source.open()
    ...     return [(await source.receive()).scored for _ in range(2)]
    >>> anyio.run(scored)
    [True, False]
    """

    def __init__(self, make_source: Callable[[int], Source], epochs: int) -> None:
        if epochs < 1:
            raise ConfigurationError(f"epochs is {epochs}, but must be >= 1")
        self._make_source = make_source
        self._epochs = epochs
        self._epoch = 1
        self._source: Source | None = None
        self._last_reader: Source | None = None  # of the last block
        self._known: Mapping[str, Any] = {}  # what another source exported
        self._schema = Schema(())

    async def open(self, after: Position | None = None) -> Schema:
        """Open the source of the first epoch, or of the one that ``after`` names."""
        if after is not None:
            self._epoch, name = _split_epoch(after.source)
            after = after._replace(source=name)
            if self._epoch > self._epochs:
                raise DataError(f"the position is in epoch {self._epoch} of {self._epochs}")
        self._source = self._make_source(self._epoch)
        if self._known:
            self._source.restore_state(self._known["source"])
        schema = await self._source.open(after)
        self._schema = schema_from_dict(self._known["schema"]) if self._known else schema
        return self._schema

    def export_state(self, after: Position | None) -> dict[str, Any]:
        """The schema of all epochs, and the state of this one's source."""
        if after is not None:
            after = after._replace(source=_split_epoch(after.source)[1])
        source = self._last_reader or self._source
        state = {} if source is None else source.export_state(after)
        return {"schema": schema_to_dict(self._schema), "source": state}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Take over the schema, for the first epoch to be read."""
        self._known = state

    async def receive(self) -> Block | None:
        """The next samples of this epoch or the next; None at the end."""
        while self._source is not None:
            block = await self._source.receive()
            if block is not None:
                self._last_reader = self._source
                return self._marked(block)
            following = None
            if self._epoch < self._epochs:
                following = self._make_source(self._epoch + 1)
                await open_or_close(following)
            ended, self._source = self._source, following
            self._epoch += 1
            await ended.aclose()
        return None

    async def aclose(self) -> None:
        """Close the source of this epoch."""
        self._epoch = self._epochs + 1
        if self._source is not None:
            await self._source.aclose()
            self._source = None

    def progress(self) -> float | None:
        """Share of all epochs."""
        if self._epoch > self._epochs:
            return 1.0
        share = 0.0 if self._source is None else self._source.progress()
        return None if share is None else (self._epoch - 1 + share) / self._epochs

    def _marked(self, block: Block) -> Block:
        if len(block.schema.fields) > len(self._schema.fields) or self._epoch == 1:
            self._schema = block.schema
        if self._epoch == 1:
            return block
        name = f"epoch {self._epoch} of {block.source}"
        wide = widen_block(block, self._schema)
        return replace(wide, source=name, scored=False, rejected=())


def _take_first(block: Block, count: int) -> Block:
    """The first samples of a block, and what was rejected before the last of them."""
    places = block.places().tolist() if block.rejected else []
    rejected = sum(place < count for place in places)
    return replace(block.part(0, count), rejected=block.rejected[:rejected])


def _split_epoch(source: str) -> tuple[int, str]:
    match = re.fullmatch(r"epoch ([0-9]+) of (.*)", source, re.DOTALL)
    return (int(match[1]), match[2]) if match else (1, source)


def _count_samples_before(block: Block, position: Position) -> int | None:
    """How many samples of a block stand before a position, None if it is behind the block."""
    offsets = block.marks[:, 0]
    if block.source != position.source or offsets[-1] < position.offset:
        return None
    return int(np.searchsorted(offsets, position.offset))

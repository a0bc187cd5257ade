"""`ShuffledSource`: the samples of a source shuffled with bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, final

import numpy as np
from anyio import to_thread
from msgspec.structs import replace
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError, DataError
from streamnet.randomness import derive_key, fill_uniform, permutation
from streamnet.samples import Block, DeadLetter, Position, Schema, concatenate_blocks
from streamnet.sources.base import Source
from streamnet.validation import check_seed

__all__ = ("ShuffledSource",)

BLOCK_ROWS = 8192


@final
class ShuffledSource(Source):
    """The samples of a source in an order that only seed, epoch and their numbers decide.

    ``buffer`` samples wait. Each that comes in takes a place picked by its number, and the one
    that was there leaves; at the end the rest leave in an order that the seed decides. A rejected
    record leaves when as many samples have left as came before it, so that the share of such among
    the last records stays what it is in the source; at most ``buffer`` of them wait. A position
    counts the samples that left; to resume, the source is read again from its start. Samples of
    several files become one stream of the first one's name.

    >>> import anyio
    >>> from streamnet.sources.iterable import IterableSource
    >>> async def shuffled(seed):
    ...     rows = [{"x": float(number)} for number in range(5)]
    ...     source = ShuffledSource(IterableSource(rows), 5, seed)
    ...     await source.open()
    ...     return (await source.receive()).numbers[:, 0].tolist()
    >>> sorted(anyio.run(shuffled, 1)), anyio.run(shuffled, 1) == anyio.run(shuffled, 1)
    ([0.0, 1.0, 2.0, 3.0, 4.0], True)
    """

    def __init__(self, source: Source, buffer: int, seed: int, *, epoch: int = 1) -> None:
        if buffer < 1:
            raise ConfigurationError(f"buffer is {buffer}, but must be >= 1")
        self._source = source
        self._size = buffer
        self._key = derive_key(check_seed(seed), buffer, epoch)
        self._arrived: Block | None = None  # of the source, and not in the buffer yet
        self._waiting: Block | None = None
        self._letters: deque[tuple[int, DeadLetter]] = deque()  # waiting, and samples before each
        self._came = 0
        self._left = 0
        self._rejected = 0  # given
        self._known: int | None = None  # of them, as another source exported it
        self._schema = Schema(())
        self._out: deque[Block] = deque()
        self._ended = False
        self._begin: dict[str, Any] = {}  # state of the source at its start
        self._name = ""

    async def open(self, after: Position | None = None) -> Schema:
        """Open the source and leave out the samples that left before ``after``."""
        self._schema = await self._source.open()
        self._begin = self._source.export_state(None)
        skipped = 0 if after is None else after.record
        while (given := self._given(skipped)) is not None:
            if self._out:
                self._skip(given)
            elif not self._ended:
                await self._step()
            else:
                raise DataError(f"the source ends before {after}: it is not the same any more")
        return self._schema

    def _given(self, skipped: int) -> int | None:
        """Samples of the next block that were given before the place, None behind the place.

        Rejected records leave in blocks of their own, so a position does not say whether those at
        it were given: the state does.
        """
        if not self._out:
            behind = self._left >= skipped and self._rejected >= (self._known or 0)
            return None if behind else 0
        block = self._out[0]
        first = int(block.marks[0, 1])
        if block.rejected:
            before = first < skipped if self._known is None else self._rejected < self._known
            return 0 if before else None
        return min(len(block), skipped - first) if first < skipped else None

    def _skip(self, samples: int) -> None:
        """Leave out the first samples of the next block, or all that it rejects."""
        block = self._out.popleft()
        if samples < len(block):
            self._out.appendleft(block.part(samples, len(block)))
        elif block.rejected:
            count = len(block.rejected)
            given = count if self._known is None else min(count, self._known - self._rejected)
            self._rejected += given
            if given < count:
                self._out.appendleft(replace(block, rejected=block.rejected[given:]))

    def export_state(self, after: Position | None) -> dict[str, Any]:
        """What the source had found out at its start, and the rejected records given."""
        started = after is not None and after.source
        return {"source": self._begin, "rejected": self._rejected if started else 0}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Let the source begin with what it had found out."""
        self._known = int(state["rejected"])
        self._source.restore_state(state["source"])

    async def receive(self) -> Block | None:
        """The next samples; None at the end."""
        while True:
            while not self._out:
                if self._ended:
                    return None
                await self._step()
            block = self._out.popleft()
            # In states of the first releases rejected records had left sooner than they do now.
            known = max(0, (self._known or 0) - self._rejected)
            self._rejected += len(block.rejected)
            if not block.rejected or not known:
                return block
            if known < len(block.rejected):
                return replace(block, rejected=block.rejected[known:])

    async def aclose(self) -> None:
        """Close the source and forget the samples that wait."""
        self._ended = True
        self._arrived = self._waiting = None
        self._letters.clear()
        self._out.clear()
        await self._source.aclose()

    def progress(self) -> float | None:
        """Share of the samples that left."""
        share = self._source.progress()
        waiting = sum(map(len, self._out))
        return None if share is None else share * (self._left - waiting) / max(1, self._came)

    async def _step(self) -> None:
        """Take a block in, or let the rest leave."""
        if self._arrived is None:  # or else it is there since a call that was cancelled
            self._arrived = await self._source.receive()
        if self._arrived is not None:
            self._name = self._name or self._arrived.source
            await to_thread.run_sync(self._exchange, self._arrived)
            return
        self._ended = True
        if self._waiting is not None:
            rest = len(self._waiting)
            self._send(self._waiting, permutation(derive_key(self._key), rest))
        self._waiting = None

    def _exchange(self, block: Block) -> None:
        """Put the samples of a block into the buffer; those that leave go out."""
        self._arrived = None
        held = [] if self._waiting is None else [self._waiting]
        pool = concatenate_blocks([*held, block], block.schema)
        places = list(range(len(pool) - len(block)))
        leaving = []
        draws = np.empty(len(block), np.float64)
        came = self._came
        fill_uniform(draws, self._key, came)
        self._came += len(block)
        for number, draw in enumerate(draws.tolist(), start=len(places)):
            if len(places) < self._size:
                places.append(number)
                continue
            place = min(int((draw + 1.0) / 2.0 * self._size), self._size - 1)
            leaving.append(places[place])
            places[place] = number
        stay = len(block) - len(leaving)  # samples that came before the first that sent one away
        start = 0
        for place, letter in zip(block.places().tolist(), block.rejected, strict=True):
            stop = max(start, place - stay)
            self._send(pool, np.array(leaving[start:stop], np.intp))
            self._letters.append((came + place, letter))
            self._reject(pool)
            start = stop
        self._send(pool, np.array(leaving[start:], np.intp))
        self._waiting = pool.take(np.array(places, np.intp))

    def _send(self, pool: Block, order: NDArray[np.intp]) -> None:
        """Let samples leave, and rejected records between them."""
        while len(order):
            due = self._letters[0][0] - self._left if self._letters else BLOCK_ROWS
            part = pool.take(order[: min(due, BLOCK_ROWS)])
            order = order[len(part) :]
            marks = np.zeros((len(part) + 1, 3), np.int64)
            marks[:, :2] = np.arange(self._left, self._left + len(part) + 1)[:, None]
            self._left += len(part)
            self._out.append(replace(part, source=self._name, marks=marks, rejected=()))
            self._reject(pool)

    def _reject(self, pool: Block) -> None:
        """Let rejected records leave that are due, or too many to wait."""
        letters = []
        while self._letters and (
            self._letters[0][0] <= self._left or len(self._letters) > self._size
        ):
            letters.append(self._letters.popleft()[1])
        if letters and self._out and self._out[-1].rejected:
            last = self._out.pop()
            self._out.append(replace(last, rejected=(*last.rejected, *letters)))
        elif letters:
            marks = np.array([[self._left, self._left, 0]], np.int64)
            empty = pool.take(np.empty(0, np.intp))
            out = replace(empty, source=self._name, marks=marks, rejected=tuple(letters))
            self._out.append(out)

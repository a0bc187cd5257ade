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
from streamnet.samples import Block, DeadLetter, Position, Schema, concatenate_blocks, make_marks
from streamnet.sources.base import MAX_BLOCK_ROWS, Source
from streamnet.sources.wrappers import SourceWrapper
from streamnet.validation import check_seed


@final
class ShuffledSource(SourceWrapper):
    """The samples of a source, shuffled with bounded memory; seed and epoch determine the order.

    A buffer holds ``buffer`` samples. Each new sample replaces one at a random place, and the
    replaced one is emitted; at the end the rest is emitted in random order. A rejected record is
    emitted once as many samples have left as preceded it, so that the fraction of rejected records
    among the last ones stays that of the source; at most ``buffer`` of them wait. A position counts
    the emitted samples; resuming reads the source again from its start. Samples of several files
    become one stream with the name of the first.
    """

    def __init__(self, source: Source, buffer: int, seed: int, *, epoch: int = 1) -> None:
        if buffer < 1:
            raise ConfigurationError(f"buffer is {buffer}, but must be >= 1")
        super().__init__(source)
        self._size = buffer
        self._key = derive_key(check_seed(seed), buffer, epoch)
        self._arrived: Block | None = None  # received, but not in the buffer yet
        self._waiting: Block | None = None
        # Waiting, with the number of samples before each.
        self._letters: deque[tuple[int, DeadLetter]] = deque()
        self._came = 0
        self._left = 0
        self._rejected = 0  # rejected records returned so far
        self._restored: int | None = None  # of them, according to a restored state
        self._schema = Schema(())
        self._out: deque[Block] = deque()
        self._ended = False
        self._initial_state: dict[str, Any] = {}  # of the source
        self._name = ""

    async def open(self, after: Position | None = None) -> Schema:
        """Open the source and skip the samples emitted before ``after``."""
        self._schema = await self._source.open()
        self._initial_state = self._source.export_state(None)
        skipped = 0 if after is None else after.record
        while (given := self._count_skipped(skipped)) is not None:
            if self._out:
                self._skip(given)
            elif not self._ended:
                await self._step()
            else:
                raise DataError(f"the source ends before {after}: it has changed")
        return self._schema

    def _count_skipped(self, skipped: int) -> int | None:
        """How many samples of the next block precede the position; None after the position.

        Rejected records have blocks of their own, so a position does not say whether those at it
        were returned: the state does.
        """
        if not self._out:
            behind = self._left >= skipped and self._rejected >= (self._restored or 0)
            return None if behind else 0
        block = self._out[0]
        first = int(block.marks[0, 1])
        if block.rejected:
            before = first < skipped if self._restored is None else self._rejected < self._restored
            return 0 if before else None
        return min(len(block), skipped - first) if first < skipped else None

    def _skip(self, samples: int) -> None:
        """Skip the first samples of the next block, or all of its rejected records."""
        block = self._out.popleft()
        if samples < len(block):
            self._out.appendleft(block.part(samples, len(block)))
        elif block.rejected:
            count = len(block.rejected)
            given = count if self._restored is None else min(count, self._restored - self._rejected)
            self._rejected += given
            if given < count:
                self._out.appendleft(replace(block, rejected=block.rejected[given:]))

    def export_state(self, after: Position | None) -> dict[str, Any]:
        """The initial state of the source, and the number of rejected records returned."""
        started = after is not None and after.source
        return {"source": self._initial_state, "rejected": self._rejected if started else 0}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Restore the initial state of the source."""
        self._restored = int(state["rejected"])
        self._source.restore_state(state["source"])

    async def receive(self) -> Block | None:
        """The next samples; None at the end."""
        while not self._out:
            if self._ended:
                return None
            await self._step()
        block = self._out.popleft()
        self._rejected += len(block.rejected)
        return block

    async def aclose(self) -> None:
        """Close the source and discard the buffer."""
        self._ended = True
        self._arrived = self._waiting = None
        self._letters.clear()
        self._out.clear()
        await self._source.aclose()

    def progress(self) -> float | None:
        """Fraction of the samples emitted so far."""
        fraction = self._source.progress()
        waiting = sum(map(len, self._out))
        return None if fraction is None else fraction * (self._left - waiting) / max(1, self._came)

    async def _step(self) -> None:
        """Exchange one block, or emit the rest."""
        if self._arrived is None:  # else it is left from a call that was cancelled
            self._arrived = await self._source.receive()
        if self._arrived is not None:
            self._name = self._name or self._arrived.source
            await to_thread.run_sync(self._exchange, self._arrived)
            return
        self._ended = True
        if self._waiting is not None:
            rest = len(self._waiting)
            self._emit(self._waiting, permutation(derive_key(self._key), rest))
        self._waiting = None

    def _exchange(self, block: Block) -> None:
        """Put the samples of a block into the buffer, and emit those that they replace."""
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
        stay = len(block) - len(leaving)  # samples before the first one that replaces another
        start = 0
        for place, letter in zip(block.places().tolist(), block.rejected, strict=True):
            stop = max(start, place - stay)
            self._emit(pool, np.array(leaving[start:stop], np.intp))
            self._letters.append((came + place, letter))
            self._emit_rejected(pool)
            start = stop
        self._emit(pool, np.array(leaving[start:], np.intp))
        self._waiting = pool.take(np.array(places, np.intp))

    def _emit(self, pool: Block, order: NDArray[np.intp]) -> None:
        """Emit samples, and the rejected records between them."""
        while len(order):
            due = self._letters[0][0] - self._left if self._letters else MAX_BLOCK_ROWS
            part = pool.take(order[: min(due, MAX_BLOCK_ROWS)])
            order = order[len(part) :]
            marks = make_marks(self._left, len(part))
            self._left += len(part)
            self._out.append(replace(part, source=self._name, marks=marks, rejected=()))
            self._emit_rejected(pool)

    def _emit_rejected(self, pool: Block) -> None:
        """Emit the rejected records that are due, or exceed the buffer."""
        letters = []
        while self._letters and (
            self._letters[0][0] <= self._left or len(self._letters) > self._size
        ):
            letters.append(self._letters.popleft()[1])
        if letters and self._out and self._out[-1].rejected:
            last = self._out.pop()
            self._out.append(replace(last, rejected=(*last.rejected, *letters)))
        elif letters:
            empty = pool.take(np.empty(0, np.intp))
            marks = make_marks(self._left, 0)
            self._out.append(
                replace(empty, source=self._name, marks=marks, rejected=tuple(letters))
            )

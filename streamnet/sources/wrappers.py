"""Sources that wrap another source: limit, repeat, retry, and stop on schema drift."""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, final

import numpy as np
from anyio import CancelScope, current_time, sleep
from msgspec.structs import replace

from streamnet.errors import ConfigurationError, DataError, ReadError
from streamnet.samples import Block, Position, Schema, schema_from_dict, schema_to_dict, widen_block
from streamnet.sources.base import Source

logger: logging.Logger = logging.getLogger("streamnet.sources")


async def open_or_close(source: Source, after: Position | None = None) -> Schema:
    """Open a source; close it if that fails or is cancelled, since no source is opened twice."""
    try:
        return await source.open(after)
    except BaseException:
        with CancelScope(shield=True):
            await source.aclose()
        raise


class SourceWrapper(Source):
    """A source that delegates to another one; subclasses override what they change."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def open(self, after: Position | None = None) -> Schema:
        """Open the wrapped source."""
        return await self._source.open(after)

    async def receive(self) -> Block | None:
        """The next block of the wrapped source."""
        return await self._source.receive()

    def export_state(self, after: Position | None) -> dict[str, Any]:
        """The state of the wrapped source."""
        return self._source.export_state(after)

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Restore the state of the wrapped source."""
        self._source.restore_state(state)

    def commit(self, state: Mapping[str, Any]) -> None:
        """Pass on the state of the wrapped source."""
        self._source.commit(state)

    async def aclose(self) -> None:
        """Close the wrapped source."""
        await self._source.aclose()

    def progress(self) -> float | None:
        """Progress of the wrapped source."""
        return self._source.progress()

    def lag(self) -> int | None:
        """Lag of the wrapped source."""
        return self._source.lag()

    @property
    def failure(self) -> str | None:
        """Failure of the wrapped source."""
        return self._source.failure


@final
class LimitedSource(SourceWrapper):
    """The first ``n`` samples of a source, and the records rejected before the last of them.

    Without a restored state, resuming reads the source again from its start, because a position
    does not say how many samples precede it.
    """

    def __init__(self, source: Source, n: int) -> None:
        if n < 1:
            raise ConfigurationError(f"n is {n}, but must be >= 1")
        super().__init__(source)
        self._n = n
        self._left = n
        self._last: Block | None = None  # the block returned last
        self._rest: Block | None = None  # what follows the position in the block that holds it
        self._restored: int | None = None  # samples left according to a restored state

    async def open(self, after: Position | None = None) -> Schema:
        """Open the source and read up to ``after``."""
        if self._restored is not None and after is not None:
            self._left = self._restored
            return await self._source.open(after)
        schema = await self._source.open()
        while after is not None and after.source and self._rest is None:
            block = await self._source.receive()
            if block is None:
                raise DataError(f"the source ends before {after}: it has changed")
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
        """The number of samples returned so far, and the state of the source."""
        left = self._left
        if after is None or not after.source:
            left = self._n
        elif self._last is not None:
            before = _count_samples_before(self._last, after)
            left += 0 if before is None else len(self._last) - before
        return {"given": self._n - left, "source": self._source.export_state(after)}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Restore the number of samples returned so far; the limit may have changed since."""
        self._restored = max(self._n - int(state["given"]), 0)
        self._source.restore_state(state["source"])

    def commit(self, state: Mapping[str, Any]) -> None:
        """Pass on the state of the source."""
        self._source.commit(state["source"])

    def progress(self) -> float | None:
        """Fraction of the n samples returned so far, or of the source if that is larger."""
        given = 1.0 - max(0, self._left) / self._n
        return max(given, self._source.progress() or 0.0)


@final
class RepeatedSource(Source):
    """The samples of a source, repeated for several epochs.

    Blocks of later epochs have ``scored=False`` and carry no rejected records. Their positions
    prefix the file with the epoch. Fields that appear late in the first epoch are kept.
    ``make_source`` is given the epoch, from 1 on; its sources must have the same samples, in any
    order.
    """

    def __init__(self, make_source: Callable[[int], Source], epochs: int) -> None:
        if epochs < 1:
            raise ConfigurationError(f"epochs is {epochs}, but must be >= 1")
        self._make_source = make_source
        self._epochs = epochs
        self._epoch = 1
        self._source: Source | None = None
        self._last_source: Source | None = None  # of the last block
        self._restored: Mapping[str, Any] = {}
        self._schema = Schema(())

    async def open(self, after: Position | None = None) -> Schema:
        """Open the source of the first epoch, or of the epoch that ``after`` names."""
        if after is not None:
            self._epoch, name = _split_epoch(after.source)
            after = after._replace(source=name)
            if self._epoch > self._epochs:
                raise DataError(f"the position is in epoch {self._epoch} of {self._epochs}")
        self._source = self._make_source(self._epoch)
        if self._restored:
            self._source.restore_state(self._restored["source"])
        schema = await self._source.open(after)
        self._schema = schema_from_dict(self._restored["schema"]) if self._restored else schema
        return self._schema

    def export_state(self, after: Position | None) -> dict[str, Any]:
        """The schema of all epochs, and the state of the current epoch's source."""
        if after is not None:
            after = after._replace(source=_split_epoch(after.source)[1])
        source = self._last_source or self._source
        state = {} if source is None else source.export_state(after)
        return {"schema": schema_to_dict(self._schema), "source": state}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Restore the schema and the state of the epoch that is opened next."""
        self._restored = state

    async def receive(self) -> Block | None:
        """The next samples of this epoch or the next; None at the end."""
        while self._source is not None:
            block = await self._source.receive()
            if block is not None:
                self._last_source = self._source
                return self._mark_epoch(block)
            following = None
            if self._epoch < self._epochs:
                following = self._make_source(self._epoch + 1)
                await open_or_close(following)
            ended, self._source = self._source, following
            self._epoch += 1
            await ended.aclose()
        return None

    async def aclose(self) -> None:
        """Close the source of the current epoch."""
        self._epoch = self._epochs + 1
        if self._source is not None:
            await self._source.aclose()
            self._source = None

    def progress(self) -> float | None:
        """Fraction of all epochs."""
        if self._epoch > self._epochs:
            return 1.0
        fraction = 0.0 if self._source is None else self._source.progress()
        return None if fraction is None else (self._epoch - 1 + fraction) / self._epochs

    def lag(self) -> int | None:
        """Lag of the source of this epoch."""
        return None if self._source is None else self._source.lag()

    @property
    def failure(self) -> str | None:
        """Failure of the source of this epoch."""
        return None if self._source is None else self._source.failure

    def _mark_epoch(self, block: Block) -> Block:
        if len(block.schema.fields) > len(self._schema.fields) or self._epoch == 1:
            self._schema = block.schema
        if self._epoch == 1:
            return block
        name = f"epoch {self._epoch} of {block.source}"
        wide = widen_block(block, self._schema)
        return replace(wide, source=name, scored=False, rejected=())


FIRST_PAUSE = 0.1  # seconds, four times as long after each further failure
LONGEST_PAUSE = 30.0


def compute_pause(failures: int) -> float:
    """Seconds until the next try after so many failures.

    >>> [compute_pause(failures) for failures in (1, 2, 3, 9)]
    [0.1, 0.4, 1.6, 30.0]
    """
    return min(LONGEST_PAUSE, FIRST_PAUSE * 4.0 ** min(failures - 1, 9))


@final
class RetryingSource(SourceWrapper):
    """A source that is made again, and resumes after its last sample, when reading fails.

    Only temporary failures are retried, such as an I/O error or an unreachable network file system.
    More than ``tries`` failures within ``seconds`` are final; None allows any number.
    """

    def __init__(
        self, make_source: Callable[[], Source], *, tries: int | None = 5, seconds: float = 600.0
    ) -> None:
        if tries is not None and tries < 0:
            raise ConfigurationError(f"tries is {tries}, but must be >= 0")
        super().__init__(make_source())
        self._make_source = make_source
        self._tries = tries
        self._seconds = seconds
        self._is_new = True  # the wrapped source was never opened
        self._is_open = False
        self._after: Position | None = None  # end of the last block
        self._state: Mapping[str, Any] | None = None  # to resume there
        self._failures: deque[float] = deque()  # when the last ones happened
        self._failure: str | None = None  # the last one, until the source is open again

    async def open(self, after: Position | None = None) -> Schema:
        """Open the source, again if that fails."""
        self._after = after
        while True:
            try:
                return await self._open()
            except ReadError as error:
                await self._recover(error)

    async def receive(self) -> Block | None:
        """The next samples; None at the end."""
        while True:
            try:
                if not self._is_open:
                    await self._open()
                block = await self._source.receive()
            except ReadError as error:
                await self._recover(error)
                continue
            if block is not None:
                self._after = block.end
            return block

    def export_state(self, after: Position | None) -> dict[str, Any]:
        """The state of the source."""
        return self._source.export_state(after) if self._is_open else dict(self._state or {})

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Restore this state in the source, and in those that replace it."""
        self._state = state

    def progress(self) -> float | None:
        """Progress of the source; None while it is being reopened."""
        return self._source.progress() if self._is_open else None

    def lag(self) -> int | None:
        """Lag of the source; None while it is being reopened."""
        return self._source.lag() if self._is_open else None

    @property
    def failure(self) -> str | None:
        """Why reading failed, until it can be read again."""
        return self._failure or self._source.failure

    async def _open(self) -> Schema:
        if not self._is_new:
            self._source = self._make_source()
        self._is_new = False
        if self._state:
            self._source.restore_state(self._state)
        schema = await open_or_close(self._source, self._after)
        self._is_open, self._failure = True, None
        return schema

    async def _recover(self, error: ReadError) -> None:
        """Close the source and wait, or give up."""
        if self._is_open:
            self._state = self._source.export_state(self._after)
        self._is_open, self._failure = False, str(error)
        await self._source.aclose()
        now = current_time()
        self._failures.append(now)
        while self._failures[0] < now - self._seconds:
            self._failures.popleft()
        if self._tries is not None and len(self._failures) > self._tries:
            times = f"{len(self._failures)} failures in {self._seconds:g} seconds"
            raise DataError(f"{error}: given up after {times}") from error
        pause = compute_pause(len(self._failures))
        logger.warning("%s: trying again in %g seconds", error, pause)
        await sleep(pause)


@final
class GuardedSource(SourceWrapper):
    """A source that ends with an error at the first record rejected for one of some reasons."""

    def __init__(self, source: Source, stops: tuple[str, ...]) -> None:
        super().__init__(source)
        self._stops = stops
        self._error: DataError | None = None

    async def receive(self) -> Block | None:
        """The next samples before such a record, then the error that describes it."""
        if self._error is not None:
            raise self._error
        block = await self._source.receive()
        if block is None:
            return None
        for number, letter in enumerate(block.rejected):
            if letter.reason in self._stops:
                rule = "source.drift says stop"
                self._error = DataError(f"{letter.place}: {letter.detail} ({rule})")
                return _cut_before_rejected(block, number)
        return block


def _take_first(block: Block, count: int) -> Block:
    """The first samples of a block, and what was rejected before the last of them."""
    places = block.places().tolist() if block.rejected else []
    rejected = sum(place < count for place in places)
    return replace(block.part(0, count), rejected=block.rejected[:rejected])


def _cut_before_rejected(block: Block, number: int) -> Block:
    """The samples before a rejected record. The block ends where that record starts."""
    places = block.places()
    place = int(places[number])
    part = block.part(0, place)
    marks = part.marks.copy()
    letter = block.rejected[number]
    rest = int((places[number:] == place).sum())  # rejected records up to the next sample
    marks[-1] = letter.offset, marks[-1, 1] - rest, letter.line or 0
    return replace(part, marks=marks, rejected=block.rejected[:number])


def _split_epoch(source: str) -> tuple[int, str]:
    match = re.fullmatch(r"epoch ([0-9]+) of (.*)", source, re.DOTALL)
    return (int(match[1]), match[2]) if match else (1, source)


def _count_samples_before(block: Block, position: Position) -> int | None:
    """How many samples of a block precede a position; None if it is after the block."""
    offsets = block.marks[:, 0]
    if block.source != position.source or offsets[-1] < position.offset:
        return None
    return int(np.searchsorted(offsets, position.offset))

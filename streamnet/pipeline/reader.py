"""The reading stage: from the source to the first channel, split at round boundaries."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from math import inf
from typing import Any, NamedTuple, Protocol, TypeVar, final

from anyio import CancelScope, current_time
from anyio.streams.memory import MemoryObjectSendStream
from msgspec.structs import replace

from streamnet.errors import ConfigurationError, DataError
from streamnet.pipeline.concurrency import put
from streamnet.pipeline.control_messages import Barrier, Glance
from streamnet.pipeline.state import Cadence
from streamnet.samples import (
    Block,
    Change,
    Kind,
    Position,
    Schema,
    change_from_list,
    change_to_list,
)
from streamnet.sources.base import Source, make_empty_block
from streamnet.validation import check_integer

MAX_BLOCK_CELLS = 1 << 17  # samples times columns of a block
TEXT_COLUMNS = 16  # that a text counts as


class SplitBlock(NamedTuple):
    """A block, and whether its last sample ends a round."""

    block: Block
    ends_round: bool


class Splitter(Protocol):
    """Splits blocks and decides where rounds end."""

    number: int  # of the next sample

    def cut(self, block: Block) -> Iterator[SplitBlock]:
        """The parts of a block, in order."""


@final
class BlockSplitter:
    """Splits blocks to at most ``block_size`` samples, and at every ``round_size``-th sample.

    Blocks with many columns are split to fewer samples: training on a block can't be interrupted,
    and with thousands of columns it would take minutes. With ``late_labels``, they are also split
    before the first sample that waits for its label.

    >>> BlockSplitter(block_size=256, round_size=1024).block_size
    256

    Raises:
        ConfigurationError: If a size is below 1.
    """

    def __init__(self, *, block_size: int, round_size: int, late_labels: bool = False) -> None:
        for name, value in (("block_size", block_size), ("round_size", round_size)):
            if check_integer(name, value) < 1:
                raise ConfigurationError(f"{name} is {value}, but must be >= 1")
        self.block_size = block_size
        self.round_size = round_size
        self._before_waiting = late_labels  # whether no sample has waited, as far as is known
        self.number: int = 0  # of the next sample

    def cut(self, block: Block) -> Iterator[SplitBlock]:
        """The parts of a block, in order; rejected records stay with the samples they follow.

        Labels that arrive after the last sample of a round belong to the next round.
        """
        if not len(block):
            yield SplitBlock(block, False)
            return
        most = 1 if len(block) == 1 else min(self.block_size, _max_samples(block))
        start, waiting = 0, len(block)
        if self._before_waiting and (waits := block.find_waiting()).any():
            self._before_waiting = False
            waiting = int(waits.argmax()) or len(block)
        while start < len(block):
            left = self.round_size - self.number % self.round_size
            stop = min(waiting if start < waiting else len(block), start + most, start + left)
            whole = start == 0 and stop == len(block)
            self.number += stop - start
            ends_round = self.number % self.round_size == 0
            part, rest = block if whole else block.part(start, stop), None
            if ends_round:
                part, rest = part.split_off_last_arrivals()
            yield SplitBlock(part, ends_round)
            if rest is not None:
                yield SplitBlock(rest, False)
            start = stop


def _max_samples(block: Block) -> int:
    """Maximum number of samples in a block of such columns."""
    schema = block.schema
    texts = sum(field.kind is Kind.TEXT for field in schema.fields) if schema.words else 0
    entries = 0 if block.sparse is None else int(block.sparse.count.sum()) // len(block)
    columns = len(schema.fields) + (TEXT_COLUMNS - 1) * texts + entries
    return max(1, MAX_BLOCK_CELLS // max(1, columns))


Send = MemoryObjectSendStream[SplitBlock | Barrier | Glance]

T = TypeVar("T")

logger: logging.Logger = logging.getLogger("streamnet.pipeline")


def count_records(block: Block) -> int:
    """Number of records of a block: good and rejected ones, labels that arrive, and a change."""
    records = len(block) + len(block.rejected) + (block.change is not None)
    return records if block.arrivals is None else records + block.arrivals.records


def check_source(given: Any) -> Source:
    """Check that a source is one, and return it."""
    if not isinstance(given, Source):
        raise ConfigurationError(
            f"source is of type {type(given).__name__}, but must be a Source: open_files "
            "makes one of files, IterableSource of anything that can be gone through"
        )
    return given


@final
class Reader:
    """Reads a source; `stop` takes effect at once, even while it waits for a sample.

    The cadence decides when to send a `Barrier` behind a block; None sends none.

    >>> from streamnet.sources import IterableSource
    >>> splitter = BlockSplitter(block_size=256, round_size=1024)
    >>> reader = Reader(IterableSource([{"x": 1.0}]), splitter)
    >>> reader.stop()
    >>> reader.stopped, reader.broken, reader.records
    (True, None, 0)
    """

    def __init__(self, source: Any, splitter: Splitter, cadence: Cadence | None = None) -> None:
        self.source: Source = check_source(source)
        self.stopped: bool = False
        self.broken: DataError | None = None  # why reading failed
        self.records: int = 0  # good and rejected records that were read and used
        self._moves = 0  # blocks without a record that were sent, behind which the position moved
        self._unsent = 0  # of the block that is being sent
        self._splitter = splitter
        self._cadence = cadence
        self._end: Position | None = None  # behind the last record that was sent
        self._cut = 0  # news before the last barrier
        self._waiting: CancelScope | None = None
        self._glances: deque[Glance] = deque()  # to be sent
        self._changes: deque[Change] = deque()  # likewise
        self._changed: list[tuple[int, Change]] = []  # those sent, and the samples before each
        self._schema = Schema(())  # of the last block

    def stop(self) -> None:
        """Stop reading."""
        self.stopped = True
        self._wake()

    def send_glance(self, glance: Glance) -> None:
        """Send a glance behind the current block, or at once while there is none."""
        self._glances.append(glance)
        self._wake()

    def send_change(self, change: Change) -> None:
        """Likewise send a change, which a checkpoint follows."""
        self._changes.append(change)
        self.cut()
        self._wake()

    def cut(self) -> None:
        """Likewise send a `Barrier`, even if nothing is new; without a cadence do nothing."""
        if self._cadence is not None:
            self._cadence.ask()
            self._wake()

    def _wake(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()

    def give_up(self, error: DataError, block: Block, used: Block) -> None:
        """Stop reading because of an error in ``block``; only its part ``used`` was used."""
        self.fail(error)
        self.records -= count_records(block) - count_records(used)

    def fail(self, error: DataError) -> None:
        """Stop reading because of an error; the first one counts."""
        self.stop()
        self.broken = self.broken or error

    def uncount(self, block: Block) -> None:
        """Count a block that was sent, but not used, as not read."""
        self.records -= count_records(block)

    def progress(self, done: int) -> float | None:
        """Fraction of the source that is done; None if its length is unknown.

        ``done`` counts the records that were learned or rejected. More have been read: of a small
        file all, before the first one is learned.
        """
        share, came = self.source.progress(), self.records + self._unsent
        return share if share is None or not came else share * done / came

    async def open(self) -> Schema | None:
        """Open the source; None if reading was stopped meanwhile."""
        schema = await self.run_unless_stopped(partial(self.source.open, self._end))
        if schema is not None:
            self._schema = schema
        return schema

    async def run_unless_stopped(self, work: Callable[[], Awaitable[T]]) -> T | None:
        """Run work before the first sample; `stop` cancels it, and the result is None."""
        if not self.stopped:
            with CancelScope() as self._waiting:
                return await work()
        return None

    @property
    def _news(self) -> int:
        """What a checkpoint may be due for: records, and moves of the position without any."""
        return self.records + self._moves

    def barrier(self, *, last: bool = False) -> Barrier:
        """Build a barrier behind the last record that was sent."""
        self._cut = self._news
        return Barrier(
            {
                "position": None if self._end is None else list(self._end),
                "records": self.records,
                "number": self._splitter.number,
                "source": self.source.export_state(self._end),
                **self._export_changes(),
            },
            last=last,
        )

    def _export_changes(self) -> dict[str, Any]:
        """Changes that wait to be sent, and that were sent, where there are any."""
        waiting = list(map(change_to_list, self._changes))
        sent = [[number, *change_to_list(change)] for number, change in self._changed]
        return {
            name: values for name, values in (("changes", waiting), ("changed", sent)) if values
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Resume behind the barrier whose ``reading`` this is; call it before `open`."""
        self._end = None if state["position"] is None else Position(*state["position"])
        self.records = self._cut = state["records"]
        self._splitter.number = state["number"]
        self._changes = deque(map(change_from_list, state.get("changes", ())))
        changed = state.get("changed", ())
        self._changed = [(number, change_from_list(values)) for number, *values in changed]
        self.source.restore_state(state["source"])

    async def read(self, send: Send) -> None:
        """Send blocks until the source ends or fails, or reading is stopped."""
        with send:
            try:
                while (block := await self._receive(send)) is not None:
                    await self._send(send, block)
            except DataError as error:
                logger.error("the source failed: %s", error)
                self.broken = error
            if self._cadence is not None and self._news != self._cut:
                await put(send, self.barrier(last=True))

    async def _receive(self, send: Send) -> Block | None:
        """The next block, None at the end; sends barriers that become due meanwhile."""
        # `stop` cancels only the wait for a block, so it is checked after every other wait.
        while not self.stopped:
            if self._glances:
                await put(send, self._glances.popleft())
                continue
            if self._changes:
                block = make_empty_block(self._schema, self._end or Position())
                change = self._changes.popleft()
                self._changed.append((self._splitter.number, change))
                return replace(block, change=change)
            left = inf if self._cadence is None else self._cadence.seconds_left(self._news)
            with CancelScope(deadline=current_time() + max(left, 0.0)) as self._waiting:
                return await self.source.receive()
            await self._cut_if_due(send)
        return None

    async def _cut_if_due(self, send: Send) -> None:
        number, cadence = self._splitter.number, self._cadence
        if cadence is not None and cadence.due(number, self._news):
            cadence.cut(number, self._news)
            await put(send, self.barrier())

    async def _send(self, send: Send, block: Block) -> None:
        self._unsent, self._schema = count_records(block), block.schema
        for arrival in self._splitter.cut(block):
            await put(send, arrival)
            count = count_records(arrival.block)
            self._unsent -= count
            self.records += count
            if self._end is not None or arrival.block.source or not arrival.block.change:
                self._moves += not count and arrival.block.end != self._end
                self._end = arrival.block.end
            await self._cut_if_due(send)
            if self.stopped:
                break
        else:
            # Counts what was read, not what was sent: a record lost in splitting would show.
            self.records += self._unsent
            self._unsent = 0

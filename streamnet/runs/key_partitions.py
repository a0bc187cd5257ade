"""Partitions of a stream by the keys of its samples, read once for several of them."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, final

import numpy as np
from anyio import Event, Lock
from msgspec.structs import replace
from numpy.typing import NDArray

from streamnet.errors import DataError, StreamnetError
from streamnet.keyed.encoder import read_keys
from streamnet.pipeline.reader import count_records
from streamnet.samples import Block, KeyRemoval, Position, Schema
from streamnet.sources import Source
from streamnet.sources.wrappers import open_or_close

MAX_WAITING = 1 << 14  # samples of a partition that were read for it and wait
MAX_SKIPPED = 1 << 10  # records of others, after which a partition moves its position


def find_partition(key: str | None, partitions: int) -> int:
    """The partition of a key, from 0 on; the same everywhere and forever.

    >>> [find_partition(key, 16) for key in ("d1", "d2", "d3", None)]
    [6, 12, 10, 0]
    """
    return zlib.crc32((key or "").encode("utf-8", "surrogatepass")) % partitions


class Origin(NamedTuple):
    """The record from which the records of a stream are counted.

    A stream may lose its beginning: what opens it anew then counts from another one.
    """

    source: str
    offset: int
    checksum: int  # of its content


def find_origin(block: Block) -> Origin:
    """The first record of a block; the same however a stream is cut into blocks."""
    if block.rejected and not block.places()[0]:
        letter = block.rejected[0]
        return Origin(letter.source, letter.offset, _checksum(letter.raw))
    if block.arrivals is not None and len(block.arrivals.before) and not block.arrivals.before[0]:
        return Origin(block.source, int(block.arrivals.marks[0, 0]), 0)
    columns = [*block.numbers.T, *block.words, *([] if block.target is None else [block.target])]
    content = [str(column[0]) for column in columns if len(column)]
    return Origin(block.source, int(block.marks[0, 0]), _checksum(repr(content)))


def _checksum(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


class Start(NamedTuple):
    """A place of the stream between two blocks, from which it can be read again."""

    position: Position | None = None
    records: int = 0  # before it
    source: Mapping[str, Any] | None = None  # state of the source
    origin: Origin | None = None  # None: no record was read yet


class _Piece(NamedTuple):
    """What a partition gets of a block of the stream."""

    block: Block
    records: NDArray[np.int64]  # shape=(samples + 1,): records before each sample, and the end
    rejected: NDArray[np.int64]  # shape=(rejected,): records before each rejected one
    start: Start  # of the block of the stream


_NONE = np.empty(0, np.int64)


@final
class SharedReading:
    """Reads a stream once for several of its partitions.

    Each partition is a source, which may resume at a place of its own: the stream is read from the
    earliest of these on, as soon as all partitions have been opened or have left. None is read
    ahead of the slowest one by more than some thousand samples. Partitions that count records from
    different beginnings, and those that have none yet beside those that do, get a reading of their
    own.

    Args:
        make_source: Makes the source of the stream.
        columns: Columns of the key.
        partitions: Number of partitions of the stream.
        numbers: Those that are read.
    """

    def __init__(
        self,
        make_source: Callable[[], Source],
        columns: Sequence[str],
        partitions: int,
        numbers: Iterable[int],
    ) -> None:
        self._make_source, self._columns, self._partitions = make_source, columns, partitions
        self._awaited = set(numbers)
        self._complete = Event()
        self._members: dict[int, KeyPartition] = {}
        self._source: Source | None = None
        self._schema = Schema(())
        self._start = Start()  # of the next block
        self._lock = Lock()
        self._room = Event()
        self.ended: bool = False  # whether all was read
        self._failure: StreamnetError | None = None

    def leave(self, number: int) -> None:
        """Read on without a partition."""
        self._members.pop(number, None)
        self._awaited.discard(number)
        if not self._awaited:
            self._complete.set()
        self.make_room()

    def make_room(self) -> None:
        """Have those that wait for a partition look again."""
        self._room.set()
        self._room = Event()

    async def join(self, member: KeyPartition) -> Schema:
        """Open the source if it is not open; the schema of the stream."""
        self._members[member.number] = member
        self._awaited.discard(member.number)
        if not self._awaited:
            self._complete.set()
        await self._complete.wait()
        if self._source is None and self._failure is None:
            self._split()
        if member.reading is not self:
            return await member.reading.join(member)
        async with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._source is None:
                await self._open()
        return self._schema

    def _split(self) -> None:
        """Move members that count from another record than the first one to other readings."""
        groups: dict[Origin | None, list[KeyPartition]] = {}
        for member in self._members.values():
            groups.setdefault(member.start.origin, []).append(member)
        for others in list(groups.values())[1:]:
            numbers = [member.number for member in others]
            reading = SharedReading(self._make_source, self._columns, self._partitions, numbers)
            for member in others:
                del self._members[member.number]
                member.reading = reading

    async def _open(self) -> None:
        starts = [member.start for member in self._members.values()]
        start = min(starts, key=lambda start: start.records)
        source = self._make_source()
        if start.source is not None:
            source.restore_state(start.source)
        try:
            self._schema = await open_or_close(source, start.position)
        except StreamnetError as error:
            self._failure = error
            raise
        self._source, self._start = source, start
        if start.source is None:
            self._start = Start(source=source.export_state(None))

    async def read_for(self, member: KeyPartition) -> bool:
        """Read until there is something for a partition; return whether there is."""
        while not member.pieces:
            async with self._lock:
                if member.pieces:
                    break
                if self._failure is not None:
                    raise self._failure
                if self.ended or self._source is None:
                    return False
                while any(one.waiting > MAX_WAITING for one in self._members.values()):
                    await self._room.wait()
                try:
                    block = await self._source.receive()
                    if block is None:
                        self.ended = True
                    else:
                        self._distribute(self._source, block)
                except StreamnetError as error:
                    self._failure = error
        return True

    def _distribute(self, source: Source, block: Block) -> None:
        start, count = self._start, count_records(block)
        if count and (start.position is None or start.origin is None):
            start = self._begin(start, block)
        end = start.records + count
        self._start = Start(block.end, end, source.export_state(block.end), start.origin)
        if isinstance(block.change, KeyRemoval):
            owner = find_partition(block.change.key, self._partitions)
            if owner in self._members:
                self._members[owner].add(_Piece(block, np.array([end]), _NONE, start))
            return
        keys = read_keys(block, self._columns)
        owners = np.fromiter(
            (find_partition(key, self._partitions) for key in keys), np.int64, len(keys)
        )
        places = block.places() if block.rejected else np.empty(0, np.int64)
        samples = np.arange(len(block))
        samples += np.searchsorted(places, samples, side="right")
        records = np.append(start.records + samples, end)
        # Rejected records have no key: they are dealt out by their number.
        rejected = start.records + places + np.arange(len(places))
        dealt = rejected % self._partitions
        for number, member in list(self._members.items()):
            rows = np.flatnonzero(owners == number)
            letters = np.flatnonzero(dealt == number)
            own = replace(block.take(rows), rejected=tuple(block.rejected[i] for i in letters))
            before = records[np.append(rows, len(block))]
            member.add(_Piece(own, before, rejected[letters], start))

    def _begin(self, start: Start, block: Block) -> Start:
        """The start of the first records of the stream, which must still be the ones counted."""
        origin = find_origin(block)
        if start.origin is not None and start.origin != origin:
            raise DataError(
                f"the stream begins with another record, at offset {origin.offset} of "
                f"{origin.source}, than when partitions of its keys were read before, at offset "
                f"{start.origin.offset} of {start.origin.source}: what was not read yet may be "
                "gone; without their states, partitions begin anew"
            )
        return start._replace(origin=origin)

    def progress(self) -> float | None:
        """Progress of the source."""
        return None if self._source is None else self._source.progress()

    def lag(self) -> int | None:
        """Lag of the source."""
        return None if self._source is None else self._source.lag()

    @property
    def failure(self) -> str | None:
        """Failure of the source."""
        return None if self._source is None else self._source.failure

    async def close_if_left(self) -> None:
        """Close the source once no partition is read any more."""
        if self._source is not None and not self._members:
            source, self._source = self._source, None
            await source.aclose()


@final
class KeyPartition(Source):
    """The samples of a stream whose keys are in one partition.

    Samples without a key are in the partition of the empty one. Rejected records are dealt out to
    all partitions, so that each is counted and kept once.

    Args:
        reading: Reads the stream.
        number: The partition.
    """

    def __init__(self, reading: SharedReading, number: int) -> None:
        self.number: int = number
        self.start: Start = Start()  # where the stream has to be read from
        self.pieces: deque[_Piece] = deque()
        self.waiting: int = 0  # samples in them
        self.reading: SharedReading = reading
        self._done = 0  # records of the stream before the first one that is to be returned
        self._last: _Piece | None = None  # returned
        self._moved = 0  # records before the end of what was added last

    async def open(self, after: Position | None = None) -> Schema:
        """Open the stream."""
        del after  # the restored state has it, with a place from which its block can be read
        return await self.reading.join(self)

    async def receive(self) -> Block | None:
        """The next samples of the partition; None at the end."""
        if not await self.reading.read_for(self):
            return None
        self._last = piece = self.pieces.popleft()
        self.waiting -= len(piece.block)
        self.reading.make_room()
        return piece.block

    def add(self, piece: _Piece) -> None:
        """Take what is there of a block of the stream, but for what was returned before."""
        block, records = piece.block, piece.records
        done, end = self._done, int(records[-1])
        if end <= done and end > piece.start.records:
            return
        if done > piece.start.records:
            first = int(np.searchsorted(records, done))
            letters = zip(block.rejected, piece.rejected >= done, strict=True)
            block = replace(
                block.take(np.arange(first, len(block))),
                rejected=tuple(letter for letter, is_left in letters if is_left),
            )
            records = records[first:]
        has_content = len(block) or block.rejected or block.change is not None
        if not has_content and end - self._moved < MAX_SKIPPED:
            return
        self._moved = end
        self.waiting += len(block)
        self.pieces.append(piece._replace(block=block, records=records))

    def export_state(self, after: Position | None) -> dict[str, Any]:
        """Where the block was read from that holds a position, and the records before that."""
        last = self._last
        start, done = self.start, self._done
        if last is not None and after is not None:
            start, block = last.start, last.block
            offsets = block.marks[:-1, 0]
            place = len(block)
            if after.offset != int(block.marks[-1, 0]):
                place = int(np.searchsorted(offsets, after.offset))
            done = int(last.records[place])
        return {
            "position": None if start.position is None else list(start.position),
            "before": start.records,
            "done": done,
            "source": None if start.source is None else dict(start.source),
            "origin": None if start.origin is None else list(start.origin),
        }

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Restore a state, from the place of which the stream is read."""
        position, origin = state["position"], state["origin"]
        self.start = Start(
            None if position is None else Position(*position),
            state["before"],
            state["source"],
            None if origin is None else Origin(*origin),
        )
        self._done = self._moved = state["done"]

    def progress(self) -> float | None:
        """Progress of the stream."""
        return self.reading.progress()

    def lag(self) -> int | None:
        """Records of the stream that are there and were not read yet."""
        return self.reading.lag()

    @property
    def failure(self) -> str | None:
        """Failure of the stream."""
        return self.reading.failure

    async def aclose(self) -> None:
        """Leave the stream."""
        self.reading.leave(self.number)
        await self.reading.close_if_left()

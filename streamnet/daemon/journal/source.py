"""A source that reads the samples of a journal."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, final

import numpy as np
from anyio import Event, to_thread
from msgspec.structs import replace

from streamnet.daemon.journal.frames import HEADER_BYTES, FileFrameHead, Frame, decode_dead_letter
from streamnet.daemon.journal.segments import Journal
from streamnet.errors import StateError
from streamnet.pipeline.concurrency import Worker
from streamnet.samples import Block, Position, Schema, schema_from_dict, schema_to_dict
from streamnet.sources.base import Source, make_rejection_block
from streamnet.sources.columns import Columns
from streamnet.sources.files.detection import TextOptions
from streamnet.sources.files.jsonl import JsonLinesFormat
from streamnet.sources.text.records import Chunk, Records, find_records

NAME = "journal"
BLOCK_ROWS = 8192
MIN_BLOCK_ROWS = 32
READ_BYTES = 1 << 20
_BYTES_PER_SAMPLE = 128  # to estimate the work


@final
class JournalSource(Source):
    """Reads the samples of a journal as they are appended, without end.

    A feature gets its kind from its first value, or from the file it comes from. If no task is
    configured, the first target determines it: a float means regression, anything else a label. So
    what is learned depends on the samples alone, never on when they arrived.
    """

    def __init__(
        self, journal: Journal, wait_beyond: Callable[[int], Awaitable[None]], columns: Columns
    ) -> None:
        self.consumed: int = 0  # samples read in this run and by earlier ones
        self._journal = journal
        self._wait_beyond = wait_beyond
        self._columns = columns
        self._format = JsonLinesFormat(TextOptions(columns))
        self._schema = Schema((), columns.target, columns.task)
        self._window = _EMPTY_WINDOW
        self._offset = 0  # of the frame after the window
        self._prefetched: deque[tuple[int, Frame]] = deque()  # from there on, with their offsets
        self._rows = BLOCK_ROWS  # to search for next
        self._worker = Worker()
        self._running = Event()  # set unless paused
        self._running.set()

    async def open(self, after: Position | None = None) -> Schema:
        """Go to ``after``; wait for the first target if it determines the task."""
        if after is not None and after.source:
            place = after
        else:
            place = Position(NAME, self._journal.begin, self._journal.samples_before)
        await to_thread.run_sync(self._go_to, place)
        if self._schema.task is None:
            fields, target = self._schema.fields, self._schema.target
            self._schema = Schema(fields, target, await self._infer_task())
        self._format.restore_state({}, self._schema)
        return self._schema

    def _go_to(self, after: Position) -> None:
        """Go to the position after a sample, which may be within a frame."""
        journal = self._journal
        self.consumed = after.record
        offset = max(after.offset, journal.begin)
        if after.record < journal.samples_before or after.offset > journal.end:
            raise StateError(
                f"{journal.folder} has no sample {after.record:,} at byte {after.offset:,}: it is "
                "another journal"
            )
        self._window = _EMPTY_WINDOW
        self._offset = journal.find_frame(offset)
        if self._offset < offset:
            self._fill()
            self._window = self._window.after_offset(offset)

    async def _infer_task(self) -> Any:
        """Read ahead until a target determines the task, then return to the position."""
        window, offset, consumed = self._window, self._offset, self.consumed
        schema = self._schema
        self._format.restore_state({}, self._schema)
        while (task := self._schema.task) is None:
            await self.receive()
        self._window, self._offset, self.consumed = window, offset, consumed
        self._schema = schema
        return task

    def export_state(self, after: Position | None) -> dict[str, Any]:
        """The schema."""
        del after
        return {"schema": schema_to_dict(self._schema)}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Restore the schema."""
        self._schema = schema_from_dict(state["schema"])

    def pause(self) -> None:
        """Return nothing until `resume`."""
        if self._running.is_set():
            self._running = Event()

    def resume(self) -> None:
        """Return samples again."""
        self._running.set()

    async def receive(self) -> Block:
        """Wait for samples and return the next block; the stream never ends."""
        while True:
            await self._running.wait()
            left = self._window.left or self._journal.end - self._offset
            if not left:
                await self._wait_beyond(self._offset)
                continue
            work = max(1.0, min(left, READ_BYTES) / _BYTES_PER_SAMPLE)
            block = await self._worker.run(work, self._read_block)
            if block is not None:
                return block

    def _read_block(self) -> Block | None:
        """Read the next block; None if what was read holds no sample."""
        if not self._window.left:
            self._fill()
        if not self._window.left:
            return None
        rejected = self._window.read_rejected(self._schema, self.consumed)
        if rejected is not None:
            self._window = self._window.skip_dead_letters(len(rejected.rejected))
            self.consumed += len(rejected.rejected)
            return rejected
        chunk = self._window.chunk(self._format, self._rows, self.consumed)
        if not len(chunk):
            self._window = self._window.after(chunk.records.behind)
            return None
        block, used = self._format.read(chunk)
        whole = used == len(chunk)
        behind = chunk.records.behind if whole else int(chunk.records.begin[used])
        self._window = self._window.after(behind)
        self.consumed += used
        # If blocks end early, searching further ahead would be wasted.
        self._rows = min(BLOCK_ROWS, 2 * max(used, MIN_BLOCK_ROWS))
        self._schema = block.schema
        return block if self._window.scored else replace(block, scored=False)

    def _fill(self) -> None:
        """Read the next frames into the window; a frame from a file comes alone."""
        if not self._prefetched or self._prefetched[0][0] != self._offset:
            self._prefetched = deque(self._journal.read(self._offset, READ_BYTES))
        head = None
        frames: list[tuple[int, Frame]] = []
        while self._prefetched and not (frames and self._prefetched[0][1].is_from_file):
            frames.append(self._pop_frame())
            if frames[-1][1].is_from_file:
                head = FileFrameHead.decode(frames[-1][1].head)
                self._extend_schema(head)
                break
        bodies, starts, length = [], [], 0
        for offset, frame in frames:
            if frame.samples:
                starts.append((length, offset + HEADER_BYTES + len(frame.head)))
                bodies.append(frame.body)
                length += len(frame.body)
        self._window = _Window(b"".join(bodies), np.array(starts, np.int64).reshape(-1, 2), 0, head)

    def _pop_frame(self) -> tuple[int, Frame]:
        offset, frame = self._prefetched.popleft()
        self._offset = offset + frame.size
        return offset, frame

    def _extend_schema(self, head: FileFrameHead) -> None:
        """Add the columns of a file, whose kinds were inferred from all of it."""
        known = {field.name for field in self._schema.fields}
        new = [field for field in head.schema.fields if field.name not in known]
        if new:
            self._schema = self._schema.extended(new)
            self._format.restore_state({}, self._schema)


@final
class _Window:
    """Concatenated bodies of frames, and how far they are used."""

    def __init__(
        self, data: bytes, starts: np.ndarray, at: int, head: FileFrameHead | None = None
    ) -> None:
        self._data = data
        self._starts = starts  # shape=(frames, 2): offset of each body here, and in the journal
        self._at = at
        self._head = head
        letters = () if head is None else head.letters
        self._letters = letters[bisect_left(letters, at) :]  # unused ones, by their offset

    @property
    def scored(self) -> bool:
        """Whether its samples are scored, as all but those of repeated epochs."""
        return self._head is None or self._head.scored

    @property
    def left(self) -> int:
        """Unused bytes."""
        return len(self._data) - self._at

    def after(self, at: int) -> _Window:
        """The window, used up to ``at``."""
        return _Window(self._data, self._starts, at, self._head)

    def after_offset(self, offset: int) -> _Window:
        """The window, used up to an offset in the journal, within or after its first body."""
        if not len(self._starts):
            return self
        place, begin = self._starts[0].tolist()
        return self.after(place + max(0, offset - begin))

    def read_rejected(self, schema: Schema, record: int) -> Block | None:
        """Read the rejected records that come next, as a block; None if a sample comes next."""
        letters, end_at = [], self._at
        for at in self._letters:
            if at != end_at:
                break
            letters.append(decode_dead_letter(self._data, at))
            end_at = self._data.index(b"\n", at) + 1
        if not letters:
            return None
        end = Position(NAME, self._end(end_at), record + len(letters))
        return replace(make_rejection_block(schema, end, letters[0]), rejected=tuple(letters))

    def skip_dead_letters(self, count: int) -> _Window:
        """The window, used up to the end of ``count`` rejected records."""
        return self.after(self._data.index(b"\n", self._letters[count - 1]) + 1)

    def chunk(self, form: JsonLinesFormat, rows: int, record: int) -> Chunk:
        """The next samples, up to a rejected record; the first has number ``record``."""
        records = find_records(self._data, self._at, True, form.rules, rows)
        if self._letters:
            records = records.first(int(np.searchsorted(records.begin, self._letters[0])))
        marks = np.zeros((len(records.begin) + 1, 3), np.int64)
        marks[:-1, 0] = self._offsets(records)
        marks[-1, 0] = self._end(records.behind)
        marks[:, 1] = np.arange(record, record + len(marks))
        return Chunk(NAME, self._data, records, marks, {})

    def _offsets(self, records: Records) -> np.ndarray:
        """Offsets of records in the journal."""
        own = np.searchsorted(self._starts[:, 0], records.begin, side="right") - 1
        return np.asarray(records.begin - self._starts[own, 0] + self._starts[own, 1])

    def _end(self, at: int) -> int:
        """Offset in the journal of what is used up to ``at``: within its body, or at its end."""
        if not len(self._starts):
            return 0
        own = np.searchsorted(self._starts[:, 0], max(at - 1, 0), side="right") - 1
        return int(at - self._starts[own, 0] + self._starts[own, 1])


_EMPTY_WINDOW = _Window(b"", np.empty((0, 2), np.int64), 0)

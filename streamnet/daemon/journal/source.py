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
from streamnet.sources.base import Source
from streamnet.sources.columns import Columns
from streamnet.sources.files.jsonl import JsonLinesFormat
from streamnet.sources.rejection import make_rejection_block
from streamnet.sources.text.records import Chunk, Records, find_records

__all__ = ("JournalSource",)

NAME = "journal"
BLOCK_ROWS = 8192
MIN_BLOCK_ROWS = 32
READ_BYTES = 1 << 20
_BYTES_PER_SAMPLE = 128  # bytes that are reckoned as one sample


@final
class JournalSource(Source):
    """Samples of a journal as they are appended, without end.

    A feature gets its kind from the first value that is there, or from the file that it was fed
    from; where no task is given, the first target tells it: a float is a regression, anything else
    a label. So what is learned depends on the samples alone, never on when they came. All that is
    not read yet stays in the file.

    Args:
        journal: It is open, and stays so.
        grown: Waits until the journal reaches beyond an offset.
        columns: Which columns are used, and as what.

    Attributes:
        consumed: Samples that were given, or left out since they were given before.
    """

    def __init__(
        self, journal: Journal, grown: Callable[[int], Awaitable[None]], columns: Columns
    ) -> None:
        self.consumed = 0
        self._journal = journal
        self._grown = grown
        self._columns = columns
        self._format = JsonLinesFormat(columns)
        self._schema = Schema((), columns.target, columns.task)
        self._window = _EMPTY_WINDOW
        self._offset = 0  # of the frame behind the window
        self._ahead: deque[tuple[int, Frame]] = deque()  # frames from there on, with their offsets
        self._rows = BLOCK_ROWS  # to look for next
        self._worker = Worker()
        self._flows = Event()  # set unless it is paused
        self._flows.set()

    async def open(self, after: Position | None = None) -> Schema:
        """Go to ``after``, and wait for the first target, if it is needed to tell the task."""
        if after is not None and after.source:
            place = after
        else:
            place = Position(NAME, self._journal.begin, self._journal.samples_before)
        await to_thread.run_sync(self._go_to, place)
        if self._schema.task is None:
            fields, target = self._schema.fields, self._schema.target
            self._schema = Schema(fields, target, await self._told_task())
        self._format.restore_state({}, self._schema)
        return self._schema

    def _go_to(self, after: Position) -> None:
        """Set out behind a place, which may be within a frame."""
        journal = self._journal
        self.consumed = after.record
        offset = max(after.offset, journal.begin)
        if after.record < journal.samples_before or after.offset > journal.end:
            raise StateError(
                f"{journal.folder} has no sample {after.record:,} at byte {after.offset:,}: it is "
                "not the same journal any more"
            )
        self._window = _EMPTY_WINDOW
        self._offset = journal.frame_before(offset)
        if self._offset < offset:
            self._fill()
            self._window = self._window.behind(offset)

    async def _told_task(self) -> Any:
        """Read on, until a target tells the task, and come back."""
        window, offset, consumed = self._window, self._offset, self.consumed
        schema = self._schema
        self._format.restore_state({}, self._schema)
        while (task := self._schema.task) is None:
            await self._next_block()
        self._window, self._offset, self.consumed = window, offset, consumed
        self._schema = schema
        return task

    def export_state(self, after: Position | None) -> dict[str, Any]:
        """The schema."""
        del after
        return {"schema": schema_to_dict(self._schema)}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Take over the schema."""
        self._schema = schema_from_dict(state["schema"])

    async def receive(self) -> Block | None:
        """The next samples that are there; there always may come more."""
        return await self._next_block()

    def pause(self) -> None:
        """Give nothing from now on."""
        if self._flows.is_set():
            self._flows = Event()

    def resume(self) -> None:
        """Give samples again."""
        self._flows.set()

    async def _next_block(self) -> Block:
        while True:
            await self._flows.wait()
            left = self._window.left or self._journal.end - self._offset
            if not left:
                await self._grown(self._offset)
                continue
            work = max(1.0, min(left, READ_BYTES) / _BYTES_PER_SAMPLE)
            found = await self._worker.run(work, self._found)
            if found is not None:
                return found

    def _found(self) -> Block | None:
        """The next block; None if there was no sample in what was read."""
        if not self._window.left:
            self._fill()
        if not self._window.left:
            return None
        rejected = self._window.rejected(self._schema, self.consumed)
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
        # Where blocks end early, looking far ahead each time would be wasted.
        self._rows = min(BLOCK_ROWS, 2 * max(used, MIN_BLOCK_ROWS))
        self._schema = block.schema
        return block if self._window.scored else replace(block, scored=False)

    def _fill(self) -> None:
        """Take in the next frames; one that was fed from a file comes alone."""
        if not self._ahead or self._ahead[0][0] != self._offset:
            self._ahead = deque(self._journal.read(self._offset, READ_BYTES))
        frames = [self._taken()] if self._ahead else []
        while (
            frames
            and not frames[0][1].is_from_file
            and self._ahead
            and not self._ahead[0][1].is_from_file
        ):
            frames.append(self._taken())
        bodies, starts, place = [], [], 0
        for offset, frame in frames:
            if frame.samples:
                starts.append((place, offset + HEADER_BYTES + len(frame.head)))
                bodies.append(frame.body)
                place += len(frame.body)
        fed = (
            FileFrameHead.decode(frames[0][1].head)
            if frames and frames[0][1].is_from_file
            else None
        )
        if fed is not None:
            self._know(fed)
        self._window = _Window(b"".join(bodies), np.array(starts, np.int64).reshape(-1, 2), 0, fed)

    def _taken(self) -> tuple[int, Frame]:
        offset, frame = self._ahead.popleft()
        self._offset = offset + frame.size
        return offset, frame

    def _know(self, fed: FileFrameHead) -> None:
        """Take over the columns of a file, which are of the kinds that all of it has told."""
        known = {field.name for field in self._schema.fields}
        new = [field for field in fed.schema.fields if field.name not in known]
        if new:
            self._schema = self._schema.extended(new)
            self._format.restore_state({}, self._schema)


@final
class _Window:
    """Bodies of frames one behind the other, and how far they are used."""

    def __init__(
        self, data: bytes, starts: np.ndarray, at: int, fed: FileFrameHead | None = None
    ) -> None:
        self._data = data
        self._starts = starts  # shape=(frames, 2): where a body begins here, and in the journal
        self._at = at
        self._fed = fed
        letters = () if fed is None else fed.letters
        self._letters = letters[bisect_left(letters, at) :]  # that are not used, by their offset

    @property
    def scored(self) -> bool:
        """Whether its samples were never seen before."""
        return self._fed is None or self._fed.scored

    @property
    def left(self) -> int:
        """Bytes that are not used."""
        return len(self._data) - self._at

    def after(self, at: int) -> _Window:
        """The same, used up to ``at``."""
        return _Window(self._data, self._starts, at, self._fed)

    def behind(self, offset: int) -> _Window:
        """The same, used up to an offset in the journal within or behind its first body."""
        if not len(self._starts):
            return self
        place, begin = self._starts[0].tolist()
        return self.after(place + max(0, offset - begin))

    def rejected(self, schema: Schema, record: int) -> Block | None:
        """The rejected records that come next, as a block; None if it is a sample that does."""
        letters, behind = [], self._at
        for at in self._letters:
            if at != behind:
                break
            letters.append(decode_dead_letter(self._data, at))
            behind = self._data.index(b"\n", at) + 1
        if not letters:
            return None
        end = Position(NAME, self._end(behind), record + len(letters))
        return replace(make_rejection_block(schema, end, letters[0]), rejected=tuple(letters))

    def skip_dead_letters(self, count: int) -> _Window:
        """The same, used up to the end of so many rejected records."""
        return self.after(self._data.index(b"\n", self._letters[count - 1]) + 1)

    def chunk(self, form: JsonLinesFormat, rows: int, record: int) -> Chunk:
        """The next samples, at most ``rows``; ``record`` is the number of the first one.

        Those behind a record that was rejected come later.
        """
        records = find_records(self._data, self._at, True, form.rules, rows)
        if self._letters:
            records = records.first(int(np.searchsorted(records.begin, self._letters[0])))
        marks = np.zeros((len(records.begin) + 1, 3), np.int64)
        marks[:-1, 0] = self._offsets(records)
        marks[-1, 0] = self._end(records.behind)
        marks[:, 1] = np.arange(record, record + len(marks))
        return Chunk(NAME, self._data, records, marks, {})

    def _offsets(self, records: Records) -> np.ndarray:
        """Where records begin in the journal."""
        own = np.searchsorted(self._starts[:, 0], records.begin, side="right") - 1
        return np.asarray(records.begin - self._starts[own, 0] + self._starts[own, 1])

    def _end(self, at: int) -> int:
        """Where in the journal what is used up to ``at`` ends: within its body, or at its end."""
        if not len(self._starts):
            return 0
        own = np.searchsorted(self._starts[:, 0], max(at - 1, 0), side="right") - 1
        return int(at - self._starts[own, 0] + self._starts[own, 1])


_EMPTY_WINDOW = _Window(b"", np.empty((0, 2), np.int64), 0)

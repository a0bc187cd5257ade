"""A source that reads the samples of a journal."""

from __future__ import annotations

import dataclasses
from bisect import bisect_left
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np
from anyio import Event, sleep, to_thread
from msgspec.structs import replace
from numpy.typing import NDArray

from streamnet.daemon.journal.frames import (
    HEADER_BYTES,
    FeedFrameHead,
    Frame,
    FrameKind,
    LabelLine,
    decode_change,
    decode_dead_letter,
    decode_label,
    decode_requests,
    find_label_lines,
)
from streamnet.daemon.journal.segments import Journal
from streamnet.durability.budget import Turns
from streamnet.errors import StateError
from streamnet.pipeline.concurrency import Worker
from streamnet.samples import (
    Arrivals,
    Block,
    DeadLetter,
    Position,
    Prediction,
    Schema,
    Task,
    schema_from_dict,
    schema_to_dict,
)
from streamnet.sources.base import Reason, Rejection, Source, make_empty_block
from streamnet.sources.columns import Columns, parse_target_number, parse_word
from streamnet.sources.files.detection import TextOptions
from streamnet.sources.files.jsonl import JsonLinesFormat
from streamnet.sources.text.records import Chunk, Records, find_records

NAME = "journal"
BLOCK_ROWS = 8192
MIN_BLOCK_ROWS = 32
READ_BYTES = 1 << 20
_BYTES_PER_SAMPLE = 128  # to estimate the work
_SMALL_BYTES = 64 * _BYTES_PER_SAMPLE  # learned for hardly more than a single sample


@final
class JournalSource(Source):
    """Reads the samples of a journal as they are appended, without end.

    A feature gets its kind from its first value, or from the feed it comes from. If no task is
    configured, the first target determines it: a float means regression, anything else a label. So
    what is learned depends on the samples alone, never on when they arrived.

    Samples that were predicted have no target; their labels arrive between later samples. Of
    samples that were sent to be learned, those without a target never get one. If it
    ``keeps_requests``, blocks of samples that were predicted have their ids and predictions.

    A block of one sample takes almost as long as one of fifty. So sources that share ``turns`` read
    few samples only when it is their turn, and meanwhile more arrive.
    """

    def __init__(
        self,
        journal: Journal,
        wait_beyond: Callable[[int], Awaitable[None]],
        columns: Columns,
        turns: Turns | None = None,
        *,
        keeps_requests: bool = False,
    ) -> None:
        self.consumed: int = 0  # samples read in this run and by earlier ones
        self._reads_ahead = False  # for a first target
        self._journal = journal
        self._wait_beyond = wait_beyond
        self._columns = columns
        self._turns = turns
        self._format = JsonLinesFormat(TextOptions(columns))
        self._parse_label = _LabelParser(columns)
        self._schema = Schema((), columns.target, columns.task)
        self._keeps_requests = keeps_requests
        self._window = _EMPTY_WINDOW
        self._offset = 0  # of the frame after the window
        self._prefetched: deque[tuple[int, Frame]] = deque()  # from there on, with their offsets
        self._times: deque[tuple[int, float]] = deque()  # of the frames from there on, by offset
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
        self._set_schema(self._schema)
        return self._schema

    @property
    def schema(self) -> Schema:
        """The columns known so far."""
        return self._schema

    def _set_schema(self, schema: Schema) -> None:
        self._schema = schema
        self._format.restore_state({}, schema)

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
        self._set_schema(schema)
        self._reads_ahead = True
        while (task := self._schema.task) is None:
            await self.receive()
        self._reads_ahead = False
        self._window, self._offset, self.consumed = window, offset, consumed
        self._schema = schema
        return task

    @property
    def infers_task(self) -> bool:
        """Whether none of the samples read so far has a target, which would determine the task."""
        return self._reads_ahead and self._schema.task is None

    @property
    def seen_columns(self) -> list[str]:
        """Names of the columns of the samples so far, but for the target."""
        return [field.name for field in self._schema.fields]

    def export_state(self, after: Position | None) -> dict[str, Any]:
        """The schema."""
        del after
        return {"schema": schema_to_dict(self._schema)}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Restore the schema."""
        self._schema = schema_from_dict(state["schema"])

    def find_time(self, block: Block, letter: DeadLetter | None = None) -> float:
        """When a rejected record of a block, or the last record, was received.

        In seconds since 1970. Blocks are asked for in their order, and those before are forgotten.
        """
        last = int(block.marks[-1, 0]) - 1
        is_own = letter is not None and letter.source == NAME  # else it has the place in its feed
        offset = min(letter.offset, last) if letter is not None and is_own else last
        while len(self._times) > 1 and self._times[1][0] <= offset:
            self._times.popleft()
        return self._times[0][1]

    def pause(self) -> None:
        """Return nothing until `resume`."""
        if self._running.is_set():
            self._running = Event()

    def resume(self) -> None:
        """Return samples again."""
        self._running.set()

    async def receive(self) -> Block:
        """Wait for samples and return the next block; the stream never ends."""
        waited = False  # for a turn
        while True:
            await self._running.wait()
            unread = self._journal.end - self._offset
            left = self._window.left or unread
            if not left:
                await self._wait_beyond(self._offset)
                continue
            is_small = self._window.left + unread < _SMALL_BYTES
            if self._turns is not None and is_small and not waited:
                waited = True
                await sleep(self._turns.take())
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
        if self._window.holds_feed_samples:
            return self._read_feed_lines()
        return self._read_lines()

    def _read_feed_lines(self) -> Block | None:
        """Read the next samples of a feed."""
        chunk = self._window.chunk(self._format, self._rows, self.consumed)
        if not len(chunk):
            self._window = self._window.after(chunk.records.behind)
            return None
        block, used = self._format.read(chunk)
        self._use(chunk, used, block.schema)
        return replace(block, awaits_labels=False, scored=self._window.scored)

    def _read_lines(self) -> Block | None:
        """Read the next samples, all to be learned or all predicted, and the labels between."""
        chunk, kinds = self._window.lines(self._format, self._rows, self.consumed)
        if not len(chunk):
            self._window = self._window.after(chunk.records.behind)
            return None
        if kinds[0] == FrameKind.CHANGE:
            block = make_empty_block(self._schema, _get_end(chunk))
            self._use(chunk, 1, self._schema)
            return replace(block, change=decode_change(chunk.raw(0)))
        samples = np.flatnonzero(kinds != FrameKind.LABELS)
        predicted = len(samples) > 0 and kinds[samples[0]] == FrameKind.PREDICTIONS
        if self._schema.task is None and (predicted or not len(samples)):
            return self._skip_unlabeled(chunk, kinds)
        if len(samples) == len(chunk):
            block, used = self._format.read(chunk)
        elif len(samples):
            block, used = self._format.read(_select(chunk, samples))
        else:
            block, used = make_empty_block(self._schema, _get_end(chunk)), 0
        lines = len(chunk) if used == len(samples) else int(samples[used])
        labels = np.flatnonzero(kinds[:lines] == FrameKind.LABELS)
        if len(labels):
            block = replace(block, arrivals=self._read_labels(chunk, labels, block))
        if predicted and self._keeps_requests:
            block = self._add_requests(block)
        self._use(chunk, lines, block.schema)
        return block if predicted else replace(block, awaits_labels=False)

    def _use(self, chunk: Chunk, lines: int, schema: Schema) -> None:
        """Note that so many lines of a chunk are used."""
        whole = lines == len(chunk)
        behind = chunk.records.behind if whole else int(chunk.records.begin[lines])
        self._window = self._window.after(behind)
        if schema != self._schema:  # before they count, see `infers_task`
            self._set_schema(schema)
        self.consumed += lines
        # If blocks end early, searching further ahead would be wasted.
        self._rows = min(BLOCK_ROWS, 2 * max(lines, MIN_BLOCK_ROWS))

    def _skip_unlabeled(self, chunk: Chunk, kinds: NDArray[np.int64]) -> Block | None:
        """Skip predicted samples while no target has determined the task; a label does."""
        for row in np.flatnonzero(kinds == FrameKind.LABELS).tolist():
            label = decode_label(chunk.raw(row)).label
            if label is not None:
                task = Task.REGRESSION if isinstance(label, float) else Task.CLASSIFICATION
                self._schema = Schema(self._schema.fields, self._schema.target, task)
                return make_empty_block(self._schema, _get_end(chunk))
        self._use(chunk, len(chunk), self._schema)
        return None

    def _read_labels(self, chunk: Chunk, rows: NDArray[np.intp], block: Block) -> Arrivals:
        """Read the labels in some rows of a chunk, which arrive between the samples of a block."""
        lines = [decode_label(chunk.raw(row)) for row in rows.tolist()]
        target, answers, intervals = (np.empty(len(lines), object) for _ in range(3))
        weight = np.array([line.weight for line in lines], np.float64)  # None becomes NaN
        letters: dict[int, DeadLetter] = {}
        for k, line in enumerate(lines):
            answers[k], intervals[k] = line.answer, line.interval
            if line.label is None or line.weight == 0.0:
                continue
            label = self._parse_label(line, self._schema)
            if isinstance(label, Rejection):
                letters[k] = chunk.letter(int(rows[k]), label)
            else:
                target[k] = label
        marks = chunk.marks[rows]
        before = np.searchsorted(block.marks[:-1, 0], marks[:, 0])
        record = np.array([line.record for line in lines], np.int64)
        given = None if np.isnan(weight).all() else weight
        return Arrivals(before, record, target, marks, answers, intervals, given, letters)

    def _add_requests(self, block: Block) -> Block:
        """Add ids and predictions of a block of samples that were predicted."""
        requests = self._window.read_requests(block.marks[:-1, 0])
        ids, predictions = (np.empty(len(block), object) for _ in range(2))
        for i, (identity, prediction) in enumerate(requests):
            ids[i], predictions[i] = identity, prediction
        return replace(block, ids=ids, requested=predictions)

    def _fill(self) -> None:
        """Read the next frames into the window; a frame from a feed comes alone."""
        if not self._prefetched or self._prefetched[0][0] != self._offset:
            self._prefetched = deque(self._journal.read(self._offset, READ_BYTES))
        head = None
        frames: list[tuple[int, Frame]] = []
        while self._prefetched and not (frames and self._prefetched[0][1].is_from_feed):
            frames.append(self._pop_frame())
            if frames[-1][1].is_from_feed:
                head = FeedFrameHead.decode(frames[-1][1].head)
                self._extend_schema(head)
                break
        self._window = _Window.build(frames, head)

    def _pop_frame(self) -> tuple[int, Frame]:
        offset, frame = self._prefetched.popleft()
        self._offset = offset + frame.size
        if not self._times or offset > self._times[-1][0]:  # else it was read ahead
            self._times.append((offset, frame.time))
        return offset, frame

    def _extend_schema(self, head: FeedFrameHead) -> None:
        """Add the columns of a feed, whose kinds were inferred from many samples."""
        if head.schema is None:
            return
        known = {field.name for field in self._schema.fields}
        new = [field for field in head.schema.fields if field.name not in known]
        if new:
            self._set_schema(self._schema.extended(new))


_NO_PARTS = np.empty((0, 2), np.int64)


@final
class _Window:
    """Concatenated bodies of frames, and how far they are used."""

    def __init__(
        self,
        data: bytes,
        starts: NDArray[np.int64],
        at: int,
        head: FeedFrameHead | None = None,
        parts: NDArray[np.int64] = _NO_PARTS,
        heads: Sequence[bytes] = (),
    ) -> None:
        self._data = data
        self._starts = starts  # shape=(frames, 2): offset of each body here, and in the journal
        self._parts = parts  # shape=(parts, 2): offset of each part here, and the kind of its lines
        self._at = at
        self._head = head
        self._heads = heads  # of the frames
        letters = () if head is None else head.letters
        self._letters = letters[bisect_left(letters, at) :]  # unused ones, by their offset

    @classmethod
    def build(cls, frames: Sequence[tuple[int, Frame]], head: FeedFrameHead | None) -> _Window:
        """Build a window of frames, each with its offset in the journal."""
        bodies, starts, parts, heads, length = [], [], [], [], 0
        for offset, frame in frames:
            if not frame.samples:
                continue
            starts.append((length, offset + HEADER_BYTES + len(frame.head)))
            labels = find_label_lines(frame)
            if labels and frame.kind is not FrameKind.FEED:
                parts.append((length, int(frame.kind)))
            if labels < len(frame.body):
                parts.append((length + labels, int(FrameKind.LABELS)))
            bodies.append(frame.body)
            heads.append(frame.head)
            length += len(frame.body)
        arrays = (np.array(pairs, np.int64).reshape(-1, 2) for pairs in (starts, parts))
        own_starts, own_parts = arrays
        return cls(b"".join(bodies), own_starts, 0, head, own_parts, heads)

    @property
    def holds_feed_samples(self) -> bool:
        """Whether its lines are samples from a feed."""
        return self._head is not None and not len(self._parts)

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
        return _Window(self._data, self._starts, at, self._head, self._parts, self._heads)

    def read_requests(self, offsets: NDArray[np.int64]) -> Iterator[tuple[str, Prediction]]:
        """Yield id and prediction of the samples that were predicted, at offsets in the journal."""
        frames = np.searchsorted(self._starts[:, 1], offsets, side="right") - 1
        for frame in np.unique(frames).tolist():
            begin, offset = self._starts[frame].tolist()
            lines = np.frombuffer(self._data, np.uint8)[begin:]
            if frame + 1 < len(self._starts):
                lines = lines[: int(self._starts[frame + 1, 0]) - begin]
            ends = np.flatnonzero(lines == ord("\n"))
            head = decode_requests(self._heads[frame])
            for number in np.searchsorted(ends, offsets[frames == frame] - offset).tolist():
                yield head.ids[number], head.predictions[number]

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
        return replace(make_empty_block(schema, end), rejected=tuple(letters))

    def skip_dead_letters(self, count: int) -> _Window:
        """The window, used up to the end of ``count`` rejected records."""
        return self.after(self._data.index(b"\n", self._letters[count - 1]) + 1)

    def chunk(self, form: JsonLinesFormat, rows: int, record: int) -> Chunk:
        """The next samples, up to a rejected record; the first has number ``record``."""
        return self._build_chunk(self._find_records(form, rows), record)

    def _find_records(self, form: JsonLinesFormat, rows: int) -> Records:
        """The next lines, up to a rejected record."""
        records = find_records(self._data, self._at, True, form.rules, rows)
        if self._letters:
            records = records.first(int(np.searchsorted(records.begin, self._letters[0])))
        return records

    def lines(
        self, form: JsonLinesFormat, rows: int, record: int
    ) -> tuple[Chunk, NDArray[np.int64]]:
        """The next lines, with samples that are all to be learned or all predicted; their kinds."""
        records = self._find_records(form, rows)
        at = np.searchsorted(self._parts[:, 0], records.begin, side="right") - 1
        kinds = self._parts[at, 1]
        changes = np.flatnonzero(kinds == FrameKind.CHANGE)
        if len(changes):  # such a line comes alone
            stop = max(int(changes[0]), 1)
            records, kinds = records.first(stop), kinds[:stop]
        samples = np.flatnonzero(kinds != FrameKind.LABELS)
        other = samples[kinds[samples] != kinds[samples[0]]] if len(samples) else samples
        if len(other):
            records, kinds = records.first(int(other[0])), kinds[: other[0]]
        return self._build_chunk(records, record), kinds

    def _build_chunk(self, records: Records, record: int) -> Chunk:
        """Build a chunk of records, with their marks in the journal; the first has this number."""
        marks = np.zeros((len(records.begin) + 1, 3), np.int64)
        marks[:-1, 0] = self._offsets(records)
        marks[-1, 0] = self._end(records.behind)
        marks[:, 1] = np.arange(record, record + len(marks))
        return Chunk(NAME, self._data, records, marks, {})

    def _offsets(self, records: Records) -> NDArray[np.int64]:
        """Offsets of records in the journal."""
        own = np.searchsorted(self._starts[:, 0], records.begin, side="right") - 1
        return np.asarray(records.begin - self._starts[own, 0] + self._starts[own, 1])

    def _end(self, at: int) -> int:
        """Offset in the journal of what is used up to ``at``: within its body, or at its end."""
        if not len(self._starts):
            return 0
        own = np.searchsorted(self._starts[:, 0], max(at - 1, 0), side="right") - 1
        return int(at - self._starts[own, 0] + self._starts[own, 1])


_EMPTY_WINDOW = _Window(b"", _NO_PARTS, 0)


def _get_end(chunk: Chunk) -> Position:
    return Position(NAME, *chunk.marks[-1].tolist())


def _select(chunk: Chunk, rows: NDArray[np.intp]) -> Chunk:
    """Some of the records of a chunk; its end is kept."""
    begin, end, line, fields, state = (column[rows] for column in chunk.records[:5])
    records = chunk.records._replace(begin=begin, end=end, line=line, fields=fields, state=state)
    marks = np.vstack((chunk.marks[rows], chunk.marks[-1:]))
    return dataclasses.replace(chunk, records=records, marks=marks)


@final
class _LabelParser:
    """Parses labels that were sent on their own as targets."""

    def __init__(self, columns: Columns) -> None:
        name, options = str(columns.target), columns.parse_options(typed=True)
        self._name = name
        self._word_options = options
        self._number_options = columns.parse_options_for(name, options)

    def __call__(self, line: LabelLine, schema: Schema) -> str | float | Rejection:
        """Parse the label of a line, or return why it is rejected."""
        label: str | float | Reason | None
        if schema.task is Task.REGRESSION:
            label = parse_target_number(line.label, self._number_options)
        else:
            label = parse_word(line.label, self._word_options)
        if label is None or label != label:
            label = Reason.TARGET_MISSING
        if isinstance(label, Reason):
            return Rejection.for_value(label, self._name, line.label)
        return label

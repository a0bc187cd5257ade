"""`TextSource`: samples of text files, plain or compressed, in order."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from anyio import current_time, move_on_after, to_thread
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError, DataError, ReadError
from streamnet.samples import (
    Block,
    DeadLetter,
    Position,
    Schema,
    make_marks,
    schema_from_dict,
    schema_to_dict,
)
from streamnet.sources.base import (
    MAX_BLOCK_ROWS,
    OnGap,
    Reason,
    Rejection,
    Source,
    check_gap,
    make_rejection_block,
)
from streamnet.sources.columns import UnknownTaskError
from streamnet.sources.files.byte_stream import (
    FINGERPRINT_BYTES,
    ByteStream,
    FileStream,
    TailStream,
    TextWindow,
    check_fingerprinted_names,
    find_rotated_since,
    fingerprint_names,
)
from streamnet.sources.files.detection import SNIFFED_BYTES, check_is_text
from streamnet.sources.storage.locations import Locations
from streamnet.sources.storage.raw import STANDARD_INPUT, LocalFile, RawFile, display_name
from streamnet.sources.text.encodings import UTF8
from streamnet.sources.text.records import (
    QUOTE,
    Chunk,
    Head,
    RecordRules,
    Records,
    TextFormat,
    find_records,
    merge_multiline_records,
)

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BAD_QUOTE = Rejection(
    Reason.QUOTE,
    "a quote is not closed, or text stands right behind it, or it spans lines and the number of "
    "fields is wrong",
)


@final
class TextFile:
    """A text file: the bytes in memory, and where the next record starts."""

    def __init__(self, path: str, stream: FileStream) -> None:
        self.path = path
        self.name: str = display_name(path)
        self.stream = stream
        self.data: bytes = b""
        self._first = b""  # bytes of the text, for its fingerprint
        self._begin = 0  # offset of data[0]
        self._at = 0  # index in data of the next record
        self._record = 0
        self._line = 1
        self._skipping: DeadLetter | None = None  # an overlong record without its end

    @property
    def final(self) -> bool:
        """Whether nothing follows ``data``."""
        return self.stream.ended and self.stream.failure is None and self.stream.gap is None

    @property
    def _offset(self) -> int:
        """Offset of the next record."""
        return self._begin + self._at

    def bytes_used(self) -> float:
        """Bytes of the file whose records were used; an estimate if it is compressed."""
        used, known = self._offset, self._begin + len(self.data)
        stream = self.stream
        return stream.decompressed * used / max(1, known) if stream.compressed else used

    def fill(self) -> bool:
        """Read more, and drop used bytes but for the last ones; False if there is nothing."""
        more = self.stream.read()
        self._first += more[: FINGERPRINT_BYTES - len(self._first)]
        used = max(0, self._at - FINGERPRINT_BYTES)
        self._begin += used
        self._at -= used
        self.data = self.data[used:] + more
        return bool(more)

    def window(self) -> TextWindow:
        """The bytes in memory, for fingerprints."""
        stream = self.stream
        encoded = stream.encoding, stream.encoded_from
        return TextWindow(self._first, self._begin, self.data, stream.size, *encoded)

    def head(self, most_bytes: int) -> Head:
        """The start of the file, while nothing of it was used."""
        if self.stream.failure is None:  # else a few bytes of a compressed file may look like text
            check_is_text(self.name, self.data, whole=self.final)
        start = len(BYTE_ORDER_MARK) if self.data.startswith(BYTE_ORDER_MARK) else 0
        final = self.final and len(self.data) <= most_bytes
        return Head(self.name, self.data[:most_bytes], start, final)

    def start(self, top: Records) -> None:
        """Skip the records at the top of the file without counting them."""
        self._at = top.behind
        self._line = 1 + top.lines

    def seek_to(self, position: Position, mark: Mapping[str, Any] | None = None) -> None:
        """Continue at ``position``, or after the top if that is later; compare the fingerprint."""
        offset = position.offset
        if offset < self._offset:
            return  # after a gap, where the top was not known yet
        self._read_to(min(FINGERPRINT_BYTES, offset), offset)
        start = offset - FINGERPRINT_BYTES
        if start > self._begin + len(self.data) and self.stream.skip_to(start):
            self._begin, self._at, self.data = start, 0, b""
        self._read_to(offset, offset)
        if mark is not None:
            self.check_fingerprint(mark)
        self._at = offset - self._begin
        self._record = position.record
        self._line = position.line

    def has_fingerprinted_head(self, mark: Mapping[str, Any]) -> bool:
        """Whether enough of the file was read to compare its start with a fingerprint."""
        return len(self._first) >= min(FINGERPRINT_BYTES, int(mark["offset"]))

    def check_fingerprint(self, mark: Mapping[str, Any], *, start_only: bool = False) -> None:
        """Refuse a file that differs from its fingerprint."""
        window = self.window()
        find = window.find_difference_at_start if start_only else window.find_difference
        if (difference := find(mark)) is not None:
            raise DataError(f"{self.name} has changed: {difference}")

    def _read_to(self, offset: int, left_at: int) -> None:
        while offset > self._begin + len(self.data):
            self._at = len(self.data)
            if self.stream.transient:
                raise self.make_read_error()
            if not self.fill() and (self.stream.ended or self.stream.follows):
                raise DataError(
                    f"{self.name} has changed: it has only {self._begin + len(self.data)} bytes, "
                    f"but was left at byte {left_at}"
                )

    def find(self, rules: RecordRules, most: int) -> Chunk | None:
        """Find the next complete records in memory; None if there is none."""
        if self._skipping is not None:
            return None
        records = find_records(self.data, self._at, self.final, rules, most)
        records = merge_multiline_records(self.data, self.final, records, rules)
        count = len(records.begin)
        marks = make_marks(self._record, count)
        marks[:, 0] = np.append(records.begin, records.behind) + self._begin
        marks[:, 2] = np.append(records.line, records.lines) + self._line
        if count == 0:
            self.use(marks[0])
            if records.overlong:
                self._skip(rules.longest)
            return None
        chunk = Chunk(self.path, self.data, records, marks, {})
        for row in np.flatnonzero(records.state == QUOTE).tolist():
            chunk.letters[row] = chunk.letter(row, BAD_QUOTE)
        self._check_encoding(chunk)
        return chunk

    def use(self, mark: NDArray[np.int64]) -> None:
        """Continue at ``mark`` (offset, record, line), which is in memory."""
        offset, self._record, self._line = map(int, mark)
        self._at = offset - self._begin

    def take_overlong(self, schema: Schema) -> Block | None:
        """A block of nothing but the overlong record, once its end was read."""
        if self._skipping is None:
            return None
        end = self.data.find(b"\n", self._at)
        if end < 0 and not self.stream.ended:
            self._at = len(self.data)
            return None
        self._at = len(self.data) if end < 0 else end + 1
        letter, self._skipping = self._skipping, None
        self._record += 1
        self._line += end >= 0
        behind = Position(self.path, self._offset, self._record, self._line)
        return make_rejection_block(schema, behind, letter)

    def take_gap(self, schema: Schema) -> Block:
        """A block of nothing but the gap at the end, with the partial record before it."""
        rest = self.data[self._at :]
        letter = Rejection(Reason.GAP, f"{self.name} {self.stream.gap}").letter(
            self.path, self._mark(), rest
        )
        return make_rejection_block(schema, Position(self.path, 0, 0, 1), letter)

    def make_read_error(self) -> DataError:
        """The error for a failed stream: where it failed and why."""
        end = self._begin + len(self.data)
        kind = ReadError if self.stream.transient else DataError
        where = f" after byte {end} of its text" if end else ""
        return kind(f"{self.name} {self.stream.failure}{where}")

    def _skip(self, longest: int) -> None:
        detail = f"the record is longer than {longest} bytes"
        raw = self.data[self._at : self._at + longest].split(b"\n", 1)[0]
        self._skipping = Rejection(Reason.TOO_LONG, detail).letter(self.path, self._mark(), raw)

    def _mark(self) -> NDArray[np.int64]:
        return np.array((self._offset, self._record, self._line))

    def _check_encoding(self, chunk: Chunk) -> None:
        records = chunk.records
        try:
            chunk.data[records.begin[0] : records.behind].decode()
        except UnicodeDecodeError:
            for row in range(len(chunk)):
                try:
                    chunk.raw(row).decode()
                except UnicodeDecodeError:
                    encoding = self.stream.encoding or UTF8
                    bad = Rejection(Reason.ENCODING, f"the record is not {encoding.upper()}")
                    chunk.letters.setdefault(row, chunk.letter(row, bad))


@final
class FileSequence:
    """The file that is read, and those that come next.

    If ``follow``, the last file is waited for and followed as it grows, see `TailStream`; if it is
    rotated, the renamed files are read before the new one.
    """

    def __init__(
        self,
        paths: tuple[str, ...],
        chunk_bytes: int,
        *,
        follow: bool = False,
        encoding: str | None = None,
        locations: Locations | None = None,
        open_raw: Callable[[str], RawFile] | None = None,
    ) -> None:
        if chunk_bytes < 1:
            raise ConfigurationError(f"chunk_bytes is {chunk_bytes}, but must be >= 1")
        if not paths:
            raise ConfigurationError("paths is empty, but must name at least one file")
        self.paths: tuple[str, ...] = check_distinct(paths)
        self.file: TextFile | None = None  # None before the first and at the end
        self._chunk_bytes = chunk_bytes
        self.follows = follow
        self._encoding = encoding
        self._locations = locations or Locations()
        self._open_raw = open_raw or self._locations.open
        self._number = 0
        self._between: deque[str] = deque()  # rotated files to be read before the followed one
        self._sizes: list[int | None] = []  # None where unknown
        self._progress = 0.0  # the largest so far

    def measure_sizes(self, must_exist: bool) -> None:
        """Get the sizes of the files; a followed one need not exist when a run resumes."""
        if must_exist and self.follows and not Path(self.paths[-1]).exists():
            raise DataError(f"{self.paths[-1]} does not exist")
        self._sizes = [self._locations.size(path) for path in self.paths]
        if self.follows:
            self._sizes[-1] = None

    def open(self, number: int, mark: Mapping[str, Any] | None = None) -> TextFile:
        """Open the file of this index; a followed one is looked for by its fingerprint."""
        if self.file is not None:
            self.file.stream.close()
        self._number, path = number, self.paths[number]
        if self.follows and number == len(self.paths) - 1 and is_regular_file(path):
            self.file = TextFile(path, TailStream(path, self._chunk_bytes, mark))
        else:
            self.file = self._open_stream(path, self._open_raw(path), mark)
        return self.file

    def _open_stream(
        self, path: str, raw: RawFile, mark: Mapping[str, Any] | None = None
    ) -> TextFile:
        if raw.size is not None and self._sizes:  # of a converted file, known once it is opened
            self._sizes[self._number] = raw.size
        stream = ByteStream(path, self._chunk_bytes, raw=raw, encoding=self._encoding, mark=mark)
        return TextFile(path, stream)

    def advance(self) -> None:
        """Go to the next file; close after the last one."""
        file = self.file
        if file is None:
            return
        if file.stream.status and not file.stream.gap:
            self._between.extend(find_rotated_since(file.path, file.stream.status))
        file.stream.close()
        if self._between:
            self.file = self._open_stream(file.path, LocalFile(self._between.popleft()))
        elif self.follows and self._number == len(self.paths) - 1:
            self.open(self._number)
        elif self._number + 1 < len(self.paths):
            self.open(self._number + 1)
        else:
            self.close()

    def close(self) -> None:
        """Close the current file."""
        if self.file is not None:
            self.file.stream.close()
            self.file = None
            self._number = len(self.paths)
        self._locations.close()

    def progress(self) -> float | None:
        """Fraction of the bytes used so far; None if a file is a pipe or followed."""
        sizes = [size for size in self._sizes if size is not None]
        if len(sizes) < len(self.paths):
            return None
        done: float = sum(sizes[: self._number])
        if self.file is not None:
            done += self.file.bytes_used()
        self._progress = max(self._progress, min(1.0, done / max(1, sum(sizes))))
        return self._progress


def is_regular_file(path: str) -> bool:
    """Whether a path names a regular file, or nothing yet."""
    return path != STANDARD_INPUT and (Path(path).is_file() or not Path(path).exists())


def check_distinct(paths: Sequence[str]) -> tuple[str, ...]:
    """Refuse paths that are given twice, since a position names its file by its path."""
    for path, times in Counter(paths).items():
        if times > 1:
            raise ConfigurationError(
                f"{path!r} is given twice (by FILE or source.files), but files must be distinct"
            )
    return tuple(paths)


def find_path(paths: Sequence[str], path: str) -> int:
    """The index of the file of a position; a `DataError` if it is not among the files."""
    if path not in paths:
        raise DataError(f"the position is in {path!r}, which is not among the files")
    return paths.index(path)


FIRST_ROWS = 1024  # of the first block, so that learning starts early
MIN_ROWS = 32
HEAD_BYTES = 16 << 20
HEAD_GROWTH = 4  # of the head if the target has no value in it
_NO_WINDOW = TextWindow(b"", 0, b"", None)
QUIET_SECONDS = 0.2  # without new bytes, after which the head of a live stream is complete
MAX_HEAD_SECONDS = 1.0  # after which it is complete even if bytes keep coming


@final
class TextSource(Source):
    """Samples of text files in order, read in worker threads.

    ``choose`` makes the format, given the first line of the first file, and the name of the format
    if it is known. Columns are inferred from the first ``head`` records of the first file, or from
    more if the target has no value in them. For a pipe, they are inferred from what arrives before
    a pause of 0.2 seconds, or within a second of the first record, so they may depend on timing
    unless ``choose`` makes a format that needs no inference. How many bytes are read at once does
    not affect the samples.
    """

    def __init__(
        self,
        paths: Sequence[str],
        choose: Callable[[bytes, str | None], TextFormat],
        *,
        head: int = 1000,
        chunk_bytes: int = 1 << 20,
        follow: bool = False,
        on_gap: OnGap = "stop",
        encoding: str | None = None,
        locations: Locations | None = None,
        open_raw: Callable[[str], RawFile] | None = None,
    ) -> None:
        self._files = FileSequence(
            tuple(paths),
            chunk_bytes,
            follow=follow,
            encoding=encoding,
            locations=locations,
            open_raw=open_raw,
        )
        self._choose = choose
        self._head = head
        self._on_gap = on_gap
        self._format: TextFormat | None = None  # None until the first line was read
        self._schema = Schema(())
        self._started: TextFile | None = None  # the file whose top was skipped
        self._rows = FIRST_ROWS  # maximum of the next block
        self._window = _NO_WINDOW  # of the file at the last block
        self._restored: Mapping[str, Any] = {}

    async def open(self, after: Position | None = None) -> Schema:
        """Infer the schema from the head of the first file, then go to ``after``."""
        await to_thread.run_sync(self._files.measure_sizes, not self._restored)
        after = after if after is not None and after.source else None
        start = 0 if after is None else find_path(self._files.paths, after.source)
        mark = self._restored.get("mark")
        if self._restored and after is not None:
            check_fingerprinted_names(
                self._files.paths[:start], self._restored["before"], after.source
            )
        file = await to_thread.run_sync(self._files.open, start if self._restored else 0, mark)
        if not self._restored:
            await self._wait_for_head(file)
            if start > 0:
                file = await to_thread.run_sync(self._files.open, start)
        if mark is not None:
            await self._check_fingerprint(file, mark)
        while file.stream.gap is None and not await to_thread.run_sync(self._skip_top, file):
            await _read_more(file)
        if after is not None and file.stream.gap is None:
            await to_thread.run_sync(file.seek_to, after, mark)
        self._window = file.window()
        return self._schema

    def export_state(self, after: Position | None) -> dict[str, Any]:
        """The schema, the state of the format, and fingerprints of the files."""
        if self._format is None:
            return {}
        state = {
            "schema": schema_to_dict(self._schema),
            "format": {"name": self._format.name, **self._format.export_state()},
        }
        at = after if after is not None and after.source else Position()
        paths = self._files.paths
        before = paths[: find_path(paths, at.source)] if at.source else ()
        mark = self._window.fingerprint(at.offset)
        return {**state, "before": fingerprint_names(before), "mark": mark}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Restore the schema and the format, so that nothing is inferred again."""
        if state:
            self._restored = state
            self._schema = schema_from_dict(state["schema"])
            self._format = self._choose(b"", state["format"]["name"])
            self._format.restore_state(state["format"], self._schema)

    async def receive(self) -> Block | None:
        """The next samples available; None at the end."""
        while self._files.file is not None:
            block = await to_thread.run_sync(self._next)
            if block is not None:
                return block
            if self._files.file is not None:
                await _read_more(self._files.file)
        return None

    async def aclose(self) -> None:
        """Close the files."""
        self._files.close()

    def progress(self) -> float | None:
        """Fraction of the bytes used so far; None if a file may grow."""
        return self._files.progress()

    async def _check_fingerprint(self, file: TextFile, mark: Mapping[str, Any]) -> None:
        """Refuse a file whose start has changed; a followed one has a gap instead."""
        while not (file.stream.ended or file.has_fingerprinted_head(mark)):
            await _read_more(file)
        if file.stream.transient and not file.has_fingerprinted_head(mark):
            raise file.make_read_error()
        if file.stream.gap is None:
            file.check_fingerprint(mark, start_only=True)

    async def _wait_for_head(self, file: TextFile) -> None:
        deadline = None  # set when the first records are there
        complete = False
        while not await to_thread.run_sync(self._infer_schema, file, complete):
            form = self._format
            if deadline is None and file.stream.live and form is not None:
                started = _has_head(file, form, form.min_head_records)
                deadline = current_time() + MAX_HEAD_SECONDS if started else None
            if deadline is None:
                await _read_more(file)
            else:
                complete = not await _read_more(file, min(QUIET_SECONDS, deadline - current_time()))

    def _infer_schema(self, file: TextFile, complete: bool) -> bool:
        """Choose the format and infer the schema once enough of the first file was read."""
        if self._format is None:
            if not (file.stream.ended or b"\n" in file.data or len(file.data) >= SNIFFED_BYTES):
                return False
            if file.stream.transient and b"\n" not in file.data:
                raise file.make_read_error()
            first_line = file.data[:SNIFFED_BYTES].partition(b"\n")[0]
            self._format = self._choose(first_line, None)
        if not complete and not _has_head(file, self._format, self._head + 1):
            return False
        head = file.head(HEAD_BYTES)
        if file.stream.failure is not None and not head.records(self._format.rules, 1).begin.size:
            raise file.make_read_error()
        try:
            self._schema = self._format.infer_schema(head)
        except UnknownTaskError:
            known = len(head.records(self._format.rules, self._head + 1).begin)
            if complete or known <= self._head:
                raise
            self._head *= HEAD_GROWTH
            self._format.look_further(self._head)
            return self._infer_schema(file, complete)
        return self._skip_top(file)

    def _skip_top(self, file: TextFile) -> bool:
        """Skip the header of a file once it was read."""
        if self._started is file:
            return True
        if self._format is None or not _has_head(file, self._format, 1):
            return False
        file.start(self._format.start(file.head(HEAD_BYTES), again=self._files.follows))
        self._started = file
        return True

    def _next(self) -> Block | None:
        """The next block; None if more has to be read first, or at the end."""
        while (file := self._files.file) is not None:
            window = file.window()
            block = self._find_block(file) if self._skip_top(file) else None
            if block is None and file.stream.gap is not None:
                check_gap(f"{file.name} {file.stream.gap}", self._on_gap)
                block = file.take_gap(self._schema)
                self._files.advance()
            if block is not None:
                self._schema = block.schema
                self._window = window if file.stream.gap is None else _NO_WINDOW
                return block
            if not file.stream.ended:
                if file.stream.live:
                    return None
                file.fill()
            elif file.stream.failure is not None:
                raise file.make_read_error()
            else:
                self._files.advance()
        return None

    def _find_block(self, file: TextFile) -> Block | None:
        """The next block of the records in memory."""
        if self._format is None:
            return None
        chunk = file.find(self._format.rules, self._rows)
        if chunk is None:
            return file.take_overlong(self._schema)
        block, used = self._format.read(chunk)
        file.use(chunk.marks[used])
        # Where blocks end early, finding many records ahead would be wasted.
        self._rows = min(MAX_BLOCK_ROWS, 2 * max(used, MIN_ROWS))
        return block


async def _read_more(file: TextFile, seconds: float | None = None) -> bool:
    """Read more of a file once it is available; False if nothing was within ``seconds``."""
    found = False
    with move_on_after(seconds):
        await file.stream.wait()
        found = True
    if found:
        await to_thread.run_sync(file.fill)
    return found


def _has_head(file: TextFile, form: TextFormat, records: int) -> bool:
    """Whether the head is complete, which must not depend on how much is read at once."""
    if len(file.data) >= HEAD_BYTES:
        return True
    head = file.head(HEAD_BYTES)
    if all(len(head.records(rules, records).begin) == records for rules in form.head_rules()):
        return True
    if file.stream.transient:
        raise file.make_read_error()  # an incomplete head could lead to another schema
    return file.stream.ended

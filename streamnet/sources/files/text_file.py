"""Text files as chunks of records, one file after the other."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, final

import numpy as np

from streamnet.errors import ConfigurationError, DataError, ReadError
from streamnet.samples import Block, DeadLetter, Position, Schema
from streamnet.sources.files.byte_stream import (
    ByteStream,
    display_name,
    get_file_size,
    is_regular_file,
)
from streamnet.sources.files.fingerprints import (
    FINGERPRINT_BYTES,
    TextWindow,
    check_is_text,
    fingerprint_names,
)
from streamnet.sources.files.tail import TailStream, find_rotated_since
from streamnet.sources.rejection import Reason, Rejection, make_rejection_block
from streamnet.sources.text.format import Chunk, Head
from streamnet.sources.text.records import (
    QUOTE,
    RecordRules,
    Records,
    find_records,
    merge_multiline_records,
)

__all__ = (
    "FileSequence",
    "OnGap",
    "TextFile",
    "check_distinct",
)


BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BAD_QUOTE = Rejection(
    Reason.QUOTE,
    "a quote is not closed, or text stands right behind it, or it spans lines and the number of "
    "fields is wrong",
)
BAD_ENCODING = Rejection(Reason.ENCODING, "the record is not UTF-8")


@final
class TextFile:
    """One text, the bytes of it that are in memory, and the place of the next record."""

    def __init__(self, path: str, stream: ByteStream | TailStream) -> None:
        self.path = path
        self.name = display_name(path)
        self.stream = stream
        self.data = b""
        self._first = b""  # bytes of the text, to know it again
        self._begin = 0  # offset of data[0]
        self._at = 0  # index in data of the next record
        self._record = 0
        self._line = 1
        self._skipping: DeadLetter | None = None  # an overlong record whose end is not there yet

    @property
    def final(self) -> bool:
        """Whether nothing comes behind ``data``."""
        return self.stream.ended and self.stream.failure is None and self.gap is None

    @property
    def gap(self) -> str | None:
        """What was lost behind ``data``, None if nothing was."""
        return self.stream.gap if isinstance(self.stream, TailStream) else None

    @property
    def exhausted(self) -> bool:
        """Whether nothing can be found any more."""
        return self.stream.ended

    def used(self) -> float:
        """Bytes of the file whose records were used; of a packed one, about as many."""
        used, known = self._begin + self._at, self._begin + len(self.data)
        return self.stream.unpacked * used / max(1, known) if self.stream.packed else used

    def fill(self) -> bool:
        """Read on, and forget what was used but for its last bytes; False if nothing is there."""
        more = self.stream.read()
        self._first += more[: FINGERPRINT_BYTES - len(self._first)]
        used = max(0, self._at - FINGERPRINT_BYTES)
        self._begin += used
        self._at -= used
        self.data = self.data[used:] + more
        return bool(more)

    def trace(self) -> TextWindow:
        """What marks the places in memory."""
        return TextWindow(self._first, self._begin, self.data, self.stream.size)

    def head(self, most_bytes: int) -> Head:
        """The beginning of the file, while nothing of it was used."""
        if self.stream.failure is None:  # else a few bytes of a packed file may look like text
            check_is_text(self.name, self.data, whole=self.final)
        start = len(BYTE_ORDER_MARK) if self.data.startswith(BYTE_ORDER_MARK) else 0
        final = self.final and len(self.data) <= most_bytes
        return Head(self.name, self.data[:most_bytes], start, final)

    def start(self, top: Records) -> None:
        """Leave out the top of the file. Its records are not counted."""
        self._at = top.behind
        self._line = 1 + top.lines

    def seek_to(self, position: Position, mark: Mapping[str, Any] | None = None) -> None:
        """Go on at ``position``, or behind the top if that is later.

        Args:
            position: Where to go on.
            mark: What the file looked like there, if that is known.

        Raises:
            DataError: if the file is shorter or another one.
        """
        offset = position.offset
        if offset < self._begin + self._at:
            return  # behind a gap, where the top was not known yet
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
        """Whether enough of the file is there to tell whether it begins as it did."""
        return len(self._first) >= min(FINGERPRINT_BYTES, int(mark["offset"]))

    def check_fingerprint(self, mark: Mapping[str, Any], *, begins: bool = False) -> None:
        """Refuse a file that is not the one that was marked; or does not even begin as it did.

        Raises:
            DataError: if it is another one.
        """
        trace = self.trace()
        difference = trace.differs_at_start(mark) if begins else trace.differs(mark)
        if difference is not None:
            raise DataError(f"{self.name} is not the same file any more: {difference}")

    def _read_to(self, offset: int, left_at: int) -> None:
        while offset > self._begin + len(self.data):
            self._at = len(self.data)
            if self.stream.transient:
                raise self.broken()
            followed = isinstance(self.stream, TailStream)
            if not self.fill() and (self.stream.ended or followed):
                raise DataError(
                    f"{self.name} has only {self._begin + len(self.data)} bytes, "
                    f"but was left at byte {left_at}: it is not the same file any more"
                )

    def find(self, rules: RecordRules, most: int) -> Chunk | None:
        """The next complete records in memory, None if there is none."""
        if self._skipping is not None:
            return None
        records = find_records(self.data, self._at, self.final, rules, most)
        records = merge_multiline_records(self.data, self.final, records, rules)
        count = len(records.begin)
        marks = np.empty((count + 1, 3), np.int64)
        marks[:count, 0] = records.begin
        marks[count, 0] = records.behind
        marks[:, 0] += self._begin
        marks[:, 1] = np.arange(self._record, self._record + count + 1)
        marks[:count, 2] = records.line
        marks[count, 2] = records.lines
        marks[:, 2] += self._line
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

    def use(self, mark: np.ndarray) -> None:
        """Go on at ``mark`` (offset, record, line), which is in memory."""
        offset, self._record, self._line = map(int, mark)
        self._at = offset - self._begin

    def skipped(self, schema: Schema) -> Block | None:
        """A block with nothing but the overlong record, once its end is there."""
        if self._skipping is None:
            return None
        end = self.data.find(b"\n", self._at)
        if end < 0 and not self.exhausted:
            self._at = len(self.data)
            return None
        self._at = len(self.data) if end < 0 else end + 1
        letter, self._skipping = self._skipping, None
        self._record += 1
        self._line += end >= 0
        behind = Position(self.path, self._begin + self._at, self._record, self._line)
        return make_rejection_block(schema, behind, letter)

    def lost(self, schema: Schema) -> Block:
        """A block with nothing but the gap at the end, and whatever of a record is before it."""
        rest = self.data[self._at :]
        mark = np.array((self._begin + self._at, self._record, self._line))
        letter = Rejection(Reason.GAP, f"{self.name} {self.gap}").letter(self.path, mark, rest)
        return make_rejection_block(schema, Position(self.path, 0, 0, 1), letter)

    def broken(self) -> DataError:
        """The error that says where the bytes broke off, if there were any, and why."""
        end = self._begin + len(self.data)
        kind = ReadError if self.stream.transient else DataError
        where = f" behind byte {end} of its text" if end else ""
        return kind(f"{self.name} {self.stream.failure}{where}")

    def _skip(self, longest: int) -> None:
        detail = f"the record is longer than {longest} bytes"
        raw = self.data[self._at : self._at + longest].split(b"\n", 1)[0]
        mark = np.array((self._begin + self._at, self._record, self._line))
        problem = Rejection(Reason.TOO_LONG, detail)
        self._skipping = problem.letter(self.path, mark, raw)

    @staticmethod
    def _check_encoding(chunk: Chunk) -> None:
        records = chunk.records
        try:
            chunk.data[records.begin[0] : records.behind].decode()
        except UnicodeDecodeError:
            for row in range(len(chunk)):
                try:
                    chunk.raw(row).decode()
                except UnicodeDecodeError:
                    chunk.letters.setdefault(row, chunk.letter(row, BAD_ENCODING))


OnGap = Literal["stop", "go_on"]
"""What to do where a followed file lost something that was not read."""


@final
class FileSequence:
    """Which file is read, and which comes next.

    Args:
        paths: Files in order.
        chunk_bytes: How much is read at once.
        follow: The last file is waited for and read on as it grows, see `TailStream`. Files
            that it was renamed to in between are read before the one that has its name then.
    """

    def __init__(self, paths: tuple[str, ...], chunk_bytes: int, *, follow: bool = False) -> None:
        if chunk_bytes < 1:
            raise ConfigurationError(f"chunk_bytes is {chunk_bytes}, but must be >= 1")
        if not paths:
            raise ConfigurationError("paths is empty, but must name at least one file")
        self.paths = check_distinct(paths)
        self.file: TextFile | None = None  # that is read; None before the first and at the end
        self._chunk_bytes = chunk_bytes
        self.follows = follow
        self._number = 0
        self._between: deque[str] = deque()  # rotated files to be read before the followed one
        self._sizes: list[int | None] = []  # None where it is not known
        self._share = 0.0  # the largest that was told

    def number_of(self, path: str) -> int:
        """Which of the files has that name.

        Raises:
            DataError: if none has.
        """
        if path not in self.paths:
            raise DataError(f"the position is in {path!r}, which is not among the files")
        return self.paths.index(path)

    def before(self, path: str) -> list[Any]:
        """What stands for the files before that one."""
        return fingerprint_names(self.paths[: self.number_of(path)])

    def measure(self, exist: bool) -> None:
        """Look how large the files are.

        Args:
            exist: A followed file must be there, as it need not be where one goes on.

        Raises:
            DataError: if it is not.
        """
        if exist and self.follows and not Path(self.paths[-1]).exists():
            raise DataError(f"{self.paths[-1]} does not exist")
        self._sizes = [get_file_size(path) for path in self.paths]
        if self.follows:
            self._sizes[-1] = None

    def open(self, number: int, mark: Mapping[str, Any] | None = None) -> TextFile:
        """Go to that file; a followed one is looked for by its mark, if there is one."""
        if self.file is not None:
            self.file.stream.close()
        self._number = number
        path = self.paths[number]
        stream: ByteStream | TailStream
        if self._is_followed(number):
            stream = TailStream(path, self._chunk_bytes, mark)
        else:
            stream = ByteStream(path, self._chunk_bytes)
        self.file = TextFile(path, stream)
        return self.file

    def advance(self) -> None:
        """Go to the next file; behind the last one there is none."""
        file = self.file
        if file is None:
            return
        if isinstance(file.stream, TailStream) and file.stream.status and not file.gap:
            self._between.extend(find_rotated_since(file.path, file.stream.status))
        file.stream.close()
        if self._between:
            stream = ByteStream(self._between.popleft(), self._chunk_bytes)
            self.file = TextFile(file.path, stream)
        elif self.follows and self._number == len(self.paths) - 1:
            self.open(self._number)
        elif self._number + 1 < len(self.paths):
            self.open(self._number + 1)
        else:
            self.close()

    def close(self) -> None:
        """Let go of the files."""
        if self.file is not None:
            self.file.stream.close()
            self.file = None
            self._number = len(self.paths)

    def progress(self) -> float | None:
        """Share of the bytes that were given, None if one of the files is a pipe or followed."""
        sizes = [size for size in self._sizes if size is not None]
        if len(sizes) < len(self.paths):
            return None
        done: float = sum(sizes[: self._number])
        if self.file is not None:
            done += self.file.used()
        self._share = max(self._share, min(1.0, done / max(1, sum(sizes))))
        return self._share

    def _is_followed(self, number: int) -> bool:
        last = self.follows and number == len(self.paths) - 1
        return last and is_regular_file(self.paths[number])


def check_distinct(paths: Sequence[str]) -> tuple[str, ...]:
    """The same paths, each of which tells one place among them.

    Raises:
        ConfigurationError: If one is there twice.
    """
    for path, times in Counter(paths).items():
        if times > 1:
            raise ConfigurationError(
                f"{path!r} is given twice (by FILE or source.files), but each file must be another"
            )
    return tuple(paths)

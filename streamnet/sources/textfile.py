"""TextFile: a text with a place in it, read a chunk of records at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from typing import final

import numpy as np

from streamnet.errors import DataError
from streamnet.errors import ReadError
from streamnet.samples import Block
from streamnet.samples import DeadLetter
from streamnet.samples import Position
from streamnet.samples import Schema
from streamnet.sources.bytestreams import ByteStream
from streamnet.sources.bytestreams import shown_name
from streamnet.sources.following import FollowedBytes
from streamnet.sources.foreign import check_is_text
from streamnet.sources.marks import REMEMBERED
from streamnet.sources.marks import Trace
from streamnet.sources.reasons import Problem
from streamnet.sources.reasons import Reason
from streamnet.sources.reasons import only_rejected
from streamnet.sources.records import QUOTE
from streamnet.sources.records import Records
from streamnet.sources.records import Rules
from streamnet.sources.records import find_records
from streamnet.sources.spanning import with_spanning
from streamnet.sources.textformat import Chunk
from streamnet.sources.textformat import Head

__all__ = ("TextFile",)

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BAD_QUOTE = Problem(
    Reason.QUOTE,
    "a quote is not closed, or text stands right behind it, or it spans lines and the number of "
    "fields is wrong",
)
BAD_ENCODING = Problem(Reason.ENCODING, "the record is not UTF-8")


@final
class TextFile:
    """One text, the bytes of it that are in memory, and the place of the next record."""

    def __init__(self, path: str, stream: ByteStream | FollowedBytes) -> None:
        self.path = path
        self.name = shown_name(path)
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
        return self.stream.gap if isinstance(self.stream, FollowedBytes) else None

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
        self._first += more[: REMEMBERED - len(self._first)]
        used = max(0, self._at - REMEMBERED)
        self._begin += used
        self._at -= used
        self.data = self.data[used:] + more
        return bool(more)

    def trace(self) -> Trace:
        """What marks the places in memory."""
        return Trace(self._first, self._begin, self.data, self.stream.size)

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

    def go_to(self, position: Position, mark: Mapping[str, Any] | None = None) -> None:
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
        self._read_to(min(REMEMBERED, offset), offset)
        start = offset - REMEMBERED
        if start > self._begin + len(self.data) and self.stream.skip_to(start):
            self._begin, self._at, self.data = start, 0, b""
        self._read_to(offset, offset)
        if mark is not None:
            self.recognise(mark)
        self._at = offset - self._begin
        self._record = position.record
        self._line = position.line

    def knows_beginning(self, mark: Mapping[str, Any]) -> bool:
        """Whether enough of the file is there to tell whether it begins as it did."""
        return len(self._first) >= min(REMEMBERED, int(mark["offset"]))

    def recognise(self, mark: Mapping[str, Any], *, begins: bool = False) -> None:
        """Refuse a file that is not the one that was marked; or does not even begin as it did.

        Raises:
            DataError: if it is another one.
        """
        trace = self.trace()
        difference = trace.begins_otherwise(mark) if begins else trace.differs(mark)
        if difference is not None:
            raise DataError(f"{self.name} is not the same file any more: {difference}")

    def _read_to(self, offset: int, left_at: int) -> None:
        while offset > self._begin + len(self.data):
            self._at = len(self.data)
            if self.stream.may_pass:
                raise self.broken()
            followed = isinstance(self.stream, FollowedBytes)
            if not self.fill() and (self.stream.ended or followed):
                raise DataError(
                    f"{self.name} has only {self._begin + len(self.data)} bytes, "
                    f"but was left at byte {left_at}: it is not the same file any more"
                )

    def find(self, rules: Rules, most: int) -> Chunk | None:
        """The next complete records in memory, None if there is none."""
        if self._skipping is not None:
            return None
        records = find_records(self.data, self._at, self.final, rules, most)
        records = with_spanning(self.data, self.final, records, rules)
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
        return only_rejected(schema, behind, letter)

    def lost(self, schema: Schema) -> Block:
        """A block with nothing but the gap at the end, and whatever of a record is before it."""
        rest = self.data[self._at :]
        mark = np.array((self._begin + self._at, self._record, self._line))
        letter = Problem(Reason.GAP, f"{self.name} {self.gap}").letter(self.path, mark, rest)
        return only_rejected(schema, Position(self.path, 0, 0, 1), letter)

    def broken(self) -> DataError:
        """The error that says where the bytes broke off, if there were any, and why."""
        end = self._begin + len(self.data)
        kind = ReadError if self.stream.may_pass else DataError
        where = f" behind byte {end} of its text" if end else ""
        return kind(f"{self.name} {self.stream.failure}{where}")

    def _skip(self, longest: int) -> None:
        detail = f"the record is longer than {longest} bytes"
        raw = self.data[self._at : self._at + longest].split(b"\n", 1)[0]
        mark = np.array((self._begin + self._at, self._record, self._line))
        problem = Problem(Reason.TOO_LONG, detail)
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

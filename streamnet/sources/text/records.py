"""Records of a text: where they start and end, and the interface of formats that parse them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import DataError
from streamnet.jit import kernel
from streamnet.samples import Block, DeadLetter, Schema
from streamnet.sources.base import Rejection
from streamnet.sources.columns import Columns
from streamnet.sources.rows import ConvertedRows

MAX_RECORD_BYTES = 1 << 20  # default

GOOD, QUOTE = 0, 1  # states of a record
WHOLE, BROKEN, OPEN, QUOTED = 0, 1, 2, 3  # outcomes of reading one record
ENOUGH, HUNGRY, OVERLONG = 0, 1, 2  # why the search ended

NEWLINE, RETURN, SPACE, TAB = 10, 13, 32, 9

Bytes = NDArray[np.uint8]


class RecordRules(NamedTuple):
    """What separates records and fields; -1 for a byte that the format does not use."""

    delimiter: int = -1
    quote: int = -1
    comment: int = -1  # a line that starts with it is skipped
    fields: int = 0  # number of fields of a good record, 0 for any
    longest: int = MAX_RECORD_BYTES  # maximum size in bytes


class Records(NamedTuple):
    """Records of a piece of text, in order. Blank lines are not records."""

    begin: NDArray[np.int64]  # offset of the first byte
    end: NDArray[np.int64]  # offset after the last byte, without the line end
    line: NDArray[np.int64]  # line ends before it
    fields: NDArray[np.int64]
    state: NDArray[np.int64]  # GOOD or QUOTE
    behind: int  # offset after the last record and its blank lines
    lines: int  # line ends before `behind`
    overlong: bool  # the record at `behind` is longer than allowed

    def first(self, count: int) -> Records:
        """The first ``count`` of these records."""
        if count == len(self.begin):
            return self
        begin, end, line, fields, state = (column[:count] for column in self[:5])
        behind, lines = int(self.begin[count]), int(self.line[count])
        return Records(begin, end, line, fields, state, behind, lines, False)


def find_records(data: bytes, start: int, final: bool, rules: RecordRules, most: int) -> Records:
    """Find the complete records of ``data`` from ``start`` on, at most ``most``.

    A field is quoted if a quote is its first byte; then a doubled quote stands for one, and
    delimiters and line ends are part of the field. A quote is bad if it is not closed within the
    longest record or before the end, if text follows the closing quote, or if its field spans lines
    and the number of fields is wrong. A bad quote costs the line on which it was opened: the next
    line is a new record. If nothing follows ``data`` (``final``), the last record needs no line
    end.
    """
    table = np.empty((5, most), np.int64)
    text = np.frombuffer(data, np.uint8)
    count, behind, lines, reason = _find(text, start, final, *rules, table)
    begin, end, line, fields, state = table[:, :count]
    return Records(begin, end, line, fields, state, behind, lines, reason == OVERLONG)


@kernel
def _find(
    data: Bytes,
    start: int,
    final: bool,
    delimiter: int,
    quote: int,
    comment: int,
    arity: int,
    longest: int,
    table: NDArray[np.int64],
) -> tuple[int, int, int, int]:
    pos = start
    lines = 0
    count = 0
    while count < table.shape[1]:
        # Bytes after `stop` are ignored, so that records do not depend on where `data` ends.
        full = pos + longest + 2 <= len(data)
        stop = pos + longest + 2 if full else len(data)
        last = final and stop == len(data)
        blank = _blank(data, pos, stop, comment)
        if blank < stop and data[blank] == NEWLINE:
            pos = blank + 1
            lines += 1
            continue
        if blank == stop:
            if full:
                return count, pos, lines, OVERLONG
            return count, stop if last else pos, lines, ENOUGH if last else HUNGRY
        outcome, fields, end, opened = _record(data, pos, stop, last, delimiter, quote)
        if outcome in (OPEN, QUOTED) and not (full or last):
            return count, pos, lines, HUNGRY
        wrong = arity > 0 and fields != arity
        bad = outcome in (BROKEN, QUOTED) or (opened >= 0 and wrong)
        if bad and outcome != OPEN:
            end = opened
            while end < stop and data[end] != NEWLINE:
                end += 1
            if end == stop and not (full or last):
                return count, pos, lines, HUNGRY
        behind = end + 1 if end < stop else end
        if end > pos and data[end - 1] == RETURN:
            end -= 1
        if outcome == OPEN or end - pos > longest:
            return count, pos, lines, OVERLONG
        table[0, count] = pos
        table[1, count] = end
        table[2, count] = lines
        table[3, count] = fields
        table[4, count] = QUOTE if bad else GOOD
        count += 1
        lines += _line_ends(data, pos if opened >= 0 else behind - 1, behind)
        pos = behind
    return count, pos, lines, ENOUGH


@kernel
def _line_ends(data: Bytes, begin: int, end: int) -> int:
    count = 0
    for at in range(begin, end):
        count += data[at] == NEWLINE
    return count


@kernel
def _blank(data: Bytes, pos: int, stop: int, comment: int) -> int:
    """Offset of the first byte that makes the line at ``pos`` a record, or of the line's end."""
    while pos < stop and (data[pos] == SPACE or data[pos] == RETURN):
        pos += 1
    if pos < stop and data[pos] == comment:
        while pos < stop and data[pos] != NEWLINE:
            pos += 1
    return pos


@kernel
def _record(
    data: Bytes, pos: int, stop: int, last: bool, delimiter: int, quote: int
) -> tuple[int, int, int, int]:
    """Outcome, fields, offset of the end, and where the first quote that spans lines was opened.

    The latter is the opening of a bad quote if none before it spans lines.
    """
    fields = 1
    opened = -1
    at = pos
    while True:
        if at < stop and data[at] == quote:
            begin = at
            at, lines = _quoted(data, at + 1, stop, quote)
            if lines > 0 and opened < 0:
                opened = begin
            if at < 0:
                return QUOTED, fields, stop, opened if opened >= 0 else begin
            if at == stop and not last:
                return OPEN, fields, stop, opened
            while at < stop and data[at] != delimiter and _is_padding(data[at]):
                at += 1
            if at < stop and data[at] != delimiter and data[at] != NEWLINE:
                return BROKEN, fields, stop, opened if opened >= 0 else begin
        else:
            while at < stop and data[at] != delimiter and data[at] != NEWLINE:
                at += 1
        if at == stop:
            return WHOLE if last else OPEN, fields, stop, opened
        if data[at] == NEWLINE:
            return WHOLE, fields, at, opened
        fields += 1
        at += 1


@kernel
def _quoted(data: Bytes, at: int, stop: int, quote: int) -> tuple[int, int]:
    """Offset after the closing quote, or -1, and the number of line ends before it."""
    lines = 0
    while at < stop:
        if data[at] == quote:
            if at + 1 == stop or data[at + 1] != quote:
                return at + 1, lines
            at += 1
        elif data[at] == NEWLINE:
            lines += 1
        at += 1
    return -1, lines


@kernel
def _is_padding(byte: int) -> bool:
    return byte in (SPACE, TAB, RETURN)


MIN_LINES = 4  # lines joined by stray quotes: fewer cost little and may be anything
MAX_OTHER_FRACTION = 0.1  # of such lines that are not records


def merge_multiline_records(
    data: bytes, final: bool, records: Records, rules: RecordRules
) -> Records:
    r"""Merge the lines of records that span lines and have the wrong number of fields.

    `find_records` treats the line of such a quote as a bad record and the next line as a new one,
    because a stray quote that is closed far below should not cost more. But if the lines are not
    records, they are the text of a quoted field and must not become samples, so they are merged to
    one record. Lines are records if there are at least four and all but a tenth have the right
    number of fields. A merged record that no known record follows is the last one.

    >>> rules = RecordRules(delimiter=ord(","), quote=ord('"'), fields=2)
    >>> data = b'1,"a\nb,c\nd",e\n2,f\n'
    >>> records = find_records(data, 0, True, rules, 9)
    >>> records.end.tolist(), merge_multiline_records(data, True, records, rules).end.tolist()
    ([4, 8, 13, 17], [13, 17])
    """
    quotes = np.flatnonzero(records.state == QUOTE).tolist()
    if not quotes:
        return records
    count, behind = len(records.begin), 0
    columns = np.array(records[:5])
    kept = np.ones(count, np.bool_)
    ends = records.behind, records.lines, records.overlong
    for row in quotes:
        if records.begin[row] < behind:
            continue
        whole = find_records(data, int(records.begin[row]), final, rules._replace(fields=0), 1)
        if whole.state.tolist() != [GOOD] or _are_records(data, whole, rules):
            continue
        behind = whole.behind
        columns[1, row], columns[3, row], columns[4, row] = whole.end[0], whole.fields[0], GOOD
        follower = int(np.searchsorted(records.begin, behind))
        kept[row + 1 : follower] = False
        if behind != (records.begin[follower] if follower < count else records.behind):
            kept[follower:] = False
            ends = behind, int(records.line[row]) + whole.lines, False
            break
    begin, end, line, fields, state = columns[:, kept]
    return Records(begin, end, line, fields, state, *ends)


def _are_records(data: bytes, whole: Records, rules: RecordRules) -> bool:
    """Whether the lines of a record look like records themselves, apart from quotes."""
    text = data[whole.begin[0] : whole.end[0]]
    apart = rules._replace(quote=-1, fields=0)
    fields = find_records(text, 0, True, apart, 1 + text.count(b"\n")).fields
    others = np.count_nonzero(fields != rules.fields)
    return len(fields) >= MIN_LINES and bool(others <= MAX_OTHER_FRACTION * len(fields))


class Head(NamedTuple):
    """The first bytes of a file."""

    file: str  # name for messages
    data: bytes
    start: int  # where the first record may start: after a byte order mark
    final: bool  # whether it is the whole file

    def records(self, rules: RecordRules, most: int) -> Records:
        """The first complete records."""
        return find_records(self.data, self.start, self.final, rules, most)

    def lines(self, rules: RecordRules, most: int) -> list[bytes]:
        """The bytes of the first complete records."""
        records = self.records(rules, most)
        ends = records.end.tolist()
        return [self.data[at:end] for at, end in zip(records.begin.tolist(), ends, strict=True)]

    def make_empty_error(self, rules: RecordRules) -> DataError:
        """The error for a file without a first record."""
        if self.records(rules, 1).overlong:
            return self.make_overlong_error(rules)
        return DataError(f"{self.file} holds no samples")

    def make_overlong_error(self, rules: RecordRules) -> DataError:
        """The error for a file whose first record is too long."""
        return DataError(
            f"{self.file} has a first record of more than {rules.longest} bytes:"
            " it may not be text, or max_record_bytes is too small"
        )


@final
@dataclass(frozen=True)
class Chunk:
    """Complete records of a file."""

    source: str
    data: bytes
    records: Records
    marks: NDArray[np.int64]  # shape=(n + 1, 3), as those of a block
    letters: dict[int, DeadLetter]  # records that were rejected already

    def __len__(self) -> int:
        return len(self.records.begin)

    def first(self, count: int) -> Chunk:
        """The first ``count`` of these records."""
        letters = {row: letter for row, letter in self.letters.items() if row < count}
        records = self.records.first(count)
        return replace(self, records=records, marks=self.marks[: count + 1], letters=letters)

    def raw(self, row: int) -> bytes:
        """The bytes of a record."""
        return self.data[self.records.begin[row] : self.records.end[row]]

    def good(self) -> NDArray[np.bool_]:
        """Which records may be samples, shape=(n,)."""
        good = np.ones(len(self), np.bool_)
        good[list(self.letters)] = False
        return good

    def letter(self, row: int, problem: Rejection) -> DeadLetter:
        """The dead letter of a record."""
        return problem.letter(self.source, self.marks[row], self.raw(row))

    def block(self, rows: ConvertedRows) -> Block:
        """Make a block of all records except those in ``letters`` or with problems."""
        return rows.block(self.source, self.marks, self.raw, self.letters)


class TextFormat(ABC):
    """Converts the records of a text to samples, for a `TextSource`, one file at a time."""

    name: ClassVar[str]  # in settings and states
    _columns: Columns
    min_head_records: int = 1  # in the head of a live stream

    @property
    @abstractmethod
    def rules(self) -> RecordRules:
        """What separates the records of the current file."""

    def head_rules(self) -> Sequence[RecordRules]:
        """Rules under each of which the head of the first file has to be complete."""
        return (self.rules,)

    @abstractmethod
    def infer_schema(self, head: Head) -> Schema:
        """Infer the schema from the head of the first file."""

    def look_further(self, records: int) -> None:
        """Infer the schema from so many records from now on."""
        self._columns = replace(self._columns, head=records)

    def export_state(self) -> dict[str, Any]:
        """What was inferred from the head of the first file, except the schema."""
        return {}

    @abstractmethod
    def restore_state(self, state: Mapping[str, Any], schema: Schema) -> None:
        """Restore what another format inferred, in place of `infer_schema`."""

    def start(self, head: Head, *, again: bool = False) -> Records:
        """Start a file, and find the records at its top that are not samples, such as a header.

        ``again``: the file may be a restarted one, which may lack the header.
        """
        del again
        return head.records(self.rules, 0)

    @abstractmethod
    def read(self, chunk: Chunk) -> tuple[Block, int]:
        """Convert the records of a chunk; return a block and the number of records used.

        At least one record is used. Fewer than all are used where the schema grows: that sample
        starts the next block.
        """

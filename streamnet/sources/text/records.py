"""Where the records of a text begin and end, including quoted fields that span lines."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import kernel

__all__ = (
    "GOOD",
    "QUOTE",
    "RecordRules",
    "Records",
    "find_records",
    "merge_multiline_records",
)


GOOD, QUOTE = 0, 1  # the state of a record
WHOLE, BROKEN, OPEN, QUOTED = 0, 1, 2, 3  # what became of the attempt to read one
ENOUGH, HUNGRY, OVERLONG = 0, 1, 2  # why the search ended

NEWLINE, RETURN, SPACE, TAB = 10, 13, 32, 9

Bytes = NDArray[np.uint8]


class RecordRules(NamedTuple):
    """What separates records and fields; -1 for a byte that the format does not have."""

    delimiter: int = -1
    quote: int = -1
    comment: int = -1  # a line that starts with it is no record
    fields: int = 0  # of a good record, 0 if any number will do
    longest: int = 1 << 20  # bytes of a record


class Records(NamedTuple):
    """Records of a piece of text, in order. Blank lines are none."""

    begin: NDArray[np.int64]  # offset of the first byte
    end: NDArray[np.int64]  # offset behind the last byte, the line end not counted
    line: NDArray[np.int64]  # line ends before it
    fields: NDArray[np.int64]
    state: NDArray[np.int64]  # GOOD or QUOTE
    behind: int  # offset behind the last record and the blank lines after it
    lines: int  # line ends before `behind`
    overlong: bool  # the record at `behind` is longer than allowed

    def first(self, count: int) -> Records:
        """The first ``count`` of these records."""
        if count == len(self.begin):
            return self
        behind, lines = int(self.begin[count]), int(self.line[count])
        return Records(
            self.begin[:count],
            self.end[:count],
            self.line[:count],
            self.fields[:count],
            self.state[:count],
            behind,
            lines,
            False,
        )


def find_records(data: bytes, start: int, final: bool, rules: RecordRules, most: int) -> Records:
    """The complete records of ``data`` from ``start`` on, at most ``most``.

    A field is quoted if a quote is its first byte; then a doubled quote stands for one, and
    delimiters and line ends belong to the field. A quote is bad if it is not closed within the
    longest record or before the end, if text stands behind its closing, or if its field spans
    lines and the number of fields is wrong. A bad quote costs the line on which it opened: the
    next line is a new record.

    Args:
        data: A piece of the text.
        start: Where a record begins.
        final: Nothing comes after ``data``: its last record needs no line end.
        rules: What separates records and fields.
        most: Stop after that many.
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
        # No byte behind `stop` is looked at, so what a record is does not depend on `data`'s cut.
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
    """Offset of the first byte that makes the line at ``pos`` a record, or of its end."""
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
    """Outcome, fields, offset of the end, and where the first quote that spans lines opened.

    For a bad quote the latter is its own opening, if none before it spans lines.
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
    """Offset behind the closing quote, -1 if there is none, and the line ends before it."""
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


MIN_LINES = 4  # of lines that stray quotes have joined: fewer cost little and look like anything
MAX_OTHER_SHARE = 0.1  # share of such lines that are no records


def merge_multiline_records(
    data: bytes, final: bool, records: Records, rules: RecordRules
) -> Records:
    r"""These records, with those given whole that span lines and have the wrong number of fields.

    `find_records` takes the line of such a quote for a bad record, and the next one for a new
    record: a stray quote that another one closes far below should cost no more. But if the lines
    are no records, they are the text of a quoted field, and no samples may be made of them: such
    a record is given whole. The lines are records if there are at least four, and all but a tenth
    have the right number of fields. One behind which no known record begins is the last.

    Args:
        data: The text.
        final: Nothing comes after it.
        records: What `find_records` found in it.
        rules: By what it did.

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
    columns = np.array((records.begin, records.end, records.line, records.fields, records.state))
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
    """Whether the lines of a record look like records by themselves, but for quotes."""
    text = data[whole.begin[0] : whole.end[0]]
    apart = rules._replace(quote=-1, fields=0)
    fields = find_records(text, 0, True, apart, 1 + text.count(b"\n")).fields
    others = np.count_nonzero(fields != rules.fields)
    return len(fields) >= MIN_LINES and bool(others <= MAX_OTHER_SHARE * len(fields))

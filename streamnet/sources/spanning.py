"""Spanning: records of several lines, told apart from lines that stray quotes have joined."""

from __future__ import annotations

import numpy as np

from streamnet.sources.records import GOOD
from streamnet.sources.records import QUOTE
from streamnet.sources.records import Records
from streamnet.sources.records import Rules
from streamnet.sources.records import find_records

__all__ = ("with_spanning",)

FEWEST_LINES = 4  # of lines that stray quotes have joined: fewer cost little and look like anything
MOST_OTHERS = 0.1  # share of such lines that are no records


def with_spanning(data: bytes, final: bool, records: Records, rules: Rules) -> Records:
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

    >>> rules = Rules(delimiter=ord(","), quote=ord('"'), fields=2)
    >>> data = b'1,"a\nb,c\nd",e\n2,f\n'
    >>> records = find_records(data, 0, True, rules, 9)
    >>> records.end.tolist(), with_spanning(data, True, records, rules).end.tolist()
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


def _are_records(data: bytes, whole: Records, rules: Rules) -> bool:
    """Whether the lines of a record look like records by themselves, but for quotes."""
    text = data[whole.begin[0] : whole.end[0]]
    apart = rules._replace(quote=-1, fields=0)
    fields = find_records(text, 0, True, apart, 1 + text.count(b"\n")).fields
    others = np.count_nonzero(fields != rules.fields)
    return len(fields) >= FEWEST_LINES and bool(others <= MOST_OTHERS * len(fields))

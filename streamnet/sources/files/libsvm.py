"""libSVM: a label and the non-zero values of a sample by index, one sample per line."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from operator import lt
from typing import Any, NamedTuple, final

import numpy as np

from streamnet.samples import Block, Kind, Schema, SparseRows
from streamnet.sources.base import Reason, Rejection, shorten
from streamnet.sources.columns import LAST_COLUMN
from streamnet.sources.files.detection import TextFileFormat, TextOptions
from streamnet.sources.inference import infer_task
from streamnet.sources.rows import ColumnParser, ConvertedRows, Problems
from streamnet.sources.text.records import Chunk, Head, RecordRules, TextFormat

LABEL = "label"
"""Name of the target column."""

COMMENT = b"#"
MAX_CELLS = 1 << 20  # in the padded rows of a block
LARGEST_INDEX = 2**63 - 1

PLAIN_BYTES = 1 << 16  # longer lines are parsed token by token, which needs less memory
_TOKEN = re.compile(rb"\S+")
_PLAIN = re.compile(rb"[^\s:#]+(?:[ \t]+[0-9]{1,18}:[0-9.eE+-]+)*[ \t]*")
_LINE = re.compile(rb"\s*[^\s:,]+(?:\s+(?:qid|[0-9]+):[^\s:,]+)+\s*(?:#.*)?")
_UNUSUAL = {0.0, math.inf, -math.inf}


class _Line(NamedTuple):
    """A parsed line."""

    label: bytes | None
    indices: list[int]
    values: list[float]


@final
class LibsvmFormat(TextFormat):
    """Lines ``label index:value ...`` with ascending indices, which may start at 0 or 1.

    Comments (from ``#`` on), ``qid`` and values of zero are ignored. Samples have no fields but
    `Block.sparse`, whose indices are those of the file.

    >>> from streamnet.sources.columns import Columns
    >>> head = Head("f.svm", b"1 3:0.5 7:1", 0, True)
    >>> LibsvmFormat(TextOptions(Columns())).infer_schema(head).target
    'label'
    """

    name = "libsvm"

    def __init__(self, options: TextOptions) -> None:
        self._columns = options.columns
        self._parser = ColumnParser(self._columns, self._columns.parse_options())
        self._rules = RecordRules(comment=COMMENT[0], longest=options.max_record_bytes)
        self._schema = Schema(())

    @property
    def rules(self) -> RecordRules:
        """A record is a line that is not only a comment."""
        return self._rules

    def infer_schema(self, head: Head) -> Schema:
        """Infer the task from the labels in the head of the first file."""
        lines = head.lines(self._rules, self._columns.head)
        if not lines:
            raise head.make_empty_error(self._rules)
        labels = [
            line.label.decode("utf-8", "replace")
            for line in map(_parse_line, lines)
            if isinstance(line, _Line) and line.label is not None
        ]
        columns = self._columns
        unnamed = columns.target is None and not columns.target_optional
        if unnamed or columns.target in LAST_COLUMN:  # there is no other column
            columns = columns.with_target(LABEL)
        names = (LABEL,) if labels or not columns.target_optional else ()
        known = [label for label in labels if label not in columns.missing]
        self._schema = columns.build_schema(
            head.file, names, lambda _: Kind.NUMBER, lambda: infer_task(known)
        )
        return self._schema

    def restore_state(self, state: Mapping[str, Any], schema: Schema) -> None:
        """Restore the task."""
        del state
        self._schema = schema

    def read(self, chunk: Chunk) -> tuple[Block, int]:
        """Convert the records of a chunk, up to where their padded rows would need much memory."""
        lines: list[_Line] = []
        problems: Problems = {}
        width = 1
        for row, good in enumerate(chunk.good().tolist()):
            line = self._parse(chunk.raw(row)) if good else _EMPTY_LINE
            problem = None
            if isinstance(line, Rejection):
                problem, line = line, _EMPTY_LINE
            width = max(width, len(line.indices))
            if lines and width * (row + 1) > MAX_CELLS:
                break
            if problem is not None:
                problems[row] = -1, problem
            lines.append(line)
        target = None
        if self._schema.target is not None:
            labels = ["" if line.label is None else line.label.decode() for line in lines]
            target = self._parser.target(self._schema, labels, problems)
        numbers = np.empty((len(lines), 0), np.float64)
        sparse = _make_sparse_rows(lines)
        rows = ConvertedRows(self._schema, len(lines), numbers, (), target, problems, sparse)
        return chunk.first(len(lines)).block(rows), len(lines)

    def _parse(self, raw: bytes) -> _Line | Rejection:
        line = _parse_line(raw)
        if self._schema.target is None or isinstance(line, Rejection) or line.label is None:
            return line
        if b"," in line.label and line.label.decode() not in self._columns.missing:
            labels = shorten(line.label.decode())
            return Rejection(Reason.TYPE, f"the target has several labels, {labels}")
        return line


_EMPTY_LINE = _Line(None, [], [])


def _parse_line(raw: bytes) -> _Line | Rejection:
    return _parse_plain_line(raw) or _parse_any_line(raw)


def _parse_plain_line(raw: bytes) -> _Line | None:
    """Parse a line without anything special, fast; None for any other line."""
    if len(raw) > PLAIN_BYTES or _PLAIN.fullmatch(raw) is None:
        return None
    label, *parts = raw.replace(b":", b" ").split()
    try:
        values = list(map(float, parts[1::2]))
    except ValueError:
        return None
    indices = list(map(int, parts[::2]))
    if not all(map(lt, indices, indices[1:])) or not _UNUSUAL.isdisjoint(values):
        return None
    return _Line(label, indices, values)


def _parse_any_line(raw: bytes) -> _Line | Rejection:
    text = raw.partition(COMMENT)[0]
    first = _TOKEN.search(text)
    label = None if first is None or b":" in first.group() else first.group()
    start = 0 if first is None or label is None else first.end()
    index: list[int] = []
    value: list[float] = []
    last = -1
    for match in _TOKEN.finditer(text, start):
        token = match.group()
        name, colon, number_text = token.partition(b":")
        if not name.isdigit() or not colon:
            if name == b"qid" and colon:
                continue
            return _reject_index(token, "is not a whole number >= 0")
        at = int(name) if len(name) < 20 else LARGEST_INDEX + 1
        if at <= last or at > LARGEST_INDEX:
            return _reject_index(
                token, "is not above the one before it" if at <= last else "is too large"
            )
        last = at
        number = _parse_value(name, number_text)
        if isinstance(number, Rejection):
            return number
        if number != 0.0:
            index.append(at)
            value.append(number)
    return _Line(label, index, value)


def _parse_value(name: bytes, text: bytes) -> float | Rejection:
    try:
        number = float(text.replace(b"_", b"?"))  # 1_000 is no number
    except ValueError:
        return Rejection.for_value(Reason.NUMBER, name.decode(), text)
    if number - number != 0.0:
        return Rejection.for_value(Reason.NOT_FINITE, name.decode(), text)
    return number


def _reject_index(token: bytes, why: str) -> Rejection:
    return Rejection(Reason.INDEX, f"the index of {shorten(token)} {why}")


def _make_sparse_rows(lines: Sequence[_Line]) -> SparseRows:
    count = np.array([len(line.indices) for line in lines], np.int32)
    width = max(1, int(count.max(initial=1)))
    index = np.zeros((len(lines), width), np.int64)
    value = np.zeros((len(lines), width), np.float64)
    used = np.arange(width) < count[:, None]
    index[used] = [at for line in lines for at in line.indices]
    value[used] = [number for line in lines for number in line.values]
    return SparseRows(index, value, count)


LIBSVM = TextFileFormat("libsvm", (".libsvm", ".svm"), LibsvmFormat, _LINE.fullmatch)
FORMATS = (LIBSVM,)

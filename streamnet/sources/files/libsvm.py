"""libSVM: a label and the non-zero values of a sample by index, one line each."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from operator import lt
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from streamnet.samples import Block, Kind, Schema, SparseRows, Task
from streamnet.sources.columns import LAST_COLUMN, Columns
from streamnet.sources.inference import infer_task, is_number
from streamnet.sources.rejection import Reason, Rejection, shorten
from streamnet.sources.text.format import MAX_RECORD_BYTES, Chunk, Head, TextFormat
from streamnet.sources.text.records import RecordRules

__all__ = ("LABEL", "LibsvmFormat")

LABEL = "label"
"""Name of the target."""

COMMENT = b"#"
MAX_CELLS = 1 << 20  # of the padded rows of a block
LARGEST_INDEX = 2**63 - 1

PLAIN_BYTES = 1 << 16  # longer lines are read piece by piece, which takes less memory
_TOKEN = re.compile(rb"\S+")
_PLAIN = re.compile(rb"[^\s:#]+(?:[ \t]+[0-9]{1,18}:[0-9.eE+-]+)*[ \t]*")
_UNUSUAL = {0.0, math.inf, -math.inf}


class _Line(NamedTuple):
    """A sample of the format."""

    label: bytes | None
    indices: list[int]
    values: list[float]


@final
class LibsvmFormat(TextFormat):
    """Lines ``label index:value ...``; indices ascend, from 0 or 1 on or with any gaps.

    Comments (from ``#`` on) and ``qid`` are left out, and so are values of zero. The samples have
    no fields but `Block.sparse`, whose indices are those of the file.

    >>> LibsvmFormat(Columns()).begin(Head("f.svm", b"1 3:0.5 7:1", 0, True)).target
    'label'
    """

    def __init__(self, columns: Columns, *, max_record_bytes: int = MAX_RECORD_BYTES) -> None:
        self._columns = columns
        self._rules = RecordRules(comment=COMMENT[0], longest=max_record_bytes)
        self._schema = Schema(())

    @property
    def name(self) -> str:
        """Name of the format."""
        return "libsvm"

    @property
    def rules(self) -> RecordRules:
        """A record is a line that is more than a comment."""
        return self._rules

    def begin(self, head: Head) -> Schema:
        """Tell the task from the labels of the first file's head."""
        records = head.records(self._rules, self._columns.head)
        if not records.begin.size:
            raise head.empty(self._rules)
        lines = [
            _parse_line(head.data[begin:end])
            for begin, end in zip(records.begin.tolist(), records.end.tolist(), strict=True)
        ]
        labels = [
            line.label.decode("utf-8", "replace")
            for line in lines
            if isinstance(line, _Line) and line.label is not None
        ]
        columns = self._columns
        unnamed = columns.target is None and not columns.target_optional
        if unnamed or columns.target in LAST_COLUMN:  # there is no other column
            columns = columns.with_target(LABEL)
        names = (LABEL,) if labels or not columns.target_optional else ()
        self._schema = columns.build_schema(
            head.file, names, lambda _: Kind.NUMBER, lambda: infer_task(labels)
        )
        return self._schema

    def restore_state(self, state: Mapping[str, Any], schema: Schema) -> None:
        """Take over the task."""
        del state
        self._schema = schema

    def read(self, chunk: Chunk) -> tuple[Block, int]:
        """The samples of a chunk, up to where their padded rows would take too much memory."""
        lines: list[_Line] = []
        labels: list[Any] = []
        problems: dict[int, Rejection] = {}
        width = 1
        for row, good in enumerate(chunk.good().tolist()):
            line = _parse_line(chunk.raw(row)) if good else _EMPTY_LINE
            label = None if isinstance(line, Rejection) else self._label(line.label)
            if isinstance(line, Rejection):
                problems[row], line = line, _EMPTY_LINE
            elif isinstance(label, Rejection):
                if good:
                    problems[row] = label
                line, label = _EMPTY_LINE, None
            width = max(width, len(line.indices))
            if lines and width * (row + 1) > MAX_CELLS:
                problems.pop(row, None)
                break
            lines.append(line)
            labels.append(label)
        part = chunk.first(len(lines))
        numbers = np.empty((len(lines), 0), np.float64)
        target = self._target(labels)
        block = part.block(self._schema, numbers, (), target, problems, _make_sparse_rows(lines))
        return block, len(lines)

    def _label(self, label: bytes | None) -> float | str | Rejection | None:
        schema = self._schema
        if schema.target is None:
            return None
        text = "" if label is None else label.decode()
        if text in self._columns.missing:
            if self._columns.target_optional:
                return math.nan if schema.task is Task.REGRESSION else None
            return Rejection.for_value(Reason.TARGET_MISSING, LABEL, None)
        if "," in text:
            return Rejection(Reason.TYPE, f"the target has several labels, {shorten(text)}")
        if schema.task is not Task.REGRESSION:
            return text
        number = float(text) if is_number(text) else math.nan
        if math.isfinite(number):
            return number
        return Rejection.for_value(Reason.TARGET_NUMBER, LABEL, text)

    def _target(self, labels: Sequence[Any]) -> NDArray[Any] | None:
        if self._schema.target is None:
            return None
        if self._schema.task is Task.REGRESSION:
            return np.array([math.nan if v is None else v for v in labels], np.float64)
        target = np.empty(len(labels), np.object_)
        target[:] = labels
        return target


_EMPTY_LINE = _Line(None, [], [])


def _parse_line(raw: bytes) -> _Line | Rejection:
    return _parse_plain_line(raw) or _parse_any_line(raw)


def _parse_plain_line(raw: bytes) -> _Line | None:
    """The quick way for a line without anything special; None sends it the long way."""
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
            return _reject_index(token, "is no whole number from 0 on")
        at = int(name) if len(name) < 20 else LARGEST_INDEX + 1
        if at <= last or at > LARGEST_INDEX:
            return _reject_index(
                token, "is not above the one before it" if at <= last else "is huge"
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
        number = float(text)
    except ValueError:
        return Rejection.for_value(Reason.NUMBER, name.decode(), text)
    if b"_" in text:
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

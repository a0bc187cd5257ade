"""Fed: samples of a file as a frame of the journal, together with the place behind them.

A line is a sample, or a record that the file's source rejected: so both are learned or counted in
the order of the file, once, whoever dies in between.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from typing import NamedTuple
from typing import final

import msgspec

from streamnet.daemon.frames import Frame
from streamnet.daemon.frames import Kind
from streamnet.daemon.lines import LONGEST
from streamnet.errors import DataError
from streamnet.pipeline.limit import letter_of
from streamnet.pipeline.limit import values_of
from streamnet.samples import Block
from streamnet.samples import DeadLetter
from streamnet.samples import Position
from streamnet.samples import Schema
from streamnet.sources.plainschema import plain_schema
from streamnet.sources.plainschema import schema_from
from streamnet.sources.reasons import Problem
from streamnet.sources.reasons import Reason

__all__ = ("Fed", "fed_frame", "letter_at")

_ENCODER = msgspec.json.Encoder()
_SHOWN = 4096  # characters of a sample that is too long


@final
class Fed(NamedTuple):
    """What stands in front of the lines.

    It is written by `json` of the standard library, which can hold a file's name that is no text.
    """

    position: Position  # in the files, behind the last line
    state: dict[str, Any]  # of the source at that position
    limit: dict[str, Any]  # of the rejected records there, see `RejectionLimit`
    schema: Schema  # columns of the samples, with their kinds
    letters: tuple[int, ...]  # offsets in the body of lines that are rejected records
    scored: bool  # False: learned only, since it was seen in an earlier epoch

    def encode(self) -> bytes:
        """As the head of a frame."""
        values = self._asdict() | {"schema": plain_schema(self.schema)}
        return json.dumps(values, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, head: bytes) -> Fed:
        """What `encode` wrote."""
        values = json.loads(head)
        return cls(
            Position(*values["position"]),
            values["state"],
            values["limit"],
            schema_from(values["schema"]),
            tuple(values["letters"]),
            values["scored"],
        )


def fed_frame(block: Block, state: dict[str, Any], limit: dict[str, Any]) -> Frame:
    """A block of a file as a frame.

    Args:
        block: Samples and rejected records, in the order of the file.
        state: Of the source behind it.
        limit: Of the rejected records behind it.

    Raises:
        DataError: If its inputs have no names, as those of libSVM.
    """
    if block.sparse is not None:
        raise DataError(
            f"{block.source} is libSVM, whose inputs have no names that samples sent over HTTP "
            "could have, too: make CSV or JSON lines of it"
        )
    body, letters, size = [], [], 0
    for line, is_letter in _in_order(block):
        if is_letter:
            letters.append(size)
        body.append(line + b"\n")
        size += len(line) + 1
    fed = Fed(block.end, state, limit, block.schema, tuple(letters), block.scored)
    return Frame(Kind.FED, fed.encode(), b"".join(body), len(body))


def letter_at(data: bytes, at: int) -> DeadLetter:
    """The rejected record of the line that begins at an offset."""
    return letter_of(json.loads(data[at : data.index(b"\n", at)]))


def _in_order(block: Block) -> Iterator[tuple[bytes, bool]]:
    """The lines, each with whether it is a rejected record."""
    letters = list(zip(block.places().tolist(), block.rejected, strict=True))[::-1]
    for row, line in enumerate(_samples(block)):
        while letters and letters[-1][0] <= row:
            yield _letter(letters.pop()[1]), True
        if len(line) < LONGEST:
            yield line, False
        else:
            yield _letter(_too_long(block, row, line)), True
    while letters:
        yield _letter(letters.pop()[1]), True


def _samples(block: Block) -> Iterator[bytes]:
    schema = block.schema
    names = [*schema.numbers, *schema.words, str(schema.target)]
    assert block.target is not None
    columns = [*block.numbers.T, *block.words, block.target]
    rows = zip(*(column.tolist() for column in columns), strict=True)
    # A number that is missing is NaN, for which null is written.
    return (_ENCODER.encode(dict(zip(names, row, strict=True))) for row in rows)


def _too_long(block: Block, row: int, line: bytes) -> DeadLetter:
    detail = f"as a line of JSON it has {len(line):,} bytes, but must have < {LONGEST:,}"
    text = line[:_SHOWN].decode("utf-8", "replace")
    return Problem(Reason.TOO_LONG, detail).letter(block.source, block.marks[row], text)


def _letter(letter: DeadLetter) -> bytes:
    return json.dumps(values_of(letter)).encode()

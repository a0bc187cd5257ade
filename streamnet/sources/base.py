"""The source interface, and the reasons for which records are rejected."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal, NamedTuple

import numpy as np
from msgspec.structs import replace

from streamnet.errors import DataError
from streamnet.samples import Block, DeadLetter, Position, Schema, Task
from streamnet.sources.inference import WHITESPACE, is_any_time, is_number
from streamnet.sources.number_styles import find_marked_number, parse_marked_number

MAX_BLOCK_ROWS = 8192
"""Maximum number of samples in a block."""

OnGap = Literal["stop", "go_on"]
"""What to do when part of a followed file or folder was lost before it was read."""


def check_gap(gap: str, on_gap: OnGap) -> None:
    """Raise a gap as an error unless reading has to continue."""
    if on_gap == "stop":
        raise DataError(f"{gap} (on_gap 'go_on' would continue nevertheless)")


class Source(ABC):
    """Samples of a stream, in order.

    The reading stage of a pipeline calls `open` once, `receive` until it returns None, and `aclose`
    in any case. Only one task may use a source at a time, but not necessarily always the same one.

    To resume exactly where another source stopped, keep the end of a block and the state, and pass
    both to a new source over the same data:

        position, state = block.end, source.export_state(block.end)
        ...
        source.restore_state(state)
        await source.open(position)
    """

    @abstractmethod
    async def open(self, after: Position | None = None) -> Schema:
        """Open the source and infer its schema from its first samples.

        Args:
            after: Where to resume: the `Block.end` of the last block that was used, or of a part
                of it. None starts at the first sample.

        Raises:
            DataError: If the source can't be read, holds no samples, lacks that position, or has
                changed since its state was exported.
            SchemaError: If a requested column does not exist.
            ConfigurationError: If a setting makes no sense for this source.
        """

    @abstractmethod
    async def receive(self) -> Block | None:
        """Receive the next available samples, at most `MAX_BLOCK_ROWS`; None at the end.

        A block without samples may carry rejected records. Cancelling a call loses nothing: the
        next call continues with the same sample.

        Raises:
            DataError: If reading fails; all samples before the failure were returned.
        """

    def export_state(self, after: Position | None) -> dict[str, Any]:
        """Export what a new source over the same data needs to resume after a position.

        The state has what was inferred, such as kinds of columns, and fingerprints of the data. It
        consists of plain values: numbers, texts, None, and lists and dicts of them.

        Args:
            after: The end of the block received last, or of a part of it; None for the start.
        """
        del after
        return {}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Restore a state that another source exported; call it before `open`."""
        del state

    def commit(self, state: Mapping[str, Any]) -> None:
        """Take notice that what precedes an exported state is learned and kept on disk.

        Called after each checkpoint, in a thread of its own; a message broker may be told.
        """
        del state

    async def aclose(self) -> None:
        """Close files and end tasks. Closing twice is allowed."""
        return

    def progress(self) -> float | None:
        """Fraction of the source returned so far, 0 to 1; None if the total is unknown.

        Samples that were read ahead, but not returned yet, do not count.
        """
        return None

    def lag(self) -> int | None:
        """Records that are there and were not returned yet; None if that is unknown."""
        return None

    @property
    def failure(self) -> str | None:
        """Why nothing can be read now, while it is tried again; None if it can."""
        return None


MAX_RAW_CHARACTERS = 4096
MAX_RAW_BYTES = 4 * MAX_RAW_CHARACTERS  # which hold so many characters at least
REPLACED = "\N{REPLACEMENT CHARACTER}"
MAX_SHOWN_CHARACTERS = 60


class Reason(StrEnum):
    """The codes in `DeadLetter.reason`."""

    ARITY = "arity"  # the record has more or fewer fields than the file has columns
    NUMBER = "number"  # a word where a number is expected
    NOT_FINITE = "not-finite"  # NaN, infinity, or a number too large for 64 bits
    TIME = "time"  # neither a date or time nor seconds since 1970 where one is expected
    QUOTE = "quote"  # a quote that is never closed, or text right after a closing quote
    JSON = "json"  # not a JSON object
    ENCODING = "encoding"  # not UTF-8
    TARGET_MISSING = "target-missing"
    TARGET_NUMBER = "target-number"  # the target of a regression is not a finite number
    TOO_LONG = "too-long"  # longer than ``max_record_bytes``
    INDEX = "index"  # libSVM: an index that is not an integer >= 0, or not ascending
    TYPE = "type"  # a value that can't be a feature, such as a list
    FIELDS = "fields"  # a new feature where there is the maximum number already
    NEW_COLUMN = "new-column"  # a new feature where that is not allowed
    MISSING_COLUMN = "missing-column"  # a known feature is absent where that is not allowed
    WEIGHT = "weight"  # the weight of the sample is missing, negative or too large
    MESSAGE = "message"  # a message of a broker that can't be decoded, or has no value
    GAP = "gap"  # not a record: a followed file was cut or replaced, and data is lost


RULES = {
    Reason.NUMBER: "which is not a number",
    Reason.NOT_FINITE: "which is not a finite number",
    Reason.TIME: "which is not a date or time, nor a number of seconds since 1970",
    Reason.TYPE: "which is not a number, text, Boolean or time",
    Reason.TARGET_NUMBER: "which is not a finite number, as the target of a regression must be",
}

TEXT_RULE = "which is a text where the first values are numbers"
OVERRIDES = {Reason.NUMBER: "--kind {}=number", Reason.TARGET_NUMBER: "--task regression"}

THOUSANDS_OPTION = "--thousands (or source.thousands), the separator of thousands,"

DATE_ORDER_RULE = "which is not a date or time in the order of its kind, day_first or month_first"


class Rejection(NamedTuple):
    """Why a record is rejected: a code and a sentence."""

    reason: Reason
    detail: str

    @classmethod
    def for_value(cls, reason: Reason, column: str, value: object) -> Rejection:
        """Reject a record because of one value."""
        if reason is Reason.TARGET_MISSING:
            given = value is not None and not (isinstance(value, str) and not value)
            why = f": {shorten(value)} stands for a missing value" if given else ""
            return cls(reason, f"the target {column!r} is missing{why}")
        rule = RULES[reason]
        if reason in OVERRIDES and isinstance(value, str):
            text = value.strip(WHITESPACE)
            if _is_finite(text):
                rule = f"{TEXT_RULE}: {OVERRIDES[reason].format(column)} reads it as a number"
            elif find_marked_number((text,)) is not None and parse_marked_number(text) is None:
                rule = (
                    f"which has two readings as a number: {THOUSANDS_OPTION} tells which is meant"
                )
        if reason is Reason.TIME and isinstance(value, str) and is_any_time(value.strip()):
            rule = DATE_ORDER_RULE
        return cls(reason, f"column {column!r} has {shorten(value)}, {rule}")

    def letter(self, source: str, mark: np.ndarray, raw: str | bytes) -> DeadLetter:
        """The dead letter of the record that starts at ``mark`` (offset, record, line)."""
        line = int(mark[2]) or None
        text = decode_record(raw) if isinstance(raw, bytes) else raw[:MAX_RAW_CHARACTERS]
        exact = None
        if isinstance(raw, bytes) and REPLACED in text and not raw.startswith(text.encode()):
            exact = b64encode(raw[:MAX_RAW_BYTES]).decode()
        return DeadLetter(source, int(mark[0]), line, str(self.reason), self.detail, text, exact)


def _is_finite(text: str) -> bool:
    """Whether a text is a finite number, so that only its type is wrong."""
    return is_number(text) and math.isfinite(float(text))


def shorten(value: object) -> str:
    """A value in quotes for a message, cut to a readable length."""
    text = decode_record(value) if isinstance(value, bytes) else to_text(value)
    if len(text) > MAX_SHOWN_CHARACTERS:
        text = f"{text[:MAX_SHOWN_CHARACTERS]}..."
    return f"'{text}'"


def to_text(value: object) -> str:
    """A value as text, however deeply it is nested and however large its numbers are."""
    try:
        return str(value)
    except ValueError:  # Python limits integers to 4,300 digits
        digits = "an integer of too many digits"
        return digits if isinstance(value, int) else f"a {type(value).__name__} with {digits}"
    except RecursionError:
        return f"a {type(value).__name__} that is nested too deeply"


def decode_record(raw: bytes) -> str:
    """Decode a record for display: replace what is not UTF-8, and cut the rest."""
    return raw[:MAX_RAW_BYTES].decode("utf-8", "replace")[:MAX_RAW_CHARACTERS]


def make_rejection_block(schema: Schema, end: Position, letter: DeadLetter) -> Block:
    """Make a block without samples that carries one rejected record."""
    return replace(make_empty_block(schema, end), rejected=(letter,))


def make_empty_block(schema: Schema, end: Position) -> Block:
    """Make a block without samples."""
    numbers = np.empty((0, len(schema.numbers)), np.float64)
    words = tuple(np.empty(0, np.object_) for _ in schema.words)
    kind = np.float64 if schema.task is Task.REGRESSION else np.object_
    target = None if schema.target is None else np.empty(0, kind)
    marks = np.array([end[1:]], np.int64)
    return Block(schema, end.source, numbers, words, target, marks)


def drop_rejected(block: Block, letters: Mapping[int, DeadLetter]) -> Block:
    """Remove the rows in ``letters`` from a block; they become its rejected records."""
    if not letters:
        return block
    good = np.ones(len(block), np.bool_)
    good[list(letters)] = False
    rejected = tuple(letters[row] for row in sorted(letters))
    return replace(block.take(np.flatnonzero(good)), rejected=rejected)

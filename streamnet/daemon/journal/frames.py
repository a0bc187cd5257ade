"""Frames, the entries of the journal, and the JSON lines and keys that they hold."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from enum import IntEnum
from typing import Any, NamedTuple, final
from zlib import crc32

import msgspec
import numpy as np

from streamnet.errors import ConfigurationError, DataError, SampleError, StateError
from streamnet.pipeline.rejections import export_dead_letter
from streamnet.samples import (
    Block,
    Change,
    DeadLetter,
    Position,
    Prediction,
    Schema,
    change_from_list,
    change_to_list,
    schema_from_dict,
    schema_to_dict,
)
from streamnet.sources.base import Reason, Rejection
from streamnet.sources.columns import ParseOptions, parse_word
from streamnet.sources.inference import MISSING
from streamnet.sources.text.records import RecordRules, Records, find_records

_HEADER = struct.Struct("<IIIIB3xd")
HEADER_BYTES = _HEADER.size


class FrameKind(IntEnum):
    """What a frame holds."""

    SNAPSHOT = 1  # the state that all frames before it lead to
    SAMPLES = 2  # samples to learn
    PREDICTIONS = 3  # predictions; the body has their samples, then label lines
    LABELS = 4  # labels; the body has label lines
    TIME = 5  # the time, so that old predictions expire; the body has label lines
    MODEL = 6  # a model was published
    FEED = 7  # samples of a feed to learn, and the position after them; see `FeedFrameHead`
    CHANGE = 8  # a change of the classes or the end of a key, as the only line of the body
    FEED_LABELS = 9  # labels of a feed, and the position after them; the body has label lines
    PART = 10  # bytes of a journal in the log that journals share; see `CommitLog`
    SHADOW = 11  # predictions of a shadow, see `Shadows`; all is in the head
    SHADOW_REMOVAL = 12  # a shadow was removed


_KINDS = tuple(map(int, FrameKind))


class Frame(NamedTuple):
    r"""One entry of a journal.

    >>> data = encode_frame(Frame(FrameKind.SAMPLES, b"", b'{"x": 1}\n', 1))
    >>> [(offset, frame.body) for offset, frame in decode_frames(data + data[:-1])]
    [(0, b'{"x": 1}\n')]
    """

    kind: FrameKind
    head: bytes = b""
    body: bytes = b""
    samples: int = 0  # lines in the body: samples to learn, labels of earlier ones, changes
    time: float = 0.0  # when it was committed, in seconds since 1970

    @property
    def size(self) -> int:
        """In bytes."""
        return HEADER_BYTES + len(self.head) + len(self.body)

    @property
    def is_from_feed(self) -> bool:
        """Whether its samples or labels come from a feed."""
        return self.kind in (FrameKind.FEED, FrameKind.FEED_LABELS)


def encode_frame(frame: Frame) -> bytes:
    """Encode a frame."""
    kind, head, body, samples, time = frame
    header = _HEADER.pack(0, len(head), len(body), samples, kind, time)
    check = crc32(body, crc32(head, crc32(header[4:])))
    return b"".join((check.to_bytes(4, "little"), header[4:], head, body))


def decode_frames(data: bytes) -> Iterator[tuple[int, Frame]]:
    """Decode frames with their offsets, up to one that is incomplete or damaged.

    Raises:
        StateError: If a frame was written by a later version.
    """
    at = 0
    while (frame := _decode_frame(data, at)) is not None:
        yield at, frame
        at += frame.size


def read_frame_size(data: bytes) -> int:
    """Size in bytes of the frame at the start of ``data``, which must hold its header."""
    _, head, body, *_ = _HEADER.unpack_from(data)
    return int(HEADER_BYTES + head + body)


def _decode_frame(data: bytes, at: int) -> Frame | None:
    if len(data) < at + HEADER_BYTES:
        return None
    check, head, body, samples, kind, time = _HEADER.unpack_from(data, at)
    end = at + HEADER_BYTES + head + body
    if end > len(data) or crc32(memoryview(data)[at + 4 : end]) != check:
        return None
    if kind not in _KINDS:
        raise StateError(f"a frame has kind {kind}, but this version reads {_KINDS}")
    middle = at + HEADER_BYTES + head
    parts = data[at + HEADER_BYTES : middle], data[middle:end]
    return Frame(FrameKind(kind), *parts, samples, time)


MAX_LINE_BYTES = 1 << 20
MAX_SAMPLE_BYTES = MAX_LINE_BYTES // 2  # of a sample to which a target will be added
_RULES = RecordRules(longest=MAX_LINE_BYTES)
_OPTIONS = ParseOptions(frozenset(MISSING), typed=True)


class SampleLines(NamedTuple):
    """Samples encoded for the journal."""

    data: bytes  # lines with their ends
    samples: int
    unlabeled: int = 0  # samples known to have no target
    rejected: int = 0  # what is known to be no sample


def count_lines(data: bytes) -> SampleLines:
    r"""Count JSON lines, and those that can't be parsed as objects; blank lines don't count.

    Raises:
        ConfigurationError: If a line is too long.

    >>> count_lines(b'{"x": 1}\n\n{"x": 2}\n[3')
    SampleLines(data=b'{"x": 1}\n\n{"x": 2}\n[3\n', samples=3, unlabeled=0, rejected=1)
    """
    data, records = _find_lines(data)
    return SampleLines(data, len(records.begin), rejected=_count_malformed(data, records))


def _find_lines(data: bytes) -> tuple[bytes, Records]:
    """The data with a line end, and its lines."""
    if not data.endswith(b"\n"):
        data += b"\n"
    records = find_records(data, 0, True, _RULES, data.count(b"\n"))
    if records.overlong:
        raise ConfigurationError(
            f"line {records.lines + 1} is longer than {MAX_LINE_BYTES:,} bytes"
        )
    return data, records


class _Object(msgspec.Struct):
    """Any JSON object: parsed to its end, and nothing of it kept."""


_skip_lines = msgspec.json.Decoder(msgspec.Raw).decode_lines
_skip_object = msgspec.json.Decoder(_Object).decode
_PARSE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def _count_malformed(data: bytes, records: Records) -> int:
    """Count records that the reader will reject, since they are not JSON objects in UTF-8."""
    with suppress(*_PARSE_ERRORS):
        data.decode()
        is_one_each = len(_skip_lines(data)) == len(records.begin)
        if is_one_each and (np.frombuffer(data, np.uint8)[records.begin] == ord("{")).all():
            return 0
    spans = zip(records.begin.tolist(), records.end.tolist(), strict=True)
    return sum(not _is_object(data[begin:end]) for begin, end in spans)


def _is_object(line: bytes) -> bool:
    with suppress(*_PARSE_ERRORS):
        line.decode()
        _skip_object(line)
        return True
    return False


def has_target(data: bytes, target: str) -> bool:
    r"""Whether one of some JSON lines is a sample with the target.

    >>> has_target(b'{"x": 1}\n{"y": 2}\n', "y"), has_target(b'{"y": null}\n-\n', "y")
    (True, False)
    """
    for line in data.split(b"\n"):
        with suppress(*_PARSE_ERRORS):
            if not _OPTIONS.is_missing(_decode_sample(line).get(target)):
                return True
    return False


_decode_sample: Callable[[bytes], dict[str, Any]] = msgspec.json.Decoder(dict[str, Any]).decode


def encode_samples(samples: Sequence[Any], target: str) -> SampleLines:
    r"""Encode samples as JSON lines, and count those without a target.

    What is no sample is included and counted: the reader rejects it like any other line, so that it
    is stored and reported.

    Raises:
        SampleError: If a sample can't be encoded as JSON, or is too long.

    >>> encode_samples([{"x": 1, "y": "a"}, {"x": 1}], "y")
    SampleLines(data=b'{"x":1,"y":"a"}\n{"x":1}\n', samples=2, unlabeled=1, rejected=0)
    """
    given = [sample for sample in samples if isinstance(sample, Mapping)]
    unlabeled = sum(_OPTIONS.is_missing(sample.get(target)) for sample in given)
    data = b"".join(_encode_json(number, sample) + b"\n" for number, sample in enumerate(samples))
    if data:
        _find_lines(data)  # none is too long
    return SampleLines(data, len(samples), unlabeled, len(samples) - len(given))


def encode_sample(number: int, sample: Any, target: str) -> str:
    """Encode a sample without its target as JSON, without line end.

    Its number in the request is for errors.

    Raises:
        SampleError: If it can't be encoded as JSON, or is too long.

    >>> encode_sample(0, {"x": 1, "y": "a"}, "y")
    '{"x":1}'
    """
    if not isinstance(sample, Mapping):
        raise SampleError(number, f"it is {sample!r}, but must be an object of names and values")
    line = _encode_json(number, {name: v for name, v in sample.items() if name != target})
    if len(line) > MAX_SAMPLE_BYTES:
        rule = f"must have <= {MAX_SAMPLE_BYTES:,}"
        raise SampleError(number, f"it has {len(line):,} bytes, but {rule}")
    return line.decode()


def _encode_json(number: int, sample: Any) -> bytes:
    try:
        return msgspec.json.encode(sample)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise SampleError(number, f"it can't be encoded as JSON: {error}") from error


_ENCODER = msgspec.json.Encoder()
_MAX_RAW_CHARS = 4096  # kept of a sample that is too long


@final
class LabelLine(msgspec.Struct, array_like=True):
    """A line of a journal: the label of an earlier sample.

    Without a label the sample is forgotten: its prediction has expired.
    """

    record: int  # number of the sample's line in the journal
    label: str | int | float | bool | None = None
    # What the caller got: a number, or a label and the probabilities of all; None without.
    value: str | float | None = None
    probabilities: dict[str, float] | None = None
    interval: list[Any] | None = None  # as in `Prediction`
    weight: float | None = None  # of the sample, in place of its own

    @property
    def answer(self) -> Any:
        """The prediction, as in `Arrivals`."""
        is_number = self.value is None or self.probabilities is None
        return self.value if is_number else (self.value, self.probabilities)


def encode_labels(lines: Sequence[LabelLine]) -> bytes:
    r"""Encode label lines.

    >>> encode_labels([LabelLine(3, "a", "b", {"b": 1.0}), LabelLine(4)])
    b'[3,"a","b",{"b":1.0},null,null]\n[4,null,null,null,null,null]\n'
    """
    return b"".join(_ENCODER.encode(line) + b"\n" for line in lines)


decode_label: Callable[[bytes], LabelLine] = msgspec.json.Decoder(LabelLine).decode


def parse_label(name: str, value: Any) -> str:
    """Parse the label of a class as the encoder knows it.

    Raises:
        ConfigurationError: If it is none.

    >>> parse_label("label", 7.0), parse_label("label", "on")
    ('7', 'on')
    """
    label = parse_word(value, _OPTIONS)
    if label is None or isinstance(label, Reason):
        raise ConfigurationError(f"{name} is {value!r}, but must be a label")
    return label


def build_change_frame(change: Change) -> Frame:
    """Build a frame of a change of the classes, or of the end of a key.

    >>> decode_change(build_change_frame(change_from_list(["forgotten", "d7"])).body)
    KeyRemoval(key='d7')
    """
    return Frame(FrameKind.CHANGE, b"", _ENCODER.encode(change_to_list(change)) + b"\n", 1)


def decode_change(line: bytes) -> Change:
    """The change of `build_change_frame`."""
    return change_from_list(msgspec.json.decode(line))


class _PredictionsHead(msgspec.Struct):
    label_bytes: int


class Requests(msgspec.Struct):
    """What the head of a frame of predictions says of each sample."""

    ids: list[str]
    predictions: list[Prediction]


decode_requests: Callable[[bytes], Requests] = msgspec.json.Decoder(Requests).decode
_LABEL_KINDS = (FrameKind.LABELS, FrameKind.TIME, FrameKind.FEED_LABELS)
_decode_predictions_head = msgspec.json.Decoder(_PredictionsHead).decode


def find_label_lines(frame: Frame) -> int:
    """Offset in the body of a frame of its first label line; its size if there is none."""
    if frame.kind is FrameKind.PREDICTIONS:
        return len(frame.body) - _decode_predictions_head(frame.head).label_bytes
    return 0 if frame.kind in _LABEL_KINDS else len(frame.body)


@final
class FeedPosition(NamedTuple):
    """How far a feed is in the journal."""

    position: Position  # in its files or stream, after the last record
    state: dict[str, Any]  # of the source at that position
    limit: dict[str, Any]  # state of the `RejectionLimit` there
    records: int = 0  # including rejected ones

    def advance(self, head: FeedFrameHead, records: int) -> FeedPosition:
        """The position after a frame of so many records."""
        state = {name: self.state[name] for name in head.kept} | head.state
        return FeedPosition(head.position, state, head.limit, self.records + records)


FEED_START = FeedPosition(Position("", 0, 0), {}, {})
"""The position of a feed of which nothing is in the journal."""


def encode_feeds(feeds: Mapping[str, FeedPosition]) -> bytes:
    """Encode positions of feeds, whose files may have names that are not UTF-8."""
    return _encode_plain({name: list(feed) for name, feed in feeds.items()})


def decode_feeds(data: bytes) -> dict[str, FeedPosition]:
    """Decode positions of feeds."""
    return {
        name: FeedPosition(Position(*position), *others)
        for name, (position, *others) in json.loads(data).items()
    }


@final
class FeedFrameHead(NamedTuple):
    """Head of a frame of samples, or of labels, from a feed."""

    feed: str
    position: Position  # in the files or the stream, after the last record
    state: dict[str, Any]  # entries of the source's state there that differ from those before
    kept: Sequence[str]  # names of the entries that are as before
    limit: dict[str, Any]  # state of the `RejectionLimit` there
    schema: Schema | None  # of the samples; None: as in the frame before, or of labels
    letters: Sequence[int]  # offsets in the body of rejected records
    scored: bool = True  # False: learned only, since it is a repeated epoch
    time: float = 0.0  # when labels arrived
    labels: Sequence[tuple[Any, ...]] = ()  # each a `SentLabel`, joined or not

    def encode(self) -> bytes:
        """Encode by the standard library's `json`, which allows a file name that is not UTF-8."""
        schema = None if self.schema is None else schema_to_dict(self.schema)
        return _encode_plain(self._asdict() | {"schema": schema})

    @classmethod
    def decode(cls, head: bytes) -> FeedFrameHead:
        """Decode a head."""
        values = json.loads(head)
        schema = values["schema"]
        return cls(
            **values
            | {
                "position": Position(*values["position"]),
                "schema": None if schema is None else schema_from_dict(schema),
            }
        )

    @classmethod
    def build(
        cls,
        feed: str,
        block: Block,
        state: Mapping[str, Any],
        limit: dict[str, Any],
        before: Mapping[str, Any],
    ) -> FeedFrameHead:
        """Build the head of a block without its schema.

        Args:
            feed: Name of the feed.
            block: What was read.
            state: State of the source after it.
            limit: State of the limit of rejected records after it.
            before: State of the source in the frame before.
        """
        kept = [name for name in state if name in before and before[name] == state[name]]
        changed = {name: value for name, value in state.items() if name not in kept}
        return cls(feed, block.end, changed, kept, limit, None, (), block.scored)


def _encode_plain(values: Any) -> bytes:
    return json.dumps(values, separators=(",", ":")).encode()


def build_feed_frame(block: Block, head: FeedFrameHead) -> Frame:
    """Build a frame of the samples of a block; their schema is that of the block, or as before."""
    if block.sparse is not None:
        raise DataError(
            f"{block.source} is libSVM, whose inputs have no names that samples sent over HTTP "
            "could use: convert it to CSV or JSON lines"
        )
    body, letters, size = [], [], 0
    for line, is_letter in _merge_records(block):
        if is_letter:
            letters.append(size)
        body.append(line + b"\n")
        size += len(line) + 1
    data = head._replace(letters=letters).encode()
    return Frame(FrameKind.FEED, data, b"".join(body), len(body))


def build_feed_labels_frame(
    lines: Sequence[LabelLine], rejected: Sequence[DeadLetter], head: FeedFrameHead
) -> Frame:
    """Build a frame of labels that were joined, and of rejected records."""
    body, letters = [encode_labels(lines)], []
    for letter in rejected:
        letters.append(sum(map(len, body)))
        body.append(_encode_dead_letter(letter) + b"\n")
    data = head._replace(letters=letters).encode()
    return Frame(FrameKind.FEED_LABELS, data, b"".join(body), len(lines) + len(rejected))


def decode_dead_letter(data: bytes, at: int) -> DeadLetter:
    """Decode the rejected record in the line at an offset."""
    return DeadLetter(*json.loads(data[at : data.index(b"\n", at)]))


def _merge_records(block: Block) -> Iterator[tuple[bytes, bool]]:
    """Iterate over the lines, each with whether it is a rejected record."""
    letters = list(zip(block.places().tolist(), block.rejected, strict=True))[::-1]
    for row, line in enumerate(_iterate_lines(block)):
        while letters and letters[-1][0] <= row:
            yield _encode_dead_letter(letters.pop()[1]), True
        if len(line) < MAX_LINE_BYTES:
            yield line, False
        else:
            yield _encode_dead_letter(_reject_too_long(block, row, line)), True
    while letters:
        yield _encode_dead_letter(letters.pop()[1]), True


def _iterate_lines(block: Block) -> Iterator[bytes]:
    schema = block.schema
    names = [*schema.numbers, *schema.words, str(schema.target)]
    assert block.target is not None
    columns = [*block.numbers.T, *block.words, block.target]
    rows = zip(*(column.tolist() for column in columns), strict=True)
    # A missing number is NaN, which is encoded as null.
    return (_ENCODER.encode(dict(zip(names, row, strict=True))) for row in rows)


def _reject_too_long(block: Block, row: int, line: bytes) -> DeadLetter:
    detail = f"as a JSON line it has {len(line):,} bytes, but must have < {MAX_LINE_BYTES:,}"
    text = line[:_MAX_RAW_CHARS].decode("utf-8", "replace")
    return Rejection(Reason.TOO_LONG, detail).letter(block.source, block.marks[row], text)


def _encode_dead_letter(letter: DeadLetter) -> bytes:
    return json.dumps(export_dead_letter(letter)).encode()


_SEPARATOR = "\n"  # in no sender's key, whose characters are all visible


def build_part_key(key: str, number: int) -> str:
    """Build the key of a part of a stream that was sent with a key."""
    return f"{key}{_SEPARATOR}{number}"


def strip_part(key: str) -> str:
    r"""The sender's key of a part's key.

    >>> strip_part("monday\n0")
    'monday'
    """
    return key.partition(_SEPARATOR)[0]

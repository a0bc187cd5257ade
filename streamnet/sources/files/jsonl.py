"""JSON Lines: one JSON object per line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, final

from msgspec import DecodeError, ValidationError
from msgspec.json import Decoder, Encoder

from streamnet.errors import DataError
from streamnet.samples import Block, Schema
from streamnet.sources.base import Reason, Rejection, shorten
from streamnet.sources.files.detection import TextFileFormat, TextOptions
from streamnet.sources.mappings import MappingConverter
from streamnet.sources.text.records import Chunk, Head, RecordRules, TextFormat

MAX_RECORDS = 1 << 20  # more than a chunk has
MIN_RECORDS = 16
NOT_AN_OBJECT = Rejection(Reason.JSON, "the line is JSON, but not an object")
_decode = Decoder().decode
_encode = Encoder(enc_hook=str, decimal_format="number").encode


@final
class JsonLinesFormat(TextFormat):
    """One JSON object per line, with features and target by name, in any order.

    An absent name is a missing value. A name whose first value comes after the head extends the
    schema at that sample; if there are `Columns.most_fields` features already, the line is
    rejected. If the schema was given, as for predictions of a model, unknown names are ignored.

    >>> from streamnet.sources.columns import Columns
    >>> head = Head("f.jsonl", b'{"age": 39, "income": "low"}', 0, True)
    >>> JsonLinesFormat(TextOptions(Columns(target="income"))).infer_schema(head).numbers
    ('age',)
    """

    name = "jsonl"

    def __init__(self, options: TextOptions) -> None:
        self._columns = options.columns
        self._rules = RecordRules(longest=options.max_record_bytes)
        self._objects = MappingConverter(options.columns, typed=True)
        self._most = MAX_RECORDS  # records decoded at once

    @property
    def rules(self) -> RecordRules:
        """A record is a line."""
        return self._rules

    def infer_schema(self, head: Head) -> Schema:
        """Infer names, kinds and the task from the head of the first file."""
        lines = head.lines(self._rules, self._columns.head)
        if not lines:
            raise head.make_empty_error(self._rules)
        found = [one for one in map(decode_object, lines) if isinstance(one, dict)]
        first = lines[0].strip()
        # An array on its own line among objects is just a bad record.
        if first.startswith(b"[") and not (any(found) and decode_object(first) == NOT_AN_OBJECT):
            raise DataError(
                f"{head.file} is a JSON array, but must have one JSON object per line"
                " (jq -c '.[]' converts it)"
            )
        if not any(found):
            raise self._make_no_object_error(head, first)
        return self._objects.infer(head.file, found)

    def export_state(self) -> dict[str, Any]:
        """Names without a value so far."""
        return self._objects.export_state()

    def restore_state(self, state: Mapping[str, Any], schema: Schema) -> None:
        """Restore the known names."""
        self._objects.restore_state(state, schema)

    def read(self, chunk: Chunk) -> tuple[Block, int]:
        """Convert the records of a chunk, up to the next one with a new name."""
        # If new names appear all the time, only few records are decoded twice.
        chunk = chunk.first(min(len(chunk), self._most))
        good = chunk.good().tolist()
        found = [decode_object(chunk.raw(row)) if ok else None for row, ok in enumerate(good)]
        rows = self._objects.convert(found)
        self._most = max(2 * rows.used, MIN_RECORDS)
        return chunk.first(rows.used).block(rows), rows.used

    def _make_no_object_error(self, head: Head, line: bytes) -> DataError:
        """The error for a file without an object in its first lines, such as this one."""
        if line.startswith(b"{") and not line.endswith(b"}"):
            return DataError(
                f"{head.file} has JSON over several lines, but must have one object per line"
                " (jq -c . converts it)"
            )
        found = decode_object(line)
        why = found.detail if isinstance(found, Rejection) else "the object is empty"
        return DataError(
            f"{head.file} has no JSON object in its first lines: "
            f"line {1 + int(head.records(self._rules, 1).line[0])} has {shorten(line)}: {why}"
        )


def decode_object(line: bytes) -> dict[str, Any] | Rejection:
    """Decode a JSON object, or say why it is none."""
    try:
        found = _decode(line)
    except ValidationError as error:  # only numbers can be out of range
        return Rejection(Reason.NOT_FINITE, f"a number is too large ({error})")
    except DecodeError as error:
        return Rejection(Reason.JSON, str(error))
    except RecursionError:
        return Rejection(Reason.JSON, "the JSON is nested too deeply")
    except UnicodeDecodeError:
        return Rejection(Reason.JSON, "a text in the JSON is not Unicode")
    return found if isinstance(found, dict) else NOT_AN_OBJECT


def encode_record(record: Mapping[str, Any]) -> bytes:
    """A record of typed values as a line of JSON without its end.

    >>> encode_record({"x": math.inf, "n": Decimal("1.50"), "t": timedelta(minutes=1)})
    b'{"x":"inf","n":1.50,"t":60.0}'
    """
    return _encode({name: _to_json_value(value) for name, value in record.items()})


def _to_json_value(value: Any) -> Any:
    """Durations in seconds, and infinity as a text, which is rejected where a number is needed.

    JSON itself would make infinity a missing value.
    """
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes | memoryview):
        return bytes(value).decode("utf-8", "replace")
    is_infinite = isinstance(value, float | Decimal) and math.isinf(value)
    return str(value) if is_infinite else value


def _matches(line: bytes) -> bool:
    return line.removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"{", b"["))


JSONL = TextFileFormat("jsonl", (".jsonl", ".ndjson", ".json"), JsonLinesFormat, _matches)
FORMATS = (JSONL,)

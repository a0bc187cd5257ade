"""JSON Lines: one JSON object per line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
from msgspec import DecodeError, ValidationError
from msgspec.json import Decoder
from numpy.typing import NDArray

from streamnet.errors import DataError, SchemaError
from streamnet.samples import Block, Kind, Schema
from streamnet.sources.base import Reason, Rejection, shorten
from streamnet.sources.files.detection import TextFileFormat, TextOptions
from streamnet.sources.inference import WHITESPACE, are_ids, infer_kind
from streamnet.sources.number_styles import infer_target
from streamnet.sources.rows import ConvertedRows, Problems, RowConverter
from streamnet.sources.text.records import Chunk, Head, RecordRules, TextFormat
from streamnet.sources.text.schema import warn_of_misread_columns

MAX_RECORDS = 1 << 20  # more than a chunk has
MIN_RECORDS = 16
SCALARS = (int, float, str, bool)
NOT_AN_OBJECT = Rejection(Reason.JSON, "the line is JSON, but not an object")


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
        self._options = self._columns.parse_options(typed=True)
        self._rules = RecordRules(longest=options.max_record_bytes)
        self._decode = Decoder().decode
        self._conversion: RowConverter
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
        values: dict[str, list[Any]] = {}
        for sample in map(self._decode_object, lines):
            if isinstance(sample, dict):
                self._collect(sample, values)
        first = lines[0].strip()
        # An array on its own line among objects is just a bad record.
        if first.startswith(b"[") and not (values and self._decode_object(first) == NOT_AN_OBJECT):
            raise DataError(
                f"{head.file} is a JSON array, but must have one JSON object per line"
                " (jq -c '.[]' converts it)"
            )
        if not values:
            raise self._make_no_object_error(head, first)
        schema = self._build_schema(head.file, values)
        most = self._columns.most_fields
        if self._columns.grows and len(schema.fields) > most:
            raise SchemaError(
                f"{head.file} has {len(schema.fields)} names in its first lines, but there may be "
                f"{most} features (most_fields)"
            )
        known = (schema.target, *schema.numbers, *schema.words, *self._columns.drop)
        undecided = sorted(values.keys() - set(known)) if self._columns.schema is None else []
        self.restore_state({"undecided": undecided}, schema)
        return schema

    def export_state(self) -> dict[str, Any]:
        """Names without a value so far."""
        undecided = sorted(self._conversion.undecided)
        return {"undecided": undecided} if undecided else {}

    def restore_state(self, state: Mapping[str, Any], schema: Schema) -> None:
        """Restore the known names."""
        undecided = state.get("undecided", ())
        self._conversion = RowConverter(self._columns, self._options, undecided)
        self._conversion.schema = schema

    def read(self, chunk: Chunk) -> tuple[Block, int]:
        """Convert the records of a chunk, up to the next one with a new name."""
        # If new names appear all the time, only few records are decoded twice.
        chunk = chunk.first(min(len(chunk), self._most))
        samples = []
        at = []  # their indices among the records
        problems: Problems = {}
        for row, good in enumerate(chunk.good().tolist()):
            if good:
                found = self._decode_object(chunk.raw(row))
                if isinstance(found, dict):
                    samples.append(found)
                    at.append(row)
                else:
                    problems[row] = -1, found
        rows = self._conversion.convert(samples)
        used = len(chunk) if rows.used == len(samples) else at[rows.used]
        self._most = max(2 * used, MIN_RECORDS)
        problems = {row: problem for row, problem in problems.items() if row < used}
        problems.update((at[row], problem) for row, problem in rows.problems.items())
        rows = _spread(rows, at[: rows.used], used)._replace(problems=problems)
        return chunk.first(used).block(rows), used

    def _decode_object(self, line: bytes) -> dict[str, Any] | Rejection:
        try:
            found = self._decode(line)
        except ValidationError as error:  # only numbers can be out of range
            return Rejection(Reason.NOT_FINITE, f"a number is too large ({error})")
        except DecodeError as error:
            return Rejection(Reason.JSON, str(error))
        except RecursionError:
            return Rejection(Reason.JSON, "the JSON is nested too deeply")
        except UnicodeDecodeError:
            return Rejection(Reason.JSON, "a text in the JSON is not Unicode")
        return found if isinstance(found, dict) else NOT_AN_OBJECT

    def _make_no_object_error(self, head: Head, line: bytes) -> DataError:
        """The error for a file without an object in its first lines, such as this one."""
        if line.startswith(b"{") and not line.endswith(b"}"):
            return DataError(
                f"{head.file} has JSON over several lines, but must have one object per line"
                " (jq -c . converts it)"
            )
        found = self._decode_object(line)
        why = found.detail if isinstance(found, Rejection) else "the object is empty"
        return DataError(
            f"{head.file} has no JSON object in its first lines: "
            f"line {1 + int(head.records(self._rules, 1).line[0])} has {shorten(line)}: {why}"
        )

    def _collect(self, sample: dict[str, Any], values: dict[str, list[Any]]) -> None:
        for name, value in sample.items():
            known = values.setdefault(name, [])
            if isinstance(value, SCALARS) and not self._options.is_missing(value):
                known.append(value.strip(WHITESPACE) if isinstance(value, str) else value)

    def _build_schema(self, file: str, values: dict[str, list[Any]]) -> Schema:
        found: dict[str, list[str]] = {}

        def known(name: str) -> list[Any]:
            """The values of a column; those that are all texts may cause warnings."""
            if all(isinstance(value, str) for value in values[name]):
                found[name] = values[name]
            return values[name]

        def kind(name: str) -> Kind | None:
            """The kind of a column by its values."""
            found = infer_kind(known(name), typed=True)
            return Kind.ID if found is Kind.NUMBER and are_ids(values[name]) else found

        target = str(self._columns.target)
        schema = self._columns.build_schema(
            file,
            list(values),
            kind,
            lambda: infer_target(file, target, known(target), typed=True)[0],
            sparse=True,
        )
        warn_of_misread_columns(file, schema, found, self._columns.missing, typed=True)
        return schema


def _spread(rows: ConvertedRows, at: Sequence[int], count: int) -> ConvertedRows:
    """Put the rows at these indices among ``count`` rows; the others are meaningless."""
    if len(at) == count:
        return rows

    def spread(array: NDArray[Any]) -> NDArray[Any]:
        wide = np.zeros((count, *array.shape[1:]), array.dtype)
        wide[np.array(at, np.intp)] = array
        return wide

    target = None if rows.target is None else spread(rows.target)
    numbers, words = spread(rows.numbers), tuple(map(spread, rows.words))
    return rows._replace(used=count, numbers=numbers, words=words, target=target)


def _matches(line: bytes) -> bool:
    return line.removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"{", b"["))


JSONL = TextFileFormat("jsonl", (".jsonl", ".ndjson", ".json"), JsonLinesFormat, _matches)
FORMATS = (JSONL,)

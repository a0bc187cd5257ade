"""Columns that are in the paths of files, as in ``year=2026/region=eu/part.parquet``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, final
from urllib.parse import unquote

import numpy as np
from msgspec.structs import replace as replace_block

from streamnet.errors import ConfigurationError
from streamnet.samples import (
    NUMERIC,
    TIMES,
    Block,
    Field,
    Kind,
    Position,
    Schema,
    schema_from_dict,
    schema_to_dict,
)
from streamnet.sources.base import Source
from streamnet.sources.columns import Columns
from streamnet.sources.inference import infer_kind, is_number, number_to_seconds, parse_seconds
from streamnet.sources.wrappers import SourceWrapper

_MISSING = "__HIVE_DEFAULT_PARTITION__"  # written where a column has no value


def parse_partitions(path: str, root: str) -> dict[str, str]:
    """The columns in a path below a folder, and their values.

    >>> parse_partitions("sales/year=2026/region=a%2Fb/x.csv", "sales")
    {'year': '2026', 'region': 'a/b'}
    """
    if not path.startswith(root):
        return {}
    folders = path[len(root) :].split("/")[:-1]
    pairs = (folder.partition("=") for folder in folders if "=" in folder)
    return {unquote(name): unquote(value) for name, _, value in pairs if name}


@final
class PartitionedSource(SourceWrapper):
    """A source of files with the columns that are in their paths, in front of those in the files.

    A column that is in the files, too, is taken from there. The kinds follow from the values in
    all paths that are known when reading starts.

    Args:
        make: Makes the source of the files, given the columns that are in them.
        columns: Which columns are used, and as what.
        values: Values of each column in the paths.
        root: Folder below which the columns are.
    """

    def __init__(
        self,
        make: Callable[[Columns], Source],
        columns: Columns,
        values: Mapping[str, Sequence[str]],
        root: str,
    ) -> None:
        names = values.keys()
        for setting in ("target", "weight"):
            name = getattr(columns, setting)
            if name in names:
                raise ConfigurationError(
                    f"{setting} is {name!r}, which is in the paths of the files, but must be a "
                    "column in them"
                )
        super().__init__(make(_leave_out(columns, tuple(names))))
        self._root = root
        self._fields = _find_fields(columns, values)
        self._inner: Schema | None = None  # of the last block, and with the columns in the paths
        self._schema = Schema(self._fields)
        self._made: dict[str, list[Any]] = {}  # values of the last file

    async def open(self, after: Position | None = None) -> Schema:
        """Open the source."""
        return self._extend(await self._source.open(after))

    async def receive(self) -> Block | None:
        """The next samples with the columns in the path of their file."""
        block = await self._source.receive()
        if block is None:
            return None
        schema = self._extend(block.schema)
        if block.source not in self._made:
            found = parse_partitions(block.source, self._root)
            self._made = {
                block.source: [_convert(found.get(name), kind) for name, kind in self._fields]
            }
        rows = len(block)
        numbers, words = [], []
        for (_, kind), value in zip(self._fields, self._made[block.source], strict=True):
            if kind in NUMERIC:
                numbers.append(np.full((rows, 1), value))
            else:
                words.append(np.full(rows, value, np.object_))
        return replace_block(
            block,
            schema=schema,
            numbers=np.hstack((*numbers, block.numbers)),
            words=(*words, *block.words),
        )

    def export_state(self, after: Position | None) -> dict[str, Any]:
        """The state of the source, with the columns in the paths in its schema."""
        state = self._source.export_state(after)
        if "schema" not in state:
            return state
        fields = [[name, str(kind)] for name, kind in self._fields]
        return {**state, "schema": schema_to_dict(self._schema), "partitions": fields}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Restore the columns in the paths."""
        if "schema" not in state:
            self._source.restore_state(state)
            return
        fields = state.get("partitions", ())
        self._fields = tuple(Field(name, Kind(kind)) for name, kind in fields)
        whole = schema_from_dict(state["schema"])
        inner = Schema(whole.fields[len(self._fields) :], whole.target, whole.task)
        self._source.restore_state({**state, "schema": schema_to_dict(inner)})

    def _extend(self, inner: Schema) -> Schema:
        if inner is not self._inner:
            if self._inner is None:
                own = {field.name for field in inner.fields}
                self._fields = tuple(field for field in self._fields if field.name not in own)
            self._inner = inner
            self._schema = Schema((*self._fields, *inner.fields), inner.target, inner.task)
        return self._schema


def _leave_out(columns: Columns, names: tuple[str, ...]) -> Columns:
    """Columns without those in the paths."""
    check, schema = columns.check, columns.schema
    if schema is not None:
        fields = tuple(field for field in schema.fields if field.name not in names)
        schema = Schema(fields, schema.target, schema.task)
    return replace(
        columns,
        drop=tuple(name for name in columns.drop if name not in names),
        kinds={name: kind for name, kind in columns.kinds.items() if name not in names},
        schema=schema,
        check=None if check is None else lambda found, file: check((*names, *found), file),
    )


def _find_fields(columns: Columns, values: Mapping[str, Sequence[str]]) -> tuple[Field, ...]:
    """The columns in the paths that are used, with their kinds."""
    if columns.schema is not None:
        return tuple(field for field in columns.schema.fields if field.name in values)
    fields = []
    for name, found in values.items():
        known = [value for value in found if value not in (_MISSING, *columns.missing)]
        kind = columns.kinds.get(name) or columns.known.get(name) or infer_kind(known)
        if name not in columns.drop:
            fields.append(Field(name, kind or Kind.CATEGORY))
    return tuple(fields)


def _convert(text: str | None, kind: Kind) -> Any:
    """A value in a path as one of a block."""
    missing = text is None or text in ("", _MISSING)
    if kind not in NUMERIC:
        return None if missing else text
    if text is None or missing:
        return math.nan
    if kind not in TIMES:
        return float(text) if is_number(text) else math.nan
    if is_number(text):
        return number_to_seconds(float(text))
    seconds = parse_seconds(text, kind)
    return math.nan if seconds is None else seconds


def collect_partitions(names: Sequence[str], root: str) -> dict[str, list[str]]:
    """The values of each column in the paths of files, which all have the same ones; else none."""
    found = [parse_partitions(name, root) for name in names]
    if not found or any(one.keys() != found[0].keys() for one in found):
        return {}
    return {name: [one[name] for one in found] for name in found[0]}

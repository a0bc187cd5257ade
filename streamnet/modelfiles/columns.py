"""Samples as blocks with the columns that a model knows, and its outputs as labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from threading import local
from typing import Any, final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from streamnet.errors import SampleError, SchemaError
from streamnet.samples import Block, Field, Schema, are_compatible, schema_to_dict
from streamnet.settings.inference import OnUnknown
from streamnet.sources.columns import Columns
from streamnet.sources.frames import to_one_or_more_rows
from streamnet.sources.rows import RowReader
from streamnet.sources.unknown_columns import ColumnCheck


def align_columns(block: Block, fields: Sequence[Field]) -> Block:
    """Return the samples with exactly these fields: others are dropped, absent ones are missing.

    Raises:
        SchemaError: If a column has another kind than the model has learned.
    """
    if block.schema.fields == tuple(fields):
        return block
    schema = Schema(tuple(fields), block.schema.target, block.schema.task)
    kinds = dict(block.schema.fields)
    for name, kind in fields:
        if not are_compatible(kinds.get(name, kind), kind):
            raise SchemaError(
                f"{block.source}: column {name!r} is a {kinds[name]}, but the model learned it as "
                f"a {kind}"
            )
    n = len(block)
    numbers = np.full((n, len(schema.numbers)), np.nan)
    columns = {name: column for column, name in enumerate(schema.numbers)}
    for name, values in zip(block.schema.numbers, block.numbers.T, strict=True):
        if name in columns:
            numbers[:, columns[name]] = values
    by_name = dict(zip(block.schema.words, block.words, strict=True))
    absent = np.full(n, None, object)
    words = tuple(by_name.get(name, absent) for name in schema.words)
    return replace(block, schema=schema, numbers=numbers, words=words)


@final
class ModelSamples:
    """Reads samples as blocks with the columns of a model; any number of threads may.

    Args:
        fields: The columns that the model knows.
        expected: Names of other columns that samples may have.
    """

    def __init__(self, fields: Sequence[Field], expected: Sequence[str]) -> None:
        self._fields, self._expected = tuple(fields), list(expected)
        self._local = local()  # one reader per thread
        self._checks: dict[str, ColumnCheck] = {}  # by policy

    def read(self, samples: Any, on_unknown: OnUnknown) -> list[Block]:
        """Read samples in any form but blocks.

        Raises:
            SampleError: If a value cannot be read, or a sample has no known column, or one that is
                refused.
            SchemaError: If the same is true of the columns of a frame or matrix.
        """
        rows = to_one_or_more_rows(samples, self._fields)
        self._check(on_unknown).samples(samples, rows)
        reader = self._reader()
        first = reader.records
        blocks = list(reader.blocks(rows))
        for rejected in chain.from_iterable(block.rejected for block in blocks):
            raise SampleError(rejected.offset - first, rejected.detail)
        return [align_columns(block, self._fields) for block in blocks]

    def _check(self, policy: OnUnknown) -> ColumnCheck:
        """The check of a policy, which remembers what it has reported."""
        if policy not in self._checks:
            check = ColumnCheck(policy, self._expected)
            check.know(name for name, _ in self._fields)
            self._checks[policy] = check
        return self._checks[policy]

    def _reader(self) -> RowReader:
        """The calling thread's row reader."""
        reader: RowReader | None = getattr(self._local, "reader", None)
        if reader is None:
            reader = RowReader(Columns(kinds=dict(self._fields)), name="samples", closed=True)
            known = schema_to_dict(Schema(self._fields, None, None))
            reader.restore_state({**known, "records": 0})
            self._local.reader = reader
        return reader


def check_columns(model_fields: Sequence[Field], schema: Schema) -> None:
    """Check that a model knows at least one column.

    Raises:
        SchemaError: If it knows none; the message lists those that it knows.
    """
    known = {field.name for field in model_fields}
    if known and known.isdisjoint(field.name for field in schema.fields):
        names = ", ".join(sorted(known)[:10])
        raise SchemaError(f"no column is one that the model knows: {names}")


def name_outputs(
    outputs: NDArray[np.float64],
    classes: Sequence[Any],
    decide: Callable[[NDArray[np.float64]], NDArray[np.intp]],
) -> NDArray[np.object_]:
    """Labels by rows of probabilities, shape=(n,); None where a row is not finite."""
    if not classes:
        return np.full(len(outputs), None, object)
    names: NDArray[np.object_] = np.array([*classes, None], object)[decide(outputs)]
    names[~np.isfinite(outputs).all(axis=1)] = None
    return names

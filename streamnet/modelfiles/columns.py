"""The columns of samples, and those that a model knows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace

from streamnet.errors import SchemaError
from streamnet.samples import Block, Field, Schema, are_compatible


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


def check_columns(model_fields: Sequence[Field], schema: Schema) -> None:
    """Check that a model knows at least one column.

    Raises:
        SchemaError: If it knows none; the message lists those that it knows.
    """
    known = {field.name for field in model_fields}
    if known and known.isdisjoint(field.name for field in schema.fields):
        names = ", ".join(sorted(known)[:10])
        raise SchemaError(f"no column is one that the model knows: {names}")

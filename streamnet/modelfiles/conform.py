"""Blocks of another source in the columns that a model knows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace

from streamnet.errors import SchemaError
from streamnet.samples import Block
from streamnet.samples import Field
from streamnet.samples import Kind
from streamnet.samples import Schema
from streamnet.samples import alike

__all__ = ("check_columns", "conform", "fields_of")


def conform(block: Block, fields: Sequence[Field]) -> Block:
    """The same samples with exactly these fields: others are left out, absent ones are missing.

    Raises:
        SchemaError: If a column is of another kind than the model learned.
    """
    if block.schema.fields == tuple(fields):
        return block
    schema = Schema(tuple(fields), block.schema.target, block.schema.task)
    kinds = dict(block.schema.fields)
    for name, kind in fields:
        if not alike(kinds.get(name, kind), kind):
            raise SchemaError(
                f"{block.source}: column {name!r} is a {kinds[name]}, but the model learned it as "
                f"a {kind}"
            )
    n = len(block)
    given = {name: column for column, name in enumerate(block.schema.numbers)}
    numbers = np.full((n, len(schema.numbers)), np.nan)
    for column, name in enumerate(schema.numbers):
        if name in given:
            numbers[:, column] = block.numbers[:, given[name]]
    said = dict(zip(block.schema.words, block.words, strict=True))
    absent = np.full(n, None, object)
    words = tuple(said.get(name, absent) for name in schema.words)
    return replace(block, schema=schema, numbers=numbers, words=words)


def check_columns(model_fields: Sequence[Field], schema: Schema) -> None:
    """Refuse columns of which a model knows none.

    Raises:
        SchemaError: Naming those that it knows.
    """
    known = {field.name for field in model_fields}
    if known and known.isdisjoint(field.name for field in schema.fields):
        names = ", ".join(sorted(known)[:10])
        raise SchemaError(f"no column is one that the model knows: {names}")


def fields_of(pairs: Sequence[Sequence[str]]) -> tuple[Field, ...]:
    """Fields from the pairs of name and kind that a state holds."""
    return tuple(Field(name, Kind(kind)) for name, kind in pairs)

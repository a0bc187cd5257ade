"""A schema as plain values for JSON, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamnet.samples import Field
from streamnet.samples import Kind
from streamnet.samples import Schema
from streamnet.samples import Task

__all__ = ("plain_schema", "schema_from")


def plain_schema(schema: Schema) -> dict[str, Any]:
    """The schema as plain values.

    >>> plain_schema(Schema((Field("age", Kind.NUMBER),), "income"))
    {'fields': [['age', 'number']], 'target': 'income', 'task': None}
    """
    return {
        "fields": [[name, str(kind)] for name, kind in schema.fields],
        "target": schema.target,
        "task": None if schema.task is None else str(schema.task),
    }


def schema_from(values: Mapping[str, Any]) -> Schema:
    """The schema that `plain_schema` made these values of."""
    fields = tuple(Field(name, Kind(kind)) for name, kind in values["fields"])
    task = None if values["task"] is None else Task(values["task"])
    return Schema(fields, values["target"], task)

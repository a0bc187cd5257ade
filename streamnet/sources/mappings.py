"""Samples that name their values, such as JSON objects: their columns inferred, then converted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import SchemaError
from streamnet.samples import Kind, Schema
from streamnet.sources.base import Rejection
from streamnet.sources.columns import Columns
from streamnet.sources.inference import WHITESPACE, are_ids, infer_kind
from streamnet.sources.number_styles import infer_target
from streamnet.sources.rows import ConvertedRows, Problems, RowConverter
from streamnet.sources.text.schema import warn_of_misread_columns

SCALARS = (int, float, str, bool, Decimal, date)


@final
class MappingConverter:
    """Infers the columns of objects from the first ones, then converts objects to columns.

    An absent name is a missing value. A name whose first value comes after the head extends the
    schema at that sample; if there are `Columns.most_fields` features already, the sample is
    rejected. If the schema was given, as for predictions of a model, unknown names are ignored.
    ``typed``: the format tells numbers from texts, so that a text is never a number.

    >>> objects = MappingConverter(Columns(target="income"), typed=True)
    >>> objects.infer("f.jsonl", [{"age": 39, "income": "low"}]).numbers
    ('age',)
    """

    def __init__(self, columns: Columns, *, typed: bool) -> None:
        self._columns = columns
        self._typed = typed
        self._options = columns.parse_options(typed=typed)
        self._conversion: RowConverter

    @property
    def schema(self) -> Schema:
        """The columns found so far."""
        return self._conversion.schema

    def infer(self, name: str, objects: Iterable[Mapping[str, Any]]) -> Schema:
        """Infer names, kinds and the task from the first objects of a source."""
        values: dict[str, list[Any]] = {}
        for one in objects:
            self._collect(one, values)
        schema = self._build_schema(name, values)
        most = self._columns.most_fields
        if self._columns.grows and len(schema.fields) > most:
            raise SchemaError(
                f"{name} has {len(schema.fields)} names in its first records, but there may be "
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

    def convert(self, objects: Sequence[dict[str, Any] | Rejection | None]) -> ConvertedRows:
        """Convert the first of these objects, up to the next one with a new name.

        At least one is used. In place of an object there may be the reason why a record is not one,
        or None for a record that is rejected anyway.
        """
        samples, at = [], []  # their indices
        problems: Problems = {}
        for row, found in enumerate(objects):
            if isinstance(found, dict):
                samples.append(found)
                at.append(row)
            elif found is not None:
                problems[row] = -1, found
        rows = self._conversion.convert(samples)
        used = len(objects) if rows.used == len(samples) else at[rows.used]
        problems = {row: problem for row, problem in problems.items() if row < used}
        problems.update((at[row], problem) for row, problem in rows.problems.items())
        return _spread(rows, at[: rows.used], used)._replace(problems=problems)

    def _collect(self, sample: Mapping[str, Any], values: dict[str, list[Any]]) -> None:
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
            found = infer_kind(known(name), typed=self._typed)
            if found is Kind.NUMBER and are_ids(values[name]):
                found = Kind.ID
            return self._columns.refine_kind(name, found, values[name])

        target = str(self._columns.target)
        schema = self._columns.build_schema(
            file,
            list(values),
            kind,
            lambda: infer_target(file, target, known(target), typed=self._typed)[0],
            sparse=True,
        )
        warn_of_misread_columns(file, schema, found, self._columns.missing, typed=self._typed)
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

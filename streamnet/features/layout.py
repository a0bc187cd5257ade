"""Which field has which inputs, and which column of a block fills them."""

from __future__ import annotations

from typing import NamedTuple
from typing import final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import SchemaError
from streamnet.features.rows import FIELD_BITS
from streamnet.features.times import CALENDAR_DENSE
from streamnet.features.times import CALENDAR_KEYS
from streamnet.samples import NUMERIC
from streamnet.samples import TIMES
from streamnet.samples import Field
from streamnet.samples import Kind
from streamnet.samples import Schema
from streamnet.samples import alike

__all__ = ("LAG_BASE", "SPARSE_BASE", "Layout", "Place", "Plan", "WordColumn")

SPARSE_BASE = 1 << (FIELD_BITS + 22)  # keys of numbered inputs, beyond those of any field
LAG_BASE = SPARSE_BASE + (1 << (FIELD_BITS + 21))  # keys of earlier targets, beyond both
STANDARDISED = {kind: int(kind in NUMERIC) for kind in Kind} | {Kind.TEXT: 2}
DENSE = {kind: n + CALENDAR_DENSE * (kind in TIMES) for kind, n in STANDARDISED.items()}


class Place(NamedTuple):
    """A known field and where its inputs start."""

    field: Field
    base: int  # first key
    measure: int
    dense: int
    nth: int  # fields of the same kind before it; all times are alike


class WordColumn(NamedTuple):
    """Where a column of words is found and its keys go."""

    source: int  # column in Block.words, -1 if the block lacks it
    nth: int  # of the category or text fields
    key: int  # first key column; texts take as many as they need, after all others
    base: int


class Plan(NamedTuple):
    """How blocks of one schema become inputs; rows of the arrays as the kernels read them."""

    numbers: NDArray[np.int64]  # shape=(number and time fields, 5)
    times: NDArray[np.int64]  # shape=(time fields, 5)
    texts: NDArray[np.int64]  # shape=(2 * text fields, 5)
    categories: tuple[WordColumn, ...]
    words: tuple[WordColumn, ...]
    width: int  # key columns of all fields but texts
    curves: int  # dense inputs that may have more than two values, those of the calendar left out


@final
class Layout:
    """Fields in order of appearance with their inputs; it only ever grows.

    >>> layout = Layout()
    >>> schema = Schema((Field("age", Kind.NUMBER), Field("job", Kind.CATEGORY)))
    >>> [layout.append(field).dense for field in layout.unknown(schema)], layout.dense
    ([0, 1], 1)
    >>> layout.plan(schema).numbers.tolist()
    [[0, 0, 0, 0, 0]]
    """

    def __init__(self) -> None:
        self.places: list[Place] = []
        self.dense = 0
        self.measures = 0
        self._kinds: dict[str, Kind] = {}
        self._counts = dict.fromkeys(Kind, 0)  # fields of each kind

    def unknown(self, schema: Schema) -> list[Field]:
        """The fields of ``schema`` that are new."""
        return [field for field in schema.fields if field.name not in self._kinds]

    def append(self, field: Field) -> Place:
        """Give a new field its inputs, after all others."""
        field = Field(field.name, Kind(field.kind))
        counted = Kind.TIME if field.kind in TIMES else field.kind
        nth = self._counts[counted]
        self._counts[counted] += 1
        base = len(self.places) << FIELD_BITS
        place = Place(field, base, self.measures, self.dense, nth)
        self.places.append(place)
        self._kinds[field.name] = field.kind
        self.measures += STANDARDISED[field.kind]
        self.dense += DENSE[field.kind]
        return place

    def tell(self, schema: Schema) -> None:
        """Take over which of day and month comes first, where a known column of times has told."""
        told = dict(schema.fields)
        for number, place in enumerate(self.places):
            name, kind = place.field
            if kind is Kind.TIME and (kind := told.get(name, kind)) is not Kind.TIME:
                self.places[number] = place._replace(field=Field(name, kind))
                self._kinds[name] = kind

    def field_of(self, dense: int) -> str:
        """Name of the field that has this dense input."""
        return next(place.field.name for place in reversed(self.places) if place.dense <= dense)

    def plan(self, schema: Schema) -> Plan:
        """How a block of ``schema`` fills the inputs; fields it lacks are missing."""
        source = {name: i for i, name in enumerate(schema.numbers)}
        source |= {name: i for i, name in enumerate(schema.words)}
        numbers, times, texts, categories, words = [], [], [], [], []
        measured = [p for p in self.places if p.field.kind in NUMERIC]
        for key, place in enumerate(measured):
            column = source.get(place.field.name, -1)
            numbers.append((column, place.measure, place.dense, key, place.base))
        width = len(numbers)
        for place in (p for p in measured if p.field.kind in TIMES):
            column = source.get(place.field.name, -1)
            times.append((column, place.nth, place.dense + 1, width, place.base))
            width += CALENDAR_KEYS
        for place in (p for p in self.places if p.field.kind is Kind.CATEGORY):
            column = source.get(place.field.name, -1)
            categories.append(WordColumn(column, place.nth, width, place.base))
            width += 1
        for place in (p for p in self.places if p.field.kind is Kind.TEXT):
            column = source.get(place.field.name, -1)
            words.append(WordColumn(column, place.nth, -1, place.base))
            for nth in range(2):
                input_ = place.dense + nth
                texts.append((2 * place.nth + nth, place.measure + nth, input_, -1, place.base))
        arrays = [np.array(rows, np.int64).reshape(-1, 5) for rows in (numbers, times, texts)]
        curves = len(numbers) + len(texts)
        return Plan(arrays[0], arrays[1], arrays[2], tuple(categories), tuple(words), width, curves)

    def check(self, schema: Schema) -> None:
        """Raise `SchemaError` if a field's kind is not the one it had when it first came."""
        for name, kind in schema.fields:
            if not alike(known := self._kinds.get(name, kind), kind):
                raise SchemaError(f"column {name!r} is of kind {kind}, but was {known} before")

"""How full an encoder is: what it has given out of each of its limits."""

from __future__ import annotations

from typing import NamedTuple

from streamnet.features.inputs import InputEncoder
from streamnet.features.rows import SHARED
from streamnet.features.rows import TRUNCATED
from streamnet.samples import Kind

__all__ = ("EncoderStatistics", "statistics_of")


class EncoderStatistics(NamedTuple):
    """How full an encoder is."""

    dense: int  # dense inputs
    rows: int  # rows given out
    max_rows: int
    shared: int  # active entries so far that shared a row, since all had been given out
    truncated: int  # active entries so far that were left out, since a sample had too many
    classes: int
    categories: dict[str, int]  # distinct values by category field
    texts: dict[str, str]  # mode by text field
    dropped: list[str]  # fields of which an input is dropped as a duplicate


def statistics_of(inputs: InputEncoder, *, dense: int, classes: int) -> EncoderStatistics:
    """The statistics of an encoder with these inputs, of which ``dense`` are dense ones."""
    places = [p for p in inputs.layout.places if p.field.kind is Kind.CATEGORY]
    return EncoderStatistics(
        dense=dense,
        rows=len(inputs.rows),
        max_rows=len(inputs.rows.keys),
        shared=int(inputs.rows.counters[SHARED]),
        truncated=int(inputs.rows.counters[TRUNCATED]),
        classes=classes,
        categories={
            place.field.name: len(vocabulary.values_seen)
            for place, vocabulary in zip(places, inputs.vocabularies, strict=True)
        },
        texts={
            place.field.name: str(inputs.texts[place.nth].mode)
            for place in inputs.layout.places
            if place.field.kind is Kind.TEXT
        },
        dropped=inputs.dropped(),
    )

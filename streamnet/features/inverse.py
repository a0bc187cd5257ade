"""The way back: from network inputs to what the columns held, as far as inputs tell."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamnet.features.inputs import InputEncoder
from streamnet.features.layout import Place
from streamnet.features.moments import spread_of
from streamnet.features.numbers import FIRST
from streamnet.features.rows import FIELD_BITS
from streamnet.features.textcolumn import VOCABULARY
from streamnet.samples import NUMERIC
from streamnet.samples import Inputs
from streamnet.samples import Kind
from streamnet.samples import Sample

__all__ = ("Meaning", "meanings_of", "numbers_of", "samples_of")


class Meaning(NamedTuple):
    """What a row stands for."""

    field: str
    value: str | float | None  # None is a missing value


def numbers_of(inputs: InputEncoder, dense: NDArray[np.floating]) -> dict[str, NDArray[np.float64]]:
    """Numbers and times in their columns' units, by name; NaN where none was ever learned."""
    found = {}
    for place in inputs.layout.places:
        if place.field.kind in NUMERIC:
            scaled = dense[:, place.dense].astype(np.float64)
            found[place.field.name] = _in_units(inputs, place.measure, scaled)
    return found


def _in_units(
    inputs: InputEncoder, measure: int, scaled: NDArray[np.float64]
) -> NDArray[np.float64]:
    count, mean, squares, origin, *_ = inputs.measures.moments[measure].tolist()
    if count == 0:
        return np.full(len(scaled), np.nan)
    found = inputs.scales.inverse(measure, scaled)
    return origin + mean + scaled * spread_of(count, mean, squares) if found is None else found


def meanings_of(inputs: InputEncoder) -> list[Meaning | None]:
    """What each row stands for; None for what was hashed, a part of a date, or no field's."""
    places = inputs.layout.places
    found: list[Meaning | None] = []
    for key in inputs.rows.keys[: len(inputs.rows)].tolist():
        field, code = key >> FIELD_BITS, key & ((1 << FIELD_BITS) - 1)
        found.append(_meaning(inputs, places[field], code) if field < len(places) else None)
    return found


def _meaning(inputs: InputEncoder, place: Place, code: int) -> Meaning | None:
    name, kind = place.field
    if code == 0:
        return Meaning(name, None)
    if kind is Kind.NUMBER:
        bits = inputs.measures.tables[place.measure, FIRST + code - 1]
        return Meaning(name, float(bits.view(np.float64)))
    values: list[str] = []
    if kind is Kind.CATEGORY:
        values = inputs.vocabularies[place.nth].values_seen
    elif kind is Kind.TEXT:
        code -= VOCABULARY
        values = inputs.texts[place.nth].vocabulary.values_seen
    return Meaning(name, values[code - 1]) if 0 < code <= len(values) else None


def samples_of(inputs: InputEncoder, encoded: Inputs) -> list[Sample]:
    """Samples as dicts: numbers and times in units, categories and texts of a vocabulary by value.

    A text of several known tokens is these, joined by blanks. What no input tells is absent.
    """
    meanings = meanings_of(inputs)
    numbers = numbers_of(inputs, encoded.dense)
    words = {place.field.name for place in inputs.layout.places if place.field.kind is Kind.TEXT}
    samples: list[Sample] = []
    for i, (row, count) in enumerate(zip(encoded.row, encoded.count.tolist(), strict=True)):
        sample: dict[str, object] = {name: float(column[i]) for name, column in numbers.items()}
        active = [meanings[r] for r in row[: max(count - encoded.lags, 0)].tolist()]
        for field, value in filter(None, active):
            told = sample.get(field)
            joined = field in words and isinstance(told, str)
            sample[field] = f"{told} {value}" if joined else value
        samples.append(sample)
    return samples

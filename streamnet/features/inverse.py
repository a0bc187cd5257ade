"""Inverse transforms: from network inputs, or an auto-encoder's reconstruction, back to samples."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamnet.features.autoencoder.network import Reconstruction
from streamnet.features.columns.number import FIRST_VALUE, MISSING, standard_deviation
from streamnet.features.columns.text import VOCABULARY_BASE
from streamnet.features.inputs import InputEncoder
from streamnet.features.layout import FIELD_BITS, FieldSlot
from streamnet.samples import NUMERIC, Inputs, Kind, Sample

__all__ = (
    "RowMeaning",
    "decode_numbers",
    "decode_reconstruction",
    "decode_rows",
    "decode_samples",
)


class RowMeaning(NamedTuple):
    """What a row stands for."""

    field: str
    value: str | float | None  # None is a missing value


def decode_numbers(
    inputs: InputEncoder, dense: NDArray[np.floating]
) -> dict[str, NDArray[np.float64]]:
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
    return (
        origin + mean + scaled * standard_deviation(count, mean, squares)
        if found is None
        else found
    )


def decode_rows(inputs: InputEncoder) -> list[RowMeaning | None]:
    """What each row stands for; None for what was hashed, a part of a date, or no field's."""
    places = inputs.layout.places
    found: list[RowMeaning | None] = []
    for key in inputs.rows.keys[: len(inputs.rows)].tolist():
        field, code = key >> FIELD_BITS, key & ((1 << FIELD_BITS) - 1)
        found.append(_meaning(inputs, places[field], code) if field < len(places) else None)
    return found


def _meaning(inputs: InputEncoder, place: FieldSlot, code: int) -> RowMeaning | None:
    name, kind = place.field
    if code == 0:
        return RowMeaning(name, None)
    if kind is Kind.NUMBER:
        bits = inputs.measures.tables[place.measure, FIRST_VALUE + code - 1]
        return RowMeaning(name, float(bits.view(np.float64)))
    values: list[str] = []
    if kind is Kind.CATEGORY:
        values = inputs.vocabularies[place.nth].values_seen
    elif kind is Kind.TEXT:
        code -= VOCABULARY_BASE
        values = inputs.texts[place.nth].vocabulary.values_seen
    return RowMeaning(name, values[code - 1]) if 0 < code <= len(values) else None


def decode_samples(inputs: InputEncoder, encoded: Inputs) -> list[Sample]:
    """Samples as dicts: numbers and times in units, categories and texts of a vocabulary by value.

    A text of several known tokens is these, joined by blanks. What no input tells is absent.
    """
    meanings = decode_rows(inputs)
    numbers = decode_numbers(inputs, encoded.dense)
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


def decode_reconstruction(inputs: InputEncoder, restored: Reconstruction) -> list[Sample]:
    """Samples as dicts: numbers in units, times in seconds, of categories the most likely value.

    What is more likely to be missing than not is None. Texts are absent: which words there were
    does not tell their order. So is a category without a value of its own yet.
    """
    columns: dict[str, list[Any]] = {}
    numbers = decode_numbers(inputs, restored.dense)
    keys = inputs.rows.keys[: restored.active.shape[1]]
    for number, place in enumerate(inputs.layout.places):
        of_field = np.flatnonzero(keys >> FIELD_BITS == number)
        codes = keys[of_field] & ((1 << FIELD_BITS) - 1)
        active = restored.active[:, of_field]
        if place.field.kind in NUMERIC:
            missing: NDArray[np.bool_] = np.any(active[:, codes == MISSING] > 0.0, axis=1)
            columns[place.field.name] = _numbers(numbers[place.field.name], missing)
        elif place.field.kind is Kind.CATEGORY:
            columns[place.field.name] = _values(inputs, place, active, codes)
    n = len(restored.dense)
    known = {name: values for name, values in columns.items() if values}
    return [{name: values[i] for name, values in known.items()} for i in range(n)]


def _numbers(numbers: NDArray[np.float64], missing: NDArray[np.bool_]) -> list[float | None]:
    missing = missing | np.isnan(numbers)
    return [None if gone else x for x, gone in zip(numbers.tolist(), missing.tolist(), strict=True)]


def _values(
    inputs: InputEncoder, place: FieldSlot, active: NDArray[np.floating], codes: NDArray[np.int64]
) -> list[str | None]:
    """Of values that share a hashed code none can be told."""
    seen = inputs.vocabularies[place.nth].values_seen
    named = codes <= len(seen)
    if not named.any():
        return []
    values = [None, *seen]
    best = codes[named][active[:, named].argmax(axis=1)]
    return [values[code] for code in best.tolist()]

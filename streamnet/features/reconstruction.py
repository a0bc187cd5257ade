"""The way back from a code: what the columns of a sample would hold."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamnet.features.autoencoder.network import Reconstruction
from streamnet.features.inputs import InputEncoder
from streamnet.features.inverse import numbers_of
from streamnet.features.layout import Place
from streamnet.features.numbers import MISSING
from streamnet.features.rows import FIELD_BITS
from streamnet.samples import NUMERIC
from streamnet.samples import Kind
from streamnet.samples import Sample

__all__ = ("samples_from",)


def samples_from(inputs: InputEncoder, restored: Reconstruction) -> list[Sample]:
    """Samples as dicts: numbers in units, times in seconds, of categories the most likely value.

    What is more likely to be missing than not is None. Texts are absent: which words there were
    does not tell their order. So is a category without a value of its own yet.
    """
    columns: dict[str, list[Any]] = {}
    numbers = numbers_of(inputs, restored.dense)
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
    inputs: InputEncoder, place: Place, active: NDArray[np.floating], codes: NDArray[np.int64]
) -> list[str | None]:
    """Of values that share a hashed code none can be told."""
    seen = inputs.vocabularies[place.nth].values_seen
    named = codes <= len(seen)
    if not named.any():
        return []
    values = [None, *seen]
    best = codes[named][active[:, named].argmax(axis=1)]
    return [values[code] for code in best.tolist()]

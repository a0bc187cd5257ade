"""The JSON model format: one human-readable file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite, isnan
from typing import Any

import numpy as np

from streamnet.errors import ModelFileError
from streamnet.modelfiles.document import Document

_KEYS = (b'"checksum"', b'"format"', b'"version"')


def recognizes(data: bytes) -> bool:
    """Whether a file looks like a JSON document of streamnet."""
    return data[:1] == b"{" and all(key in data for key in _KEYS)


def encode(document: Document) -> bytes:
    """Encode a document as JSON; arrays become their dtype, shape and values in full precision.

    NaN becomes null, and infinity a string.
    """
    return (json.dumps(document, default=_encode_array, allow_nan=False, indent=1) + "\n").encode()


def _encode_array(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{type(value).__name__} can't be kept in a model file")
    values = value.ravel().tolist()
    if not np.isfinite(value).all():
        values = list(map(_encode_float, values))
    return {"dtype": value.dtype.name, "shape": list(value.shape), "values": values}


def _encode_float(number: float) -> float | str | None:
    if isfinite(number):
        return number
    return None if isnan(number) else str(number)


def decode(data: bytes, where: str) -> Document:
    """Decode a document."""
    try:
        document = json.loads(data, object_pairs_hook=_decode_object, parse_constant=_refuse)
    except (ArithmeticError, MemoryError, RecursionError, TypeError, ValueError) as error:
        raise ModelFileError(f"{where} is damaged or no JSON model: {error}") from error
    if not isinstance(document, dict):
        raise ModelFileError(f"{where} is not a streamnet model")
    return document


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not allowed")


def _decode_object(pairs: list[tuple[str, Any]]) -> Any:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError(f"a name appears twice among {', '.join(sorted(values))[:80]}")
    if values.keys() == {"dtype", "shape", "values"}:
        return _decode_array(values)
    return values


def _decode_array(values: Mapping[str, Any]) -> Any:
    if values["dtype"] not in ("float32", "float64", "int32", "int64", "uint8"):
        raise ValueError(f"an array has the type {values['dtype']!r}")
    with np.errstate(over="raise"):
        return np.array(values["values"], values["dtype"]).reshape(values["shape"])

"""A model as one safetensors file: arrays as tensors, the rest as JSON in its metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load
from safetensors.numpy import save

from streamnet.errors import ModelFileError
from streamnet.modelfiles.document import Document

__all__ = ("decode", "encode")

_TENSOR = "tensor:"
_KEY = "streamnet"


def encode(document: Document) -> bytes:
    """A safetensors file; a tensor's name is its path in the document, joined by slashes."""
    tensors = dict(_tensors(document, ""))
    text = json.dumps(_without_arrays(document, ""), allow_nan=False, sort_keys=True)
    return bytes(save(tensors, metadata={_KEY: text}))


def _tensors(value: Any, path: str) -> Iterator[tuple[str, NDArray[Any]]]:
    if isinstance(value, np.ndarray):
        yield path, np.ascontiguousarray(value)
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield from _tensors(part, f"{path}/{name}" if path else name)


def _without_arrays(value: Any, path: str) -> Any:
    if isinstance(value, np.ndarray):
        return _TENSOR + path
    if isinstance(value, Mapping):
        return {
            name: _without_arrays(part, f"{path}/{name}" if path else name)
            for name, part in value.items()
        }
    return value


def decode(data: bytes, where: str) -> Document:
    """The document that ``data`` holds.

    Raises:
        ModelFileError: If it is no safetensors file of ours.
    """
    try:
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        document = json.loads(header["__metadata__"][_KEY])
        tensors = load(data)
        return dict(_with_arrays(document, "", tensors))
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
        raise ModelFileError(f"{where} is damaged or no safetensors model of streamnet") from e


def _with_arrays(value: Any, path: str, tensors: Mapping[str, NDArray[Any]]) -> Any:
    if isinstance(value, str) and value == _TENSOR + path:
        return tensors[path]
    if isinstance(value, dict):
        return {
            name: _with_arrays(part, f"{path}/{name}" if path else name, tensors)
            for name, part in value.items()
        }
    return value

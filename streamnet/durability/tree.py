"""A tree of plain values and arrays as JSON text and raw bytes, and back.

Values are None, booleans, whole numbers, floats (NaN and infinities too), texts, lists, dicts and
numpy arrays of numbers. Tuples come back as lists; numpy's own numbers as Python's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any
from typing import final

import numpy as np
from numpy.typing import NDArray

__all__ = ("Tree", "flatten", "unflatten")

Tree = dict[str, Any]
"""Plain values and arrays by name."""

# In the JSON text a dict with one of these single keys stands for what JSON lacks.
_ARRAY, _FLOAT, _ITEMS = "$array", "$float", "$items"
_KINDS = "biuf"
_PLAIN = frozenset({type(None), bool, int, str})
_ALIGNMENT = 8


def flatten(tree: Tree) -> tuple[bytes, list[NDArray[Any]]]:
    """JSON text of a tree in which numbers stand for arrays, and the arrays by number.

    Raises:
        TypeError: If it holds anything else.
    """
    packer = _Packer()
    text = json.dumps(packer.pack(tree), allow_nan=False, separators=(",", ":"))
    return text.encode(), packer.arrays


def unflatten(text: bytes, body: memoryview) -> Tree:
    """The tree that `flatten` took apart; ``body`` is its arrays one after the other.

    Raises:
        ValueError: If the two are not exactly what a tree was made into.
    """
    unpacker = _Unpacker(body)
    try:
        tree = unpacker.unpack(json.loads(text))
    except (AttributeError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"its header makes no sense: {error}") from error
    if not isinstance(tree, dict) or unpacker.used != len(body):
        raise ValueError("its header and its body do not fit together")
    return tree


@final
class _Packer:
    def __init__(self) -> None:
        self.arrays: list[NDArray[Any]] = []

    def pack(self, value: Any) -> Any:
        kind = type(value)
        if kind in _PLAIN:
            return value
        # By far the most of what is not plain, and asking for less takes longer.
        if kind is float and math.isfinite(value):
            return value
        if kind is dict:
            return self._mapping(value)
        if isinstance(value, int | str):
            # A subclass, as of an enumeration, comes back as what it is made of.
            return _base(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else {_FLOAT: repr(float(value))}
        if isinstance(value, np.generic):
            return self.pack(value.item())
        if isinstance(value, np.ndarray):
            return self._array(value)
        if isinstance(value, Mapping):
            return self._mapping(value)
        if isinstance(value, Iterable) and not isinstance(value, bytes):
            return [entry if type(entry) in _PLAIN else self.pack(entry) for entry in value]
        raise TypeError(f"{type(value).__name__} can't be kept in a checkpoint")

    def _mapping(self, value: Mapping[Any, Any]) -> Any:
        if all(type(name) is str and name[:1] != "$" for name in value):
            return {
                name: entry if type(entry) in _PLAIN else self.pack(entry)
                for name, entry in value.items()
            }
        return {_ITEMS: [[self.pack(name), self.pack(entry)] for name, entry in value.items()]}

    def _array(self, value: NDArray[Any]) -> Any:
        if value.dtype.kind not in _KINDS:
            raise TypeError(f"an array of {value.dtype} can't be kept in a checkpoint")
        little = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
        self.arrays.append(little)
        return {_ARRAY: [little.dtype.str, list(value.shape)]}


def _base(value: Any) -> Any:
    return str.__str__(value) if isinstance(value, str) else int(value)


@final
class _Unpacker:
    def __init__(self, body: memoryview) -> None:
        self.used = 0  # bytes of the body: arrays stand one behind the other, so none overlap
        self._body = body

    def unpack(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.unpack(entry) for entry in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, entry),) = value.items()
            if name == _ARRAY:
                return self._array(*entry)
            if name == _FLOAT:
                return float(entry)
            if name == _ITEMS:
                return {self.unpack(key): self.unpack(item) for key, item in entry}
        return {name: self.unpack(entry) for name, entry in value.items()}

    def _array(self, code: str, shape: list[int]) -> NDArray[Any]:
        dtype = np.dtype(code)
        if dtype.kind not in _KINDS or dtype.str != code or min([*shape, 0]) < 0:
            raise ValueError(f"its header has an array of {code!r} and shape {shape}")
        length = dtype.itemsize * math.prod(shape)
        if self.used + length > len(self._body):
            raise ValueError("its header and its body do not fit together")
        array = np.frombuffer(self._body, dtype, math.prod(shape), self.used).reshape(shape)
        self.used += length + -length % _ALIGNMENT
        return array.astype(dtype.newbyteorder("="), copy=True)

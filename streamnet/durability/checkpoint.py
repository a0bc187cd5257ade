"""Checkpoint: a state dict as one file whose every corruption is detected.

The format, version 1; all numbers little-endian and without sign:

========================  =========================================================
bytes                     content
========================  =========================================================
0 to 7                    ``89 53 4E 45 54 0D 0A 1A``: neither text nor another file
8 to 11                   version of the format: 1
12 to 15                  length H of the header
16 to 23                  length B of the body
24 to 24+H-1              header: JSON text, ASCII
then B bytes              body: the arrays' raw numbers, each padded with zeros to a multiple of 8
the last 32 bytes         SHA-256 of all bytes before
========================  =========================================================

In the header ``{"$array": [dtype, shape]}`` stands for the next array of the body, in the order
of the text; ``{"$float": "nan"}`` (``"inf"``, ``"-inf"``) for what JSON can't write; and
``{"$items": [[key, value], ...]}`` for a dict whose keys are not plain texts. Nothing in a file
is ever executed: no pickle. Values are None, booleans, integers, floats, strings, lists, dicts
and numeric arrays; tuples come back as lists.

The whole may be compressed: a Zstandard frame, and the SHA-256 of its bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from streamnet.durability.files import merge_small_parts

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

StateDict = dict[str, Any]
"""Plain values and arrays by name."""

# In the JSON text a dict with one of these single keys stands for what JSON lacks.
_ARRAY, _FLOAT, _ITEMS = "$array", "$float", "$items"
_DTYPE_KINDS = "biuf"
_PLAIN_TYPES = frozenset({type(None), bool, int, str})
_ARRAY_ALIGNMENT = 8


def flatten(tree: StateDict) -> tuple[bytes, list[NDArray[Any]]]:
    """JSON text of a state dict, and its arrays in the order of the text.

    Raises:
        TypeError: If it has a value that is neither plain nor a numeric array.
    """
    packer = _Packer()
    text = json.dumps(packer.pack(tree), allow_nan=False, separators=(",", ":"))
    return text.encode(), packer.arrays


def unflatten(text: bytes, body: memoryview) -> StateDict:
    """The state dict that was flattened to ``text`` and, in ``body``, its arrays."""
    unpacker = _Unpacker(body)
    try:
        tree = unpacker.unpack(json.loads(text))
    except (AttributeError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"its header is invalid: {error}") from error
    if not isinstance(tree, dict) or unpacker.used != len(body):
        raise ValueError("its header and its body do not fit together")
    return tree


@final
class _Packer:
    def __init__(self) -> None:
        self.arrays: list[NDArray[Any]] = []

    def pack(self, value: Any) -> Any:
        kind = type(value)
        if kind in _PLAIN_TYPES:
            return value
        # The most frequent of the other types, so it is tested first.
        if kind is float and math.isfinite(value):
            return value
        if kind is dict:
            return self._mapping(value)
        if isinstance(value, int | str):
            # A member of an enumeration comes back as its plain value.
            return str.__str__(value) if isinstance(value, str) else int(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else {_FLOAT: repr(float(value))}
        if isinstance(value, np.generic):
            return self.pack(value.item())
        if isinstance(value, np.ndarray):
            return self._array(value)
        if isinstance(value, Mapping):
            return self._mapping(value)
        if isinstance(value, Iterable) and not isinstance(value, bytes):
            return [entry if type(entry) in _PLAIN_TYPES else self.pack(entry) for entry in value]
        raise TypeError(f"{type(value).__name__} can't be kept in a checkpoint")

    def _mapping(self, value: Mapping[Any, Any]) -> Any:
        if all(type(name) is str and name[:1] != "$" for name in value):
            return {
                name: entry if type(entry) in _PLAIN_TYPES else self.pack(entry)
                for name, entry in value.items()
            }
        return {_ITEMS: [[self.pack(name), self.pack(entry)] for name, entry in value.items()]}

    def _array(self, value: NDArray[Any]) -> Any:
        if value.dtype.kind not in _DTYPE_KINDS:
            raise TypeError(f"an array of {value.dtype} can't be kept in a checkpoint")
        little = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
        self.arrays.append(little)
        return {_ARRAY: [little.dtype.str, list(value.shape)]}


@final
class _Unpacker:
    def __init__(self, body: memoryview) -> None:
        self.used = 0  # bytes of the body: arrays are consecutive, so none overlap
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
        if dtype.kind not in _DTYPE_KINDS or dtype.str != code or min([*shape, 0]) < 0:
            raise ValueError(f"its header has an array of {code!r} and shape {shape}")
        length = dtype.itemsize * math.prod(shape)
        if self.used + length > len(self._body):
            raise ValueError("its header and its body do not fit together")
        array = np.frombuffer(self._body, dtype, math.prod(shape), self.used).reshape(shape)
        self.used += length + -length % _ARRAY_ALIGNMENT
        return array.astype(dtype.newbyteorder("="), copy=True)


MAGIC = b"\x89SNET\r\n\x1a"
VERSION = 1
_FRAME = struct.Struct("<8sIIQ")
_DIGEST = 32
_WRONG_CHECKSUM = "its content does not match its checksum"


class CorruptCheckpointError(ValueError):
    """Raised for bytes that are not exactly what was written as a checkpoint."""


def encode(tree: StateDict) -> bytes:
    """Encode a state dict as the content of a file.

    Raises:
        TypeError: If it has a value that is neither plain nor a numeric array.

    >>> decode(encode({"a": [1, None, 0.1]}))
    {'a': [1, None, 0.1]}
    """
    return b"".join(encode_parts(tree))


def encode_parts(tree: StateDict) -> list[bytes | memoryview]:
    """`encode` in parts, without copying large arrays."""
    header, arrays = flatten(tree)
    parts: list[bytes | memoryview] = [b"", header]
    for array in arrays:
        raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        parts += (raw, bytes(-len(raw) % _ARRAY_ALIGNMENT))
    parts[0] = _FRAME.pack(MAGIC, VERSION, len(header), sum(map(len, parts[2:])))
    parts = merge_small_parts(parts)
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return merge_small_parts([*parts, digest.digest()])


_COMPRESSED = b"\x28\xb5\x2f\xfd"  # how a Zstandard frame begins
_LEVEL = 1  # half the size, in the time that encoding takes


def compress(parts: Sequence[bytes | memoryview]) -> bytes:
    """Compress what `encode_parts` returns.

    >>> decode(compress(encode_parts({"a": np.zeros(3)})))
    {'a': array([0., 0., 0.])}
    """
    compressor = zstd.ZstdCompressor(level=_LEVEL)
    frame = b"".join([*map(compressor.compress, parts), compressor.flush()])
    return frame + hashlib.sha256(frame).digest()


def _decompress(data: bytes) -> bytes:
    frame, digest = data[:-_DIGEST], data[-_DIGEST:]
    if hashlib.sha256(frame).digest() != digest:
        raise CorruptCheckpointError(_WRONG_CHECKSUM)
    try:
        return zstd.decompress(frame)
    except zstd.ZstdError as error:
        raise CorruptCheckpointError(f"it can't be decompressed: {error}") from error


def decode(data: bytes) -> StateDict:
    """Decode the content of a file, compressed or not.

    Raises:
        CorruptCheckpointError: If a single bit has changed, or the format version is unknown.
    """
    if data.startswith(_COMPRESSED):
        data = _decompress(data)
    if len(data) < _FRAME.size + _DIGEST:
        raise CorruptCheckpointError(f"it has only {len(data)} bytes")
    magic, version, header, body = _FRAME.unpack_from(data)
    if magic != MAGIC:
        raise CorruptCheckpointError("it is not a checkpoint of streamnet")
    whole = memoryview(data)
    if hashlib.sha256(whole[:-_DIGEST]).digest() != whole[-_DIGEST:]:
        raise CorruptCheckpointError(_WRONG_CHECKSUM)
    if version != VERSION:
        raise CorruptCheckpointError(
            f"it has format version {version}, but this streamnet reads {VERSION}"
        )
    start = _FRAME.size + header
    if len(data) != start + body + _DIGEST:
        raise CorruptCheckpointError("its length does not match its header")
    try:
        return unflatten(bytes(whole[_FRAME.size : start]), whole[start : start + body])
    except ValueError as error:
        raise CorruptCheckpointError(str(error)) from error

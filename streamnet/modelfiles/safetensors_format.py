"""The safetensors model format: arrays as tensors, everything else as JSON metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from streamnet.durability.files import merge_small_parts
from streamnet.errors import ModelFileError
from streamnet.modelfiles.document import PLAIN, Document

_TENSOR = "tensor:"
_KEY = "streamnet"
_ALIGNMENT = 8
# Names of types in a file, which begins with the tensors of the last type.
_TYPES = {
    np.dtype(code): name
    for code, name in (
        ("?", "BOOL"),
        ("u1", "U8"),
        ("i1", "I8"),
        ("<i2", "I16"),
        ("<u2", "U16"),
        ("<f2", "F16"),
        ("<i4", "I32"),
        ("<u4", "U32"),
        ("<f4", "F32"),
        ("<f8", "F64"),
        ("<i8", "I64"),
        ("<u8", "U64"),
    )
}
_ORDER = list(_TYPES)


def recognizes(data: bytes) -> bool:
    """Whether a file looks like safetensors: a length of 8 bytes, then a JSON object."""
    return data[8:9] == b"{"


def encode(document: Document) -> bytes:
    """Encode a document; a tensor's name is its path in the document, joined by slashes."""
    return b"".join(encode_parts(document))


def encode_parts(document: Document) -> list[bytes | memoryview]:
    """Encode a document in parts, without copying large arrays.

    Gives the same bytes as the safetensors package, which copies all arrays several times. For a
    run that writes a model every round, copying would be most of the work.
    """
    tensors: dict[str, NDArray[Any]] = {}
    plain = _extract_arrays(document, "", tensors)
    text = json.dumps(plain, allow_nan=False, sort_keys=True)
    header: dict[str, Any] = {"__metadata__": {_KEY: text}}
    parts: list[bytes | memoryview] = []
    end = 0
    for name, tensor in sorted(tensors.items(), key=_sort_key):
        begin, end = end, end + tensor.nbytes
        header[name] = {
            "dtype": _TYPES[tensor.dtype],
            "shape": tensor.shape,
            "data_offsets": (begin, end),
        }
        parts.append(tensor.reshape(-1).view(np.uint8).data)
    head = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    head += b" " * (-len(head) % _ALIGNMENT)
    return merge_small_parts([len(head).to_bytes(8, "little"), head, *parts])


def _sort_key(named: tuple[str, NDArray[Any]]) -> tuple[int, str]:
    """Sort large types first, so that every tensor is aligned."""
    return -_ORDER.index(named[1].dtype), named[0]


def _extract_arrays(value: Any, path: str, tensors: dict[str, NDArray[Any]]) -> Any:
    """Replace arrays with references, and put them into ``tensors``."""
    if isinstance(value, np.ndarray):
        tensors[path] = _tensor(value)
        return _TENSOR + path
    if isinstance(value, dict):
        inside = f"{path}/" if path else ""
        return {
            name: entry
            if type(entry) in PLAIN
            else _extract_arrays(entry, f"{inside}{name}", tensors)
            for name, entry in value.items()
        }
    return value


def _tensor(array: NDArray[Any]) -> NDArray[Any]:
    tensor = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    if tensor.dtype not in _TYPES:
        raise TypeError(f"an array of {tensor.dtype} can't be kept in a model file")
    return tensor


def decode(data: bytes, where: str) -> Document:
    """Decode a document."""
    try:
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        document = json.loads(header["__metadata__"][_KEY])
        tensors = load(data)
        return dict(_restore_arrays(document, "", tensors))
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
        raise ModelFileError(f"{where} is damaged or no safetensors model of streamnet") from e


def _restore_arrays(value: Any, path: str, tensors: Mapping[str, NDArray[Any]]) -> Any:
    if isinstance(value, str) and value == _TENSOR + path:
        return tensors[path]
    if isinstance(value, dict):
        return {
            name: _restore_arrays(part, f"{path}/{name}" if path else name, tensors)
            for name, part in value.items()
        }
    return value

r"""Checkpoint: a tree of values and arrays as one file in which no damage goes unnoticed.

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

In the header ``{"$array": [dtype, shape]}`` stands for the next array of the body, in the order of
the text; ``{"$float": "nan"}`` (``"inf"``, ``"-inf"``) for what JSON can't write; and
``{"$items": [[key, value], ...]}`` for a dict whose keys are not plain texts. Nothing in a file is
ever run: no pickle.
"""

from __future__ import annotations

import hashlib
import struct

import numpy as np

from streamnet.durability.tree import Tree
from streamnet.durability.tree import flatten
from streamnet.durability.tree import unflatten
from streamnet.durability.writing import joined

__all__ = ("MAGIC", "VERSION", "DamagedError", "decode", "encode", "encode_parts")

MAGIC = b"\x89SNET\r\n\x1a"
VERSION = 1
_FRAME = struct.Struct("<8sIIQ")
_DIGEST = 32
_ALIGNMENT = 8


class DamagedError(ValueError):
    """Raised when bytes are not exactly a checkpoint as it was written."""


def encode(tree: Tree) -> bytes:
    """A tree as the content of a file.

    Raises:
        TypeError: If it holds more than plain values and arrays of numbers.

    >>> decode(encode({"a": [1, None, 0.1]}))
    {'a': [1, None, 0.1]}
    """
    return b"".join(encode_parts(tree))


def encode_parts(tree: Tree) -> list[bytes | memoryview]:
    """What `encode` gives, in parts: large arrays as they are in the tree, not copied.

    Raises:
        TypeError: If it holds more than plain values and arrays of numbers.
    """
    header, arrays = flatten(tree)
    parts: list[bytes | memoryview] = [b"", header]
    for array in arrays:
        raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        parts += (raw, bytes(-len(raw) % _ALIGNMENT))
    parts[0] = _FRAME.pack(MAGIC, VERSION, len(header), sum(map(len, parts[2:])))
    parts = joined(parts)
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return joined([*parts, digest.digest()])


def decode(data: bytes) -> Tree:
    """The tree that a file's content stands for.

    Raises:
        DamagedError: If a single bit is not as it was written, or the version is not known.
    """
    if len(data) < _FRAME.size + _DIGEST:
        raise DamagedError(f"it has only {len(data)} bytes")
    magic, version, header, body = _FRAME.unpack_from(data)
    if magic != MAGIC:
        raise DamagedError("it is not a checkpoint of streamnet")
    whole = memoryview(data)
    if hashlib.sha256(whole[:-_DIGEST]).digest() != whole[-_DIGEST:]:
        raise DamagedError("its content does not match its checksum")
    if version != VERSION:
        raise DamagedError(f"it has format version {version}, but this streamnet reads {VERSION}")
    start = _FRAME.size + header
    if len(data) != start + body + _DIGEST:
        raise DamagedError("its length is not the one that it tells")
    try:
        return unflatten(bytes(whole[_FRAME.size : start]), whole[start : start + body])
    except ValueError as error:
        raise DamagedError(str(error)) from error

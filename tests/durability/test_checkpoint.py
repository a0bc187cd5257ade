"""Checkpoints hold a state dict exactly, and every corruption is detected."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from streamnet.durability.checkpoint import (
    MAGIC,
    CorruptCheckpointError,
    decode,
    encode,
    encode_parts,
    flatten,
    unflatten,
)
from tests.conftest import Counted
from tests.learning.streams import differences

TREE = {
    "position": ["a.csv", 120, 3, 4],
    "loss": float("inf"),
    "weights": np.arange(6, dtype=np.float32).reshape(2, 3),
    "count": np.array([1], np.int64),
}


def test_the_layout_is_the_documented_one() -> None:
    data = encode(TREE)
    magic, version, header, body = struct.unpack_from("<8sIIQ", data)
    assert (magic, version) == (MAGIC, 1)
    assert len(data) == 24 + header + body + 32
    assert hashlib.sha256(data[:-32]).digest() == data[-32:]
    assert json.loads(data[24 : 24 + header]) == {
        "position": ["a.csv", 120, 3, 4],
        "loss": {"$float": "inf"},
        "weights": {"$array": ["<f4", [2, 3]]},
        "count": {"$array": ["<i8", [1]]},
    }
    assert np.frombuffer(data, "<f4", 6, 24 + header).tolist() == [0, 1, 2, 3, 4, 5]
    assert differences(decode(data), TREE) == []


def test_large_arrays_are_written_as_they_are_and_small_ones_together() -> None:
    large = np.arange(40_000, dtype=np.float64)
    tree = {"a": np.arange(3), "large": large, "b": np.arange(5), "c": np.ones(1, np.float32)}
    parts = encode_parts(tree)
    assert b"".join(parts) == encode(tree)
    _, same, after = parts
    assert np.shares_memory(np.frombuffer(same, np.float64), large)
    assert len(after) == 5 * 8 + 8 + 32
    assert len(encode_parts({"a": np.arange(3), "b": np.arange(5)})) == 1


def test_every_flipped_bit_and_every_truncation_is_detected(counted: Counted) -> None:
    data = encode(TREE)
    for place in range(8 * len(data)):
        wrong = bytearray(data)
        wrong[place // 8] ^= 1 << place % 8
        with pytest.raises(CorruptCheckpointError):
            decode(bytes(wrong))
    for length in range(len(data)):
        with pytest.raises(CorruptCheckpointError):
            decode(data[:length])
    with pytest.raises(CorruptCheckpointError):
        decode(data + b"\0")
    counted("damage", 9 * len(data) + 1)


def sealed(data: bytes) -> bytes:
    """The bytes with a right checksum, so that what lies beneath is tried."""
    return data + hashlib.sha256(data).digest()


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (struct.pack("<8sIIQ", MAGIC, 2, 2, 0) + b"{}", "format version 2"),
        (struct.pack("<8sIIQ", MAGIC, 1, 3, 0) + b"{}", "length"),
        (struct.pack("<8sIIQ", MAGIC, 1, 2, 1 << 63) + b"{}", "length"),
        (struct.pack("<8sIIQ", MAGIC, 1, 2, 8) + b"{}" + bytes(8), "fit together"),
        (struct.pack("<8sIIQ", MAGIC, 1, 2, 0) + b"[]", "fit together"),
        (struct.pack("<8sIIQ", b"PNG", 1, 2, 0) + b"{}", "not a checkpoint"),
    ],
)
def test_a_maliciously_crafted_file_is_refused(frame: bytes, why: str) -> None:
    with pytest.raises(CorruptCheckpointError, match=why):
        decode(sealed(frame))


@pytest.mark.parametrize("content", [b"", bytes(5000), b"PK\x03\x04" * 100])
def test_empty_zeroed_and_foreign_files_are_refused(content: bytes) -> None:
    with pytest.raises(CorruptCheckpointError):
        decode(content)


def test_a_file_of_format_1_is_read(repository: Path) -> None:
    data = (repository / "tests/durability/golden/format-1.checkpoint").read_bytes()
    assert differences(decode(data), TREE) == []


ARRAYS = arrays.arrays(
    st.sampled_from(["<f4", "<f8", "<i4", "<i8", "u1", "<u8", "?"]),
    arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4),
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | ARRAYS
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def there_and_back(tree: dict[str, Any]) -> dict[str, Any]:
    text, parts = flatten(tree)
    padded = b"".join(part.tobytes() + bytes(-part.nbytes % 8) for part in parts)
    return unflatten(text, memoryview(padded))


@given(st.dictionaries(st.text(), TREES, max_size=4))
def test_every_tree_is_restored_bit_for_bit(tree: dict[str, Any]) -> None:
    assert differences(there_and_back(tree), tree) == []


def test_numbers_of_numpy_tuples_and_keys_of_any_kind_come_back_as_plain_values() -> None:
    tree = {"a": (np.int64(3), np.float32(0.5)), "b": {1: "one", "$float": 2}}
    assert there_and_back(tree) == {"a": [3, 0.5], "b": {1: "one", "$float": 2}}


@pytest.mark.parametrize("value", [b"bytes", object(), np.array(["text"], object), {"a": 1j}])
def test_values_that_are_not_plain_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="can't be kept"):
        flatten({"value": value})


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b'{"a":{"$array":["<f4",[1000000000000]]}}',
        b'{"a":{"$array":["<f4",[-1]]}}',
        b'{"a":{"$array":["|O",[1]]}}',
        b'{"a":{"$array":["<f4"]}}',
        b'{"a":{"$items":[[1]]}}',
        b"{" * 5000,
        b'{"a":' * 100_000,
    ],
)
def test_a_meaningless_header_is_an_error_and_nothing_worse(text: bytes) -> None:
    with pytest.raises(ValueError, match="header"):
        unflatten(text, memoryview(bytes(8)))

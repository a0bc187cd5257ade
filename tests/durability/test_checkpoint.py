"""A checkpoint with a single wrong bit or byte missing is noticed."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from streamnet.durability.checkpoint import (
    MAGIC,
    CorruptCheckpointError,
    decode,
    encode,
    encode_parts,
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


def test_every_flipped_bit_and_every_cut_is_noticed(counted: Counted) -> None:
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
def test_a_file_that_was_made_wrong_on_purpose_is_refused(frame: bytes, why: str) -> None:
    with pytest.raises(CorruptCheckpointError, match=why):
        decode(sealed(frame))


@pytest.mark.parametrize("content", [b"", bytes(5000), b"PK\x03\x04" * 100])
def test_empty_zeroed_and_foreign_files_are_refused(content: bytes) -> None:
    with pytest.raises(CorruptCheckpointError):
        decode(content)


def test_a_file_of_another_release_is_read(repository: Path) -> None:
    data = (repository / "tests/durability/golden/format-1.checkpoint").read_bytes()
    assert differences(decode(data), TREE) == []

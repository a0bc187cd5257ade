"""Trees come back as they were, and nothing else comes in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from streamnet.durability.checkpoint import flatten, unflatten
from tests.learning.streams import differences

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
def test_every_tree_comes_back_to_the_bit(tree: dict[str, Any]) -> None:
    assert differences(there_and_back(tree), tree) == []


def test_numbers_of_numpy_tuples_and_keys_of_any_kind_come_back_as_plain_values() -> None:
    tree = {"a": (np.int64(3), np.float32(0.5)), "b": {1: "one", "$float": 2}}
    assert there_and_back(tree) == {"a": [3, 0.5], "b": {1: "one", "$float": 2}}


@pytest.mark.parametrize("value", [b"bytes", object(), np.array(["text"], object), {"a": 1j}])
def test_what_is_not_plain_is_refused(value: Any) -> None:
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
def test_a_header_that_makes_no_sense_is_an_error_and_nothing_worse(text: bytes) -> None:
    with pytest.raises(ValueError, match="header"):
        unflatten(text, memoryview(bytes(8)))

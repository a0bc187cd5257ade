"""Lines that go the short way come to what they come to by dicts."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.daemon.http.bodies import decode_block
from streamnet.modelfiles import Model
from streamnet.online import OnlineRegressor
from streamnet.samples import Field, Kind

NUMBERS = (Field("a", Kind.NUMBER), Field("b c", Kind.NUMBER))


@cache
def model() -> Model:
    learner = OnlineRegressor(seed=1)
    for i in range(300):
        learner.learn_one({"a": i % 10, "b c": i % 7}, 2.0 * (i % 10) - i % 7)
    return learner.model()


VALUES = st.none() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.dictionaries(st.sampled_from(["a", "b c", "d"]), VALUES)


@given(st.lists(ROWS, min_size=1, max_size=20))
def test_answers_are_the_same_by_either_way(rows: list[dict[str, float]]) -> None:
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    block = decode_block(lines, model().fields)
    assert block is not None
    np.testing.assert_array_equal(model().predict(block), model().predict(rows))


@pytest.mark.parametrize(
    "line",
    [b'{"a": "1"}', b'{"a": true}', b"[1]", b"{", b'{"a": 1e999}', b'{"a": [1]}', b'{"a": "\xff"}'],
)
def test_what_is_no_plain_number_goes_the_other_way(line: bytes) -> None:
    assert decode_block(b'{"a": 1}\n' + line, NUMBERS) is None


@pytest.mark.parametrize("fields", [(), (*NUMBERS, Field("w", Kind.CATEGORY))])
def test_words_go_the_other_way(fields: tuple[Field, ...]) -> None:
    assert decode_block(b'{"a": 1}', fields) is None


def test_no_lines_are_no_samples() -> None:
    block = decode_block(b"\n", NUMBERS)
    assert block is not None
    assert block.numbers.shape == (0, 2)

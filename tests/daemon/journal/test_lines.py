"""Samples as lines: what is counted, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json

from streamnet.daemon.journal.frames import count_lines, encode_sample, encode_samples
from streamnet.errors import ConfigurationError


@given(st.lists(st.sampled_from([b"{}", b"", b"  ", b"\r", b"\t", b"x"])), st.booleans())
def test_every_line_that_is_not_blank_counts(lines: list[bytes], ended: bool) -> None:
    data = b"\n".join(lines) + (b"\n" if ended else b"")
    found = count_lines(data)
    assert found.samples == sum(line.strip(b" \r") != b"" for line in lines)
    assert found.data.rstrip(b"\n") == data.rstrip(b"\n")
    assert found.data.endswith(b"\n")


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none() | st.booleans()))
def test_a_line_is_the_sample_without_target(sample: dict[str, Any]) -> None:
    line = encode_sample(0, sample, "y")
    assert "\n" not in line
    assert json.decode(line) == {name: v for name, v in sample.items() if name != "y"}


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (7, "sample 3: it is 7, but must be names with values"),
        ({"x": object()}, "sample 3: it can't be written as JSON: "),
        ({"x": "a" * (1 << 20)}, "sample 3: it has 1,048,584 bytes, but must have <= 524,288"),
    ],
)
def test_what_is_no_sample_can_not_be_remembered(sample: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        encode_sample(3, sample, "y")


def test_samples_without_target_are_kept_and_counted_apart() -> None:
    lines = encode_samples([{"y": 1}, {"y": None}, {"y": " "}, {}, [], {"y": False}], "y")
    assert lines.data == b'{"y":1}\n{"y":null}\n{"y":" "}\n{}\n[]\n{"y":false}\n'
    assert lines[1:] == (6, 4)
    assert encode_samples([], "y") == (b"", 0, 0)

"""The limit of rejected records: the exact record, however blocks are cut."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from streamnet.errors import ConfigurationError
from streamnet.pipeline.rejections import RejectionLimit, locate_rejected
from tests.test_samples import block_of

LETTER = block_of("-+").rejected[0]
RECORDS = st.lists(st.sampled_from("+++-"), max_size=60).map("".join).map(lambda s: f"{s}+")


def naive(records: str, share: float, window: int) -> int | None:
    """Records up to the one at which too many of the last were rejected."""
    for number in range(window, len(records) + 1):
        if records[number - window : number].count("-") > share * window:
            return number
    return None


@given(
    RECORDS,
    st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]),
    st.integers(1, 20),
    st.lists(st.integers(0, 60), max_size=5),
)
def test_the_record_is_that_of_the_plain_rule_however_blocks_are_cut(
    records: str, share: float, window: int, cuts: list[int]
) -> None:
    block = block_of(records)
    limit = RejectionLimit(share=share, window=window)
    edges = [0, *sorted({cut % len(block) for cut in cuts} - {0}), len(block)]
    used = 0
    error = None
    for start, stop in pairwise(edges):
        part = limit.cut(block.part(start, stop))
        used += len(part) + len(part.rejected)
        error = limit.count(part)
        if error is not None:
            break
    expected = naive(records, share, window)
    assert (error is not None) == (expected is not None)
    assert used == (len(records) if expected is None else expected)
    if error is not None:
        head = records[:expected]
        last = head.rindex("-")
        assert str(error).startswith(
            f"a.csv, record at {10 * last}: {head[-window:].count('-')} of the last {window} "
        )


@given(
    st.lists(st.sampled_from("++++-x"), max_size=60).map("".join).map(lambda s: f"{s}+"),
    st.sampled_from([0.0, 0.1, 0.25, 0.5]),
    st.integers(1, 20),
    st.lists(st.integers(0, 60), max_size=5),
)
def test_samples_that_will_be_refused_count_as_rejected_however_blocks_are_cut(
    records: str, share: float, window: int, cuts: list[int]
) -> None:
    """An x is a sample by now, and a rejected record once it was encoded."""
    block = block_of(records.replace("x", "+"))
    refused = [row for row, sign in enumerate(records.replace("-", "")) if sign == "x"]
    limit = RejectionLimit(share=share, window=window)
    edges = [0, *sorted({cut % len(block) for cut in cuts} - {0}), len(block)]
    used, samples = 0, 0
    error = None
    for start, stop in pairwise(edges):
        bad = [row - start for row in refused if start <= row < stop]
        part = limit.cut(block.part(start, stop), bad)
        used += len(part) + len(part.rejected)
        places = locate_rejected(part, bad)
        bad = [row for row in bad if row < len(part)]
        kept = part.take(np.delete(np.arange(len(part)), bad))
        letters = (*part.rejected, *(replace(LETTER, offset=part.marks[row, 0]) for row in bad))
        ordered = tuple(sorted(letters, key=lambda letter: letter.offset))
        error = limit.count(structs.replace(kept, rejected=ordered), places)
        samples += len(kept)
        if error is not None:
            break
    plain = records.replace("x", "-")
    expected = naive(plain, share, window)
    assert (error is not None) == (expected is not None)
    assert used == (len(records) if expected is None else expected)
    assert samples == plain[:used].count("+")
    if error is not None:
        last = plain[:expected].rindex("-")
        assert str(error).startswith(f"a.csv, record at {10 * last}: ")


@given(RECORDS, st.integers(1, 20))
def test_looking_ahead_counts_nothing(records: str, window: int) -> None:
    block = block_of(records)
    limit, twin = (RejectionLimit(share=0.2, window=window) for _ in range(2))
    for _ in range(3):
        limit.cut(block)
    assert str(limit.count(block)) == str(twin.count(block))


def test_the_error_names_the_last_record_the_rule_and_the_file_that_keeps_them() -> None:
    block = block_of("+-+-")
    letters = tuple(replace(letter, line=7) for letter in block.rejected)
    limit = RejectionLimit(share=0.25, window=4, kept=Path("bad.jsonl"))
    error = limit.count(structs.replace(block, rejected=letters))
    assert str(error) == (
        "a.csv, line 7: 2 of the last 4 records were rejected, but at most 25% (max_rejected) may "
        "be; they are in bad.jsonl. The last one: one field too many"
    )


@pytest.mark.parametrize(
    ("share", "window", "message"),
    [
        (1.5, 10, "max_rejected is 1.5, but must be from 0 to 1"),
        (-0.1, 10, "max_rejected is -0.1"),
        (0.1, 0, "rejected_window is 0, but must be >= 1"),
    ],
)
def test_a_setting_out_of_range_is_refused(share: float, window: int, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        RejectionLimit(share=share, window=window)

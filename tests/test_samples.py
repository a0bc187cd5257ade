"""Parts and reordered blocks lose and duplicate nothing; small constant arrays are shared."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streamnet.errors import ConfigurationError
from streamnet.samples import (
    Block,
    DeadLetter,
    Field,
    Kind,
    Position,
    Schema,
    SparseRows,
    Task,
    constant_column,
)

SCHEMA = Schema((Field("x", Kind.NUMBER), Field("w", Kind.CATEGORY)), "y")


def letter(offset: int, source: str = "a.csv") -> DeadLetter:
    return DeadLetter(source, offset, None, "arity", "one field too many", f"raw {offset}")


def block_of(records: str, *, sparse: bool = False) -> Block:
    """A block with a good record for each ``+`` and a bad one for each ``-``, 10 bytes each."""
    good = [i for i, kind in enumerate(records) if kind == "+"]
    n = len(good)
    marks = np.array([(10 * i, i, i + 1) for i in [*good, len(records)]], np.int64)
    rows = SparseRows(np.arange(2 * n).reshape(n, 2), np.ones((n, 2)), np.full(n, 2, np.int32))
    return Block(
        SCHEMA,
        "a.csv",
        np.array(good, np.float64).reshape(n, 1),
        (np.array([f"w{i}" for i in good] + [None], object)[:-1],),
        np.array([str(i % 2) for i in good] + [None], object)[:-1],
        marks,
        sparse=rows if sparse else None,
        rejected=tuple(letter(10 * i) for i, kind in enumerate(records) if kind == "-"),
    )


def cuts_of(n: int, cuts: list[int]) -> list[int]:
    return [0, *sorted({cut % n for cut in cuts} - {0}), n]


RECORDS = st.text("+-", min_size=1, max_size=30).filter(lambda text: "+" in text)
CUTS = st.lists(st.integers(0, 99), max_size=6)


@given(RECORDS, CUTS)
def test_parts_joined_are_the_whole_block(records: str, cuts: list[int]) -> None:
    block = block_of(records, sparse=True)
    parts = [block.part(a, b) for a, b in pairwise(cuts_of(len(block), cuts))]
    assert [float(x) for part in parts for x in part.numbers[:, 0]] == block.numbers[:, 0].tolist()
    assert [w for part in parts for w in part.words[0]] == block.words[0].tolist()
    assert block.target is not None
    assert [y for part in parts for y in part.target] == block.target.tolist()  # type: ignore[union-attr]
    assert block.sparse is not None
    rows = [part.sparse.index for part in parts if part.sparse is not None]
    assert np.array_equal(np.concatenate(rows), block.sparse.index)
    assert np.array_equal(np.concatenate([p.marks[:-1] for p in parts]), block.marks[:-1])
    for before, after in pairwise(parts):
        assert before.end == Position(block.source, *after.marks[0].tolist())
    assert parts[-1].end == block.end


@given(RECORDS, CUTS)
def test_parts_have_each_rejected_record_once_at_its_place(records: str, cuts: list[int]) -> None:
    block = block_of(records)
    parts = [block.part(a, b) for a, b in pairwise(cuts_of(len(block), cuts))]
    assert tuple(letter for part in parts for letter in part.rejected) == block.rejected
    for i, part in enumerate(parts):
        low = 0 if i == 0 else part.marks[0, 0]
        assert all(low <= letter.offset < part.marks[-1, 0] for letter in part.rejected)


@given(RECORDS, CUTS, CUTS)
def test_parts_of_parts_have_each_rejected_record_once(
    records: str, cuts: list[int], more: list[int]
) -> None:
    block = block_of(records)
    found: list[DeadLetter] = []
    for a, b in pairwise(cuts_of(len(block), cuts)):
        part = block.part(a, b)
        for c, d in pairwise(cuts_of(len(part), more)):
            found += part.part(c, d).rejected
    assert tuple(found) == block.rejected


@given(RECORDS, st.randoms(use_true_random=False), CUTS)
def test_a_shuffled_block_cut_in_parts_loses_no_rejected_record(
    records: str, random: object, cuts: list[int]
) -> None:
    block = block_of(records)
    order = list(range(len(block)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = block.take(np.array(order, np.intp))
    assert shuffled.numbers[:, 0].tolist() == [block.numbers[i, 0] for i in order]
    assert shuffled.end == block.end
    parts = [shuffled.part(a, b) for a, b in pairwise(cuts_of(len(block), cuts))]
    assert tuple(letter for part in parts for letter in part.rejected) == block.rejected


@given(RECORDS)
def test_empty_parts_have_no_rejected_records(records: str) -> None:
    block = block_of(records)
    for at in range(len(block) + 1):
        part = block.part(at, at)
        assert (len(part), part.rejected) == (0, ())
        assert part.end == Position("a.csv", *block.marks[at].tolist())


def test_a_block_without_samples_keeps_its_rejected_records() -> None:
    block = block_of("---")
    assert block.part(0, 0).rejected == block.rejected
    assert block.places().tolist() == [0, 0, 0]


def test_places_count_the_samples_before_each_rejected_record() -> None:
    assert block_of("-+-+--").places().tolist() == [0, 1, 2, 2]


def test_rejected_records_of_an_earlier_file_come_before_all_samples() -> None:
    block = block_of("+-+")
    mixed = replace(block, rejected=(letter(9_000, "before.csv"), *block.rejected))
    assert mixed.places().tolist() == [0, 1]
    assert [a.source for a in mixed.part(0, 1).rejected] == ["before.csv", "a.csv"]


def test_a_schema_names_its_numbers_and_its_words() -> None:
    grown = SCHEMA.extended((Field("t", Kind.TIME), Field("text", Kind.TEXT)))
    assert (grown.numbers, grown.words) == (("x", "t"), ("w", "text"))
    assert grown.fields[:2] == SCHEMA.fields


@pytest.mark.parametrize("sparse", [False, True])
def test_taking_no_sample_leaves_the_end(sparse: bool) -> None:
    block = block_of("++", sparse=sparse)
    nothing = block.take(np.empty(0, np.intp))
    assert len(nothing) == 0
    assert nothing.end == block.end


def test_an_unknown_kind_or_task_is_refused_with_the_allowed_ones() -> None:
    rule = "must be one of classification, regression"
    with pytest.raises(ConfigurationError, match=f"^task is 'zz', but {rule}$"):
        Task("zz")
    with pytest.raises(ConfigurationError, match=r"^kind is 'three', but must be one of number, "):
        Kind("three")
    assert Task("regression") is Task.REGRESSION


@pytest.mark.parametrize("count", [0, 1, 1024, 1025])
@pytest.mark.parametrize(
    ("number", "dtype"), [(-1, np.int32), (1.0, np.float64), (np.nan, np.float64), (0, np.float32)]
)
def test_a_constant_column_repeats_the_number(count: int, number: float, dtype: Any) -> None:
    array = constant_column(count, number, dtype)
    assert array.dtype == dtype
    assert array.tolist() == [number] * count or np.isnan(array).all()
    assert array.shape == (count,)
    assert array.flags.carray  # what kernels are compiled for


def test_only_small_arrays_are_cached() -> None:
    assert constant_column(1024, 7, np.int32) is constant_column(1024, 7, np.int32)
    assert constant_column(1025, 7, np.int32) is not constant_column(1025, 7, np.int32)

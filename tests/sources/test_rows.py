from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.samples import Field, Kind, Task
from streamnet.sources import Columns, RowReader
from streamnet.sources.rows import ColumnParser
from tests.sources.harness import FrameRow, bits, content

values = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.booleans(),
    st.none(),
    st.sampled_from(["", " a ", "?", "12", "nan", "2020-01-01", "four words are here", "x"]),
    st.sampled_from(
        [np.float32(1.5), np.int8(3), np.bool_(True), date(2020, 1, 1), Decimal("2.5")]
    ),
    st.sampled_from([[], {}, b"", object, 10**400, np.timedelta64(1, "s")]),
)
samples = st.lists(
    st.dictionaries(st.sampled_from(["a", "b", "c", "y"]), values) | st.just(5), max_size=12
)


@given(samples, st.sampled_from(Task))
def test_one_by_one_gives_the_same_as_all_at_once(rows: list[Any], task: Task) -> None:
    at_once, one_by_one = (RowReader(Columns(target="y", task=task)) for _ in range(2))
    whole = content(list(at_once.blocks(rows)))
    single = content([one_by_one.read([row]) for row in rows])
    assert single == whole
    assert one_by_one.export_state() == at_once.export_state()
    assert len(whole.samples) + len(whole.letters) == len(rows)


@pytest.mark.parametrize("kind", [Counter, lambda row: defaultdict(int, row)])
def test_an_absent_value_is_missing_and_is_not_added_to_the_sample(
    kind: Callable[[dict[str, int]], Any],
) -> None:
    rows = [{"a": 1, "b": 2}, {"a": 1, "c": 3}, {"b": 2, "c": 1}, {"a": 2, "d": 1}]
    plain, other = RowReader(Columns()), RowReader(Columns())
    given = [kind(row) for row in rows]
    found = content([other.read([row]) for row in given])
    assert found == content([plain.read([row]) for row in rows])
    assert given == rows


@given(samples, st.integers(0, 12))
def test_a_reader_continues_from_the_state_of_another_one(rows: list[Any], cut: int) -> None:
    reader, other = (RowReader(Columns(target="y")) for _ in range(2))
    list(reader.blocks(rows[:cut]))
    state = msgspec.json.decode(msgspec.json.encode(reader.export_state()))
    other.restore_state(state)
    assert content(list(reader.blocks(rows[cut:]))) == content(list(other.blocks(rows[cut:])))


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.floats() | st.integers()), max_size=8))
def test_numbers_are_parsed_like_float(rows: list[dict[str, float]]) -> None:
    reader = RowReader(Columns())
    for row in rows:
        block = reader.read([row])
        infinite = any(math.isinf(value) for value in row.values())
        assert len(block) == (not infinite)
        if not infinite:
            names = block.schema.numbers
            assert bits(block.numbers[0]) == bits([float(row.get(n, math.nan)) for n in names])


@pytest.mark.parametrize("infinity", [math.inf, -math.inf, np.float32(math.inf), 10**400])
def test_infinity_is_rejected_alone_and_among_others(infinity: float) -> None:
    reader = RowReader(Columns())
    block = reader.read([{"x": 1.0}, {"x": infinity}, {"x": 2.0}])
    assert block.numbers[:, 0].tolist() == [1.0, 2.0]
    assert [letter.reason for letter in block.rejected] == ["not-finite"]
    assert len(reader.read([{"x": infinity}])) == 0


@pytest.mark.parametrize("name", ["x", "n", "w", "y"])
@pytest.mark.parametrize("task", Task)
@pytest.mark.parametrize(
    ("value", "reason", "said"),
    [
        (10**5000, ("not-finite", "target-number"), "'an integer of too many digits'"),
        (np.timedelta64(5, "s"), ("type", "target-number"), "'5 seconds'"),
    ],
    ids=["digits", "duration"],
)
def test_a_number_out_of_range_costs_only_its_sample(
    name: str, task: Task, value: Any, reason: tuple[str, str], said: str
) -> None:
    reader = RowReader(Columns(target="y", task=task))
    good = {"x": 1, "w": "a", "y": 2}
    bad = {**good, name: value}
    for rows in ([good], [bad], [good, bad, good]):
        blocks = list(reader.blocks(rows))
        letters = [letter for block in blocks for letter in block.rejected]
        assert len(letters) == sum(row is bad for row in rows)
        assert sum(map(len, blocks)) == sum(row is good for row in rows)
        for letter in letters:
            assert letter.reason in reason
            assert f"column {name!r} has {said}" in letter.detail


def test_a_kind_is_inferred_from_the_first_value_that_is_not_missing() -> None:
    reader = RowReader(Columns(kinds={"z": Kind.CATEGORY}))
    first = {"n": None, "t": date(2020, 1, 1), "w": "a", "b": True, "s": "12.5", "x": "a b c d"}
    reader.read([first])
    reader.read([{"n": 1, "z": 5, "m": math.nan}])
    assert reader.schema.fields == (
        Field("t", Kind.TIME),
        Field("w", Kind.CATEGORY),
        Field("b", Kind.CATEGORY),
        Field("s", Kind.NUMBER),
        Field("x", Kind.TEXT),
        Field("n", Kind.NUMBER),
        Field("z", Kind.CATEGORY),
    )


@pytest.mark.parametrize(
    ("target", "task"),
    [
        (0.5, Task.REGRESSION),
        (2.0, Task.REGRESSION),
        (np.float32(2), Task.REGRESSION),
        (2, Task.CLASSIFICATION),
        (True, Task.CLASSIFICATION),
        ("2.5", Task.CLASSIFICATION),
    ],
)
def test_the_first_target_determines_the_task(target: Any, task: Task) -> None:
    reader = RowReader(Columns(target="y"))
    assert reader.read([{"x": 1}], [None]).target == [None]
    assert reader.schema.task is None
    assert len(reader.read([{"x": 1}], [target])) == 1
    assert reader.schema.task is task


def test_a_bad_sample_changes_nothing() -> None:
    reader = RowReader(Columns(target="y", labels_required=True))
    reader.read([{"x": 1, "y": "a"}])
    before = reader.schema
    bad: list[Any] = [
        {"x": 1, "new": [1], "y": "a"},
        {"x": "word", "new": 1, "y": "a"},
        {"x": 1, "new": 1},
        {"x": 1, 5: 1, "y": "a"},
        [("x", 1)],
        None,
    ]
    blocks = [reader.read([sample]) for sample in bad]
    assert [letter.reason for block in blocks for letter in block.rejected] == [
        "type",
        "number",
        "target-missing",
        "type",
        "type",
        "type",
    ]
    assert reader.schema == before
    assert [block.marks.tolist() for block in blocks] == [[[n, n, 0]] for n in range(2, 8)]


def test_a_block_ends_before_a_sample_with_a_new_feature() -> None:
    reader = RowReader(Columns())
    rows = [{"a": 1}, {"a": 2}, {"b": 3}, {"a": 4}]
    block = reader.read(rows)
    assert (len(block), reader.records) == (2, 2)
    assert [len(block) for block in reader.blocks(rows[2:])] == [2]


def test_the_raw_text_of_a_dead_letter_can_be_replayed() -> None:
    reader = RowReader(Columns(target="y"))
    (letter,) = reader.read([{"x": [1], "y": "é"}]).rejected
    assert msgspec.json.decode(letter.raw) == {"x": [1], "y": "é"}
    assert (letter.source, letter.offset, letter.line) == ("rows", 0, None)
    (letter,) = reader.read([{"x": object, "y": 1}]).rejected
    assert "object" in letter.raw


def test_a_known_schema_is_used_from_the_start() -> None:
    first = RowReader(Columns(target="y"))
    first.read([{"a": 1, "b": "w", "y": 0.5}])
    reader = RowReader(Columns(schema=first.schema, target_optional=True))
    block = reader.read([{"b": "v"}])
    assert block.words[0].tolist() == ["v"]
    assert np.isnan(block.numbers).all()
    assert block.target is not None
    assert np.isnan(block.target).all()


@pytest.mark.parametrize("most", [1, 4])
def test_a_row_of_a_data_frame_is_read_by_its_names(most: int) -> None:
    rows: list[Any] = [{"x": 1.5, "y": "a"}, {"x": 2, "y": "b"}, {"x": 3, "z": 1, "y": "a"}]
    framed: list[Any] = [FrameRow(row) for row in rows]
    read = []
    for samples in (rows, framed):
        reader = RowReader(Columns(target="y"))
        parts = [samples[at : at + most] for at in range(0, len(samples), most)]
        read.append(content([block for part in parts for block in reader.blocks(part)]))
    assert read[0] == read[1]
    assert len(read[1].samples) == 3


def test_of_thousands_of_features_only_those_of_a_sample_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = Counter[str]()
    convert = ColumnParser.numbers

    def counted(self: ColumnParser, name: str, *given: Any) -> Any:
        read[name] += 1
        return convert(self, name, *given)

    monkeypatch.setattr(ColumnParser, "numbers", counted)
    reader = RowReader(Columns(target="y", task=Task.CLASSIFICATION))
    given = [{f"x{i}": i / 2, f"w{i}": f"word {i}", "y": "a"} for i in range(200)]
    blocks = list(reader.blocks(given))
    assert read.total() == 200
    last = blocks[-1]
    assert np.flatnonzero(~np.isnan(last.numbers[0])).tolist() == [199]
    assert [column[0] for column in last.words[-2:]] == [None, "word 199"]


def test_a_reader_with_replaced_fields_knows_only_these() -> None:
    fields = (Field("b", Kind.NUMBER), Field("a", Kind.CATEGORY))
    reader = RowReader(Columns())
    reader.read([{"z": 1.0, "b": "a word"}])
    reader.set_fields(fields)
    assert reader.schema.fields is fields
    for row in ({"a": "x", "b": 2.0}, {"b": 2, "a": " x"}):
        block = reader.read([row])
        assert (block.numbers.tolist(), block.words[0].tolist()) == ([[2.0]], ["x"])
    reader.set_fields(fields[:1])
    assert reader.read([{"b": 3.0}]).numbers.tolist() == [[3.0]]
    assert reader.schema.words == ()
    assert reader.records == 4


@pytest.mark.parametrize("names", ["", "x", "xy"])
def test_finite_numbers_whose_sum_overflows_are_accepted(names: str) -> None:
    rows = [dict.fromkeys(names, 1.7e308) | {"w": "a"} for _ in range(2)]
    whole = RowReader(Columns()).read(rows)
    one_by_one = RowReader(Columns())
    for i, row in enumerate(rows):
        block = one_by_one.read([row])
        assert block.numbers.tolist() == whole.numbers[i : i + 1].tolist()
        assert not block.rejected

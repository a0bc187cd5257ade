from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.errors import DataError, SchemaError
from streamnet.samples import Block, Field, Kind, Schema, Task
from streamnet.sources import Columns, SchemaDrift, Source, open_files
from streamnet.sources.files import jsonl
from tests.sources.harness import (
    assert_resumes_everywhere,
    bits,
    content,
    places,
    read,
    reasons,
    write,
)


def blocks_of(
    folder: Path, lines: list[Any], columns: Columns | None = None
) -> tuple[Schema, list[Block]]:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path = write(folder, "f.jsonl", "".join(f"{text}\n" for text in texts))
    return read(open_files([path], columns=columns))


def test_kinds_and_task_follow_from_the_head(tmp_path: Path) -> None:
    lines = [
        {"n": 1, "c": "1", "b": True, "t": "2020-01-01", "x": "here are four words", "y": 0.5},
        {"y": 1, "n": 2.5, "c": None},
    ]
    schema, (block,) = blocks_of(tmp_path, lines, Columns(target="y"))
    assert schema.fields == (
        Field("n", Kind.NUMBER),
        Field("c", Kind.CATEGORY),
        Field("b", Kind.CATEGORY),
        Field("t", Kind.TIME),
        Field("x", Kind.TEXT),
    )
    assert schema.task is Task.REGRESSION
    assert block.numbers[0].tolist() == [1.0, 1577836800.0]
    assert block.numbers[1, 0] == 2.5
    assert math.isnan(block.numbers[1, 1])
    assert [column.tolist() for column in block.words] == [
        ["1", None],
        ["true", None],
        ["here are four words", None],
    ]


FAULTS: list[tuple[Any, str]] = [
    ('{"x":NaN,"y":1}', "json"),
    ('{"x":1', "json"),
    ("[1]", "json"),
    ("1", "json"),
    ("[" * 100_000, "json"),
    ('{"x":' * 100_000, "json"),
    ('{"x":"\\ud800","y":1}', "json"),
    ('{"x":1e999,"y":1}', "not-finite"),
    ('{"x":' + "9" * 400 + ',"y":1}', "not-finite"),
    ('{"x":' + "9" * 5000 + ',"y":1}', "not-finite"),
    ({"x": "1", "y": 1}, "number"),
    ({"x": True, "y": 1}, "number"),
    ({"x": [1], "y": 1}, "type"),
    ({"x": {"a": 1}, "y": 1}, "type"),
    ({"x": 1, "y": None}, "target-missing"),
    ({"x": 1}, "target-missing"),
    ({"x": 1, "y": [1]}, "type"),
    ({"x": 1, "t": "soon", "y": 1}, "time"),
    ({"x": 1, "new": [1], "y": 1}, "type"),
]


@pytest.mark.parametrize(("line", "reason"), FAULTS)
def test_each_fault_has_its_reason(tmp_path: Path, line: Any, reason: str) -> None:
    good = {"x": 1, "t": "2020-01-01", "y": 1}
    columns = Columns(target="y", head=1, labels_required=True)
    schema, blocks = blocks_of(tmp_path, [good, line, good], columns)
    assert reasons(blocks) == [(2, reason)]
    assert sum(map(len, blocks)) == 2
    assert all(block.schema == schema for block in blocks)


def test_large_whole_numbers_are_the_nearest_floats(tmp_path: Path) -> None:
    huge = [2**53 + 1, 2**64, 12345678901234567890123]
    _, (block,) = blocks_of(tmp_path, [{"x": n, "y": "a"} for n in huge], Columns(target="y"))
    assert block.numbers[:, 0].tolist() == [float(n) for n in huge]


def test_a_new_name_extends_the_schema_exactly_at_its_sample(tmp_path: Path) -> None:
    lines = [{"x": 1}, {"x": 2, "z": None}, {"x": 3, "z": 4}, {"x": 5}, {"w": "a"}]
    _, blocks = blocks_of(tmp_path, lines, Columns(head=1))
    assert [(len(block), [f.name for f in block.schema.fields]) for block in blocks] == [
        (2, ["x"]),
        (2, ["x", "z"]),
        (1, ["x", "z", "w"]),
    ]
    assert [block.end.record for block in blocks] == [2, 4, 5]


def test_labels_are_texts_and_whole_numbers_have_one(tmp_path: Path) -> None:
    lines = [{"x": 1, "y": label} for label in (1, True, "1", " a ", 2.0)]
    _, (block,) = blocks_of(tmp_path, lines, Columns(target="y"))
    assert block.target is not None
    assert block.target.tolist() == ["1", "true", "1", "a", "2"]


def test_unused_names_are_ignored(tmp_path: Path) -> None:
    lines = [{"x": 1, "id": [1, 2], "y": 1}, {"x": 1, "id": {}, "y": 1}]
    columns = Columns(target="y", drop=("id",))
    schema, (block,) = blocks_of(tmp_path, lines, columns)
    assert schema.numbers == ("x",)
    assert len(block) == 2


def test_names_that_a_given_schema_lacks_are_ignored(tmp_path: Path) -> None:
    lines = [{"x": 1, "new": [1]}, {"x": 2, "other": {"a": 1}}, {"x": 3, "z": 4}]
    known = Schema((Field("x", Kind.NUMBER),))
    _, (block,) = blocks_of(tmp_path, lines, Columns(schema=known, head=1))
    assert block.numbers.tolist() == [[1.0], [2.0], [3.0]]
    assert block.schema == known


def test_features_above_the_maximum_are_rejected(tmp_path: Path) -> None:
    lines = [{"x": 1}, {"a": 1}, {"b": 1, "c": 1}, {"x": 2, "d": 1}, {"a": 2, "e": None}]
    _, blocks = blocks_of(tmp_path, lines, Columns(head=1, most_fields=3))
    assert reasons(blocks) == [(3, "fields")]
    assert [f.name for f in blocks[-1].schema.fields] == ["x", "a", "d"]
    assert sum(map(len, blocks)) == 4
    with pytest.raises(SchemaError, match="has 5 names in its first records, but there may be 3"):
        blocks_of(tmp_path, lines, Columns(most_fields=3))


@pytest.mark.parametrize(
    "lines",
    [['[{"a":1},', '{"a":2}]'], ["[", '{"a":1},', '{"a":2}', "]"], ['[{"a":1}, {"a":2}]'], ["[]"]],
)
def test_an_array_is_refused_with_advice(tmp_path: Path, lines: list[str]) -> None:
    with pytest.raises(DataError, match=r"is a JSON array, .* one JSON object per line"):
        blocks_of(tmp_path, lines)


def test_an_array_on_its_own_line_is_a_bad_record_even_as_the_first(tmp_path: Path) -> None:
    _, blocks = blocks_of(tmp_path, ["[1, 2]", '{"a":1}', "[3]", '{"a":2}'])
    assert reasons(blocks) == [(1, "json"), (3, "json")]
    assert sum(map(len, blocks)) == 2


def test_a_file_without_objects_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no JSON object"):
        blocks_of(tmp_path, ["1", "2"])
    with pytest.raises(DataError, match="holds no samples"):
        blocks_of(tmp_path, [" "])


@pytest.mark.parametrize("objects", [1, 2])
def test_json_over_several_lines_is_refused_with_advice(tmp_path: Path, objects: int) -> None:
    text = '{\n "x": 1,\n "y": [\n  2\n ]\n}\n' * objects
    path = write(tmp_path, "f.jsonl", text)
    with pytest.raises(DataError, match=r"JSON over several lines, but .* \(jq -c \. converts"):
        read(open_files([path], columns=Columns(target="y")))


@pytest.mark.parametrize(
    ("line", "why"),
    [("{'x': 1}", "JSON is malformed"), ("{}", "object is empty"), ("7", "JSON, but not an obj")],
)
def test_a_file_without_objects_is_refused_with_the_problem_of_its_first_line(
    tmp_path: Path, line: str, why: str
) -> None:
    path = write(tmp_path, "f.jsonl", f"\n{line}\n{line}\n")
    with pytest.raises(DataError, match=rf"first lines: line 2 has .{line[:2]}.*{why}"):
        read(open_files([path], columns=Columns(target="y")))


def test_a_target_that_no_line_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="Did you mean 'label'"):
        blocks_of(tmp_path, [{"label": 1, "x": 1}], Columns(target="labl"))


values = st.one_of(
    st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), st.none()
)


@given(st.lists(st.fixed_dictionaries({}, optional={"a": values, "b": values}), min_size=1))
def test_numbers_are_those_of_the_json_module(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    known = Schema((Field("a", Kind.NUMBER), Field("b", Kind.NUMBER)))
    _, blocks = blocks_of(folder, [{"a": 0, "b": 0}, *rows], Columns(schema=known))
    found = [s[3] for s in content(blocks).samples[1:]]
    assert found == [
        bits([math.nan if row.get(name) is None else float(row[name]) for name in "ab"])
        for row in rows
    ]


def test_lines_are_not_decoded_repeatedly_if_each_has_a_new_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    decode = jsonl.decode_object

    def counted(line: bytes) -> Any:
        decoded.append(line)
        return decode(line)

    monkeypatch.setattr(jsonl, "decode_object", counted)
    lines = [{f"x{i}": i, "y": "a"} for i in range(300)]
    lines += [{"x1": i, "y": "a"} for i in range(300)]
    schema, blocks = blocks_of(tmp_path, lines, Columns(target="y", head=1))
    assert len(schema.fields) == 1
    assert sum(map(len, blocks)) == 600
    assert len(blocks[-1].schema.fields) == 300
    assert len(decoded) < 20 * len(lines)


@pytest.mark.parametrize("new", [None, "adapt", "ignore", "reject", "stop"])
def test_a_name_without_a_value_gets_its_kind_from_its_first_one_and_is_never_new(
    tmp_path: Path, new: Any
) -> None:
    lines = [{"a": 1, "x": None, "y": 1}, {"a": 2, "x": "", "y": 2}, {"a": 3, "x": 0.5, "y": 3}]
    columns = Columns(target="y", head=2, drift=SchemaDrift(new=new))
    schema, blocks = blocks_of(tmp_path, lines, columns)
    assert schema.numbers == ("a",)
    assert blocks[-1].schema.numbers == ("a", "x")
    assert blocks[-1].numbers.tolist() == [[3.0, 0.5]]
    assert (sum(map(len, blocks)), reasons(blocks)) == (3, [])
    path = write(tmp_path, "f.jsonl", "".join(json.dumps(line) + "\n" for line in lines))

    def make() -> Source:
        return open_files([path], columns=columns)

    assert_resumes_everywhere(make, places(make))

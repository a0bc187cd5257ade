"""Columns of weights and of ids: no features, and every invalid weight has a reason."""

from __future__ import annotations

import json
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

from streamnet.errors import ConfigurationError, SchemaError
from streamnet.samples import Block, Kind, Schema, Task, concatenate_blocks
from streamnet.sources import (
    Columns,
    IdentifiedSource,
    IterableSource,
    Source,
    WeightedSource,
    open_files,
)
from streamnet.sources.roles import check_weights, find_invalid_weights

ROWS: list[dict[str, Any]] = [
    {"x": 1.0, "w": 2.5, "c": "a", "y": "b"},
    {"x": 2.0, "w": -1.0, "c": "a", "y": "b"},
    {"x": 3.0, "w": 0.0, "c": "a", "y": "new"},
    {"x": 4.0, "w": None, "c": "a", "y": "b"},
    {"x": 5.0, "w": 2e9, "c": "a", "y": "b"},
    {"x": 6.0, "w": 1, "c": "b", "y": "b"},
    {"x": 7.0, "c": "b", "y": "b"},
]
REASONS = [
    "the weight 'w' is -1, but must be from 0 to 1e+09",
    "the weight 'w' is missing",
    "the weight 'w' is 2e+09, but must be from 0 to 1e+09",
    "the weight 'w' is missing",
]


async def read_blocks(source: Source) -> tuple[Schema, list[Block]]:
    """The schema and all blocks."""
    blocks = []
    async with aclosing(source):
        schema = await source.open()
        while (block := await source.receive()) is not None:
            blocks.append(block)
    return schema, blocks


async def read(source: Source) -> tuple[Schema, Any, list[Any]]:
    """The schema, all samples as one block, and the rejected records."""
    schema, blocks = await read_blocks(source)
    rejected = [letter for block in blocks for letter in block.rejected]
    return schema, concatenate_blocks(blocks, blocks[-1].schema), rejected


def to_csv(rows: list[dict[str, Any]]) -> str:
    names = ("x", "w", "c", "y")
    lines = [",".join(str(row.get(name, "")) for name in names) for row in rows]
    return "\n".join((",".join(names), *lines)).replace("None", "") + "\n"


def test_the_column_is_no_feature_and_invalid_weights_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "weighted.csv"
    path.write_text(to_csv(ROWS))
    files = open_files(path, columns=Columns(target="y", weight="w"))
    for source in (
        WeightedSource(files, "w"),
        WeightedSource(IterableSource(ROWS, target="y"), "w"),
        IterableSource(ROWS, target="y", weight="w"),
    ):
        schema, block, rejected = anyio.run(read, source)
        assert schema.numbers in (("x",), ())
        assert block.schema.numbers == ("x",)
        assert block.weight.tolist() == [2.5, 0.0, 1.0]
        assert block.numbers[:, 0].tolist() == [1.0, 3.0, 6.0]
        assert block.target.tolist() == ["b", None, "b"]  # 0: neither learned nor scored
        assert [letter.detail for letter in rejected] == REASONS
        assert {letter.reason for letter in rejected} == {"weight"}


def test_a_weight_that_is_not_finite_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "weighted.csv"
    path.write_text("x,w,y\n" + "1,2,3\n" * 50 + "2,inf,3\n")
    source = WeightedSource(open_files(path, columns=Columns(target="y", weight="w")), "w")
    _, block, rejected = anyio.run(read, source)
    assert len(block) == 50
    assert "column 'w' has 'inf', which is not a finite number" in rejected[0].detail


def test_numbers_without_a_decimal_point_are_weights_too(tmp_path: Path) -> None:
    path = tmp_path / "weighted.jsonl"
    path.write_text("".join(f'{{"x": {i}, "w": "{1 + i % 3}", "y": {i}.5}}\n' for i in range(30)))
    source = WeightedSource(open_files(path, columns=Columns(target="y", weight="w")), "w")
    _, block, _ = anyio.run(read, source)
    assert block.weight.tolist() == [1.0 + i % 3 for i in range(30)]


def test_a_column_that_does_not_exist_is_an_error_with_a_suggestion(tmp_path: Path) -> None:
    path = tmp_path / "weighted.csv"
    path.write_text("x,Weight,y\n" + "1,2,3\n" * 50)
    source = open_files(path, columns=Columns(target="y", weight="weight"))
    with pytest.raises(SchemaError, match=r"no column 'weight' \(requested by --weight.*'Weight'"):
        anyio.run(read, source)


def test_a_column_of_words_cannot_hold_weights() -> None:
    source = WeightedSource(IterableSource([{"x": 1.0, "w": "heavy", "y": "b"}], target="y"), "w")
    with pytest.raises(SchemaError, match="weight is 'w', but must be a column of numbers"):
        anyio.run(read, source)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": "w", "weight": "w"}, "weight is 'w', but that is the target"),
        ({"drop": ("w",), "weight": "w"}, "drop has 'w', but that is the weight"),
        ({"kinds": {"w": Kind.NUMBER}, "weight": "w"}, "kinds has 'w', but that is the weight"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Columns(**settings)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1.0, -2.0], r"sample_weight\[1\] is -2, but must be from 0 to 1e\+09"),
        ([np.inf, 1.0], r"sample_weight\[0\] is inf, but must be"),
        ([np.nan, 1.0], r"sample_weight\[0\] is missing"),
        ([1.0], r"sample_weight has shape \(1,\), but must have \(2,\)"),
        (["heavy", 1.0], "sample_weight is .*, but must be a number for each sample"),
    ],
)
def test_invalid_weights_of_estimators_are_refused(given: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_weights(given, 2)


def test_weights_of_zero_and_the_largest_one_are_valid() -> None:
    assert find_invalid_weights(np.array([0.0, 1e9, 1e-300])) == {}


@pytest.mark.parametrize("target", [None, np.nan])
def test_without_a_target_a_missing_weight_is_one(target: float | None) -> None:
    """Its label may come later; one that is not valid is still rejected."""
    weights = [None, 3.0, -1.0]
    task = Task.CLASSIFICATION if target is None else Task.REGRESSION
    rows = [{"x": float(i), "w": w, "y": target} for i, w in enumerate(weights)]
    known = [{"x": 9.0, "w": None, "y": "a" if target is None else 1.0}]
    source = IterableSource([*rows, *known], target="y", weight="w", task=task)
    _, block, rejected = anyio.run(read, source)
    assert block.weight.tolist() == [1.0, 3.0]
    assert [letter.detail for letter in rejected] == [REASONS[0], REASONS[1]]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_ids_are_taken_out_and_stay_with_their_samples(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    rows = [{"n": f"{i:03}", "x": i, "y": "ab"[i % 2]} for i in range(300)]
    if suffix == "csv":
        lines = ["n,x,y", *(",".join(map(str, row.values())) for row in rows)]
    else:
        lines = [json.dumps(row if i != 7 else {**row, "n": None}) for i, row in enumerate(rows)]
    path.write_text("\n".join(lines) + "\n")
    columns = Columns(target="y", id="n")
    schema, blocks = anyio.run(
        read_blocks, IdentifiedSource(open_files([path], columns=columns), "n")
    )
    assert [field.name for field in schema.fields] == ["x"]
    ids: list[Any] = []
    for block in blocks:
        assert block.schema == schema
        for part in (block.part(0, 3), block.part(3, len(block))):
            assert part.ids is not None
            ids += part.ids.tolist()
    expected = [row["n"] for row in rows]
    if suffix == "jsonl":
        expected[7] = None
    assert ids == expected
    (first, *_) = blocks
    order = np.array([5, 2, 9])
    taken = first.take(order).ids
    assert taken is not None
    assert taken.tolist() == ["005", "002", "009"]


def test_a_column_has_one_role() -> None:
    for given, message in (
        ({"target": "n", "id": "n"}, "id is 'n', but that is the target"),
        ({"weight": "n", "id": "n"}, "id is 'n', but that is the weight"),
        ({"drop": ("n",), "id": "n"}, "drop has 'n', but that is the id"),
        ({"kinds": {"n": Kind.TEXT}, "id": "n"}, "kinds has 'n', but that is the id"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            Columns(**given)

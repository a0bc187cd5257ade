"""Typed formats: whole floats as words, and texts as numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from streamnet.samples import Block, Field, Kind, Schema, Task
from streamnet.sources import Columns, open_files
from streamnet.sources.rows import RowReader
from tests.sources.harness import read

COLUMNS = Columns(target="y", task=Task.CLASSIFICATION, kinds={"zip": Kind.CATEGORY})
ROWS: list[dict[str, Any]] = [
    {"zip": 12345.0, "x": 0.5, "y": 1.0},
    {"zip": None, "x": 1.5, "y": 0.0},
    {"zip": -7.0, "x": 2.5, "y": 2.5},
    {"zip": 1e18, "x": 2.5, "y": -0.0},
    {"zip": 0.25, "x": 3.5, "y": 1.0},
]
WORDS = ["12345", None, "-7", "1000000000000000000", "0.25"]
LABELS = ["1", "0", "2.5", "0", "1"]


def words_of(blocks: list[Block]) -> tuple[list[Any], list[Any]]:
    """The words of the one category and the labels."""
    words: list[Any] = []
    labels: list[Any] = []
    for block in blocks:
        assert block.target is not None
        words += block.words[0].tolist()
        labels += block.target.tolist()
    return words, labels


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "jsonl"])
def test_typed_files_spell_whole_floats_as_integers(tmp_path: Path, suffix: str) -> None:
    path, frame = tmp_path / f"f.{suffix}", pl.DataFrame(ROWS)
    if suffix == "parquet":
        frame.write_parquet(path)
    elif suffix == "arrow":
        frame.write_ipc(path)
    else:
        frame.write_ndjson(path)
    assert words_of(read(open_files([str(path)], columns=COLUMNS))[1]) == (WORDS, LABELS)


@pytest.mark.parametrize("size", [1, 2, len(ROWS)])
@pytest.mark.parametrize("kind", [float, np.float64, np.longdouble])
def test_dicts_spell_whole_floats_as_integers_in_any_batch(size: int, kind: type) -> None:
    rows = [{n: v if v is None else kind(v) for n, v in row.items()} for row in ROWS]
    reader = RowReader(COLUMNS)
    blocks = [b for at in range(0, len(rows), size) for b in reader.blocks(rows[at : at + size])]
    assert words_of(blocks) == (WORDS, LABELS)


def test_delimited_text_keeps_its_spelling(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("zip,x,y\n12345.0,0.5,1.0\n12345,0.5,1\n")
    blocks = read(open_files([str(path)], columns=COLUMNS))[1]
    assert words_of(blocks) == (["12345.0", "12345"], ["1.0", "1"])


FRAME = pl.DataFrame({"x": ["233.82", " 1e3 ", "NA", "word"], "y": ["0.5", "1.5", "2", "7"]})
RULE = "which is a text where the first values are numbers"
X, Y = Field("x", Kind.NUMBER), Field("y", Kind.NUMBER)
TOLD = {
    "kind": Columns(kinds={"x": Kind.NUMBER, "y": Kind.NUMBER}),
    "known": Columns(known={"x": Kind.NUMBER, "y": Kind.NUMBER}),
    "model": Columns(schema=Schema((X, Y))),
}


def blocks_of(folder: Path, suffix: str, frame: pl.DataFrame, columns: Columns) -> list[Block]:
    path = folder / f"f.{suffix}"
    if suffix == "jsonl":
        frame.write_ndjson(path)
    else:
        frame.write_parquet(path)
    return read(open_files([path], columns=columns))[1]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize("told", TOLD)
def test_texts_are_numbers_if_the_column_is_declared_as_such(
    tmp_path: Path, suffix: str, told: str
) -> None:
    blocks = blocks_of(tmp_path, suffix, FRAME, TOLD[told])
    rows = [row for block in blocks for row in block.numbers.tolist()]
    assert str(rows) == str([[233.82, 0.5], [1000.0, 1.5], [float("nan"), 2.0]])
    (letter,) = (letter for block in blocks for letter in block.rejected)
    assert letter.detail == "column 'x' has 'word', which is not a number"


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize("told", [True, False])
def test_texts_are_targets_of_a_requested_regression(
    tmp_path: Path, suffix: str, told: bool
) -> None:
    columns = Columns(target="y", task=Task.REGRESSION if told else None)
    (block,) = blocks_of(tmp_path, suffix, FRAME, columns)
    expected = [0.5, 1.5, 2.0, 7.0] if told else ["0.5", "1.5", "2", "7"]
    assert block.target is not None
    assert block.target.tolist() == expected


def test_a_text_among_numbers_is_rejected_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_text('{"x": 1, "y": 0.5}\n{"x": "233.82", "y": 0.5}\n{"x": 2, "y": "1.5"}\n')
    _, blocks = read(open_files([path], columns=Columns(target="y", head=1)))
    details = [letter.detail for block in blocks for letter in block.rejected]
    assert details == [
        f"column 'x' has '233.82', {RULE}: --kind x=number reads it as a number",
        f"column 'y' has '1.5', {RULE}: --task regression reads it as a number",
    ]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_texts_that_look_like_something_else_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, suffix: str
) -> None:
    frame = pl.DataFrame(
        {
            "price": [f"${1000 + n:,}.50" for n in range(30)],
            "day": [f"{1 + n % 9}/4/2024" for n in range(30)],
            "amount": [f"{n}.82" for n in range(30)],
            "zip": [str(10_000 + n * 37) for n in range(30)],
            "colour": ["red", "green", "blue"] * 10,
            "y": [f"{n}.5" for n in range(30)],
        }
    )
    blocks_of(tmp_path, suffix, frame, Columns(target="y"))
    said = [message.partition(f"f.{suffix}: ")[2] for message in caplog.messages]
    assert said == [
        (
            "column 'amount' is taken as words, such as '0.82', since they are texts: "
            "--kind amount=number reads them as numbers"
        ),
        (
            "target 'y' is taken as labels, such as '0.5', since they are texts: "
            "--task regression reads them as numbers"
        ),
        "column 'price' is taken as words, such as '$1,000.50'; numbers are written like 1000.50",
        (
            "column 'day' is taken as words, such as '1/4/2024'; dates are read like 2023-12-31, "
            "or with --kind day=day_first or day=month_first"
        ),
    ]
    caplog.clear()
    kinds = {"price": Kind.CATEGORY, "day": Kind.CATEGORY, "amount": Kind.NUMBER}
    columns = Columns(target="y", task=Task.CLASSIFICATION, kinds=kinds)
    blocks_of(tmp_path, suffix, frame, columns)
    assert caplog.messages == []

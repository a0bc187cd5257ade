"""Whole numbers as words: spelled as such where one gap made floats of a column that has a type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from streamnet.samples import Block, Kind, Task
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
def test_files_that_have_types_spell_whole_floats_as_whole_numbers(
    tmp_path: Path, suffix: str
) -> None:
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
def test_dicts_spell_whole_floats_as_whole_numbers_however_many_come_at_a_time(
    size: int, kind: type
) -> None:
    rows = [{n: v if v is None else kind(v) for n, v in row.items()} for row in ROWS]
    reader = RowReader(COLUMNS)
    blocks = [b for at in range(0, len(rows), size) for b in reader.blocks(rows[at : at + size])]
    assert words_of(blocks) == (WORDS, LABELS)


def test_delimited_text_keeps_its_spelling(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("zip,x,y\n12345.0,0.5,1.0\n12345,0.5,1\n")
    blocks = read(open_files([str(path)], columns=COLUMNS))[1]
    assert words_of(blocks) == (["12345.0", "12345"], ["1.0", "1"])

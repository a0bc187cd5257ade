"""Names of folders such as year=2026 are columns of the files in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from streamnet import objects
from streamnet.errors import ConfigurationError
from streamnet.samples import Kind
from streamnet.sources import Columns, Source, open_files
from tests.sources.harness import (
    assert_cuts_agree,
    assert_resumes_everywhere,
    content,
    letters,
    places,
    read,
)

FOLDERS = ["year=2025/region=eu", "year=2025/region=us%2Fca", "year=2026/region=eu"]
ROWS: list[dict[str, Any]] = [{"x": n / 2, "w": f"w{n % 3}", "y": "uv"[n % 2]} for n in range(12)]


def write_files(root: Path, suffix: str) -> str:
    """The same rows in each folder."""
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True)
        path = root / folder / f"part{suffix}"
        if suffix == ".parquet":
            pl.DataFrame(ROWS).write_parquet(path)
        elif suffix == ".csv":
            pl.DataFrame(ROWS).write_csv(path)
        else:
            lines = [json.dumps(row) for row in ROWS]
            lines[5] = json.dumps({**ROWS[5], "late": 7})
            path.write_text("\n".join(lines))
    return str(root)


def source(path: str, chunk_bytes: int = 1 << 20, **given: Any) -> Source:
    columns = Columns(**{"target": "y", "head": 4, **given})
    return open_files([path], columns=columns, chunk_bytes=chunk_bytes)


@pytest.mark.usefixtures("without_threads")
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_folders_are_columns_and_reading_resumes_everywhere(tmp_path: Path, suffix: str) -> None:
    root = write_files(tmp_path / "sales", suffix)
    schema, blocks = read(source(root))
    assert list(dict(schema.fields).items())[:4] == [
        ("year", Kind.NUMBER),
        ("region", Kind.CATEGORY),
        ("x", Kind.NUMBER),
        ("w", Kind.CATEGORY),
    ]
    samples = [
        (block.numbers[row, 0], block.words[0][row], block.numbers[row, 1])
        for block in blocks
        for row in range(len(block))
    ]
    found = [(2025.0, "eu"), (2025.0, "us/ca"), (2026.0, "eu")]
    assert samples == [(*path, n / 2) for path in found for n in range(12)]
    assert [field.name for field in blocks[-1].schema.fields][4:] == (
        ["late"] if suffix == ".jsonl" else []
    )
    assert_resumes_everywhere(lambda: source(root), places(lambda: source(root))[::4])
    assert_cuts_agree(lambda size: source(root, size), (1 << 20, 50))


def test_their_kinds_are_given_and_they_are_left_out(tmp_path: Path) -> None:
    root = write_files(tmp_path / "sales", ".csv")
    schema, blocks = read(source(root, kinds={"year": Kind.CATEGORY}, drop=("region",)))
    assert dict(schema.fields) == {"year": Kind.CATEGORY, "x": Kind.NUMBER, "w": Kind.CATEGORY}
    assert {word for block in blocks for word in block.words[0]} == {"2025", "2026"}


def test_only_folders_below_what_is_given_count(tmp_path: Path) -> None:
    write_files(tmp_path / "sales", ".csv")
    for given, names in (
        ("sales/year=2025/", ["region"]),
        ("sales/year=2025/*/*.csv", ["region"]),
        ("sales/*/region=eu/*.csv", ["year", "region"]),
        ("sales/year=2025/region=eu/part.csv", []),
    ):
        schema, _ = read(source(str(tmp_path / given)))
        assert [field.name for field in schema.fields] == [*names, "x", "w"]


def test_a_pattern_in_the_working_directory_has_them_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path, ".csv")
    monkeypatch.chdir(tmp_path)
    schema, _ = read(source("year=*/*/*.csv"))
    assert [field.name for field in schema.fields] == ["year", "region", "x", "w"]


def test_a_column_of_the_files_is_taken_from_there(tmp_path: Path) -> None:
    root = tmp_path / "sales"
    (root / "x=9").mkdir(parents=True)
    pl.DataFrame(ROWS).write_csv(root / "x=9" / "a.csv")
    blocks = read(source(str(root)))[1]
    assert [n for block in blocks for n in block.numbers[:, 0]] == [row["x"] for row in ROWS]


def test_a_rejected_record_and_a_missing_value_do_not_matter(tmp_path: Path) -> None:
    root = tmp_path / "sales"
    for name, value in (("1", "7"), ("2", "__HIVE_DEFAULT_PARTITION__")):
        (root / f"k={value}").mkdir(parents=True)
        (root / f"k={value}" / f"{name}.csv").write_text("x,y\n1,u\n2,v\n3\n4,u\n")
    blocks = read(source(str(root)))[1]
    assert len(letters(blocks)) == 2
    assert [str(n) for block in blocks for n in block.numbers[:, 0]] == ["7.0"] * 3 + ["nan"] * 3


def test_the_target_must_be_in_the_files(tmp_path: Path) -> None:
    root = write_files(tmp_path / "sales", ".csv")
    with pytest.raises(ConfigurationError, match="target is 'region', which is in the paths"):
        source(root, target="region")


def test_partitions_of_a_bucket_are_columns(bucket: str, tmp_path: Path) -> None:
    root = write_files(tmp_path / "sales", ".parquet")
    for folder in FOLDERS:
        data = (tmp_path / "sales" / folder / "part.parquet").read_bytes()
        objects.write(f"{bucket}/sales/{folder.replace('%', '%25')}/part.parquet", data)
    local = [sample[1:] for sample in content(read(source(root))[1]).samples]
    there = [sample[1:] for sample in content(read(source(f"{bucket}/sales/"))[1]).samples]
    assert len(there) == len(local)
    assert [sample[1] for sample in there] == [sample[1] for sample in local]

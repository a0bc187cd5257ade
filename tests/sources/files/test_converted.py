"""Workbooks, Avro and ORC files are read like the text that they are converted to."""

from __future__ import annotations

import datetime as dt
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from streamnet.errors import ConfigurationError, DataError
from streamnet.samples import Kind
from streamnet.sources import Columns, Source, open_files
from streamnet.sources.files import converted
from tests.sources.harness import (
    assert_cuts_agree,
    assert_resumes_everywhere,
    content,
    letters,
    places,
    read,
    write,
)
from tests.sources.storage.test_archives import make_zip

COLUMNS = Columns(target="y", head=20)
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
ROWS: list[dict[str, Any]] = [
    {
        "x": None if n == 7 else 1.5 * n,
        "n": n,
        "w": ["a", "größer, \"quoted\"", None][n % 3],
        "b": n % 4 == 0,
        "t": START + dt.timedelta(hours=n),
        "d": (START + dt.timedelta(days=n)).date(),
        "y": "uv"[n % 2],
    }
    for n in range(40)
]  # fmt: skip


def write_avro(path: Path, rows: list[dict[str, Any]] = ROWS, codec: str = "deflate") -> None:
    fastavro = pytest.importorskip("fastavro")
    types: dict[str, Any] = {
        "x": ["null", "double"],
        "n": "long",
        "w": ["null", "string"],
        "b": "boolean",
        "t": {"type": "long", "logicalType": "timestamp-micros"},
        "d": {"type": "int", "logicalType": "date"},
        "y": "string",
    }
    fields = [{"name": name, "type": types[name]} for name in rows[0]]
    schema = {"type": "record", "name": "row", "fields": fields}
    with path.open("wb") as file:
        fastavro.writer(file, schema, rows, codec=codec, sync_interval=300)


def write_orc(path: Path, rows: list[dict[str, Any]] = ROWS) -> None:
    pa = pytest.importorskip("pyarrow")
    orc = pytest.importorskip("pyarrow.orc")
    orc.write_table(pa.Table.from_pylist(rows), path)


def write_excel(path: Path, rows: list[dict[str, Any]] = ROWS) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(list(rows[0]))
    for row in rows:
        plain = [v.replace(tzinfo=None) if isinstance(v, dt.datetime) else v for v in row.values()]
        sheet.append(plain)
    book.save(path)


def write_csv(path: Path, rows: list[dict[str, Any]] = ROWS) -> None:
    frame = pl.DataFrame(rows).with_columns(pl.col("t").dt.strftime("%Y-%m-%dT%H:%M:%S"))
    frame.write_csv(path)


def write_parquet(path: Path, rows: list[dict[str, Any]] = ROWS) -> None:
    pl.DataFrame(rows).write_parquet(path)


WRITERS: dict[str, Callable[[Path], None]] = {
    "avro": write_avro,
    "orc": write_orc,
    "xlsx": write_excel,
}
formats = pytest.mark.parametrize("form", WRITERS)


def source(*paths: object, chunk_bytes: int = 1 << 20, **options: Any) -> Source:
    names = [str(path) for path in paths]
    return open_files(names, columns=COLUMNS, chunk_bytes=chunk_bytes, **options)


def values(source: Source) -> list[tuple[Any, ...]]:
    """Fields, numbers, words and target of each sample."""
    return [(dict(sample[2]), *sample[3:6]) for sample in content(read(source)[1]).samples]


@formats
def test_the_samples_are_those_of_the_same_rows_elsewhere(tmp_path: Path, form: str) -> None:
    WRITERS[form](tmp_path / f"a.{form}")
    twin = tmp_path / ("a.csv" if form == "xlsx" else "a.parquet")
    (write_csv if form == "xlsx" else write_parquet)(twin)
    found = values(source(tmp_path / f"a.{form}"))
    assert found == values(source(twin))
    assert len(found) == 40
    assert found[0][0] == {
        "x": Kind.NUMBER,
        "n": Kind.NUMBER,
        "w": Kind.CATEGORY,
        "b": Kind.CATEGORY,
        "t": Kind.TIME,
        "d": Kind.TIME,
    }


@pytest.mark.usefixtures("without_threads")
@formats
def test_a_converted_file_resumes_everywhere(tmp_path: Path, form: str) -> None:
    paths = [tmp_path / f"{number}.{form}" for number in range(2)]
    for path in paths:
        WRITERS[form](path)
    found = places(lambda: source(*paths, chunk_bytes=100))
    assert len(found) == 81
    assert_resumes_everywhere(lambda: source(*paths), found[::5])


@formats
def test_samples_do_not_depend_on_how_much_is_read_at_once(tmp_path: Path, form: str) -> None:
    WRITERS[form](tmp_path / f"a.{form}")
    path = tmp_path / f"a.{form}"
    assert_cuts_agree(lambda size: source(path, chunk_bytes=size), (1 << 20, 37, 1))


@formats
def test_a_file_without_its_suffix_in_an_archive_is_recognized(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"a.{form}"
    WRITERS[form](path)
    packed = write(tmp_path, "a.zip", make_zip({f"deep/a.{form}": path.read_bytes()}))
    assert values(source(packed)) == values(source(path))
    if form != "xlsx":  # a workbook is a ZIP archive by its first bytes
        bare = write(tmp_path, "bare", path.read_bytes())
        assert values(source(bare)) == values(source(path))


@formats
def test_a_file_that_has_changed_is_noticed(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"a.{form}"
    WRITERS[form](path)
    place = places(lambda: source(path))[20]
    changed = [{**row, "n": row["n"] + 1} for row in ROWS]
    {"avro": write_avro, "orc": write_orc, "xlsx": write_excel}[form](path, changed)
    with pytest.raises(DataError, match=f"a.{form} has changed"):
        assert_resumes_everywhere(lambda: source(path), [place])


@formats
def test_progress_ends_at_one(tmp_path: Path, form: str) -> None:
    WRITERS[form](tmp_path / f"a.{form}")
    reading = source(tmp_path / f"a.{form}")
    read(reading)
    assert reading.progress() == 1.0


LIBRARIES = {
    "avro": ("fastavro", "avro"),
    "orc": ("pyarrow", "orc"),
    "xlsx": ("python_calamine", "excel"),
}


@formats
def test_a_library_that_is_missing_is_named(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    WRITERS[form](tmp_path / f"a.{form}")
    module, extra = LIBRARIES[form]
    monkeypatch.setitem(sys.modules, module, None)
    rule = rf"a\.{form} can't be read without .*: pip install 'streamnet-learn\[{extra}\]'"
    with pytest.raises(ConfigurationError, match=rule):
        read(source(tmp_path / f"a.{form}"))


@formats
def test_a_file_that_is_none_of_its_format_says_so(tmp_path: Path, form: str) -> None:
    path = write(tmp_path, f"a.{form}", b"x,y\n1,2\n")
    with pytest.raises(DataError, match=rf"a\.{form} is damaged, or no "):
        read(source(path))
    with pytest.raises(ConfigurationError, match="can't grow: follow its folder"):
        source(path, follow=True)


@pytest.mark.parametrize("piece_bytes", [1, 1 << 16])
def test_records_before_damage_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece_bytes: int
) -> None:
    monkeypatch.setattr(converted, "_PIECE_BYTES", piece_bytes)
    path = tmp_path / "a.avro"
    write_avro(path, codec="null")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    blocks = []

    async def main() -> None:
        reading = source(path)
        try:
            await reading.open()
            while (block := await reading.receive()) is not None:
                blocks.append(block)
        finally:
            await reading.aclose()

    import anyio

    with pytest.raises(DataError, match=r"a\.avro is damaged \(.*\) after byte"):
        anyio.run(main)
    assert 20 <= sum(map(len, blocks)) < 30


def test_infinity_is_rejected_and_nan_is_missing(tmp_path: Path) -> None:
    rows = [{**ROWS[n], "x": x} for n, x in enumerate([1.0, float("inf"), float("nan"), 4.0])]
    for path, writer in ((tmp_path / "a.avro", write_avro), (tmp_path / "a.orc", write_orc)):
        writer(path, rows)
        blocks = read(source(path))[1]
        (letter,) = letters(blocks)
        assert letter.line == 2
        assert "'inf'" in letter.detail
        assert sum(map(len, blocks)) == 3


# -------------------------------------------------------------------- workbooks


def save_book(path: Path, sheets: dict[str, list[list[Any]]]) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)


TABLE: list[list[Any]] = [["x", "y"], *([n, "uv"[n % 2]] for n in range(30))]


def test_the_first_sheet_with_data_is_read_or_the_one_that_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other: list[list[Any]] = [["x", "y"], *([100 + n, "uv"[n % 2]] for n in range(9))]
    path = tmp_path / "book.xlsx"
    save_book(path, {"Empty": [], "Sales 2026": TABLE, "Other": other})
    with caplog.at_level(logging.WARNING):
        assert len(values(source(path))) == 30
    assert (
        f"{path} has 2 sheets with data: 'Sales 2026' is read, and {path}/Other is another one"
        in caplog.text
    )
    assert len(values(source(f"{path}/Other"))) == 9
    assert len(values(source(f"{path}/Sales 2026"))) == 30
    with pytest.raises(DataError, match=r"book\.xlsx has no sheet 'other', .*mean 'Other'"):
        read(source(f"{path}/other"))
    with pytest.raises(DataError, match=r"book\.xlsx/Empty holds no samples"):
        read(source(f"{path}/Empty"))
    found = places(lambda: source(f"{path}/Other"))
    assert_resumes_everywhere(lambda: source(f"{path}/Other"), found)


def test_lines_are_rows_of_the_sheet_and_empty_ones_do_not_count(tmp_path: Path) -> None:
    rows: list[list[Any]] = [[], [None, "x", "y"], *([None, *row] for row in TABLE[1:])]
    rows[9] = [None, None, None]
    rows[25] = [None, "bad", "u"]
    save_book(tmp_path / "a.xlsx", {"S": rows})
    blocks = read(source(tmp_path / "a.xlsx"))[1]
    (letter,) = letters(blocks)
    assert (letter.line, letter.reason) == (26, "number")
    assert sum(map(len, blocks)) == 28
    assert [field.name for field in blocks[0].schema.fields] == ["x"]


def test_errors_of_cells_are_missing_values(tmp_path: Path) -> None:
    rows = [*TABLE]
    rows[3] = ["#DIV/0!", "u"]
    rows[4] = ["#N/A", "v"]
    save_book(tmp_path / "a.xlsx", {"S": rows})
    blocks = read(source(tmp_path / "a.xlsx"))[1]
    assert not letters(blocks)
    assert sum(map(len, blocks)) == 30


def test_a_workbook_under_another_name_says_what_it_is(tmp_path: Path) -> None:
    save_book(tmp_path / "a.xlsx", {"S": TABLE})
    (tmp_path / "a.xlsx").rename(tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"a\.csv is a ZIP archive, but must be text: give it the"):
        read(source(tmp_path / "a.csv"))
    assert len(values(source(tmp_path / "a.csv", format="excel"))) == 30

from __future__ import annotations

import errno
import math
import os
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from streamnet.errors import DataError, ReadError, SchemaError
from streamnet.samples import Block, Field, Kind, Position, Schema, Task
from streamnet.sources import Columns, open_files
from tests.sources.harness import content, numbers, read, write

kinds = pytest.mark.parametrize("kind", ["parquet", "arrow"])
LZ4 = b"\x04\x22\x4d\x18"  # what a buffer of a packed Arrow file begins with


def written(folder: Path, name: str, frame: pl.DataFrame) -> str:
    path = str(folder / name)
    if name.endswith("parquet"):
        frame.write_parquet(path, row_group_size=700)
    else:
        frame.write_ipc(path)
    return path


def blocks_of(path: str, columns: Columns) -> tuple[Schema, list[Block]]:
    return read(open_files([path], columns=columns))


COLUMNS: dict[str, tuple[list[Any], Any, Kind, list[Any]]] = {
    "int": ([1, None, 3], pl.Int8, Kind.NUMBER, [1.0, math.nan, 3.0]),
    "big": ([2**63, 1, None], pl.UInt64, Kind.NUMBER, [2.0**63, 1.0, math.nan]),
    "float": ([0.5, math.nan, None], pl.Float32, Kind.NUMBER, [0.5, math.nan, math.nan]),
    "decimal": (["1.5", None, "2.5"], pl.Decimal(10, 2), Kind.NUMBER, [1.5, math.nan, 2.5]),
    "bool": ([True, False, None], pl.Boolean, Kind.CATEGORY, ["true", "false", None]),
    "word": (["1", " b ", "?"], pl.String, Kind.CATEGORY, ["1", "b", None]),
    "class": (["a", None, "a"], pl.Categorical, Kind.CATEGORY, ["a", None, "a"]),
    "text": (["a b c d"] * 3, pl.String, Kind.TEXT, ["a b c d"] * 3),
    "iso": (["1970-01-02"] * 3, pl.String, Kind.TIME, [86400.0] * 3),
    "day": (
        [date(1970, 1, 2), None, date(1969, 12, 31)],
        pl.Date,
        Kind.TIME,
        [86400.0, math.nan, -86400.0],
    ),
    "ms": (
        [datetime.fromisoformat("1970-01-01 01:00")] * 3,
        pl.Datetime("ms"),
        Kind.TIME,
        [3600.0] * 3,
    ),
    "zone": (
        [datetime(1970, 1, 1, 1, tzinfo=UTC)] * 3,
        pl.Datetime("us", "Europe/Berlin"),
        Kind.TIME,
        [3600.0] * 3,
    ),
    "span": (
        [timedelta(seconds=1.5), None, timedelta(0)],
        pl.Duration,
        Kind.NUMBER,
        [1.5, math.nan, 0.0],
    ),
    "clock": ([time(1, 2), None, time(3)], pl.Time, Kind.CATEGORY, ["01:02:00", None, "03:00:00"]),
    "nothing": ([None] * 3, pl.Null, Kind.CATEGORY, [None] * 3),
}


@kinds
@pytest.mark.parametrize("name", COLUMNS)
def test_the_type_of_a_column_determines_its_kind(tmp_path: Path, kind: str, name: str) -> None:
    values, dtype, expected_kind, expected = COLUMNS[name]
    first = pl.String if name == "decimal" else dtype
    frame = pl.DataFrame({"x": pl.Series(values, dtype=first)}).cast({"x": dtype})
    schema, (block,) = blocks_of(written(tmp_path, f"f.{kind}", frame), Columns())
    assert schema.fields == (Field("x", expected_kind),)
    found = block.numbers[:, 0].tolist() if schema.numbers else block.words[0].tolist()
    assert repr([str(v) for v in found]) == repr([str(v) for v in expected])


@kinds
def test_bad_rows_are_rejected_with_their_number(tmp_path: Path, kind: str) -> None:
    frame = pl.DataFrame({"x": [1.0, math.inf, 2.0], "y": [1, 0, None]})
    columns = Columns(target="y", labels_required=True)
    _, (block,) = blocks_of(written(tmp_path, f"f.{kind}", frame), columns)
    assert [(one.offset, one.line, one.reason) for one in block.rejected] == [
        (1, None, "not-finite"),
        (2, None, "target-missing"),
    ]
    assert block.rejected[1].raw == '{"x":2.0,"y":null}'
    assert block.marks.tolist() == [[0, 0, 0], [3, 3, 0]]


@kinds
def test_files_are_read_in_order_and_resumed_at_any_row(tmp_path: Path, kind: str) -> None:
    paths = [
        written(tmp_path, f"{n}.{kind}", pl.DataFrame({"x": range(n * 10_000, (n + 1) * 10_000)}))
        for n in range(2)
    ]
    _, blocks = read(open_files(paths))
    assert numbers(blocks) == list(range(20_000))
    assert max(map(len, blocks)) <= 8192
    for number, row in ((0, 0), (0, 9_999), (0, 10_000), (1, 1234)):
        after = Position(paths[number], row, row, 0)
        rest = content(read(open_files(paths), after)[1])
        assert rest.samples == content(blocks).samples[number * 10_000 + row :]


def test_labels_and_targets_follow_the_task(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": [1, 2], "i": [1, 2], "f": [1.0, 2.5], "b": [True, False]})
    path = written(tmp_path, "f.parquet", frame)
    found = {}
    for target in "ifb":
        schema, (block,) = blocks_of(path, Columns(target=target))
        assert block.target is not None
        found[target] = schema.task, block.target.tolist()
    assert found == {
        "i": (Task.CLASSIFICATION, ["1", "2"]),
        "f": (Task.REGRESSION, [1.0, 2.5]),
        "b": (Task.CLASSIFICATION, ["true", "false"]),
    }


def test_a_kind_may_be_chosen(tmp_path: Path) -> None:
    path = written(tmp_path, "f.parquet", pl.DataFrame({"x": [1, 2]}))
    _, (block,) = blocks_of(path, Columns(kinds={"x": Kind.CATEGORY}))
    assert block.words[0].tolist() == ["1", "2"]
    _, (block,) = blocks_of(path, Columns(kinds={"x": Kind.TIME}))
    assert block.numbers[:, 0].tolist() == [1.0, 2.0]


def test_nested_columns_have_to_be_dropped(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": [1, 2], "l": [[1], [2]], "b": [b"a", b"b"]})
    path = written(tmp_path, "f.parquet", frame)
    with pytest.raises(SchemaError, match=r"f\.parquet has List\(Int64\) in column 'l'"):
        blocks_of(path, Columns())
    with pytest.raises(SchemaError, match="has Binary in column 'b'"):
        blocks_of(path, Columns(drop=("l",)))
    schema, _ = blocks_of(path, Columns(drop=("l", "b")))
    assert schema.numbers == ("x",)


@kinds
def test_a_broken_file_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    frame = pl.DataFrame({"x": range(1000)})
    path = written(tmp_path, f"f.{kind}", frame)
    half = write(tmp_path, f"g.{kind}", Path(path).read_bytes()[:300])
    for bad in (half, write(tmp_path, f"h.{kind}", b"x,y\n1,2\n")):
        with pytest.raises(DataError, match=rf"[gh]\.{kind} can't be read: \S"):
            blocks_of(bad, Columns())


def test_data_that_can_not_be_decompressed_is_permanently_damaged(tmp_path: Path) -> None:
    path = tmp_path / "f.arrow"
    pl.DataFrame({"x": range(1000)}).write_ipc(path, compression="lz4")
    data = path.read_bytes()
    assert data.count(LZ4) == 1
    path.write_bytes(data.replace(LZ4, b"nope"))
    with pytest.raises(DataError, match=r"f\.arrow can't be read: LZ4 error") as e:
        blocks_of(str(path), Columns())
    assert not isinstance(e.value, ReadError)


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EIO, ReadError), (errno.ENOENT, DataError)], ids=["EIO", "ENOENT"]
)
def test_a_system_error_is_distinguished_from_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[DataError]
) -> None:
    path = written(tmp_path, "f.parquet", pl.DataFrame({"x": [1]}))
    why = os.strerror(number)

    def fail(*_: object, **__: object) -> None:
        raise OSError(f"{why} (os error {number}): f.parquet")  # as polars does

    monkeypatch.setattr(pl, "scan_parquet", fail)
    with pytest.raises(DataError, match=rf"f\.parquet can't be read: {why}$") as e:
        blocks_of(path, Columns())
    assert type(e.value) is kind


def test_a_panic_of_polars_is_an_error_with_the_file_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "f.parquet", pl.DataFrame({"x": [1]}))

    def panic(*_: object, **__: object) -> None:
        raise pl.exceptions.PanicException("range end index 8 out of range")

    monkeypatch.setattr(pl.LazyFrame, "collect", panic)
    with pytest.raises(DataError, match=r"f\.parquet can't be read: polars fails at"):
        blocks_of(path, Columns())


@kinds
def test_a_rejected_row_shows_its_infinity(tmp_path: Path, kind: str) -> None:
    frame = pl.DataFrame({"x": [1.0, math.inf, -math.inf], "z": [0.5, math.nan, None]})
    _, blocks = blocks_of(written(tmp_path, f"f.{kind}", frame), Columns())
    assert [letter.raw for letter in blocks[0].rejected] == [
        '{"x":"inf","z":null}',
        '{"x":"-inf","z":null}',
    ]


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "f.parquet", pl.DataFrame({"x": []}))
    with pytest.raises(DataError, match=r"f\.parquet holds no samples"):
        blocks_of(path, Columns())


def test_later_files_must_have_the_same_columns(tmp_path: Path) -> None:
    first = written(tmp_path, "1.parquet", pl.DataFrame({"a": [1], "b": [2]}))
    for name, frame, message in (
        ("2", pl.DataFrame({"a": [1]}), "no column 'b'"),
        ("3", pl.DataFrame({"a": [1], "b": [1], "c": [1]}), "has 'c', but the first file"),
    ):
        path = written(tmp_path, f"{name}.parquet", frame)
        with pytest.raises(SchemaError, match=message):
            read(open_files([first, path]))


def test_a_position_after_the_end_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "f.parquet", pl.DataFrame({"x": [1, 2]}))
    with pytest.raises(DataError, match="has only 2 rows, but was left at row 3"):
        read(open_files([path]), Position(path, 3, 3, 0))


def test_a_name_without_suffix_does_not_hide_the_format(tmp_path: Path) -> None:
    path = written(tmp_path, "f.parquet", pl.DataFrame({"x": [1, 2]}))
    other = write(tmp_path, "data", Path(path).read_bytes())
    assert numbers(read(open_files([other]))[1]) == [1.0, 2.0]


def test_times_with_an_offset_as_zone_are_read(tmp_path: Path) -> None:
    moments = [datetime(2024, 1, day, 12, tzinfo=UTC) for day in (1, 2)]
    column = pl.Series("t", moments).dt.convert_time_zone("Israel")
    path = tmp_path / "f.arrow"
    pl.DataFrame({"t": column}).write_ipc(path)
    data = path.read_bytes()
    assert data.count(b"Israel") == 2
    path.write_bytes(data.replace(b"Israel", b"+05:30"))
    schema, (block,) = read(open_files([path]))
    assert schema.fields == (Field("t", Kind.TIME),)
    assert block.numbers[:, 0].tolist() == [moment.timestamp() for moment in moments]


def test_an_arrow_stream_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "f.arrow"
    pl.DataFrame({"x": [1]}).write_ipc_stream(path)
    with pytest.raises(DataError, match=r"is an Arrow stream, but must be an Arrow file$"):
        read(open_files([path]))


@kinds
def test_the_kind_of_texts_is_inferred_from_the_first_ones_that_are_there(
    tmp_path: Path, kind: str
) -> None:
    days = [None, "NA", " ", *["2020-02-01", "2020-03-01"] * 2]
    frame = pl.DataFrame({"day": days, "y": [*[None] * 6, "up"]})
    columns = Columns(target="y", head=2)
    schema, (block,) = blocks_of(written(tmp_path, f"f.{kind}", frame), columns)
    assert schema == Schema((Field("day", Kind.TIME),), "y", Task.CLASSIFICATION)
    assert np.isnan(block.numbers[:, 0]).tolist() == [True] * 3 + [False] * 4

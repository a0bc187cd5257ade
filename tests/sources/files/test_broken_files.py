"""Files that can't be opened, break off, or change while they are read: told by name."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import polars as pl
import pytest

from streamnet.errors import DataError, SchemaError
from streamnet.samples import Position
from streamnet.sources import Columns, Source, open_files
from streamnet.sources.files.byte_stream import ByteStream, get_file_size
from tests.sources.harness import read, write


@pytest.mark.parametrize(
    ("name", "reason"), [("gone.csv", "No such file or directory"), ("a\0b", "null byte")]
)
def test_a_file_that_can_not_be_opened_is_named(name: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        ByteStream(name, 100)
    assert str(caught.value).startswith(f"{name} can't be read: ")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no file that fails to be read")
def test_a_file_that_fails_in_the_middle_says_so() -> None:
    stream = ByteStream("/proc/self/mem", 100)  # nothing is at its start
    assert stream.read() == b""
    assert stream.ended
    assert stream.failure == "can't be read on (Input/output error)"
    stream.close()


def test_only_a_plain_file_has_a_size(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert get_file_size(write(tmp_path, "a.csv", "x,y\n")) == 4
    assert [get_file_size(str(tmp_path / name)) for name in ("pipe", "gone", ".")] == [None] * 3
    assert get_file_size("-") is None


def test_a_quote_that_is_not_closed_in_the_header_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'x,"y\n1,2\n')
    with pytest.raises((DataError, SchemaError), match="quote"):
        read(open_files([path], columns=Columns(target="x"), header=True))


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing but a comment\n"])
def test_a_libsvm_file_without_records_is_refused(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, "a.svm", text)
    with pytest.raises(DataError, match=r"a\.svm .*no samples"):
        read(open_files([path]))


@pytest.fixture
def table(tmp_path: Path) -> str:
    """A Parquet file of 3,000 rows."""
    path = str(tmp_path / "a.parquet")
    pl.DataFrame({"x": range(3000), "y": ["a", "b"] * 1500}).write_parquet(path)
    return path


def test_a_table_that_lost_rows_while_it_was_read_is_told(table: str) -> None:
    async def shrink(source: Source) -> None:
        await source.open()
        pl.read_parquet(table).head(0).write_parquet(table)
        while await source.receive() is not None:
            pass

    with pytest.raises(DataError, match=r"a\.parquet has no row 0, but had it at the start"):
        anyio.run(shrink, open_files([table], columns=Columns(target="y")))


def test_a_position_of_another_table_is_refused(table: str) -> None:
    with pytest.raises(DataError, match=r"'b\.parquet', which is not among the files"):
        read(open_files([table]), Position("b.parquet", 1))


def test_a_table_tells_how_much_of_it_was_read(table: str) -> None:
    async def shares(source: Source) -> list[float | None]:
        await source.open()
        found = [source.progress()]
        while await source.receive() is not None:
            found.append(source.progress())
        await source.aclose()
        return found

    first, *others = anyio.run(shares, open_files([table], columns=Columns(target="y")))
    assert first == 0.0
    assert others == sorted(share for share in others if share is not None)
    assert others[-1] == 1.0

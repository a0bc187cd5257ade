from __future__ import annotations

import bz2
import io
import zipfile
from pathlib import Path

import polars as pl
import pytest

from streamnet.errors import DataError
from streamnet.sources import Columns, open_files
from tests.sources.harness import read, write

TEXT = "a,y\n1,u\n2,v\n"


def refusal(folder: Path, data: bytes) -> str:
    path = write(folder, "f.csv", data)
    with pytest.raises(DataError) as caught:
        read(open_files([path], columns=Columns(target="y")))
    return str(caught.value).removeprefix(f"{path} ")


def archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("f.csv", TEXT)
    return out.getvalue()


def stream() -> bytes:
    out = io.BytesIO()
    pl.DataFrame({"a": [1], "y": ["u"]}).write_ipc_stream(out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (TEXT.encode("utf-16"), "is UTF-16, but must be text in UTF-8"),
        (TEXT.encode("utf-16-le"), "has a zero byte in its first line: it is UTF-16 or no text"),
        (b"\0" * 5000, "has a zero byte in its first line: it is UTF-16 or no text"),
        (archive(), "is a ZIP archive, as .xlsx is one, but must be text in UTF-8"),
        (
            bz2.compress(TEXT.encode()),
            "is compressed with bzip2, but must be plain, gzip, zstd or xz",
        ),
        (stream(), "is an Arrow stream, but must be text in UTF-8"),
        (TEXT.replace("\n", "\r").encode(), "ends its lines with a carriage return alone"),
    ],
)
def test_what_is_no_text_is_refused_by_what_it_is(tmp_path: Path, data: bytes, what: str) -> None:
    assert refusal(tmp_path, data).startswith(what)


@pytest.mark.parametrize("text", [TEXT.replace("\n", "\r\n"), "a,y\nx\0y,1\n", 'a,y\n"x\ry",1\n'])
def test_odd_bytes_in_a_text_are_no_reason_to_refuse_it(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, "f.csv", text)
    _, blocks = read(open_files([path], columns=Columns(target="y")))
    assert sum(map(len, blocks)) == text.count("\n") - 1

from __future__ import annotations

import gzip
import io
import math
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from streamnet.errors import ConfigurationError, DataError
from streamnet.samples import Block, Kind, Schema
from streamnet.sources import Columns, Source, open_files
from streamnet.sources.files.detection import SIGNATURES, ColumnarFileFormat, TextFileFormat
from streamnet.sources.files.registry import FORMATS
from streamnet.sources.rows import ColumnParser, ConvertedRows, Problems
from streamnet.sources.storage.compression import (
    COMPRESSIONS,
    Compression,
    find_compression,
    may_be_compressed,
)
from streamnet.sources.text.records import Chunk, Head, RecordRules, TextFormat
from tests.sources.harness import assert_resumes_everywhere, numbers, places, read, write

COLUMNS = Columns(target="y")
TEXTS = {"csv": "x,y\n1,a\n", "jsonl": '{"x":1,"y":"a"}\n', "tsv": "x\ty\n1\ta\n"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("f.csv", "csv"),
        ("f.CSV", "csv"),
        ("f.tsv", "tsv"),
        ("f.jsonl", "jsonl"),
        ("f.ndjson", "jsonl"),
        ("f.json", "jsonl"),
        ("f.txt", "csv"),
        ("f.txt", "jsonl"),
        ("f.data", "tsv"),
        ("f", "jsonl"),
    ],
)
def test_the_format_is_inferred_from_the_name_or_else_the_content(
    tmp_path: Path, name: str, text: str
) -> None:
    plain = write(tmp_path, name, TEXTS[text])
    packed = write(tmp_path, f"{name}.gz", gzip.compress(TEXTS[text].encode()))
    for path in (plain, packed):
        assert numbers(read(open_files([path], columns=COLUMNS))[1]) == [1.0]


@pytest.mark.parametrize("text", ["+1 3:1 4:2.5\n", "0 qid:1 3:1 # x\n", "a 1:1e3"])
def test_libsvm_is_known_by_its_content(tmp_path: Path, text: str) -> None:
    schema, (block,) = read(open_files([write(tmp_path, "f.txt", text)]))
    assert schema.target == "label"
    assert block.sparse is not None


def test_patterns_are_expanded_in_order(tmp_path: Path) -> None:
    for n in (3, 1, 2):
        write(tmp_path, f"part-{n}.csv", f"x,y\n{n},a\n")
    (tmp_path / "part-folder.csv").mkdir()
    source = open_files([tmp_path / "part-*.csv"], columns=COLUMNS)
    assert numbers(read(source)[1]) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("kind", [str, Path])
def test_one_file_needs_no_list(tmp_path: Path, kind: type[str | Path]) -> None:
    path = kind(write(tmp_path, "a.csv", TEXTS["csv"]))
    assert numbers(read(open_files(path, columns=COLUMNS))[1]) == [1.0]


def test_a_name_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    named = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.csv")
    Path(named).write_text("x,y\n1,a\n")
    for given in (named, tmp_path / "c*.csv"):
        with pytest.raises(
            DataError, match=r"the name of .*caf\\xe9.csv is not UTF-8, but must be"
        ):
            open_files([given], columns=COLUMNS)


def test_a_name_with_brackets_is_not_a_pattern_if_the_file_exists(tmp_path: Path) -> None:
    path = write(tmp_path, "f[1].csv", TEXTS["csv"])
    assert numbers(read(open_files([path], columns=COLUMNS))[1]) == [1.0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.csv", "does not exist"),
        ("*.csv", "matches no file"),
        ("", "is a folder without files to read"),
    ],
)
def test_an_absent_file_is_refused_by_name(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        open_files([tmp_path / name])
    assert str(caught.value) == f"{tmp_path / name} {message}"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = Path(write(tmp_path, "f.csv", TEXTS["csv"]))
    path.chmod(0)
    with pytest.raises(DataError, match="permission denied"):
        open_files([path])


def test_no_file_is_refused() -> None:
    with pytest.raises(DataError, match="no file is given"):
        open_files([])


@pytest.mark.parametrize("name", ["f.csv", "f.parquet"])
def test_a_file_given_twice_is_refused_by_name(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name, TEXTS["csv"])
    with pytest.raises(ConfigurationError, match=r"given twice \(by FILE or source.files\)"):
        open_files([path, path])


def test_all_files_have_one_format(tmp_path: Path) -> None:
    paths = [write(tmp_path, "a.csv", TEXTS["csv"]), write(tmp_path, "b.jsonl", TEXTS["jsonl"])]
    with pytest.raises(DataError, match=r"b\.jsonl is jsonl by its name, but .* is csv"):
        open_files(paths)


def test_settings_are_checked_before_anything_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", TEXTS["csv"])
    with pytest.raises(ConfigurationError, match="format is 'xml', but must be one of csv"):
        open_files([path], format="xml")
    with pytest.raises(ConfigurationError, match="delimiter is 'ab'"):
        open_files([path], delimiter="ab")
    with pytest.raises(ConfigurationError, match="max_record_bytes is 0"):
        open_files([path], max_record_bytes=0)
    with pytest.raises(ConfigurationError, match="standard input"):
        open_files(["-"], format="parquet")
    with pytest.raises(ConfigurationError, match="follow is True, but standard input is read to"):
        open_files([path, "-"], follow=True)


SCRIPT = """
import anyio
from streamnet.sources import Columns, Source, open_files
from streamnet.sources.files.detection import (
    SIGNATURES,
    ColumnarFileFormat,
    TextFileFormat,
)
from streamnet.sources.storage.compression import (
    COMPRESSIONS,
    Compression,
    find_compression,
    may_be_compressed,
)
from streamnet.sources.files.registry import FORMATS
from streamnet.sources.rows import ColumnParser, Problems
from streamnet.sources.text.records import Chunk, Head, RecordRules, TextFormat
async def main():
    source = open_files(["-"], columns=Columns(target="y"))
    await source.open()
    while (block := await source.receive()) is not None:
        print(block.source, block.numbers[:, 0].tolist(), block.end.offset)
    await source.aclose()
anyio.run(main)
"""


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("piped", [False, True])
def test_standard_input_is_read(
    tmp_path: Path, repository: Path, packed: bool, piped: bool
) -> None:
    data = b"x,y\n1,a\n2,b\n"
    sent = gzip.compress(data) if packed else data
    path = Path(write(tmp_path, "f", sent))
    with path.open("rb") as file:
        given: dict[str, Any] = {"input": sent} if piped else {"stdin": file}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            capture_output=True,
            check=True,
            cwd=repository,
            env={**os.environ, "PYTHONPATH": str(repository)},
            **given,
        )
    assert done.stdout.decode().strip() == "- [1.0, 2.0] 12"


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
        (b"\0" * 5000, "has a zero byte in its first line: it is no text, or in an encoding that"),
        (archive(), "is a ZIP archive, but must be text: give it the suffix .zip, or that of"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", "is a PDF document, but must be text: get the"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" * 99, "is an old Office document, but must be text"),
        (b"Rar!\x1a\x07\x01\0\xf3\xe1\x82\xeb", "is a RAR archive, but must be text: unpack it"),
        (stream(), "is an Arrow stream, but must be text: write it as an Arrow file"),
        (TEXT.replace("\n", "\r").encode(), "ends its lines with a carriage return alone"),
    ],
)
def test_a_binary_file_is_refused_with_its_type(tmp_path: Path, data: bytes, what: str) -> None:
    assert refusal(tmp_path, data).startswith(what)


@pytest.mark.parametrize("text", [TEXT.replace("\n", "\r\n"), "a,y\nx\0y,1\n", 'a,y\n"x\ry",1\n'])
def test_odd_bytes_in_a_text_are_accepted(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, "f.csv", text)
    _, blocks = read(open_files([path], columns=Columns(target="y")))
    assert sum(map(len, blocks)) == text.count("\n") - 1


class TildeFormat(TextFormat):
    """A toy format: lines of a number, a tilde and a label."""

    name = "tilde"
    rules = RecordRules()

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._schema = Schema(())

    def infer_schema(self, head: Head) -> Schema:
        self._schema = self._columns.build_schema(head.file, ("x", "y"), lambda _: Kind.NUMBER)
        return self._schema

    def restore_state(self, state: Mapping[str, Any], schema: Schema) -> None:
        self._schema = schema

    def read(self, chunk: Chunk) -> tuple[Block, int]:
        values, _, labels = zip(
            *(chunk.raw(row).decode().partition("~") for row in range(len(chunk))), strict=True
        )
        parser = ColumnParser(self._columns, self._columns.parse_options())
        problems: Problems = {}
        column = parser.numbers("x", Kind.NUMBER, values, 0, problems)
        target = parser.target(self._schema, labels, problems)
        numbers = np.array(column)[:, None]
        rows = ConvertedRows(self._schema, len(chunk), numbers, (), target, problems)
        return chunk.block(rows), len(chunk)


@pytest.fixture
def tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the toy format the way any other one is."""
    kind = TextFileFormat(
        TildeFormat.name,
        (".tilde",),
        lambda options: TildeFormat(options.columns),
        lambda line: b"~" in line,
    )
    monkeypatch.setitem(FORMATS, kind.name, kind)


@pytest.mark.usefixtures("tilde")
@pytest.mark.parametrize(
    ("name", "given"), [("f.tilde", {}), ("f.txt", {}), ("f.csv", {"format": "tilde"})]
)
def test_a_registered_format_is_found_by_name_content_and_setting(
    tmp_path: Path, name: str, given: dict[str, Any]
) -> None:
    path = write(tmp_path, name, "1~a\n2~b\n?~c\n")

    def make() -> Source:
        return open_files([path], columns=COLUMNS, **given)

    assert numbers(read(make())[1]) == pytest.approx([1.0, 2.0, math.nan], nan_ok=True)
    assert_resumes_everywhere(make, places(make))
    with pytest.raises(ConfigurationError, match=r"must be one of .*, tilde$"):
        open_files([path], format="x")


def test_no_suffix_belongs_to_two_formats_or_compressions() -> None:
    suffixes = [s for kind in FORMATS.values() for s in kind.suffixes]
    suffixes += [compression.suffix for compression in COMPRESSIONS]
    assert len(set(suffixes)) == len(suffixes)
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in suffixes)


def test_a_columnar_format_is_never_read_as_text() -> None:
    columnar = [kind for kind in FORMATS.values() if isinstance(kind, ColumnarFileFormat)]
    assert columnar
    assert {kind.signature for kind in columnar} <= set(SIGNATURES)


@pytest.mark.parametrize("compression", COMPRESSIONS, ids=lambda compression: compression.name)
def test_every_compression_is_detected_by_its_content(compression: Compression) -> None:
    for signature in compression.signatures:
        assert find_compression(signature + b"rest") is compression
        assert all(may_be_compressed(signature[:size]) for size in range(len(signature)))

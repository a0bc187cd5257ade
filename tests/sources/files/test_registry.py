from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streamnet.errors import ConfigurationError, DataError
from streamnet.sources import Columns, open_files
from tests.sources.harness import numbers, read, write

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
def test_the_name_or_else_the_content_tells_the_format(
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


def test_a_name_with_brackets_is_first_of_all_a_name(tmp_path: Path) -> None:
    path = write(tmp_path, "f[1].csv", TEXTS["csv"])
    assert numbers(read(open_files([path], columns=COLUMNS))[1]) == [1.0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.csv", "does not exist"),
        ("*.csv", "matches no file"),
        ("", "is a folder, but must be a file"),
    ],
)
def test_a_file_that_is_not_there_is_refused_by_name(
    tmp_path: Path, name: str, message: str
) -> None:
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
def test_a_file_that_is_given_twice_is_refused_by_name(tmp_path: Path, name: str) -> None:
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
from streamnet.sources import Columns, open_files
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

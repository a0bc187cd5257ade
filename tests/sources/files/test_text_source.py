"""Text files in order, resumed anywhere; broken files are reported by name."""

from __future__ import annotations

import gzip
import lzma
import os
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamnet.errors import ConfigurationError, DataError, SchemaError
from streamnet.samples import Block, Position, Task
from streamnet.sources import Columns, Source, TextSource, open_files
from streamnet.sources.files.byte_stream import ByteStream
from streamnet.sources.files.csv import CsvFormat
from streamnet.sources.files.detection import TextOptions
from tests.sources.harness import (
    assert_cuts_agree,
    content,
    numbers,
    places,
    read,
    reasons,
    resumed,
    write,
)

MESSY = {
    "csv": (
        'x,w,y\n1,a,u\n\n2,"b\n\nb",v\r\nz,c,u\n3,"c,u\n 4 , d ,"v"\n'
        "5,é,u\n" + "6,long" + "g" * 50 + ',u\n7,a\n8,"e""e",u\n   \n9,x,\n10,last,u'
    ),
    "jsonl": (
        '{"x":1,"y":"u"}\n\n{"x":"z","y":"u"}\n{"y":"v"}\r\n{"x":2,"n":3,"y":"u"}\n[]\n{\n'
        '{"x":1,"y":"u","n":[1]}\n{"x":1,"y":"u","m":"é"}\n{"x":1e999,"y":"u"}\n'
        '{"x":1,"y":null}\n{"x":4,"y":"v","long":"' + "g" * 50 + '"}\n{"x":5,"y":"u"}'
    ),
    "libsvm": (
        "u 1:2 3:4\n# comment\nv 2:1 # x\r\n\nu 3:1 2:1\nu a:1\nu 2:x\nv\nu 7:0 9:1\n1,2 3:4\n"
        "u " + " ".join(f"{n}:1" for n in range(30)) + "\nu 4:0.5"
    ),
}


def messy(folder: Path, form: str) -> str:
    return write(folder, f"messy.{form}", MESSY[form])


def source_of(path: str, **options: Any) -> TextSource:
    target = "label" if "libsvm" in path.rpartition("/")[2] else "y"
    columns = Columns(target=target, head=2)
    source = open_files([path], columns=columns, max_record_bytes=56, **options)
    assert isinstance(source, TextSource)
    return source


@pytest.mark.parametrize("form", MESSY)
def test_how_much_is_read_at_once_changes_nothing(tmp_path: Path, form: str) -> None:
    path = messy(tmp_path, form)
    found = assert_cuts_agree(
        lambda size: source_of(path, chunk_bytes=size), (1 << 20, 1, 2, 3, 7, 64)
    )
    assert len(found.samples) >= 4
    assert len(found.letters) >= 4


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("form", MESSY)
def test_a_source_resumes_after_every_sample(tmp_path: Path, form: str, packed: bool) -> None:
    path = messy(tmp_path, form)
    if packed:
        path = write(tmp_path, f"messy.{form}.gz", gzip.compress(Path(path).read_bytes()))
    found = places(lambda: source_of(path))
    assert len(found) > 5
    for place in found:
        rest = resumed(source_of(path, chunk_bytes=50), place)
        assert rest == place.rest


@pytest.mark.parametrize("form", MESSY)
def test_a_position_is_the_place_in_the_text(tmp_path: Path, form: str) -> None:
    text = MESSY[form].encode()
    _, blocks = read(source_of(messy(tmp_path, form)))
    for block in blocks:
        for offset, _, line in block.marks[:-1].tolist():
            assert offset == 0 or text[:offset].endswith(b"\n")
            assert line == 1 + text.count(b"\n", 0, offset)
        for letter in block.rejected:
            assert text[letter.offset :].startswith(letter.raw.encode())
    records = [mark[1] for block in blocks for mark in block.marks[:-1].tolist()]
    assert records == sorted(set(records))


pieces = st.lists(
    st.sampled_from(["a", "1", ",", '"', "\n", "\r\n", " ", "é", "\n1,a\n"]), max_size=25
)


@settings(max_examples=50)
@given(pieces.map("".join), st.integers(1, 9), st.integers(6, 40))
def test_any_text_is_cut_into_the_same_samples(
    tmp_path_factory: pytest.TempPathFactory, text: str, size: int, longest: int
) -> None:
    path = write(tmp_path_factory.mktemp("any"), "f.csv", "x,y\n1,a\n" + text)
    columns = Columns(target="y", head=1)

    def make(chunk: int) -> TextSource:
        form = CsvFormat(TextOptions(columns, ",", True, max_record_bytes=longest))
        return TextSource([path], lambda *_: form, head=1, chunk_bytes=chunk)

    assert_cuts_agree(make, (1 << 20, size))


@given(st.lists(st.binary(max_size=12), max_size=8), st.sampled_from(["jsonl", "libsvm"]))
def test_any_line_is_accepted_or_rejected(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], form: str
) -> None:
    first = b'{"x":1,"label":"a"}' if form == "jsonl" else b"a 1:2"
    lines = [line.replace(b"\n", b"").replace(b"#", b"") for line in lines]
    data = b"\n".join([first, *lines])
    path = write(tmp_path_factory.mktemp("any"), "f.txt", data)
    source = open_files([path], format=form, columns=Columns(target="label", head=1))
    accepted, letters = content(read(source)[1])
    assert len(accepted) + len(letters) == 1 + sum(bool(line.strip(b" \r")) for line in lines)


@pytest.mark.parametrize(
    ("suffix", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress), ("", bytes)]
)
def test_a_compressed_file_is_detected_by_its_content(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    text = "x,y\n" + "".join(f"{n},a\n" for n in range(20_000))
    halves = text[:30_000].encode(), text[30_000:].encode()
    path = write(tmp_path, "f.csv", b"".join(map(pack, halves)))  # two members
    source = open_files([path], columns=Columns(target="y"))
    _, blocks = read(source)
    assert numbers(blocks) == list(range(20_000))
    assert source.progress() == 1.0
    assert max(map(len, blocks)) <= 8192


def test_files_are_read_in_order_and_resumed_in_any(tmp_path: Path) -> None:
    paths = [write(tmp_path, f"{n}.csv", f"x,y\n{n},a\n{n}.5,a\n") for n in range(3)]
    columns = Columns(target="y")
    assert numbers(read(open_files(paths, columns=columns))[1]) == [0, 0.5, 1, 1.5, 2, 2.5]
    after = Position(paths[1], 8, 1, 3)
    _, blocks = read(open_files(paths, columns=columns), after)
    assert numbers(blocks) == [1.5, 2.0, 2.5]
    assert blocks[0].marks[0].tolist() == [8, 1, 3]


def test_a_position_in_an_unknown_or_shorter_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "f.csv", "x,y\n1,a\n")
    with pytest.raises(DataError, match="not among the files"):
        read(open_files([path], columns=Columns(target="y")), Position("other.csv", 8, 1, 3))
    with pytest.raises(DataError, match="has only 8 bytes, but was left at byte 99"):
        read(open_files([path], columns=Columns(target="y")), Position(path, 99, 1, 3))


@pytest.mark.parametrize("settings", [{"chunk_bytes": 0}, {"paths": []}, {"paths": ["a", "a"]}])
def test_a_bad_setting_is_refused(settings: dict[str, Any]) -> None:
    given: dict[str, Any] = {"paths": ["a"], "choose": lambda *_: CsvFormat(TextOptions(Columns()))}
    with pytest.raises(ConfigurationError, match="but "):
        TextSource(**(given | settings))


def test_a_record_that_is_too_long_costs_no_memory(tmp_path: Path) -> None:
    path = write(tmp_path, "f.csv", "x,y\n1,a\n" + "9" * 300_000 + ",a\n2,b\n")
    form = CsvFormat(TextOptions(Columns(target="y", head=1), max_record_bytes=100))
    source = TextSource([path], lambda *_: form, head=1, chunk_bytes=64)
    held = []

    async def watched() -> list[Block]:
        await source.open()
        blocks = []
        while (block := await source.receive()) is not None:
            held.append(0 if source._files.file is None else len(source._files.file.data))
            blocks.append(block)
        return blocks

    blocks = anyio.run(watched)
    assert reasons(blocks) == [(3, "too-long")]
    assert numbers(blocks) == [1.0, 2.0]
    assert max(held) < 5000


def test_a_pipe_returns_available_samples_without_waiting(backend: str) -> None:
    reading, writing = os.pipe()
    path = f"/dev/fd/{reading}"
    got = []

    async def main() -> None:
        source = open_files([path], columns=Columns(target="y", head=1))
        os.write(writing, b"x,y\n1,a\n")
        with anyio.fail_after(20):
            await source.open()
            for number in (1, 2, 3):
                if number > 1:
                    os.write(writing, b"%d,a\n" % number)
                block = await source.receive()
                assert block is not None
                got.append(numbers([block]))
            with anyio.move_on_after(0):
                await source.receive()
            os.write(writing, b"4,a\n5")
            block = await source.receive()
            assert block is not None
            got.append(numbers([block]))
            os.write(writing, b",a")
            os.close(writing)
            block = await source.receive()
            assert block is not None
            got.append(numbers([block]))
            assert await source.receive() is None
            assert source.progress() is None
        await source.aclose()

    anyio.run(main, backend=backend)
    os.close(reading)
    assert got == [[1.0], [2.0], [3.0], [4.0], [5.0]]


@pytest.mark.parametrize("records", [1, 5])
@pytest.mark.parametrize(
    ("form", "header", "record"),
    [("csv", "x,y\n", "{},a\n"), ("jsonl", "", '{{"x":{},"y":"a"}}\n'), ("libsvm", "", "1 1:{}\n")],
)
def test_a_quiet_pipe_is_inferred_from_what_has_arrived(
    backend: str, form: str, header: str, record: str, records: int
) -> None:
    reading, writing = os.pipe()
    text = header + "".join(record.format(n) for n in range(1, 1 + records))

    async def main() -> tuple[int, int]:
        columns = Columns(target=None if form == "libsvm" else "y")
        source = open_files([f"/dev/fd/{reading}"], format=form, columns=columns)
        with anyio.fail_after(20):
            os.write(writing, text.encode())
            await source.open()
            first = await source.receive()
            os.write(writing, record.format(9).encode())
            second = await source.receive()
        await source.aclose()
        assert first is not None
        assert second is not None
        return len(first), len(second)

    assert anyio.run(main, backend=backend) == (records, 1)
    os.close(writing)
    os.close(reading)


def test_a_slow_pipe_does_not_wait_for_a_long_head() -> None:
    reading, writing = os.pipe()
    ended = threading.Event()

    def trickle() -> None:
        os.write(writing, b"x,y\n")
        while not ended.wait(0.05):
            os.write(writing, b"1,a\n")

    async def main() -> int:
        source = open_files([f"/dev/fd/{reading}"], columns=Columns(target="y"))
        with anyio.fail_after(20):
            await source.open()
            block = await source.receive()
        await source.aclose()
        return len(block or ())

    writer = threading.Thread(target=trickle)
    writer.start()
    found = anyio.run(main)
    ended.set()
    writer.join()
    os.close(writing)
    os.close(reading)
    assert 1 <= found < 500


def test_a_header_alone_is_not_a_complete_head() -> None:
    reading, writing = os.pipe()

    async def main() -> tuple[str, ...]:
        source = open_files([f"/dev/fd/{reading}"], columns=Columns(target="y"))
        os.write(writing, b"x,y\n")
        with anyio.move_on_after(0.5) as scope:
            await source.open()
        assert scope.cancelled_caught
        await source.aclose()
        source = open_files([f"/dev/fd/{reading}"], columns=Columns(target="y"))
        os.write(writing, b"x,y\n1,a\n")
        schema = await source.open()
        await source.aclose()
        return schema.numbers

    assert anyio.run(main) == ("x",)
    os.close(writing)
    os.close(reading)


def test_waiting_for_a_quiet_pipe_can_be_cancelled(backend: str) -> None:
    reading, writing = os.pipe()

    async def main() -> list[float]:
        source = open_files([f"/dev/fd/{reading}"], columns=Columns(target="y", head=1))
        os.write(writing, b"x,y\n1,a\n")
        await source.open()
        first = await source.receive()
        for _ in range(3):
            with anyio.move_on_after(0.01) as scope:
                await source.receive()
            assert scope.cancelled_caught
        os.write(writing, b"2,a\n")
        second = await source.receive()
        await source.aclose()
        assert first is not None
        assert second is not None
        return numbers([first, second])

    assert anyio.run(main, backend=backend) == [1.0, 2.0]
    os.close(writing)
    os.close(reading)


def test_a_compressed_pipe_is_decompressed(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    text = b"x,y\n" + b"".join(b"%d,a\n" % n for n in range(5000))
    writer = threading.Thread(target=path.write_bytes, args=(gzip.compress(text),))
    writer.start()
    _, blocks = read(open_files([path], columns=Columns(target="y"), chunk_bytes=1000))
    writer.join()
    assert numbers(blocks) == list(range(5000))


def test_decompressed_data_of_a_pipe_is_returned_before_more_arrives() -> None:
    reading, writing = os.pipe()
    text = b"x,y\n" + b"1,a\n" * 5000
    packer = zlib.compressobj(wbits=31)
    os.write(writing, packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH))

    async def main() -> int:
        columns = Columns(target="y", head=1)
        source = open_files([f"/dev/fd/{reading}"], columns=columns, chunk_bytes=64)
        count = 0
        with anyio.fail_after(20):
            await source.open()
            while count < 5000:
                count += len(await source.receive() or ())
        await source.aclose()
        return count

    assert anyio.run(main) == 5000
    os.close(writing)
    os.close(reading)


def test_reading_works_on_each_event_loop(tmp_path: Path, run: Callable[..., Any]) -> None:
    path = write(tmp_path, "f.csv", "x,y\n1,a\n2,b\n")

    async def main() -> list[float]:
        source = open_files([path], columns=Columns(target="y"))
        await source.open()
        block = await source.receive()
        assert block is not None
        assert await source.receive() is None
        await source.aclose()
        await source.aclose()
        assert await source.receive() is None
        return numbers([block])

    assert run(main) == [1.0, 2.0]


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


def test_an_unclosed_quote_in_the_header_is_reported(tmp_path: Path) -> None:
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


def test_a_table_that_lost_rows_while_it_was_read_is_an_error(table: str) -> None:
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


def test_a_table_has_progress(table: str) -> None:
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


def labeled_text(suffix: str, labels: list[str]) -> str:
    if suffix == "csv":
        return "x,label\n" + "".join(f"{i},{y}\n" for i, y in enumerate(labels))
    if suffix == "jsonl":
        return "".join(f'{{"x": {i}, "label": {y or "null"}}}\n' for i, y in enumerate(labels))
    return "".join(f"{y or '?'} 1:{i}\n" for i, y in enumerate(labels))


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "svm"])
@pytest.mark.parametrize("gaps", [1000, 5000])
def test_the_task_is_looked_for_where_the_target_has_its_first_values(
    tmp_path: Path, suffix: str, gaps: int
) -> None:
    labels = ["" if i < gaps else f"{i / 4}" for i in range(gaps + 50)]
    path = write(tmp_path, f"f.{suffix}", labeled_text(suffix, labels))

    def make(size: int = 1 << 20) -> Source:
        return open_files([path], columns=Columns(target="label"), chunk_bytes=size)

    schema, blocks = read(make())
    assert schema.task is Task.REGRESSION
    targets = np.concatenate([b.target for b in blocks if b.target is not None])
    assert np.isnan(targets).tolist() == [not y for y in labels]
    assert content(read(make(1000))[1]) == content(blocks)
    write(tmp_path, f"f.{suffix}", labeled_text(suffix, [""] * (gaps + 50)))
    with pytest.raises(DataError, match="has no value of the target 'label'"):
        read(make())

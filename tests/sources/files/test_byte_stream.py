"""Decompression, and everything that can happen to a followed file."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random
import shutil
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import pytest

from streamnet.errors import ConfigurationError, DataError
from streamnet.samples import Block
from streamnet.sources import Columns, Source, open_files
from streamnet.sources.files import byte_stream
from streamnet.sources.files.byte_stream import ByteStream
from streamnet.sources.storage.compression import COMPRESSION_SIGNATURES, PIECE, find_compression
from tests.sources.harness import (
    after_a_stop,
    append,
    content,
    delete,
    firsts,
    follow,
    followed,
    go_on,
    is_quiet,
    left,
    put,
    read,
    rotate,
    rows,
    take,
    write,
)

zstd = pytest.importorskip("backports.zstd", reason="no zstd to write test files with")
TEXT = "x,y\n" + "".join(f"{random.Random(n).random()},a\n" for n in range(30_000))
Packer = Callable[[bytes], bytes]
PACKERS: dict[str, Packer] = {
    "gz": gzip.compress,
    "xz": lzma.compress,
    "zst": zstd.compress,
    "bz2": partial(bz2.compress, compresslevel=1),  # in blocks of 100 kB
}
packers = pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS.keys())


def everything(path: str, chunk_bytes: int) -> tuple[bytes, str | None]:
    stream = ByteStream(path, chunk_bytes, encoding="utf-8")
    found = b""
    while not stream.ended:
        piece = stream.read()
        assert len(piece) <= chunk_bytes or chunk_bytes < 8
        found += piece
    stream.close()
    return found, stream.failure


@packers
@pytest.mark.parametrize("chunk_bytes", [1 << 20, 1000, 7])
def test_compressed_data_is_decompressed(tmp_path: Path, pack: Packer, chunk_bytes: int) -> None:
    data = TEXT.encode()[:20_000]
    path = write(tmp_path, "f", pack(data[:9000]) + pack(data[9000:]))
    assert everything(path, chunk_bytes) == (data, None)


@pytest.mark.parametrize("chunk_bytes", [1 << 20, 7])
def test_frames_of_zstd_that_hold_no_data_are_skipped(tmp_path: Path, chunk_bytes: int) -> None:
    pack, data = PACKERS["zst"], TEXT.encode()[:5000]
    first = b"\x50\x2a\x4d\x18\x04\0\0\0size"  # as pzstd writes before each frame
    last = b"\x5e\x2a\x4d\x18\x05\0\0\0table"  # as a seekable file has at its end
    path = write(tmp_path, "f", first + pack(data) + first + pack(data) + last)
    assert everything(path, chunk_bytes) == (data + data, None)
    cut = write(tmp_path, "g", first + pack(data) + last[:-1])
    assert everything(cut, chunk_bytes) == (data, "is cut off in the middle of its compressed data")


@packers
def test_padding_after_the_data_is_ignored_and_anything_else_is_an_error(
    tmp_path: Path, pack: Packer
) -> None:
    path = write(tmp_path, "f", pack(b"text") + bytes(100))
    assert everything(path, 1000) == (b"text", None)
    path = write(tmp_path, "g", pack(b"text") + b"something else")
    data, failure = everything(path, 1000)
    assert data == b"text"
    assert failure == "has something else after its compressed data"


def blocks_before_a_break(path: str) -> tuple[list[Block], str]:
    blocks: list[Block] = []

    async def main() -> str:
        source = open_files([path], columns=Columns(target="y"))
        try:
            await source.open()
            while (block := await source.receive()) is not None:
                blocks.append(block)
        except DataError as error:
            return str(error)
        finally:
            await source.aclose()
        return "nothing broke"

    return blocks, anyio.run(main)


@packers
def test_all_complete_records_before_a_cut_are_read(tmp_path: Path, pack: Packer) -> None:
    packed = pack(TEXT.encode())
    path = write(tmp_path, "f.csv", packed[: len(packed) // 2])
    blocks, message = blocks_before_a_break(path)
    count = sum(map(len, blocks))
    assert count > 500
    good = content(
        read(open_files([write(tmp_path, "g.csv", TEXT)], columns=Columns(target="y")))[1]
    )
    assert [s[1:] for s in content(blocks).samples] == [s[1:] for s in good.samples[:count]]
    assert message.startswith(f"{path} is cut off in the middle of its compressed data after byte ")
    assert int(message.split()[-4]) >= blocks[-1].end.offset


@packers
def test_a_damaged_file_is_an_error_with_its_name(tmp_path: Path, pack: Packer) -> None:
    packed = bytearray(pack(TEXT.encode()))
    packed[-6] ^= 255
    packed[len(packed) // 2] ^= 255
    path = write(tmp_path, "f.csv", bytes(packed))
    _, message = blocks_before_a_break(path)
    assert message.startswith(f"{path} is damaged (")


@pytest.mark.parametrize("seed", range(40))
def test_hardly_anything_before_damaged_data_is_lost(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    whole = TEXT.encode()[: chance.choice((20_000, 300_000, len(TEXT)))]
    packed = bytearray(gzip.compress(whole, mtime=0))
    packed[chance.randrange(10, len(packed))] ^= 1 << chance.randrange(8)
    found, failure = everything(write(tmp_path, "f.gz", bytes(packed)), 1 << 20)
    # What there is to be had: zlib gives it bit by bit until it meets the damage.
    unpacker, bare = zlib.decompressobj(16 + zlib.MAX_WBITS), bytearray()
    with suppress(zlib.error):
        rest = bytes(packed)
        while rest and not unpacker.eof:
            bare += unpacker.decompress(rest, 64)
            rest = unpacker.unconsumed_tail
    assert found[: len(bare)] == bare[: len(found)]
    assert len(found) > len(bare) - PIECE
    assert (failure is None) == unpacker.eof


def test_a_file_that_is_damaged_from_the_start_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "f.csv", b"\x1f\x8b nonsense")
    with pytest.raises(DataError, match=r"f\.csv is damaged \(.*\)$"):
        read(open_files([path], columns=Columns(target="y")))


def test_a_highly_compressed_file_needs_little_memory(tmp_path: Path) -> None:
    path = write(tmp_path, "f", gzip.compress(bytes(50_000_000), 9))
    stream = ByteStream(path, 1 << 16)
    longest = max(len(stream.read()) for _ in range(50))
    assert longest == 1 << 16
    stream.close()


def test_a_file_without_a_known_signature_is_not_compressed() -> None:
    assert find_compression(b"x,y") is None
    assert all(find_compression(magic + b"rest") is not None for magic in COMPRESSION_SIGNATURES)


@pytest.mark.parametrize("data", [b"", b"\x1f", b"\xfd7z", b"(\xb5/"])
def test_a_file_shorter_than_a_signature_is_not_compressed(tmp_path: Path, data: bytes) -> None:
    assert everything(write(tmp_path, "f", data), 1000) == (data, None)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(byte_stream, "ROTATION_GRACE", 0.15)
    monkeypatch.setattr(byte_stream, "LONGEST_PAUSE", 0.05)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "live.csv"


EITHER = pytest.mark.parametrize("read", [followed, after_a_stop])


@pytest.mark.parametrize(
    ("form", "top", "record"),
    [
        ("csv", "x,y\n", "{},a\n"),
        ("tsv", "x\ty\n", "{}\ta\n"),
        ("jsonl", "", '{{"x":{},"y":"a"}}\n'),
        ("libsvm", "", "1 1:{}\n"),
    ],
)
def test_a_file_is_read_on_as_it_grows_in_whole_records(
    tmp_path: Path, run: Callable[..., Any], form: str, top: str, record: str
) -> None:
    path = tmp_path / f"live.{form}"

    async def main() -> list[int]:
        put(path, top + record.format(1) + record.format(2)[:3])
        target = None if form == "libsvm" else "y"
        source = open_files([path], columns=Columns(target=target), follow=True)
        await source.open()
        counts = [len((await take(source, 1))[0])]
        assert await is_quiet(source)
        append(path, record.format(2)[3:] + record.format(3))
        counts.append(sum(map(len, await take(source, 2))))
        assert source.progress() is None
        await source.aclose()
        assert await source.receive() is None
        return counts

    assert run(main) == [1, 2]


def test_an_empty_file_is_waited_for(log: Path) -> None:
    async def main() -> list[float]:
        put(log, "")
        source = follow(log)
        async with anyio.create_task_group() as group:
            group.start_soon(source.open)
            await anyio.sleep(0.2)
            append(log, "x,y\n" + rows(1))
        found = firsts(await take(source, 1))
        await source.aclose()
        return found

    assert anyio.run(main) == [1]


def test_waiting_ends_at_once_when_it_is_cancelled(log: Path, backend: str) -> None:
    async def main() -> float:
        put(log, "x,y\n" + rows(1))
        source = follow(log)
        await source.open()
        await take(source, 1)
        async with anyio.create_task_group() as group:
            group.start_soon(source.receive)
            await anyio.sleep(0.3)
            start = monotonic()
            group.cancel_scope.cancel()
        seconds = monotonic() - start
        append(log, rows(2))
        assert firsts(await take(source, 1)) == [2]
        await source.aclose()
        return seconds

    assert anyio.run(main, backend=backend) < 0.2


@EITHER
def test_a_rotated_file_is_read_to_its_end_and_then_the_new_one(read: Any, log: Path) -> None:
    def accident() -> None:
        rotate(log, "live.csv.1", more="4,a\n5,a", text="x,y\n" + rows(6, 7))

    assert read(log, accident, records=4) == ([4, 5, 6, 7], [])


@EITHER
def test_files_that_were_rotated_in_between_are_read_in_order(read: Any, log: Path) -> None:
    def accident() -> None:
        rotate(log, "live.csv.1", more=rows(4), text="x,y\n" + rows(5))
        log.with_name("live.csv.1").rename(log.with_name("live.csv.2"))
        later = log.with_name("live.csv.2").stat().st_mtime_ns + 1_000_000
        os.utime(log, ns=(later, later))
        rotate(log, "live.csv.1", text="x,y\n" + rows(6))
        os.utime(log.with_name("live.csv.1"), ns=(later, later))
        (log.parent / "live.csv.bak").write_text("x,y\n" + rows(99))

    assert read(log, accident, records=3) == ([4, 5, 6], [])


def test_data_still_written_to_a_renamed_file_is_read(log: Path) -> None:
    async def main() -> list[float]:
        put(log, "x,y\n" + rows(1))
        source = follow(log)
        await source.open()
        await take(source, 1)
        with log.open("a") as file:
            rotate(log, "live.csv.1", text="x,y\n" + rows(3))
            await anyio.sleep(0.05)
            file.write(rows(2))
        found = firsts(await take(source, 2))
        await source.aclose()
        return found

    assert anyio.run(main) == [2, 3]


@EITHER
def test_a_file_that_is_copied_and_cut_loses_nothing(read: Any, log: Path) -> None:
    def accident() -> None:
        append(log, rows(4))
        shutil.copy(log, log.with_name("live.csv.1"))
        os.truncate(log, 0)
        append(log, rows(5, 6))  # whoever writes goes on without a header

    assert read(log, accident, records=3) == ([4, 5, 6], [])


def replaced_when_idle(log: Path) -> None:
    log.with_name("other").write_text("x,y\n" + rows(10, 11))
    log.unlink()
    log.with_name("other").rename(log)


@EITHER
def test_a_file_replaced_by_one_that_continues_it_is_read_on(read: Any, log: Path) -> None:
    def accident() -> None:
        other = log.with_name("other")
        other.write_text("x,y\n" + rows(1, 2, 3, 4))
        other.rename(log)

    assert read(log, accident, records=1) == ([4], [])


def test_a_file_replaced_by_another_one_is_read_from_its_start(log: Path) -> None:
    assert followed(log, lambda: replaced_when_idle(log), records=2) == ([10, 11], [])


def test_a_deleted_file_is_waited_for(log: Path) -> None:
    async def main() -> list[float]:
        put(log, "x,y\n" + rows(1))
        source = follow(log)
        await source.open()
        await take(source, 1)
        append(log, rows(2))
        delete(log)
        assert firsts(await take(source, 1)) == [2]
        assert await is_quiet(source, 0.4)
        put(log, "x,y\n" + rows(3))
        found = firsts(await take(source, 1))
        await source.aclose()
        return found

    assert anyio.run(main) == [3]


def test_a_followed_file_resumes_everywhere(log: Path) -> None:
    async def main() -> None:
        put(log, "x,y\n" + rows(1, 2) + "bad,a\n" + rows(3))
        source = open_files([log], columns=Columns(target="y", head=2), follow=True)
        await source.open()
        (block,) = await take(source, 4)
        places = [left(source, block.part(0, stop)) for stop in (1, 2, 3)]
        await source.aclose()
        append(log, rows(4))
        for place, rest in zip(places, ([2, 3, 4], [3, 4], [4]), strict=True):
            again = await go_on(follow(log), place)
            assert firsts(await take(again, len(rest) + (rest[0] == 2))) == rest
            await again.aclose()

    anyio.run(main)


def test_files_before_the_last_are_read_to_their_end(log: Path) -> None:
    async def main() -> list[float]:
        old = log.with_name("old.csv")
        put(old, "x,y\n" + rows(1, 2))
        put(log, "x,y\n" + rows(3))
        source = open_files([old, log], columns=Columns(target="y"), follow=True)
        await source.open()
        await take(source, 3)
        append(log, rows(4))
        found = firsts(await take(source, 1))
        await source.aclose()
        return found

    assert anyio.run(main) == [4]


def test_files_that_can_not_be_followed_are_refused(tmp_path: Path, log: Path) -> None:
    async def opened(source: Source) -> None:
        try:
            with anyio.fail_after(10):
                await source.open()
        finally:
            await source.aclose()

    log.write_bytes(gzip.compress(b"x,y\n1,a\n"))
    with pytest.raises(DataError, match=r"is compressed, but only plain text can be followed$"):
        anyio.run(opened, follow(log))
    (tmp_path / "f.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigurationError, match="follow its folder"):
        follow(tmp_path / "f.parquet")
    with pytest.raises(ConfigurationError, match="on_gap is 'ignore'"):
        follow(log, on_gap="ignore")
    with pytest.raises(DataError, match="does not exist"):
        anyio.run(opened, follow(tmp_path / "none.csv"))


def cut(log: Path) -> None:
    os.truncate(log, 0)


def cut_and_filled(log: Path) -> None:
    log.write_text("x,y\n" + rows(*range(10, 30)))


def one_byte_shorter(log: Path) -> None:
    os.truncate(log, log.stat().st_size - 1)


def overwritten(log: Path) -> None:
    with log.open("r+") as file:
        file.write("x,y\n" + rows(7, 8, 9, 10))


ACCIDENTS = [cut, cut_and_filled, one_byte_shorter, overwritten]


@pytest.mark.parametrize("accident", ACCIDENTS)
@EITHER
def test_a_file_that_lost_something_stops_the_run(
    read: Any, log: Path, accident: Callable[[Path], None]
) -> None:
    with pytest.raises(DataError, match=r"live\.csv (was cut|has other|has changed)") as error:
        read(log, lambda: accident(log), records=1)
    assert "on_gap 'go_on' would continue" in str(error.value)


@pytest.mark.parametrize("accident", ACCIDENTS)
@EITHER
def test_a_gap_may_be_recorded_instead_and_the_file_read_from_its_start(
    read: Any, log: Path, accident: Callable[[Path], None]
) -> None:
    def happen() -> None:
        accident(log)
        if accident in (cut, one_byte_shorter):
            log.write_text("x,y\n" + rows(7))

    _, found = read(log, happen, records=1, on_gap="go_on")
    assert [(letter.reason, letter.source) for letter in found] == [("gap", str(log))]
    numbers, found = read(log, happen, records=2, on_gap="go_on")
    assert len(found) == 1
    assert numbers[0] == (10 if accident is cut_and_filled else 7)


def test_the_partial_record_before_a_cut_is_kept_with_the_gap(log: Path) -> None:
    def accident() -> None:
        os.truncate(log, 3)

    text = rows(1, 2, 3) + "4,broken"
    _, (letter,) = followed(log, accident, records=1, on_gap="go_on", text=text)
    assert (letter.reason, letter.raw, letter.line) == ("gap", "4,broken", 5)


def test_a_file_removed_between_two_runs_is_a_gap(log: Path) -> None:
    with pytest.raises(DataError, match="what it held after byte 16 was not found"):
        after_a_stop(log, log.unlink, records=1)


def test_the_state_after_a_gap_starts_with_the_new_file(log: Path) -> None:
    async def main() -> list[float]:
        put(log, "x,y\n" + rows(1, 2, 3))
        source = follow(log, on_gap="go_on")
        await source.open()
        await take(source, 3)
        os.truncate(log, 0)
        (block,) = await take(source, 1)
        place = left(source, block)
        await source.aclose()
        append(log, "x,y\n" + rows(7))
        source = await go_on(follow(log), place)
        found = firsts(await take(source, 1))
        await source.aclose()
        return found

    assert anyio.run(main) == [7]


@EITHER
def test_a_rotated_file_may_be_compressed_once_it_was_read(read: Any, log: Path) -> None:
    def accident() -> None:
        rotate(log, "live.csv.1", text="x,y\n" + rows(4))
        old = log.with_name("live.csv.1")
        old.with_name("live.csv.1.gz").write_bytes(gzip.compress(old.read_bytes()))
        old.unlink()

    if read is followed:
        assert read(log, accident, records=1) == ([4], [])
    else:
        with pytest.raises(DataError, match="has changed since it was read"):
            read(log, accident, records=1)

from __future__ import annotations

import gzip
import lzma
import random
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from streamnet.errors import DataError
from streamnet.samples import Block
from streamnet.sources import Columns, open_files
from streamnet.sources.files.byte_stream import ByteStream
from streamnet.sources.files.detection import COMPRESSION_SIGNATURES, PIECE, find_compression
from tests.sources.harness import content, read, write

zstd = pytest.importorskip("backports.zstd", reason="no zstd to write test files with")
TEXT = "x,y\n" + "".join(f"{random.Random(n).random()},a\n" for n in range(30_000))
Packer = Callable[[bytes], bytes]
PACKERS: dict[str, Packer] = {"gz": gzip.compress, "xz": lzma.compress, "zst": zstd.compress}
packers = pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS.keys())


def everything(path: str, chunk_bytes: int) -> tuple[bytes, str | None]:
    stream = ByteStream(path, chunk_bytes)
    found = b""
    while not stream.ended:
        piece = stream.read()
        assert len(piece) <= chunk_bytes or chunk_bytes < 8
        found += piece
    stream.close()
    return found, stream.failure


@packers
@pytest.mark.parametrize("chunk_bytes", [1 << 20, 1000, 7])
def test_what_was_packed_comes_out(tmp_path: Path, pack: Packer, chunk_bytes: int) -> None:
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
def test_padding_behind_the_data_is_left_out_and_anything_else_is_not(
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
def test_all_whole_records_in_front_of_a_cut_are_given(tmp_path: Path, pack: Packer) -> None:
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
def test_a_damaged_file_breaks_off_by_name(tmp_path: Path, pack: Packer) -> None:
    packed = bytearray(pack(TEXT.encode()))
    packed[-6] ^= 255
    packed[len(packed) // 2] ^= 255
    path = write(tmp_path, "f.csv", bytes(packed))
    _, message = blocks_before_a_break(path)
    assert message.startswith(f"{path} is damaged (")


@pytest.mark.parametrize("seed", range(40))
def test_hardly_anything_in_front_of_a_damage_is_lost(tmp_path: Path, seed: int) -> None:
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


def test_a_small_packed_file_can_hold_much_without_taking_memory(tmp_path: Path) -> None:
    path = write(tmp_path, "f", gzip.compress(bytes(50_000_000), 9))
    stream = ByteStream(path, 1 << 16)
    longest = max(len(stream.read()) for _ in range(50))
    assert longest == 1 << 16
    stream.close()


def test_what_begins_like_nothing_known_is_plain() -> None:
    assert find_compression(b"x,y") is None
    assert all(find_compression(magic + b"rest") is not None for magic in COMPRESSION_SIGNATURES)


@pytest.mark.parametrize("data", [b"", b"\x1f", b"\xfd7z", b"(\xb5/"])
def test_a_file_shorter_than_a_magic_number_is_plain(tmp_path: Path, data: bytes) -> None:
    assert everything(write(tmp_path, "f", data), 1000) == (data, None)

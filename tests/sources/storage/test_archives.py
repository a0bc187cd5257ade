"""Members of archives are read like the files that they are."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from streamnet.errors import DataError
from streamnet.sources import Columns, Source, open_files
from tests.sources.harness import (
    assert_cuts_agree,
    assert_resumes_everywhere,
    content,
    places,
    read,
    write,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PARTS = {
    f"data/part-{number}.csv": "x,w,y\n" + "".join(f"{n},w{n % 3},{'uv'[n % 2]}\n" for n in rows)
    for number, rows in enumerate((range(9), range(9, 30), range(30, 34)))
}

COLUMNS = Columns(target="y", head=5)
Members = dict[str, bytes]


def make_zip(members: Members, kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", kind) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def make_tar(members: Members) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("data/part-9.csv")
        link.type, link.linkname = tarfile.SYMTYPE, "part-0.csv"
        archive.addfile(link)
    return out.getvalue()


ARCHIVES: dict[str, Callable[[Members], bytes]] = {
    ".zip": make_zip,
    ".stored.zip": lambda members: make_zip(members, zipfile.ZIP_STORED),
    ".bzip2.zip": lambda members: make_zip(members, zipfile.ZIP_BZIP2),
    ".lzma.zip": lambda members: make_zip(members, zipfile.ZIP_LZMA),
    ".tar": make_tar,
    ".tar.gz": lambda members: gzip.compress(make_tar(members)),
    ".tgz": lambda members: gzip.compress(make_tar(members)),
    ".tar.bz2": lambda members: bz2.compress(make_tar(members)),
    ".tar.xz": lambda members: lzma.compress(make_tar(members)),
    ".tar.zst": lambda members: zstd.compress(make_tar(members)),
    "": make_zip,  # without a suffix, the content tells
    ".download": lambda members: lzma.compress(make_tar(members)),
}
archives = pytest.mark.parametrize("suffix", ARCHIVES)
ENCODED = {name: text.encode() for name, text in PARTS.items()}


def source(*paths: str, chunk_bytes: int = 1 << 20) -> Source:
    return open_files(paths, columns=COLUMNS, chunk_bytes=chunk_bytes)


def samples(*paths: str) -> list[tuple[object, ...]]:
    """Samples without the names of their files."""
    return [sample[1:] for sample in content(read(source(*paths))[1]).samples]


def files(folder: Path) -> list[tuple[object, ...]]:
    paths = [write(folder, f"{number}.csv", text) for number, text in enumerate(PARTS.values())]
    return samples(*paths)


@archives
def test_an_archive_stands_for_its_members_in_the_order_of_their_names(
    tmp_path: Path, suffix: str
) -> None:
    stored = dict(reversed(ENCODED.items())) | {
        "__MACOSX/._part-0.csv": b"\0\0",
        "data/.DS_Store": b"\0\0",
        "_SUCCESS": b"",
    }
    path = write(tmp_path, f"parts{suffix}", ARCHIVES[suffix](stored))
    found = content(read(source(path))[1]).samples
    assert [sample[1:] for sample in found] == files(tmp_path)
    names = list(dict.fromkeys(sample[0] for sample in found))
    assert names == [f"{path}/{name}" for name in PARTS]


@pytest.mark.usefixtures("without_threads")
@archives
def test_an_archive_resumes_everywhere(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path, f"parts{suffix}", ARCHIVES[suffix](ENCODED))
    found = places(lambda: source(path, chunk_bytes=64))
    assert len(found) == 35
    assert_resumes_everywhere(lambda: source(path), found)


@archives
def test_samples_do_not_depend_on_how_much_is_read_at_once(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path, f"parts{suffix}", ARCHIVES[suffix](ENCODED))
    assert_cuts_agree(lambda size: source(path, chunk_bytes=size), (1 << 20, 50, 3))


@archives
def test_members_are_named_below_their_archive(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path, f"parts{suffix}", ARCHIVES[suffix](ENCODED))
    whole = files(tmp_path)
    assert samples(f"{path}/data/part-1.csv") == whole[9:30]
    assert samples(f"{path}/data/part-2.csv", f"{path}/data/part-0.csv") == [
        *whole[30:],
        *whole[:9],
    ]
    assert samples(f"{path}/*[12].csv") == whole[9:]
    with pytest.raises(DataError, match=r"has no 'data/part-4.csv', .*Did you mean 'data/part-"):
        source(f"{path}/data/part-4.csv")


def test_compressed_members_are_decompressed(tmp_path: Path) -> None:
    packed = {f"{name}.gz": gzip.compress(data) for name, data in ENCODED.items()}
    assert samples(write(tmp_path, "a.zip", make_zip(packed))) == files(tmp_path)
    assert samples(write(tmp_path, "a.tar", make_tar(packed))) == files(tmp_path)


@archives
def test_large_members_are_read_in_any_order(tmp_path: Path, suffix: str) -> None:
    chance = random.Random(1)
    texts = {
        f"{name}.csv": "x,w,y\n" + "".join(f"{chance.random()},{name},u\n" for _ in range(9000))
        for name in "abc"
    }
    members = {name: text.encode() for name, text in texts.items()}
    path = write(tmp_path, f"parts{suffix}", ARCHIVES[suffix](members))
    plain = [write(tmp_path, name, texts[name]) for name in ("c.csv", "a.csv", "b.csv")]
    assert samples(f"{path}/c.csv", f"{path}/a.csv", f"{path}/b.csv") == samples(*plain)


@pytest.mark.usefixtures("without_threads")
@pytest.mark.parametrize("suffix", [".zip", ".tar.xz"])
def test_parquet_files_in_an_archive_resume_everywhere(tmp_path: Path, suffix: str) -> None:
    members = {}
    for name, text in PARTS.items():
        frame = pl.read_csv(io.StringIO(text))
        out = io.BytesIO()
        frame.write_parquet(out)
        members[name.replace("csv", "parquet")] = out.getvalue()
        (tmp_path / Path(name).with_suffix(".parquet").name).write_bytes(out.getvalue())
    path = write(tmp_path, f"parts{suffix}", ARCHIVES[suffix](members))
    assert samples(path) == samples(str(tmp_path / "*.parquet"))
    assert_resumes_everywhere(lambda: source(path), places(lambda: source(path)))


def test_progress_counts_the_bytes_of_members(tmp_path: Path) -> None:
    path = write(tmp_path, "parts.tar.gz", ARCHIVES[".tar.gz"](ENCODED))
    reading = source(path)
    read(reading)
    assert reading.progress() == 1.0


def flip(data: bytes, text: bytes) -> bytes:
    at = data.index(text)
    return data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :]


DAMAGED = {
    "a.zip": (flip(make_zip(ENCODED, zipfile.ZIP_STORED), b"12,w0"), r"0.*-1.csv is damaged \(Bad"),
    "b.zip": (make_zip(ENCODED)[:200], "b.zip is a damaged ZIP archive"),
    "c.zip": (make_zip({}), "c.zip is an archive that holds no files"),
    "d.tar": (make_tar(ENCODED)[:700], "d.tar is a damaged tar archive: unexpected end of data"),
    "e.tar.gz": (gzip.compress(make_tar(ENCODED))[:-60], "e.tar.gz is a damaged tar archive: it"),
    "f.tar": (b"x,y\n1,2\n", "f.tar is a damaged tar archive"),
    "g.zip": (make_zip({"xl/workbook.xml": b"", "[Content_Types].xml": b""}), "g.zip is a ZIP"),
    "h.zip": (make_zip({"a.csv": b"x,y\n1,2\n", "b.parquet": b""}), "b.parquet is parquet by its"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_an_archive_that_cannot_be_read_says_why(tmp_path: Path, name: str) -> None:
    data, message = DAMAGED[name]
    with pytest.raises(DataError, match=message):
        read(source(write(tmp_path, name, data)))


def test_an_encrypted_member_is_refused_with_what_to_do(tmp_path: Path) -> None:
    data = bytearray(make_zip({"a.csv": b"x,y\n1,2\n"}, zipfile.ZIP_STORED))
    central = data.index(b"PK\x01\x02")
    data[6] |= 1
    data[central + 8] |= 1
    with pytest.raises(DataError, match=r"a\.csv is encrypted with a password: unpack it"):
        read(source(write(tmp_path, "a.zip", bytes(data))))


def test_a_member_that_has_changed_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path, "parts.zip", make_zip(ENCODED))
    place = places(lambda: source(path))[20]
    changed = {name: data.replace(b"w1", b"w2") for name, data in ENCODED.items()}
    write(tmp_path, "parts.zip", make_zip(changed))
    with pytest.raises(DataError, match=r"part-1\.csv has changed"):
        assert_resumes_everywhere(lambda: source(path), [place])
    write(tmp_path, "parts.zip", make_zip({"data/part-0.csv": ENCODED["data/part-0.csv"]}))
    with pytest.raises(DataError, match=r"the position is in .*part-1\.csv', which is not among"):
        assert_resumes_everywhere(lambda: source(path), [place])

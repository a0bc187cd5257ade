"""Files in buckets and on web servers are read like those of this machine."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import anyio
import polars as pl
import pytest

from streamnet import objects
from streamnet.errors import ConfigurationError, DataError, ReadError
from streamnet.samples import Field, Kind
from streamnet.sources import Columns, RetryingSource, Source, open_files
from streamnet.sources.storage.folders import ObjectFolder
from streamnet.sources.storage.raw import DamagedFileError
from streamnet.sources.storage.remote import RemoteFile
from tests.object_servers import serve_https, write_certificates
from tests.sources.harness import (
    assert_resumes_everywhere,
    content,
    firsts,
    go_on,
    is_quiet,
    left,
    letters,
    numbers,
    places,
    read,
    rows,
    take,
    write,
)
from tests.sources.storage.test_archives import ENCODED, PARTS, make_tar, make_zip

COLUMNS = Columns(target="y", head=5)


def source(*paths: str, chunk_bytes: int = 1 << 20, follow: bool = False) -> Source:
    return open_files(paths, columns=COLUMNS, chunk_bytes=chunk_bytes, follow=follow)


def samples(*paths: str) -> list[tuple[object, ...]]:
    return [sample[1:] for sample in content(read(source(*paths))[1]).samples]


def parquet(text: str) -> bytes:
    out = io.BytesIO()
    pl.read_csv(io.StringIO(text)).write_parquet(out)
    return out.getvalue()


def jsonl(text: str) -> bytes:
    frame = pl.read_csv(io.StringIO(text))
    return "".join(json.dumps(row) + "\n" for row in frame.to_dicts()).encode()


FORMS: dict[str, Callable[[str], bytes]] = {
    ".csv": lambda text: text.encode(),
    ".csv.gz": lambda text: gzip.compress(text.encode()),
    ".jsonl": jsonl,
    ".parquet": parquet,
}


def upload(bucket: str, suffix: str) -> list[str]:
    """The parts below a folder of a bucket; their URLs."""
    urls = []
    for name, text in PARTS.items():
        url = f"{bucket}/{name.replace('.csv', suffix)}"
        objects.write(url, FORMS[suffix](text))
        urls.append(url)
    return urls


@pytest.mark.parametrize("suffix", FORMS)
def test_objects_give_the_samples_of_files_and_resume(
    bucket: str, tmp_path: Path, suffix: str
) -> None:
    urls = upload(bucket, suffix)
    local = [
        write(tmp_path, Path(url).name, FORMS[suffix](text))
        for url, text in zip(urls, PARTS.values(), strict=True)
    ]
    assert samples(*urls) == samples(*local)
    found = places(lambda: source(*urls, chunk_bytes=64))
    assert len(found) == 35
    assert_resumes_everywhere(lambda: source(*urls), found[::6])


@pytest.mark.parametrize("name", ["parts.zip", "parts.tar"])
def test_an_archive_in_a_bucket_is_read(bucket: str, tmp_path: Path, name: str) -> None:
    data = (make_zip if name.endswith("zip") else make_tar)(ENCODED)
    objects.write(f"{bucket}/{name}", data)
    path = write(tmp_path, name, data)
    assert samples(f"{bucket}/{name}") == samples(path)
    assert samples(f"{bucket}/{name}/data/part-1.csv") == samples(f"{path}/data/part-1.csv")


def test_a_folder_and_a_pattern_stand_for_objects_in_the_order_of_their_names(bucket: str) -> None:
    urls = upload(bucket, ".csv")
    for other in ("data/_SUCCESS", "data/.hidden.csv", "data/_delta/a.csv", "data.txt"):
        objects.write(f"{bucket}/{other}", b"?")
    objects.write(f"{bucket}/data/empty.csv", b"")
    whole = samples(*urls)
    assert samples(f"{bucket}/data/") == whole
    assert samples(f"{bucket}/data/part-*.csv") == whole
    assert samples(f"{bucket}/**/part-?.csv") == whole
    assert samples(f"{bucket}/d*/*[12].csv") == whole[9:]
    with pytest.raises(DataError, match=rf"{bucket}/\*\.csv matches no object"):
        source(f"{bucket}/*.csv")


def test_what_cannot_be_read_names_bucket_and_key(bucket: str) -> None:
    with pytest.raises(DataError, match=f"{bucket}/none.csv does not exist"):
        read(source(f"{bucket}/none.csv"))
    with pytest.raises(DataError, match="the bucket of s3://no-such-bucket/a/ does not exist"):
        read(source("s3://no-such-bucket/a/"))
    with pytest.raises(DataError, match=f"{bucket}/nothing/ matches no object"):
        read(source(f"{bucket}/nothing/"))


def test_an_object_that_is_replaced_while_it_is_read_is_noticed(bucket: str) -> None:
    url = f"{bucket}/a.csv"
    objects.write(url, b"x,y\n1,a\n")
    file = RemoteFile(objects.head(url))
    assert file.read(4) == b"x,y\n"
    objects.write(url, b"x,y\n2,a\n")
    assert file.seek(4)
    with pytest.raises(DamagedFileError, match="was replaced while it was read"):
        file.read(4)


def test_an_object_that_was_replaced_between_two_runs_is_noticed(bucket: str) -> None:
    url = f"{bucket}/a.csv"
    objects.write(url, PARTS["data/part-1.csv"].encode())
    place = places(lambda: source(url))[9]
    objects.write(url, PARTS["data/part-1.csv"].replace("w1", "w2").encode())
    with pytest.raises(DataError, match=rf"{url} has changed"):
        assert_resumes_everywhere(lambda: source(url), [place])


def test_objects_of_google_and_of_a_bucket_with_versions_are_read(
    gs_bucket: str, tmp_path: Path
) -> None:
    local = [
        write(tmp_path, Path(url).name, PARTS[url.removeprefix(f"{gs_bucket}/")])
        for url in upload(gs_bucket, ".csv")
    ]
    for url in (gs_bucket, gs_bucket.replace("gs://", "s3://")):
        make = partial(source, f"{url}/data/")
        assert samples(f"{url}/data/") == samples(*local)
        assert_resumes_everywhere(make, places(partial(make, chunk_bytes=64))[::9])
        with pytest.raises(DataError, match=f"{url}/none.csv does not exist"):
            read(source(f"{url}/none.csv"))


def test_a_folder_of_a_bucket_is_followed(any_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ObjectFolder, "pause_seconds", 0.05)

    def put(name: str, *given: int) -> None:
        objects.write(f"{any_bucket}/in/{name}.csv", ("x,y\n" + rows(*given)).encode())

    async def main() -> tuple[list[float], list[str]]:
        put("day=1/a", 1, 2)
        reading = source(f"{any_bucket}/in/", follow=True)
        await reading.open()
        first = await take(reading, 2)
        assert await is_quiet(reading, 0.2)
        put("day=2/a", 3)
        blocks = first + await take(reading, 1)
        place = left(reading, blocks[-1])
        await reading.aclose()
        put("day=3/a", 4)
        put("day=0/a", 9)
        reading = await go_on(
            open_files([f"{any_bucket}/in/"], columns=COLUMNS, follow=True, on_gap="go_on"), place
        )
        blocks += await take(reading, 2)
        await reading.aclose()
        assert {tuple(block.schema.fields) for block in blocks} == {
            (Field("day", Kind.NUMBER), Field("x", Kind.NUMBER))
        }
        assert firsts(blocks) == [1, 1, 2, 3]  # the days
        return numbers(blocks, 1), [letter.detail for letter in letters(blocks)]

    found, gaps = anyio.run(main)
    assert found == [1, 2, 3, 4]
    assert gaps == [
        f"{any_bucket}/in/day=0/a.csv came after day=2/a.csv had been read, so it is skipped"
    ]


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[bool]]]:
    """A web server of a folder that closes connections early; and whether it did."""
    (tmp_path / "web").mkdir()
    authority, server = write_certificates(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    objects._open_store.cache_clear()
    dropped: list[bool] = []
    with serve_https(tmp_path / "web", server, most=300_000, dropped=dropped) as url:
        yield url, dropped


@pytest.mark.parametrize("suffix", FORMS)
def test_files_of_a_web_server_are_read(
    web: tuple[str, list[bool]], tmp_path: Path, suffix: str
) -> None:
    url, _ = web
    local = write(tmp_path / "web", f"größe 1{suffix}", FORMS[suffix](PARTS["data/part-1.csv"]))
    assert samples(f"{url}/größe 1{suffix}") == samples(local)
    assert samples(f"{url}/gr%C3%B6%C3%9Fe%201{suffix}") == samples(local)
    with pytest.raises(DataError, match=rf"{url}/none{suffix} does not exist"):
        read(source(f"{url}/none{suffix}"))


def test_a_web_server_that_drops_connections_loses_nothing(
    web: tuple[str, list[bool]], tmp_path: Path
) -> None:
    url, dropped = web
    local = write(tmp_path / "web", "a.csv", "x,y\n" + rows(*range(200_000)))
    retried = RetryingSource(lambda: source(f"{url}/a.csv"))
    assert [s[1:] for s in content(read(retried)[1]).samples] == samples(local)
    assert any(dropped)


def test_a_server_with_an_unknown_certificate_is_not_trusted(
    web: tuple[str, list[bool]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, dropped = web
    write(tmp_path / "web", "a.csv", PARTS["data/part-0.csv"])
    monkeypatch.delenv("SSL_CERT_FILE")
    objects._open_store.cache_clear()
    with pytest.raises(ReadError, match=f"{url}/a.csv"):
        read(source(f"{url}/a.csv"))
    assert not dropped


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("https://name:secret@host/a.csv", r"https://\.\.\.@host/a.csv holds credentials"),
        ("https://host/a.csv?token=secret", r"https://host/a.csv\?\.\.\. has parameters"),
    ],
)
def test_secrets_in_a_url_are_refused_and_not_repeated(url: str, rule: str) -> None:
    with pytest.raises(ConfigurationError, match=rule) as caught:
        source(url)
    assert "secret" not in str(caught.value)


def test_a_web_server_has_no_folders() -> None:
    with pytest.raises(DataError, match="is on a web server, whose files can't be listed"):
        source("https://host/folder/", follow=True)


def test_the_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    objects._open_store.cache_clear()
    for name in ("obstore", "obstore.store", "obstore.exceptions"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigurationError, match=r"pip install 'streamnet-learn\[objects\]'"):
        source("s3://bucket/a.csv")


def test_a_server_that_cannot_be_reached_and_missing_credentials_are_explained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ReadError) as caught:
        read(source("https://localhost:1/a.csv"))
    assert str(caught.value) == (
        "https://localhost:1/a.csv: Generic HTTP error: Error performing HEAD "
        "https://localhost:1/a.csv: HTTP error: error sending request"
    )

    def fail() -> None:
        raise ValueError("Error performing PUT http://169.254.169.254/latest/api/token: refused")

    with pytest.raises(OSError, match="s3://bucket/a: no credentials were found in the environm"):
        objects._explained("s3://bucket/a", fail)

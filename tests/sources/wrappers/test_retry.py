"""Reading that fails for a while loses and doubles nothing; failing too often ends it."""

from __future__ import annotations

import errno
import gzip
import os
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

import anyio
import pytest

from streamnet.errors import ConfigurationError, DataError, ReadError
from streamnet.sources import Columns, RetryingSource, Source, open_files, wrappers
from streamnet.sources.files import byte_stream
from tests.sources.harness import content, places, read, resumed
from tests.sources.live_harness import append, firsts, put, rows, take
from tests.sources.test_resume import AROUND, files

ERRORS = [errno.EIO, errno.ESTALE, errno.ETIMEDOUT]
Calls = Callable[[int], bool]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrappers, "FIRST_PAUSE", 0.0)


def fails(monkeypatch: pytest.MonkeyPatch, when: Calls, *, number: int = errno.EIO) -> list[int]:
    """Let reading fail at some calls; gives a list that grows by one with each call."""
    calls: list[int] = []

    class Flaky(FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            calls.append(len(calls))
            if when(calls[-1]):
                raise OSError(number, os.strerror(number))
            found: Any = super().read(-1 if size is None else size)
            return bytes(found or b"")

    monkeypatch.setattr(byte_stream, "FileIO", Flaky)
    return calls


def source_of(paths: list[str]) -> Source:
    columns = Columns(target="label" if "libsvm" in paths[0] else "y", head=2)
    return open_files(paths, columns=columns, chunk_bytes=40)


@pytest.mark.parametrize("form", ["csv", "jsonl", "libsvm", "csv.gz", "jsonl.zst"])
def test_a_read_that_fails_at_any_time_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    paths = files(tmp_path, form)
    whole = content(read(source_of(paths))[1])
    with monkeypatch.context() as patch:
        calls = fails(patch, lambda _: False)
        read(source_of(paths))
    assert len(calls) > 5
    for number, call in enumerate(calls):
        with monkeypatch.context() as patch:
            fails(patch, call.__eq__, number=ERRORS[number % 3])
            found = content(read(RetryingSource(lambda: source_of(paths)))[1])
        assert found == whole


@pytest.mark.parametrize("around", AROUND)
def test_reads_that_fail_again_and_again_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, around: str
) -> None:
    paths = files(tmp_path, "jsonl")
    whole = content(read(AROUND[around](lambda: source_of(paths)))[1])
    fails(monkeypatch, lambda n: n % 43 in (20, 21))
    source = AROUND[around](lambda: RetryingSource(lambda: source_of(paths), tries=10**6))
    assert content(read(source)[1]) == whole


def test_too_many_failures_end_the_run_behind_all_that_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "f.csv"
    path.write_text("x,y\n" + rows(*range(20)))
    fails(monkeypatch, lambda n: n >= 2)
    source = RetryingSource(lambda: source_of([str(path)]), tries=3)
    found = []

    async def main() -> None:
        await source.open()
        try:
            while (block := await source.receive()) is not None:
                found.append(block)
        finally:
            await source.aclose()

    with pytest.raises(DataError, match=r"Input/output.*: given up after 4 failures in 600") as e:
        anyio.run(main)
    assert not isinstance(e.value, ReadError)
    assert firsts(found) == list(range(17))  # in two pieces of 40 bytes
    assert [r.message.count("trying again in") for r in caplog.records] == [1, 1, 1]


def test_failures_of_long_ago_are_forgiven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f.csv"
    path.write_text("x,y\n" + rows(*range(100)))
    fails(monkeypatch, lambda n: n % 30 == 29)
    source = RetryingSource(lambda: source_of([str(path)]), tries=1, seconds=0.0)
    assert firsts(read(source)[1]) == list(range(100))


def test_what_does_not_pass_is_not_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "f.csv.gz"
    path.write_bytes(gzip.compress(b"x,y\n" + b"1,a\n" * 50)[:-9])
    made = []

    def make() -> Source:
        made.append(source_of([str(path)]))
        return made[-1]

    source = RetryingSource(make)
    with pytest.raises(DataError, match="is cut off in the middle"):
        read(source)
    path.write_text("x,y\n1,a\n")
    source = RetryingSource(make)
    path.unlink()
    with pytest.raises(DataError, match="can't be read: No such file"):
        read(source)
    assert len(made) == 2
    with pytest.raises(ConfigurationError, match="tries is -1"):
        RetryingSource(make, tries=-1)


def test_a_file_that_is_another_one_afterwards_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f.csv"
    path.write_text("x,y\n" + rows(*range(100)))

    def replace(call: int) -> bool:
        if call == 5:
            path.write_text("x,y\n" + rows(*range(200, 400)))
        return call == 5

    fails(monkeypatch, replace)
    with pytest.raises(DataError, match="has changed"):
        read(RetryingSource(lambda: source_of([str(path)])))


def test_a_retried_source_goes_on_at_every_place(tmp_path: Path) -> None:
    paths = files(tmp_path, "jsonl")
    for place in places(lambda: RetryingSource(lambda: source_of(paths))):
        assert resumed(RetryingSource(lambda: source_of(paths)), place) == place.rest


@pytest.mark.parametrize("number", ERRORS)
def test_a_followed_file_that_fails_for_a_while_is_read_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / "live.csv"
    left = [2]

    def flaky(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*arguments: Any) -> Any:
            if left[0] < 2:
                left[0] += 1
                raise OSError(number, os.strerror(number))
            return real(*arguments)

        return call

    async def main() -> list[float]:
        put(path, "x,y\n" + rows(1, 2))
        columns = Columns(target="y")
        source = RetryingSource(lambda: open_files([path], columns=columns, follow=True))
        await source.open()
        found = firsts(await take(source, 2))
        monkeypatch.setattr(os, "pread", flaky("pread"))
        left[0] = 0
        append(path, rows(3))
        found += firsts(await take(source, 1))
        await source.aclose()
        return found

    assert anyio.run(main) == [1, 2, 3]
    assert left == [2]

"""Whatever happens to a file that is followed has an outcome that is written down."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import pytest

from streamnet.errors import ConfigurationError, DataError
from streamnet.sources import Columns, Source, open_files
from streamnet.sources.files import byte_stream
from tests.sources.live_harness import (
    after_a_stop,
    append,
    delete,
    firsts,
    follow,
    followed,
    go_on,
    is_quiet,
    left,
    put,
    rotate,
    rows,
    take,
)


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


def test_what_is_still_written_to_a_renamed_file_is_read(log: Path) -> None:
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


def test_a_followed_file_goes_on_at_every_place(log: Path) -> None:
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


def test_what_cannot_be_followed_is_refused(tmp_path: Path, log: Path) -> None:
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

"""A folder is read in the order of file names, whenever the files appear."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import anyio
import polars as pl
import pytest

from streamnet.errors import DataError
from streamnet.samples import Position
from streamnet.sources import Columns, Source, open_files
from streamnet.sources.files.folder import FolderSource
from streamnet.sources.storage import folders
from streamnet.sources.storage.folders import LocalFolder
from tests.sources.harness import SECONDS, firsts, go_on, is_quiet, left, letters, take


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalFolder, "settled_seconds", 0.2)
    monkeypatch.setattr(LocalFolder, "pause_seconds", 0.02)


def follow(path: Path, **options: Any) -> Source:
    return open_files([path], columns=Columns(target="y", head=2), follow=True, **options)


def put(path: Path, *numbers: int, form: str = "csv") -> None:
    """A file of that name with these numbers."""
    if form == "parquet":
        frame = pl.DataFrame({"x": [float(n) for n in numbers], "y": ["a"] * len(numbers)})
        frame.write_parquet(path)
    elif form == "jsonl":
        path.write_text("".join(json.dumps({"x": n, "y": "a"}) + "\n" for n in numbers))
    else:
        text = ("x,y\n" + "".join(f"{n},a\n" for n in numbers)).encode()
        path.write_bytes(gzip.compress(text) if form == "csv.gz" else text)


def delete(path: Path) -> None:
    path.unlink()


def rename(path: Path, name: str) -> None:
    path.rename(path.with_name(name))


async def opened(source: Source) -> Source:
    with anyio.fail_after(SECONDS):
        await source.open()
    return source


@pytest.mark.parametrize("form", ["csv", "csv.gz", "jsonl", "parquet"])
def test_files_are_read_in_the_order_of_their_names(
    tmp_path: Path, form: str, backend: str
) -> None:
    async def main() -> list[float]:
        put(tmp_path / f"b.{form}", 3, form=form)
        put(tmp_path / f"a.{form}", 1, 2, form=form)
        (tmp_path / "folder").mkdir()
        source = await opened(follow(tmp_path))
        found = firsts(await take(source, 3))
        put(tmp_path / f"d.{form}", 5, form=form)
        put(tmp_path / f"c.{form}", 4, form=form)
        found += firsts(await take(source, 2))
        assert source.progress() is None
        await source.aclose()
        assert await source.receive() is None
        return found

    assert anyio.run(main, backend=backend) == [1, 2, 3, 4, 5]


def test_a_file_is_read_once_it_is_complete(tmp_path: Path) -> None:
    async def main() -> list[float]:
        put(tmp_path / "a.csv", 1)
        put(tmp_path / ".hidden.csv", 97)
        put(tmp_path / "b.csv.tmp", 2)
        put(tmp_path / "c.csv.part", 98)
        (tmp_path / "empty.csv").touch()
        source = await opened(follow(tmp_path))
        found = firsts(await take(source, 1))
        for numbers in ((3,), (3, 4), (3, 4, 5)):
            put(tmp_path / "d.csv", *numbers)
            assert await is_quiet(source, 0.1)
        rename(tmp_path / "b.csv.tmp", "b.csv")
        found += firsts(await take(source, 4))
        await source.aclose()
        return found

    assert anyio.run(main) == [1, 2, 3, 4, 5]


def test_a_name_before_one_that_was_read_is_a_gap(tmp_path: Path) -> None:
    async def main(on_gap: str) -> tuple[list[float], list[Any]]:
        put(tmp_path / "b.csv", 1)
        source = await opened(follow(tmp_path, on_gap=on_gap))
        try:
            await take(source, 1)
            put(tmp_path / "a.csv", 9)
            put(tmp_path / "ba.csv", 2)
            blocks = await take(source, 2)
            return firsts(blocks), letters(blocks)
        finally:
            await source.aclose()
            delete(tmp_path / "a.csv")
            delete(tmp_path / "ba.csv")

    numbers, (letter,) = anyio.run(main, "go_on")
    assert numbers == [2]
    assert (letter.reason, letter.source) == ("gap", str(tmp_path / "a.csv"))
    with pytest.raises(DataError, match=r"a\.csv came after b\.csv had been read, so it is"):
        anyio.run(main, "stop")


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_folder_resumes_everywhere(tmp_path: Path, form: str) -> None:
    async def main() -> None:
        put(tmp_path / f"a.{form}", 1, 2, form=form)
        put(tmp_path / f"b.{form}", 3, 4, form=form)
        source = await opened(follow(tmp_path))
        places = []
        (block,) = await take(source, 2)
        places += [left(source, block.part(0, stop)) for stop in (1, 2)]
        (block,) = await take(source, 2)
        places += [left(source, block.part(0, stop)) for stop in (1, 2)]
        assert await is_quiet(source, 0.1)
        places.append(left(source, block))
        await source.aclose()
        put(tmp_path / f"c.{form}", 5, form=form)
        for place, rest in zip(places, ([2, 3, 4, 5], [3, 4, 5], [4, 5], [5], [5]), strict=True):
            again = await go_on(follow(tmp_path), place)
            assert firsts(await take(again, len(rest))) == rest
            put(tmp_path / f"0.{form}", 9, form=form)
            with pytest.raises(DataError, match="had been read"):
                await take(again, 1)
            delete(tmp_path / f"0.{form}")
            await again.aclose()

    anyio.run(main)


def test_kinds_are_those_of_the_first_file(tmp_path: Path) -> None:
    async def main() -> list[Any]:
        put(tmp_path / "a.csv", 1)
        source = await opened(follow(tmp_path))
        place = left(source, (await take(source, 1))[0])
        (tmp_path / "b.csv").write_text("x,y\nword,a\n")
        found = letters(await take(source, 1))
        await source.aclose()
        source = await go_on(follow(tmp_path), place)
        found += letters(await take(source, 1))
        await source.aclose()
        return found

    assert [letter.reason for letter in anyio.run(main)] == ["number", "number"]


def test_files_that_were_read_may_be_removed(tmp_path: Path) -> None:
    async def main(on_gap: str, read_on: bool) -> tuple[list[float], list[Any]]:
        put(tmp_path / "a.csv", 1)
        source = await opened(follow(tmp_path))
        (block,) = await take(source, 1)
        if read_on:
            assert await is_quiet(source, 0.1)
        place = left(source, block)
        await source.aclose()
        delete(tmp_path / "a.csv")
        put(tmp_path / "b.csv", 2)
        source = await go_on(follow(tmp_path, on_gap=on_gap), place)
        blocks = await take(source, 1 if read_on else 2)
        await source.aclose()
        return firsts(blocks), letters(blocks)

    assert anyio.run(main, "stop", True) == ([2], [])
    with pytest.raises(DataError, match=r"a\.csv is gone, and with it what it may have held"):
        anyio.run(main, "stop", False)
    numbers, (letter,) = anyio.run(main, "go_on", False)
    assert (numbers, letter.reason) == ([2], "gap")


def test_a_file_may_be_removed_while_the_folder_is_scanned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = folders._is_complete_name

    def taking_away(entry: Any) -> bool:
        counted = counts(entry)
        if entry.name == "a.csv":
            Path(entry.path).unlink()
        return counted

    async def main() -> list[float]:
        put(tmp_path / "a.csv", 1)
        put(tmp_path / "b.csv", 2)
        source = await opened(follow(tmp_path))
        found = firsts(await take(source, 1))
        await source.aclose()
        return found

    monkeypatch.setattr(folders, "_is_complete_name", taking_away)
    assert anyio.run(main) == [2]


def test_a_truncated_compressed_file_is_resumed_once_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"

    async def main() -> list[float]:
        put(path, *range(5000), form="csv.gz")
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        source = await opened(follow(tmp_path, on_gap="go_on"))
        blocks = await take(source, 1)
        found = firsts(blocks)
        place = left(source, blocks[-1])
        with pytest.raises(DataError, match=r"a\.csv\.gz is cut off in the middle"):
            await take(source, 5000 - len(found))
        await source.aclose()
        path.write_bytes(whole)
        source = await go_on(follow(tmp_path), place)
        found += firsts(await take(source, 5000 - len(found)))
        await source.aclose()
        return found

    assert anyio.run(main) == list(range(5000))


def test_a_removed_folder_or_a_position_without_a_state_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.mkdir()
    source = follow(path)
    with pytest.raises(DataError, match="can't be resumed at a without a state"):
        anyio.run(source.open, Position("a", 1))
    path.rmdir()
    with pytest.raises(DataError, match="in can't be read: No such file"):
        anyio.run(source.open)


def test_a_file_whose_name_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.csv")).write_text("x,y\n1,a\n")
    with pytest.raises(DataError, match=r"caf\\xe9.csv is not UTF-8, but must be"):
        anyio.run(follow(tmp_path).open)


def test_waiting_files_are_not_all_scanned_before_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    looks = []
    real = LocalFolder.list

    def looked(self: LocalFolder) -> Any:
        looks.append(self.path)
        return real(self)

    monkeypatch.setattr(LocalFolder, "list", looked)
    monkeypatch.setattr(LocalFolder, "pause_seconds", 1.0)

    async def main() -> list[float]:
        for number in range(100, 250):
            put(tmp_path / f"{number}.csv", number)
        source = await opened(follow(tmp_path))
        found = firsts(await take(source, 150))
        await source.aclose()
        return found

    assert anyio.run(main, backend=backend) == list(range(100, 250))
    assert len(looks) < 75


def test_a_file_that_precedes_waiting_ones_is_read_before_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setattr(LocalFolder, "pause_seconds", 1.0)

    async def main() -> list[float]:
        for name, number in (("a", 1), ("b", 2), ("d", 4)):
            put(tmp_path / f"{name}.csv", number)
        source = await opened(follow(tmp_path))
        found = firsts(await take(source, 1))
        put(tmp_path / "c.csv", 3)
        put(tmp_path / "b.csv", 2, 2)
        found += firsts(await take(source, 4))
        await source.aclose()
        return found

    assert anyio.run(main, backend=backend) == [1, 2, 2, 3, 4]


def settled(path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderSource:
    """A source that has looked at a and c, which are complete, and taken a."""
    monkeypatch.setattr(LocalFolder, "pause_seconds", 60.0)  # so long would a look count
    monkeypatch.setattr(LocalFolder, "settled_seconds", 0.0)
    source = FolderSource(LocalFolder(str(path)), lambda name: follow(Path(name)), on_gap="go_on")
    assert source._scan() == (None, "a")
    source._take("a")
    return source


def test_a_file_that_came_with_a_late_one_is_not_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "c"):
        put(tmp_path / name, 1)
    source = settled(tmp_path, monkeypatch)
    for name in ("0late", "b"):
        put(tmp_path / name, 1)
    assert source._scan() == ("0late", None)
    source._take("0late")
    assert source._scan() == (None, "b")


def test_an_empty_file_is_not_skipped_once_it_is_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "c"):
        put(tmp_path / name, 1)
    (tmp_path / "b").touch()
    source = settled(tmp_path, monkeypatch)
    put(tmp_path / "b", 1)
    assert source._scan() == (None, "b")
    source._take("b")
    assert source._scan() == (None, "c")

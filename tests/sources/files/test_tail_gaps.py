"""What is lost in a file that is followed stops the run, or is a rejected record."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from streamnet.errors import DataError
from streamnet.sources.files import byte_stream
from tests.sources.live_harness import (
    after_a_stop,
    append,
    firsts,
    follow,
    followed,
    go_on,
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
def test_or_it_is_a_gap_and_the_file_is_read_anew(
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


def test_the_record_that_a_cut_broke_off_is_kept_with_the_gap(log: Path) -> None:
    def accident() -> None:
        os.truncate(log, 3)

    text = rows(1, 2, 3) + "4,broken"
    _, (letter,) = followed(log, accident, records=1, on_gap="go_on", text=text)
    assert (letter.reason, letter.raw, letter.line) == ("gap", "4,broken", 5)


def test_a_file_that_went_while_nobody_read_is_a_gap(log: Path) -> None:
    with pytest.raises(DataError, match="what it held after byte 16 was not found"):
        after_a_stop(log, log.unlink, records=1)


def test_the_state_behind_a_gap_begins_with_the_new_file(log: Path) -> None:
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
def test_a_rotated_file_may_be_packed_once_it_was_read(read: Any, log: Path) -> None:
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

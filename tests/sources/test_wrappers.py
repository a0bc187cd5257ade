"""Sources that limit, repeat, shuffle and retry other sources."""

from __future__ import annotations

import errno
import gzip
import math
import os
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

import anyio
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamnet.errors import ConfigurationError, DataError, ReadError
from streamnet.samples import Block, Kind, Position, Schema
from streamnet.sources import (
    Columns,
    IterableSource,
    LimitedSource,
    RepeatedSource,
    RetryingSource,
    ShuffledSource,
    Source,
    open_files,
    wrappers,
)
from streamnet.sources.storage import raw
from tests.sources.harness import (
    append,
    bits,
    content,
    firsts,
    numbers,
    places,
    put,
    read,
    resumed,
    rows,
    take,
    write,
)
from tests.sources.test_resume import AROUND, files


class Cut(Source):
    """A source whose blocks are cut into smaller ones."""

    def __init__(self, source: Source, size: int) -> None:
        self.source = source
        self.size = size
        self.parts: list[Block] = []

    async def open(self, after: Position | None = None) -> Schema:
        return await self.source.open(after)

    async def receive(self) -> Block | None:
        if not self.parts:
            block = await self.source.receive()
            if block is None or not len(block):
                return block
            cuts = range(0, len(block), self.size)
            self.parts = [block.part(cut, min(cut + self.size, len(block))) for cut in cuts]
        return self.parts.pop(0)

    async def aclose(self) -> None:
        await self.source.aclose()


ROWS: list[Any] = [{"x": n, "y": "a"} for n in range(40)]
ROWS[5] = {"x": "bad", "y": "a"}
ROWS[6] = {"x": 6, "y": None}
ROWS[20] = {"x": 20, "late": 1, "y": "a"}
ROWS[39] = 39


def rows_source(size: int = 1000) -> Source:
    return Cut(IterableSource(ROWS, target="y"), size)


def resumes_anywhere(make: Any) -> None:
    """A source gives the same rest when it is opened behind any of its samples."""
    whole = content(read(make())[1])
    for number, sample in enumerate(whole.samples):
        following = whole.samples[number + 1 :]
        if not following or following[0][0] != sample[0]:
            continue
        after = Position(sample[0], *following[0][1])
        assert content(read(make(), after)[1]).samples == following


def test_a_limited_source_returns_only_the_first_samples() -> None:
    for n in (1, 7, 37, 38, 1000):
        for size in (1, 3, 1000):
            found = content(read(LimitedSource(rows_source(size), n))[1])
            assert found.samples == content(read(rows_source())[1]).samples[:n]
    resumes_anywhere(lambda: LimitedSource(rows_source(4), 30))


def test_a_limit_counts_samples_across_files(tmp_path: Path) -> None:
    paths = [write(tmp_path, f"{n}.csv", f"x,y\n{n},a\n{n}.5,a\nz,a\n") for n in range(3)]

    def make() -> Source:
        return LimitedSource(open_files(paths, columns=Columns(target="y", head=1)), 4)

    assert numbers(read(make())[1]) == [0, 0.5, 1, 1.5]
    assert numbers(read(make(), Position(paths[1], 8, 1, 3))[1]) == [1.5]
    with pytest.raises(DataError, match="ends before"):
        read(make(), Position("other", 8, 1, 3))


def test_later_epochs_are_learned_but_not_scored_and_reject_nothing_again() -> None:
    first = content(read(rows_source())[1])
    found = content(read(RepeatedSource(lambda _: rows_source(), 3))[1])
    count = len(first.samples)
    assert found.letters == first.letters
    assert found.samples[:count] == first.samples
    for epoch in (2, 3):
        part = found.samples[count * (epoch - 1) : count * epoch]
        assert [s[1] for s in part] == [s[1] for s in first.samples]
        assert {s[0] for s in part} == {f"epoch {epoch} of iterable"}
        assert {s[2] for s in part} == {first.samples[-1][2]}
        assert not any(s[-1] for s in part)
        assert part[0][3] == bits([0.0, math.nan])


def test_a_repeated_source_resumes_in_each_epoch(tmp_path: Path) -> None:
    path = write(tmp_path, "f.csv", "x,y\n1,a\n2,a\n3,a\n")
    resumes_anywhere(
        lambda: RepeatedSource(lambda _: open_files([path], columns=Columns(target="y")), 3)
    )
    source = RepeatedSource(lambda _: open_files([path], columns=Columns(target="y")), 2)
    with pytest.raises(DataError, match="epoch 9 of 2"):
        read(source, Position(f"epoch 9 of {path}", 4, 0, 2))


@settings(max_examples=30)
@given(st.integers(1, 50), st.integers(0, 2**64 - 1), st.integers(1, 20))
def test_a_shuffled_order_depends_only_on_the_seed(buffer: int, seed: int, size: int) -> None:
    whole = content(read(ShuffledSource(rows_source(), buffer, seed))[1])
    assert content(read(ShuffledSource(rows_source(size), buffer, seed))[1]) == whole
    plain = content(read(rows_source())[1])
    assert sorted(s[5] for s in whole.samples) == sorted(s[5] for s in plain.samples)
    assert whole.letters == plain.letters
    assert [s[1][1] for s in whole.samples] == list(range(len(plain.samples)))


def order_of(buffer: int, seed: int) -> list[float]:
    return numbers(read(ShuffledSource(rows_source(), buffer, seed))[1])


def test_each_seed_gives_another_order_of_the_same_samples() -> None:
    plain = numbers(read(rows_source())[1])
    assert order_of(1, 1) == plain
    orders = [order_of(16, seed) for seed in range(5)]
    assert all(sorted(order) == sorted(plain) for order in orders)
    assert len({tuple(order) for order in orders}) == 5


def test_no_sample_is_returned_before_the_buffer_could_hold_it() -> None:
    for place, number in enumerate(order_of(8, 3)):
        assert plain_place(number) <= place + 8


def plain_place(number: float) -> int:
    return numbers(read(rows_source())[1]).index(number)


@pytest.mark.parametrize("size", [1, 7, 8192])
def test_rejected_records_wait_as_long_as_the_samples_around_them(size: int) -> None:
    rows = [{"x": "bad" if n % 10 == 9 else n} for n in range(200)]
    kinds = Columns(kinds={"x": Kind.NUMBER})
    _, blocks = read(ShuffledSource(Cut(IterableSource(rows, columns=kinds), size), 100, 1))
    samples = 0
    places = []
    for block in blocks:
        samples += len(block)
        places += [samples for _ in block.rejected]
    assert places == [9 * n for n in range(1, 21)]


def test_no_more_rejected_records_wait_than_the_buffer_holds() -> None:
    rows: list[Any] = [{"x": 1}, *({"x": "bad"} for _ in range(50)), {"x": 2}]
    source = ShuffledSource(IterableSource(rows, columns=Columns(kinds={"x": Kind.NUMBER})), 8, 1)
    _, blocks = read(source)
    assert [(len(block), len(block.rejected)) for block in blocks] == [
        (0, 42),
        (1, 0),
        (0, 8),
        (1, 0),
    ]


def test_all_places_of_an_order_are_about_equally_likely() -> None:
    samples = [{"x": n, "y": "a"} for n in range(10)]
    places = [
        numbers(read(ShuffledSource(IterableSource(samples, target="y"), 10, seed))[1]).index(0.0)
        for seed in range(400)
    ]
    counts = [places.count(place) for place in range(10)]
    assert min(counts) > 15
    assert max(counts) < 75


def test_a_shuffled_source_resumes_after_every_sample() -> None:
    for buffer in (1, 8, 100):
        resumes_anywhere(lambda buffer=buffer: ShuffledSource(rows_source(5), buffer, 7))
    with pytest.raises(DataError, match="ends before"):
        read(ShuffledSource(rows_source(), 8, 7), Position("iterable", 99, 99, 0))


def test_each_epoch_has_its_own_order() -> None:
    clean: list[Any] = [{"x": n, "y": "a"} for n in range(40)]

    def make(epoch: int) -> Source:
        return ShuffledSource(Cut(IterableSource(clean, target="y"), 7), 16, 1, epoch=epoch)

    found = content(read(RepeatedSource(make, 3))[1]).samples
    count = len(found) // 3
    parts = [
        [s[3][:8] for s in found[start : start + count]] for start in range(0, len(found), count)
    ]
    assert len({tuple(part) for part in parts}) == 3
    assert len({tuple(sorted(part)) for part in parts}) == 1
    assert content(read(RepeatedSource(make, 3))[1]).samples == found
    resumes_anywhere(lambda: RepeatedSource(make, 3))


def test_sparse_samples_keep_their_values_when_shuffled(tmp_path: Path) -> None:
    lines = [f"{n % 2} {n}:1" + "".join(f" {n + k}:2" for k in range(1, n)) for n in range(1, 30)]
    path = write(tmp_path, "f.svm", "\n".join(lines))
    plain = content(read(open_files([path]))[1])
    found = content(read(ShuffledSource(Cut(open_files([path]), 4), 10, 1))[1])
    assert sorted((s[5], s[6]) for s in found.samples) == sorted(
        (s[5], s[6]) for s in plain.samples
    )


@pytest.mark.parametrize("make", [LimitedSource, ShuffledSource, RepeatedSource])
def test_a_count_below_one_is_refused(make: Any) -> None:
    source: Any = rows_source if make is RepeatedSource else rows_source()
    rest = (0,) if make is ShuffledSource else ()
    with pytest.raises(ConfigurationError, match="is 0, but must be >= 1"):
        make(source, 0, *rest)


async def shares(source: Source, samples: int) -> list[tuple[float, float]]:
    """After each block: the progress that a source tells, and the share of samples given."""
    await source.open()
    found = []
    given = 0
    while (block := await source.receive()) is not None:
        share = source.progress()
        assert share is not None
        given += len(block)
        found.append((share, given / samples))
    await source.aclose()
    return found


@pytest.mark.parametrize("chunk_bytes", [1000, 1 << 20])
@pytest.mark.parametrize("form", ["csv", "csv.gz", "parquet"])
def test_progress_is_the_fraction_returned(tmp_path: Path, form: str, chunk_bytes: int) -> None:
    path = write(tmp_path, "f.csv", "x,y\n" + "".join(f"{math.sin(n)},a\n" for n in range(30_000)))
    if form == "csv.gz":
        path = write(tmp_path, "f.csv.gz", gzip.compress(Path(path).read_bytes()))
    if form == "parquet":
        pl.read_csv(path).write_parquet(tmp_path / "f.parquet")
        path = str(tmp_path / "f.parquet")

    def make() -> Source:
        return open_files([path], columns=Columns(target="y"), chunk_bytes=chunk_bytes)

    for source, samples in (
        (make(), 30_000),
        (RepeatedSource(lambda _: make(), 2), 60_000),
        (LimitedSource(make(), 20_000), 20_000),
        (ShuffledSource(make(), 10_000, 1), 30_000),
    ):
        found = anyio.run(shares, source, samples)
        assert found == sorted(found)
        assert found[-1][0] == pytest.approx(1.0, abs=0.001)
        assert found[-1][1] == 1.0
        for told, share in found:
            assert told == pytest.approx(share, abs=0.05)


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

    monkeypatch.setattr(raw, "FileIO", Flaky)
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


def test_too_many_failures_are_an_error_after_all_samples_read(
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


def test_old_failures_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f.csv"
    path.write_text("x,y\n" + rows(*range(100)))
    fails(monkeypatch, lambda n: n % 30 == 29)
    source = RetryingSource(lambda: source_of([str(path)]), tries=1, seconds=0.0)
    assert firsts(read(source)[1]) == list(range(100))


def test_permanent_errors_are_not_retried(tmp_path: Path) -> None:
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


def test_a_file_that_was_replaced_is_refused(
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


def test_a_retried_source_resumes_everywhere(tmp_path: Path) -> None:
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

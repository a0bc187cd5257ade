"""Every source can be resumed at every position in a new object."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import anyio
import polars as pl
import pytest

from streamnet.errors import DataError
from streamnet.samples import Position
from streamnet.sources import (
    Columns,
    IterableSource,
    LimitedSource,
    RepeatedSource,
    ShuffledSource,
    Source,
    open_files,
)
from tests.sources.harness import assert_resumes_everywhere, drain, places, read, resumed, write

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

pytestmark = [pytest.mark.no_cover, pytest.mark.usefixtures("without_threads")]

PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": partial(gzip.compress, mtime=0x0A0A0A0A),  # line ends before what is packed
    ".xz": lzma.compress,
    ".zst": zstd.compress,
    ".bz2": bz2.compress,
}
# The head tells that x is a number and w a word; behind it both have what would tell otherwise.
ROWS: list[dict[str, Any]] = [
    {"x": 1.5, "w": "a", "y": "u"},
    {"x": 2, "w": "b", "y": "v"},
    {"x": "word", "w": "a", "y": "v"},
    {"x": 4, "w": "2020-01-01", "y": "u"},
    {"x": 5, "w": None, "y": None},
    {"x": 6, "w": "a longer text of words", "y": "u"},
    {"x": None, "w": "7", "y": "v"},
    {"x": "nan", "w": "a", "y": "v"},
    {"x": 8, "w": "a", "late": 3, "y": "u"},
    {"x": 9, "w": "c", "late": "x", "y": "v"},
    {"x": 10, "w": "c", "later": "y", "y": "v"},
]


def csv_text(rows: list[dict[str, Any]]) -> str:
    lines = [",".join("" if row[n] is None else str(row[n]) for n in "xwy") for row in rows]
    return "\n".join(["x,w,y", *lines])


def jsonl_text(rows: list[dict[str, Any]]) -> str:
    return "\n".join(map(json.dumps, rows))


def libsvm_text(rows: list[dict[str, Any]]) -> str:
    return "\n".join(f"{row['y'] or ''} 3:{row['x']} {7 + n}:1" for n, row in enumerate(rows))


TEXTS: dict[str, Callable[[list[dict[str, Any]]], str]] = {
    "csv": csv_text,
    "jsonl": jsonl_text,
    "libsvm": libsvm_text,
}
WRITERS: dict[str, Callable[[pl.DataFrame, Path], object]] = {
    "parquet": lambda frame, path: frame.write_parquet(path, row_group_size=2),
    "ipc": lambda frame, path: frame.write_ipc(path),
}
FORMS = [*(f"{form}{suffix}" for form, suffix in product(TEXTS, PACK)), *WRITERS]
FEW = ("csv.gz", "jsonl", "parquet")  # around which nothing depends on the form
AROUND: dict[str, Callable[[Callable[[], Source]], Source]] = {
    "plain": lambda make: make(),
    "limited": lambda make: LimitedSource(make(), 9),
    "shuffled": lambda make: ShuffledSource(make(), 4, 1),
    "repeated": lambda make: RepeatedSource(lambda _: make(), 3),
    "all": lambda make: RepeatedSource(
        lambda epoch: ShuffledSource(LimitedSource(make(), 9), 4, 1, epoch=epoch), 2
    ),
}


def files(folder: Path, form: str) -> list[str]:
    """The same rows as three files, of which the first is short."""
    name, _, packing = form.partition(".")
    paths = []
    for number, rows in enumerate((ROWS[:2], ROWS[2:], ROWS)):
        path = folder / f"{number}.{form}"
        if name in WRITERS:
            whole = [{n: row.get(n) for n in "xwy"} for row in rows]
            clean = [row for row in whole if not isinstance(row["x"], str)]
            WRITERS[name](pl.DataFrame(clean, schema={"x": float, "w": str, "y": str}), path)
        else:
            suffix = f".{packing}" if packing else ""
            path.write_bytes(PACK[suffix](TEXTS[name](rows).encode()))
        paths.append(str(path))
    return paths


def source_of(paths: list[str], *, head: int = 2, chunk_bytes: int = 1 << 20) -> Source:
    target = "label" if "libsvm" in Path(paths[0]).name else "y"
    columns = Columns(target=target, head=head)
    return open_files(paths, columns=columns, chunk_bytes=chunk_bytes)


@pytest.mark.parametrize("sizes", [(1 << 20, 16), (16, 1 << 20)])
@pytest.mark.parametrize(
    ("form", "around"), sorted({*product(FORMS, ["plain"]), *product(FEW, AROUND)})
)
def test_a_source_of_files_resumes_everywhere(
    tmp_path: Path, form: str, around: str, sizes: tuple[int, int]
) -> None:
    paths = files(tmp_path, form)
    before, after = sizes  # bytes that are read at once
    found = places(lambda: AROUND[around](lambda: source_of(paths, chunk_bytes=before)))
    assert len(found) > 8
    assert_resumes_everywhere(
        lambda: AROUND[around](lambda: source_of(paths, chunk_bytes=after)), found
    )


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("live", [False, True])
def test_a_source_of_an_iterable_resumes_everywhere(live: bool, around: str) -> None:
    async def flow() -> AsyncIterator[dict[str, Any]]:
        for row in ROWS:
            yield row

    def make() -> Source:
        return IterableSource(flow() if live else iter(ROWS), target="y")

    assert_resumes_everywhere(lambda: AROUND[around](make), places(lambda: AROUND[around](make)))


def test_a_resumed_source_can_be_resumed_again(tmp_path: Path) -> None:
    """The state of a source that was itself resumed, at its start and further on."""
    paths = files(tmp_path, "jsonl")
    for place in places(lambda: LimitedSource(source_of(paths), 15)):
        source = LimitedSource(source_of(paths), 15)

        async def state_at_once(source: Source = source, place: Any = place) -> str:
            source.restore_state(json.loads(place.state))
            await source.open(place.position)
            state = json.dumps(source.export_state(place.position))
            await source.aclose()
            return state

        state = anyio.run(state_at_once)
        assert json.loads(state)["given"] == json.loads(place.state)["given"]
        assert (
            resumed(LimitedSource(source_of(paths), 15), place._replace(state=state)) == place.rest
        )


@pytest.mark.parametrize("form", TEXTS)
def test_kinds_are_those_that_were_found_first(tmp_path: Path, form: str) -> None:
    """A longer head would tell others, but they are not asked again."""
    paths = files(tmp_path, form)
    found = places(lambda: source_of(paths))
    assert_resumes_everywhere(lambda: source_of(paths, head=1000), found)


def test_the_first_file_may_be_gone_when_a_later_one_is_resumed(tmp_path: Path) -> None:
    paths = files(tmp_path, "csv")
    source = open_files([tmp_path / "*.csv"], columns=Columns(target="y", head=2))
    place = next(p for p in places(lambda: source) if p.position.source == paths[1])
    Path(paths[0]).write_bytes(b"")
    assert resumed(source_of(paths), place) == place.rest


@pytest.mark.parametrize("form", FORMS)
def test_other_files_before_the_position_are_refused(tmp_path: Path, form: str) -> None:
    paths = files(tmp_path, form)
    place = places(lambda: source_of(paths))[-1]
    for others in ([paths[1], paths[2]], [paths[1], paths[0], paths[2]]):
        with pytest.raises(DataError, match="the files have changed"):
            resumed(source_of(others), place)


def changed(data: bytes, how: str, place: int) -> bytes:
    if how == "shrunk":
        return data[:-1]
    if how == "replaced":
        return b"z,w,y\n" + data[6:]
    return data[: place - 2] + b"8" + data[place - 1 :]


@pytest.mark.parametrize("how", ["shrunk", "replaced", "rewritten"])
@pytest.mark.parametrize("suffix", PACK)
def test_a_changed_text_is_refused(tmp_path: Path, suffix: str, how: str) -> None:
    text = ("x,w,y\n" + "".join(f"{n},a,u\n" for n in range(3000))).encode()
    path = Path(write(tmp_path, f"f.csv{suffix}", PACK[suffix](text)))
    (place,) = (p for p in places(lambda: source_of([str(path)])) if p.position.record == 2500)
    other = changed(text, how, place.position.offset)
    path.write_bytes(PACK[suffix](text)[:-1] if how == "shrunk" else PACK[suffix](other))
    with pytest.raises(DataError, match=r"f\.csv.* has changed"):
        resumed(source_of([str(path)]), place)
    path.write_bytes(PACK[suffix](text) + PACK[suffix](b"3000,a,u\n"))
    grown = resumed(source_of([str(path)]), place)
    assert grown.samples[:-1] == place.rest.samples


@pytest.mark.parametrize("form", WRITERS)
def test_a_changed_table_is_refused(tmp_path: Path, form: str) -> None:
    paths = files(tmp_path, form)
    place = places(lambda: source_of(paths))[-1]
    frame = pl.DataFrame({"x": [1.0] * 8, "w": ["a"] * 8, "y": ["u"] * 8})
    WRITERS[form](frame, Path(paths[2]))
    with pytest.raises(DataError, match="has changed"):
        resumed(source_of(paths), place)


def test_a_changed_stream_is_refused(tmp_path: Path) -> None:
    place = places(lambda: IterableSource(ROWS, target="y"))[-1]
    with pytest.raises(DataError, match="ends before"):
        resumed(IterableSource(ROWS[:3], target="y"), place)


def test_a_position_without_a_state_still_resumes(tmp_path: Path) -> None:
    path = write(tmp_path, "f.csv", "x,y\n1,a\n2,a\n")
    source = open_files([path], columns=Columns(target="y"))
    _, blocks = read(source, Position(path, 8, 1, 3))
    assert [block.numbers.tolist() for block in blocks] == [[[2.0]]]
    assert anyio.run(drain, open_files([path]), Position())[0].numbers == ("x",)

"""Partitions of a stream by key: each sample in one of them, wherever reading is taken up again."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest

from streamnet.errors import DataError
from streamnet.runs import key_partitions
from streamnet.runs.key_partitions import KeyPartition, SharedReading, find_partition
from streamnet.samples import Block, Position, Task
from streamnet.sources import Source, open_files
from streamnet.sources.columns import Columns
from streamnet.sources.wrappers import SourceWrapper

PARTITIONS = 3
Rows = list[tuple[str, float]]


class CutSource(SourceWrapper):
    """Cuts blocks into parts of a few samples."""

    def __init__(self, source: Source, most: int) -> None:
        super().__init__(source)
        self._most, self._rest = most, list[Block]()

    async def receive(self) -> Block | None:
        if not self._rest:
            block = await self._source.receive()
            if block is None:
                return None
            n = len(block)
            bounds = [*range(0, n, self._most), n]
            self._rest = [block.part(a, b) for a, b in pairwise(bounds)]
        return self._rest.pop(0)


class TrimmedSource(SourceWrapper):
    """What begins now has no records of the first file any more; what was begun goes on."""

    def __init__(self, files: Sequence[Path]) -> None:
        super().__init__(open_stream(files[1:]))
        self._files = files

    def restore_state(self, state: Mapping[str, Any]) -> None:
        self._source = open_stream(self._files)
        super().restore_state(state)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two files with keys in random order, missing keys, and records that are rejected."""
    chance, folder = random.Random(5), tmp_path_factory.mktemp("keys")
    paths = [folder / "a.csv", folder / "b.csv"]
    number = 0
    for path in paths:
        lines = ["device,x,y"]
        for _ in range(90):
            key = chance.choice(["d1", "d2", "d3", "d4", "d5", ""])
            y = "oops" if number > 20 and chance.random() < 0.15 else f"{number}.5"
            lines.append(f"{key},{number},{y}")
            number += 1
        path.write_text("\n".join(lines) + "\n")
    return paths


def open_stream(files: Sequence[Path], most: int = 7) -> Source:
    columns = Columns(target="y", task=Task.REGRESSION)
    return CutSource(open_files([str(path) for path in files], columns=columns), most)


async def read(
    member: KeyPartition, after: Position | None = None, until: int | None = None
) -> tuple[Rows, list[int], dict[str, Any], Position | None]:
    """Samples and rejected records, up to a number of samples; the state and position there."""
    await member.open(after)
    rows: Rows = []
    letters: list[int] = []
    end = after
    while (block := await member.receive()) is not None:
        if until is not None and len(rows) + len(block) >= until:
            stop = until - len(rows)
            block = block.part(0, stop) if stop < len(block) else block
        words, numbers = block.words[0].tolist(), block.numbers[:, 0].tolist()
        rows += zip(words, numbers, strict=True)
        letters += [int(letter.raw.split(",")[1]) for letter in block.rejected]
        end = block.end
        if until is not None and len(rows) >= until:
            break
    state = member.export_state(end)
    await member.aclose()
    return rows, letters, state, end


async def read_all(
    files: Sequence[Path], most: int, work: Callable[[KeyPartition], Any]
) -> dict[int, Any]:
    """What work makes of each of the partitions, at the same time."""
    return await read_source(partial(open_stream, files, most), work)


async def read_source(
    make: Callable[[], Source], work: Callable[[KeyPartition], Any]
) -> dict[int, Any]:
    """Likewise of a source."""
    reading = SharedReading(make, ["device"], PARTITIONS, range(PARTITIONS))
    found: dict[int, Any] = {}

    async def one(number: int) -> None:
        found[number] = await work(KeyPartition(reading, number))

    async with anyio.create_task_group() as group:
        for number in range(PARTITIONS):
            group.start_soon(one, number)
    return found


def test_each_sample_and_each_rejected_record_is_in_one_partition(files: list[Path]) -> None:
    found = anyio.run(read_all, files, 7, read)
    lines = [line for path in files for line in path.read_text().splitlines()[1:]]
    expected: dict[int, Rows] = {number: [] for number in range(PARTITIONS)}
    rejected = []
    for line in lines:
        key, x, y = line.split(",")
        if y != "oops":
            expected[find_partition(key or None, PARTITIONS)].append((key or None, float(x)))  # type: ignore[arg-type]
        else:
            rejected.append(int(x))
    assert {number: rows for number, (rows, *_) in found.items()} == expected
    dealt = [letters for _, letters, *_ in found.values()]
    assert sorted(x for letters in dealt for x in letters) == rejected
    assert max(map(len, dealt)) < 2 * min(map(len, dealt)), "rejected records pile up in one"


def test_partitions_do_not_depend_on_blocks_or_on_who_reads_along(files: list[Path]) -> None:
    together = anyio.run(read_all, files, 7, read)
    in_large_blocks = anyio.run(read_all, files, 1000, read)
    for number in range(PARTITIONS):
        reading = SharedReading(partial(open_stream, files), ["device"], PARTITIONS, [number])
        alone = anyio.run(read, KeyPartition(reading, number))
        assert alone[:2] == in_large_blocks[number][:2] == together[number][:2]


@pytest.mark.parametrize("seed", range(12))
def test_partitions_go_on_together_from_wherever_each_of_them_was(
    files: list[Path], seed: int
) -> None:
    chance = random.Random(seed)
    whole = anyio.run(read_all, files, 7, read)

    async def first(member: KeyPartition) -> Any:
        total = len(whole[member.number][0])
        return await read(member, until=chance.randint(1, total))

    before = anyio.run(read_all, files, 7, first)

    async def again(member: KeyPartition) -> Any:
        _, _, state, end = before[member.number]
        member.restore_state(state)
        return await read(member, end)

    after = anyio.run(read_all, files, chance.choice([3, 7, 50]), again)
    for number, (rows, letters, *_) in whole.items():
        assert before[number][0] + after[number][0] == rows
        assert before[number][1] + after[number][1] == letters


def test_what_fails_fails_for_all_and_one_that_leaves_keeps_nobody(tmp_path: Path) -> None:
    async def fail(member: KeyPartition) -> str:
        if member.number == 0:
            await member.aclose()
            return "left"
        with pytest.raises(DataError) as found:
            await member.open()
        return str(found.value)

    found = anyio.run(read_all, [tmp_path / "none.csv"], 7, fail)
    assert found[0] == "left"
    assert "none.csv does not exist" in found[1]
    assert found[1] == found[2]


def test_what_begins_after_the_stream_lost_its_beginning_takes_nothing_from_others(
    files: list[Path],
) -> None:
    whole = anyio.run(read_all, files, 7, read)
    left = 3
    states: dict[int, Any] = {}

    async def first(member: KeyPartition) -> Any:
        _, _, *states[member.number] = await read(member, until=len(whole[member.number][0]) - left)

    anyio.run(read_all, files, 7, first)
    later = anyio.run(read_all, files[1:], 7, read)

    async def again(member: KeyPartition) -> Any:
        if member.number != 0:
            state, end = states[member.number]
            member.restore_state(state)
            return await read(member, end)
        return await read(member)

    found = anyio.run(read_source, partial(TrimmedSource, files), again)
    assert found[0][:2] == later[0][:2]
    for number in (1, 2):
        assert found[number][0] == whole[number][0][-left:]
    assert found[1][2]["origin"] == found[2][2]["origin"] != found[0][2]["origin"]


def test_records_are_not_counted_from_another_beginning_than_before(files: list[Path]) -> None:
    async def one(make: Callable[[], Source], state: dict[str, Any] | None) -> dict[str, Any]:
        reading = SharedReading(make, ["device"], PARTITIONS, [0])
        member = KeyPartition(reading, 0)
        if state is not None:
            member.restore_state(state)
        try:
            return (await read(member, until=2))[2]
        finally:
            await member.aclose()

    state = anyio.run(one, partial(open_stream, files, 50), None)
    other = anyio.run(one, partial(open_stream, files[1:], 50), None)["source"]
    assert anyio.run(one, partial(open_stream, files, 50), state)["done"] > state["done"]
    with pytest.raises(DataError, match="the stream begins with another record, at offset 11 of "):
        anyio.run(one, partial(open_stream, files[1:], 50), {**state, "source": other})


def test_nobody_is_read_ahead_without_bound(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_partitions, "MAX_WAITING", 10)
    most = 0

    async def work(member: KeyPartition) -> Any:
        nonlocal most
        await member.open()
        count = 0
        while (block := await member.receive()) is not None:
            count += len(block)
            most = max(most, member.waiting)
            if member.number == 1:  # the slowest one
                for _ in range(20):
                    await anyio.lowlevel.checkpoint()
        await member.aclose()
        return count

    found = anyio.run(read_all, files, 7, work)
    assert sum(found.values()) > 100
    assert most <= 10 + 7

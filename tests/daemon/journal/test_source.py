"""The journal as a source gives the same samples however they came, and from any place on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamnet.daemon.journal.frames import Frame, FrameKind
from streamnet.daemon.journal.segments import Journal
from streamnet.daemon.journal.source import JournalSource
from streamnet.errors import StateError
from streamnet.samples import Block, Position, Task
from streamnet.sources.columns import Columns
from streamnet.sources.rows import RowReader
from tests.conftest import Runner
from tests.durability.disks import Memory

FOLDER = Path("/journal")
ROWS: list[Any] = [
    {"x": 1, "y": "a"},
    {"x": 2, "w": "u", "y": "b"},
    {"x": 2},
    {"x": 3, "w": "v", "z": 1.5, "y": "a"},
    [1],
    {"x": "no number", "y": "a"},
    {"x": None, "w": None, "y": "c"},
    {"x": 4, "y": "a", "w": "u", "z": 2.5},
]
LINES = [json.dumps(row).encode() + b"\n" for row in ROWS]


def journal_of(pieces: list[int], *, between: bool = True, segment_bytes: int = 1024) -> Journal:
    """A journal of the rows in frames of so many each, with frames between that hold none."""
    journal = Journal(FOLDER, files=Memory(), segment_bytes=segment_bytes)
    journal.open(b"")
    start = 0
    for count in pieces:
        body = b"".join(LINES[start : start + count])
        journal.append([Frame(FrameKind.SAMPLES, b"{}", body, len(LINES[start : start + count]))])
        if between:
            journal.append([Frame(FrameKind.PREDICTIONS, b"{}", b'{"x": 99}\n' * 3)])
            journal.roll(b"a snapshot")
        start += count
    return journal


async def never(offset: int) -> None:
    raise AssertionError(f"all was there, but it waits at byte {offset}")


def source_of(journal: Journal, **columns: Any) -> JournalSource:
    return JournalSource(journal, never, Columns(target="y", **columns))


async def blocks_of(source: JournalSource, journal: Journal) -> list[Block]:
    blocks = []
    while source.consumed < journal.samples:
        block = await source.receive()
        assert block is not None
        blocks.append(block)
    return blocks


def plain(blocks: list[Block]) -> list[Any]:
    """The samples and rejected records, one by one."""
    found: list[Any] = []
    for block in blocks:
        names = block.schema.numbers + block.schema.words
        columns = [*block.numbers.T.tolist(), *(word.tolist() for word in block.words)]
        assert block.target is not None
        for row in range(len(block)):
            values = {name: column[row] for name, column in zip(names, columns, strict=True)}
            known = {n: v for n, v in values.items() if v is not None and v == v}
            found.append((known, block.target[row]))
        found += [letter.reason for letter in block.rejected]
    return found


READ = plain(list(RowReader(Columns(target="y"), typed=True).blocks(ROWS)))
# What is no object is called by another name among lines.
WANTED = ["json" if one == "type" else one for one in READ]


@given(st.lists(st.integers(1, 5), min_size=8, max_size=8), st.booleans())
@settings(max_examples=25)
def test_samples_do_not_depend_on_how_they_arrived(pieces: list[int], between: bool) -> None:
    journal = journal_of(pieces, between=between)

    async def main() -> list[Block]:
        source = source_of(journal)
        schema = await source.open()
        assert schema.task is Task.CLASSIFICATION
        return await blocks_of(source, journal)

    blocks = anyio.run(main)
    assert sorted(plain(blocks), key=str) == sorted(WANTED, key=str)
    assert [mark for block in blocks for mark in block.marks[:-1, 1]] == [0, 1, 3, 6, 7]


@given(st.lists(st.integers(1, 5), min_size=8, max_size=8), st.integers(0, 4))
@settings(max_examples=25)
def test_it_resumes_after_any_sample(pieces: list[int], stop: int) -> None:
    journal = journal_of(pieces)

    async def main() -> tuple[list[Any], list[Any]]:
        source = source_of(journal)
        await source.open()
        blocks = await blocks_of(source, journal)
        singles = [b.part(i, i + 1) for b in blocks for i in range(len(b))]
        used = singles[stop]
        state = {"schema": source.export_state(used.end)["schema"]}
        again = source_of(journal)
        again.restore_state(state)
        await again.open(used.end)
        rest = await blocks_of(again, journal)
        mine = [target for block in rest for target in there(block)]
        return mine, [target for block in singles[stop + 1 :] for target in there(block)]

    mine, wanted = anyio.run(main)
    assert mine == wanted


def there(block: Block) -> list[Any]:
    assert block.target is not None
    return list(block.target)


def test_the_first_target_determines_the_task_however_late_it_comes(run: Runner) -> None:
    journal = Journal(FOLDER, files=Memory())
    journal.open(b"")

    async def main() -> None:
        signal = anyio.Event()

        async def grown(offset: int) -> None:
            while journal.end <= offset:
                await signal.wait()

        source = JournalSource(journal, grown, Columns(target="y", labels_required=True))
        found: list[Any] = []

        async def opened() -> None:
            found.append(await source.open())
            found.extend(await blocks_of(source, journal))

        async with anyio.create_task_group() as group:
            group.start_soon(opened)
            journal.append([Frame(FrameKind.SAMPLES, b"", b'{"x": 1}\n\n{"x": 2, "y": null}\n', 2)])
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
            assert not found
            journal.append([Frame(FrameKind.SAMPLES, b"", b'{"x": 3, "y": 1.5}\n', 1)])
            signal.set()
        schema, *blocks = found
        assert schema.task is Task.REGRESSION
        assert plain(blocks) == ["target-missing", "target-missing", ({"x": 3.0}, 1.5)]

    run(main)


def test_a_given_task_needs_no_sample(run: Runner) -> None:
    journal = journal_of([])

    async def main() -> None:
        source = source_of(journal, task=Task.REGRESSION)
        assert (await source.open()).fields == ()
        assert source.progress() is None
        await source.aclose()

    run(main)


def test_a_missing_offset_is_refused(run: Runner) -> None:
    journal = journal_of([2] * 4)
    journal.trim(4)

    async def main(after: Position) -> None:
        await source_of(journal, task=Task.CLASSIFICATION).open(after)

    for offset, record in ((journal.end + 1, 8), (journal.begin, 2)):
        with pytest.raises(StateError, match="it is another journal"):
            run(main, Position("journal", offset, record))

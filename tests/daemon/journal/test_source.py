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
from streamnet.daemon.journal.intake import Intake
from streamnet.daemon.journal.segments import Journal
from streamnet.daemon.journal.source import JournalSource
from streamnet.durability.budget import Turns
from streamnet.errors import StateError
from streamnet.samples import Block, ClassChange, Position, Prediction, Task
from streamnet.settings.daemon import IntakeSection
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
    assert [mark for block in blocks for mark in block.marks[:-1, 1]] == [0, 1, 2, 3, 6, 7]


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

        source = JournalSource(journal, grown, Columns(target="y"))
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
        targets = [float(target) for block in blocks for target in there(block)]
        assert str(targets) == "[nan, nan, 1.5]"
        assert not any(block.awaits_labels for block in blocks)

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


# ------------------------------------------------------------------ predictions and labels

STEPS = st.lists(
    st.tuples(st.sampled_from(["learn", "predict", "label", "early"]), st.integers(1, 3)),
    min_size=1,
    max_size=12,
)


def journal_of_steps(steps: list[tuple[str, int]]) -> tuple[Journal, list[Any]]:
    """A journal of samples, predictions and labels, and what a reader should see, in order."""
    intake = Intake("y", IntakeSection(max_pending=4))
    journal = Journal(FOLDER, files=Memory(), segment_bytes=1024)
    journal.open(intake.snapshot())
    wanted: list[Any] = [("sample", 0.5, "a")]
    frames = [intake.take(b'{"x": 0.5, "y": "a"}\n', 1)[1]]
    waiting: dict[str, int] = {}
    early: list[str] = []
    number = 1
    for kind, count in steps:
        for _ in range(count):
            x, identity = number + 0.5, str(number)
            number += 1
            if kind == "learn":
                frames.append(intake.take(f'{{"x": {x}, "y": "b"}}\n'.encode(), 1)[1])
                wanted.append(("sample", x, "b"))
            elif kind == "label" and waiting:
                identity = next(iter(waiting))
                wanted.append(("label", waiting.pop(identity), "c"))
                frames.append(intake.label([(identity, "c")], 0.0)[1])
            elif kind == "early":
                frames.append(intake.label([(identity, "d")], 0.0)[1])
                early.append(identity)
            if kind in ("predict", "early"):
                record = len(wanted)
                said = Prediction("a", {"a": 1.0}, 1)
                frames.append(intake.remember([identity], [f'{{"x":{x}}}'], [said], 0.0)[1])
                wanted.append(("predicted", x, None))
                if kind == "early":
                    wanted.append(("label", record, "d"))
                    continue
                waiting[identity] = record
                if len(waiting) > 4:
                    wanted.append(("label", waiting.pop(next(iter(waiting))), None))
    for frame in frames:
        assert frame is not None
        journal.append([frame])
    assert journal.samples == intake.records == len(wanted)
    return journal, wanted


def events_of(block: Block) -> list[Any]:
    """Samples and labels of a block, in order."""
    assert block.target is not None
    found: list[Any] = []
    arrivals = [] if block.arrivals is None else list(zip(*block.arrivals[:3], strict=True))
    for row in range(len(block) + 1):
        found += [("label", record, label) for before, record, label in arrivals if before == row]
        if row < len(block):
            label = block.target[row]
            kind = "predicted" if label is None else "sample"
            found.append((kind, block.numbers[row, 0], label))
    return found


@given(STEPS, st.data())
@settings(max_examples=40, deadline=None)
def test_predicted_samples_and_labels_are_read_in_their_order_and_from_anywhere(
    steps: list[tuple[str, int]], data: st.DataObject
) -> None:
    journal, wanted = journal_of_steps(steps)

    async def main() -> None:
        source = source_of(journal)
        await source.open()
        blocks = await blocks_of(source, journal)
        assert [event for block in blocks for event in events_of(block)] == wanted
        marks = [mark for block in blocks for mark in block.marks[:-1, 1].tolist()]
        assert marks == [place for place, event in enumerate(wanted) if event[0] != "label"]
        parts = [part for block in blocks for part in _singles(block)]
        stop = data.draw(st.integers(1, len(parts)))
        again = source_of(journal)
        again.restore_state({"schema": source.export_state(None)["schema"]})
        await again.open(parts[stop - 1].end)
        rest = [event for block in await blocks_of(again, journal) for event in events_of(block)]
        assert [e for part in parts[:stop] for e in events_of(part)] + rest == wanted

    anyio.run(main)


def _singles(block: Block) -> list[Block]:
    """A block as parts of one sample each, and the labels behind the last one."""
    parts = [block.part(i, i + 1) for i in range(len(block))] or [block]
    last, rest = parts[-1].split_off_last_arrivals()
    return [*parts[:-1], last, *([] if rest is None else [rest])]


@given(st.lists(st.sampled_from(["sample", "change"]), min_size=1, max_size=12), st.data())
@settings(max_examples=25, deadline=None)
def test_changes_of_the_classes_come_alone_at_their_place(
    steps: list[str], data: st.DataObject
) -> None:
    intake, journal = Intake("y"), Journal(FOLDER, files=Memory())
    journal.open(intake.snapshot())
    for number, step in enumerate(steps):
        if step == "sample":
            frame = intake.take(b'{"x": %d, "y": "a"}\n' % number, 1)[1]
        else:
            record, frame = intake.change(ClassChange(str(number), "a"))
            assert record == number
        assert frame is not None
        journal.append([frame])

    def there_of(block: Block) -> list[Any]:
        if isinstance(block.change, ClassChange):
            assert len(block) == 0
            return [block.change.label]
        found: list[Any] = block.numbers[:, 0].tolist()
        return found

    async def main() -> None:
        source = source_of(journal, task=Task.CLASSIFICATION)
        await source.open()
        blocks = await blocks_of(source, journal)
        wanted = [
            float(number) if step == "sample" else str(number) for number, step in enumerate(steps)
        ]
        assert [one for block in blocks for one in there_of(block)] == wanted
        stop = data.draw(st.integers(1, len(blocks)))
        again = source_of(journal, task=Task.CLASSIFICATION)
        again.restore_state({"schema": source.export_state(None)["schema"]})
        await again.open(blocks[stop - 1].end)
        rest = [one for block in await blocks_of(again, journal) for one in there_of(block)]
        assert [one for block in blocks[:stop] for one in there_of(block)] + rest == wanted

    anyio.run(main)
    replayed = Intake("y")
    for frame in journal.read_since_snapshot():
        replayed.apply(frame)
    assert replayed.records == intake.records == len(steps)


@pytest.mark.parametrize(("label", "task"), [(2, "classification"), (2.5, "regression")])
def test_the_first_label_determines_the_task_of_samples_that_were_predicted_before(
    label: float, task: str
) -> None:
    intake = Intake("y")
    journal = Journal(FOLDER, files=Memory())
    journal.open(intake.snapshot())
    ids, nothing = ["a", "b"], Prediction(None, None, 0)
    for frame in (
        intake.remember(ids, ['{"x":1}', '{"x":2}'], [nothing] * 2, 0.0)[1],
        intake.label([("b", label)], 1.0)[1],
    ):
        assert frame is not None
        journal.append([frame])

    async def main() -> None:
        source = source_of(journal)
        schema = await source.open()
        assert str(schema.task) == task
        blocks = await blocks_of(source, journal)
        (arrivals,) = [block.arrivals for block in blocks if block.arrivals is not None]
        assert (arrivals.record.tolist(), len(blocks[0])) == ([1], 2)
        assert arrivals.target.tolist() == [label if task == "regression" else str(label)]

    anyio.run(main)


def test_a_label_that_is_no_number_is_a_rejected_record_of_a_regression() -> None:
    intake = Intake("y")
    journal = Journal(FOLDER, files=Memory())
    journal.open(intake.snapshot())
    nothing = Prediction(None, None, 0)
    for frame in (
        intake.remember(["a", "b"], ['{"x":1}', '{"x":2}'], [nothing] * 2, 0.0)[1],
        intake.label([("b", 2.5), ("a", "high")], 1.0)[1],
    ):
        assert frame is not None
        journal.append([frame])

    async def main() -> None:
        source = source_of(journal)
        await source.open()
        (block,) = await blocks_of(source, journal)
        assert block.arrivals is not None
        assert block.arrivals.target.tolist() == [2.5, None]
        (letter,) = block.arrivals.letters.values()
        assert letter.detail.startswith("column 'y' has 'high', which is not a finite number")

    anyio.run(main)


def test_few_samples_wait_for_a_turn_and_many_do_not(run: Runner) -> None:
    turns = Turns(2.0, most=1, clock=lambda: 0.0)
    line = b'{"x": 1, "y": "a"}\n'

    async def main() -> list[int]:
        journal = journal_of([1], between=False, segment_bytes=1 << 20)
        columns = Columns(target="y", task=Task.CLASSIFICATION)
        source = JournalSource(journal, never, columns, turns)
        await source.open()
        sizes = [len(await source.receive())]

        async def receive() -> None:
            sizes.append(len(await source.receive()))

        journal.append([Frame(FrameKind.SAMPLES, b"{}", line, 1)])
        async with anyio.create_task_group() as group:
            group.start_soon(receive)
            await anyio.wait_all_tasks_blocked()
            journal.append([Frame(FrameKind.SAMPLES, b"{}", 4 * line, 4)])
        journal.append([Frame(FrameKind.SAMPLES, b"{}", 4000 * line, 4000)])
        await receive()
        return sizes

    first, second, third = run(main)
    assert (first, second) == (1, 5)
    assert third > 5
    assert turns.take() == 1.0  # the third, since two were taken

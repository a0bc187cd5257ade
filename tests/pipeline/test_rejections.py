"""Rejected records are counted, kept, and limited at an exact record."""

from __future__ import annotations

import json
from dataclasses import replace
from errno import EACCES
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from streamnet.durability import files
from streamnet.errors import ConfigurationError, StateError, TooManyRejectedError
from streamnet.pipeline import Rejections
from streamnet.pipeline.rejections import RejectionLimit, locate_rejected
from streamnet.samples import Task
from tests.conftest import Runner
from tests.learning.streams import stream
from tests.pipeline.block_sources import Playing, pipeline_of, plain
from tests.pipeline.interrupted_runs import crashed, go, made
from tests.test_samples import block_of

N = 900


def test_the_file_holds_each_rejected_record_in_order_with_all_that_is_needed_to_correct_it(
    tmp_path: Path, run: Runner
) -> None:
    block = stream(Task.REGRESSION, N)
    rejections = Rejections(tmp_path / "bad.jsonl", share=1.0)
    run(pipeline_of(Playing(block), rejections=rejections, block_size=50).run)
    lines = (tmp_path / "bad.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {
            "source": letter.source,
            "offset": letter.offset,
            "line": letter.line,
            "reason": "arity",
            "detail": "one field too many",
            "raw": letter.raw,
        }
        for letter in block.rejected
    ]
    assert rejections.statistics() == {
        "total": len(block.rejected),
        "reasons": {"arity": len(block.rejected)},
        "not_kept": 0,
    }


def test_a_full_file_keeps_the_first_records_and_counts_the_others_also_after_a_resume(
    tmp_path: Path, run: Runner, caplog: pytest.LogCaptureFixture
) -> None:
    block = stream(Task.REGRESSION, N)
    run(pipeline_of(Playing(block), rejections=Rejections(tmp_path / "all.jsonl", share=1.0)).run)
    lines = (tmp_path / "all.jsonl").read_text().splitlines(keepends=True)
    room = len("".join(lines[:7]))
    written = {"length": room, "end": sha256("".join(lines[:7]).encode()[-4096:]).hexdigest()}
    for most in (room, room + len(lines[7]) - 1):  # exactly full, and a byte too small for more
        rejections = Rejections(tmp_path / "some.jsonl", share=1.0, most_bytes=most)
        result = run(pipeline_of(Playing(block), rejections=rejections, block_size=50).run)
        assert (tmp_path / "some.jsonl").read_text() == "".join(lines[:7])
        assert rejections.statistics()["total"] == len(lines)
        assert result.report["rejected_not_kept"] == len(lines) - 7
        again = Rejections(tmp_path / "some.jsonl", share=1.0, most_bytes=10**6)
        again.restore_state(rejections.export_state() | written)
        assert again.statistics() == rejections.statistics()
        again.close()
    warned = [record.message for record in caplog.records if "may have" in record.message]
    assert len(warned) == 2  # once a run


def test_the_size_of_the_file_is_checked() -> None:
    with pytest.raises(ConfigurationError, match="most_bytes is -1, but must be >= 0"):
        Rejections(most_bytes=-1)


def test_without_a_rejected_record_no_file_is_made(tmp_path: Path, run: Runner) -> None:
    block = stream(Task.REGRESSION, 4)
    assert not block.rejected
    run(pipeline_of(Playing(block), rejections=Rejections(tmp_path / "bad.jsonl")).run)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("goes_on", [False, True])
def test_records_of_an_earlier_run_are_not_mistaken_for_those_of_this_one(
    tmp_path: Path, goes_on: bool
) -> None:
    letters, task = tmp_path / "rejected.jsonl", Task.CLASSIFICATION
    if goes_on:
        crashed(tmp_path, 0, state={"every_samples": None}, largest=1)
    letters.write_text("of a run before\n")
    go(made(tmp_path, task, source=Playing(stream(task, 4))))
    assert letters.read_text() == ""


def test_a_file_that_is_first_named_on_resume_is_not_emptied(tmp_path: Path) -> None:
    state = Rejections(tmp_path / "one.jsonl").export_state()
    for name in ("one.jsonl", "other.jsonl"):
        (tmp_path / name).write_text("of before\n")
    Rejections(tmp_path / "one.jsonl").restore_state(state)
    with pytest.raises(StateError, match=r"other.jsonl has 10 bytes, but must be absent or empty"):
        Rejections(tmp_path / "other.jsonl").restore_state(state)
    contents = [(tmp_path / name).read_text() for name in ("one.jsonl", "other.jsonl")]
    assert contents == ["", "of before\n"]


def broken_off(run: Runner, folder: Path, **settings: Any) -> tuple[Any, ...]:
    """All that a run leaves that had too many rejected records."""
    folder.mkdir(exist_ok=True)
    numbers: list[int] = []
    source = Playing(stream(Task.CLASSIFICATION, N), seed=settings.pop("pauses"))
    share = settings.pop("share", 0.14)
    pipeline = pipeline_of(
        source,
        rejections=Rejections(folder / "bad.jsonl", share=share, window=300),
        sinks=[lambda served: numbers.extend(served.serials.tolist())],
        **settings,
    )
    with pytest.raises(TooManyRejectedError) as error:
        run(pipeline.run)
    result = pipeline.result()
    text = str(error.value).replace(str(folder), "")
    left = plain(result.report), result.model.document()["checksum"], numbers
    return text, (folder / "bad.jsonl").read_text(), *left


def test_too_many_rejections_end_the_run_at_the_same_record_however_blocks_are_cut(
    tmp_path: Path, run: Runner
) -> None:
    folder = tmp_path / "f"
    expected = broken_off(run, folder, block_size=1000, pauses=1)
    text, letters, report, _, numbers = expected
    assert text.startswith("s.csv, line 300: 43 of the last 300 records were rejected, but at most")
    assert len(letters.splitlines()) == report["rejected"] == 43
    assert report["samples"] == 300
    assert report["learned"] == len(numbers) == 257
    for block_size, threads, pauses in ((1, 1, 2), (7, 2, 3), (64, 2, 4)):
        settings = {"block_size": block_size, "threads": threads, "pauses": pauses}
        assert broken_off(run, folder, **settings) == expected


@pytest.mark.parametrize("share", [0.16, 0.3])
def test_labels_beyond_the_maximum_end_the_run_at_the_same_record_however_blocks_are_cut(
    tmp_path: Path, run: Runner, share: float
) -> None:
    folder, encoder = tmp_path / "f", {"max_classes": 2}
    expected = broken_off(run, folder, encoder=encoder, share=share, block_size=1, pauses=1)
    letters = [json.loads(line)["reason"] for line in expected[1].splitlines()]
    assert {"arity", "too-many-classes"} == set(letters)
    assert expected[2]["rejected"] == len(letters)
    for block_size, pauses in ((1000, 2), (7, 3), (64, 4)):
        left = broken_off(
            run, folder, encoder=encoder, share=share, block_size=block_size, pauses=pauses
        )
        assert left == expected


@pytest.mark.parametrize("delay", [0, 20])
def test_labels_that_are_not_declared_are_dead_letters(
    tmp_path: Path, run: Runner, delay: int
) -> None:
    block = stream(Task.CLASSIFICATION, N, gaps=False)
    assert block.target is not None
    found = []
    for number, size in enumerate((1, 64)):
        pipeline = pipeline_of(
            Playing(block),
            rejections=Rejections(tmp_path / f"{number}.jsonl", share=1.0),
            encoder={"classes": ["c1", "c0", "c2"]},
            label_delay=delay,
            block_size=size,
        )
        report = run(pipeline.run).report
        late = [label for label in block.target if label not in ("c0", "c1", "c2")]
        assert report["rejected_reasons"]["unknown-class"] == len(late) > 10
        assert report["samples"] == len(block) + len(block.rejected)
        assert list(report["classes"]) == ["c1", "c0", "c2"]
        found.append((report["served"], (tmp_path / f"{number}.jsonl").read_text()))
    assert found[0] == found[1]


def test_labels_beyond_the_maximum_count_as_rejected_records(tmp_path: Path, run: Runner) -> None:
    block = stream(Task.CLASSIFICATION, N, gaps=False)
    pipeline = pipeline_of(
        Playing(block),
        rejections=Rejections(tmp_path / "bad.jsonl", share=1.0),
        encoder={"max_classes": 2},
        block_size=1,
    )
    report = run(pipeline.run).report
    late = [label for label in block.target if label not in ("c0", "c1")]  # type: ignore[union-attr]
    assert report["rejected_reasons"]["too-many-classes"] == len(late) > 50
    lines = (tmp_path / "bad.jsonl").read_text().splitlines()
    offsets = [json.loads(line)["offset"] for line in lines]
    assert offsets == sorted(offsets)
    assert report["samples"] == len(block) + len(block.rejected)


@pytest.mark.parametrize(
    ("path", "message"),
    [("nowhere/bad.jsonl", "its folder does not exist"), (".", "that is a folder")],
)
def test_a_file_that_can_not_be_created_is_refused_before_anything_is_read(
    tmp_path: Path, path: str, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Rejections(tmp_path / path)


def test_a_folder_without_write_permission_is_refused_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> NoReturn:
        raise PermissionError(EACCES, "Permission denied")

    monkeypatch.setattr(files, "TemporaryFile", refuse)
    with pytest.raises(ConfigurationError, match="can't be written: Permission denied"):
        Rejections(tmp_path / "bad.jsonl")


def test_a_file_that_can_not_be_created_later_ends_the_run_with_a_clear_error(
    tmp_path: Path, run: Runner
) -> None:
    rejections = Rejections(tmp_path / "bad.jsonl", share=1.0)
    (tmp_path / "bad.jsonl").mkdir()
    source = Playing(stream(Task.REGRESSION, N))
    with pytest.raises(ConfigurationError, match=r"dead_letters .*bad\.jsonl: Is a directory"):
        run(pipeline_of(source, rejections=rejections).run)
    assert source.closed


LETTER = block_of("-+").rejected[0]
RECORDS = st.lists(st.sampled_from("+++-"), max_size=60).map("".join).map(lambda s: f"{s}+")


def naive(records: str, share: float, window: int) -> int | None:
    """Records up to the one at which too many of the last were rejected."""
    for number in range(window, len(records) + 1):
        if records[number - window : number].count("-") > share * window:
            return number
    return None


@given(
    RECORDS,
    st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]),
    st.integers(1, 20),
    st.lists(st.integers(0, 60), max_size=5),
)
def test_the_run_ends_at_the_record_of_the_naive_rule_however_blocks_are_cut(
    records: str, share: float, window: int, cuts: list[int]
) -> None:
    block = block_of(records)
    limit = RejectionLimit(share=share, window=window)
    edges = [0, *sorted({cut % len(block) for cut in cuts} - {0}), len(block)]
    used = 0
    error = None
    for start, stop in pairwise(edges):
        part = limit.cut(block.part(start, stop))
        used += len(part) + len(part.rejected)
        error = limit.count(part)
        if error is not None:
            break
    expected = naive(records, share, window)
    assert (error is not None) == (expected is not None)
    assert used == (len(records) if expected is None else expected)
    if error is not None:
        head = records[:expected]
        last = head.rindex("-")
        assert str(error).startswith(
            f"a.csv, record at {10 * last}: {head[-window:].count('-')} of the last {window} "
        )


@given(
    st.lists(st.sampled_from("++++-x"), max_size=60).map("".join).map(lambda s: f"{s}+"),
    st.sampled_from([0.0, 0.1, 0.25, 0.5]),
    st.integers(1, 20),
    st.lists(st.integers(0, 60), max_size=5),
)
def test_samples_that_will_be_refused_count_as_rejected_however_blocks_are_cut(
    records: str, share: float, window: int, cuts: list[int]
) -> None:
    """An x is a sample by now, and a rejected record once it was encoded."""
    block = block_of(records.replace("x", "+"))
    refused = [row for row, sign in enumerate(records.replace("-", "")) if sign == "x"]
    limit = RejectionLimit(share=share, window=window)
    edges = [0, *sorted({cut % len(block) for cut in cuts} - {0}), len(block)]
    used, samples = 0, 0
    error = None
    for start, stop in pairwise(edges):
        bad = [row - start for row in refused if start <= row < stop]
        part = limit.cut(block.part(start, stop), bad)
        used += len(part) + len(part.rejected)
        places = locate_rejected(part, bad)
        bad = [row for row in bad if row < len(part)]
        kept = part.take(np.delete(np.arange(len(part)), bad))
        letters = (*part.rejected, *(replace(LETTER, offset=part.marks[row, 0]) for row in bad))
        ordered = tuple(sorted(letters, key=lambda letter: letter.offset))
        error = limit.count(structs.replace(kept, rejected=ordered), places)
        samples += len(kept)
        if error is not None:
            break
    plain = records.replace("x", "-")
    expected = naive(plain, share, window)
    assert (error is not None) == (expected is not None)
    assert used == (len(records) if expected is None else expected)
    assert samples == plain[:used].count("+")
    if error is not None:
        last = plain[:expected].rindex("-")
        assert str(error).startswith(f"a.csv, record at {10 * last}: ")


@given(RECORDS, st.integers(1, 20))
def test_looking_ahead_counts_nothing(records: str, window: int) -> None:
    block = block_of(records)
    limit, twin = (RejectionLimit(share=0.2, window=window) for _ in range(2))
    for _ in range(3):
        limit.cut(block)
    assert str(limit.count(block)) == str(twin.count(block))


def test_the_error_names_the_last_record_the_rule_and_the_file_that_keeps_them() -> None:
    block = block_of("+-+-")
    letters = tuple(replace(letter, line=7) for letter in block.rejected)
    limit = RejectionLimit(share=0.25, window=4, kept="bad.jsonl")
    error = limit.count(structs.replace(block, rejected=letters))
    assert str(error) == (
        "a.csv, line 7: 2 of the last 4 records were rejected, but at most 25% (max_rejected) may "
        "be; they are in bad.jsonl. The last one: one field too many"
    )


@pytest.mark.parametrize(
    ("share", "window", "message"),
    [
        (1.5, 10, "max_rejected is 1.5, but must be from 0 to 1"),
        (-0.1, 10, "max_rejected is -0.1"),
        (0.1, 0, "rejected_window is 0, but must be >= 1"),
    ],
)
def test_a_setting_out_of_range_is_refused(share: float, window: int, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        RejectionLimit(share=share, window=window)

"""Frames: how samples, rejected records and files are encoded for the journal."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.testing import assert_array_equal

from streamnet.daemon.journal.frames import (
    MAX_LINE_BYTES,
    FeedFrameHead,
    Frame,
    FrameKind,
    build_feed_frame,
    count_lines,
    encode_sample,
    encode_samples,
)
from streamnet.daemon.journal.segments import Journal
from streamnet.daemon.journal.source import JournalSource
from streamnet.errors import ConfigurationError, DataError
from streamnet.samples import Block, Task
from streamnet.sources import Columns, Source, open_files
from tests.conftest import Runner


@given(st.lists(st.sampled_from([b"{}", b"", b"  ", b"\r", b"\t", b"x"])), st.booleans())
def test_every_line_that_is_not_blank_counts(lines: list[bytes], ended: bool) -> None:
    data = b"\n".join(lines) + (b"\n" if ended else b"")
    found = count_lines(data)
    assert found.samples == sum(line.strip(b" \r") != b"" for line in lines)
    assert found.data.rstrip(b"\n") == data.rstrip(b"\n")
    assert found.data.endswith(b"\n")


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none() | st.booleans()))
def test_a_line_is_the_sample_without_its_target(sample: dict[str, Any]) -> None:
    line = encode_sample(0, sample, "y")
    assert "\n" not in line
    assert json.loads(line) == {name: v for name, v in sample.items() if name != "y"}


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (7, "sample 3: it is 7, but must be an object of names and values"),
        ({"x": object()}, "sample 3: it can't be encoded as JSON: "),
        ({"x": "a" * (1 << 20)}, "sample 3: it has 1,048,584 bytes, but must have <= 524,288"),
    ],
)
def test_an_invalid_sample_cannot_be_remembered(sample: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        encode_sample(3, sample, "y")


def test_samples_without_a_target_and_what_is_no_sample_are_kept_and_counted() -> None:
    lines = encode_samples([{"y": 1}, {"y": None}, {"y": " "}, {}, [], {"y": False}], "y")
    assert lines.data == b'{"y":1}\n{"y":null}\n{"y":" "}\n{}\n[]\n{"y":false}\n'
    assert lines[1:] == (6, 3, 1)
    assert encode_samples([], "y") == (b"", 0, 0, 0)


COLUMNS = Columns(target="y")
FILES = {
    "a.csv": "when,n,zip,y\n"
    + "".join(
        f"2026-01-{1 + i % 28:02d},{i / 7 if i % 5 else ''},{'AB'[i % 2]}{i % 3},{i % 2}\n"
        if i % 13 != 7
        else f"never,{i},A,1,{'x' * i}\n"
        for i in range(200)
    ),
    "b.jsonl": "".join(
        json.dumps({"n": i, "y": i / 3} | ({"late": "ü☃"} if i > 50 else {})) + "\n"
        if i % 9 != 8
        else "[1]\n"
        for i in range(120)
    ),
}


async def blocks_of(source: Source, most: int) -> list[Block]:
    await source.open()
    blocks: list[Block] = []
    while sum(len(block) + len(block.rejected) for block in blocks) < most:
        block = await source.receive()
        if block is None:
            break
        blocks.append(block)
    await source.aclose()
    return blocks


def rows_of(blocks: list[Block]) -> list[object]:
    """Samples and rejected records in their order, whatever blocks they came in."""
    rows: list[object] = []
    for block in blocks:
        letters = list(zip(block.places().tolist(), block.rejected, strict=True))[::-1]
        schema = block.schema
        assert block.target is not None
        for row in range(len(block) + 1):
            while letters and letters[-1][0] <= row:
                rows.append(letters.pop()[1])
            if row < len(block):
                numbers = zip(schema.numbers, block.numbers[row].tolist(), strict=True)
                words = zip(schema.words, (word[row] for word in block.words), strict=True)
                known = {k: v for k, v in (*numbers, *words) if v is not None and v == v}
                rows.append((known, block.target[row], block.scored))
    return rows


def frame_of(
    block: Block, state: dict[str, Any] | None = None, limit: dict[str, Any] | None = None
) -> Frame:
    """The first frame of a feed."""
    head = FeedFrameHead.build("source", block, state or {}, limit or {}, {})
    return build_feed_frame(block, head._replace(schema=block.schema))


@pytest.mark.parametrize("name", FILES)
def test_the_journal_returns_the_samples_of_the_file(
    run: Runner, tmp_path: Path, name: str
) -> None:
    async def main() -> None:
        (tmp_path / name).write_text(FILES[name])
        given = await blocks_of(open_files([tmp_path / name], columns=COLUMNS), 10**9)
        journal = Journal(tmp_path)
        journal.open(b"")
        for block in given:
            for start in range(0, max(len(block), 1), 37):
                part = block.part(start, min(start + 37, len(block))) if len(block) else block
                journal.append([frame_of(part)])
                journal.append([Frame(FrameKind.TIME, b"{}")])

        async def never(offset: int) -> None:
            raise AssertionError(offset)

        source = JournalSource(journal, never, COLUMNS)
        taken = await blocks_of(source, len(rows_of(given)))
        assert rows_of(taken) == rows_of(given)
        assert taken[-1].schema == given[-1].schema
        assert_array_equal(taken[-1].marks[-1, 1], journal.samples)
        journal.close()

    run(main)


def test_its_head_holds_any_name_of_a_file(tmp_path: Path, run: Runner) -> None:
    async def main() -> None:
        path = tmp_path / "name.csv"
        path.write_text("x,y\n1,a\n2\n")
        (block,) = await blocks_of(open_files([path], columns=COLUMNS), 10**9)
        block = replace(block, source="n\udcffame.csv")  # which was taken once
        frame = frame_of(block, {"a": [1]}, {"read": 2})
        fed = FeedFrameHead.decode(frame.head)
        assert fed.position.source == block.source
        assert (fed.state, fed.limit, fed.schema) == ({"a": [1]}, {"read": 2}, block.schema)
        assert fed.letters == [frame.body.index(b"[")]

    run(main)


def test_a_sample_that_is_too_long_for_a_line_is_rejected(tmp_path: Path, run: Runner) -> None:
    async def main() -> None:
        path = tmp_path / "a.csv"
        note = "\x01" * (MAX_LINE_BYTES // 4)  # each becomes six characters
        path.write_text(f"x,note,y\n1,short,a\n2,{note},b\n3,short,a\n")
        (block,) = await blocks_of(open_files([path], columns=COLUMNS), 10**9)
        frame = frame_of(block)
        assert frame.samples == 3
        assert len(FeedFrameHead.decode(frame.head).letters) == 1
        assert len(frame.body) < 100_000
        assert b"too-long" in frame.body

    run(main)


def test_inputs_without_names_are_an_error(tmp_path: Path, run: Runner) -> None:
    async def main() -> None:
        path = tmp_path / "a.svm"
        path.write_text("1 3:0.5 7:1\n-1 2:1\n")
        (block,) = await blocks_of(open_files([path]), 10**9)
        with pytest.raises(DataError, match="libSVM, whose inputs have no names"):
            frame_of(block)

    run(main)


def test_a_number_keeps_its_bits(tmp_path: Path, run: Runner) -> None:
    async def main() -> None:
        numbers = np.random.default_rng(1).standard_normal(500) * 10.0 ** np.arange(-250, 250)
        path = tmp_path / "a.csv"
        path.write_text("x,y\n" + "".join(f"{float(x)!r},{float(-x)!r}\n" for x in numbers))
        given = await blocks_of(open_files([path], columns=COLUMNS), 10**9)
        rows = [json.loads(line) for line in frame_of(given[0]).body.splitlines()]
        assert_array_equal([row["x"] for row in rows], numbers)
        assert_array_equal([row["y"] for row in rows], -numbers)

    run(main)


def test_lines_that_are_counted_as_rejected_are_those_that_the_reader_rejects(
    run: Runner, tmp_path: Path
) -> None:
    packed = gzip.compress(b"".join(b'{"x": %d, "y": "a"}\n' % (i * i) for i in range(3000)))
    odd = [
        b'{"x": 1, "y": "a"}',
        b' {"x": 1, "y": "a"}',
        b'{"x": NaN, "y": "a"}',
        b'{"x": 1, "y": "\xff"}',
        b'{"x": 1, "y": "a"',
        b"[1, 2]",
        b"7",
        b"null",
        b"",
        b"   ",
        b'{"x": 01, "y": "a"}',
        b'{"x": 1, "y": "a"} {}',
    ]
    path = tmp_path / "lines.jsonl"
    for lines in (packed, b"\n".join(odd), *odd):
        found = count_lines(lines)
        # With a first line that is good, since a file must begin with one.
        path.write_bytes(b'{"x": 1, "y": "a"}\n' + found.data)

        columns = Columns(target="y", task=Task.CLASSIFICATION)
        blocks = run(blocks_of, open_files([path], columns=columns), 10**9)
        good = sum(map(len, blocks))
        rejected = sum(len(block.rejected) for block in blocks)
        assert found.samples == good - 1 + rejected, lines[:40]
        assert found.rejected == rejected, lines[:40]

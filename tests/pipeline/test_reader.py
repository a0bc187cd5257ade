"""The reader stops at once, and blocks are split at the ends of rounds."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import anyio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streamnet.errors import ConfigurationError
from streamnet.pipeline.control_messages import Barrier
from streamnet.pipeline.reader import BlockSplitter, Reader
from streamnet.pipeline.state import Cadence
from streamnet.samples import Block, Field, Kind, Schema, SparseRows, Task
from tests.conftest import Runner
from tests.learning.streams import stream
from tests.pipeline.block_sources import ROUND, N, Playing, pipeline_of
from tests.test_samples import block_of


class Counted(Playing):
    """A source that knows how much of it there is."""

    def progress(self) -> float | None:
        return self.given / len(self.block)


def test_blocks_in_flight_do_not_count_as_progress(run: Runner) -> None:
    source = Counted(replace(stream(Task.REGRESSION, N), rejected=()))
    reader = Reader(source, BlockSplitter(block_size=64, round_size=ROUND))

    async def main() -> None:
        await reader.open()
        send, receive = anyio.create_memory_object_stream[Any](1)
        async with anyio.create_task_group() as group:
            group.start_soon(reader.read, send)
            done = 0
            async with receive:
                async for arrival in receive:
                    assert reader.progress(done) == pytest.approx(done / N)
                    done += len(arrival.block)
        assert done == N
        assert reader.progress(done) == 1.0

    run(main)


def test_progress_is_complete_at_the_end(run: Runner) -> None:
    pipeline = pipeline_of(Counted(stream(Task.REGRESSION, N)))
    assert pipeline.statistics().progress == 0.0
    run(pipeline.run)
    assert pipeline.statistics().progress == pytest.approx(1.0)


def test_a_source_of_unknown_length_has_no_progress(run: Runner) -> None:
    pipeline = pipeline_of(Playing(stream(Task.REGRESSION, N)))
    run(pipeline.run)
    assert pipeline.statistics().progress is None


class Moving(Playing):
    """A source that returns no record, but moves its position."""

    async def receive(self) -> Block | None:
        if self.given:
            return None
        self.given = 1
        return replace(self.block.take(np.arange(0)), rejected=())


@pytest.mark.parametrize("moves", [True, False])
def test_a_position_that_moved_without_a_record_is_worth_a_checkpoint(
    run: Runner, moves: bool
) -> None:
    source = Moving(stream(Task.REGRESSION, N))
    cadence = Cadence(every_samples=None, every_seconds=None)
    reader = Reader(source, BlockSplitter(block_size=64, round_size=ROUND), cadence)
    end = source.block.end
    before = end if not moves else end._replace(offset=1)
    found: list[Any] = []

    async def main() -> None:
        reader.restore_state({"position": before, "records": 5, "number": 4, "source": {}})
        send, receive = anyio.create_memory_object_stream[Any](9)
        await reader.read(send)
        async with receive:
            found.extend([one async for one in receive])

    run(main)
    barriers = [one for one in found if isinstance(one, Barrier)]
    assert [one.reading["position"] for one in barriers] == [list(end)] * moves
    assert [one.reading["records"] for one in barriers] == [5] * moves


BLOCKS = st.lists(st.text("++-", max_size=20), max_size=12)


@given(BLOCKS, st.integers(1, 9), st.integers(1, 15))
def test_no_part_straddles_a_rounds_end_and_nothing_is_lost(
    blocks: list[str], block_size: int, round_size: int
) -> None:
    cutter = BlockSplitter(block_size=block_size, round_size=round_size)
    number = 0
    for records in blocks:
        block = block_of(records)
        parts = list(cutter.cut(block))
        assert sum(len(part.block) for part in parts) == len(block)
        assert tuple(x for part in parts for x in part.block.rejected) == block.rejected
        for part in parts:
            first, number = number, number + len(part.block)
            assert len(part.block) <= block_size
            assert len(block) == 0 or len(part.block) > 0
            assert first // round_size == max(first, number - 1) // round_size
            assert part.ends_round == (number % round_size == 0 and len(part.block) > 0)
        for before, after in pairwise(parts):
            assert before.block.end.offset == after.block.marks[0, 0]
    assert cutter.number == number


def test_a_block_that_fits_is_passed_on_unchanged() -> None:
    block = block_of("+-+")
    (arrival,) = BlockSplitter(block_size=2, round_size=2).cut(block)
    assert arrival.block is block
    assert arrival.ends_round


@pytest.mark.parametrize("name", ["block_size", "round_size"])
def test_a_size_below_one_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} is 0, but must be >= 1"):
        BlockSplitter(**{"block_size": 1, "round_size": 1, name: 0})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "columns", "most"),
    [
        (Kind.NUMBER, 100, 1024),
        (Kind.NUMBER, 1000, 131),
        (Kind.CATEGORY, 5000, 26),
        (Kind.TEXT, 1000, 8),
        (Kind.CATEGORY, 200_000, 1),
    ],
)
def test_blocks_of_many_columns_have_few_samples(kind: Kind, columns: int, most: int) -> None:
    schema = Schema(tuple(Field(f"c{i}", kind) for i in range(columns)))
    numbers = np.empty((1500, columns if kind is Kind.NUMBER else 0))
    block = Block(schema, "-", numbers, (), None, np.zeros((1501, 3), np.int64))
    parts = list(BlockSplitter(block_size=1024, round_size=1024).cut(block))
    assert max(len(part.block) for part in parts) == most
    assert sum(len(part.block) for part in parts) == 1500
    assert sum(part.ends_round for part in parts) == 1


def test_blocks_of_many_entries_have_few_samples() -> None:
    sparse = SparseRows(
        np.zeros((100, 9000), np.int64), np.zeros((100, 9000)), np.full(100, 4096, np.int32)
    )
    block = Block(
        Schema(()), "-", np.empty((100, 0)), (), None, np.zeros((101, 3), np.int64), sparse
    )
    parts = list(BlockSplitter(block_size=1024, round_size=1024).cut(block))
    assert [len(part.block) for part in parts] == [32, 32, 32, 4]

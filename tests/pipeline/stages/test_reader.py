"""Reading: what is told of a source that is ahead of those who learn it."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from streamnet.pipeline.reader import BlockSplitter, Reader
from streamnet.samples import Task
from tests.conftest import Runner
from tests.learning.streams import stream
from tests.pipeline.block_sources import ROUND, N, Playing, pipeline_of


class Counted(Playing):
    """A source that knows how much of it there is."""

    def progress(self) -> float | None:
        return self.given / len(self.block)


def test_what_is_on_its_way_is_not_done(run: Runner) -> None:
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


def test_at_the_end_all_is_done(run: Runner) -> None:
    pipeline = pipeline_of(Counted(stream(Task.REGRESSION, N)))
    assert pipeline.statistics().progress == 0.0
    run(pipeline.run)
    assert pipeline.statistics().progress == pytest.approx(1.0)


def test_of_a_source_whose_end_is_not_known_no_share_is_told(run: Runner) -> None:
    pipeline = pipeline_of(Playing(stream(Task.REGRESSION, N)))
    run(pipeline.run)
    assert pipeline.statistics().progress is None

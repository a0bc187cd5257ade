"""A cancelled call loses and duplicates no sample, wherever it was waiting.

The pipeline cancels one whenever a checkpoint is due.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random
from typing import Any

import anyio
import polars as pl
import pytest
from anyio import CancelScope, to_thread

from streamnet.samples import Block
from streamnet.sources import (
    Columns,
    IterableSource,
    LimitedSource,
    RepeatedSource,
    ShuffledSource,
    Source,
    open_files,
)
from streamnet.sources.wrappers import RetryingSource
from tests.sources.harness import content, write

pytestmark = pytest.mark.no_cover

COUNT = 3000
ROWS = [{"x": number, "y": "ab"[number % 2]} for number in range(COUNT)]


def csv_in(path: Path) -> Source:
    text = "x,y\n" + "".join(f"{row['x']},{row['y']}\n" for row in ROWS)
    return open_files([write(path, "rows.csv", text.encode())], columns=Columns(target="y"))


def parquet_in(path: Path) -> Source:
    pl.DataFrame(ROWS).write_parquet(path / "rows.parquet")
    return open_files([path / "rows.parquet"], columns=Columns(target="y"))


def folder_in(path: Path) -> Source:
    csv_in(path)
    return open_files([path], columns=Columns(target="y", head=2), follow=True)


async def told() -> AsyncIterator[dict[str, Any]]:
    for row in ROWS:
        yield row


SOURCES: dict[str, Callable[[Path], Source]] = {
    "rows": lambda path: IterableSource(iter(ROWS), target="y"),
    "rows that come by themselves": lambda path: IterableSource(told(), target="y"),
    "csv": csv_in,
    "parquet": parquet_in,
    "folder": folder_in,
    "limited": lambda path: LimitedSource(csv_in(path), 2500),
    "retrying": lambda path: RetryingSource(lambda: csv_in(path)),
    "shuffled rows": lambda path: ShuffledSource(IterableSource(iter(ROWS), target="y"), 500, 1),
    "shuffled csv": lambda path: ShuffledSource(csv_in(path), 500, 1),
    "repeated": lambda path: RepeatedSource(
        lambda epoch: ShuffledSource(csv_in(path), 500, 1, epoch=epoch), 3
    ),
}


class Cancelling:
    """Cancels who waits, before and behind some of the calls that a thread does for it."""

    def __init__(self, seed: int) -> None:
        self.scope: CancelScope | None = None
        self.cancelled = 0
        self._random = Random(seed)
        self._run_sync = to_thread.run_sync

    async def __call__(self, *arguments: Any, **options: Any) -> Any:
        self._cancel_perhaps()
        result = await self._run_sync(*arguments, **options)
        self._cancel_perhaps()
        return result

    def _cancel_perhaps(self) -> None:
        if self.scope is not None and self._random.random() < 0.2:
            self.scope.cancel()

    async def read(self, source: Source, count: int | None = None) -> list[Block]:
        """All blocks, or those of so many samples."""
        blocks: list[Block] = []
        try:
            await source.open()
            while count is None or sum(map(len, blocks)) < count:
                with CancelScope() as self.scope:
                    block = await source.receive()
                    if block is None:
                        break
                    blocks.append(block)
                self.cancelled += self.scope.cancelled_caught
        finally:
            self.scope = None
            await source.aclose()
        return blocks


@pytest.mark.parametrize("name", SOURCES)
def test_a_cancelled_call_loses_nothing(
    name: str, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = COUNT if name == "folder" else None
    whole = anyio.run(Cancelling(0).read, SOURCES[name](tmp_path), count, backend=backend)
    cancelled = 0
    for seed in range(8):
        cancelling = Cancelling(seed)
        with monkeypatch.context() as patched:
            patched.setattr(to_thread, "run_sync", cancelling)
            found = anyio.run(cancelling.read, SOURCES[name](tmp_path), count, backend=backend)
        assert content(found) == content(whole)
        cancelled += cancelling.cancelled
    assert cancelled > 0

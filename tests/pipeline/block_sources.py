"""A source made of a block, as unsteady as a test needs it, and pipelines to try it on."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from anyio import Event, from_thread
from anyio.lowlevel import checkpoint
from msgspec.structs import replace

from streamnet.errors import DataError
from streamnet.learning.serving import Served
from streamnet.modelfiles import Model
from streamnet.pipeline import Pipeline, Rejections
from streamnet.samples import Block, Position, Schema
from streamnet.settings.candidate import CandidateSettings
from streamnet.sources import Source
from tests.learning.streams import candidate

__all__ = (
    "CANDIDATES",
    "ROUND",
    "N",
    "Playing",
    "checksum",
    "counting",
    "in_loop",
    "pipeline_of",
    "plain",
    "rows",
)

ROUND = 128
N = 6 * ROUND + 50
CANDIDATES: Sequence[CandidateSettings] = (
    candidate(optimizer="sgd", learning_rate=0.05),
    candidate(rehearsal=2, memory=50),
    candidate(optimizer="adam", hidden=(8, 5)),
    candidate(optimizer="sgd", learning_rate=1e6, activation="relu"),
)


class Playing(Source):
    """Plays a block in pieces of random sizes with random pauses.

    Args:
        block: All its samples.
        seed: Decides sizes and pauses.
        largest: Most samples of a piece.
        breaks_off: Whether it ends with an error.
        ends: Whether it ends; otherwise the last call waits until it is cancelled.
    """

    def __init__(
        self,
        block: Block,
        *,
        seed: int = 0,
        largest: int = 700,
        breaks_off: bool = False,
        ends: bool = True,
    ) -> None:
        self.block = block
        self.given = 0
        self.closed = False
        self.waits = Event()  # set as soon as it has nothing more to give
        self._late: Block | None = None
        self._random = random.Random(seed)
        self._largest = largest
        self._breaks_off = breaks_off
        self._ends = ends

    async def open(self, after: Position | None = None) -> Schema:
        await self._pause()
        if after is not None:
            block = self.block
            self.given = int(np.searchsorted(block.marks[:-1, 0], after.offset))
            # Records that were not there yet when the run ended, in front of the next sample.
            places = zip(block.places().tolist(), block.rejected, strict=True)
            late = [x for place, x in places if place == self.given and x.offset >= after.offset]
            self._late = replace(block.part(self.given, self.given), rejected=tuple(late))
        return self.block.schema

    async def receive(self) -> Block | None:
        await self._pause()
        if self._late is not None and self._late.rejected:
            late, self._late = self._late, None
            return late
        if self.given == len(self.block):
            self.waits.set()
            if not self._ends:
                await Event().wait()
            if self._breaks_off:
                raise DataError("s.csv: the cable was cut")
            return None
        size = self._random.randint(1, self._largest)
        start, self.given = self.given, min(len(self.block), self.given + size)
        return self.block.part(start, self.given)

    async def aclose(self) -> None:
        await self._pause()
        self.closed = True

    async def _pause(self) -> None:
        for _ in range(self._random.randint(0, 5)):
            await checkpoint()


def pipeline_of(source: Source, **settings: Any) -> Pipeline:
    """A pipeline of a few small candidates with short rounds."""
    defaults: dict[str, Any] = {
        "candidates": CANDIDATES,
        "round_size": ROUND,
        "rejections": Rejections(share=1.0),
        "seed": 4,
        "window": 50,
    }
    return Pipeline(source, **defaults | settings)


def plain(report: dict[str, Any]) -> dict[str, Any]:
    """What a report says of the samples, without what it says of the machine and its speed."""
    machine = {"seconds", "startup_seconds", "samples_per_second", "environment"}
    return {name: value for name, value in report.items() if name not in machine}


def counting() -> tuple[list[int], Callable[[Served], None]]:
    """A sink, and the numbers of the samples that it got."""
    numbers: list[int] = []

    def sink(served: Served) -> None:
        first = served.predicted.first
        numbers.extend(range(first, first + len(served.serials)))

    return numbers, sink


def in_loop(function: Callable[[], None]) -> None:
    """Call from a sink, which has a thread of its own, in the event loop's."""
    from_thread.run_sync(function)


def checksum(model: Model) -> str:
    """What two models have in common if they are the same to the bit."""
    return str(model.document()["checksum"])


def rows(n: int) -> list[dict[str, Any]]:
    """Samples of three classes."""
    return [
        {"x": i % 7, "colour": "red" if i % 3 else "blue", "y": f"c{i % 7 % 3}"} for i in range(n)
    ]

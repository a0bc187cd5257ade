"""A source made of a block, as unsteady as a test needs it, and pipelines to try it on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from anyio import Event
from anyio.lowlevel import checkpoint

from streamnet.errors import DataError
from streamnet.networks.candidate import CandidateSettings
from streamnet.pipeline import Pipeline
from streamnet.pipeline import Rejections
from streamnet.samples import Block
from streamnet.samples import Position
from streamnet.samples import Schema
from streamnet.sources import Source
from tests.learning.streams import candidate

__all__ = ("CANDIDATES", "ROUND", "Playing", "pipeline_of", "plain")

ROUND = 128
CANDIDATES: Sequence[CandidateSettings] = (
    candidate(optimiser="sgd", learning_rate=0.05),
    candidate(rehearsal=2, memory=50),
    candidate(optimiser="adam", hidden=(8, 5)),
    candidate(optimiser="sgd", learning_rate=1e6, activation="relu"),
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
        self._random = random.Random(seed)
        self._largest = largest
        self._breaks_off = breaks_off
        self._ends = ends

    async def open(self, after: Position | None = None) -> Schema:
        await self._pause()
        return self.block.schema

    async def receive(self) -> Block | None:
        await self._pause()
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

"""Verify: learn a source again up to a generation, and compare every bit."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from typing import NamedTuple
from typing import final

import numpy as np

from streamnet.assembling import encoder_of
from streamnet.assembling import networks_of
from streamnet.assembling import search_of
from streamnet.assembling import source_of
from streamnet.durability.folder import StateFolder
from streamnet.durability.tree import Tree
from streamnet.errors import DataError
from streamnet.errors import StateError
from streamnet.pipeline.pipeline import Pipeline
from streamnet.pipeline.rejections import Rejections
from streamnet.pipeline.state import State
from streamnet.pipeline.state import other_versions
from streamnet.samples import Block
from streamnet.samples import Position
from streamnet.samples import Schema
from streamnet.settings import RunSettings
from streamnet.sources import Source

__all__ = ("Verified", "verify")

_COMPARED = ("learner", "ledger", "limit", "emitted")
# Words that an earlier release had learned count as inherited by a run that went on from them, and
# by none that begins. What follows from it is compared: the words, and all that they lead to.
_HISTORY = ("learner.encoder.inherited",)


class Verified(NamedTuple):
    """What came of it."""

    generation: int
    samples: int
    differences: tuple[str, ...]  # names of values that are not the same, to the bit
    versions: tuple[str, ...] = ()  # what bits depend on and is not as it was, as phrases


async def verify(path: Path, generation: int | None = None) -> Verified:
    """Learn what a generation had learned, from the same files, and compare.

    Args:
        path: A state directory that a run over files has written.
        generation: Its number; None is the newest.

    Raises:
        StateError: If it holds no state of such a run.
        DataError: If the files can't be read.
    """
    generations = StateFolder(path).generations
    numbers = generations.numbers()
    if not numbers:
        raise StateError(f"{path} holds no state")
    number = numbers[-1] if generation is None else generation
    kept = generations.load(number)
    if "intake" in kept["settings"]:
        raise StateError(f"{path} was written by a daemon, whose samples can't be read again")
    if not kept["settings"].get("source"):
        raise StateError(f"{path} was not written by a run over files")
    again = await _learned_again(kept)
    found = [
        difference for name in _COMPARED for difference in _differ(kept[name], again[name], name)
    ]
    versions = tuple(other_versions(kept, again))
    return Verified(number, kept["reading"]["number"], tuple(found), versions)


async def _learned_again(kept: Tree) -> Tree:
    settings = RunSettings.model_validate(kept["settings"], strict=False)
    networks, reading = networks_of(settings), kept["reading"]
    source = source_of(settings, networks.get("start"))
    source = _Until(source, reading["number"], reading["records"])
    with TemporaryDirectory() as folder:
        state = State(folder, every_seconds=None)
        pipeline = Pipeline(
            source,
            rejections=Rejections(share=1.0, window=settings.source.rejected_window),
            state=state,
            **settings.run.given(),
            **settings.evaluation.given(),
            **settings.selection.given(),
            **encoder_of(settings),
            **networks,
            evolution=search_of(settings),
        )
        try:
            async with pipeline:
                async for _ in pipeline.champions():
                    pass
        except DataError:
            # To a run, having nothing to learn is an error; the state before it is there.
            if reading["number"]:
                raise
        newest = state.folder.generations.newest()
    assert newest is not None
    return newest.tree


@final
class _Until(Source):
    """The first samples of a source, with what was rejected before and between them."""

    def __init__(self, source: Source, samples: int, records: int) -> None:
        self._source = source
        self._samples = samples
        self._records = records

    async def open(self, after: Position | None = None) -> Schema:
        return await self._source.open(after)

    async def receive(self) -> Block | None:
        if self._records <= 0:
            return None
        block = await self._source.receive()
        if block is None:
            return None
        if len(block) > self._samples:
            block = block.part(0, self._samples)
        self._samples -= len(block)
        self._records -= len(block) + len(block.rejected)
        return block

    async def aclose(self) -> None:
        await self._source.aclose()


def _differ(before: Any, now: Any, name: str) -> list[str]:
    if name in _HISTORY:
        return []
    if isinstance(before, dict) and isinstance(now, dict):
        keys = sorted({*before, *now})
        return [d for key in keys for d in _differ(before.get(key), now.get(key), f"{name}.{key}")]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        return [d for i, (one, other) in pairs for d in _differ(one, other, f"{name}.{i}")]
    if isinstance(before, np.ndarray) and isinstance(now, np.ndarray):
        same = before.dtype == now.dtype and before.shape == now.shape
        return [] if same and before.tobytes() == now.tobytes() else [name]
    # As text, so that NaN is like NaN, and -0.0 unlike 0.0.
    return [] if repr(before) == repr(now) else [name]

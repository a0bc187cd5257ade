"""Verification: learns a source again up to a checkpoint and compares every bit."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, final

import numpy as np

from streamnet.durability.checkpoint import StateDict
from streamnet.durability.state_directory import StateDirectory
from streamnet.errors import DataError, StateError
from streamnet.pipeline.pipeline import Pipeline
from streamnet.pipeline.rejections import Rejections
from streamnet.pipeline.state import State, describe_version_differences
from streamnet.runs.builder import (
    build_source,
    encoder_arguments,
    network_arguments,
    search_arguments,
)
from streamnet.samples import Block, Position, Schema
from streamnet.settings.run import RunSettings
from streamnet.sources import Source

_COMPARED = ("learner", "ledger", "limit", "emitted")


class Verification(NamedTuple):
    """What came of it."""

    generation: int
    samples: int
    differences: tuple[str, ...]  # names of values that are not the same, to the bit
    versions: tuple[str, ...] = ()  # what bits depend on and is not as it was, as phrases


async def verify(path: Path, generation: int | None = None) -> Verification:
    """Learn what a generation had learned, from the same files, and compare.

    Args:
        path: A state directory that a run over files has written.
        generation: Its number; None is the newest.

    Raises:
        StateError: If it holds no state of such a run.
        DataError: If the files can't be read.
    """
    generations = StateDirectory(path).generations
    numbers = generations.numbers()
    if not numbers:
        raise StateError(f"{path} holds no state")
    number = numbers[-1] if generation is None else generation
    kept = generations.load(number)
    if "intake" in kept["settings"]:
        raise StateError(f"{path} was written by a daemon, whose samples can't be read again")
    if not kept["settings"].get("source"):
        raise StateError(f"{path} was not written by a run over files")
    again = await _relearn(kept)
    found = [
        difference
        for name in _COMPARED
        for difference in _find_differences(kept[name], again[name], name)
    ]
    versions = tuple(describe_version_differences(kept, again))
    return Verification(number, kept["reading"]["number"], tuple(found), versions)


async def _relearn(kept: StateDict) -> StateDict:
    settings = RunSettings.model_validate(kept["settings"], strict=False)
    networks, reading = network_arguments(settings), kept["reading"]
    source = build_source(settings, networks.get("start"))
    source = _SourcePrefix(source, reading["number"], reading["records"])
    with TemporaryDirectory() as folder:
        state = State(folder, every_seconds=None)
        pipeline = Pipeline(
            source,
            rejections=Rejections(share=1.0, window=settings.source.rejected_window),
            state=state,
            **settings.run.to_kwargs(),
            **settings.evaluation.to_kwargs(),
            **settings.selection.to_kwargs(),
            **encoder_arguments(settings),
            **networks,
            evolution=search_arguments(settings),
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
class _SourcePrefix(Source):
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


def _find_differences(before: Any, now: Any, name: str) -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = sorted({*before, *now})
        return [
            d
            for key in keys
            for d in _find_differences(before.get(key), now.get(key), f"{name}.{key}")
        ]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        return [
            d for i, (one, other) in pairs for d in _find_differences(one, other, f"{name}.{i}")
        ]
    if isinstance(before, np.ndarray) and isinstance(now, np.ndarray):
        same = before.dtype == now.dtype and before.shape == now.shape
        return [] if same and before.tobytes() == now.tobytes() else [name]
    # As text, so that NaN is like NaN, and -0.0 unlike 0.0.
    return [] if repr(before) == repr(now) else [name]

"""Runs with a state that are broken off and gone on with, and all that they leave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest

from streamnet.durability.state_directory import StateDirectory
from streamnet.learning.learner import Learner
from streamnet.learning.serving import Served
from streamnet.pipeline import Pipeline, Predictions, Rejections
from streamnet.pipeline.outputs import Sink
from streamnet.pipeline.state import State
from streamnet.samples import Schema, Task
from tests.learning.streams import stream
from tests.pipeline.block_sources import Playing, checksum, pipeline_of, plain

__all__ = (
    "CrashError",
    "Left",
    "close",
    "crashed",
    "crashing_at",
    "finished",
    "go",
    "left",
    "made",
)

FEW_CLASSES = {"max_classes": 4}  # the encoder refuses samples of the fifth


class CrashError(Exception):
    """What a sink raises to end a run in the middle."""


class Left(NamedTuple):
    """All that a run leaves."""

    model: str
    report: dict[str, Any]
    predictions: bytes
    letters: bytes
    ledger: str
    models: dict[str, bytes]


def crashing_at(number: int | None) -> Callable[[Served], None]:
    """A sink that ends the run at the block which holds sample ``number``."""

    def sink(served: Served) -> None:
        first, n = served.predicted.first, len(served.predicted.encoded.block)
        if number is not None and first <= number < first + n:
            raise CrashError

    return sink


def made(
    folder: Path,
    task: Task,
    *,
    samples: int = 1300,
    pace: int = 1,
    largest: int = 100,
    crash: int | None = None,
    source: Playing | None = None,
    state: dict[str, Any] | None = None,
    **settings: Any,
) -> Pipeline:
    """A pipeline with a state in ``folder`` and all outputs."""
    keeping = {"every_samples": 1, "every_seconds": None, **(state or {})}
    files = keeping.get("files")
    seam = {} if files is None else {"files": files}

    def prepare(learner: Learner, _: Schema) -> Sequence[Sink]:
        path = folder / "predictions.csv"
        return (
            Predictions(
                path,
                task=task,
                labels=learner.encoder.labels,
                intervals=learner.serving.intervals is not None,
                **seam,
            ),
            crashing_at(crash),
        )

    return pipeline_of(
        source or Playing(stream(task, samples), seed=pace, largest=largest),
        rejections=Rejections(folder / "rejected.jsonl", share=0.5, **seam),
        prepare=prepare,
        state=State(
            folder / "state", **{"every_samples": 1, "every_seconds": None} | (state or {})
        ),
        **{"encoder": FEW_CLASSES} | settings,
    )


def go(pipeline: Pipeline, backend: str = "asyncio") -> None:
    """Run to the end, and close what it wrote."""

    async def run() -> None:
        try:
            await pipeline.run()
        finally:
            close(pipeline)

    anyio.run(run, backend=backend)


def close(pipeline: Pipeline) -> None:
    """Close the predictions, as whoever made them has to."""
    for output in pipeline.sinks:
        if isinstance(output, Predictions):
            output.close()


def left(folder: Path, pipeline: Pipeline) -> Left:
    """What a run that has ended left."""
    result = pipeline.result()
    newest = StateDirectory(folder / "state").generations.newest()
    assert newest is not None
    models = {path.name: path.read_bytes() for path in (folder / "state" / "models").iterdir()}
    letters = folder / "rejected.jsonl"
    return Left(
        checksum(result.model),
        plain(result.report),
        (folder / "predictions.csv").read_bytes(),
        letters.read_bytes() if letters.exists() else b"",
        newest.tree["ledger"]["value"],
        models,
    )


def finished(folder: Path, task: Task, make: Callable[..., Pipeline] = made) -> Left:
    """What an uninterrupted run leaves."""
    folder.mkdir(exist_ok=True)
    pipeline = make(folder, task)
    go(pipeline)
    return left(folder, pipeline)


def crashed(folder: Path, at: int, **settings: Any) -> Pipeline:
    """A run that ends at sample ``at``, without another checkpoint."""
    pipeline = made(folder, Task.CLASSIFICATION, crash=at, **settings)
    with pytest.raises(CrashError):
        go(pipeline)
    return pipeline

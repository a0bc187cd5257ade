"""A pipeline merges a class while it runs; its checkpoints have the change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from streamnet.errors import ConfigurationError, NoCandidateError
from streamnet.learning.serving import Served
from streamnet.pipeline.pipeline import Pipeline
from streamnet.pipeline.state import State
from streamnet.samples import ClassChange, Task
from streamnet.settings.candidate import CandidateSettings
from streamnet.sources import IterableSource
from tests.conftest import Runner

N = 1500


def row(i: int) -> dict[str, Any]:
    return {"x": i % 7, "y": "abc"[i % 7 % 3]}


def pipeline_of(rows: Any, sinks: Any = (), state: Any = None) -> Pipeline:
    return Pipeline(
        IterableSource(rows, target="y"),
        candidates=[CandidateSettings(hidden=(8,))],
        round_size=128,
        sinks=sinks,
        state=state,
    )


def test_a_class_is_merged_while_a_pipeline_runs(run: Runner, tmp_path: Path) -> None:
    served: list[Served] = []
    state = State(tmp_path / "state", every_seconds=None)

    async def main() -> None:
        async def paced(pipeline: Pipeline) -> AsyncIterator[dict[str, Any]]:
            for i in range(N):
                if i == 900:
                    while pipeline.statistics().samples < 800:  # noqa: ASYNC110 - a number
                        await anyio.sleep(0.005)
                    with pytest.raises(ConfigurationError, match="label is 'x', but must be a cla"):
                        pipeline.merge_class("x", "a")
                    pipeline.merge_class("c", "b")
                    await anyio.sleep(0.05)
                yield row(i)

        holder: list[Pipeline] = []

        async def rows() -> AsyncIterator[dict[str, Any]]:
            async for one in paced(holder[0]):
                yield one

        pipeline = pipeline_of(rows(), sinks=[served.append], state=state)
        holder.append(pipeline)
        with pytest.raises(NoCandidateError, match="nothing was learned"):
            pipeline.retire_class("a")
        await pipeline.run()
        assert pipeline.learner is not None
        ((number, change),) = pipeline.learner.serving.class_changes
        assert change == ClassChange("c", "b")
        assert 800 <= number <= 900
        report = pipeline.report()
        assert report["class_changes"] == [{"sample": number, "label": "c", "into": "b"}]
        gone = pipeline.learner.encoder.labels.index("c")
        later = [one for one in served if one.predicted.first >= number and len(one.answers)]
        assert later
        assert all((one.answers[:, gone] == 0.0).all() for one in later)
        newest = state.folder.generations.newest()
        assert newest is not None
        assert newest.tree["reading"]["changed"] == [[number, "classes", "c", "b"]]
        assert newest.tree["learner"]["serving"]["class_changes"] == [[number, "c", "b"]]

    run(main)


def test_numbers_have_no_classes(run: Runner) -> None:
    async def main() -> None:
        pipeline = pipeline_of([{"x": i, "y": i / 3} for i in range(300)])
        await pipeline.run()
        assert pipeline.schema is not None
        assert pipeline.schema.task is Task.REGRESSION
        with pytest.raises(ConfigurationError, match="the task is regression"):
            pipeline.merge_class("a", "b")

    run(main)

"""A pipeline forgets a key while it runs; its checkpoints have the change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from streamnet.errors import ConfigurationError, NoCandidateError
from streamnet.pipeline.pipeline import Pipeline
from streamnet.pipeline.state import State
from streamnet.settings.candidate import CandidateSettings
from streamnet.sources import IterableSource
from tests.conftest import Runner


def pipeline_of(rows: Any, **settings: Any) -> Pipeline:
    return Pipeline(
        IterableSource(rows, target="y"),
        candidates=[CandidateSettings(hidden=(8,))],
        round_size=128,
        **settings,
    )


def test_a_key_is_forgotten_while_a_pipeline_runs(run: Runner, tmp_path: Path) -> None:
    state = State(tmp_path / "state", every_seconds=None)

    async def main() -> None:
        holder: list[Pipeline] = []

        async def rows() -> AsyncIterator[dict[str, Any]]:
            for i in range(600):
                if i == 400:
                    while holder[0].statistics().samples < 300:  # noqa: ASYNC110 - a number
                        await anyio.sleep(0.005)
                    holder[0].forget_key("a")
                    holder[0].forget_key("never seen")
                    await anyio.sleep(0.05)
                yield {"k": "ab"[i % 2], "y": float(i % 7)}

        pipeline = pipeline_of(rows(), key=["k"], state=state)
        holder.append(pipeline)
        with pytest.raises(NoCandidateError, match="nothing was learned"):
            pipeline.forget_key("a")
        await pipeline.run()
        newest = state.folder.generations.newest()
        assert newest is not None
        (number, *forgotten), (_, *unknown) = newest.tree["reading"]["changed"]
        assert 300 <= number <= 400
        assert (forgotten, unknown) == (["forgotten", "a"], ["forgotten", "never seen"])
        assert pipeline.learner is not None
        keyed = pipeline.learner.serving.contenders.keyed
        assert keyed is not None
        samples = {key: scores.samples for key in "ab" if (scores := keyed.describe(key))}
        assert samples == {"a": 300 - (number + 1) // 2, "b": 300}

    run(main)


def test_without_a_key_there_is_none_to_forget(run: Runner) -> None:
    async def main() -> None:
        pipeline = pipeline_of([{"x": i, "y": i / 3} for i in range(200)])
        await pipeline.run()
        with pytest.raises(ConfigurationError, match="key is not given, so there are no models"):
            pipeline.forget_key("a")

    run(main)

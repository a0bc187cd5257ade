"""Intervals and sets of a hosted model, scored as callers got them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamnet.daemon.hosting.hosted_model import HostedModel
from streamnet.daemon.predictions import predict_nothing
from streamnet.metrics.intervals import IntervalEvaluator
from streamnet.samples import Task
from tests.conftest import Runner
from tests.daemon.hosted_models import hosting, learned, settings_of, until


def scores_of(hosted: HostedModel) -> IntervalEvaluator:
    """What its learner knows of its intervals."""
    assert hosted.model_run is not None
    assert hosted.model_run.learner is not None
    intervals = hosted.model_run.learner.serving.intervals
    assert intervals is not None
    return intervals.scores


def test_with_an_interval_bounds_are_those_of_the_served_model(run: Runner, tmp_path: Path) -> None:
    settings = settings_of(
        source={"target": "y", "task": "regression"}, evaluation={"interval": 0.8}
    )
    stream = [{"x": i % 7, "y": float(i % 7 * 2 + i % 2)} for i in range(300)]

    async def main() -> None:
        async with hosting(tmp_path, settings) as hosted:
            await hosted.learn(stream)
            await learned(hosted, 300)
            await until(hosted.champion)
            predictions = hosted.predict(stream[:9])
            model, bounds = predictions.model, predictions.intervals
            assert bounds is not None
            assert model is not None
            assert model.interval == hosted.published_model().interval == 0.8
            assert np.array_equal(bounds, model.intervals(predictions.values[:, None]))

    run(main)


@pytest.mark.parametrize("task", list(Task))
def test_the_intervals_that_callers_got_are_what_is_scored(
    run: Runner, tmp_path: Path, task: Task
) -> None:
    """Against a caller that counts, across a restart."""
    settings = settings_of(
        source={"target": "y", "task": str(task)}, evaluation={"interval": 0.7, "window": 10_000}
    )
    rng = np.random.default_rng(4)
    held, sizes = [], []

    def sample(i: int) -> tuple[dict[str, Any], Any]:
        noise = rng.normal()
        x = {"x": i % 7, "u": float(rng.normal())}
        return x, i % 7 + noise if task is Task.REGRESSION else "ab"[int(i % 7 + noise > 3)]

    async def ask(hosted: HostedModel, numbers: range) -> None:
        samples, truths = zip(*map(sample, numbers), strict=True)
        ids, nothing = list(map(str, numbers)), predict_nothing(len(samples))
        predictions = nothing if hosted.has_learned_nothing else hosted.predict(samples)
        kept = await hosted.remember(ids, samples, predictions)
        await hosted.label(list(zip(ids, truths, strict=True)))
        for one, truth in zip(kept, truths, strict=True):
            if one.interval is None:
                continue
            if task is Task.REGRESSION:
                low, high = one.interval
                held.append(low <= truth <= high)
                sizes.append(high - low)
            else:
                held.append(truth in one.interval)
                sizes.append(len(one.interval))

    async def main() -> None:
        for life in range(2):
            async with hosting(tmp_path, settings) as hosted:
                if life:
                    await hosted.published()
                for start in range(400 * life, 400 * life + 400, 20):
                    await ask(hosted, range(start, start + 20))
                    if not start:
                        await hosted.published()
                await learned(hosted, 400 * life + 400)
                assert len(held) > 100 * (life + 1)
                scores = scores_of(hosted)
                await until(lambda: scores.scored == len(held))  # noqa: B023 - called here
                assert hosted.status().unlabeled == 0
                measures = scores.measures()
                assert measures["coverage"] == pytest.approx(np.mean(held))
                size = "mean_width" if task is Task.REGRESSION else "mean_set_size"
                assert measures[size] == pytest.approx(np.mean(sizes))

    run(main)

"""Champions as a pipeline emits them."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np

from streamnet.learning.learner import build_model
from streamnet.pipeline import Champion, Pipeline
from streamnet.pipeline.reader import BlockSplitter
from streamnet.samples import Block, Task
from tests.conftest import Runner
from tests.learning.streams import feed, learner_of, stream
from tests.pipeline.block_sources import CANDIDATES, ROUND, N, Playing, checksum, pipeline_of


def followed(run: Runner, block: Block, **settings: Any) -> tuple[Pipeline, list[Champion]]:
    pipeline = pipeline_of(Playing(block), **settings)

    async def main() -> list[Champion]:
        async with pipeline:
            return [champion async for champion in pipeline.champions()]

    return pipeline, run(main)


def test_a_champion_answers_as_a_learner_does_that_stopped_there(run: Runner) -> None:
    block = stream(Task.CLASSIFICATION, N, gaps=False)
    _, champions = followed(run, block)
    assert len(champions) >= 2
    for champion in champions:
        last = champion is champions[-1]
        assert champion.number == N if last else champion.number % ROUND == 0
        learner = learner_of(Task.CLASSIFICATION, CANDIDATES)
        cutter = BlockSplitter(block_size=1000, round_size=ROUND)
        emissions = {
            served.decision.round: served.decision.emit
            for served in feed(learner, block.part(0, champion.number), cutter=cutter)
            if served.decision is not None
        }
        snapshot = learner.best_snapshot()[1]
        if not last:
            emission = emissions[champion.number // ROUND - 2]
            assert emission is not None
            snapshot = learner.trainer.snapshot(emission, learner.encoder.snapshot())
        expected = build_model(snapshot, {}).predict_proba(block)
        assert np.array_equal(champion.model.predict_proba(block), expected)
        assert champion.about["samples"] == champion.number
        assert champion.about["target"] == "y"


def test_the_last_champion_is_the_result(run: Runner) -> None:
    pipeline, champions = followed(run, stream(Task.REGRESSION, N))
    result = pipeline.result()
    assert checksum(champions[-1].model) == checksum(result.model)
    assert champions[-1].about["scores"] == result.model.about["scores"]


def test_leaving_the_loop_over_champions_ends_reading(run: Runner) -> None:
    source = Playing(stream(Task.REGRESSION, 40 * ROUND), largest=50)
    pipeline = pipeline_of(source)

    numbers = []

    async def main() -> None:
        async with pipeline:
            async for champion in pipeline.champions():
                numbers.append(champion.number)
                break

    run(main)
    gc.collect()
    assert len(numbers) == 1
    assert numbers[0] % ROUND == 0
    assert pipeline.report()["learned"] <= 40 * ROUND
    assert source.closed

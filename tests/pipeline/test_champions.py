"""Champions are broadcast to any number of followers."""

from __future__ import annotations

import gc
from typing import Any, cast

import anyio
import numpy as np
from anyio.lowlevel import checkpoint

from streamnet.learning.learner import build_model
from streamnet.learning.trainer import Snapshot
from streamnet.pipeline import Champion, Pipeline
from streamnet.pipeline.outputs import ChampionBroadcast
from streamnet.pipeline.reader import BlockSplitter
from streamnet.samples import Block, Task
from streamnet.settings.candidate import CandidateSettings
from tests.conftest import Runner
from tests.learning.streams import feed, learner_of, stream
from tests.pipeline.block_sources import CANDIDATES, ROUND, N, Playing, checksum, pipeline_of


def champion(number: int) -> Champion:
    return Champion(number, CandidateSettings(), number, {}, cast("Snapshot", None))


async def numbers_of(champions: ChampionBroadcast, found: list[int], most: int = 1000) -> None:
    async for one in champions.follow():
        found.append(one.number)
        if len(found) == most:
            return


def test_every_follower_gets_every_champion(run: Runner) -> None:
    readers: list[list[int]] = [[], [], []]

    async def main() -> None:
        champions = ChampionBroadcast()
        async with anyio.create_task_group() as group:
            for found in readers:
                group.start_soon(numbers_of, champions, found)
            for number in range(40):
                champions.publish(champion(number))
                for _ in range(number % 4):
                    await checkpoint()
            champions.close()

    run(main)
    for found in readers:
        assert found == list(range(40))


def test_a_slow_follower_gets_the_latest_sixteen(run: Runner) -> None:
    found: list[int] = []

    async def main() -> None:
        champions = ChampionBroadcast()
        reader = champions.follow()
        champions.publish(champion(0))
        found.append((await anext(reader)).number)
        for number in range(1, 50):
            champions.publish(champion(number))
        champions.close()
        found.extend([one.number async for one in reader])

    run(main)
    assert found == [0, *range(34, 50)]


def test_as_many_champions_are_kept_as_wanted(run: Runner) -> None:
    async def main() -> list[list[int]]:
        readers: list[list[int]] = []
        for kept in (0, 2):
            champions, found = ChampionBroadcast(), list[int]()
            champions.publish(champion(0))
            champions.keep(kept)
            champions.publish(champion(1))
            champions.publish(champion(2))
            assert len(champions.kept) == kept
            champions.close()
            await numbers_of(champions, found)
            readers.append(found)
        return readers

    assert run(main) == [[], [1, 2]]


def test_a_late_follower_gets_what_is_kept_even_after_the_end(run: Runner) -> None:
    found: list[int] = []

    async def main() -> None:
        champions = ChampionBroadcast()
        for number in range(5):
            champions.publish(champion(number))
        champions.close()
        await numbers_of(champions, found)

    run(main)
    assert found == [0, 1, 2, 3, 4]


def test_a_follower_that_leaves_takes_nothing_from_the_others(run: Runner) -> None:
    first: list[int] = []
    second: list[int] = []

    async def main() -> None:
        champions = ChampionBroadcast()
        async with anyio.create_task_group() as group:
            group.start_soon(numbers_of, champions, first, 1)
            group.start_soon(numbers_of, champions, second)
            for number in range(3):
                await checkpoint()
                champions.publish(champion(number))
            champions.close()

    run(main)
    assert (first, second) == ([0], [0, 1, 2])


def test_a_waiting_follower_can_be_cancelled_and_continue(run: Runner) -> None:
    async def main() -> Any:
        champions = ChampionBroadcast()
        reader = champions.follow()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anext(reader)
        champions.publish(champion(7))
        return (await anext(reader)).number

    assert run(main) == 7


def followed(run: Runner, block: Block, **settings: Any) -> tuple[Pipeline, list[Champion]]:
    pipeline = pipeline_of(Playing(block), **settings)

    async def main() -> list[Champion]:
        async with pipeline:
            return [champion async for champion in pipeline.champions()]

    return pipeline, run(main)


def test_a_champion_predicts_like_a_learner_that_stopped_there(run: Runner) -> None:
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

"""Followers of champions: each gets all, the late ones the latest sixteen."""

from __future__ import annotations

from typing import Any, cast

import anyio
from anyio.lowlevel import checkpoint

from streamnet.learning.trainer import Snapshot
from streamnet.pipeline import Champion
from streamnet.pipeline.champions import ChampionBroadcast
from streamnet.settings.candidate import CandidateSettings
from tests.conftest import Runner


def champion(number: int) -> Champion:
    return Champion(number, CandidateSettings(), number, {}, cast("Snapshot", None))


async def numbers_of(champions: ChampionBroadcast, found: list[int], most: int = 1000) -> None:
    async for one in champions.follow():
        found.append(one.number)
        if len(found) == most:
            return


def test_every_reader_gets_every_champion(run: Runner) -> None:
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


def test_a_slow_reader_gets_the_latest_sixteen(run: Runner) -> None:
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


def test_a_reader_that_comes_late_gets_what_is_kept_even_after_the_end(run: Runner) -> None:
    found: list[int] = []

    async def main() -> None:
        champions = ChampionBroadcast()
        for number in range(5):
            champions.publish(champion(number))
        champions.close()
        await numbers_of(champions, found)

    run(main)
    assert found == [0, 1, 2, 3, 4]


def test_a_reader_that_leaves_takes_nothing_from_the_others(run: Runner) -> None:
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


def test_a_reader_that_waits_can_be_cancelled_and_go_on(run: Runner) -> None:
    async def main() -> Any:
        champions = ChampionBroadcast()
        reader = champions.follow()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anext(reader)
        champions.publish(champion(7))
        return (await anext(reader)).number

    assert run(main) == 7

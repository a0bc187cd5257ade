"""A hosted model after a power cut: it goes on, with every sample that was acknowledged."""

from __future__ import annotations

import random
from pathlib import Path
from threading import RLock
from typing import Any

import anyio

from tests.conftest import Runner
from tests.daemon.hosted_models import hosting, learned, rows, settings_of, until
from tests.durability.disks import Memory

FOLDER = Path("/spam")
SETTINGS = settings_of(
    state={"every_samples": 30, "every_seconds": 0.02}, intake={"segment_bytes": 2048}
)
CUTS = 4  # that are tried of each moment


class Shared(Memory):
    """A disk that several threads use, and that is looked at between two calls."""

    def __init__(self) -> None:
        super().__init__()
        self.lock_of_calls = RLock()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_") or not callable(found):
            return found
        lock = super().__getattribute__("lock_of_calls")

        def call(*arguments: Any) -> Any:
            with lock:
                return found(*arguments)

        return call

    def left(self, chance: random.Random) -> list[Memory]:
        """Some of the disks that a power cut at this moment may leave."""
        powers = list(self.cuts())
        return [self.after(power) for power in chance.sample(powers, min(CUTS, len(powers)))]


def test_a_checkpoint_is_never_ahead_of_the_journal(run: Runner) -> None:
    chance = random.Random(5)
    found: list[tuple[int, Memory]] = []

    async def push() -> None:
        disk = Shared()
        async with hosting(FOLDER, SETTINGS, files=disk) as hosted:
            acknowledged = 0
            for number in range(12):
                durable = number % 6 == 0
                receipt = await hosted.learn(rows(20, 20 * number), durable=durable)
                if durable:
                    acknowledged = 1 + (receipt.last or 0)
                await anyio.sleep(chance.uniform(0.01, 0.05))
                found.extend((acknowledged, left) for left in disk.left(chance))

    async def check(acknowledged: int, disk: Memory) -> None:
        async with hosting(FOLDER, SETTINGS, files=disk) as hosted:
            assert hosted.failure is None
            accepted = hosted.status()["accepted"]
            assert acknowledged <= accepted <= 240
            assert accepted % 20 == 0
            # Whatever was learned of those that are gone, the checkpoint does not know of it.
            await hosted.learn(rows(20, accepted))
            await learned(hosted, accepted + 20)
            await until(lambda: hosted.state == "learning")

    run(push)
    assert len(found) > 30
    for acknowledged, disk in found:
        run(check, acknowledged, disk)

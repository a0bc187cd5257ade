"""Every durable call of a whole run goes wrong in every way, or the power fails behind it.

The run writes predictions, dead letters, models and checkpoints onto a disk in memory; whatever
happens, the next run on what is left ends with the bits of an uninterrupted one.
"""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from streamnet.durability.files import FileSystem
from streamnet.durability.state_directory import StateDirectory
from streamnet.errors import StreamnetError
from streamnet.pipeline import outputs
from streamnet.pipeline import state as state_module
from streamnet.pipeline import state as store
from streamnet.samples import Task
from tests.conftest import Counted
from tests.durability.disks import FAULTS, Faulty, Killed, Memory, disk_after
from tests.pipeline.block_sources import checksum, plain
from tests.pipeline.interrupted_runs import go, made

pytestmark = pytest.mark.no_cover

SAMPLES = 330
FOLDER = Path("/tmp")  # a name only: nothing is written there


@pytest.fixture(autouse=True)
def _quickly_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_MIN_RETRY_SECONDS", 0.0)
    monkeypatch.setattr(state_module, "_FINAL_RETRY_SECONDS", 0.0)
    monkeypatch.setattr(outputs, "PUBLISH_SECONDS", 0.0)


def run(files: FileSystem, pace: int) -> dict[str, Any]:
    """Run or go on; what it leaves besides files."""
    pipeline = made(
        FOLDER,
        Task.CLASSIFICATION,
        samples=SAMPLES,
        pace=pace,
        largest=90,
        state={"every_samples": 100, "files": files, "models": 3},
        fading=0.9,
        threads=1,
    )
    go(pipeline)
    result = pipeline.result()
    return {"model": checksum(result.model), "report": plain(result.report)}


def left(disk: Memory, found: dict[str, Any]) -> dict[str, Any]:
    """All that a run that has ended left."""
    loaded = StateDirectory(FOLDER / "state", files=disk).generations.newest()
    assert loaded is not None
    outputs = {
        str(path): inode.seen
        for path, inode in disk.names_seen.items()
        if "checkpoints" not in path.parts
    }
    return {**found, **outputs, "ledger": loaded.tree["ledger"]["value"]}


@cache
def expected() -> dict[str, Any]:
    disk = Memory()
    return left(disk, run(disk, 1))


def calls() -> int:
    counting = Faulty(Memory(), -1, "kill")
    run(counting, 1)
    return counting.count


def broken(at: int, fault: str) -> tuple[Memory, bool]:
    """The disk after a run of which a call went wrong, and whether it was killed."""
    disk = Memory()
    try:
        run(Faulty(disk, at, fault), at)
    except Killed:
        return disk, True
    except StreamnetError as error:
        assert fault in str(error)  # noqa: PT017 - only some faults end a run
    return disk, False


def assert_goes_on(after: Memory, seed: int, *where: object) -> None:
    """Going on with what a run left comes to what an uninterrupted one leaves.

    Only the names of what differs are told: pytest's own account of two long texts that hardly
    agree takes minutes.
    """
    found, right = left(after, run(after, seed)), expected()
    differing = {name for name in found | right if found.get(name) != right.get(name)}
    assert not differing, where


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", FAULTS)
def test_every_call_may_go_wrong(fault: str, counted: Counted) -> None:
    killed = 0
    for at in range(calls()):
        disk, was_killed = broken(at, fault)
        killed += was_killed
        after = disk_after(disk)
        assert_goes_on(after, at + 1, at)
    assert killed > 30 or fault not in ("kill", "torn")
    counted("calls", at + 1)


@pytest.mark.timeout(300)
def test_no_power_cut_loses_anything(counted: Counted) -> None:
    chance, states = random.Random(5), 0
    for at in range(calls()):
        disk, _ = broken(at, chance.choice(["kill", "torn"]))
        for power in chance.sample(list(disk.cuts()), 2):
            after = disk.after(power)
            assert_goes_on(after, at + 1, at, power)
            states += 1
    counted("power cuts", states, [5])

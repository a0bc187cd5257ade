"""Runs that are killed, or cut in any other way, leave the bytes of one that is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamnet.samples import Task
from tests.conftest import Counted
from tests.durability.circumstances import BLOCK_SIZES, THREADS
from tests.processes import found_by


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "task", [Task.CLASSIFICATION, pytest.param(Task.REGRESSION, marks=pytest.mark.long)], ids=str
)
def test_blocks_threads_pauses_kills_and_their_order_change_no_byte(
    memory_folder: Path, counted: Counted, task: Task
) -> None:
    seed = 4
    found = found_by("tests.durability.circumstances", task, seed, memory_folder)
    assert found["differs"] == {}
    cases = len(BLOCK_SIZES) * len(THREADS)
    assert found["runs"] == 4 * cases  # undisturbed, and killed twice before it ends
    assert found["kills"] >= cases
    # What the proof is about did happen.
    assert found["task"] == task
    assert found["drifts"] >= 1
    assert found["replaced"] >= 3
    assert found["rehearsing"]
    assert found["resting"]
    assert found["with lags"]
    counted("bits", 2 * cases, [seed])


def killed(kills: int, seed: int, folder: Path, *kind: str) -> dict[str, Any]:
    return found_by("tests.durability.killed_runs", kills, seed, folder, *kind)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
def test_killed_at_random_instants(memory_folder: Path, seed: int, counted: Counted) -> None:
    found = killed(100, seed, memory_folder)
    assert found["differs"] == []
    assert found["kills"] >= 100
    assert found["before the first checkpoint"] > 0
    assert found["within a checkpoint"] > 0
    counted("kills", found["kills"], [seed])


@pytest.mark.timeout(600)
def test_models_of_keys_survive_kills(memory_folder: Path) -> None:
    found = killed(20, 5, memory_folder, "keyed")
    assert found["differs"] == []
    assert found["kills"] >= 20
    assert found["within a checkpoint"] > 0


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_killed_at_two_thousand_random_instants(memory_folder: Path, counted: Counted) -> None:
    found = killed(2000, 3, memory_folder)
    assert found["differs"] == []
    assert found["kills"] >= 2000
    counted("kills", found["kills"], [3])

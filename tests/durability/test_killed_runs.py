"""A real replay that is killed at any instant and goes on leaves the bytes of one that is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Counted
from tests.processes import found_by


def killed(kills: int, seed: int, folder: Path) -> dict[str, Any]:
    return found_by("tests.durability.killed_runs", kills, seed, folder)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_random_instants(memory_folder: Path, seed: int, counted: Counted) -> None:
    found = killed(100, seed, memory_folder)
    assert found["differs"] == []
    assert found["kills"] >= 100
    assert found["before the first checkpoint"] > 0
    assert found["within a checkpoint"] > 0
    counted("kills", found["kills"], [seed])


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_killed_at_two_thousand_random_instants(memory_folder: Path, counted: Counted) -> None:
    found = killed(2000, 3, memory_folder)
    assert found["differs"] == []
    assert found["kills"] >= 2000
    counted("kills", found["kills"], [3])

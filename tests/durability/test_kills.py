"""A real replay that is killed at any instant and goes on leaves the bytes of one that is not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.conftest import Counted


def killed(kills: int, seed: int, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.durability.killing", str(kills), str(seed), str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_random_instants(memory_folder: Path, seed: int, counted: Counted) -> None:
    found = killed(150, seed, memory_folder)
    assert found["differs"] == []
    assert found["kills"] >= 150
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

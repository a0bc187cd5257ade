"""Search, drifts, lags and rehearsal leave the same bytes whatever the circumstances."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from streamnet.samples import Task
from tests.conftest import Counted
from tests.durability.circumstances import BLOCK_SIZES
from tests.durability.circumstances import THREADS


@pytest.mark.timeout(300)
@pytest.mark.parametrize("task", list(Task), ids=str)
def test_blocks_threads_pauses_kills_and_their_order_change_no_byte(
    memory_folder: Path, repository: Path, counted: Counted, task: Task
) -> None:
    seed = 4
    command = [sys.executable, "-m", "tests.durability.circumstances", task, str(seed)]
    done = subprocess.run(
        [*command, str(memory_folder)], cwd=repository, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["differs"] == {}
    cases = len(BLOCK_SIZES) * len(THREADS)
    assert found["runs"] == 4 * cases  # undisturbed, and killed twice before it ends
    assert found["kills"] >= cases
    # What the proof is about did happen.
    assert found["task"] == task
    assert found["drifts"] >= 1
    assert found["replaced"] >= 3
    assert found["rehearsing"]
    assert found["with lags"]
    counted("bits", 2 * cases, [seed])

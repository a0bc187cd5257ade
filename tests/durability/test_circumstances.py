"""Search, drifts, lags and rehearsal leave the same bytes whatever the circumstances."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamnet.samples import Task
from tests.conftest import Counted
from tests.durability.circumstances import BLOCK_SIZES, THREADS
from tests.processes import found_by


@pytest.mark.timeout(300)
@pytest.mark.parametrize("task", list(Task), ids=str)
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
    assert found["with lags"]
    counted("bits", 2 * cases, [seed])

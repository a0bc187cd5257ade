"""A hosted model that is killed while it reads a file learns each of its records once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.killing_feeds import BAD
from tests.daemon.killing_feeds import BATCH
from tests.daemon.killing_feeds import RECORDS
from tests.daemon.processes import REPOSITORY

KILLS = [4, pytest.param(50, marks=pytest.mark.long)]


def killed(folder: Path, *options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.daemon.killing_feeds", *options[:2], str(folder)]
    done = subprocess.run(
        [*command, *options[2:]], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("kills", KILLS)
def test_a_file_that_is_read_over_kills_leaves_the_same_bits(kills: int, tmp_path: Path) -> None:
    found = killed(tmp_path, str(kills), "5")
    assert found["fed"][-1] > 0
    assert found["killed"] == found["whole"]
    assert found["killed"]["records"] == RECORDS
    assert found["killed"]["rejected"] == {"arity": RECORDS // BAD}


@pytest.mark.parametrize("kills", KILLS)
def test_what_is_sent_besides_is_learned_once_as_well(kills: int, tmp_path: Path) -> None:
    """In which order they came is chance, so the bits are not compared."""
    found = killed(tmp_path, str(kills), "6", "sending")
    del found["killed"]["bits"], found["whole"]["bits"]
    assert found["killed"] == found["whole"]
    assert found["batches"] > 1
    assert found["killed"]["accepted"] == RECORDS + BATCH * found["batches"]
    assert found["killed"]["learned"] == found["killed"]["accepted"] - RECORDS // BAD

"""A hosted model that is killed while it reads a file learns each of its records once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.daemon.feed_kills import BAD, BATCH, RECORDS
from tests.processes import found_by

PROGRAM = "tests.daemon.feed_kills"
KILLS = [4, pytest.param(50, marks=pytest.mark.long)]


@pytest.mark.parametrize("kills", KILLS)
def test_a_file_that_is_read_over_kills_leaves_the_same_bits(kills: int, tmp_path: Path) -> None:
    found = found_by(PROGRAM, kills, 5, tmp_path)
    assert found["fed"][-1] > 0
    assert found["killed"] == found["whole"]
    assert found["killed"]["records"] == RECORDS
    assert found["killed"]["rejected"] == {"arity": RECORDS // BAD}


@pytest.mark.parametrize("kills", KILLS)
def test_what_is_sent_besides_is_learned_once_as_well(kills: int, tmp_path: Path) -> None:
    """In which order they came is chance, so the bits are not compared."""
    found = found_by(PROGRAM, kills, 6, tmp_path, "sending")
    del found["killed"]["bits"], found["whole"]["bits"]
    assert found["killed"] == found["whole"]
    assert found["batches"] > 1
    assert found["killed"]["accepted"] == RECORDS + BATCH * found["batches"]
    assert found["killed"]["learned"] == found["killed"]["accepted"] - RECORDS // BAD

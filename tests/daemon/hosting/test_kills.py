"""A hosted model that is killed while samples come in loses none, and learns none twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.daemon.kills import BATCH
from tests.processes import found_by


@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=pytest.mark.long)])
def test_what_was_acknowledged_is_learned_once_and_every_label_joins(
    kills: int, tmp_path: Path
) -> None:
    found = found_by("tests.daemon.kills", kills, 7, tmp_path)
    assert found["batches"] >= kills
    assert found["in_order"]
    assert found["monotone"]
    assert found["kept"] > 0
    assert found["outcomes"] == ["joined"]
    assert found["accepted"] == BATCH * found["batches"] + found["kept"]
    assert found["bits"] == found["whole"]

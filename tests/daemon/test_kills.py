"""A hosted model that is killed while samples come in loses none, and learns none twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemon.killing import BATCH

REPOSITORY = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=pytest.mark.long)])
def test_what_was_acknowledged_is_learned_once_and_every_label_joins(
    kills: int, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.daemon.killing", str(kills), "7", str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["batches"] >= kills
    assert found["in_order"]
    assert found["monotone"]
    assert found["kept"] > 0
    assert found["outcomes"] == ["joined"]
    assert found["accepted"] == BATCH * found["batches"] + found["kept"]
    assert found["bits"] == found["whole"]

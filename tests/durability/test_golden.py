"""Runs resume from the golden state of every release."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import anyio
import pytest

from streamnet.durability.state_directory import StateDirectory
from streamnet.pipeline.maintenance import read_state_status
from streamnet.runs.replay import Replay
from tests.durability.golden import FOLDER, SAMPLES, settings_of
from tests.durability.killed_runs import write_stream

RELEASES = sorted(path.name for path in FOLDER.glob("release-*"))


def test_a_golden_state_exists() -> None:
    assert "release-0.1.0" in RELEASES


@pytest.mark.parametrize("release", RELEASES)
def test_a_run_resumes_from_a_golden_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, release: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.getLogger("streamnet.durability"), "disabled", True)
    write_stream(Path("stream.csv"), 1500)
    Path("state/checkpoints").mkdir(parents=True)
    golden = FOLDER / release
    shutil.copy(golden / "state.checkpoint", "state/checkpoints/000000000000.checkpoint")
    shutil.copy(golden / "dead-letters.jsonl", "state")
    before = read_state_status(Path("state"))
    assert before.parts[""].counts == {"read": SAMPLES + 13, "learned": SAMPLES, "rejected": 13}
    result = anyio.run(Replay(settings_of(100_000), resume=True).run)
    assert result.report["learned"] == 1470
    assert result.report["rejected"] == 30
    assert len(Path("state/dead-letters.jsonl").read_text().splitlines()) == 30
    assert result.report["served"]["accuracy"] > 0.7
    newest = StateDirectory(Path("state")).generations.newest()
    assert newest is not None
    assert newest.tree["lineage"] == before.tree["lineage"]

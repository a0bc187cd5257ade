"""Writes the golden state of this release: ``python -m tests.durability.golden``.

Once released, a golden state never changes: every later release must resume from it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

import streamnet
from streamnet.runs.replay import Replay
from streamnet.settings.run import RunSettings, parse
from tests.durability.killed_runs import write_stream

__all__ = ("FOLDER", "SAMPLES", "settings_of", "write_golden")

FOLDER = Path(__file__).parent / "golden"
SAMPLES = 600
CONFIG = """
source = {files = "stream.csv", target = "y", max_rejected = 1.0}
run = {round_size = 128, seed = 3}
evaluation = {window = 50}
state = {dir = "state", every_samples = 100}
population.candidate = [
    {hidden = 4, rehearsal = 1, memory = 20},
    {hidden = [4, 3], optimizer = "adam"},
]
"""


def settings_of(limit: int | None = None) -> RunSettings:
    """The settings of the golden run, which ends after ``limit`` samples."""
    text = CONFIG if limit is None else CONFIG.replace("1.0}", f"1.0, limit = {limit}}}")
    return parse(text)


def write_golden() -> Path:
    """Write the state that this release leaves in the middle of the stream."""
    home = Path.cwd()
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_stream(folder / "stream.csv", 1500)
        os.chdir(folder)
        try:
            anyio.run(Replay(settings_of(SAMPLES), resume=True).run)
        finally:
            os.chdir(home)
        newest = max((folder / "state" / "checkpoints").iterdir())
        target = FOLDER / f"release-{streamnet.__version__}"
        target.mkdir(exist_ok=True)
        shutil.copy(newest, target / "state.checkpoint")
        shutil.copy(folder / "state" / "dead-letters.jsonl", target)
    return target


if __name__ == "__main__":
    write_golden()

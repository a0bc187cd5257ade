"""Ages are counted by a clock that nobody sets anew."""

from __future__ import annotations

import re
from pathlib import Path
from time import time

import pytest

import streamnet.daemon
from streamnet.daemon.journal.delayed_labels import Clock, now
from streamnet.daemon.journal.intake import Intake
from streamnet.daemon.predictions import Answer

YEARS = 10 * 365 * 24 * 3600.0


def test_of_the_daemon_only_events_which_tell_people_the_time_read_what_may_be_set_anew() -> None:
    folder = Path(streamnet.daemon.__file__).parent
    wall = re.compile(r"from time import time$|\btime\.time\(", re.MULTILINE)
    found = {path.name for path in folder.glob("*.py") if wall.search(path.read_text())}
    assert found == {"clock.py", "events.py"}


def test_the_clock_of_the_process_tells_the_time() -> None:
    assert now() == pytest.approx(time(), abs=5.0)
    assert now() <= now()


@pytest.mark.parametrize("jump", [YEARS, -YEARS])
def test_what_waits_for_its_label_ages_as_before_when_the_machine_s_time_is_set(
    jump: float,
) -> None:
    wall, steady = [1e9], [0.0]
    clock = Clock(wall=lambda: wall[0], steady=lambda: steady[0])
    intake = Intake(target="y", max_age=100.0)
    intake.remember(["monday"], ['{"x": 1}'], [Answer("a", None, 0)], clock())
    wall[0] += jump
    steady[0] += 99.0
    assert intake.tick(clock()) is None
    steady[0] += 2.0
    assert intake.tick(clock()) is not None

"""The scores of a model by the clock: fine of late, coarse before, and kept across restarts."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from streamnet.daemon.hosting.timeline import Timeline

DAY = 86_400


class Clock:
    """A clock that is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def learn(timeline: Timeline, clock: Clock, days: float, step: float = 5.0) -> None:
    """Score a sample a second, each with an error of 0.5."""
    end = clock.now + days * DAY
    while clock.now < end:
        clock.now += step
        timeline.record(int(clock.now), lambda: [0.5 * int(clock.now)])


def test_points_are_dense_of_late_and_sparse_before_and_bounded() -> None:
    clock = Clock()
    timeline = Timeline(clock=clock)
    learn(timeline, clock, 9, step=15.0)
    learn(timeline, clock, 0.5)
    rows = timeline.rows()
    times = [time for time, _, _ in rows]
    assert times == sorted(set(times))
    assert len(rows) < 1000
    assert times[0] <= DAY
    for reach, gap in ((3600, 15), (DAY, 300), (7 * DAY, 3600)):
        recent = [time for time in times if time > clock.now - reach]
        assert recent[0] - (clock.now - reach) <= gap
        assert max(b - a for a, b in pairwise(recent)) <= gap
    assert all(sums == [0.5 * scored] for _, scored, sums in rows)


def test_nothing_is_added_while_nothing_is_scored() -> None:
    clock = Clock()
    timeline = Timeline(clock=clock)
    for _ in range(5):
        timeline.record(7, lambda: [1.0])
        clock.now += 60
    assert timeline.rows() == [(0.0, 7, [1.0])]


def test_it_continues_after_a_restart_without_what_was_not_restored(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "timeline.json"
    timeline = Timeline(path, clock=clock)
    timeline.save()
    assert not path.exists()  # there is nothing to keep
    for scored in (10, 20, 30):
        timeline.record(scored, lambda: [1.0])
        clock.now += 15
    due = [timeline.is_unsaved]
    clock.now += 300
    assert [*due, timeline.is_unsaved] == [False, True]
    timeline.save()
    again = Timeline(path, clock=clock)
    assert again.rows() == timeline.rows()
    again.record(20, lambda: [1.0])  # the last checkpoint was of 20 samples
    assert [scored for _, scored, _ in again.rows()] == [10, 20]
    again.record(0, list)  # it was reset
    assert again.rows() == []


@pytest.mark.parametrize("content", [b"", b"[[1]]", b'{"a": 1}', b"\xff"])
def test_a_damaged_file_starts_anew(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "timeline.json"
    path.write_bytes(content)
    timeline = Timeline(path)
    assert timeline.rows() == []
    assert str(path) in caplog.text
    timeline.record(5, lambda: [1.0])
    timeline.save()
    assert len(Timeline(path).rows()) == 1

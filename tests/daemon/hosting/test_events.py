"""The log of events: every reader gets each one in order, or is told what it missed."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.daemon.hosting.events import Event, EventLog
from streamnet.errors import ConfigurationError
from tests.conftest import Runner

BEGIN = 5_000_000  # the id before the first one, at second 5


def log_of(count: int, most: int = 10) -> EventLog:
    log = EventLog(most, clock=lambda: 5.0)
    for number in range(count):
        log.add("state", number=number)
    return log


async def all_after(log: EventLog, after: int | None) -> list[Event]:
    log.close()
    return [event async for event in log.follow(after)]


@given(st.integers(0, 30), st.integers(0, 40), st.integers(1, 12))
def test_what_a_reader_gets_is_whole_or_says_what_is_missing(
    count: int, seen: int, most: int
) -> None:
    found = anyio.run(all_after, log_of(count, most), BEGIN + seen)
    wanted = list(range(min(seen, count), count))
    missed = max(0, len(wanted) - most)
    if missed:
        assert (found[0].kind, found[0].data) == ("gap", {"missed": missed})
    rest = found[bool(missed) :]
    assert [event.data["number"] for event in rest] == wanted[missed:]
    assert [event.id for event in found] == sorted({event.id for event in found})


def test_a_reader_from_before_a_restart_is_told_that_there_is_a_gap(run: Runner) -> None:
    for count in (0, 3):
        gap, *rest = run(all_after, log_of(count), BEGIN - 100)
        assert (gap.kind, gap.data, gap.id) == ("gap", {"missed": None}, BEGIN)
        assert len(rest) == count


def test_a_new_reader_gets_what_is_still_to_come(run: Runner) -> None:
    log = log_of(3)

    async def main() -> list[int]:
        found: list[int] = []

        async def read() -> None:
            found.extend([event.data["number"] async for event in log.follow()])

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
            log.add("state", number=3)
            await anyio.lowlevel.checkpoint()
            log.add("state", number=4)
            log.close()
        return found

    assert run(main) == [3, 4]
    assert [event.data["number"] for event in log.last(2)] == [3, 4]
    assert log.last(0) == []
    assert log.newest == BEGIN + 5


def test_a_log_keeps_at_least_one() -> None:
    with pytest.raises(ConfigurationError, match="events is 0, but must be >= 1"):
        EventLog(0)

"""Events of a model, rates, and the monitor that measures them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.client.schemas import Event
from streamnet.daemon.hosting.events import EventLog, Monitor, Rate
from streamnet.daemon.hosting.hosted_model import HostedModel
from tests.conftest import Runner
from tests.daemon.hosted_models import hosting, last_events, learned, settings_of, until

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
def test_a_reader_gets_every_event_or_a_gap(count: int, seen: int, most: int) -> None:
    found = anyio.run(all_after, log_of(count, most), BEGIN + seen)
    wanted = list(range(min(seen, count), count))
    missed = max(0, len(wanted) - most)
    if missed:
        assert (found[0].kind, found[0].data) == ("gap", {"missed": missed})
    rest = found[bool(missed) :]
    assert [event.data["number"] for event in rest] == wanted[missed:]
    assert [event.id for event in found] == sorted({event.id for event in found})


def test_a_reader_from_before_a_restart_gets_a_gap(run: Runner) -> None:
    for count in (0, 3):
        gap, *rest = run(all_after, log_of(count), BEGIN - 100)
        assert (gap.kind, gap.data, gap.id) == ("gap", {"missed": None}, BEGIN)
        assert len(rest) == count


def test_a_new_reader_gets_future_events(run: Runner) -> None:
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
    assert [event.data["number"] for event in log._kept][-2:] == [3, 4]


def test_steady_growth_is_measured_correctly_from_the_start() -> None:
    for steps in (1, 7, 100):
        clock = iter([0.0, *(number / steps for number in range(1, steps + 1))]).__next__
        rate = Rate(clock=clock)
        for number in range(1, steps + 1):
            rate.update(600 * number // steps)
        assert rate.value == pytest.approx(600, rel=0.01)


def test_a_restart_counts_neither_as_growth_nor_as_time() -> None:
    rate = Rate(clock=iter([0.0, 1.0, 100.0, 101.0]).__next__)
    rate.update(50)
    rate.restart(7000)
    rate.update(7050)
    assert rate.value == pytest.approx(50)


BAD = {"hidden": 8, "optimizer": "sgd", "learning_rate": 1e6, "activation": "relu"}
SETTINGS = settings_of(
    population={"candidate": [{"hidden": 8}, {"hidden": 4, "learning_rate": 0.1}, BAD]},
    evaluation={"drift": "ddm"},
)


def drifting(count: int) -> list[dict[str, Any]]:
    """Samples whose rule turns round in the middle."""
    return [{"x": i % 5, "y": "ab"[(i % 5 > 2) != (i > count // 2)]} for i in range(count)]


def kinds(hosted: HostedModel) -> Counter[str]:
    return Counter(event.kind for event in last_events(hosted, 1000))


def test_champions_drifts_quarantines_and_rejections_are_events(
    run: Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        async with hosting(tmp_path, SETTINGS) as hosted:
            await hosted.learn(drifting(10))
            await hosted.published()
            await hosted.learn(drifting(4000))
            await hosted.learn(b'[1]\n{"x": "text", "y": "a"}\n')
            await learned(hosted, 4010)
            await until(lambda: kinds(hosted)["rejected"] >= 1)
            await until(lambda: kinds(hosted)["checkpoint"] >= 1)
            status, told = hosted.status(), kinds(hosted)
            # What happened before the first look is known, and not told.
            assert 0 < told["drift"] <= status.drifts
            assert 0 < told["quarantine"] <= status.quarantined
            assert 0 < told["champion"] <= status.switches
            history = hosted.history()
            assert history is not None
            assert {mark.kind for mark in history.marks} == {"champion", "drift"}
            numbers = [mark.number for mark in history.marks]
            assert numbers == sorted(numbers)
            (rejected,) = [e for e in last_events(hosted, 1000) if e.kind == "rejected"]
            assert rejected.data["reasons"] == {"json": 1, "number": 1}
            assert (status.learned_per_second or 0.0) > 0
            before = told
            await hosted.learn(drifting(1))
            await learned(hosted, 4011)
            assert kinds(hosted)["drift"] == before["drift"]

    run(main)


def test_predictions_per_second_are_reported(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            assert not hosted.status().predicted_per_second
            await hosted.learn(drifting(100))
            await hosted.published()
            hosted.predict(drifting(50))
            await until(lambda: hosted.status().predicted_per_second)

    run(main)


def test_the_pace_is_measured_while_samples_wait_and_idle_time_changes_nothing() -> None:
    waiting = iter([0, 500, 200, 0, 0, 0])
    pipeline = SimpleNamespace(rejections=SimpleNamespace(total=0))
    seconds = 0.0
    watch = Monitor(
        *(pipeline, None, None, EventLog()),  # type: ignore[arg-type]
        predicted=lambda: 0,
        queued=lambda: next(waiting),
        clock=lambda: seconds,
    )
    paces = []
    for learned_so_far in (0, 10, 310, 510, 510, 510):
        seconds += 3.0
        watch._measure(learned_so_far)
        paces.append(watch.pace.value)
    assert paces == [0.0, 0.0, pytest.approx(300 / 3), *[pytest.approx(100.0)] * 3]


def test_a_journal_of_predictions_is_trimmed_though_nothing_is_learned(
    run: Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        settings = settings_of(intake={"segment_bytes": 4096, "max_pending": 20})
        async with hosting(tmp_path, settings) as hosted:
            await hosted.learn(drifting(10))
            await hosted.published()
            await hosted.learn(drifting(100))
            await learned(hosted, 110)
            for turn in range(25):
                samples = drifting(100)
                ids = [f"{turn}-{number}" for number in range(100)]
                await hosted.remember(ids, samples, hosted.predict(samples))
            # Once the oldest checkpoint that is kept needs none of it, no more are made.
            assert hosted.model_run is not None
            journal = hosted.model_run.committer.journal
            await until(lambda: journal.begin and not journal.can_trim(journal.samples))
            assert len(list((tmp_path / "journal").iterdir())) < 4
            made = kinds(hosted)["checkpoint"]
            await anyio.sleep(1.0)
            assert kinds(hosted)["checkpoint"] == made
            assert hosted.status().learned == 110
        async with hosting(tmp_path, settings) as hosted:
            assert hosted.status().accepted == 110
            assert hosted.status().pending == 20

    run(main)


def test_a_journal_of_rejected_lines_is_trimmed_though_some_always_wait(
    run: Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        settings = settings_of(source={"max_rejected": 1.0}, intake={"segment_bytes": 4096})
        async with hosting(tmp_path, settings) as hosted:
            await hosted.learn(drifting(10))
            await learned(hosted, 10)

            life = hosted.model_run
            assert life is not None
            life.monitor._queued = lambda: 1  # as at every look, if senders are quick enough
            with anyio.fail_after(30):
                while not life.committer.journal.begin:  # the first segment is still there
                    await hosted.learn(b'{"x": "no number", "y": "a"}\n' * 50)
                    await anyio.sleep(0.02)
            assert hosted.status().learned == 10

    run(main)

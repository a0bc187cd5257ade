"""What happens in a hosted model is told as events, once each, and seen on the curve."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest

from streamnet.daemon.hosting.events import EventLog, Monitor
from streamnet.daemon.hosting.hosted_model import HostedModel
from tests.conftest import Runner
from tests.daemon.hosted_models import hosting, learned, settings_of, until

BAD = {"hidden": 8, "optimizer": "sgd", "learning_rate": 1e6, "activation": "relu"}
SETTINGS = settings_of(
    population={"candidate": [{"hidden": 8}, {"hidden": 4, "learning_rate": 0.1}, BAD]},
    evaluation={"drift": "ddm"},
)


def drifting(count: int) -> list[dict[str, Any]]:
    """Samples whose rule turns round in the middle."""
    return [{"x": i % 5, "y": "ab"[(i % 5 > 2) != (i > count // 2)]} for i in range(count)]


def kinds(hosted: HostedModel) -> Counter[str]:
    return Counter(event.kind for event in hosted.events.last(1000))


def test_champions_drifts_quarantines_and_rejections_are_told(run: Runner, tmp_path: Path) -> None:
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
            assert 0 < told["drift"] <= status["drifts"]
            assert 0 < told["quarantine"] <= status["quarantined"]
            assert 0 < told["champion"] <= status["switches"]
            history = hosted.history()
            assert history is not None
            assert {mark["kind"] for mark in history["marks"]} == {"champion", "drift"}
            numbers = [mark["number"] for mark in history["marks"]]
            assert numbers == sorted(numbers)
            (rejected,) = [e for e in hosted.events.last(1000) if e.kind == "rejected"]
            assert rejected.data["reasons"] == {"json": 1, "number": 1}
            assert status["learned_per_second"] > 0
            before = told
            await hosted.learn(drifting(1))
            await learned(hosted, 4011)
            assert kinds(hosted)["drift"] == before["drift"]

    run(main)


def test_how_many_are_answered_a_second_is_told(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            assert not hosted.status()["predicted_per_second"]
            await hosted.learn(drifting(100))
            await hosted.published()
            hosted.predict(drifting(50))
            await until(lambda: hosted.status()["predicted_per_second"])

    run(main)


def test_the_pace_is_measured_while_samples_wait_and_a_rest_changes_nothing() -> None:
    waiting = iter([0, 500, 200, 0, 0, 0])
    watch = Monitor(
        *(None, None, None, EventLog()),  # type: ignore[arg-type]
        answered=lambda: 0,
        queued=lambda: next(waiting),
        clock=itertools.count().__next__,
    )
    paces = []
    for learned_so_far in (0, 10, 310, 510, 510, 510):
        watch._measure(learned_so_far)
        paces.append(watch.pace.value)
    assert paces == [0.0, 0.0, pytest.approx(300 / 3), *[pytest.approx(100.0)] * 3]


def test_a_journal_of_predictions_alone_is_trimmed_though_nothing_is_learned(
    run: Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        settings = settings_of(intake={"segment_bytes": 4096, "max_pending": 20})
        async with hosting(tmp_path, settings) as hosted:
            await hosted.learn(drifting(10))
            await hosted.published()
            await hosted.learn(drifting(100))
            await learned(hosted, 110)
            before = kinds(hosted)["checkpoint"]
            turns = itertools.count()

            async def is_short() -> bool:
                turn, samples = next(turns), drifting(100)
                ids = [f"{turn}-{number}" for number in range(100)]
                await hosted.remember(ids, samples, hosted.predict(samples))
                return turn > 20 and len(list((tmp_path / "journal").iterdir())) < 4

            with anyio.fail_after(60):
                while not await is_short():  # noqa: ASYNC110 - it is what makes it long
                    await anyio.sleep(0.05)
            # No more are made than it takes until the oldest one that is kept needs none of it.
            made = kinds(hosted)["checkpoint"]
            assert 0 < made - before <= 4
            for _ in range(10):
                await is_short()
                await anyio.sleep(0.1)
            assert kinds(hosted)["checkpoint"] == made
        async with hosting(tmp_path, settings) as hosted:
            assert hosted.status()["accepted"] == 110
            assert hosted.status()["pending"] == 20

    run(main)


def test_a_journal_of_rejected_lines_alone_is_trimmed_though_some_always_wait(
    run: Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        settings = settings_of(source={"max_rejected": 1.0}, intake={"segment_bytes": 4096})
        async with hosting(tmp_path, settings) as hosted:
            await hosted.learn(drifting(10))
            await learned(hosted, 10)

            life = hosted._life
            assert life is not None
            life.watch._queued = lambda: 1  # as at every look, if senders are quick enough
            with anyio.fail_after(30):
                while not life.committer.journal.begin:  # the first segment is still there
                    await hosted.learn(b'{"x": "no number", "y": "a"}\n' * 50)
                    await anyio.sleep(0.02)
            assert hosted.status()["learned"] == 10

    run(main)

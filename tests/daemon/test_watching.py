"""What happens in a hosted model is told as events, once each, and seen on the curve."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from streamnet.daemon.hosted import Hosted
from tests.conftest import Runner
from tests.daemon.hosting import hosting
from tests.daemon.hosting import learned
from tests.daemon.hosting import settings_of
from tests.daemon.hosting import until

BAD = {"hidden": 8, "optimiser": "sgd", "learning_rate": 1e6, "activation": "relu"}
SETTINGS = settings_of(
    population={"candidate": [{"hidden": 8}, {"hidden": 4, "learning_rate": 0.1}, BAD]},
    evaluation={"drift": "ddm"},
)


def drifting(count: int) -> list[dict[str, Any]]:
    """Samples whose rule turns round in the middle."""
    return [{"x": i % 5, "y": "ab"[(i % 5 > 2) != (i > count // 2)]} for i in range(count)]


def kinds(hosted: Hosted) -> Counter[str]:
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

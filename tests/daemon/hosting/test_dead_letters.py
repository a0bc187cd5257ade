"""What a hosted model could not learn is kept on the disk, each record once, within a bound."""

from __future__ import annotations

import json
from pathlib import Path

from streamnet.runs.builder import STATE_DEAD_LETTERS
from tests.conftest import Runner
from tests.daemon.hosted_models import hosting, learned, settings_of, until


def test_rejected_records_are_kept_on_the_disk_each_once_over_stops(
    run: Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        for life in range(3):
            async with hosting(tmp_path) as hosted:
                for number in range(20):
                    place = 20 * life + number
                    await hosted.learn(b'{"x": 1, "y": "a"}\n[%d]\n' % place)
                await learned(hosted, 20 * (life + 1))
                await until(lambda: not hosted.queued)
            path = tmp_path / "state" / STATE_DEAD_LETTERS
            assert hosted.dead_letters == path
            letters = [json.loads(line) for line in path.read_bytes().splitlines()]
            assert [letter["raw"] for letter in letters] == [
                f"[{number}]" for number in range(20 * (life + 1))
            ]

    run(main)


def test_the_last_rejected_records_are_shown_each_once_over_stops(
    run: Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        for life in range(3):
            async with hosting(tmp_path) as hosted:
                await learned(hosted, 2 * life)
                assert len(hosted.rejected()["last"]) == life
                await hosted.learn(b'{"x": 1, "y": "a"}\n[%d]\n{"x": 2, "y": "b"}\n' % life)
                await learned(hosted, 2 * (life + 1))
                # They are counted first, and shown at once after that.
                await until(lambda: len(hosted.rejected()["last"]) > life)  # noqa: B023 - awaited
                told = hosted.rejected()
                assert told["total"] == len(told["last"]) == life + 1
                assert [letter["raw"] for letter in told["last"]] == [
                    f"[{number}]" for number in range(life + 1)
                ]

    run(main)


def test_the_file_of_rejected_records_is_bounded(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        settings = settings_of(intake={"dead_letters_bytes": 1000})
        async with hosting(tmp_path, settings) as hosted:
            await hosted.learn(b'{"x": 1, "y": "a"}\n' + b"[1]\n" * 100)
            await learned(hosted, 1)
            await until(lambda: not hosted.queued)
            assert hosted.rejected()["total"] == 100
        assert 0 < hosted.dead_letters.stat().st_size <= 1000

    run(main)

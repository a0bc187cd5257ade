"""What a model writes to disk, and when it goes."""

from __future__ import annotations

from pathlib import Path

import anyio

from streamnet.daemon.hosting.budgets import Budgets
from tests.conftest import Runner
from tests.daemon.hosted_models import hosting, learned, left, rows, settings_of, until


def test_a_model_whose_share_of_the_disk_is_used_up_keeps_all_in_its_journal(
    run: Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        budgets = Budgets(checkpoint_bytes=1)
        async with hosting(tmp_path, budgets=budgets) as hosted:
            for start in range(0, 300, 100):
                await hosted.learn(rows(100, start))
                await learned(hosted, start + 100)
                await anyio.sleep(0.3)  # longer than every_seconds
            assert hosted.model_run is not None
            generations = hosted.model_run.statistics().generation
            assert generations is not None
            assert generations <= 1  # the first, and one that the budget was spent for
        async with hosting(tmp_path) as hosted:
            await learned(hosted, 300)

    run(main)
    assert left(tmp_path)[0] == 300


def test_journal_segments_go_when_no_checkpoint_needs_them(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        settings = settings_of(
            intake={"segment_bytes": 4096}, state={"every_samples": 100, "every_seconds": 0.1}
        )
        async with hosting(tmp_path, settings) as hosted:
            for part in range(8):
                await hosted.learn(rows(200, 200 * part))
                await learned(hosted, 200 * (part + 1))
                await anyio.sleep(0.3)
            first = min((tmp_path / "journal").iterdir()).name
            assert not first.startswith("0" * 16)
        async with hosting(tmp_path, settings) as hosted:
            assert hosted.status().accepted == 1600
            await hosted.learn(rows(10))
            await learned(hosted, 1610)

    run(main)


def test_the_file_of_rejected_records_is_bounded(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        settings = settings_of(intake={"dead_letters_bytes": 1000})
        async with hosting(tmp_path, settings) as hosted:
            await hosted.learn(b'{"x": 1, "y": "a"}\n' + b"[1]\n" * 100)
            await learned(hosted, 1)
            await until(lambda: not hosted.queued)
            assert hosted.rejected().total == 100
        assert 0 < hosted.dead_letters.stat().st_size <= 1000

    run(main)

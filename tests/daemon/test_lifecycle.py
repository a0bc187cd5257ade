"""A model's lives: what ends one, what begins the next, and that nobody waits for ever."""

from __future__ import annotations

import errno
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio import from_thread

from streamnet.daemon import lifecycle
from streamnet.daemon.hosted import Hosted
from streamnet.errors import NotReadyError
from streamnet.errors import OutputError
from tests.conftest import Runner
from tests.daemon.hosting import hosting
from tests.daemon.hosting import learned
from tests.daemon.hosting import left
from tests.daemon.hosting import rows
from tests.daemon.hosting import settings_of
from tests.daemon.hosting import until


def test_a_reset_begins_anew_and_keeps_or_deletes_the_old(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            await hosted.learn(rows(100), key="k")
            await learned(hosted, 100)
            await hosted.reset()
            assert hosted.status()["accepted"] == 0
            assert not (await hosted.learn(rows(50), key="k")).duplicate
            await learned(hosted, 50)
            await hosted.reset(keep_old=False)
            assert hosted.status()["accepted"] == 0
        with pytest.raises(NotReadyError, match="model spam is stopped"):
            await hosted.reset()

    run(main)
    assert [path.name for path in tmp_path.glob("old*")] == ["old-000001"]
    assert left(tmp_path / "old-000001")[0] == 100


def test_resets_at_once_are_one_that_deletes_only_what_nobody_wants_to_keep(
    run: Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            await hosted.learn(rows(100))
            await learned(hosted, 100)
            with anyio.fail_after(20):
                async with anyio.create_task_group() as group:
                    for keep_old in (False, True, False):
                        group.start_soon(partial(hosted.reset, keep_old=keep_old))
            assert hosted.status()["accepted"] == 0
            assert hosted.state == "learning"

    run(main)
    assert [path.name for path in tmp_path.glob("old*")] == ["old-000001"]


def test_a_reset_that_fails_is_told_and_the_model_can_be_stopped_or_reset_again(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clear = lifecycle._move_aside
    stopping: list[Hosted] = []

    def full(*_: object) -> None:
        for hosted in stopping:
            from_thread.run_sync(hosted.stop)
        raise OSError(errno.ENOSPC, "No space left on device")

    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            monkeypatch.setattr(lifecycle, "_move_aside", full)
            with pytest.raises(OutputError, match="No space left on device"):
                await hosted.reset()
            assert (hosted.state, hosted.failure) == (
                "failed",
                "[Errno 28] No space left on device",
            )
            monkeypatch.setattr(lifecycle, "_move_aside", clear)
            await hosted.reset()
            assert hosted.state == "learning"
            monkeypatch.setattr(lifecycle, "_move_aside", full)
            stopping.append(hosted)
            with anyio.fail_after(20), pytest.raises(OutputError):
                await hosted.reset()
            with anyio.fail_after(20):
                await until(lambda: hosted.state == "stopped")

    run(main)


def test_who_waits_for_a_first_model_is_told_when_none_will_come(
    run: Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        with anyio.fail_after(20):
            await stopped_while_one_waits()

    async def stopped_while_one_waits() -> None:
        async with anyio.create_task_group() as group, hosting(tmp_path) as hosted:
            waiting = anyio.Event()

            async def wait() -> None:
                waiting.set()
                with pytest.raises(NotReadyError, match="model spam is stopped"):
                    await hosted.published()

            group.start_soon(wait)
            await waiting.wait()
            await hosted.reset()  # a new life may still bring one
            await anyio.wait_all_tasks_blocked()

    run(main)


def test_a_failure_is_told_and_others_settings_are_refused(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            await hosted.learn(rows(100))
            await learned(hosted, 100)
        other = settings_of(run={"seed": 4})
        async with hosting(tmp_path, other) as hosted:
            await until(lambda: hosted.state == "failed")
            assert "can't be gone on from: seed" in str(hosted.failure)
            assert hosted.status()["failure"] == hosted.failure
            with pytest.raises(NotReadyError, match="model spam is failed: the state in"):
                await hosted.learn(rows(1))
            await hosted.resume()
            await until(lambda: hosted.state == "failed")
            await hosted.reset()
            await hosted.learn(rows(10))
            await learned(hosted, 10)
            assert hosted.failure is None
        async with hosting(tmp_path, other), hosting(tmp_path, other) as second:
            assert second.state == "failed"
            assert "only one may write there" in str(second.failure)

    run(main)

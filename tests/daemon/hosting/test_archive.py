"""What resets move aside: it is kept for a while, and no crash takes what came later for it."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from streamnet.daemon.hosting.supervisor import archive_state
from tests.conftest import Runner
from tests.daemon.hosted_models import hosting, learned, left, rows


def test_a_reset_that_a_crash_broke_off_is_finished(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            await hosted.learn(rows(100))
            await learned(hosted, 100)
        (tmp_path / "old-000001").mkdir()
        (tmp_path / "state").rename(tmp_path / "old-000001/state")
        async with hosting(tmp_path) as hosted:
            assert hosted.status()["accepted"] == 0
        assert left(tmp_path / "old-000001")[0] == 100
        assert (tmp_path / "old-000001/journal").exists()

    run(main)


def test_resets_leave_the_last_three_states_and_what_was_given_another_name(
    run: Runner, tmp_path: Path
) -> None:
    (tmp_path / "old-000001-to-keep/state").mkdir(parents=True)

    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            for count in range(1, 6):
                await hosted.learn(rows(count))
                await learned(hosted, count)
                await hosted.reset()
            await hosted.learn(rows(6))
            await learned(hosted, 6)

    run(main)
    kept = [f"old-{number:06d}" for number in (3, 4, 5)]
    old = sorted(path.name for path in tmp_path.glob("old-*"))
    assert old == ["old-000001-to-keep", *kept]
    assert [left(tmp_path / name)[0] for name in kept] == [3, 4, 5]
    assert left(tmp_path)[0] == 6


def test_resets_of_what_holds_nothing_push_nothing_out(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    archive_state(tmp_path, keep=True)
    (tmp_path / "old-000002").mkdir()  # as a crash leaves it
    for _ in range(3):
        archive_state(tmp_path, keep=True)
    assert (tmp_path / "old-000001/state").exists()
    assert len(list(tmp_path.glob("old-*"))) == 2
    for _ in range(2):
        (tmp_path / "state").mkdir()
        archive_state(tmp_path, keep=True)
    kept = sorted(path.parent.name[-1] for path in tmp_path.glob("old-*/state"))
    assert kept == ["1", "3", "4"]


def test_what_can_not_be_moved_as_a_whole_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("state", "journal"):
        (tmp_path / name).mkdir()
    rename = Path.rename

    def refused(path: Path, target: Path) -> Path:
        if path.name == "journal":
            raise OSError(errno.EACCES, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(OSError, match="Permission denied"):
        archive_state(tmp_path, keep=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["journal", "state"]


def test_an_old_state_that_can_not_be_removed_holds_up_no_reset(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 4):
        (tmp_path / f"old-{number:06d}/state").mkdir(parents=True)

    def refused(*_: object) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            with monkeypatch.context() as patched:
                patched.setattr(shutil, "rmtree", refused)
                await hosted.reset()
            assert hosted.state == "learning"
            await hosted.reset()

    run(main)
    assert [path.name[-1] for path in sorted(tmp_path.glob("old-*"))] == ["3", "4", "5"]


def test_removing_that_a_crash_broke_off_takes_nothing_that_came_later(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal of the life behind it must not be taken for one that was left to be moved."""
    remove = shutil.rmtree

    def only_once(path: Path) -> None:
        monkeypatch.setattr(shutil, "rmtree", refused)
        remove(path / "journal" if (path / "journal").exists() else path)

    def refused(_: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            await hosted.learn(rows(100))
            await learned(hosted, 100)
            monkeypatch.setattr(shutil, "rmtree", only_once)
            await hosted.reset(keep_old=False)
            await hosted.opened()
            await hosted.learn(rows(7))
        remove(tmp_path / "state")  # as if it had ended before its first checkpoint
        async with hosting(tmp_path) as hosted:
            assert hosted.status()["accepted"] == 7

    run(main)

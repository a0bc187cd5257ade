"""What the shared log makes durable is in the journals after any crash, each frame once."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from streamnet.daemon.journal import commit_log
from streamnet.daemon.journal.commit_log import FOLDER_NAME, CommitLog
from streamnet.daemon.journal.frames import Frame, FrameKind
from streamnet.daemon.journal.segments import IDENTITY_FILE, Journal
from streamnet.durability.files import FileSystem
from tests.conftest import Runner
from tests.daemon.journal.test_segments import frame, numbers
from tests.durability.disks import Faulty, Killed, Memory, disk_after

MODELS = Path("/models")
NAMES = ("ant", "bee", "cat")


def open_journal(files: FileSystem, name: str) -> Journal:
    journal = Journal(MODELS / name / "journal", segment_bytes=1024, files=files)
    journal.open(b"begin")
    journal.identify()
    return journal


def read_all(files: FileSystem) -> dict[str, list[int]]:
    """What the journals have after a start of the daemon."""
    CommitLog(MODELS, files=files).recover()
    assert not files.names(MODELS / FOLDER_NAME)
    return {name: numbers(open_journal(files, name)) for name in NAMES}


async def commit_rounds(
    files: FileSystem, rounds: int, durable: dict[str, list[int]], **settings: Any
) -> None:
    """Append a frame to each journal and commit them together, so many times."""
    log = CommitLog(MODELS, files=files, **settings)
    log.recover()
    journals = {name: open_journal(files, name) for name in NAMES}

    async def commit(name: str, number: int) -> None:
        journal = journals[name]
        if journal.is_full:
            journal.roll(b"begin")
        journal.append([frame(number)])
        await log.commit(journal)
        durable[name].append(number)

    async with anyio.create_task_group() as running:
        running.start_soon(log.run)
        await anyio.wait_all_tasks_blocked()
        for number in range(rounds):
            async with anyio.create_task_group() as group:
                for name in NAMES:
                    group.start_soon(commit, name, number)
        running.cancel_scope.cancel()


def kill(run: Runner, story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a story that may end with the process."""
    try:
        run(story)
    except Killed:
        return
    except BaseExceptionGroup as group:
        _, rest = group.split((Killed, OSError))  # who waited is told
        if rest is not None:
            raise


def test_what_is_durable_survives_every_power_cut_and_kill(run: Runner) -> None:
    whole = Faulty(Memory(), 10**9, "kill")
    run(partial(commit_rounds, whole, 6, {name: [] for name in NAMES}, max_file_bytes=900))
    for at in range(12, whole.count, 3):
        disk = Memory()
        durable: dict[str, list[int]] = {name: [] for name in NAMES}
        faulty = Faulty(disk, at, "torn")
        kill(run, partial(commit_rounds, faulty, 6, durable, max_file_bytes=900))
        for left in [disk_after(disk), *map(disk.after, disk.cuts())]:
            for name, found in read_all(left).items():
                assert found == list(range(len(found)))  # in order, each once
                assert len(found) >= len(durable[name]), (at, name)


def test_journals_share_an_fsync_and_are_synced_once_in_a_while(run: Runner) -> None:
    disk = Memory()
    run(commit_rounds, disk, 30, {name: [] for name in NAMES})
    assert disk.calls.count("fsync") < 30 + 30  # segments are synced where the next one begins
    assert not disk.names(MODELS / FOLDER_NAME)
    assert read_all(disk) == {name: list(range(30)) for name in NAMES}


def test_a_kill_loses_nothing_that_was_written_but_not_committed(run: Runner) -> None:
    disk = Memory()

    async def story() -> None:
        log, journal = CommitLog(MODELS, files=disk), open_journal(disk, "ant")
        async with anyio.create_task_group() as running:
            running.start_soon(log.run)
            await anyio.wait_all_tasks_blocked()
            journal.append([frame(0)])
            await log.commit(journal)
            journal.append([frame(1)])
            left.append(disk_after(disk))
            running.cancel_scope.cancel()

    left: list[Memory] = []
    run(story)
    assert left[0].names(MODELS / FOLDER_NAME)
    CommitLog(MODELS, files=left[0]).recover()
    assert numbers(open_journal(left[0], "ant")) == [0, 1]


def test_a_journal_that_replaced_another_gets_none_of_its_frames(run: Runner) -> None:
    disk = Memory()

    async def story() -> None:
        log, journal = CommitLog(MODELS, files=disk), open_journal(disk, "ant")
        async with anyio.create_task_group() as running:
            running.start_soon(log.run)
            await anyio.wait_all_tasks_blocked()
            journal.append([frame(0)])
            await log.commit(journal)
            for name in disk.names(journal.folder):  # a reset moves the folder
                disk.rename(journal.folder / name, MODELS / "old" / name)
            open_journal(disk, "ant")
            left.append(disk_after(disk))
            running.cancel_scope.cancel()

    left: list[Memory] = []
    run(story)
    assert left[0].names(MODELS / FOLDER_NAME)
    CommitLog(MODELS, files=left[0]).recover()
    assert numbers(open_journal(left[0], "ant")) == []


class FullLog(Memory):
    """A disk on which nothing can be written to the log."""

    def open_new(self, path: Path) -> int:
        if path.parent.name == FOLDER_NAME:
            raise OSError(28, "No space left on device")
        return super().open_new(path)


def test_without_the_log_journals_are_synced_themselves(
    run: Runner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(commit_log, "_RETRY_SECONDS", 0.001)
    disk, durable = FullLog(), {name: list[int]() for name in NAMES}
    run(commit_rounds, disk, 10, durable)
    lost = disk.after(next(iter(disk.cuts())))
    assert read_all(lost) == durable == {name: list(range(10)) for name in NAMES}
    assert caplog.text.count("journals are synced one by one") == 1


@pytest.mark.parametrize("fault", ["EIO", "ENOSPC"])
def test_a_disk_that_fails_once_loses_nothing_that_was_acknowledged(
    run: Runner, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(commit_log, "_RETRY_SECONDS", 0.001)
    for at in range(30, 50, 2):
        disk, durable = Memory(), {name: list[int]() for name in NAMES}

        async def story(disk: Memory = disk, at: int = at, durable: Any = durable) -> None:
            await commit_rounds(Faulty(disk, at, fault), 5, durable)

        try:
            run(story)
        except OSError:
            pass  # told to who waited
        except ExceptionGroup as group:
            _, rest = group.split(OSError)
            if rest is not None:
                raise
        for cut in disk.cuts():
            for name, found in read_all(disk.after(cut)).items():
                assert found == list(range(len(found)))
                assert len(found) >= len(durable[name])


def test_a_large_part_is_not_written_twice(run: Runner) -> None:
    disk = Memory()

    async def story() -> None:
        log, journal = CommitLog(MODELS, files=disk), open_journal(disk, "ant")
        async with anyio.create_task_group() as running:
            running.start_soon(log.run)
            await anyio.wait_all_tasks_blocked()
            journal.append([Frame(FrameKind.SAMPLES, b"", b"x" * 100_000 + b"\n", 1)])
            await log.commit(journal)
            assert journal.synced == journal.end
            assert not disk.names(MODELS / FOLDER_NAME)
            running.cancel_scope.cancel()

    run(story)


def test_another_copy_of_a_journal_is_left_as_it_is(
    run: Runner, caplog: pytest.LogCaptureFixture
) -> None:
    disk = Memory()

    async def story() -> None:
        log, journal = CommitLog(MODELS, files=disk), open_journal(disk, "ant")
        for number in range(2):
            journal.append([frame(number)])
        journal.sync()
        async with anyio.create_task_group() as running:
            running.start_soon(log.run)
            await anyio.wait_all_tasks_blocked()
            journal.append([frame(2)])
            await log.commit(journal)
            left.append(disk_after(disk))
            running.cancel_scope.cancel()

    left: list[Memory] = []
    run(story)
    folder = MODELS / "ant" / "journal"
    (segment,) = (name for name in left[0].names(folder) if name != IDENTITY_FILE)
    inode = left[0].names_seen[folder / segment]
    inode.seen = inode.seen[:200]
    CommitLog(MODELS, files=left[0]).recover()
    assert numbers(open_journal(left[0], "ant")) == [0]
    assert "it is another copy" in caplog.text

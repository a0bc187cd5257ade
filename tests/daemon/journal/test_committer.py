"""The committer: many senders, one journal, and a disk that fails them."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import anyio
import pytest

from streamnet.daemon.journal import committer
from streamnet.daemon.journal.committer import Committer
from streamnet.daemon.journal.intake import Intake
from streamnet.daemon.journal.segments import Journal
from streamnet.errors import ClosedError, OutputError
from tests.conftest import Runner
from tests.daemon.hosted_models import until
from tests.durability.disks import Memory, disk_after

FOLDER = Path("/journal")


class Moody(Memory):
    """A disk that fails while it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False
        self.failing = False
        self.tries = 0  # of syncs that failed
        self.writes = 0

    def write(self, handle: int, data: bytes) -> int:
        self.writes += 1
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(handle, data)

    def fsync(self, handle: int) -> None:
        if self.failing:
            self.tries += 1
            raise OSError(errno.EIO, "Input/output error")
        super().fsync(handle)


def make() -> Intake:
    return Intake("y")


async def send(committer: Committer, number: int, outcomes: dict[int, Any], **how: bool) -> None:
    """Send a sample as a request does, and note what came of it."""
    line = f'{{"x":{number}}}\n'.encode()
    try:
        committer.check()
        receipt, frame = committer.intake.take(line, 1, key=str(number))
        await committer.commit(frame, **{"durable": True, **how})
    except OutputError as error:
        outcomes[number] = str(error)
    else:
        outcomes[number] = receipt.first


def numbers(files: Memory) -> list[int]:
    """What is in the journal, as another process finds it."""
    journal = Journal(FOLDER, files=disk_after(files), segment_bytes=4096)
    journal.open(b"")
    found, at = [], journal.begin
    while pieces := journal.read(at, 1 << 20):
        found += [int(frame.body[5:-2]) for _, frame in pieces if frame.samples]
        at = pieces[-1][0] + pieces[-1][1].size
    return found


async def played(files: Memory, story: Any) -> dict[int, Any]:
    committer = Committer(Journal(FOLDER, files=files, segment_bytes=4096), make)
    await committer.open()
    outcomes: dict[int, Any] = {}
    async with anyio.create_task_group() as group:
        group.start_soon(committer.run)
        await story(committer, outcomes)
        committer.stop()
    with pytest.raises(OutputError, match="the model is stopping and accepts nothing more"):
        committer.check()
    return outcomes


async def written(committer: Committer, count: int) -> None:
    await until(lambda: committer.journal.samples >= count)


def test_senders_share_a_sync_and_keep_their_order(run: Runner) -> None:
    files = Moody()

    async def story(committer: Committer, outcomes: dict[int, Any]) -> None:
        async with anyio.create_task_group() as group:
            for number in range(300):
                group.start_soon(send, committer, number, outcomes)
        assert committer.journal.synced == committer.journal.end

    outcomes = run(played, files, story)
    found = numbers(files)
    assert sorted(found) == list(range(300))
    assert [outcomes[number] for number in found] == list(range(300))
    assert files.calls.count("fsync") < 100


def test_a_full_disk_refuses_and_recovers_by_itself(
    run: Runner, caplog: pytest.LogCaptureFixture
) -> None:
    files = Moody()

    async def story(committer: Committer, outcomes: dict[int, Any]) -> None:
        for number in range(10):
            await send(committer, number, outcomes)
        files.full = True
        async with anyio.create_task_group() as group:
            for number in range(10, 20):
                group.start_soon(send, committer, number, outcomes)
        await send(committer, 20, outcomes)
        await until(lambda: committer.intake.samples == 10)  # not what was refused
        assert committer.failure is not None
        files.full = False
        await until(lambda: committer.failure is None)
        # The same key again: it was not taken before.
        for number in (10, 21):
            await send(committer, number, outcomes)

    outcomes = run(played, files, story)
    refused = [number for number, outcome in outcomes.items() if isinstance(outcome, str)]
    assert sorted(refused) == list(range(11, 21))
    assert outcomes[11] == "journal /journal: No space left on device"
    assert numbers(files) == [*range(10), 10, 21]
    assert outcomes[21] == 11
    assert "nothing is accepted until it can be written" in caplog.text


def test_a_failed_disk_is_retried_without_a_request(
    run: Runner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(committer, "_RETRY_SECONDS", 0.002)
    files = Moody()

    async def story(committer: Committer, outcomes: dict[int, Any]) -> None:
        await send(committer, 0, outcomes)
        await until(lambda: not committer.refuses)
        files.full = True
        await send(committer, 1, outcomes)
        writes = files.writes
        await until(lambda: files.writes > writes + 5)
        assert committer.refuses
        await send(committer, 2, outcomes)
        files.full = False
        await until(lambda: not committer.refuses)
        await send(committer, 3, outcomes)
        files.failing = True
        await send(committer, 4, outcomes)
        assert committer.refuses
        files.failing = False
        await until(lambda: not committer.refuses)

    outcomes = run(played, files, story)
    assert [number for number, outcome in outcomes.items() if isinstance(outcome, str)] == [1, 2, 4]
    assert numbers(files) == [0, 3, 4]
    assert caplog.text.count("nothing is accepted until it can be written") == 1


def test_a_failing_sync_acknowledges_nothing_and_loses_nothing(run: Runner) -> None:
    files = Moody()

    async def story(committer: Committer, outcomes: dict[int, Any]) -> None:
        await send(committer, 0, outcomes)
        files.failing = True
        await send(committer, 1, outcomes)
        await send(committer, 2, outcomes, durable=False)
        assert outcomes == {0: 0, 1: "journal /journal: Input/output error", 2: 2}
        files.failing = False
        await until(lambda: committer.journal.synced == committer.journal.end)
        await send(committer, 1, outcomes)
        assert outcomes[1] == 1

    run(played, files, story)
    assert numbers(files) == [0, 1, 2]


def test_a_sync_that_keeps_failing_is_logged_once(
    run: Runner, caplog: pytest.LogCaptureFixture
) -> None:
    files = Moody()

    async def story(committer: Committer, outcomes: dict[int, Any]) -> None:
        for number in (0, 1):
            files.failing, files.tries = True, 0
            await send(committer, number, outcomes)
            await until(lambda: files.tries >= 3)
            files.failing = False
            await until(lambda: committer.journal.synced == committer.journal.end)
            await send(committer, 10 + number, outcomes)

    run(played, files, story)
    assert caplog.text.count("retrying") == 2  # for each time that it failed


def test_a_disk_that_keeps_failing_does_not_delay_the_stop(run: Runner) -> None:
    files = Moody()

    async def story(committer: Committer, outcomes: dict[int, Any]) -> None:
        files.failing = True
        async with anyio.create_task_group() as group:
            group.start_soon(send, committer, 0, outcomes)
            await until(lambda: committer.journal.samples == 1)
            committer.stop()
        assert "Input/output error" in str(outcomes[0])

    run(played, files, story)


def test_segments_begin_with_a_snapshot(run: Runner) -> None:
    files = Moody()

    async def story(committer: Committer, outcomes: dict[int, Any]) -> None:
        async with anyio.create_task_group() as group:
            for number in range(400):
                group.start_soon(send, committer, number, outcomes)
                if number % 20 == 0:  # so that one segment does not get them all at once
                    await written(committer, number - 20)
        assert committer._replay_frames().snapshot() == committer.intake.snapshot()

    run(played, files, story)
    assert len(files.names(FOLDER)) > 2

    async def again() -> None:
        committer = Committer(Journal(FOLDER, files=disk_after(files)), make)
        await committer.open()
        assert committer.intake.samples == 400
        assert committer.intake.take(b'{"x":7}\n', 1, key="7")[0].duplicate

    run(again)


def test_senders_get_an_error_when_cancelled_before_their_frame_is_durable(run: Runner) -> None:
    async def main() -> None:
        committer = Committer(Journal(FOLDER, files=Moody()), make)
        await committer.open()
        told: list[str] = []

        async def send_one() -> None:
            _, frame = committer.intake.take(b'{"x": 1}\n', 1)
            with pytest.raises(ClosedError) as raised:
                await committer.commit(frame, durable=True)
            told.append(str(raised.value))

        with anyio.fail_after(10):
            async with anyio.create_task_group() as senders, anyio.create_task_group() as group:
                for _ in range(3):
                    senders.start_soon(send_one)
                await anyio.wait_all_tasks_blocked()
                group.start_soon(committer.run)
                group.cancel_scope.cancel()
        assert told == ["the model is stopping and accepts nothing more"] * 3

    run(main)

"""A hosted model on a disk that fills up: it refuses, goes on answering, and recovers by itself."""

from __future__ import annotations

import errno
from math import inf
from pathlib import Path

import anyio
import httpx2
import pytest

from streamnet.daemon.hosting import supervisor
from streamnet.daemon.hosting.hosted_model import HostedModel
from streamnet.daemon.hosting.registry import Registry
from streamnet.durability.files import FileSystem, LocalFileSystem
from streamnet.errors import OutputError, StateError
from tests.conftest import Runner
from tests.daemon.app_client import client_beside
from tests.daemon.hosted_models import hosting, learned, rows, settings_of, until
from tests.durability.disks import Faulty


class Filling(Faulty):
    """The real disk, full while it is told to be."""

    def __init__(self, files: FileSystem) -> None:
        super().__init__(files, -1, "ENOSPC")
        self.full = False

    def write(self, handle: int, data: bytes) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(handle, data)


def test_a_full_disk_refuses_samples_and_nothing_else(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        files = Filling(LocalFileSystem())
        async with hosting(tmp_path, files=files) as hosted:
            await hosted.learn(rows(100), key="a")
            await learned(hosted, 100)
            await hosted.published()
            await hosted.remember("x", rows(1), hosted.predict(rows(1)))
            files.full = True
            for key in "bc":
                with pytest.raises(OutputError, match="No space left on device"):
                    await hosted.learn(rows(50), key=key)
            with pytest.raises(OutputError, match="No space left on device"):
                await hosted.label([("x", "a")])
            assert hosted.predict(rows(3)).values.shape == (3,)
            assert hosted.state == "learning"
            files.full = False
            await until(lambda: not refuses(hosted))
            assert hosted.status()["accepted"] == 100
            assert not (await hosted.learn(rows(50), key="b")).duplicate
            assert await hosted.label([("x", "a")]) == ["joined"]
            await learned(hosted, 151)
            assert hosted.status()["accepted"] == 151

    run(main)


def test_a_model_that_starts_on_a_full_disk_names_it_and_starts_by_itself_when_there_is_room(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_MIN_RETRY_DELAY", 0.05)

    async def main() -> None:
        files = Filling(LocalFileSystem())
        files.full = True
        async with hosting(tmp_path, files=files) as hosted:
            assert hosted.state == "failed"
            assert str(hosted.failure).endswith(f"{tmp_path}: No space left on device")
            await until(lambda: hosted.lives >= 3)  # it fails again, and is not given up
            assert hosted.state in ("failed", "starting")
            files.full = False
            await until(lambda: hosted.state == "learning")
            assert hosted.failure is None
            await hosted.learn(rows(50))
            await learned(hosted, 50)

    run(main)


def test_readiness_tells_of_a_disk_that_takes_nothing_as_long_as_it_does(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_MIN_RETRY_DELAY", 0.05)
    files = Filling(LocalFileSystem())
    registry = Registry(tmp_path, {"spam": settings_of()}, files=files)

    async def ready(http: httpx2.AsyncClient) -> tuple[int, str]:
        told = await http.get("/readyz")
        return told.status_code, told.json()["status"]

    async def main() -> None:
        async with anyio.create_task_group() as group, client_beside(registry) as http:
            files.full = True  # at the start
            await group.start(registry.run)
            spam = registry.models["spam"]
            await until(lambda: spam.lives >= 3)
            assert await ready(http) == (503, "refusing")
            files.full = False
            await until(lambda: spam.state == "learning")
            assert await ready(http) == (200, "ok")
            files.full = True  # later
            body = {"samples": rows(5)}
            assert (await http.post("/v1/models/spam/samples", json=body)).status_code == 507
            for _ in range(20):
                await anyio.sleep(0.05)
                assert await ready(http) == (503, "refusing")
            files.full = False
            await until(lambda: not spam.waits_for_disk)
            assert await ready(http) == (200, "ok")
            registry.stop()

    run(main)


def test_tries_after_the_disk_failed_grow_rarer_and_other_failures_wait_for_somebody(
    tmp_path: Path,
) -> None:
    waiting = supervisor.Supervisor("spam", settings_of(), tmp_path)
    tried = waiting._compute_retry_delay
    full = OSError(errno.ENOSPC, "No space left on device")
    told = StateError("state: No space left on device")
    told.__cause__ = full
    waits = [tried(error) for error in (full, told, full, full, full, full, full, full)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert waiting.waits_for_disk
    assert tried(StateError("the state can't be gone on from: seed")) == inf
    assert not waiting.waits_for_disk  # but for somebody


def refuses(hosted: HostedModel) -> bool:
    """Whether the journal can't be written just now."""
    return hosted._life is not None and hosted._life.committer.failure is not None

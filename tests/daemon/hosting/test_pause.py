"""Pausing: noted in a model's folder, whatever becomes of the model meanwhile."""

from __future__ import annotations

import threading
from pathlib import Path
from time import sleep
from typing import Any

import anyio
import pytest

from streamnet.daemon.hosting import supervisor
from streamnet.daemon.hosting.hosted_model import HostedModel
from streamnet.durability.files import write_durably
from streamnet.errors import NotReadyError
from tests.conftest import Runner
from tests.daemon.hosted_models import hosting, hosting_all, settings_of, until


def test_pausing_and_resuming_twice_at_once_is_allowed(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        async with hosting(tmp_path) as hosted:
            for verb in (hosted.pause, hosted.resume):
                async with anyio.create_task_group() as group:
                    for _ in range(3):
                        group.start_soon(verb)
            assert hosted.state == "learning"
        with pytest.raises(NotReadyError):
            await hosted.pause()

    run(main)


def test_a_deleted_model_that_was_to_be_paused_leaves_nothing_to_the_next_of_its_name(
    run: Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        hosted = HostedModel("spam", settings_of(), tmp_path / "spam")
        async with anyio.create_task_group() as group:
            group.start_soon(refused, hosted)
            await anyio.wait_all_tasks_blocked()
            hosted.stop()  # before it could be opened
            group.start_soon(hosted.run)
        assert not (tmp_path / "spam").exists()

    async def refused(hosted: HostedModel) -> None:
        with pytest.raises(NotReadyError, match=r"^model spam is stopped$"):
            await hosted.pause()

    run(main)


def test_a_model_ends_when_its_pause_is_noted(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noting, noted = threading.Event(), threading.Event()

    def slowly(*arguments: Any, **more: Any) -> None:
        noting.set()
        sleep(0.5)
        write_durably(*arguments, **more)
        noted.set()

    async def main() -> None:
        monkeypatch.setattr(supervisor, "write_durably", slowly)
        async with hosting_all(tmp_path) as models, anyio.create_task_group() as group:
            hosted = await models.create("spam", settings_of())
            await hosted.opened()
            group.start_soon(hosted.pause)
            await until(noting.is_set)
            await models.delete("spam")
            assert noted.is_set()
            assert not (tmp_path / "spam").exists()

    run(main)

"""Small hosted models for the tests of the daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from streamnet.client.schemas import Event
from streamnet.daemon.hosting.budgets import Budgets
from streamnet.daemon.hosting.hosted_model import HostedModel
from streamnet.daemon.hosting.registry import Registry
from streamnet.durability.checkpoint import encode
from streamnet.durability.files import DISK, FileSystem
from streamnet.durability.state_directory import StateDirectory
from streamnet.settings.daemon import ModelSettings, parse_model

__all__ = (
    "hosting",
    "hosting_all",
    "last_events",
    "learned",
    "left",
    "rows",
    "settings_of",
    "until",
)

TABLES: dict[str, Any] = {
    "source": {"target": "y"},
    "run": {"round_size": 64, "seed": 3},
    "population": {"candidate": [{"hidden": 8}, {"hidden": 4, "learning_rate": 0.1}]},
    "state": {"every_seconds": 0.2},
    "intake": {"publish_seconds": 0.05},
}


def settings_of(**tables: dict[str, Any]) -> ModelSettings:
    """Settings of a small model, with other keys in some tables."""
    return parse_model(
        {name: TABLES.get(name, {}) | tables.get(name, {}) for name in {*TABLES, *tables}}
    )


def last_events(hosted: HostedModel, count: int) -> list[Event]:
    """The last events of a model, the oldest first."""
    return list(hosted.events._kept)[-count:]


def rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Samples that are easily learned."""
    return [
        {"x": i % 7 / 7, "w": "uv"[i % 2], "y": "abc"[i * i % 7 % 3]}
        for i in range(start, start + count)
    ]


@asynccontextmanager
async def hosting(
    folder: Path,
    settings: ModelSettings | None = None,
    *,
    files: FileSystem = DISK,
    budgets: Budgets | None = None,
) -> AsyncIterator[HostedModel]:
    """A model that runs within the block, and has ended behind it."""
    settings = settings or settings_of()
    hosted = HostedModel("spam", settings, folder, files=files, budgets=budgets)
    async with anyio.create_task_group() as group:
        group.start_soon(hosted.run)
        try:
            await hosted.opened()
            yield hosted
        finally:
            hosted.stop()


@asynccontextmanager
async def hosting_all(folder: Path, **fixed: ModelSettings) -> AsyncIterator[Registry]:
    """A registry that runs within the block, and has ended behind it."""
    registry = Registry(folder, fixed)
    async with anyio.create_task_group() as group:
        await group.start(registry.run)
        try:
            yield registry
        finally:
            registry.stop()


async def until(condition: Callable[[], object]) -> None:
    """Wait until something is so."""
    with anyio.fail_after(120):
        while not condition():  # noqa: ASYNC110 - whatever the condition is of
            await anyio.sleep(0.002)


async def learned(hosted: HostedModel, count: int) -> None:
    """Wait until so many samples are learned."""
    await until(lambda: hosted.status().learned >= count)


def left(folder: Path) -> tuple[int, bytes]:
    """How much was learned, and all bits of what did the learning, in the newest checkpoint.

    The ledger also tells offsets in the journal, which depend on how samples came.
    """
    newest = StateDirectory(folder / "state").generations.newest()
    assert newest is not None
    return newest.tree["reading"]["number"], encode(newest.tree["learner"])

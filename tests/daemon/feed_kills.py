"""Kills a hosted model at random instants while it reads a file, and tells what is left.

Run as ``python -m tests.daemon.feed_kills KILLS SEED FOLDER [sending]``: it prints a line of
JSON. With ``sending``, samples are sent besides, each under a key, until they are acknowledged.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from streamnet.client.schemas import Feed
from streamnet.daemon.hosting.hosted_model import HostedModel
from streamnet.errors import BusyError
from streamnet.learning.warmup import warm_up
from streamnet.samples import Task
from streamnet.settings.daemon import ModelSettings
from tests.daemon.hosted_models import TABLES, hosting, rows, until
from tests.daemon.kills import BATCH, forked, left, say

__all__ = ("killed",)

RECORDS = 60_000
BAD = 89  # each such record is none


def settings_of(file: Path) -> ModelSettings:
    """Of a model that reads a file, with small segments and many checkpoints."""
    tables = {
        "source": {"target": "y", "files": [str(file)], "max_rejected": 1.0},
        "state": {"every_samples": 300, "every_seconds": 0.05},
        "intake": {"segment_bytes": 16_384, "publish_seconds": 0.02, "max_queued": 1500},
    }
    return ModelSettings.model_validate(TABLES | tables)


def text() -> str:
    """Of the file."""
    good = (f"{i % 7 / 7},{'uv'[i % 2]},{'abc'[i * i % 7 % 3]}" for i in range(RECORDS))
    lines = (f"{i}" if i % BAD == BAD - 1 else line for i, line in enumerate(good))
    return "x,w,y\n" + "".join(f"{line}\n" for line in lines)


async def live(sending: bool, folder: Path, to: int, batch: int) -> None:
    """Learn, send from that batch on, and say what is there."""
    async with hosting(folder, settings_of(folder.parent / "a.csv")) as hosted:
        say(to, fed=feed_of(hosted).records)
        for number in range(batch, 1_000_000):
            if sending:
                await send(hosted, number)
                say(to, batch=number)
            await anyio.sleep(0.005)


async def send(hosted: HostedModel, number: int) -> None:
    """Send a batch until there is room for it."""
    while True:
        try:
            await hosted.learn(rows(BATCH, BATCH * number), key=str(number))
        except BusyError:
            await anyio.sleep(0.005)
        else:
            return


def feed_of(hosted: HostedModel) -> Feed:
    """How far the file is read."""
    feed = hosted.status().feed
    assert feed is not None
    return feed


async def finish(folder: Path, batches: int) -> dict[str, Any]:
    """Send all batches again, of which at most the last is new, and read to the end."""
    async with hosting(folder, settings_of(folder.parent / "a.csv")) as hosted:
        for number in range(batches):
            await send(hosted, number)
        with anyio.fail_after(300):
            while feed_of(hosted).state == "reading":  # noqa: ASYNC110 - it takes its time
                await anyio.sleep(0.01)
        await until(lambda: not hosted.queued)
        status = hosted.status()
        assert status.feed is not None
    keys = ("accepted", "learned", "rejected")
    return {key: getattr(status, key) for key in keys} | {
        "feed": status.feed.state,
        "records": status.feed.records,
        "bits": left(folder),
    }


def killed(folder: Path, kills: int, seed: int, *, sending: bool) -> dict[str, Any]:
    """Kill so many times, then let it finish; and do the same once without a kill."""
    chance = random.Random(seed)
    (folder / "a.csv").write_text(text())
    said: list[dict[str, Any]] = []
    longest = 0.2
    for _ in range(kills):
        if not any(one.get("fed") for one in said):
            longest *= 2  # a busy machine needs longer until anything is read
        batches = 1 + max((one["batch"] for one in said if "batch" in one), default=-1)
        with forked(partial(live, sending), folder / "killed", batches) as (child, read):
            lines = os.read(read, 1 << 16)
            time.sleep(chance.uniform(0.0, longest))
            os.kill(child, signal.SIGKILL)
            while more := os.read(read, 1 << 16):
                lines += more
        said += [json.loads(line) for line in lines.splitlines(keepends=True) if line[-1:] == b"\n"]
    batches = 2 + max((one["batch"] for one in said if "batch" in one), default=-2)
    fed = [one["fed"] for one in said if "fed" in one]
    return {
        "batches": batches,
        "fed": fed,
        "killed": anyio.run(finish, folder / "killed", batches),
        "whole": anyio.run(finish, folder / "whole", batches),
    }


def compile_all(folder: Path) -> None:
    """Read a small file to its end: who is killed in the middle of compiling gets nowhere."""
    folder.mkdir()
    (folder / "a.csv").write_text("\n".join(text().splitlines()[:200]) + "\n")
    child = os.fork()  # since this process must have no threads when it forks others
    if child == 0:
        warm_up(Task.CLASSIFICATION, "float32")
        anyio.run(finish, folder / "model", 0)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


if __name__ == "__main__":
    compile_all(Path(sys.argv[3]) / "first")
    warm_up(Task.CLASSIFICATION, "float32")
    found = killed(
        Path(sys.argv[3]), int(sys.argv[1]), int(sys.argv[2]), sending="sending" in sys.argv
    )
    sys.stdout.write(json.dumps(found) + "\n")

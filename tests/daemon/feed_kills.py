"""Kills a hosted model at random instants while it reads a feed, and tells what is left.

Run as ``python -m tests.daemon.feed_kills KILLS SEED FOLDER [sending | SOURCE RECORDS]``: it
prints a line of JSON. With ``sending``, samples are sent besides, each under a key, until they are
acknowledged. SOURCE has the settings of a stream, as JSON, and under ``output`` those of outputs,
in which FOLDER stands for the name of the model's folder; without it a file is read.
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


def settings_of(folder: Path) -> ModelSettings:
    """Of a model that reads a file or stream, with small segments and many checkpoints."""
    named = folder.parent / "source.json"
    read: dict[str, Any] = {"files": [f"{folder.parent}/a.csv"]}
    if named.exists():
        read = json.loads(named.read_text().replace("FOLDER", folder.name))
    tables: dict[str, Any] = {
        "output": read.pop("output", {}),
        "source": {"target": "y", "max_rejected": 1.0, **read},
        "state": {"every_samples": 300, "every_seconds": 0.05},
        "intake": {"segment_bytes": 16_384, "publish_seconds": 0.02, "max_queued": 1500},
    }
    return ModelSettings.model_validate(TABLES | tables)


def text() -> str:
    """Of the file."""
    good = (f"{i % 7 / 7},{'uv'[i % 2]},{'abc'[i * i % 7 % 3]}" for i in range(RECORDS))
    lines = (f"{i}" if i % BAD == BAD - 1 else line for i, line in enumerate(good))
    return "x,w,y\n" + "".join(f"{line}\n" for line in lines)


def messages(count: int) -> list[bytes]:
    """The same records as messages."""
    good = (
        json.dumps({"x": i % 7 / 7, "w": "uv"[i % 2], "y": "abc"[i * i % 7 % 3]})
        for i in range(count)
    )
    return [(str(i) if i % BAD == BAD - 1 else one).encode() for i, one in enumerate(good)]


async def live(sending: bool, folder: Path, to: int, batch: int) -> None:
    """Learn, send from that batch on, and say what is there."""
    async with hosting(folder, settings_of(folder)) as hosted:
        for number in range(batch, 1_000_000):
            say(to, fed=feed_of(hosted).records)
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
    (feed,) = hosted.status().feeds
    return feed


async def finish(folder: Path, batches: int, records: int) -> dict[str, Any]:
    """Send all batches again, of which at most the last is new, and read so many records."""
    async with hosting(folder, settings_of(folder)) as hosted:
        for number in range(batches):
            await send(hosted, number)
        with anyio.fail_after(300):
            while feed_of(hosted).records < records:  # noqa: ASYNC110 - it takes its time
                await anyio.sleep(0.01)
        await until(lambda: not hosted.queued)
        status = hosted.status()
        (feed,) = status.feeds
    keys = ("accepted", "learned", "rejected")
    return {key: getattr(status, key) for key in keys} | {
        "failure": feed.failure,
        "records": feed.records,
        "bits": left(folder),
    }


def killed(
    folder: Path, kills: int, seed: int, records: int = RECORDS, *, sending: bool
) -> dict[str, Any]:
    """Kill so many times, then let it finish; and do the same once without a kill."""
    chance = random.Random(seed)
    said: list[dict[str, Any]] = []
    for number in range(kills):
        fed = max((one["fed"] for one in said if "fed" in one), default=0)
        batches = 1 + max((one["batch"] for one in said if "batch" in one), default=-1)
        with forked(partial(live, sending), folder / "killed", batches) as (child, read):
            # Every other one is killed once it has read on, however busy the machine is.
            lines = listen(read, fed if number % 2 else -1)
            time.sleep(chance.uniform(0.0, 0.3))
            os.kill(child, signal.SIGKILL)
            while more := os.read(read, 1 << 16):
                lines += more
        said += [json.loads(line) for line in lines.splitlines(keepends=True) if line[-1:] == b"\n"]
    batches = 2 + max((one["batch"] for one in said if "batch" in one), default=-2)
    fed = [one["fed"] for one in said if "fed" in one]
    return {
        "batches": batches,
        "fed": max(fed),
        "killed": anyio.run(finish, folder / "killed", batches, records),
        "whole": anyio.run(finish, folder / "whole", batches, records),
    }


def listen(read: int, fed: int) -> bytes:
    """What a process says until it has read more records than that."""
    lines = os.read(read, 1 << 16)
    while not any(json.loads(line).get("fed", -1) > fed for line in lines.split(b"\n")[:-1]):
        more = os.read(read, 1 << 16)
        assert more, "the process has ended"
        lines += more
    return lines


def compile_all(folder: Path) -> None:
    """Read a small file to its end: who is killed in the middle of compiling gets nowhere."""
    folder.mkdir()
    (folder / "a.csv").write_text("\n".join(text().splitlines()[:200]) + "\n")
    child = os.fork()  # since this process must have no threads when it forks others
    if child == 0:
        warm_up(Task.CLASSIFICATION, "float32")
        anyio.run(finish, folder / "model", 0, 199)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


if __name__ == "__main__":
    compile_all(Path(sys.argv[3]) / "first")
    warm_up(Task.CLASSIFICATION, "float32")
    own, (source, *records) = Path(sys.argv[3]), [*sys.argv[4:], ""]
    if source in ("", "sending"):
        (own / "a.csv").write_text(text())
        records = [str(RECORDS)]
    else:
        (own / "source.json").write_text(source)
    found = killed(
        own, int(sys.argv[1]), int(sys.argv[2]), int(records[0]), sending=source == "sending"
    )
    sys.stdout.write(json.dumps(found) + "\n")

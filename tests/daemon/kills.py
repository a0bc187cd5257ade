"""Kills a hosted model at random instants while samples come in, and tells what is left.

Run as ``python -m tests.daemon.kills KILLS SEED FOLDER``: it prints a line of JSON. Each life is
a fork of one process that has imported everything and compiled the kernels.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio

from streamnet.daemon.hosting.hosted_model import HostedModel
from streamnet.daemon.journal.shadows import ShadowPrediction
from streamnet.daemon.predictions import predict_nothing
from streamnet.durability.checkpoint import encode
from streamnet.durability.state_directory import StateDirectory
from streamnet.errors import ConfigurationError, ConflictError, NotReadyError
from streamnet.learning.warmup import warm_up
from streamnet.pipeline.rejections import STATE_DEAD_LETTERS
from streamnet.samples import Task
from tests.daemon.hosted_models import hosting, rows, settings_of, until

__all__ = ("BATCH", "forked", "killed", "left", "say")

BATCH = 7
CHANCES = {"a": 0.75, "b": 0.25}
SETTINGS = settings_of(
    evaluation={"interval": 0.8},
    state={"every_samples": 60, "every_seconds": 0.05},
    # In one segment, so that the whole journal is there at the end.
    intake={"segment_bytes": 1 << 30, "publish_seconds": 0.02},
)


def say(to: int, **what: Any) -> None:
    os.write(to, json.dumps(what).encode() + b"\n")


async def push(folder: Path, to: int, batch: int) -> None:
    """Send one batch after the other, from that number on, and say what was acknowledged.

    Behind each, a sample is predicted. Labels come before every third prediction, some later, and
    some at the end.
    """
    async with hosting(folder, SETTINGS) as hosted:
        generation = 0
        for number in range(batch, 1_000_000):
            receipt = await hosted.learn(rows(BATCH, BATCH * number), key=str(number))
            say(to, batch=number, first=receipt.first, duplicate=receipt.duplicate)
            await send_bad(hosted, number)
            with suppress(ConfigurationError, NotReadyError):  # before the class was learned
                await hosted.change_classes("c", "b")
            try:
                predictions = hosted.predict(rows(1, number))
            except NotReadyError:
                if not hosted.has_learned_nothing:
                    continue
                predictions = predict_nothing(1)
            assert predictions.generation >= generation
            generation = predictions.generation
            if number % 3 == 0:
                await hosted.label([(str(number), "a")])
            try:
                answers = await hosted.remember([str(number)], rows(1, number), predictions)
            except ConflictError:  # it was remembered, and its label there, right before a kill
                continue
            await hosted.shadow_predict("rival", [ShadowPrediction(str(number), None, CHANCES)])
            say(to, kept=number, generation=answers[0].generation, value=answers[0].value)
            if number % 3 == 1:
                await hosted.label([(str(number - 3 * (number % 4)), "a")])


async def send_bad(hosted: HostedModel, number: int) -> None:
    """Send two records that are rejected beside every tenth batch."""
    if number % 10 == 0:
        await hosted.learn(b"no JSON\n[7]\n", key=f"bad {number}", durable=False)


async def finish(folder: Path, batches: int, kept: list[int]) -> dict[str, Any]:
    """Send all batches again, of which at most the last is new; then the labels."""
    async with hosting(folder, SETTINGS) as hosted:
        for number in range(batches):
            await hosted.learn(rows(BATCH, BATCH * number), key=str(number), durable=False)
            await send_bad(hosted, number)
        await until(lambda: not hosted.queued)
        await hosted.change_classes("c", "b")
        given = [ShadowPrediction(str(number), None, CHANCES) for number in kept]
        posted = await hosted.shadow_predict("rival", given)
        outcomes = await hosted.label([(str(number), "a") for number in kept])
        # Those that were kept, though a kill came before anybody knew.
        assert hosted.model_run is not None
        unknown = list(hosted.model_run.committer.intake.pending._waiting)
        await hosted.label([(identity, "a") for identity in unknown])
        await until(lambda: is_learned(hosted))
        await until(lambda: hosted.status().scored == hosted.status().learned)
        status, classes = hosted.status(), hosted.classes() or []
        (shadow,) = hosted.shadows()
        scores = left_of_shadows(hosted)
    return {
        "merged": [one.label for one in classes if one.merged_into],
        "accepted": status.accepted,
        "joined": status.outcomes["joined"],
        "requested": status.requested,
        "outcomes": sorted(set(outcomes)),
        "rejected": status.rejected,
        "posted": sorted(set(posted)),
        "shadow": [shadow.scored + shadow.unscored, shadow.waiting, shadow.expired],
        "bits": (left(folder), left_of_rejected(folder), scores),
    }


def left_of_shadows(hosted: HostedModel) -> str:
    """A hash of all that is known of shadows."""
    assert hosted.model_run is not None
    values, scores = hosted.model_run.committer.intake.shadows.export_state()
    return sha256(json.dumps(values).encode() + encode(scores)).hexdigest()


def is_learned(hosted: HostedModel) -> bool:
    """Whether all that was accepted is learned or rejected."""
    status = hosted.status()
    return status.learned + status.rejected.get("json", 0) == status.accepted


def left_of_rejected(folder: Path) -> str:
    """A hash of all that is kept of rejected records."""
    newest = StateDirectory(folder / "state").generations.newest()
    assert newest is not None
    outputs = newest.tree["outputs"]
    text = (folder / "state" / STATE_DEAD_LETTERS).read_bytes()
    own = {**outputs["rejections"], "path": None}
    return sha256(encode({"journal": outputs["journal"], "own": own}) + text).hexdigest()


def left(folder: Path) -> str:
    """A hash of all bits of what did the learning."""
    newest = StateDirectory(folder / "state").generations.newest()
    assert newest is not None
    return sha256(encode(newest.tree["learner"])).hexdigest()


@contextmanager
def forked(
    live: Callable[[Path, int, int], Awaitable[None]], folder: Path, batch: int
) -> Iterator[tuple[int, int]]:
    """A process that lives there, such as `push`: its number, and where to read what it says."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        anyio.run(live, folder, write, batch)
        os._exit(1)
    os.close(write)
    try:
        yield child, read
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(read)


def killed(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """Kill so many times, then let it finish, and do the same once without a kill."""
    chance = random.Random(seed)
    said: list[dict[str, Any]] = []
    waits = []
    for _ in range(kills):
        batches = 1 + max((one["batch"] for one in said if "batch" in one), default=-1)
        with forked(push, folder / "killed", batches) as (child, read):
            start = time.monotonic()
            lines = os.read(read, 1 << 16)
            waits.append(time.monotonic() - start)
            deadline = time.monotonic() + chance.uniform(0.0, 0.6)
            while time.monotonic() < deadline:
                time.sleep(0.001)
            os.kill(child, signal.SIGKILL)
            while more := os.read(read, 1 << 16):
                lines += more
        said += [json.loads(line) for line in lines.splitlines(keepends=True) if line[-1:] == b"\n"]
    acknowledged = 1 + max(one["batch"] for one in said if "batch" in one)
    batches = acknowledged + 1  # of the next one nobody knows whether it was taken
    kept = sorted(one["kept"] for one in said if "kept" in one)
    ended = anyio.run(finish, folder / "killed", batches, kept)
    generations = [one["generation"] for one in said if "kept" in one]
    firsts = [one["first"] for one in said if "batch" in one]
    return {
        **ended,
        "batches": batches,
        "kept": len(kept),
        "in_order": firsts == sorted(set(firsts)) and len(firsts) == acknowledged,
        "monotone": generations == sorted(generations),
        "longest_wait": max(waits),
        "whole": anyio.run(whole, folder / "killed" / "journal", folder / "whole"),
    }


async def whole(journal: Path, folder: Path) -> tuple[str, str, str]:
    """The bits of a run that nobody disturbs, and that reads the same journal."""
    shutil.copytree(journal, folder / "journal")
    async with hosting(folder, SETTINGS) as hosted:
        await until(lambda: is_learned(hosted))
        await until(lambda: not hosted.queued)
        scores = left_of_shadows(hosted)
    return left(folder), left_of_rejected(folder), scores


if __name__ == "__main__":
    warm_up(Task.CLASSIFICATION, "float32")
    sys.stdout.write(
        json.dumps(killed(Path(sys.argv[3]), int(sys.argv[1]), int(sys.argv[2]))) + "\n"
    )

"""One stream under many circumstances: cut into blocks, in threads, with pauses, killed, gone on.

Run as ``python -m tests.durability.circumstances TASK SEED FOLDER``: it prints a line of JSON. The
population is the default one, with everything that decides by what it has seen: search, drift
detection, ensemble, lags and rehearsal.
"""

from __future__ import annotations

import json
import random
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from anyio import sleep
from anyio.lowlevel import checkpoint
from anyio.streams.memory import MemoryObjectSendStream

from streamnet.learning.warmup import warm_up
from streamnet.samples import Task
from streamnet.settings.run import RunSettings
from tests.durability.killed_runs import Killer, replay_here, settings_of

__all__ = ("BLOCK_SIZES", "THREADS")

BLOCK_SIZES, THREADS = (1, 7, 256, 4096), (1, 2)
Runs = Sequence[Callable[[], None]]
ROWS = 4000
CALLS = 60  # a kill falls on one of the first so many durable calls
CONFIG = """
source = {{files = "stream.csv", target = "y", task = "{task}", max_rejected = 0.5}}
run = {{round_size = 128, seed = 3, block_size = {block_size}, threads = {threads}}}
evaluation = {{window = 300}}
output = {{model = "model.json", predictions = "predictions.csv", report = "report.json"}}
state = {{dir = "state", every_samples = 300, models = 4}}
"""


def write_stream(task: Task, path: Path) -> None:
    """A stream whose rule turns round at 60 %, with a new word in its second half."""
    chance = random.Random(1)
    lines = ["x,z,colour,y"]
    for i in range(ROWS):
        x, z = chance.random(), chance.gauss(0, 1)
        colour = chance.choice("rgb" if i < ROWS // 2 else "rgbk")
        level = x - 0.5 if i < 0.6 * ROWS else -z
        number = f"{3 * level + (colour == 'g') + chance.gauss(0, 0.1):.4f}"
        label = "up" if (level > 0) != (colour == "g") else "down"
        y = number if task is Task.REGRESSION else label
        lines.append("broken" if i % 50 == 7 else f"{x:.4f},{z:.4f},{colour},{y}")
    path.write_text("\n".join(lines) + "\n")


def settings(task: Task, block_size: int, threads: int) -> RunSettings:
    return settings_of(CONFIG.format(task=task, block_size=block_size, threads=threads))


def unsteadily(seed: int, run: Callable[[], None]) -> None:
    """Run with pauses before what a stage sends to the next one; for a process of its own."""
    chance = random.Random(seed)
    real = MemoryObjectSendStream.send

    async def send(self: Any, item: Any) -> None:
        for _ in range(chance.randint(0, 3)):
            await checkpoint()
        if chance.random() < 0.02:
            await sleep(0.002 * chance.random())
        await real(self, item)

    MemoryObjectSendStream.send = send  # type: ignore[method-assign]
    run()


def without_circumstances(found: dict[str, Any]) -> dict[str, Any]:
    """What was left, less what only repeats the circumstances."""
    run = found["report"]["settings"]["run"]
    del run["block_size"], run["threads"], found["report"]["environment"]["threads"]
    return found


def differing(killer: Killer, name: str, runs: Runs, chance: Any) -> list[str]:
    """Kill all runs but the last at a durable call, each going on with the one before."""
    folder = killer.made(name)
    for run in runs:
        killer.run = run
        last = run is runs[-1]
        pid = killer.start(folder, None if last else chance.randint(5, CALLS))
        code = killer.wait(pid)
        killer.counts["kills"] += code == -signal.SIGKILL
        killer.counts["runs"] += 1
        assert code in ((0,) if last else (0, -signal.SIGKILL)), (folder / "errors.txt").read_text()
    found = killer.left(folder)
    names = {*found, *killer.expected}
    return sorted(name for name in names if found.get(name) != killer.expected.get(name))


def trials(task: Task, chance: random.Random) -> Iterator[tuple[str, Runs]]:
    """Names and runs: each circumstance undisturbed, and killed and gone on with under others."""
    cases = list(product(BLOCK_SIZES, THREADS))
    for case in cases:
        plain, *others = (
            partial(unsteadily, chance.getrandbits(32), partial(replay_here, settings(task, *c)))
            for c in (case, case, chance.choice(cases), chance.choice(cases))
        )
        yield f"{case}", [plain]
        yield f"{case} killed", others


def main(task: Task, seed: int, folder: Path) -> None:
    """Print what came of it."""
    warm_up(task)
    chance = random.Random(seed)
    killer = Killer(
        folder,
        seed,
        partial(replay_here, settings(task, 1024, 1)),
        write=partial(write_stream, task),
        less=without_circumstances,
    )
    wrong = {
        name: names
        for name, runs in trials(task, chance)
        if (names := differing(killer, name, runs, chance))
    }
    report = killer.expected["report"]
    sys.stdout.write(
        json.dumps(
            {
                **killer.counts,
                "differs": wrong,
                "task": report["task"],
                "drifts": report["drifts"],
                "replaced": sum(candidate["born"] > 0 for candidate in report["candidates"]),
                "rehearsing": any(c["settings"]["rehearsal"] for c in report["candidates"]),
                "resting": any(c.get("resting", False) for c in report["candidates"]),
                "with lags": any(c["settings"]["lags"] for c in report["candidates"]),
            }
        )
    )


if __name__ == "__main__":
    main(Task(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))

"""Kills real replays at random instants, lets them go on, and compares what they leave.

Run as ``python -m tests.durability.killed_runs KILLS SEED FOLDER [keyed]``: it prints a line of
JSON; a ``keyed`` one has a model for every key, of which few are in memory at a time, and late
labels. Each replay is a fork of one process that has imported everything and compiled the kernels,
so most of a replay's short life is spent on what is to be tested.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import anyio

from streamnet.durability.files import FileSystem
from streamnet.durability.state_directory import StateDirectory
from streamnet.learning.warmup import warm_up
from streamnet.runs.replay import Replay
from streamnet.samples import Task
from streamnet.settings.run import RunSettings, parse
from tests.durability.disks import DURABLE

__all__ = ("Killer", "left", "replay_here", "settings_of", "write_stream")

AT_A_CALL = 0.5  # of the kills fall on a durable call, one of the next so many
CALLS = 30
FEWEST, MOST = 3, 9  # kills of a replay before it is let alone
ROWS = 4000
CONFIG = """
source = {files = "stream.csv", target = "y", max_rejected = 0.5}
run = {round_size = 256, seed = 3, block_size = 200}
evaluation = {window = 300}
output = {model = "model.json", predictions = "predictions.csv", report = "report.json"}
state = {dir = "state", every_samples = 150, models = 4}
[population]
candidate = [
    {hidden = 8, optimizer = "sgd", learning_rate = 0.05},
    {hidden = 8, rehearsal = 2, memory = 50},
    {hidden = [8, 5], optimizer = "adam"},
    {hidden = 8, optimizer = "sgd", learning_rate = 1e6, activation = "relu"},
]
"""
KEYS = """
[keys]
key = ["colour"]
resident_keys = 2
"""


def settings_of(text: str = CONFIG) -> RunSettings:
    """The settings of a small run with everything in it: outputs, rehearsal, a bad candidate."""
    return parse(text)


def write_stream(path: Path, rows: int = ROWS) -> None:
    """A stream whose rule changes in the middle; one record in 50 is broken."""
    chance = random.Random(1)
    lines = ["x,z,colour,y"]
    for i in range(rows):
        x, z = chance.random(), chance.gauss(0, 1)
        colour = chance.choice("rgb")
        drifted = x > 0.5 if i < rows // 2 else z > 0
        label = "up" if drifted != (colour == "g") else "down"
        lines.append("broken" if i % 50 == 7 else f"{x:.4f},{z:.4f},{colour},{label}")
    path.write_text("\n".join(lines) + "\n")


def replay_here(settings: RunSettings | None = None) -> None:
    """Run, or go on, in the working directory."""
    run = Replay(settings or settings_of(), resume=True)
    anyio.run(run.run)


def left(folder: Path) -> dict[str, Any]:
    """All that a run left, less its times."""
    report = json.loads((folder / "report.json").read_text())
    for name in ("seconds", "startup_seconds", "samples_per_second"):
        del report[name]
    newest = StateDirectory(folder / "state").generations.newest()
    assert newest is not None
    files = ["model.json", "predictions.csv", "state/dead-letters.jsonl"]
    files += [f"state/models/{path.name}" for path in (folder / "state/models").iterdir()]
    return {
        "report": report,
        "ledger": newest.tree["ledger"]["value"],
        **{name: (folder / name).read_bytes() for name in sorted(files)},
    }


def die_at_call(number: int) -> None:
    """Let this process kill itself at a call that makes something durable."""
    calls = count()

    def dying(function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if next(calls) == number:
                if name == "write":
                    files, handle, data = arguments
                    function(files, handle, data[: len(data) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments)

        return call

    for name in DURABLE:
        setattr(FileSystem, name, dying(getattr(FileSystem, name), name))


class Killer:
    """Kills replays of one stream again and again.

    Args:
        folder: Where the replays' folders are made.
        seed: Decides when they are killed.
        run: What a child does in its folder.
        write: Makes the stream.
        less: Leaves out of what a run left what may differ.
    """

    def __init__(
        self,
        folder: Path,
        seed: int,
        run: Callable[[], None] = replay_here,
        *,
        write: Callable[[Path], None] = write_stream,
        less: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    ) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.run = run
        self._less = less
        self.stream = folder / "stream.csv"
        write(self.stream)
        start = time.monotonic()
        self.expected = self.whole()
        self.seconds = time.monotonic() - start

    def whole(self) -> dict[str, Any]:
        """What an uninterrupted run leaves."""
        folder = self.made("whole")
        assert self.wait(self.start(folder)) == 0, (folder / "errors.txt").read_text()
        return self.left(folder)

    def left(self, folder: Path) -> dict[str, Any]:
        """What a run left that has to be the same."""
        return self._less(left(folder))

    def made(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        shutil.copy(self.stream, folder)
        return folder

    def start(self, folder: Path, die_at: int | None = None) -> int:
        """Start a replay in a process of its own; its number.

        It kills itself at durable call ``die_at``, half of whose bytes are written before.
        """
        pid = os.fork()
        if pid:
            return pid
        code = 3
        try:
            os.chdir(folder)
            if die_at is not None:
                die_at_call(die_at)
            with (folder / "errors.txt").open("w") as errors:
                os.dup2(errors.fileno(), 2)
            self.run()
            code = 0
        except BaseException:  # noqa: BLE001 - a child must not go on as its parent
            sys.excepthook(*sys.exc_info())
            sys.stderr.flush()
        finally:
            os._exit(code)

    def wait(self, pid: int) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def kill_once(self, folder: Path) -> bool:
        """Kill a replay at a random instant; whether it had not ended before."""
        if self.random.random() < AT_A_CALL:
            pid = self.start(folder, self.random.randint(0, CALLS))
        else:
            pid = self.start(folder)
            longest = self.random.choice([0.25, 0.6, 1.0]) * self.seconds
            time.sleep(longest * self.random.random())
            os.kill(pid, signal.SIGKILL)
        code = self.wait(pid)
        assert code in (-signal.SIGKILL, 0), (folder / "errors.txt").read_text()
        self.counts["kills"] += code != 0
        self._note_phase(folder)
        return code != 0

    def _note_phase(self, folder: Path) -> None:
        checkpoints = folder / "state" / "checkpoints"
        names = [p.name for p in checkpoints.iterdir()] if checkpoints.is_dir() else []
        if not any(name.endswith(".checkpoint") for name in names):
            self.counts["before the first checkpoint"] += 1
        if any(name.endswith(".part") for name in names):
            self.counts["within a checkpoint"] += 1

    def trial(self) -> list[str]:
        """Kill a replay some times, let it end, and tell what differs from an uninterrupted one."""
        folder = self.made(f"trial{self.counts['trials']}")
        self.counts["trials"] += 1
        for _ in range(self.random.randint(FEWEST, MOST)):
            self.kill_once(folder)
        assert self.wait(self.start(folder)) == 0, (folder / "errors.txt").read_text()
        found = self.left(folder)
        names = sorted({*found, *self.expected})
        wrong = [name for name in names if found.get(name) != self.expected.get(name)]
        if not wrong:
            shutil.rmtree(folder)
        return wrong


def main(kills: int, seed: int, folder: Path, kind: str = "") -> None:
    """Print what came of so many kills, or of more until one fell within a checkpoint."""
    warm_up(Task.CLASSIFICATION)
    text = CONFIG
    if kind == "keyed":
        late = "window = 300, label_delay = 120, interval = 0.8"
        text = CONFIG.replace("window = 300", late) + KEYS
    settings = settings_of(text)
    killer = Killer(folder, seed, partial(replay_here, settings))
    wrong: list[str] = []
    counts = killer.counts
    while (counts["kills"] < kills or not counts["within a checkpoint"]) and not wrong:
        wrong = killer.trial()
    sys.stdout.write(json.dumps({**killer.counts, "differs": wrong, "seconds": killer.seconds}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])

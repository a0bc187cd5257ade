"""Runs of the command over a stream that is still being written, killed at random instants."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from streamnet.durability.state_directory import StateDirectory
from tests.processes import environment
from tests.sources.brokers.servers import wait_until

RUN_FILE = """
[source]
target = "y"
follow = true

[source.{broker}]
{settings}

[population]
hidden = ["8", "linear"]

[output]
predictions = "{predictions}"

[state]
dir = "state"
every_samples = 500
every_seconds = 0.1
"""


def write_samples(count: int, seed: int = 1) -> list[bytes]:
    """JSON messages whose rule changes in the middle; some are poison."""
    chance = random.Random(seed)
    found = []
    for i in range(count):
        x, z = chance.random(), chance.gauss(0, 1)
        up = x > 0.5 if i < count // 2 else z > 0
        row = {
            "id": i,
            "x": round(x, 4),
            "z": round(z, 4),
            "c": chance.choice("rgb"),
            "y": "ab"[up],
        }
        found.append(f"poison {i}".encode() if i % 97 == 5 else json.dumps(row).encode())
    return found


class Run:
    """``streamnet run`` in a folder of its own."""

    def __init__(
        self, folder: Path, broker: str, settings: str, predictions: str = "predictions.jsonl"
    ) -> None:
        folder.mkdir()
        self.folder = folder
        text = RUN_FILE.format(broker=broker, settings=settings, predictions=predictions)
        (folder / "run.toml").write_text(text)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or go on where it was."""
        with (self.folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streamnet", "run", "run.toml", "--quiet"],
                cwd=self.folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def records(self) -> int:
        """Records before its newest checkpoint."""
        tree = self.checkpoint()
        return 0 if tree is None else int(tree["reading"]["records"])

    def checkpoint(self) -> dict[str, Any] | None:
        """What its newest checkpoint holds."""
        if not (self.folder / "state").is_dir():
            return None
        newest = StateDirectory(self.folder / "state").generations.newest()
        return None if newest is None else newest.tree

    def wait_for(self, records: int, seconds: float = 240.0) -> None:
        """Wait until so many records are in a checkpoint."""
        assert self.process is not None

        def reached() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "log.txt").read_text()
            time.sleep(0.1)
            return self.records() >= records

        try:
            wait_until(reached, f"{records} records in a checkpoint", seconds)
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """Kill it with no chance to tidy up."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> float:
        """Stop it as a service manager does; return the seconds that it took."""
        assert self.process is not None
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        assert code == 128 + signal.SIGTERM, (self.folder / "log.txt").read_text()
        return time.monotonic() - begun

    def predictions(self) -> list[dict[str, Any]]:
        """The predictions in its file."""
        lines = (self.folder / "predictions.jsonl").read_bytes().splitlines()
        return [json.loads(line) for line in lines]

    def left(self) -> dict[str, Any]:
        """All that it learned and wrote."""
        tree = self.checkpoint()
        assert tree is not None
        return {
            **{name: describe(tree[name]) for name in ("learner", "ledger", "limit", "emitted")},
            "letters": (self.folder / "state" / "dead-letters.jsonl").read_bytes(),
        }


def find_disorder(numbers: Sequence[int]) -> str:
    """Where numbers do not count from 0; empty if they do."""
    wrong = next((i for i, number in enumerate(numbers) if number != i), None)
    return "" if wrong is None else f"{wrong} of {len(numbers)}: {numbers[wrong - 1 : wrong + 3]}"


def describe(value: Any) -> Any:
    """A part of a checkpoint as text, numbers to the bit."""
    if isinstance(value, dict):
        return {name: describe(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [describe(inner) for inner in value]
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    return repr(value)


def trickle(
    produce: Callable[[Sequence[bytes]], None], messages: Sequence[bytes], rate: float
) -> threading.Thread:
    """Write messages from another thread, so many a second."""

    def write() -> None:
        for start in range(0, len(messages), 200):
            produce(messages[start : start + 200])
            time.sleep(200 / rate)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    return thread


def assert_kills_change_nothing(
    tmp_path: Path,
    broker: str,
    settings: str,
    produce: Callable[[Sequence[bytes]], None],
    *,
    kills: int,
    count: int,
    sink: str,
    read_sink: Callable[[], list[dict[str, Any]]],
    disturb: Callable[[int], None] = lambda _: None,
) -> None:
    """A run that is killed again and again leaves what an undisturbed one leaves, and sends each
    prediction once, in order.
    """
    messages = write_samples(count)
    produce(messages[:1500])  # from which both infer the same columns
    killed = Run(tmp_path / "killed", broker, settings, sink)
    writing = trickle(produce, messages[1500:-500], rate=count / (2.0 * kills))
    chance = random.Random(7)
    for number in range(kills):
        before = killed.records()
        killed.start()
        killed.wait_for(min(before + 1, count - 500))
        disturb(number)
        time.sleep(chance.random() * 0.3)
        killed.kill()
    writing.join()
    killed.start()
    produce(messages[-500:])
    killed.wait_for(count)
    assert killed.stop() < 10.0  # a poll takes 0.2 s; the rest is for busy machines
    undisturbed = Run(tmp_path / "undisturbed", broker, settings)
    undisturbed.start()
    undisturbed.wait_for(count)
    undisturbed.stop()
    one, other = killed.left(), undisturbed.left()
    assert one.keys() == other.keys()
    for name in one:
        assert one[name] == other[name], name
    written, sent = undisturbed.predictions(), read_sink()
    assert len(written) == count - len(one["letters"].splitlines())
    numbers = [row.pop("number") for row in sent]
    assert not (disorder := find_disorder(numbers)), disorder
    assert len(numbers) == len(written), (len(numbers), len(written))
    generations = [row.pop("generation") for row in sent]
    assert generations == sorted(generations)
    assert generations[-1] > 0
    assert sent == written

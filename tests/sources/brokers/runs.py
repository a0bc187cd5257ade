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

    @property
    def state(self) -> Path:
        """Its state directory."""
        return self.folder / "state"

    def records(self) -> int:
        """Records before its newest checkpoint."""
        return count_records(self.state)

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
        return describe_left(self.state)


def load_newest(state: Path) -> dict[str, Any] | None:
    """What the newest checkpoint in a state directory holds; None if there is none."""
    if not state.is_dir():
        return None
    newest = StateDirectory(state).generations.newest()
    return None if newest is None else newest.tree


def count_records(state: Path) -> int:
    """Records before the newest checkpoint in a state directory."""
    tree = load_newest(state)
    return 0 if tree is None else int(tree["reading"]["records"])


def describe_left(state: Path) -> dict[str, Any]:
    """All that a run has learned and written in its state directory."""
    tree = load_newest(state)
    assert tree is not None
    return {
        **{name: describe(tree[name]) for name in ("learner", "ledger", "limit", "emitted")},
        "letters": (state / "dead-letters.jsonl").read_bytes(),
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
) -> None:
    """A run that is killed again and again leaves what an undisturbed one leaves, and sends each
    prediction once, in order.
    """
    messages = write_samples(count)
    produce(messages[:1500])  # from which both infer the same columns
    killed = Run(tmp_path / "killed", broker, settings, sink)
    writing = trickle(produce, messages[1500:-500], rate=count / (2.0 * kills))
    chance = random.Random(7)
    for _ in range(kills):
        before = killed.records()
        killed.start()
        killed.wait_for(min(before + 1, count - 500))
        time.sleep(chance.random() * 0.3)
        killed.kill()
    writing.join()
    killed.start()
    produce(messages[-500:])
    killed.wait_for(count)
    assert killed.stop() < 10.0  # a poll takes 0.2 s; the rest is for busy machines
    assert_same_as_undisturbed(killed, tmp_path / "undisturbed", broker, settings, read_sink())


def assert_kills_of_the_server_change_nothing(
    tmp_path: Path,
    broker: str,
    settings: str,
    produce: Callable[[Sequence[bytes]], None],
    *,
    end_server: Callable[[], None],
    start_server: Callable[[], None],
    sink: str,
    read_sink: Callable[[], list[dict[str, Any]]],
    kills: int = 5,
    count: int = 10_000,
) -> None:
    """A run whose server ends again and again leaves what an undisturbed one leaves; it is the same
    process all the time.
    """
    messages = write_samples(count)
    step = (count - 1500) // kills
    produce(messages[:1500])
    run = Run(tmp_path / "run", broker, settings, sink)
    run.start()
    run.wait_for(1500)
    chance = random.Random(3)
    for start in range(1500, count - step + 1, step):
        produce(messages[start : start + step])
        time.sleep(chance.random() * 0.2)
        end_server()
        time.sleep(chance.random() * 0.5)
        start_server()
    produce(messages[1500 + kills * step :])
    run.wait_for(count)
    run.stop()
    assert_same_as_undisturbed(run, tmp_path / "undisturbed", broker, settings, read_sink())


def assert_same_as_undisturbed(
    run: Run, folder: Path, broker: str, settings: str, sent: list[dict[str, Any]]
) -> None:
    """A run has left what an undisturbed one over the same stream leaves, and has sent the
    predictions that the other one writes, each once and in order.
    """
    count = run.records()
    undisturbed = Run(folder, broker, settings)
    undisturbed.start()
    undisturbed.wait_for(count)
    undisturbed.stop()
    assert_equal_states(run.left(), undisturbed.left())
    assert_equal_predictions(sent, undisturbed.predictions())


def assert_equal_states(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Two runs have left the same."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert value == other[name], name


def assert_equal_predictions(sent: list[dict[str, Any]], written: list[dict[str, Any]]) -> None:
    """A sink has the predictions of a file, each once and in order."""
    numbers = [row.pop("number") for row in sent]
    assert not (disorder := find_disorder(numbers)), disorder
    assert len(numbers) == len(written), (len(numbers), len(written))
    generations = [row.pop("generation") for row in sent]
    assert generations == sorted(generations)
    assert generations[-1] > 0
    assert sent == written

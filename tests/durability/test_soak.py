"""A long run with faults now and then: nothing grows, and nothing is lost."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import numpy as np
import pytest
from numpy.typing import NDArray

from streamnet.durability.files import FileSystem
from streamnet.durability.state_directory import StateDirectory
from streamnet.learning.serving import Served
from streamnet.pipeline import Pipeline, Rejections
from streamnet.pipeline.state import State
from streamnet.samples import Block, DeadLetter, Field, Kind, Position, Schema, Task
from streamnet.sources import Source
from tests.conftest import Counted
from tests.durability.disks import DURABLE
from tests.learning.streams import candidate

SIZE = 4096
SCHEMA = Schema(tuple(Field(name, Kind.NUMBER) for name in "abcd"), "y", Task.CLASSIFICATION)


class Endless(Source):
    """The same block again and again, with a rejected record in each."""

    def __init__(self, samples: int) -> None:
        self.left = samples // SIZE
        self.given = 0
        chance = np.random.default_rng(1)
        self._numbers = chance.normal(size=(SIZE, 4))
        names = np.array(["up", "down"], object)
        self._target = names[(self._numbers[:, 0] > self._numbers[:, 1]).astype(int)]

    async def open(self, after: Position | None = None) -> Schema:
        return SCHEMA

    async def receive(self) -> Block | None:
        if self.left == 0:
            return None
        self.left -= 1
        places = np.arange(self.given, self.given + SIZE + 1)
        self.given += SIZE + 1
        places[-1] += 1  # behind the rejected one
        letter = DeadLetter("endless", int(places[-1]) - 1, None, "arity", "broken", "raw")
        marks = np.stack((places, places, np.zeros_like(places)), axis=1)
        return Block(SCHEMA, "endless", self._numbers, (), self._target, marks, rejected=(letter,))


class Weather:
    """Lets the disk fail for a fifth of the time, in one way after the other.

    Not before the first block: what can't begin to keep a state ends, and that takes as long as
    kernels take to be there.
    """

    def __init__(self, period: float) -> None:
        self.period = period
        self.begun: float | None = None
        self.faults: set[int] = set()

    def __call__(self, served: Served) -> None:
        if self.begun is None:
            self.begun = monotonic()

    def check(self) -> None:
        if self.begun is None:
            return
        turn, part = divmod(monotonic() - self.begun, self.period)
        if turn and part < self.period / 5:
            self.faults.add(int(turn))
            raise OSError((28, 5, 30)[int(turn) % 3], "weather")


def under(weather: Weather, files: FileSystem) -> FileSystem:
    """The same files, of which durable calls fail when the weather is bad."""

    class Exposed(type(files)):  # type: ignore[misc]
        pass

    for name in DURABLE:
        real = getattr(files, name)

        def call(_: Any, *arguments: Any, real: Any = real) -> Any:
            weather.check()
            return real(*arguments)

        setattr(Exposed, name, call)
    exposed: FileSystem = Exposed()
    return exposed


class Probe:
    """Notes now and then what the process uses."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.rows: list[tuple[int, int, int, int]] = []
        self._next = 0

    def __call__(self, served: Served) -> None:
        number = served.predicted.first
        if number >= self._next:
            self._next += self.every
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names, not paths
            self.rows.append((number, pages * 4096, files, threading.active_count()))

    def settled(self) -> NDArray[np.float64]:
        """The rows of the second half."""
        return np.array(self.rows[len(self.rows) // 2 :], np.float64)


def soaked(folder: Path, samples: int, period: float) -> tuple[Probe, Pipeline, Weather]:
    weather = Weather(period)
    state = State(folder / "state", every_seconds=period / 10)
    files = under(weather, type(state.folder.files)())
    state = State(folder / "state", every_seconds=period / 10, files=files)
    probe = Probe(samples // 100)
    pipeline = Pipeline(
        Endless(samples),
        candidates=[candidate(), candidate(learning_rate=1e6, optimizer="sgd", activation="relu")],
        rejections=Rejections(folder / "rejected.jsonl"),
        sinks=[weather, probe],
        state=state,
    )
    anyio.run(pipeline.run)
    return probe, pipeline, weather


def check(folder: Path, pipeline: Pipeline, samples: int) -> None:
    report = pipeline.report()
    assert report["learned"] == samples // SIZE * SIZE
    assert report["rejected"] == samples // SIZE
    newest = StateDirectory(folder / "state").generations.newest()
    assert newest is not None
    assert newest.tree["reading"]["number"] == report["learned"]
    assert len((folder / "rejected.jsonl").read_text().splitlines()) == report["rejected"]


@pytest.mark.filterwarnings("ignore")
def test_a_short_soak(tmp_path: Path, counted: Counted) -> None:
    samples = 1_500_000
    probe, pipeline, weather = soaked(tmp_path, samples, 0.2)
    check(tmp_path, pipeline, samples)
    assert weather.faults
    used = probe.settled()
    assert np.ptp(used[:, 2]) <= 6
    assert np.ptp(used[:, 3]) <= 6
    counted("soak", pipeline.report()["learned"], [1])


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_long_soak(tmp_path: Path, counted: Counted) -> None:
    samples = 60_000_000
    probe, pipeline, weather = soaked(tmp_path, samples, 5.0)
    check(tmp_path, pipeline, samples)
    used = probe.settled()
    millions = used[:, 0] / 1e6
    growth = np.polyfit(millions, used[:, 1], 1)[0]  # bytes for each million samples
    assert len(weather.faults) > 5
    assert growth * 10 < 0.02 * used[:, 1].mean()
    for column in (2, 3):
        assert abs(np.polyfit(millions, used[:, column], 1)[0]) < 0.1
    counted("soak", pipeline.report()["learned"], [1])

"""Memory of a long run: resident megabytes while millions of generated samples are learned.

    python -m tests.benchmarks.memory [MILLIONS]

Prints a line for each million samples and the slope after the first one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import anyio
import numpy as np

from streamnet.learning.serving import Served
from streamnet.pipeline import Pipeline
from streamnet.samples import Block, Field, Kind, Position, Schema, Task
from streamnet.sources import Source

BLOCK = 8192
MILLION = 1_000_000


class Generated(Source):
    """Numbers, a small whole number, a category of many values, and a label that drifts."""

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.given = 0
        fields = [Field(f"x{i}", Kind.NUMBER) for i in range(6)]
        fields += [Field("day", Kind.NUMBER), Field("name", Kind.CATEGORY)]
        self.schema = Schema(tuple(fields), "y", Task.CLASSIFICATION)

    async def open(self, after: Position | None = None) -> Schema:
        return self.schema

    async def receive(self) -> Block | None:
        n = min(BLOCK, self.samples - self.given)
        if n <= 0:
            return None
        rng = np.random.default_rng(self.given)
        numbers = rng.normal(size=(n, 7))
        numbers[:, 6] = rng.integers(0, 7, n)
        names = np.array([f"n{i}" for i in rng.zipf(1.3, n) % 1_000_000], object)
        turn = np.cos(self.given / MILLION)
        label = (numbers[:, 0] * turn + numbers[:, 1] > 0).astype(int)
        marks = np.zeros((n + 1, 3), np.int64)
        marks[:, 0] = marks[:, 1] = np.arange(self.given, self.given + n + 1)
        self.given += n
        target = np.array(["no", "yes"], object)[label]
        return Block(self.schema, "generated", numbers, (names,), target, marks)


def resident() -> float:
    """Megabytes that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


class Meter:
    """A sink that notes the memory at each million samples."""

    def __init__(self) -> None:
        self.samples = 0
        self.figures: list[float] = []

    def __call__(self, served: Served) -> None:
        self.samples += len(served.serials)
        if self.samples >= (len(self.figures) + 1) * MILLION:
            self.figures.append(resident())
            print(f"{len(self.figures)} million samples: {self.figures[-1]:.1f} MiB", flush=True)

    def describe(self) -> str:
        """The slope."""
        slope = np.polyfit(np.arange(len(self.figures)), self.figures, 1)[0]
        return f"slope after the first million: {slope:.2f} MiB per million samples"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("millions", type=int, nargs="?", default=5, help="of samples; 5 by default")
    millions = parser.parse_args().millions
    meter = Meter()
    anyio.run(Pipeline(Generated(millions * MILLION), sinks=[meter]).run)
    print(meter.describe())


if __name__ == "__main__":
    main()

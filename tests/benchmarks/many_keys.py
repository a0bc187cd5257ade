"""Models of very many keys: memory, time a sample, checkpoints, and the start from one.

    python -m tests.benchmarks.many_keys [--keys 1000000] [--resident 100000] [--changed 10000]

Samples of 8 numbers have keys in random order, after one of each key. Then some keys change between
two checkpoints, and another learner starts from the last one. Times are those of the clock, beside
processor time; checkpoints are in a folder of `--folder`, by default where temporary files are.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import numpy as np
from numpy.typing import NDArray

from streamnet.durability.state_directory import Generations
from streamnet.learning.learner import Learner, list_row_files
from streamnet.samples import Block, Field, Kind, Schema, Task
from tests.benchmarks.memory import resident

FEATURES, BLOCK = 8, 1024
FIELDS = (Field("device", Kind.CATEGORY), *(Field(f"x{i}", Kind.NUMBER) for i in range(FEATURES)))
SCHEMA = Schema(FIELDS, "y", Task.REGRESSION)


def make_block(numbers: NDArray[np.int64], rng: np.random.Generator) -> Block:
    """Samples of devices, each with a level of its own."""
    x = rng.normal(size=(len(numbers), FEATURES))
    names = np.array([f"device-{number:07}" for number in numbers.tolist()], object)
    target = x.sum(axis=1) + numbers % 100 + rng.normal(size=len(numbers))
    marks = np.zeros((len(numbers) + 1, 3), np.int64)
    return Block(SCHEMA, "generated", x, (names,), target, marks)


def learn(learner: Learner, numbers: NDArray[np.int64], rng: np.random.Generator) -> None:
    """Learn a sample of each of these devices, and print what one took."""
    blocks = [
        make_block(part, rng) for part in np.split(numbers, range(BLOCK, len(numbers), BLOCK))
    ]
    begun, spent = perf_counter(), process_time()
    for block in blocks:
        learner.learn(block)
    seconds, spent = perf_counter() - begun, process_time() - spent
    peak = getrusage(RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{len(numbers):9,} samples: {seconds / len(numbers) * 1e6:6.1f} µs each "
        f"({spent / len(numbers) * 1e6:.1f} of the processor), {resident():.0f} MiB, "
        f"at most {peak:.0f}",
        flush=True,
    )


def measure(what: str, action: Callable[[], None]) -> None:
    """Print how long an action takes."""
    begun, spent = perf_counter(), process_time()
    action()
    seconds, spent = perf_counter() - begun, process_time() - spent
    print(f"{what}: {seconds:.2f} s ({spent:.2f} of the processor)", flush=True)


def save(learner: Learner, generations: Generations) -> None:
    """Write a checkpoint."""
    begun = perf_counter()
    state = learner.export_state()
    waited = perf_counter() - begun
    generations.save({"learner": state, "row_files": list_row_files(state)})
    print(f"  learning waits {waited:.2f} s; {generations.written / 2**20:.0f} MiB", flush=True)


def main() -> None:
    """Learn, change, save and start."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--resident", type=int, default=100_000)
    parser.add_argument("--changed", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=200_000)
    parser.add_argument("--folder")
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    settings = {"key": ("device",), "resident_keys": given.resident, "seed": 0}
    with TemporaryDirectory(dir=given.folder) as folder:
        generations = Generations(Path(folder) / "checkpoints")
        learner = Learner(task=Task.REGRESSION, **settings)
        learner.keep_rows_in(generations.rows)
        learn(learner, np.arange(BLOCK), rng)
        learn(learner, np.arange(given.keys), rng)
        learn(learner, rng.integers(0, given.keys, given.samples), rng)
        measure("the first checkpoint", lambda: save(learner, generations))
        for _ in range(3):
            learn(learner, rng.integers(0, given.keys, given.changed), rng)
            measure(f"one of {given.changed:,} changed samples", lambda: save(learner, generations))
        again = Learner(task=Task.REGRESSION, **settings)
        again.keep_rows_in(Generations(generations.folder).rows)

        def start() -> None:
            newest = Generations(generations.folder).newest()
            assert newest is not None
            again.restore_state(newest.tree["learner"])

        measure(f"the start with {given.keys:,} known keys", start)
        learn(again, rng.integers(0, given.keys, given.changed), rng)


if __name__ == "__main__":
    main()

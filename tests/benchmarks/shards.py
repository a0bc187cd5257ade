"""What a population costs on shards, in processor time: python -m tests.benchmarks.shards --help.

Candidates are those of the default population, over and over with other learning rates. Each
population learns the same blocks in one process and on shards, in turn; the times are those of the
driver and of all processes that it has started, without their start.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from streamnet.executors import open_executor
from streamnet.learning.learner import Learner
from streamnet.samples import Block, Field, Kind, Schema, Task
from streamnet.selection.search import default_population
from streamnet.settings.candidate import CandidateSettings
from streamnet.shards import ShardedLearner

BLOCK = 1024
WARM = 6  # blocks before those that are measured
_TICKS = os.sysconf("SC_CLK_TCK")


def make_candidates(count: int) -> list[CandidateSettings]:
    """As many candidates, each with another learning rate."""
    base = default_population()
    factors = np.geomspace(0.5, 2.0, -(-count // len(base)))
    return [
        replace(one, learning_rate=one.learning_rate * float(factor))
        for factor in factors
        for one in base
    ][:count]


def make_blocks(task: Task, count: int, features: int = 8) -> list[Block]:
    """A stream of numbers that can be learned."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(count * BLOCK, features))
    score = numbers[:, 0] * numbers[:, 1] + numbers[:, 2]
    target = score if task is Task.REGRESSION else np.where(score > 0, "a", "b").astype(object)
    schema = Schema(tuple(Field(f"x{i}", Kind.NUMBER) for i in range(features)), "y", task)
    marks = np.repeat(np.arange(len(numbers) + 1)[:, np.newaxis], 3, axis=1)
    whole = Block(schema, "made", numbers, (), target, marks)
    return [whole.part(start, start + BLOCK) for start in range(0, len(numbers), BLOCK)]


def read_seconds(path: Path) -> tuple[int, float]:
    """The parent of a process, and its processor time."""
    fields = (path / "stat").read_text().rpartition(")")[2].split()
    return int(fields[1]), (int(fields[11]) + int(fields[12])) / _TICKS


def measure_processes() -> tuple[float, float]:
    """Processor seconds of this process so far, and of those that it has started."""
    found: dict[int, tuple[int, float]] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                found[int(path.name)] = read_seconds(path)
            except OSError:
                continue  # it has ended
    mine, others = {os.getpid()}, 0.0
    for _ in range(8):  # generations
        mine |= {pid for pid, (parent, _) in found.items() if parent in mine}
    for pid in mine - {os.getpid()}:
        others += found[pid][1]
    return sum(os.times()[:2]), others


def learn(learner: Learner, blocks: Sequence[Block]) -> None:
    """Learn blocks, each of them a round."""
    for block in blocks:
        learner.learn(block, ends_round=True)


def measure(learner: Learner, blocks: Sequence[Block]) -> tuple[float, float]:
    """Milliseconds a block of this process, and of the others."""
    learn(learner, blocks[:WARM])
    before = measure_processes()
    learn(learner, blocks[WARM:])
    after = measure_processes()
    here, there = (
        1000 * (b - a) / (len(blocks) - WARM) for a, b in zip(before, after, strict=True)
    )
    return here, there


def main() -> None:
    """Measure, and print a row for each number of candidates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, nargs="+", default=[23, 64, 256, 512])
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--executor", default="processes", choices=["processes", "ray"])
    parser.add_argument("--task", type=Task, default=Task.CLASSIFICATION)
    parser.add_argument("--blocks", type=int, default=40)
    parser.add_argument("--features", type=int, default=8)
    given = parser.parse_args()
    blocks = make_blocks(given.task, WARM + given.blocks, given.features)
    print("candidates  one process  all with shards  ratio  driver's share   (ms a block of 1,024)")
    with open_executor(given.executor, given.shards) as executor:
        for count in given.candidates:
            candidates = make_candidates(count)
            alone = Learner(task=given.task, candidates=candidates)
            one = measure(alone, blocks)[0]
            learner = Learner(task=given.task, candidates=candidates)
            with ShardedLearner(learner, given.shards, executor):
                here, there = measure(learner, blocks)
            total = here + there
            ratios = f"{total / one:5.2f}  {here / total:14.1%}"
            print(f"{count:10d}  {one:11.1f}  {total:15.1f}  {ratios}", flush=True)


if __name__ == "__main__":
    main()

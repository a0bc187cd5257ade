"""Samples per second of whole replays, start-up, and what one sample costs in the library.

    python -m tests.benchmarks.end_to_end FILE.csv TARGET [--runs N]

Each replay is a process of its own; medians of several runs are printed, of all and of those that
nobody else on the machine seems to have disturbed. With an empty folder as
XDG_CACHE_HOME the very first start is one that compiles. FILE is any data file, for instance
Electricity; the library part makes its own samples.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import process_time
from typing import NamedTuple

import streamnet
from tests.benchmarks.pace import QUIET, pace

SAMPLES = 5000  # of the library part


class Run(NamedTuple):
    """One replay."""

    rate: float
    startup: float
    served: float
    pace: float  # the slower one of before and after


def replays(runs: int, file: str, target: str, *options: str) -> list[Run]:
    made = []
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        for _ in range(runs):
            command = [sys.executable, "-m", "streamnet", "replay", file, "--target", target]
            command += [*options, "--quiet", "--report", str(report)]
            before = pace()
            subprocess.run(command, check=True)
            slower = max(before, pace())
            told = json.loads(report.read_text())
            served = next(iter(told["served"].values()))
            made.append(Run(told["samples_per_second"], told["startup_seconds"], served, slower))
    startup = statistics.median(run.startup for run in made)
    print(
        f"{_name(options):45} {_spread(made)}, started in {made[0].startup:.2f} s at first, "
        f"{startup:.2f} s, served {made[0].served:.4f}",
        flush=True,
    )
    return made


def _name(options: Sequence[str]) -> str:
    return " ".join(options) or "defaults"


def _spread(runs: Sequence[Run]) -> str:
    """The median of the rates, and their range."""
    rates = [run.rate for run in runs]
    return f"{statistics.median(rates):10,.0f}/s ({min(rates):,.0f} to {max(rates):,.0f})"


def undisturbed(made: Mapping[str, Sequence[Run]]) -> None:
    """The same of those runs during which the machine was about as quick as it ever was."""
    quickest = min(run.pace for runs in made.values() for run in runs)
    print(f"\nundisturbed: a loop before and after took less than {QUIET} times its quickest")
    for name, runs in made.items():
        quiet = [run for run in runs if run.pace < QUIET * quickest]
        told = _spread(quiet) if quiet else "none"
        print(f"{name:45} {told}, {len(quiet)} of {len(runs)} runs")


def one_by_one(runs: int) -> None:
    candidates = [
        streamnet.CandidateSettings(hidden=(16,), optimizer="sgd", learning_rate=0.01 * (1 + i))
        for i in range(16)
    ]
    chance = random.Random(1)  # numbers of few values would be categories besides, and not 8 inputs
    rows = [({f"f{j}": chance.random() for j in range(8)}, i % 3) for i in range(SAMPLES)]
    classifier = streamnet.OnlineClassifier(candidates, seed=0)
    for x, y in rows[:200]:
        classifier.predict_one(x)
        classifier.learn_one(x, y)
    times = []
    for _ in range(runs):
        start = process_time()
        for x, y in rows:
            classifier.predict_one(x)
            classifier.learn_one(x, y)
        times.append((process_time() - start) / SAMPLES * 1e6)
    median = statistics.median(times)
    print(f"predict_one + learn_one, 16 candidates 8-16-3: {median:.1f} us a sample")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", help="a data file, for instance Electricity")
    parser.add_argument("target", help="its column to predict")
    parser.add_argument("--runs", type=int, default=5, help="of each; medians are told")
    given = parser.parse_args()
    made = {}
    for options in ("", "--threads 1", "--candidates 1 --hidden 20 --optimizer sgd"):
        parts = options.split()
        made[_name(parts)] = replays(given.runs, given.file, given.target, *parts)
    one_by_one(given.runs)
    undisturbed(made)


if __name__ == "__main__":
    main()

"""Samples per second of whole replays, start-up, and what one sample costs in the library.

    python -m tests.benchmarks.end_to_end FILE.csv TARGET

Each replay is a process of its own; medians of several runs are printed. With an empty folder as
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
from pathlib import Path
from time import process_time

import streamnet

RUNS = 5


def replays(file: str, target: str, *options: str) -> None:
    rates, startups, accuracies = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        for _ in range(RUNS):
            command = [sys.executable, "-m", "streamnet", "replay", file, "--target", target]
            command += [*options, "--quiet", "--report", str(report)]
            subprocess.run(command, check=True)
            values = json.loads(report.read_text())
            rates.append(values["samples_per_second"])
            startups.append(values["startup_seconds"])
            accuracies.append(next(iter(values["served"].values())))
    print(
        f"{' '.join(options) or 'defaults':45} {statistics.median(rates):10,.0f}/s "
        f"({min(rates):,.0f} to {max(rates):,.0f}), started in {startups[0]:.2f} s at first, "
        f"{statistics.median(startups):.2f} s, served {accuracies[0]:.4f}"
    )


def one_by_one(samples: int = 5000) -> None:
    candidates = [
        streamnet.CandidateSettings(hidden=(16,), optimiser="sgd", learning_rate=0.01 * (1 + i))
        for i in range(16)
    ]
    chance = random.Random(1)  # numbers of few values would be categories besides, and not 8 inputs
    rows = [({f"f{j}": chance.random() for j in range(8)}, i % 3) for i in range(samples)]
    classifier = streamnet.OnlineClassifier(candidates, seed=0)
    for x, y in rows[:200]:
        classifier.predict_one(x)
        classifier.learn_one(x, y)
    times = []
    for _ in range(RUNS):
        start = process_time()
        for x, y in rows:
            classifier.predict_one(x)
            classifier.learn_one(x, y)
        times.append((process_time() - start) / samples * 1e6)
    median = statistics.median(times)
    print(f"predict_one + learn_one, 16 candidates 8-16-3: {median:.1f} us a sample")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", help="a data file, for instance Electricity")
    parser.add_argument("target", help="its column to predict")
    given = parser.parse_args()
    for options in ("", "--threads 1", "--candidates 1 --hidden 20 --optimiser sgd"):
        replays(given.file, given.target, *options.split())
    one_by_one()


if __name__ == "__main__":
    main()

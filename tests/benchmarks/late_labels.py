"""Scores under late labels, beside those of River and of repeating the last known label.

    python -m tests.benchmarks.late_labels FOLDER... [--delay 24 168] [--seeds 0 1 2] [--limit N]

The folders hold the streams listed below; those that are missing are left out. The label of a
sample is known before the sample that comes ``delay`` samples later is predicted. streamnet is run
by its command line with defaults, once per seed. River's adaptive forest and linear model get the
same samples and labels in the same order, from `river.stream.simulate_qa`, once, with the kinds of
the columns given; of several optimizers and rates of the linear model the best one counts, in
hindsight.

Scores are those of all samples with a label, as they were predicted: accuracy in %, where a missing
prediction is wrong, or mean absolute error, where it is 0. A row ends with "best" if streamnet is
better than all others.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamnet.samples import Task
from tests.benchmarks.peers.rows import Rows, read_rows
from tests.benchmarks.peers.streams import Stream
from tests.benchmarks.peers.views import one_hot, plain

STREAMS = (
    Stream(
        "bike_hourly",
        "cnt",
        Task.REGRESSION,
        codes=("season", "mnth", "hr", "weekday", "weathersit"),
        dates=("dteday",),
    ),
    Stream("electricity", "class"),
    Stream("pm25", "pm2.5", Task.REGRESSION, codes=("month", "hour")),
    Stream("gas_turbine", "Nitrogen oxides", Task.REGRESSION),
)
# Rates of linear models, and whether AdaGrad adapts them; the first one is River's default. On
# columns that change late, such as a year, larger rates of plain gradient descent diverge.
RATES = ((0.01, False), (0.001, False), (0.0001, False), (0.1, True))
Samples = Sequence[dict[str, Any]]


class Score(NamedTuple):
    """Accuracy or mean absolute error."""

    value: float
    task: Task

    def __str__(self) -> str:
        if self.task is Task.CLASSIFICATION:
            return f"{100.0 * self.value:.1f} %"
        return f"{self.value:.4g}"

    def beats(self, other: Score) -> bool:
        """Whether this is better."""
        if self.task is Task.CLASSIFICATION:
            return self.value > other.value
        return self.value < other.value


def score(answers: Sequence[Any], rows: Rows) -> Score:
    """Score the predictions of all samples, None for those without one."""
    if rows.classification:
        right = np.array([answer == y for answer, y in zip(answers, rows.target, strict=True)])
        return Score(float(right.mean()), Task.CLASSIFICATION)
    numbers = np.array([answer or 0.0 for answer in answers])
    known = np.isfinite(rows.target)
    return Score(float(np.abs(numbers - rows.target)[known].mean()), Task.REGRESSION)


def build_forest(rows: Rows, seed: int) -> tuple[Any, Samples]:
    """River's adaptive random forest, and samples as it takes them."""
    from river import forest, preprocessing

    if rows.classification:
        nominal = list(rows.words)
        return forest.ARFClassifier(nominal_attributes=nominal, seed=seed), plain(rows, 0)
    # The leaves hold linear models, which explode on inputs as they come; codes stay numbers.
    samples = one_hot(rows._replace(stream=rows.stream._replace(codes=())), 0)
    return preprocessing.StandardScaler() | forest.ARFRegressor(seed=seed), samples


def build_linear(rows: Rows, rate: float, adaptive: bool = False) -> tuple[Any, Samples]:
    """River's logistic or linear regression, and samples as it takes them."""
    from river import linear_model, optim, preprocessing

    optimizer = optim.AdaGrad(rate) if adaptive else optim.SGD(rate)
    model: Any = linear_model.LogisticRegression(optimizer)
    if not rows.classification:
        linear = linear_model.LinearRegression(optimizer)
        model = preprocessing.TargetStandardScaler(linear)
    return preprocessing.StandardScaler() | model, one_hot(rows, 0)


class NoChange:
    """Repeats the last known label."""

    def __init__(self) -> None:
        self._last: Any = None

    def predict_one(self, _: Any) -> Any:
        """The last label."""
        return self._last

    def learn_one(self, _: Any, y: Any) -> None:
        """Keep a label."""
        self._last = y


def predict_late(model: Any, samples: Samples, rows: Rows, delay: int) -> list[Any]:
    """Predictions of all samples in turn, each made with the labels that are known by then."""
    from river import stream

    answers: list[Any] = [None] * len(samples)
    pairs = zip(samples, rows.target.tolist(), strict=True)
    for number, x, y in stream.simulate_qa(pairs, moment=None, delay=delay, copy=False):
        if y is None:
            answers[number] = model.predict_one(x)
        elif np.isfinite(y):
            model.learn_one(x, bool(y) if rows.classification else y)
    return answers


def run_peers(rows: Rows, delay: int, seed: int) -> Iterator[tuple[str, Score]]:
    """The score of each peer."""

    def run(model: Any, samples: Samples) -> Score:
        return score(predict_late(model, samples, rows, delay), rows)

    yield "forest", run(*build_forest(rows, seed))
    linear = [run(*build_linear(rows, *rate)) for rate in RATES]
    yield "linear", reduce(lambda best, one: one if one.beats(best) else best, linear)
    yield "no-change", run(NoChange(), plain(rows, 0))


def run_streamnet(rows: Rows, delay: int, seed: int) -> Score:
    """The served score of a replay with default settings."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "streamnet", "replay", str(rows.path), "--quiet"]
        command += ["--target", rows.stream.target, "--label-delay", str(delay)]
        command += ["--seed", str(seed), "--limit", str(len(rows.target))]
        command += ["--dead-letters", str(Path(folder, "rejected.jsonl")), "--report", str(report)]
        subprocess.run(command, check=True)
        served = json.loads(report.read_text())["served"]
    return Score(served["accuracy" if rows.classification else "mae"], rows.stream.task)


def average(scores: Sequence[Score]) -> Score:
    """The mean score."""
    values: NDArray[np.float64] = np.array([one.value for one in scores])
    return Score(float(values.mean()), scores[0].task)


def compare(rows: Rows, delay: int, seeds: Sequence[int]) -> None:
    """Print a row of the table."""
    cells = [f"{rows.stream.name:12} {delay:4}"]
    scores = [run_streamnet(rows, delay, seed) for seed in seeds]
    own = average(scores)
    cells.append(f"{own} ({min(scores)} to {max(scores)})")
    best = True
    for name, other in run_peers(rows, delay, seeds[0]):
        cells.append(f"{name} {other}")
        best = best and own.beats(other)
    print(*cells, "best" if best else "", sep="  ", flush=True)


def main() -> None:
    """Print a row for each stream and delay."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="where the streams are")
    parser.add_argument("--delay", nargs="+", type=int, default=[24, 168], help="in samples")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--limit", type=int, help="samples of each stream; default all")
    parser.add_argument("--only", nargs="+", help="names of streams")
    given = parser.parse_args()
    for stream in STREAMS:
        folders = (f for f in given.folders if (f / f"{stream.name}.csv.gz").exists())
        folder = next(folders, None)
        if folder is None or (given.only and stream.name not in given.only):
            continue
        rows = read_rows(stream, folder, given.limit)
        for delay in given.delay:
            compare(rows, delay, given.seeds)


if __name__ == "__main__":
    main()

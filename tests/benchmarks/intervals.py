"""Coverage of prediction intervals and sets, in the worst window of each stream.

    python -m tests.benchmarks.intervals FOLDER... [--level 0.8 0.9] [--label-delay N]

The folders hold the streams listed below; those that are missing are left out. Each is replayed by
the command line, and the coverage of every window of 5,000 consecutive samples is computed from the
file of predictions: the one farthest from the level is printed, with the mean width (or number of
labels) and the interval score beside those of intervals of constant width, chosen with hindsight.
Streams that are shorter are one window.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

WINDOW = 5000


class Stream(NamedTuple):
    """A file, and what is predicted."""

    name: str
    target: str
    limit: int | None = None


STREAMS = (
    Stream("electricity", "class"),
    Stream("rbf_drift", "target"),
    Stream("agrawal_drift", "target"),
    Stream("covertype", "target", 20_000),
    Stream("adult", "income"),
    Stream("bike_hourly", "cnt"),
    Stream("trump_approval", "five_thirty_eight"),
    Stream("pm25", "pm2.5"),
    Stream("gas_turbine", "Nitrogen oxides"),
    Stream("taxis", "tip"),
)


def replay(path: Path, stream: Stream, options: list[str]) -> list[dict[str, Any]]:
    """The rows of a replay's predictions whose truth is known."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder, "predictions.jsonl")
        command = [sys.executable, "-m", "streamnet", "replay", str(path), "--quiet"]
        command += ["--target", stream.target, "--predictions", str(written)]
        command += ["--dead-letters", str(Path(folder, "rejected.jsonl")), *options]
        if stream.limit is not None:
            command += ["--limit", str(stream.limit)]
        subprocess.run(command, check=True)
        rows = map(json.loads, written.read_text().splitlines())
        return [row for row in rows if row["truth"] is not None]


def find_worst(held: NDArray[np.bool_], level: float, window: int = WINDOW) -> tuple[float, int]:
    """Coverage of the window farthest from the level, and the number of its first sample."""
    window = min(window, len(held))
    sums = np.concatenate(([0], np.cumsum(held)))
    coverage = (sums[window:] - sums[:-window]) / window
    worst = int(np.argmax(np.abs(coverage - level)))
    return float(coverage[worst]), worst


def interval_score(
    lower: NDArray[np.float64], upper: NDArray[np.float64], truth: NDArray[np.float64], level: float
) -> float:
    """Mean interval score (Winkler 1972; Gneiting and Raftery 2007)."""
    beyond = np.maximum(lower - truth, 0.0) + np.maximum(truth - upper, 0.0)
    return float(np.mean(upper - lower + 2.0 / (1.0 - level) * beyond))


def describe_intervals(rows: list[dict[str, Any]], level: float) -> Iterator[str]:
    """Coverage, width and score of intervals of numbers."""
    rows = [row for row in rows if row["lower"] is not None]
    lower, upper, truth, answer = (
        np.array([row[name] for row in rows]) for name in ("lower", "upper", "truth", "answer")
    )
    held = (lower <= truth) & (truth <= upper)
    yield from describe_coverage(held, level)
    ends = np.quantile(truth - answer, [(1 - level) / 2, (1 + level) / 2])
    score, constant = (
        interval_score(low, high, truth, level)
        for low, high in ((lower, upper), (answer + ends[0], answer + ends[1]))
    )
    yield f"width {np.mean(upper - lower):9.4g}  score {score:9.4g}  constant {constant:9.4g}"


def describe_sets(rows: list[dict[str, Any]], level: float) -> Iterator[str]:
    """Coverage and size of sets of labels."""
    held = np.array([row["truth"] in row["set"] for row in rows])
    sizes = np.array([len(row["set"]) for row in rows])
    right = np.mean([row["answer"] == row["truth"] for row in rows])
    yield from describe_coverage(held, level)
    yield f"size {np.mean(sizes):.3f}  empty {np.mean(sizes == 0):6.1%}  accuracy {right:.1%}"


def describe_coverage(held: NDArray[np.bool_], level: float) -> Iterator[str]:
    """Coverage over all, and in the worst window."""
    coverage, start = find_worst(held, level)
    yield f"{np.mean(held):7.2%} of all"
    yield f"{coverage:7.2%} at worst ({coverage - level:+.2%}), from sample {start:6,}"


def main() -> None:
    """Print a line for each stream and level."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="where the streams are")
    parser.add_argument("--level", nargs="+", type=float, default=[0.8, 0.9])
    parser.add_argument("--label-delay", type=int, default=0, help="samples; default none")
    parser.add_argument("--only", nargs="+", help="names of streams")
    given = parser.parse_args()
    for stream in STREAMS:
        path = next(
            (p for folder in given.folders if (p := folder / f"{stream.name}.csv.gz").exists()),
            None,
        )
        if path is None or (given.only and stream.name not in given.only):
            continue
        for level in given.level:
            options = ["--interval", str(level)]
            if given.label_delay:
                options += ["--label-delay", str(given.label_delay)]
            rows = replay(path, stream, options)
            describe = describe_sets if "set" in rows[0] else describe_intervals
            print(f"{stream.name:14} {level:4}", *describe(rows, level), sep="  ", flush=True)


if __name__ == "__main__":
    main()

"""A sweep by one process and by several: seconds, their ratio, and whether results are the same.

    python -m tests.benchmarks.sweep [--runs 64] [--samples 20000] [--workers 2] [--executor NAME]

Each run has another seed; the first of all compiles what is not compiled yet, and is not counted.
Processor time is that of this process and of those that it started, but for Ray's, which end later.
Where it grows little, N workers on N idle cores take almost an N-th of the time.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from streamnet import Sweep, replay_many


def write(path: Path, samples: int) -> None:
    """Labels by a rule that drifts half-way."""
    chance = random.Random(1)
    lines = ["a,b,c,y"]
    for i in range(samples):
        a, b, c = chance.random(), chance.random(), chance.gauss(0.0, 1.0)
        up = a + b > 1.0 if i < samples // 2 else a > b + 0.1 * c
        lines.append(f"{a:.4f},{b:.4f},{c:.4f},{'up' if up else 'down'}")
    path.write_text("\n".join(lines) + "\n")


def main() -> None:
    """Print how long the same runs take."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=64)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--executor", default=None)
    given = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "stream.csv", given.samples)

        def sweep(results: str, **settings: Any) -> tuple[Sweep, float, float]:
            start, spent = perf_counter(), measure_processor()
            path, seeds = str(folder / results), settings.pop("seeds", range(given.runs))
            found = replay_many(
                folder / "stream.csv", target="y", threads=1, seeds=seeds, results=path, **settings
            )
            return found, perf_counter() - start, measure_processor() - spent

        sweep("first", seeds=[0])
        one, alone, cpu_alone = sweep("one")
        several, together, cpu = sweep("several", workers=given.workers, executor=given.executor)
        same = [_served(row) for row in one.table] == [_served(row) for row in several.table]
        for where, seconds, spent in (
            ("one process", alone, cpu_alone),
            (f"{given.workers} workers", together, cpu),
        ):
            print(f"{given.runs} runs in {where:12} {seconds:8.2f} s, {spent:8.2f} of processors")
        print(f"ratio {alone / together:.2f}, results are {'the same' if same else 'DIFFERENT'}")
        ceiling = given.workers * cpu_alone / cpu
        print(f"by processor time, {given.workers} idle cores would give {ceiling:.2f}")


def measure_processor() -> float:
    """Seconds of processor time so far, of this process and of those that have ended."""
    used = (getrusage(who) for who in (RUSAGE_SELF, RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def _served(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "seconds"}


if __name__ == "__main__":
    main()

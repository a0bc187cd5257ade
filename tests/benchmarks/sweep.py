"""A sweep by one process and by several: seconds, their ratio, and whether results are the same.

    python -m tests.benchmarks.sweep [--runs 64] [--samples 20000] [--workers 2]

Each run has another seed; the first of all compiles what is not compiled yet, and is not counted.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
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
    given = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "stream.csv", given.samples)

        def sweep(results: str, **settings: Any) -> tuple[Sweep, float]:
            start = perf_counter()
            path, seeds = str(folder / results), settings.pop("seeds", range(given.runs))
            found = replay_many(
                folder / "stream.csv", target="y", threads=1, seeds=seeds, results=path, **settings
            )
            return found, perf_counter() - start

        sweep("first", seeds=[0])
        one, alone = sweep("one")
        several, together = sweep("several", workers=given.workers)
        same = [_served(row) for row in one.table] == [_served(row) for row in several.table]
        print(f"{given.runs} runs in one process     {alone:8.2f} s")
        print(f"{given.runs} runs in {given.workers} processes    {together:8.2f} s")
        print(f"ratio {alone / together:.2f}, results are {'the same' if same else 'DIFFERENT'}")


def _served(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "seconds"}


if __name__ == "__main__":
    main()

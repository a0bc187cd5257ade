"""A keyed stream learned by one process, and by owners: processor time, and how it divides.

    python -m tests.benchmarks.fleet [--samples 200000] [--keys 2000] [--owners 2] [--partitions 16]

Processor time is that of this process and of the owners, with the start of each. Where it grows
little, N owners on N idle cores take almost an N-th of the time. What a further owner costs is the
start of a process and a reading of the stream.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from streamnet import replay, replay_fleet
from tests.benchmarks.sweep import measure_processor


def write(path: Path, samples: int, keys: int) -> None:
    """Devices with slopes and levels of their own."""
    chance = random.Random(1)
    lines = ["device,a,b,c,y"]
    for _ in range(samples):
        key = chance.randrange(keys)
        a, b, c = chance.random(), chance.random(), chance.gauss(0.0, 1.0)
        y = key % 17 + a * (key % 5) + b + 0.1 * c
        lines.append(f"d{key},{a:.4f},{b:.4f},{c:.4f},{y:.4f}")
    path.write_text("\n".join(lines) + "\n")


def main() -> None:
    """Print how long one process and owners take, and their errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=200_000)
    parser.add_argument("--keys", type=int, default=2000)
    parser.add_argument("--owners", type=int, default=2)
    parser.add_argument("--partitions", type=int, default=16)
    given = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "stream.csv"
        write(path, given.samples, given.keys)
        replay(path, target="y", key=["device"], threads=1, limit=2000)  # compiles
        start, spent = perf_counter(), measure_processor()
        report = replay(path, target="y", key=["device"], threads=1, state=folder / "alone").report
        alone, cpu_alone = perf_counter() - start, measure_processor() - spent
        print(f"{'one process':12} {alone:8.2f} s, {cpu_alone:8.2f} of processors", end="")
        print(f", mean absolute error {report['served']['mae']:.4f}")
        for owners in dict.fromkeys((1, given.owners)):
            start, spent = perf_counter(), measure_processor()
            found = replay_fleet(
                path,
                target="y",
                key=["device"],
                threads=1,
                owners=owners,
                partitions=given.partitions,
                state=folder / f"owners-{owners}",
            )
            seconds, cpu = perf_counter() - start, measure_processor() - spent
            print(f"{owners:3} owners   {seconds:8.2f} s, {cpu:8.2f} of processors", end="")
            print(f", mean absolute error {found.table[-1]['mae']:.4f}", end="")
            print(f"; idle cores would give {owners * cpu_alone / cpu:.2f} x")


if __name__ == "__main__":
    main()

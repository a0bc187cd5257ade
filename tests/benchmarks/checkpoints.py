"""What a state directory costs: one file replayed with and without one, turn by turn.

    python -m tests.benchmarks.checkpoints FILE TARGET [--repeats N] [--epochs N] [--folder DIR]

Medians of wall and processor time of the replay, with a checkpoint a second, and of what a run with
one took more than the run right before it without. A machine that does something else as well
makes wall time meaningless and checkpoints more than they would be; processor time suffers less,
and that of one checkpoint, with the models written beside it, least. With a folder in memory
(/dev/shm) the difference is what the disk takes.
"""

from __future__ import annotations

import argparse
import gc
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import anyio

from streamnet.runs.replay import Replay
from streamnet.settings.run import RunSettings, apply_overrides


def replayed(given: dict[str, Any], folder: str | None) -> tuple[float, float]:
    """Seconds of wall and of processor time."""
    if folder is not None:
        given = {**given, "state.dir": folder, "state.every_seconds": 1.0}
    run = Replay(apply_overrides(RunSettings(), given))
    begun = process_time()
    result = anyio.run(run.run)
    return result.report["seconds"], process_time() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", help="a data file, for instance Electricity")
    parser.add_argument("target", help="its column to predict")
    parser.add_argument("--repeats", type=int, default=5, help="pairs of runs")
    parser.add_argument("--epochs", type=int, default=1, help="how often a run reads the file")
    parser.add_argument("--folder", help="where state directories are made")
    asked = parser.parse_args()
    given = {
        "source.files": asked.file,
        "source.target": asked.target,
        "source.epochs": asked.epochs,
    }
    replayed(given, None)  # to load kernels
    gc.freeze()  # as the command line does before it learns
    plain, kept = [], []
    sizes: list[int] = []
    numbers: list[int] = []
    for _ in range(asked.repeats):
        plain.append(replayed(given, None))
        with TemporaryDirectory(dir=asked.folder) as folder:
            kept.append(replayed(given, folder))
            files = list(Path(folder, "checkpoints").glob("*.checkpoint"))
            sizes = [path.stat().st_size for path in files]
            numbers.append(1 + max(int(path.stem) for path in files))
    for name, place in (("wall", 0), ("processor", 1)):
        before, after = (median(row[place] for row in rows) for rows in (plain, kept))
        pairs = median(w[place] / wo[place] for wo, w in zip(plain, kept, strict=True)) - 1
        print(f"{name}: {before:.2f} s without, {after:.2f} s with, {pairs:+.1%} in a pair")
    more = [
        (with_[1] - without[1]) / n for without, with_, n in zip(plain, kept, numbers, strict=True)
    ]
    print(f"one of {median(numbers):.0f} checkpoints: {1e3 * median(more):.0f} ms of a processor")
    print(f"a checkpoint has {max(sizes):,} bytes")


if __name__ == "__main__":
    main()

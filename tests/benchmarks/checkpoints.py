"""What a state directory costs: one file replayed with and without one, turn by turn.

    python -m tests.benchmarks.checkpoints FILE TARGET [REPEATS]

Medians of wall and processor time of the replay, with a checkpoint a second, and of what a run with
one took more than the run right before it without. A machine that does something else as well
makes wall time meaningless and checkpoints more than they would be; processor time suffers less,
and that of one checkpoint, with the models written beside it, least.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time

import anyio

from streamnet.replaying import Replay
from streamnet.settings import RunSettings
from streamnet.settings import merged


def replayed(file: str, target: str, folder: str | None) -> tuple[float, float]:
    """Seconds of wall and of processor time."""
    given = {"source.files": file, "source.target": target}
    if folder is not None:
        given |= {"state.dir": folder, "state.every_seconds": 1.0}  # type: ignore[dict-item]
    run = Replay(merged(RunSettings(), given))
    begun = process_time()
    result = anyio.run(run.run)
    return result.report["seconds"], process_time() - begun


def main(file: str, target: str, repeats: int) -> None:
    replayed(file, target, None)  # to load kernels
    gc.freeze()  # as the command line does before it learns
    plain, kept = [], []
    sizes: list[int] = []
    numbers: list[int] = []
    for _ in range(repeats):
        plain.append(replayed(file, target, None))
        with TemporaryDirectory() as folder:
            kept.append(replayed(file, target, folder))
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
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 5)

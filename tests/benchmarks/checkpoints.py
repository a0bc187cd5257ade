"""What a state directory costs: one file replayed with and without one, turn by turn.

    python tests/benchmarks/checkpoints.py FILE TARGET [REPEATS]

Medians of wall and processor time of the replay, with a checkpoint a second. A machine that does
something else as well makes wall time meaningless; processor time suffers less.
"""

from __future__ import annotations

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
    plain, kept = [], []
    sizes: list[int] = []
    for _ in range(repeats):
        plain.append(replayed(file, target, None))
        with TemporaryDirectory() as folder:
            kept.append(replayed(file, target, folder))
            sizes = [path.stat().st_size for path in Path(folder, "checkpoints").iterdir()]
    for name, place in (("wall", 0), ("processor", 1)):
        before, after = (median(row[place] for row in rows) for rows in (plain, kept))
        print(f"{name}: {before:.2f} s without, {after:.2f} s with, {after / before - 1:+.1%}")
    print(f"a checkpoint has {max(sizes):,} bytes")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 5)

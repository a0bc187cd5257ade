"""What the engine reaches on three sets, means of ten seeds, and how fast it is.

    python -m tests.benchmarks.engine [SEEDS]

Wine white is read from STREAMNET_DATA if that is set. The last line is gopher-neural's sonar
example: 8,000 passes, for which it takes 25 to 40 seconds.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import anyio
import numpy as np
from msgspec.structs import replace

from streamnet.engine import Engine
from streamnet.engine.data import read_data
from streamnet.samples import Block, Task
from streamnet.sources import Columns

DATA = Path(__file__).parents[2] / "examples" / "data"
SCALE = 10.0  # of the quality of a wine, as gopher-neural's users have it


def wine(path: Path) -> Block:
    """A wine set with quality from 0 to 1."""
    columns = Columns(target="quality", task=Task.REGRESSION)
    block = anyio.run(read_data, path, columns).block
    assert block.target is not None
    return replace(block, target=block.target / SCALE)


def line(name: str, data: Any, seeds: int, **settings: Any) -> None:
    """Learn with each seed and print the means."""
    rows = [Engine(seed=seed, **settings).fit(data) for seed in range(seeds)]
    measures = [trained.evaluation.measures() for trained in rows]
    seconds = np.mean([trained.report["seconds"] for trained in rows])
    words = [f"{name:28}"]
    for measure in ("accuracy", "rmse", "r2"):
        values = [one[measure] for one in measures if measure in one]
        if values:
            error = np.std(values) / np.sqrt(len(values))
            words.append(f"{measure} {np.mean(values):.4f} ± {error:.4f}")
    print(*words, f"{seconds:.2f} s", f"{rows[0].report['passes']:,} passes", sep="  ", flush=True)


def main() -> None:
    """Print a line for each set and protocol."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", type=int, nargs="?", default=10, help="10 by default")
    seeds = parser.parse_args().seeds
    sonar = DATA / "sonar.data"
    line("sonar", sonar, seeds)
    line("sonar, refit=False", sonar, seeds, refit=False)
    line("sonar, protocol=gopher", sonar, seeds, protocol="gopher", epochs=20)
    line("wine red", wine(DATA / "wine_red.csv.gz"), seeds)
    white = Path(os.environ.get("STREAMNET_DATA", ""), "wine_white.csv.gz")
    if white.is_file():
        line("wine white", wine(white), seeds)
    gopher = {"hidden": (100,), "learning_rate": 0.4, "decay": 0.005, "epochs": 100, "tries": 1}
    line("sonar, gopher's settings", sonar, min(seeds, 3), **gopher)


if __name__ == "__main__":
    main()

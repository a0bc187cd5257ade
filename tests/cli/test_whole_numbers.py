"""Whole numbers as words: a model answers them alike in every format, also as floats."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from streamnet.runs.replay import replay
from streamnet.samples import Kind, Task
from tests.cli.invocation import Cli

ROWS = [{"zip": 10_000 + i % 2, "x": i % 3, "y": int(i % 2 == (i % 3 == 1))} for i in range(800)]
FRAME = pl.DataFrame(ROWS)
FLOATS = FRAME.cast({"zip": pl.Float64, "y": pl.Float64})  # as one gap makes them
FRAMES = {"whole": FRAME, "floats": FLOATS}
FILES = tuple(f"{name}.{suffix}" for name in FRAMES for suffix in ("csv", "jsonl", "parquet"))


def written(file: str) -> Path:
    """The samples in a file of that name."""
    path = Path(file)
    frame = FRAMES[path.stem]
    if path.suffix == ".csv":
        frame.write_csv(path)
    elif path.suffix == ".jsonl":
        frame.write_ndjson(path)
    else:
        frame.write_parquet(path)
    return path


@pytest.mark.parametrize("learned", ["whole.csv", "floats.csv", "floats.parquet"])
def test_whole_numbers_are_answered_alike_in_every_format(cli: Cli, learned: str) -> None:
    result = replay(
        written(learned),
        target="y",
        task=Task.CLASSIFICATION,
        kinds={"zip": Kind.CATEGORY},
        candidates=2,
        epochs=3,
    )
    result.model.save("model.json")
    spelled = "{}.0" if learned == "floats.csv" else "{}"
    assert set(result.model.labels) == {spelled.format(label) for label in (0, 1)}
    for file in FILES:
        outcome = cli("evaluate", "model.json", written(file), "--report", "r.json")
        assert (outcome.code, outcome.err) == (0, "")
        report = json.loads(Path("r.json").read_text())
        assert len(report["labels"]) == 2
        assert report["measures"]["model"]["accuracy"] == 1.0, file

"""Truth values: a model answers them alike in every format, however the file spells them."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from streamnet.runs.replay import replay
from tests.cli.invocation import Cli

FRAME = pl.DataFrame({"b": [i % 2 == 0 for i in range(800)], "x": [i % 3 for i in range(800)]})
FRAME = FRAME.with_columns(y=pl.col("b") ^ (pl.col("x") == 1))
SPELLINGS = ("True", "TRUE", "true", "json", "parquet")


def written(spelling: str) -> Path:
    """The samples in a file."""
    if spelling == "parquet":
        path = Path("f.parquet")
        FRAME.write_parquet(path)
    elif spelling == "json":
        path = Path("f.jsonl")
        FRAME.write_ndjson(path)
    else:
        path = Path(f"{spelling}.csv")
        words = {"True": "title", "TRUE": "upper", "true": "lower"}[spelling]
        lines = ["b,x,y", *(f"{b},{x},{y}" for b, x, y in FRAME.rows())]
        path.write_text("\n".join([lines[0], *(getattr(t, words)() for t in lines[1:])]) + "\n")
    return path


@pytest.mark.parametrize("learned", ["True", "parquet"])
def test_truth_values_are_answered_alike_in_every_format(cli: Cli, learned: str) -> None:
    replay(written(learned), target="y", candidates=2, epochs=3).model.save("model.json")
    accuracies = []
    for spelling in SPELLINGS:
        outcome = cli("evaluate", "model.json", written(spelling), "--report", "r.json")
        assert (outcome.code, outcome.err) == (0, "")
        report = json.loads(Path("r.json").read_text())
        assert len(report["labels"]) == 2
        accuracies.append(report["measures"]["model"]["accuracy"])
    assert accuracies == [1.0] * len(SPELLINGS)

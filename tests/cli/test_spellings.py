"""Truth values and whole numbers: predictions do not depend on format or spelling."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from streamnet.runs.replay import replay
from streamnet.samples import Kind, Task
from tests.cli.invocation import Cli

TRUTH_VALUES = pl.DataFrame(
    {"b": [i % 2 == 0 for i in range(800)], "x": [i % 3 for i in range(800)]}
)
TRUTH_VALUES = TRUTH_VALUES.with_columns(y=pl.col("b") ^ (pl.col("x") == 1))
TRUTH_SPELLINGS = ("True", "TRUE", "true", "json", "parquet")


def write_truth_values(spelling: str) -> Path:
    """The samples in a file."""
    if spelling == "parquet":
        path = Path("f.parquet")
        TRUTH_VALUES.write_parquet(path)
    elif spelling == "json":
        path = Path("f.jsonl")
        TRUTH_VALUES.write_ndjson(path)
    else:
        path = Path(f"{spelling}.csv")
        words = {"True": "title", "TRUE": "upper", "true": "lower"}[spelling]
        lines = ["b,x,y", *(f"{b},{x},{y}" for b, x, y in TRUTH_VALUES.rows())]
        path.write_text("\n".join([lines[0], *(getattr(t, words)() for t in lines[1:])]) + "\n")
    return path


@pytest.mark.parametrize("learned", ["True", "parquet"])
def test_boolean_labels_are_predicted_alike_in_every_format(cli: Cli, learned: str) -> None:
    replay(write_truth_values(learned), target="y", candidates=2, epochs=3).model.save("model.json")
    accuracies = []
    for spelling in TRUTH_SPELLINGS:
        outcome = cli("evaluate", "model.json", write_truth_values(spelling), "--report", "r.json")
        assert (outcome.code, outcome.err) == (0, "")
        report = json.loads(Path("r.json").read_text())
        assert len(report["labels"]) == 2
        accuracies.append(report["measures"]["model"]["accuracy"])
    assert accuracies == [1.0] * len(TRUTH_SPELLINGS)


ROWS = [{"zip": 10_000 + i % 2, "x": i % 3, "y": int(i % 2 == (i % 3 == 1))} for i in range(800)]
INTEGERS = pl.DataFrame(ROWS)
FLOATS = INTEGERS.cast({"zip": pl.Float64, "y": pl.Float64})  # as one gap makes them
WHOLE_NUMBERS = {"whole": INTEGERS, "floats": FLOATS}
FILES = tuple(
    f"{name}.{suffix}" for name in WHOLE_NUMBERS for suffix in ("csv", "jsonl", "parquet")
)


def write_whole_numbers(file: str) -> Path:
    """The samples in a file of that name."""
    path = Path(file)
    frame = WHOLE_NUMBERS[path.stem]
    if path.suffix == ".csv":
        frame.write_csv(path)
    elif path.suffix == ".jsonl":
        frame.write_ndjson(path)
    else:
        frame.write_parquet(path)
    return path


@pytest.mark.parametrize("learned", ["whole.csv", "floats.csv", "floats.parquet"])
def test_integer_labels_are_predicted_alike_in_every_format(cli: Cli, learned: str) -> None:
    result = replay(
        write_whole_numbers(learned),
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
        outcome = cli("evaluate", "model.json", write_whole_numbers(file), "--report", "r.json")
        assert (outcome.code, outcome.err) == (0, "")
        report = json.loads(Path("r.json").read_text())
        assert len(report["labels"]) == 2
        assert report["measures"]["model"]["accuracy"] == 1.0, file

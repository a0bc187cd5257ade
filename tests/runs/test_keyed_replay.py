"""Replays with a model for every key: scores, reports, resumed runs, and what is refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

from streamnet.cli.views.report import show_file
from streamnet.errors import ConfigurationError
from streamnet.modelfiles import Model
from streamnet.reporting.report import Report
from streamnet.runs.inference import evaluate_files
from streamnet.runs.replay import replay

SMALL: dict[str, Any] = {"hidden": "8", "learning_rate": 0.1, "optimizer": "adagrad"}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str = "a.csv", rows: int = 3000, *, labels: bool = False) -> Path:
    """Stores and products with levels that wander; an id of a store is a number with a zero."""
    rng = np.random.default_rng(1)
    levels = rng.normal(scale=30.0, size=(6, 5))
    with Path(name).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("store", "product", "load", "y"))
        for _ in range(rows):
            store, product = int(rng.integers(6)), int(rng.integers(5))
            levels[store, product] += rng.normal()
            load = float(rng.normal())
            y: Any = round(levels[store, product] + store * load, 6)
            y = ("low" if y < 0.0 else "high") if labels else y
            writer.writerow((f"0{store}", "abcde"[product], f"{load:.6f}", y))
    return Path(name)


def run(path: Path, **settings: Any) -> dict[str, Any]:
    report = replay(path, target="y", seed=3, **SMALL, **settings).report
    assert isinstance(report, dict)
    return report


KEYS = ["store", "product"]
RESULTS = ("served", "served_sliding", "served_fading", "curve", "keys", "candidates")


def select(report: dict[str, Any], names: Iterable[str] = RESULTS) -> str:
    return json.dumps({name: report[name] for name in names})


def test_a_model_for_every_key_predicts_better_and_its_keys_are_reported() -> None:
    path = write()
    plain, keyed = run(path), run(path, key=KEYS, report="r.json")
    assert keyed["served"]["mae"] < 0.7 * plain["served"]["mae"]
    assert "keys" not in plain
    keys = keyed["keys"]
    assert keys["columns"] == KEYS
    assert keys["count"] == 30
    assert len(keys["worst"]) == len(keys["best"]) == 20
    losses = [each["loss"] for each in keys["worst"]]
    assert losses == sorted(losses, reverse=True)
    assert keys["best"][0]["loss"] == min(each["loss"] for each in keys["best"])
    assert {each["key"].split("|")[0] for each in keys["worst"]} <= {f"0{i}" for i in range(6)}
    saved = json.loads(Path("r.json").read_text())
    assert Report.from_dict(saved).as_dict()["keys"] == keys


def test_a_report_shows_the_worst_and_the_best_keys(capsys: pytest.CaptureFixture[str]) -> None:
    keys = run(write(), key=KEYS, report="r.json")["keys"]
    show_file(Path("r.json"))
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["keys", "30", "of", "store,", "product"] for line in lines)
    shown = [line.split()[:3] for line in lines if line.startswith(("worst", "best"))]
    expected = [("worst", each) for each in keys["worst"][:5]]
    expected += [("best", each) for each in keys["best"][:5]]
    assert shown == [[which, each["key"], str(each["samples"])] for which, each in expected]


def test_the_shared_model_predicts_files_without_last_targets() -> None:
    path = write()
    run(path, key=KEYS, model="shared.safetensors")
    model = Model.load("shared.safetensors")
    evaluated = anyio.run(evaluate_files, model, [str(path)])
    assert evaluated.samples == 3000
    with path.open() as file:
        rows = list(csv.DictReader(file))
    truths = np.array([float(row.pop("y")) for row in rows])
    samples = [{**row, "load": float(row["load"])} for row in rows]
    expected = np.abs(model.predict(samples) - truths).mean()
    assert evaluated.measures["model"]["mae"] == pytest.approx(expected)


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("delay", [0, 150])
def test_results_do_not_depend_on_blocks_threads_or_resident_keys(labels: bool, delay: int) -> None:
    path, key = write(labels=labels), {"key": KEYS, "label_delay": delay}
    expected = select(run(path, **key, predictions="whole.csv"))
    others: list[dict[str, Any]] = [
        {"block_size": 7, "threads": 1},
        {"block_size": 500, "resident_keys": 4},
        {"resident_keys": 1},
    ]
    for number, settings in enumerate(others):
        again = run(path, **key, predictions=f"{number}.csv", **settings)
        assert select(again) == expected
        assert Path(f"{number}.csv").read_bytes() == Path("whole.csv").read_bytes()


@pytest.mark.parametrize("delay", [0, 150])
def test_a_resumed_run_gives_the_results_of_one_that_was_not_interrupted(delay: int) -> None:
    path, key = write(), {"key": KEYS, "label_delay": delay}
    expected = select(run(path, **key))
    kept: dict[str, Any] = {"state": "state", "every_samples": 300, "resident_keys": 7}
    run(path, **key, limit=700, **kept)
    run(path, **key, limit=1500, resume=True, **kept)
    assert select(run(path, **key, limit=3000, resume=True, **kept)) == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"key": ["shop"]}, "shop"),
        ({"key": ["store", "store"]}, "key has 'store' twice"),
        ({"key": ["store"], "horizon": 3}, "horizon is given, but cannot be combined"),
        ({"key": ["store"], "resident_keys": 0}, "resident_keys is 0, but must be >= 1"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        run(write(rows=50), **settings)

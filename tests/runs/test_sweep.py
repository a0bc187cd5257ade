"""Sweeps: the results of single replays, resumed runs, failures, and what cannot be shared."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

import pytest

from streamnet import replay, replay_many
from streamnet.errors import ConfigurationError
from streamnet.runs.sweep import Finished, Sweep

SMALL: dict[str, Any] = {"hidden": "8", "learning_rate": 0.1, "optimizer": "adagrad"}
VARY: dict[str, Any] = {"rehearsal": [[0], [2]], "selection.serve": ["ensemble", "champion"]}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, seed in (("a.csv", 1), ("b.csv", 2)):
        write(name, seed)


def write(name: str, seed: int, rows: int = 300) -> None:
    chance = random.Random(seed)
    pairs = [(chance.random(), chance.random()) for _ in range(rows)]
    lines = [f"{x:.4f},{z:.4f},{'up' if x > z else 'down'},{x + z:.4f}" for x, z in pairs]
    Path(name).write_text("\n".join(["x,z,y,w", *lines, "broken"]) + "\n")


def sweep(*files: str, **settings: Any) -> Sweep:
    given = {"target": "y", "drop": "w", **SMALL, **settings}
    return replay_many(*(files or ("a.csv", "b.csv")), **given)


def without_times(table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: v for name, v in row.items() if name != "seconds"} for row in table]


def test_each_run_is_that_of_a_single_replay_in_processes_too() -> None:
    alone = sweep(seeds=[3, 4], vary=VARY, results="alone")
    assert len(alone.runs) == 2 * 2 * 4
    assert not alone.failed
    assert [row["file"] for row in alone.table] == ["a.csv"] * 8 + ["b.csv"] * 8
    assert [row["seed"] for row in alone.table] == [3, 4] * 8
    for row in alone.table[::5]:
        settings = {**SMALL, "rehearsal": eval(row["population.rehearsal"])}
        settings |= {"serve": row["selection.serve"], "seed": row["seed"]}
        report = replay(row["file"], target="y", drop="w", max_rejected=0.5, **settings).report
        assert {name: row[name] for name in report["served"]} == report["served"]
        assert (row["learned"], row["rejected"]) == (300, 1)
    several = sweep(seeds=[3, 4], vary=VARY, results="several", workers=2)
    assert without_times(several.table) == without_times(alone.table)
    with Path("several/table.csv").open() as file:
        kept = list(csv.DictReader(file))
    assert [row["run"] for row in kept] == [row["run"] for row in alone.table]
    assert float(kept[0]["accuracy"]) == alone.table[0]["accuracy"]


def test_what_is_there_is_not_run_again() -> None:
    first = sweep(seeds=[0, 1])
    Path(f"sweep/{first.runs[2].run.name}.json").unlink()
    Path(f"sweep/{first.runs[0].run.name}.json").write_text("damaged")
    seen: list[Finished] = []
    again = sweep(seeds=[0, 1, 2], threads=1, on_finished=seen.append)
    assert [one.earlier for one in again.runs] == [False, True, False, False, True, False]
    assert len(seen) == 6
    rows = without_times(again.table)
    assert [rows[i] for i in (0, 1, 3, 4)] == without_times(first.table)
    write("a.csv", 5)
    changed = sweep(seeds=[0, 1])
    assert [one.earlier for one in changed.runs] == [False, False, True, True]


def test_a_run_that_fails_is_in_the_table_and_stops_no_other() -> None:
    Path("c.csv").write_text("x,y\n1,a\n")
    Path("d.csv").write_text("x,z\n1,2\n")
    outcome = sweep("d.csv", "c.csv", "missing.csv", "a.csv", drop=None)
    errors = [row["error"] for row in outcome.table]
    assert "'y'" in errors[0]
    assert "missing.csv" in errors[2]
    assert (errors[1], errors[3]) == ("", "")
    assert [one.run.file for one in outcome.failed] == ["d.csv", "missing.csv"]
    with Path("sweep/table.csv").open() as file:
        assert [row["error"] for row in csv.DictReader(file)] == errors
    write("missing.csv", 7)
    assert [one.earlier for one in sweep("d.csv", "c.csv", "missing.csv", drop=None).runs] == [
        False, True, False
    ]  # fmt: skip


def test_a_run_of_several_targets_has_a_row_for_each() -> None:
    table = sweep("a.csv", target=["y", "w"], drop=None).table
    assert [row["part"] for row in table] == ["y", "w"]
    assert "accuracy" in table[0]
    assert "mae" in table[1]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"vary": {"search.evry": [1]}}, "search.evry"),
        ({"vary": {"seed": [1]}}, "vary has 'run.seed', but must have values of settings other"),
        ({"vary": {"every": []}}, "vary has 'search.every', but must have values"),
        ({"vary": {"knots": [-1]}}, "knots"),
        ({"vary": {"report": ["r.json"]}}, "report is given, but the reports of a sweep go to"),
        ({"predictions": "p.csv"}, "predictions is given, but the reports of a sweep go to"),
        ({"follow": True}, "follow is given, but the runs of a sweep must end"),
        ({"workers": 0}, "workers is 0, but must be >= 1"),
        ({"executor": "threads"}, "executor is 'threads', but must be"),
        ({"wrokers": 2}, "wrokers is not a known setting of replay_many.*did you mean 'workers'"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        sweep(**settings)
    assert not Path("sweep").exists()


def test_standard_input_and_no_files_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="standard input is given"):
        sweep("-")
    with pytest.raises(ConfigurationError, match="no file is given"):
        replay_many(target="y")

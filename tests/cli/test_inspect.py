"""``streamnet inspect``: what is in a file, in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streamnet.cli.views.tables import measures_table
from streamnet.metrics import ClassificationEvaluator, RegressionEvaluator
from streamnet.modelfiles import Model
from tests.cli.invocation import Cli, csv_text, rows


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_model_tells_its_task_network_labels_and_columns(
    cli: Cli, trained: Path, name: str
) -> None:
    outcome = cli("inspect", trained / name)
    assert (outcome.code, outcome.err) == (0, "")
    model = Model.load(trained / name)
    expected = ("classification", "'label'", model.describe(), "700 samples")
    for phrase in (*expected, "high", "low", "number", "shade", "accuracy"):
        assert phrase in outcome.out


def test_both_kinds_of_model_file_look_the_same(cli: Cli, trained: Path) -> None:
    names = ("model.json", "model.safetensors")
    one, other = (cli("inspect", trained / name) for name in names)
    assert one.code == 0
    assert one == other


@pytest.mark.parametrize("evaluator", [ClassificationEvaluator, RegressionEvaluator])
def test_measures_stand_in_one_order_whatever_order_a_file_has(
    evaluator: type[ClassificationEvaluator | RegressionEvaluator],
) -> None:
    names = list(evaluator(1).measures(0))
    for given in (names, names[::-1], sorted(names), [*sorted(names), "a_later_one"]):
        table = measures_table({"model": dict.fromkeys(given, 0.5)})
        shown = [str(cell).replace(" ", "_") for cell in table.columns[0].cells]
        assert shown == [*names, *(name for name in given if name not in names)]


def test_a_report_of_a_run_tells_measures_champion_and_candidates(cli: Cli, trained: Path) -> None:
    outcome = cli("inspect", trained / "report.json")
    assert (outcome.code, outcome.err) == (0, "")
    report = json.loads((trained / "report.json").read_text(encoding="utf-8"))
    accuracies = [row["scores"]["accuracy"] for row in report["candidates"]]
    assert len(accuracies) == 3
    for phrase in ("700 samples", "'label'", "served", "majority", "no-change", "champion"):
        assert phrase in outcome.out
    for value in (report["served"]["accuracy"], *accuracies):
        assert f"{value:.4f}" in outcome.out


def test_a_report_of_train_tells_its_protocol_networks_and_measures(cli: Cli) -> None:
    Path("set.csv").write_text(csv_text(rows(120)))
    assert cli("train", "set.csv", "--quiet", "--epochs", 3, "--report", "r.json").code == 0
    report = json.loads(Path("r.json").read_text())
    outcome = cli("inspect", "r.json")
    assert (outcome.code, outcome.err) == (0, "")
    for phrase in ("training, classification", "holdout", "network", report["reported"]):
        assert phrase in outcome.out
    assert f"{report['evaluation']['measures']['accuracy']:.4f}" in outcome.out


def test_a_report_of_evaluate_tells_its_measures(cli: Cli, model: Path) -> None:
    Path("new.csv").write_text(csv_text(rows(45)), encoding="utf-8")
    assert cli("evaluate", model, "new.csv", "--report", "report.json").code == 0
    outcome = cli("inspect", "report.json")
    assert (outcome.code, outcome.err) == (0, "")
    for phrase in ("evaluate", "45 samples", "accuracy", "model", "majority"):
        assert phrase in outcome.out


@pytest.mark.parametrize(
    "text",
    ["", "[", "[]", "{}", "5", '{"served": 3}', '{"measures": 2, "samples": 1}', "[" * 100_000],
)
def test_a_foreign_json_file_costs_one_line(cli: Cli, text: str) -> None:
    Path("foreign.json").write_text(text, encoding="utf-8")
    outcome = cli("inspect", "foreign.json")
    assert outcome.code == 1
    assert "foreign.json" in outcome.complaint


def test_a_report_that_lacks_a_key_costs_one_line(cli: Cli, trained: Path) -> None:
    report = json.loads((trained / "report.json").read_text(encoding="utf-8"))
    for name in ("task", "baselines", "candidates", "champion", "curve", "learned"):
        damaged = {key: value for key, value in report.items() if key != name}
        Path("damaged.json").write_text(json.dumps(damaged), encoding="utf-8")
        outcome = cli("inspect", "damaged.json")
        assert outcome.code == 1
        assert "damaged.json" in outcome.complaint


def test_nothing_in_a_file_commands_the_terminal(cli: Cli) -> None:
    text = "x\x1b[31m,label\n" + "".join(f"{i},{'ab'[i % 2]}\x1b[31m\n" for i in range(80))
    Path("odd.csv").write_text(text, encoding="utf-8")
    assert cli.replay("odd.csv", "--model", "model.json").code == 0
    outcome = cli("inspect", "model.json")
    assert outcome.code == 0
    assert "\x1b" not in outcome.out
    assert "x\\x1b[31m" in outcome.out

"""``inspect``, ``import`` and ``export``: model files and reports."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from streamnet.cli.views.tables import measures_table
from streamnet.metrics import ClassificationEvaluator, RegressionEvaluator
from streamnet.modelfiles import Model
from tests.cli.invocation import Cli, csv_text, rows
from tests.networks import gopher


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_model_is_shown_with_task_network_labels_and_columns(
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
def test_metrics_are_in_the_order_of_the_registry_whatever_order_a_file_has(
    evaluator: type[ClassificationEvaluator | RegressionEvaluator],
) -> None:
    names = list(evaluator(1).measures(0))
    for given in (names, names[::-1], sorted(names), [*sorted(names), "a_later_one"]):
        table = measures_table({"model": dict.fromkeys(given, 0.5)})
        shown = [str(cell).replace(" ", "_") for cell in table.columns[0].cells]
        assert shown == [*names, *(name for name in given if name not in names)]


def test_a_report_of_a_run_is_shown_with_metrics_champion_and_candidates(
    cli: Cli, trained: Path
) -> None:
    outcome = cli("inspect", trained / "report.json")
    assert (outcome.code, outcome.err) == (0, "")
    report = json.loads((trained / "report.json").read_text(encoding="utf-8"))
    accuracies = [row["scores"]["accuracy"] for row in report["candidates"]]
    assert len(accuracies) == 3
    for phrase in ("700 samples", "'label'", "served", "majority", "no-change", "champion"):
        assert phrase in outcome.out
    for value in (report["served"]["accuracy"], *accuracies):
        assert f"{value:.4f}" in outcome.out


def test_a_report_of_train_is_shown_with_protocol_networks_and_metrics(cli: Cli) -> None:
    Path("set.csv").write_text(csv_text(rows(120)))
    assert cli("train", "set.csv", "--quiet", "--epochs", 3, "--report", "r.json").code == 0
    report = json.loads(Path("r.json").read_text())
    outcome = cli("inspect", "r.json")
    assert (outcome.code, outcome.err) == (0, "")
    for phrase in ("training, classification", "holdout", "network", report["reported"]):
        assert phrase in outcome.out
    assert f"{report['evaluation']['measures']['accuracy']:.4f}" in outcome.out


def test_a_report_of_evaluate_is_shown_with_its_metrics(cli: Cli, model: Path) -> None:
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


def test_control_characters_in_a_file_are_escaped(cli: Cli) -> None:
    text = "x\x1b[31m,label\n" + "".join(f"{i},{'ab'[i % 2]}\x1b[31m\n" for i in range(80))
    Path("odd.csv").write_text(text, encoding="utf-8")
    assert cli.replay("odd.csv", "--model", "model.json").code == 0
    outcome = cli("inspect", "model.json")
    assert outcome.code == 0
    assert "\x1b" not in outcome.out
    assert "x\\x1b[31m" in outcome.out


def before() -> Path:
    path = Path("gopher.json")
    path.write_text(json.dumps(gopher.golden()["before"]))
    return path


def test_a_network_is_imported_with_names_and_exported_to_the_last_digit(cli: Cli) -> None:
    outcome = cli("import", before(), "--model", "m.safetensors", "--names", "a, b,c,d,e,f,g,h")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    model = Model.load("m.safetensors")
    assert [field.name for field in model.fields] == list("abcdefgh")
    assert cli("export", "m.safetensors", "--to", "gopher", "--output", "out.json").code == 0
    out = json.loads(Path("out.json").read_text())
    assert out["Weights"] == gopher.golden()["before"]["Weights"]


def test_a_replay_continues_from_an_imported_model(cli: Cli) -> None:
    X, Y = gopher.stream(8, 1, 300)
    rows = [",".join(map(repr, (*x, *y))) for x, y in zip(X, Y, strict=True)]
    Path("s.csv").write_text("\n".join(["a,b,c,d,e,f,g,h,y", *rows]) + "\n")
    names = "a,b,c,d,e,f,g,h"
    common = ("--model", "m.json", "--names", names, "--learning-rate", "0.5")
    assert cli("import", before(), *common).code == 0
    outcome = cli(
        "replay", "s.csv", "--target", "y", "--start", "m.json", "--serve", "champion",
        "--model", "after.json", "--quiet",
    )  # fmt: skip
    assert (outcome.code, outcome.err) == (0, "")
    reference = gopher.Gopher(gopher.golden()["before"]["Weights"])
    for x, y in zip(X, Y, strict=True):
        reference.learn(x, y, 0.5)
    after = Model.load("after.json").neural_network()
    for mine, theirs in zip(after.weights, reference.weights, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-12)


def test_a_model_that_can_not_be_exported_is_refused_with_all_reasons(
    cli: Cli, model: Path
) -> None:
    outcome = cli("export", model, "--to", "gopher", "--output", "out.json")
    assert outcome.code == 2
    assert "the model is more than one network: it has" in outcome.err
    assert "it scales its inputs" in outcome.err
    assert not Path("out.json").exists()


def test_damage_is_reported_with_its_place(cli: Cli) -> None:
    Path("bad.json").write_text('{"Enters":2,"Weights":[[[1]]]}')
    outcome = cli("import", "bad.json", "--model", "m.json")
    assert outcome.code == 1
    assert "bad.json: Weights[0][0] has 1 weights, but must have 2" in outcome.err
    assert not Path("m.json").exists()


def test_a_file_that_gopher_neural_can_not_have_written_is_refused(cli: Cli, model: Path) -> None:
    Path("ok.csv").write_text("a,b\n1,2\n")
    Path("cut.json").write_text('{"Enters":2,"Weigh')
    for file in ("ok.csv", "cut.json", model):
        outcome = cli("import", file, "--model", "m.json")
        assert outcome.code == 1
        assert f"{file} is damaged or no JSON file of gopher-neural, go-neural" in outcome.complaint


def test_wrong_options_are_refused(cli: Cli) -> None:
    path = before()
    for options, message in (
        (("--model", "m.txt"), "must end in .safetensors or .json"),
        (("--model", path), "that is the file to import"),
        (("--model", "m.json", "--names", "a,b"), "names has 2 distinct names, but must have 8"),
        (("--model", "m.json", "--learning-rate", "-1"), "learning_rate is -1.0, but must be > 0"),
    ):
        outcome = cli("import", path, *options)
        assert outcome.code == 2
        assert message in outcome.err
    outcome = cli("export", path, "--to", "gopher", "--output", path)
    assert "that is the model" in outcome.err
    outcome = cli("export", path, "--to", "pmml")
    assert "--to is 'pmml', but must be one of gopher, onnx, c" in outcome.complaint
    outcome = cli("export", path, "--to", "c", "--output", "model.txt")
    assert "output is 'model.txt', but must end in .c" in outcome.complaint

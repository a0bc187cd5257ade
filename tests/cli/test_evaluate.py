"""``streamnet evaluate``: its measures are those that scikit-learn finds for what predict says."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn import metrics

from streamnet.modelfiles import Model
from streamnet.runs.replay import replay
from tests.cli.invocation import Cli, Row, csv_text, read_csv, rows, write

FLOOR = 1e-4  # no share counts as less, so that one mistake can't ruin the log loss


def noisy(count: int) -> list[Row]:
    """Samples of which each fifth has the other label."""
    other = {"high": "low", "low": "high"}
    return [
        {**row, "label": other[row["label"]] if i % 5 == 0 else row["label"]}
        for i, row in enumerate(rows(count, start=1000))
    ]


def evaluated(cli: Cli, model: Path, path: Path, *options: str) -> Any:
    outcome = cli("evaluate", model, path, "--report", "report.json", *options)
    assert (outcome.code, outcome.err) == (0, "")
    return json.loads(Path("report.json").read_text(encoding="utf-8"))


def test_measures_are_those_of_scikit_learn(cli: Cli, model: Path) -> None:
    samples = noisy(203)
    path = write("new.csv", csv_text(samples))
    answers = read_csv(cli("predict", model, path).out)
    truth = [row["label"] for row in samples]
    given = [row["answer"] for row in answers]
    shares = [json.loads(row["probabilities"]) for row in answers]
    report = evaluated(cli, model, path)
    found = report["measures"]["model"]
    assert report["samples"] == 203
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth, given))
    assert found["accuracy"] < 0.85
    assert found["balanced_accuracy"] == pytest.approx(
        metrics.balanced_accuracy_score(truth, given)
    )
    assert found["kappa"] == pytest.approx(metrics.cohen_kappa_score(truth, given))
    assert found["mcc"] == pytest.approx(metrics.matthews_corrcoef(truth, given))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(truth, given, average="macro"))
    given_truth = [share[label] for share, label in zip(shares, truth, strict=True)]
    assert found["log_loss"] == pytest.approx(-np.log(np.maximum(given_truth, FLOOR)).mean())


def test_the_confusion_is_that_of_scikit_learn(cli: Cli, model: Path) -> None:
    samples = noisy(140)
    path = write("new.csv", csv_text(samples))
    given = [row["answer"] for row in read_csv(cli("predict", model, path).out)]
    report = evaluated(cli, model, path)
    labels = report["labels"]
    truth = [row["label"] for row in samples]
    expected = metrics.confusion_matrix(truth, given, labels=labels)
    found = np.array(report["confusion"])
    assert found[: len(labels), : len(labels)].tolist() == expected.tolist()
    assert found.sum() == 140


def test_baselines_are_those_of_a_naive_loop(cli: Cli, model: Path) -> None:
    samples = noisy(140)
    truth = [row["label"] for row in samples]
    same = sum(now == before for before, now in pairwise(truth))
    report = evaluated(cli, model, write("new.csv", csv_text(samples)))
    assert report["measures"]["no_change"]["accuracy"] == pytest.approx(same / 140)


def test_the_baselines_predict_nothing_before_the_first_true_label(cli: Cli, model: Path) -> None:
    first = Model.load(model).labels[0]
    path = write("new.csv", csv_text([{**rows(1)[0], "label": first}]))
    measures = evaluated(cli, model, path)["measures"]
    assert [measures[name]["accuracy"] for name in ("majority", "no_change")] == [0.0, 0.0]


def test_measures_of_a_regression_are_those_of_scikit_learn(cli: Cli) -> None:
    text = "x,y\n" + "".join(f"{i % 9},{i % 9 * 2.5 + i % 4}\n" for i in range(900))
    path = write("line.csv", text)
    replay(path, target="y", candidates=2).model.save("line.json")
    answers = [float(row["answer"]) for row in read_csv(cli("predict", "line.json", path).out)]
    truth = [float(row["y"]) for row in read_csv(text)]
    found = evaluated(cli, Path("line.json"), path)["measures"]["model"]
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(truth, answers))
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(truth, answers))
    assert found["r2"] == pytest.approx(metrics.r2_score(truth, answers))


def test_true_values_may_be_in_another_column(cli: Cli, model: Path) -> None:
    renamed = [{"number": r["number"], "shade": r["shade"], "truth": r["label"]} for r in rows(50)]
    report = evaluated(cli, model, write("new.csv", csv_text(renamed)), "--target", "truth")
    assert report["measures"]["model"]["accuracy"] == 1.0


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("column", ["number", "shade"])
def test_an_input_of_the_model_can_not_be_the_target(
    cli: Cli, model: Path, column: str, suffix: str
) -> None:
    frame = pl.DataFrame(rows(50))
    path = Path(f"new.{suffix}")
    if suffix == "csv":
        frame.write_csv(path)
    elif suffix == "jsonl":
        frame.write_ndjson(path)
    else:
        frame.write_parquet(path)
    outcome = cli("evaluate", model, path, "--target", column)
    assert outcome.code == 2
    assert outcome.complaint == f"target is {column!r}, but that is an input of the model"


def test_a_label_that_the_model_never_saw_counts_as_a_mistake(cli: Cli, model: Path) -> None:
    samples = [{**row, "label": "middle"} if i < 10 else row for i, row in enumerate(rows(40))]
    report = evaluated(cli, model, write("new.csv", csv_text(samples)))
    assert report["measures"]["model"]["accuracy"] == pytest.approx(30 / 40)
    assert report["labels"].count("middle") == 1


def test_the_output_names_samples_metrics_and_baselines(cli: Cli, model: Path) -> None:
    outcome = cli("evaluate", model, write("new.csv", csv_text(noisy(140))))
    assert (outcome.code, outcome.err) == (0, "")
    for phrase in ("140 samples", "accuracy", "majority", "no-change", "confusion", "high", "low"):
        assert phrase in outcome.out


@pytest.mark.parametrize("options", [(), ("--report", "report.json")])
def test_a_confusion_matrix_that_is_too_wide_is_left_to_the_report(
    cli: Cli, options: tuple[str, ...]
) -> None:
    text = "x,label\n" + "".join(f"{i % 20},class {i % 20}\n" for i in range(400))
    path = write("many.csv", text)
    assert cli.replay(path, "--model", "many.json").code == 0
    outcome = cli("evaluate", "many.json", path, *options)
    assert (outcome.code, outcome.err) == (0, "")
    where = "see report.json" if options else "use --report"
    last = f"confusion matrix: too wide; {where}, or show it with --confusion"
    assert outcome.out.splitlines()[-1] == last
    if options:
        report = json.loads(Path("report.json").read_text(encoding="utf-8"))
        assert np.shape(report["confusion"]) == (20, 21)


def test_bad_records_are_counted_and_make_the_exit_code_one(cli: Cli, model: Path) -> None:
    path = write("new.csv", csv_text(rows(30)) + "1,red,low,5\n")
    outcome = cli("evaluate", model, path)
    assert outcome.code == 1
    assert "30 samples" in outcome.out
    assert "1 record" in outcome.complaint
    assert "line 32" in outcome.complaint


def test_the_target_column_is_required(cli: Cli, model: Path) -> None:
    path = write("new.csv", "number,shade,labels\n1,red,low\n")
    outcome = cli("evaluate", model, path)
    assert outcome.code == 1
    assert "'label'" in outcome.complaint


def test_files_without_true_values_are_refused(cli: Cli, model: Path) -> None:
    path = write("new.csv", "number,shade,label\n1,red,\n2,blue,\n")
    outcome = cli("evaluate", model, path)
    assert outcome.code == 1
    assert "new.csv" in outcome.complaint


def test_each_class_is_shown_and_reported_as_scikit_learn_finds_it(cli: Cli, model: Path) -> None:
    samples = noisy(140)
    path = write("new.csv", csv_text(samples))
    outcome = cli("evaluate", model, path, "--per-class", "--report", "report.json")
    assert (outcome.code, outcome.err) == (0, "")
    for phrase in ("true positives", "negative predictive value", "markedness"):
        assert phrase in outcome.out
    classes = json.loads(Path("report.json").read_text(encoding="utf-8"))["classes"]
    truth = [row["label"] for row in samples]
    given = [row["answer"] for row in read_csv(cli("predict", model, path).out)]
    for label, found in classes.items():
        precision, recall, f1, count = (
            value[0]
            for value in metrics.precision_recall_fscore_support(truth, given, labels=[label])
        )
        assert found["positives"] == count
        assert found["precision"] == pytest.approx(precision)
        assert found["recall"] == pytest.approx(recall)
        assert found["f1"] == pytest.approx(f1)


def test_a_confusion_matrix_of_any_width_is_shown_on_request(cli: Cli) -> None:
    text = "x,label\n" + "".join(f"{i % 20},class {i % 20}\n" for i in range(400))
    path = write("many.csv", text)
    assert cli.replay(path, "--model", "many.json").code == 0
    outcome = cli("evaluate", "many.json", path, "--confusion")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()[-21:]
    assert lines[0].split()[-2:] == ["class", lines[-1].split()[1]]
    assert sum(int(cell) for line in lines[1:] for cell in line.split()[2:]) == 400


@pytest.mark.parametrize("name", ["plot.png", "plot.svg"])
def test_a_confusion_is_drawn(cli: Cli, model: Path, name: str) -> None:
    path = write("new.csv", csv_text(noisy(50)))
    assert cli("evaluate", model, path, "--plot", name).code == 0
    assert len(Path(name).read_bytes()) > 3000


@pytest.fixture
def line(cli: Cli) -> Path:
    """A file of numbers; line.json is a model of it."""
    text = "x,y\n" + "".join(f"{i % 9},{i % 9 * 2.5 + i % 4}\n" for i in range(300))
    path = write("line.csv", text)
    replay(path, target="y", candidates=2).model.save("line.json")
    return path


def test_predictions_within_the_threshold_are_counted_and_residuals_drawn(
    cli: Cli, line: Path
) -> None:
    options = ("--threshold", "2", "--plot", "errors.svg", "--report", "report.json")
    outcome = cli("evaluate", "line.json", line, *options)
    assert (outcome.code, outcome.err) == (0, "")
    answers = [float(row["answer"]) for row in read_csv(cli("predict", "line.json", line).out)]
    truth = [float(row["y"]) for row in read_csv(line.read_text())]
    correct = sum(abs(y - a) < 2 for y, a in zip(truth, answers, strict=True))
    assert re.search(rf"correct \(within 2\) +{correct}\b", outcome.out)
    assert re.search(rf"wrong +{300 - correct}\b", outcome.out)
    found = json.loads(Path("report.json").read_text(encoding="utf-8"))["regression"]
    assert (found["correct"], found["samples"]) == (correct, 300)
    assert Path("errors.svg").read_text(encoding="utf-8").count("<path") > 5


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--per-class",), "per_class is given, but the model predicts numbers"),
        (("--confusion",), "confusion is given, but the model predicts numbers"),
        (("--threshold", "0"), "threshold is 0.0, but must be > 0"),
        (("--plot", "a.gif"), "plot is 'a.gif', but must end in .png or .svg"),
    ],
)
def test_options_for_classification_are_refused_for_regression(
    cli: Cli, line: Path, options: tuple[str, ...], complaint: str
) -> None:
    outcome = cli("evaluate", "line.json", line, *options)
    assert (outcome.code, outcome.complaint) == (2, complaint)


def test_labels_have_no_threshold(cli: Cli, model: Path) -> None:
    path = write("new.csv", csv_text(noisy(10)))
    outcome = cli("evaluate", model, path, "--threshold", "0.5")
    assert outcome.complaint == "threshold is given, but the model predicts labels"


def test_metrics_that_need_all_predictions_are_those_of_scikit_learn(cli: Cli, model: Path) -> None:
    samples = noisy(140)
    path = write("new.csv", csv_text(samples))
    plain = evaluated(cli, model, path)["measures"]["model"]
    found = evaluated(cli, model, path, "--all-measures")["measures"]["model"]
    assert {name: found[name] for name in plain} == plain
    known = Model.load(model)
    truth = [row["label"] for row in samples]
    shares = known.predict_proba(samples)
    areas = [
        metrics.roc_auc_score([one == label for one in truth], shares[:, number])
        for number, label in enumerate(known.labels)
    ]
    assert found["roc_auc"] == pytest.approx(np.mean(areas), abs=1e-9)
    given = known.predict(samples)
    weighted = metrics.f1_score(truth, given, average="weighted")
    assert found["weighted_f1"] == pytest.approx(weighted)
    assert {"micro_f1", "calibration_error", "gopher.accuracy"} <= set(found)


def test_more_regression_metrics_are_those_of_scikit_learn(cli: Cli, line: Path) -> None:
    found = evaluated(cli, Path("line.json"), line, "--all-measures")["measures"]["model"]
    answers = [float(row["answer"]) for row in read_csv(cli("predict", "line.json", line).out)]
    truth = [float(row["y"]) for row in read_csv(line.read_text())]
    expected = metrics.mean_pinball_loss(truth, answers, alpha=0.9)
    assert found["quantile_loss_0.9"] == pytest.approx(expected)
    assert found["distance"] == pytest.approx(found["rmse"] ** 2 / 2)


def test_labels_that_are_all_unknown_to_the_model_trigger_a_warning(cli: Cli) -> None:
    """A column of 0 and 1 that became one of truth values."""
    write("whole.csv", "x,y\n" + "".join(f"{i % 7},{i % 2}\n" for i in range(100)))
    write("other.csv", "x,y\n" + "".join(f"{i % 7},{i % 2 == 1}\n" for i in range(100)))
    assert cli("replay", "whole.csv", "--target", "y", "--quiet", "--model", "m.json").code == 0
    assert evaluated(cli, Path("m.json"), Path("whole.csv"))["measures"]["model"]["accuracy"] > 0.4
    outcome = cli("evaluate", "m.json", "other.csv")
    assert outcome.code == 0
    assert outcome.complaint == (
        "the model knows none of the labels in the files: 'False', 'True'; its labels are '0', '1'"
    )


@pytest.mark.parametrize("more", [(), ("--all-measures",)])
def test_samples_count_by_their_weights(cli: Cli, model: Path, more: tuple[str, ...]) -> None:
    weight = [0.0, 0.5, 1.0, 4.0]
    samples = [{**row, "w": weight[i % 4]} for i, row in enumerate(noisy(203))]
    path = write("new.csv", csv_text(samples))
    answers = [row["answer"] for row in read_csv(cli("predict", model, path).out)]
    report = evaluated(cli, model, path, "--weight", "w", *more)
    counted = [i for i in range(203) if samples[i]["w"]]
    assert report["samples"] == len(counted)
    pair: Any = [samples[i]["label"] for i in counted], [answers[i] for i in counted]
    w = [samples[i]["w"] for i in counted]
    found = report["measures"]["model"]
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(*pair, sample_weight=w))
    assert found["accuracy"] != pytest.approx(metrics.accuracy_score(*pair))
    assert found["kappa"] == pytest.approx(metrics.cohen_kappa_score(*pair, sample_weight=w))
    labels = report["labels"]
    matrix = metrics.confusion_matrix(*pair, labels=labels, sample_weight=w)
    assert np.array(report["confusion"])[:, :-1] == pytest.approx(matrix)
    assert ("roc_auc" in found) == bool(more)


def test_numbers_count_by_their_weights(cli: Cli) -> None:
    rng = np.random.default_rng(1)
    table = [
        {"x": x, "y": 3 * x + e, "w": w}
        for x, e, w in zip(
            rng.normal(size=400).tolist(),
            rng.normal(size=400).tolist(),
            rng.choice([0.0, 1.0, 5.0], 400).tolist(),
            strict=True,
        )
    ]
    path = write("numbers.csv", csv_text(table))
    trained = cli("replay", path, "--target", "y", "--drop", "w", "--candidates", 2, "--quiet",
                  "--model", "numbers.json")  # fmt: skip
    assert trained.code == 0
    report = evaluated(cli, Path("numbers.json"), path, "--weight", "w", "--threshold", "1")
    answers = [float(row["answer"]) for row in read_csv(cli("predict", "numbers.json", path).out)]
    counted = [i for i in range(400) if table[i]["w"]]
    pair = [table[i]["y"] for i in counted], [answers[i] for i in counted]
    w = [table[i]["w"] for i in counted]
    found = report["measures"]["model"]
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(*pair, sample_weight=w))
    assert found["r2"] == pytest.approx(metrics.r2_score(*pair, sample_weight=w))
    right = np.abs(np.subtract(*pair)) < 1
    ratio = report["regression"]["measures"]["correct_ratio"]
    assert ratio == pytest.approx(np.average(right, weights=w))


def test_a_wrong_column_of_weights_is_refused_and_a_wrong_weight_rejected(
    cli: Cli, model: Path
) -> None:
    samples = [{**row, "w": "-1" if i == 3 else "2"} for i, row in enumerate(noisy(20))]
    path = write("new.csv", csv_text(samples))
    assert "weight is 'number'" in cli("evaluate", model, path, "--weight", "number").complaint
    assert "'v'" in cli("evaluate", model, path, "--weight", "v").complaint
    outcome = cli("evaluate", model, path, "--weight", "w")
    assert outcome.code == 1
    assert "the weight 'w' is -1, but must be from 0 to 1e+09" in outcome.complaint

"""``streamnet predict``: a row for each sample, whatever else its file holds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from streamnet.modelfiles import Model
from streamnet.runs.replay import replay
from tests.cli.invocation import Cli, Row, csv_text, json_lines, read_csv, rows, write

NEW = rows(90, start=1000)


def without(name: str) -> list[Row]:
    return [{key: value for key, value in row.items() if key != name} for row in NEW]


def test_csv_goes_to_standard_output(cli: Cli, model: Path) -> None:
    outcome = cli("predict", model, write("new.csv", csv_text(NEW)))
    assert (outcome.code, outcome.err) == (0, "")
    answers = read_csv(outcome.out)
    assert list(answers[0]) == ["source", "position", "answer", "probabilities"]
    assert [row["answer"] for row in answers] == [row["label"] for row in NEW]
    assert [row["position"] for row in answers] == [str(i) for i in range(2, 92)]
    assert {row["source"] for row in answers} == {"new.csv"}


def test_predictions_are_those_of_the_model(cli: Cli, model: Path) -> None:
    outcome = cli("predict", model, write("new.csv", csv_text(NEW)))
    loaded = Model.load(model)
    shares = loaded.predict_proba(NEW).tolist()
    answers = read_csv(outcome.out)
    assert [row["answer"] for row in answers] == loaded.predict(NEW).tolist()
    for row, share in zip(answers, shares, strict=True):
        expected = dict(zip(loaded.labels, share, strict=True))
        assert json.loads(row["probabilities"]) == pytest.approx(expected, rel=1e-5, abs=1e-12)


def test_both_model_formats_predict_the_same(cli: Cli, trained: Path) -> None:
    path = write("new.csv", csv_text(NEW))
    outcomes = [cli("predict", trained / f"model.{end}", path) for end in ("json", "safetensors")]
    assert outcomes[0].code == 0
    assert outcomes[0] == outcomes[1]


def test_json_lines_say_the_same_as_csv(cli: Cli, model: Path) -> None:
    path = write("new.csv", csv_text(NEW))
    for name in ("answers.csv", "answers.jsonl"):
        assert cli("predict", model, path, "--output", name) == (0, "", "")
    from_csv = read_csv(Path("answers.csv").read_text(encoding="utf-8"))
    from_json = json_lines(Path("answers.jsonl").read_text(encoding="utf-8"))
    assert len(from_json) == 90
    for one, other in zip(from_json, from_csv, strict=True):
        assert json.loads(other["probabilities"]) == one["probabilities"]
        assert (one["source"], one["answer"]) == (other["source"], other["answer"])
        assert one["position"] == int(other["position"])


def test_the_target_column_may_be_absent(cli: Cli, model: Path) -> None:
    whole = cli("predict", model, write("new.csv", csv_text(NEW)))
    assert cli("predict", model, write("new.csv", csv_text(without("label")))) == whole


def test_extra_columns_and_their_order_do_not_matter(cli: Cli, model: Path) -> None:
    whole = cli("predict", model, write("new.csv", csv_text(NEW)))
    shuffled = [{"note": "n", "shade": r["shade"], "more": 5, "number": r["number"]} for r in NEW]
    path = write("new.csv", csv_text(shuffled))
    assert cli("predict", model, path, "--on-unknown", "ignore") == whole
    told = "the model does not know the columns 'note', 'more'"
    outcome = cli("predict", model, path)
    assert (outcome.code, outcome.out) == (0, whole.out)
    assert f"new.csv: {told}" in outcome.err
    refused = cli("predict", model, path, "--on-unknown", "raise")
    assert (refused.code, refused.out) == (1, "")
    assert told in refused.complaint


def test_a_column_that_the_model_needs_must_be_there(cli: Cli, model: Path) -> None:
    outcome = cli("predict", model, write("new.csv", csv_text(without("shade"))))
    assert outcome.code == 1
    assert outcome.out == ""
    assert "new.csv" in outcome.complaint
    assert "'shade'" in outcome.complaint


def test_samples_with_missing_or_new_values_are_predicted(cli: Cli, model: Path) -> None:
    path = write("new.csv", "number,shade\n,red\n6,\n6,violet\n")
    outcome = cli("predict", model, path)
    answers = [row["answer"] for row in read_csv(outcome.out)]
    assert (outcome.code, outcome.err) == (0, "")
    assert len(answers) == 3
    assert answers[1:] == ["high", "high"]


def test_json_lines_may_lack_keys(cli: Cli, model: Path) -> None:
    path = write("new.jsonl", '{"number": 6}\n{"shade": "red", "number": 0, "other": 1}\n')
    outcome = cli("predict", model, path)
    assert outcome.code == 0
    assert [row["answer"] for row in read_csv(outcome.out)] == ["high", "low"]


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_json_lines_without_a_column_of_the_model_are_refused(
    cli: Cli, model: Path, command: str
) -> None:
    path = write("new.jsonl", '{"label": "high", "other": 1}\n')
    outcome = cli(command, model, path)
    assert outcome.code == 1
    assert outcome.out == ""
    assert outcome.complaint == (
        "new.jsonl has only 'label', 'other': no column is one that the model knows: "
        "'number', 'shade'"
    )


def test_a_missing_target_is_reported_with_the_columns_of_the_file(cli: Cli, model: Path) -> None:
    outcome = cli("evaluate", model, write("new.jsonl", '{"number": 6, "other": 1}\n'))
    assert "has no column 'label'" in outcome.complaint
    assert "but only 'number', 'other'." in outcome.complaint


def test_a_model_of_numbered_columns_is_rejected_for_named_columns(cli: Cli) -> None:
    lines = "".join(f"{i % 2} 1:{i % 2} 2:{i % 3}\n" for i in range(300))
    replay(write("f.svm", lines), candidates=2).model.save("svm.json")
    assert cli("predict", "svm.json", "f.svm").code == 0
    outcome = cli("predict", "svm.json", write("f.csv", "a,b\n1,2\n"))
    assert outcome.code == 1
    assert outcome.complaint == (
        "f.csv is not a libSVM file, but the model knows only numbered columns"
    )


def test_bad_records_are_left_out_counted_and_make_the_exit_code_one(cli: Cli, model: Path) -> None:
    path = write("new.csv", "number,shade\n1,red\n2,red,3\n5,blue\n6,a,b,c\n")
    outcome = cli("predict", model, path)
    assert outcome.code == 1
    assert [row["position"] for row in read_csv(outcome.out)] == ["2", "4"]
    for phrase in ("2 records", "new.csv", "line 3"):
        assert phrase in outcome.complaint


def test_files_are_predicted_in_the_order_given(cli: Cli, model: Path) -> None:
    for name in ("b.csv", "a.csv"):
        write(name, csv_text(NEW[:5]))
    outcome = cli("predict", model, "b.csv", "a.csv")
    assert [row["source"] for row in read_csv(outcome.out)] == ["b.csv"] * 5 + ["a.csv"] * 5


def test_a_regression_predicts_numbers_without_probabilities(cli: Cli) -> None:
    text = "x,y\n" + "".join(f"{i % 9},{i % 9 * 2.5}\n" for i in range(900))
    replay(write("line.csv", text), target="y", candidates=2).model.save("line.json")
    outcome = cli("predict", "line.json", write("new.csv", "x\n0\n4\n8\n"))
    answers = read_csv(outcome.out)
    assert outcome.code == 0
    assert [row["probabilities"] for row in answers] == ["", "", ""]
    assert [float(row["answer"]) for row in answers] == pytest.approx([0, 10, 20], abs=2)


def test_reading_options_apply(cli: Cli, model: Path) -> None:
    path = write("new.txt", "number;shade\n6;red\n?;red\n0;blue\n")
    options = ("--format", "csv", "--delimiter", ";", "--missing", "?")
    outcome = cli("predict", model, path, *options)
    assert (outcome.code, outcome.err) == (0, "")
    answers = [row["answer"] for row in read_csv(outcome.out)]
    assert (answers[0], answers[2]) == ("high", "low")


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_model_that_was_learned_with_an_interval_predicts_it(cli: Cli, suffix: str) -> None:
    path = write("good.csv", csv_text(rows(400)))
    common = ("--candidates", 2, "--quiet", "--interval", 0.8, "--model", "m.json")
    for target, task, columns in (
        ("label", "classification", ["set"]),
        ("number", "regression", ["lower", "upper"]),
    ):
        assert cli("replay", path, "--target", target, "--task", task, *common).code == 0
        assert cli("predict", "m.json", path, "--output", f"p.{suffix}").code == 0
        text = Path(f"p.{suffix}").read_text(encoding="utf-8")
        found = read_csv(text) if suffix == "csv" else json_lines(text)
        assert list(found[0])[4:] == columns
        model = Model.load("m.json")
        if target == "label":
            sets = [json.loads(row["set"]) if suffix == "csv" else row["set"] for row in found]
            assert list(map(set, sets)) == model.predict_set(rows(400))
        else:
            bounds = [[float(row["lower"]), float(row["upper"])] for row in found]
            assert np.array(bounds) == pytest.approx(model.predict_interval(rows(400)))


def test_last_targets_are_given_to_a_model_that_needs_them(cli: Cli) -> None:
    lines = [{"x": i * i % 7, "y": "abc"[i % 3]} for i in range(3000)]
    path = write("ordered.csv", csv_text(lines))
    replay(path, target="y", serve="champion", model="ordered.safetensors")
    assert "needs the last 2" in cli("inspect", "ordered.safetensors").out
    new = write("next.csv", csv_text([{"x": 3}]))
    given = "predict", "ordered.safetensors", new, "--last-targets"
    for last, following in (("a,b", "c"), ("c, b, c", "a"), ("c,a", "b")):
        outcome = cli(*given, last)
        assert (outcome.code, outcome.err) == (0, "")
        assert [row["answer"] for row in read_csv(outcome.out)] == [following]
    blind = cli("predict", "ordered.safetensors", new)
    (row,) = read_csv(blind.out)
    assert max(json.loads(row["probabilities"]).values()) < 0.6

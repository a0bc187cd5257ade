"""``streamnet replay``: what it writes fits together, and says what happened."""

from __future__ import annotations

import gzip
import json
import shlex
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from streamnet.cli.options import (
    DataOptions,
    EncoderOptions,
    OutputOptions,
    PopulationOptions,
    ReadingOptions,
    RunOptions,
    SearchOptions,
    SelectionOptions,
    StateOptions,
)
from streamnet.modelfiles import Model
from streamnet.settings.run import RunSettings
from tests.cli.invocation import Cli, csv_text, json_lines, read_csv, rows, write

TIMES = ("seconds", "startup_seconds", "samples_per_second")


def good(count: int = 300) -> Path:
    return write("good.csv", csv_text(rows(count)))


def spoiled(count: int, every: int) -> str:
    """A CSV file in which each record of some is followed by one with too many fields."""
    header, *records = csv_text(rows(count)).splitlines()
    bad = (f"{record}\nbad,{i},too,long" for i, record in enumerate(records[every - 1 :: every]))
    for place in range(every - 1, count, every):
        records[place] = next(bad)
    return "\n".join([header, *records]) + "\n"


def predictions(name: str = "answers.csv") -> list[dict[str, str]]:
    return read_csv(Path(name).read_text(encoding="utf-8"))


def test_model_report_predictions_and_dead_letters_fit_together(cli: Cli) -> None:
    write("mixed.csv", spoiled(600, every=30))
    outputs = ("--model", "model.json", "--predictions", "answers.csv")
    report = cli.report("mixed.csv", *outputs, "--dead-letters", "bad.jsonl")
    letters = json_lines(Path("bad.jsonl").read_text(encoding="utf-8"))
    assert report["samples"] == report["learned"] + report["rejected"] == 620
    assert report["learned"] == report["scored"] == 600
    assert report["rejected"] == len(letters) == 20
    assert report["rejected_reasons"] == Counter(letter["reason"] for letter in letters)
    lines = Path("mixed.csv").read_text(encoding="utf-8").splitlines()
    assert [letter["raw"] for letter in letters] == [x for x in lines if x.startswith("bad")]
    assert all(lines[letter["line"] - 1] == letter["raw"] for letter in letters)
    answers = predictions()
    assert [row["truth"] for row in answers] == [row["label"] for row in rows(600)]
    assert [lines[int(row["position"]) - 1].split(",")[2] for row in answers] == [
        row["truth"] for row in answers
    ]
    accuracy = accuracy_score([row["truth"] for row in answers], [row["answer"] for row in answers])
    assert report["served"]["accuracy"] == pytest.approx(accuracy, abs=1e-12)
    model = Model.load("model.json")
    assert model.about["samples"] == 600
    assert model.settings.as_dict() == report["champion"]["settings"]
    assert {row["candidate"] for row in answers} == {"-2"}
    assert report["serves"] == "ensemble"


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_samples_without_a_label_are_predicted_and_counted(cli: Cli, task: str) -> None:
    samples = rows(600)
    gaps = [*range(40), *range(200, 230), 599]
    for i, sample in enumerate(samples):
        sample["label"] = sample["label"] if task == "classification" else 3.5 * sample["number"]
        if i in gaps:
            sample["label"] = "NA" if i % 2 else ""
    write("gaps.csv", csv_text(samples))
    report = cli.report("gaps.csv", "--predictions", "answers.csv")
    assert report["task"] == task
    assert report["samples"] == report["learned"] == 600 == report["scored"] + len(gaps)
    assert (report["unlabeled"], report["rejected"]) == (len(gaps), 0)
    answers = predictions()
    assert [i for i, row in enumerate(answers) if not row["truth"]] == gaps
    known = [(row["truth"], row["answer"]) for row in answers if row["truth"]]
    if task == "classification":
        assert [i for i, row in enumerate(answers) if not row["answer"]] == list(range(41))
        score = accuracy_score([t for t, _ in known], [a for _, a in known])
        assert report["served"]["accuracy"] == pytest.approx(score, abs=1e-12)
    else:
        errors = [abs(float(truth) - float(answer)) for truth, answer in known]
        assert report["served"]["mae"] == pytest.approx(sum(errors) / len(errors), rel=1e-9)
    outcome = cli("replay", "gaps.csv", "--target", "label", "--candidates", 2)
    assert f"600 samples ({len(gaps)} without a label) in " in outcome.out


def test_each_class_is_shown_with_the_metrics_of_its_predictions(cli: Cli) -> None:
    write("good.csv", csv_text(rows(600)))
    outcome = cli("replay", "good.csv", "--target", "label", "--predictions", "answers.csv")
    lines = outcome.out.splitlines()
    start = next(i for i, line in enumerate(lines) if "PR AUC" in line)
    head, *shown = (line.split() for line in lines[start : start + 3])
    assert head[:5] == ["class", "support", "precision", "recall", "F1"]
    answers = predictions()
    truths, found = ([row[name] for row in answers] for name in ("truth", "answer"))
    labels = [row[0] for row in shown]
    assert sorted(labels) == sorted({*truths})
    measures = precision_recall_fscore_support(truths, found, labels=labels, zero_division=0.0)
    for place, (_, support, *cells, roc, precision) in enumerate(shown):
        assert int(support) == measures[3][place]
        assert cells == [f"{measure[place]:.4f}" for measure in measures[:3]]
        assert 0.5 < float(roc) <= 1.0 >= float(precision) > 0.5


def test_a_file_without_any_label_is_an_error_that_names_the_target(cli: Cli) -> None:
    write("empty.csv", csv_text([{**row, "label": ""} for row in rows(50)]))
    outcome = cli.replay("empty.csv")
    assert outcome.code == 1
    assert outcome.complaint == (
        "empty.csv has no value of the target 'label' in its first records, so that the task is "
        "unknown: --task classification or --task regression states it"
    )


def test_rejected_records_go_to_a_file_of_their_own_unless_it_is_named(cli: Cli) -> None:
    write("mixed.csv", spoiled(200, every=50))
    outcome = cli("replay", "mixed.csv", "--target", "label", "--candidates", 2)
    assert (outcome.code, outcome.err) == (0, "")
    assert "4 records" in outcome.out
    assert "rejected.jsonl" in outcome.out
    assert len(json_lines(Path("rejected.jsonl").read_text(encoding="utf-8"))) == 4


def test_a_run_without_bad_records_leaves_no_file_for_them(cli: Cli) -> None:
    assert cli.replay(good()) == (0, "", "")
    assert [path.name for path in Path().iterdir()] == ["good.csv"]


def test_the_summary_names_measures_champion_and_files(cli: Cli) -> None:
    outcome = cli(
        "replay", good(), "--target", "label", "--candidates", 2, "--model", "best.safetensors"
    )
    assert (outcome.code, outcome.err) == (0, "")
    for phrase in ("good.csv", "2 candidates", "300 samples", "accuracy", "served", "majority"):
        assert phrase in outcome.out
    assert "best.safetensors" in outcome.out
    assert "\x1b" not in outcome.out


def test_predictions_as_json_lines_say_the_same_as_csv(cli: Cli) -> None:
    cli.replay(good(), "--predictions", "answers.csv")
    cli.replay(good(), "--predictions", "answers.jsonl")
    from_json = json_lines(Path("answers.jsonl").read_text(encoding="utf-8"))
    from_csv = predictions()
    assert len(from_json) == len(from_csv) == 300
    for one, other in zip(from_json, from_csv, strict=True):
        assert (one["answer"] or "", one["truth"]) == (other["answer"], other["truth"])
        assert one["probabilities"] == json.loads(other["probabilities"])


def test_every_format_gives_the_same_predictions(cli: Cli) -> None:
    samples = rows(300)
    files = {
        "a.csv": csv_text(samples).encode(),
        "a.tsv": csv_text(samples, "\t").encode(),
        "a.jsonl": "".join(json.dumps(row) + "\n" for row in samples).encode(),
        "a.csv.gz": gzip.compress(csv_text(samples).encode()),
    }
    scores = []
    for name, content in files.items():
        Path(name).write_bytes(content)
        report = cli.report(name, "--predictions", "answers.csv")
        answers = [(row["answer"], row["probabilities"]) for row in predictions()]
        scores.append((report["learned"], report["served"], report["champion"], answers))
    assert scores[0][0] == 300
    assert all(one == other for one, other in pairwise(scores))


def test_files_are_one_stream_in_the_order_given(cli: Cli) -> None:
    write("b.csv", csv_text(rows(120)))
    write("a.csv", csv_text(rows(80, start=120)))
    report = cli.report("b.csv", "a.csv", "--predictions", "answers.csv")
    assert report["learned"] == 200
    answers = predictions()
    assert [row["truth"] for row in answers] == [row["label"] for row in rows(200)]
    assert Counter(row["source"] for row in answers) == {"b.csv": 120, "a.csv": 80}
    assert cli.report("[ab].csv", "--limit", 100)["learned"] == 100


def test_a_number_as_target_is_a_regression(cli: Cli) -> None:
    text = "x,y\n" + "".join(f"{i % 9},{i % 9 * 2.5}\n" for i in range(900))
    write("line.csv", text)
    outputs = ("--report", "report.json", "--predictions", "answers.csv")
    assert cli("replay", "line.csv", "--target", "y", "--candidates", 2, *outputs).code == 0
    report = json.loads(Path("report.json").read_text(encoding="utf-8"))
    assert report["task"] == "regression"
    errors = [abs(float(r["answer"] or 0) - float(r["truth"])) for r in predictions()]
    assert report["served"]["mae"] == pytest.approx(sum(errors) / len(errors), rel=1e-6)
    assert report["served"]["mae"] < report["baselines"]["no_change"]["mae"]


def test_a_limit_is_kept_to_the_sample(cli: Cli) -> None:
    for limit in (1, 37, 299, 300, 1000):
        assert cli.report(good(), "--limit", limit)["learned"] == min(limit, 300)


def test_only_the_first_epoch_is_scored(cli: Cli) -> None:
    once = cli.report(good(), "--predictions", "once.csv")
    thrice = cli.report(good(), "--epochs", 3, "--predictions", "thrice.csv")
    assert (once["learned"], once["scored"]) == (300, 300)
    assert (thrice["learned"], thrice["scored"]) == (900, 300)
    assert thrice["served"] == once["served"]
    assert Path("thrice.csv").read_bytes() == Path("once.csv").read_bytes()


def test_epochs_and_limit_go_together(cli: Cli) -> None:
    report = cli.report(good(), "--epochs", 2, "--limit", 50)
    assert (report["learned"], report["scored"]) == (100, 50)


def test_a_shuffle_depends_on_nothing_but_the_seed(cli: Cli) -> None:
    contents = []
    for seed, size in ((1, 7), (1, 300), (2, 300)):
        options = ("--seed", seed, "--block-size", size, "--predictions", "answers.csv")
        assert cli.replay(good(), "--shuffle-buffer", 50, *options).code == 0
        contents.append(Path("answers.csv").read_bytes())
    assert contents[0] == contents[1]
    assert contents[1] != contents[2]
    truth, in_order = [row["truth"] for row in predictions()], [row["label"] for row in rows(300)]
    assert truth != in_order
    assert Counter(truth) == Counter(in_order)


def test_block_size_and_threads_change_no_byte(cli: Cli) -> None:
    write("mixed.csv", spoiled(700, every=25))
    names = ("model.json", "answers.csv", "rejected.jsonl")
    found: list[tuple[Any, ...]] = []
    for size, threads in ((1, 1), (64, 2), (1024, 1)):
        options = ("--block-size", size, "--threads", threads)
        report = cli.report(
            "mixed.csv", *options, "--model", "model.json", "--predictions", "answers.csv"
        )
        for name in TIMES:
            report.pop(name)
        assert report["settings"].pop("run") == {"block_size": size, "threads": threads}
        assert report["environment"].pop("threads") == threads
        found.append((json.dumps(report), *(Path(name).read_bytes() for name in names)))
    assert found[0] == found[1] == found[2]


def test_options_override_the_run_file(cli: Cli) -> None:
    write(
        "run.toml",
        '[source]\nfiles = "good.csv"\ntarget = "label"\nlimit = 200\n'
        "[run]\nseed = 5\n[population]\ncandidates = 3\n",
    )
    good()
    options = ("--config", "run.toml", "--report", "report.json", "--quiet")
    for extra, learned in (((), 200), (("--limit", 40), 40)):
        assert cli("replay", *options, *extra) == (0, "", "")
        report = json.loads(Path("report.json").read_text(encoding="utf-8"))
        assert (report["learned"], report["seed"]) == (learned, 5)
        assert len(report["candidates"]) == 3
        assert report["settings"]["source"]["limit"] == learned


def test_a_wrong_run_file_is_reported_with_its_line(cli: Cli) -> None:
    write("run.toml", '[source]\nfiles = "good.csv"\nlimitt = 3\n')
    outcome = cli("replay", good(), "--config", "run.toml")
    assert outcome.code == 2
    assert "run.toml:3" in outcome.complaint
    assert "limitt" in outcome.complaint


def test_a_dropped_column_is_not_learned(cli: Cli) -> None:
    assert cli.replay(good(), "--drop", "shade", "--model", "model.json").code == 0
    assert [field.name for field in Model.load("model.json").fields] == ["number"]


def test_an_empty_field_is_missing_whatever_other_words_are(cli: Cli) -> None:
    lines = [f"{i % 7 if i % 2 else ('', 'none')[i // 2 % 2]},{i % 3}\n" for i in range(60)]
    path = write("gaps.csv", "".join(["number,label\n", *lines]))
    options = ("--task", "classification", "--kind", "number=number", "--missing", "none")
    report = cli.report(path, *options)
    assert (report["learned"], report["rejected"]) == (60, 0)


def test_the_advice_on_a_word_among_numbers_reads_it_as_missing_beside_the_others(cli: Cli) -> None:
    words = {7: "-", 9: "NA", 30: "NA"}
    lines = [f"{words.get(i, i * 3)},{i % 3}\n" for i in range(60)]
    path = write("gaps.csv", "".join(["number,label\n", *lines]))
    said = cli.replay(path).err
    (option,) = (word for word in shlex.split(said) if "--missing" in word)
    report = cli.report(path, option.removeprefix("("))
    assert (report["learned"], report["rejected"]) == (60, 0)


def test_a_given_kind_takes_precedence_over_the_inferred_one(cli: Cli) -> None:
    path = write("good.csv", csv_text({**row, "size": i * 0.5} for i, row in enumerate(rows(300))))
    for options, kind in (((), "number"), (("--kind", "number=category"), "category")):
        assert cli.replay(path, *options, "--model", "model.json").code == 0
        kinds = {field.name: str(field.kind) for field in Model.load("model.json").fields}
        assert kinds["number"] == kind


def test_kinds_of_several_columns_are_given_by_repeating_the_option(cli: Cli) -> None:
    options = ("--kind", "number=category", "--kind", "shade=text")
    assert cli.replay(good(), *options, "--model", "model.json").code == 0
    kinds = {field.name: str(field.kind) for field in Model.load("model.json").fields}
    assert kinds == {"number": "category", "shade": "text"}


def test_candidates_are_those_asked_for(cli: Cli) -> None:
    arguments = "--target label --hidden 5,3-2 --activation relu --optimizer sgd,adam --quiet"
    assert cli("replay", good(), *arguments.split(), "--report", "report.json").code == 0
    report = json.loads(Path("report.json").read_text(encoding="utf-8"))
    settings = [row["settings"] for row in report["candidates"]]
    assert {(tuple(one["hidden"]), one["optimizer"]) for one in settings} == {
        ((5,), "sgd"), ((5,), "adam"), ((3, 2), "sgd"), ((3, 2), "adam")
    }  # fmt: skip


def test_a_target_with_a_single_value_is_learned_with_a_note(cli: Cli) -> None:
    write("one.csv", "x,label\n" + "".join(f"{i},always\n" for i in range(50)))
    outcome = cli(
        "replay", "one.csv", "--target", "label", "--candidates", 2, "--model", "model.json"
    )
    assert (outcome.code, outcome.err) == (0, "")
    assert "'always'" in outcome.out
    assert Model.load("model.json").predict({"x": 3})[0] == "always"


def test_if_all_records_are_bad_the_first_one_is_named(cli: Cli) -> None:
    write("bad.csv", csv_text(rows(50)))
    outputs = ("--model", "model.json", "--report", "report.json")
    outcome = cli.replay("bad.csv", "--task", "regression", *outputs)
    assert outcome.code == 1
    for phrase in ("50 records", "bad.csv", "line 2", "label"):
        assert phrase in outcome.complaint
    assert not Path("model.json").exists()
    assert len(json_lines(Path("rejected.jsonl").read_text(encoding="utf-8"))) == 50


def test_too_many_bad_records_end_the_run_but_what_was_learned_is_written(cli: Cli) -> None:
    text = csv_text(rows(1500)) + "".join(f"bad,{i},too,long\n" for i in range(900))
    write("worse.csv", text)
    outputs = ("--model", "model.json", "--report", "report.json")
    outcome = cli.replay("worse.csv", *outputs, "--predictions", "answers.csv")
    assert outcome.code == 1
    for phrase in ("worse.csv", "line ", "rejected", "10%", "rejected.jsonl"):
        assert phrase in outcome.complaint
    report = json.loads(Path("report.json").read_text(encoding="utf-8"))
    assert report["learned"] == 1500 == Model.load("model.json").about["samples"]
    assert len(predictions()) == 1500
    letters = json_lines(Path("rejected.jsonl").read_text(encoding="utf-8"))
    assert len(letters) == report["rejected"] == 101
    assert cli.replay("worse.csv", "--max-rejected", 1).code == 0


def test_options_are_keys_of_a_run_file() -> None:
    groups = (
        DataOptions,
        ReadingOptions,
        EncoderOptions,
        PopulationOptions,
        SelectionOptions,
        SearchOptions,
        RunOptions,
        StateOptions,
        OutputOptions,
    )
    for group in groups:
        for path, flag in group.list_flags().items():
            section, key, *inner = path.split(".")
            assert key in type(getattr(RunSettings(), section)).model_fields, flag
            assert inner in ([], ["code"])


def test_ways_to_encode_reach_the_model(cli: Cli) -> None:
    Path("run.toml").write_text("[encoder]\nscaling = 'minmax'\nscalings = { number = 'none' }\n")
    options = (
        "--config",
        "run.toml",
        "--scaling",
        "rank",
        "--text",
        "auto",
        "--duplicates",
        "drop",
    )
    assert cli.replay(good(), *options, "--model", "model.json").code == 0
    settings = Model.load("model.json").document()["encoder"]["settings"]
    chosen = {name: settings[name] for name in ("scaling", "scalings", "text", "duplicates")}
    assert chosen == {
        "scaling": "rank",
        "scalings": {"number": "none"},
        "text": "auto",
        "duplicates": "drop",
    }
    outcome = cli.replay(good(), "--scaling", "ranks")
    assert (outcome.code, "--scaling" in outcome.complaint) == (2, True)


def test_a_run_cannot_resume_with_another_encoder(cli: Cli) -> None:
    options = ("--state", "state", "--resume")
    assert cli.replay(good(), "--limit", 100, *options).code == 0
    outcome = cli.replay(good(), "--limit", 200, "--scaling", "rank", *options)
    assert outcome.code == 1
    assert "encoder.scaling is rank, but was standard" in outcome.complaint
    assert cli.replay(good(), "--limit", 200, *options).code == 0


def test_a_run_resumes_with_the_same_bits_however_columns_are_encoded(cli: Cli) -> None:
    options = ("--scaling", "robust", "--text", "auto", "--duplicates", "drop", "--resume")
    for limit in (100, 300):
        outputs = ("--state", "cut", "--model", "cut.json")
        assert cli.replay(good(), "--limit", limit, *outputs, *options).code == 0
    outputs = ("--state", "whole", "--model", "whole.json")
    assert cli.replay(good(), "--limit", 300, *outputs, *options).code == 0
    assert Path("cut.json").read_bytes() == Path("whole.json").read_bytes()


def test_networks_for_labels_in_a_run_file_cannot_learn_numbers(cli: Cli) -> None:
    Path("run.toml").write_text("[[population.candidate]]\nloss = 'cross_entropy'\n")
    arguments = "--target number --task regression --config run.toml"
    outcome = cli("replay", good(), *arguments.split())
    complaint = "loss is 'cross_entropy', but for a regression must be 'squared', 'absolute'"
    assert (outcome.code, complaint in outcome.complaint) == (2, True), outcome.complaint


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("scalings = { numbre = 'rank' }", "encoder.scalings names 'numbre', but must name one of"),
        ("texts = { words = 'ngrams' }", "encoder.texts names 'words', but must name one of"),
        ("scalings = { shade = 'rank' }", "scalings names 'shade', but it is of kind category"),
    ],
)
def test_an_impossible_encoding_of_a_column_is_rejected(
    cli: Cli, line: str, complaint: str
) -> None:
    Path("run.toml").write_text(f"[encoder]\n{line}\n")
    outcome = cli.replay(good(), "--config", "run.toml")
    assert (outcome.code, complaint in outcome.complaint) == (2, True), outcome.complaint
    assert "Traceback" not in outcome.complaint


def test_the_champion_is_chosen_by_the_criterion_that_is_asked_for(cli: Cli) -> None:
    path = write("train.csv", csv_text(rows(300)))
    report = cli.report(path, "--criterion", "accuracy", "--serve", "champion")
    assert report["settings"]["selection"]["criterion"] == "accuracy"
    # The loss of a candidate is the share of its answers that were wrong.
    assert all(0.0 <= one["loss"] <= 1.0 for one in report["candidates"])
    outcome = cli.replay(path, "--criterion", "f1")
    assert outcome.code == 2
    assert "the champion of a classification must be chosen by one of" in outcome.complaint
    outcome = cli.replay(path, "--criterion", "best")
    assert outcome.code == 2
    assert "must be 'accuracy', 'balanced_accuracy'" in outcome.complaint


def test_the_separator_of_thousands_can_be_stated(cli: Cli) -> None:
    samples = [{**row, "label": f"{1 + row['number']},{i:03}"} for i, row in enumerate(rows(300))]
    write("sales.csv", csv_text(samples))
    outcome = cli.replay("sales.csv")
    assert (outcome.code, "--thousands" in outcome.complaint) == (1, True)
    report = cli.report("sales.csv", "--thousands", ",", "--predictions", "answers.csv")
    assert (report["task"], report["scored"]) == ("regression", 300)
    truth = [float(row["truth"]) for row in predictions()]
    assert truth == [1000.0 * (1 + row["number"]) + i for i, row in enumerate(rows(300))]


def test_intervals_are_written_and_summed_up(cli: Cli) -> None:
    good(600)
    outcome = cli(
        *("replay", "good.csv", "--target", "label", "--candidates", 2, "--interval", 0.8),
        *("--predictions", "answers.csv", "--report", "report.json", "--model", "model.json"),
    )
    report = json.loads(Path("report.json").read_text(encoding="utf-8"))["intervals"]
    held = [row["truth"] in json.loads(row["set"]) for row in predictions()]
    assert (report["level"], report["scored"]) == (0.8, 600)
    assert report["overall"]["coverage"] == pytest.approx(sum(held) / 600)
    (line,) = (line for line in outcome.out.splitlines() if line.startswith("intervals"))
    assert line.split()[1:4] == ["80", "%:", "coverage"]
    assert "intervals" in cli("inspect", "report.json").out
    assert Model.load("model.json").interval == 0.8


@pytest.mark.parametrize("limit", [1100, 1250])
def test_a_run_resumes_before_and_after_a_column_got_its_kind(cli: Cli, limit: int) -> None:
    samples = [{**row, "late": "" if i < 1200 else i % 5} for i, row in enumerate(rows(1500))]
    write("late.csv", csv_text(samples))
    outputs = ("--model", "model.json", "--predictions", "answers.csv", "--state", "state")
    notice = "line 1202: column 'late' has its first value there, '0', so its kind is number"
    whole = cli.replay("late.csv", "--limit", 9999, *outputs[:4], "--state", "whole")
    assert (whole.code, notice in whole.complaint) == (0, True)
    expected = Path("model.json").read_bytes(), Path("answers.csv").read_bytes()
    assert b'"late"' in expected[0]
    first = cli.replay("late.csv", "--limit", limit, "--block-size", 77, *outputs)
    assert (first.code, notice in first.err) == (0, limit > 1200)
    second = cli.replay("late.csv", "--limit", 9999, *outputs, "--resume", "--threads", 1)
    assert (second.code, notice in second.err) == (0, limit < 1200)
    assert (Path("model.json").read_bytes(), Path("answers.csv").read_bytes()) == expected

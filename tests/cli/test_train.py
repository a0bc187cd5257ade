"""``streamnet train``: files in, a model, a report and tables out."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from streamnet.engine import Engine
from streamnet.modelfiles import Model
from streamnet.samples import Field, Kind
from tests.cli.invocation import Cli, csv_text, write
from tests.cli.processes import on_a_terminal, start
from tests.engine.sets import moons, slope

QUICK = ("--epochs", 5, "--tries", 2, "--hidden", "8", "--learning-rate", 0.1, "--decay", 0.05)

LONG = ("--epochs", 1_000_000, "--tries", 2, "--hidden", "8")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    moons(100).save(tmp_path / "moons.csv")
    return tmp_path / "moons.csv"


def test_model_and_report_are_written_and_tables_shown(
    cli: Cli, file: Path, tmp_path: Path
) -> None:
    model, report = tmp_path / "m.safetensors", tmp_path / "r.json"
    done = cli("train", file, *QUICK, "--model", model, "--report", report)
    assert (done.code, done.err) == (0, "")
    told = json.loads(report.read_text())
    assert told["samples"] == {"training": 70, "validation": 15, "test": 15}
    assert (told["candidates"], told["epochs"], told["passes"]) == (4, 5, 20)
    assert "70 training, 15 validation, 15 test" in done.out
    assert "true \\ predicted" in done.out
    for name in ("accuracy", "informedness", "roc auc", "model  majority"):
        assert name in done.out
    assert told["baselines"]["majority"]["accuracy"] < told["evaluation"]["measures"]["accuracy"]
    assert "test  majority" in cli("inspect", report).out
    assert Model.load(model).labels == tuple(told["evaluation"]["labels"])


def test_columns_are_dropped_and_have_the_given_kinds(cli: Cli, tmp_path: Path) -> None:
    rows = "".join(f"{i},{i * 7 % 10},{'ab'[i * 7 % 10 > 4]}\n" for i in range(100))
    (tmp_path / "codes.csv").write_text("id,code,y\n" + rows)
    file, model = tmp_path / "codes.csv", tmp_path / "m.json"
    done = cli("train", file, *QUICK, "--drop", "id", "--kind", "code=category", "--model", model)
    assert done.code == 0
    assert Model.load(model).fields == (Field("code", Kind.CATEGORY),)
    for option, told in (("x=category", "no column 'x'"), ("id=code", "--kind (id) is 'code'")):
        wrong = cli("train", file, *QUICK, "--kind", option)
        assert (wrong.code > 0, told in wrong.err) == (True, True)


def test_verbose_prints_each_improvement_and_quiet_nothing(cli: Cli, file: Path) -> None:
    told = cli("train", file, *QUICK, "--verbose").out
    assert "best so far: distance" in told
    assert "after epoch 1, try 1: relu 8" in told
    assert cli("train", file, *QUICK, "--quiet").out == ""


def test_a_regression_gets_its_own_table(cli: Cli, tmp_path: Path) -> None:
    slope(100).save(tmp_path / "slope.csv")
    done = cli("train", tmp_path / "slope.csv", *QUICK, "--regression-threshold", 0.5)
    assert done.code == 0
    assert "correct (within 0.5)" in done.out
    assert "rmse" in done.out
    assert done.out.count("mean") == 1  # beside the model


def test_the_gopher_protocol_reports_the_validation_part(cli: Cli, file: Path) -> None:
    done = cli("train", file, *QUICK, "--protocol", "gopher", "--criterion", "gopher.accuracy")
    assert "on the validation part" in done.out
    assert "2 networks, 10 epochs" in done.out


def test_another_target_than_the_last_column_is_learned(cli: Cli, file: Path) -> None:
    done = cli("train", file, *QUICK, "--target", "x", "--task", "regression")
    assert (done.code, "rmse" in done.out) == (0, True)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("--decay", -0.1), "decay is -0.1, but must be >= 0"),
        (("--criterion", "nonsense"), "criterion is 'nonsense'"),
        (("--hidden", "x"), "hidden is 'x'"),
        (("--model", "m.txt"), "model is 'm.txt', but must end in"),
        (("--target", "nothing"), "no column 'nothing'"),
        (("--training-split", 1.5), "training_split is 1.5"),
    ],
)
def test_a_wrong_option_is_one_clear_line(
    cli: Cli, file: Path, options: tuple[object, ...], what: str
) -> None:
    done = cli("train", file, *options)
    assert done.code in (1, 2)
    assert what in done.complaint


def test_no_file_is_refused(cli: Cli) -> None:
    done = cli("train")
    assert (done.code, done.complaint) == (
        2,
        "no file is given, but there must be one to learn from",
    )


def test_malformed_records_are_reported(cli: Cli, file: Path) -> None:
    file.write_text(file.read_text() + "1,2,3,4\n")
    done = cli("train", file, *QUICK, "--quiet")
    assert done.code == 0
    what = f"rejected 1 record; the first, {file}, line 102: "
    assert done.complaint.startswith(what)


def test_a_malformed_record_is_reported_with_its_file(cli: Cli) -> None:
    good = pl.DataFrame({"x": [float(i % 9) for i in range(100)], "y": ["a", "b"] * 50})
    good.write_parquet("good.parquet")
    good[:3].with_columns(x=pl.Series([1.0, math.inf, 2.0])).write_parquet("bad.parquet")
    done = cli("train", "good.parquet", "bad.parquet", *QUICK, "--quiet")
    assert done.code == 0
    assert "the first, bad.parquet, record at 1: column 'x'" in done.complaint


def test_one_epoch_is_singular(cli: Cli, file: Path) -> None:
    done = cli("train", file, "--tries", 1, "--epochs", 1, "--decay", 0)
    assert "1 network, 1 epoch in" in done.out
    assert done.out.splitlines()[1].rstrip().endswith(", 1 pass")


def test_control_c_keeps_the_best_so_far(file: Path, tmp_path: Path) -> None:
    model = tmp_path / "m.json"
    with start("train", file, *LONG, "--verbose", "--model", model) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("best so far")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert err == "streamnet: stopping and keeping the best so far; repeat to abort\n"
    assert "on the test part" in out
    assert Model.load(model).predict({"x": 0.0, "y": 1.0}).shape == (1,)


def test_the_model_is_written_even_if_the_pipe_is_broken(file: Path, tmp_path: Path) -> None:
    model = tmp_path / "m.json"
    with start("train", file, *LONG, "--model", model) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("epoch ")
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 141
    assert Model.load(model).labels


def test_a_terminal_shows_a_bar_and_then_the_tables(file: Path) -> None:
    code, sent = on_a_terminal("train", file, "--epochs", 800, "--hidden", "8", "--tries", 2)
    assert code == 0
    assert "of 800, 6 networks" in sent
    assert "predicted" in sent


def test_samples_count_by_a_column_of_weights_wherever_it_is(cli: Cli) -> None:
    random = np.random.default_rng(5)
    rows = [
        {"x": x, "y": "pos" if x + e > 0 else "neg", "w": w}
        for x, e, w in zip(
            random.normal(size=300).tolist(),
            random.normal(size=300).tolist(),
            random.choice([0.0, 1.0, 2.0], 300).tolist(),
            strict=True,
        )
    ]
    rows = [{"x": row["x"], "w": row["w"], "y": row["y"]} for row in rows]
    last = [{"x": row["x"], "y": row["y"], "w": row["w"]} for row in rows]
    paths = [write("target_last.csv", csv_text(rows)), write("weight_last.csv", csv_text(last))]
    given = ["--tries", 2, "--epochs", 3, "--seed", 1, "--quiet", "--weight", "w"]
    outcomes = [
        cli("train", path, *given, "--report", path.with_suffix(".json"), "--model", "m.json")
        for path in paths
    ]
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    reports = [json.loads(path.with_suffix(".json").read_text()) for path in paths]
    assert [report["target"] for report in reports] == ["y", "y"]
    assert reports[0]["evaluation"] == reports[1]["evaluation"]
    engine = Engine(seed=1, tries=2, epochs=3)
    trained = engine.fit([str(paths[0])], target="y", weight="w")
    assert sum(trained.report["samples"].values()) == sum(row["w"] > 0 for row in rows)
    assert [name for name, _ in trained.model.fields] == ["x"]

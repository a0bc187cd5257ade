"""Replaying files from Python: what it takes, what it writes, what it refuses."""

from __future__ import annotations

import csv
import json
import os
import re
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

from streamnet.errors import ConfigurationError, DataError, NoCandidateError, TooManyRejectedError
from streamnet.modelfiles import Model
from streamnet.page import build_view
from streamnet.reporting.report import Report
from streamnet.runs.builder import build_source
from streamnet.runs.inference import evaluate_files, write_predictions
from streamnet.runs.replay import Replay, replay
from streamnet.settings.run import RunSettings, apply_overrides, parse

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str = "a.csv", rows: int = 600, bad: tuple[int, ...] = ()) -> Path:
    """A file whose label is told by its first column, with a record too short here and there."""
    path = Path(name)
    path.write_text(
        "x,colour,y\n" + "".join("short\n" if i in bad else row(i) for i in range(rows))
    )
    return path


def row(i: int) -> str:
    x = i * 7 % 10
    return f"{x},{'rgb'[i % 3]},{'ab'[x > 4]}\n"


def files() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


def settings_of(text: str) -> RunSettings:
    return apply_overrides(parse(text), {"source.files": [str(write())], "source.target": "y"})


# ----------------------------------------------------------------- what it writes


def test_the_run_file_that_shows_every_key_does_what_it_says() -> None:
    for name in ("config", "examples"):
        Path(name).symlink_to(REPOSITORY / name)
    result = replay(config="config/replay.toml", limit=300)
    assert (result.report["target"], result.report["learned"]) == ("cnt", 300)
    assert {"model.json", "predictions.csv", "report.json", "state"} <= set(files())


def test_all_outputs_are_written_and_agree() -> None:
    result = replay(
        write(rows=1500, bad=(700,)),
        target="y",
        candidates=2,
        model=Path("m.json"),
        report="r.json",
        predictions="p.csv",
        dead_letters="bad.jsonl",
    )
    assert json.loads(Path("r.json").read_text()) == result.report
    assert result.report["learned"] == 1499
    model = Model.load("m.json")
    sample = {"x": 3, "colour": "r"}
    assert model.predict_proba(sample).tolist() == result.model.predict_proba(sample).tolist()
    with Path("p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    right = sum(row["answer"] == row["truth"] for row in rows)
    assert result.report["served"]["accuracy"] == pytest.approx(right / 1499)
    (letter,) = map(json.loads, Path("bad.jsonl").read_text().splitlines())
    assert (letter["line"], letter["raw"]) == (702, "short")


def test_with_a_balanced_criterion_files_have_the_decisions_and_calibrated_probabilities() -> None:
    rng = np.random.default_rng(5)
    rare = rng.random(1500) < 0.05
    lines = [f"{x},{'rare' if y else 'usual'}" for x, y in zip(rng.normal(rare), rare, strict=True)]
    Path("a.csv").write_text("\n".join(("x,y", *lines)))
    found = {}
    for criterion in ("log_loss", "balanced_accuracy"):
        grid: Any = {"hidden": ["linear", "8"]}
        outputs: Any = {"model": "m.json", "predictions": f"{criterion}.csv"}
        # A drift of what is served, whose decisions differ, would change the ensemble's weights.
        found[criterion] = replay(
            "a.csv", target="y", criterion=criterion, drift="none", **grid, **outputs
        )
    rows = [
        list(csv.DictReader(Path(f"{criterion}.csv").read_text().splitlines()))
        for criterion in found
    ]
    assert [row["probabilities"] for row in rows[0]] == [row["probabilities"] for row in rows[1]]
    served = [result.report["served"] for result in found.values()]
    assert served[0]["log_loss"] == served[1]["log_loss"]
    for figures, said in zip(served, rows, strict=True):
        right = sum(row["answer"] == row["truth"] for row in said)
        assert figures["accuracy"] == pytest.approx(right / 1500)
    assert served[1]["balanced_accuracy"] > served[0]["balanced_accuracy"] + 0.05
    # A model that is taken home is scored on what it predicts.
    model = Model.load("m.json")
    evaluated = anyio.run(evaluate_files, model, ["a.csv"])
    truth = np.where(rare, "rare", "usual")
    samples = [{"x": float(line.split(",")[0])} for line in lines]
    measures = evaluated.measures["model"]
    assert measures["accuracy"] == pytest.approx(np.mean(model.predict(samples) == truth))
    complete = anyio.run(lambda: evaluate_files(model, ["a.csv"], all_metrics=True))
    assert complete.measures["model"]["accuracy"] == measures["accuracy"]
    assert complete.measures["model"]["micro_f1"] == pytest.approx(measures["accuracy"])


def test_without_bad_records_and_outputs_nothing_is_written() -> None:
    path = write()
    replay(path, target="y", candidates=1)
    assert files() == [path.name]


def test_a_run_that_fails_writes_what_it_has_learned() -> None:
    path = write(rows=3000, bad=tuple(range(1500, 3000)))
    with pytest.raises(TooManyRejectedError):
        replay(
            path, target="y", candidates=1, model="m.json", report="r.json", predictions="p.jsonl"
        )
    report = json.loads(Path("r.json").read_text())
    assert report["learned"] == 1500
    assert report["rejected"] == 101
    assert Model.load("m.json").about["samples"] == 1500
    assert len(Path("p.jsonl").read_text().splitlines()) == 1500


def embedded(path: str) -> Any:
    """What a report as a page shows."""
    page = Path(path).read_text("utf-8")
    (data,) = re.findall(r'<script type="application/json" id="report">(.*?)</script>', page)
    return json.loads(data)


def test_a_report_is_a_page_if_its_suffix_is_html() -> None:
    result = replay(write(), target="y", candidates=1, report="r.html")
    page = embedded("r.html")
    # Only the page asks the networks why: that takes longer than a report should.
    why = page["insight"]
    assert {one["column"] for one in why["importance"]} == {"x", "colour"}
    view = json.loads(json.dumps(build_view(Report.from_dict(result.report))))
    assert page == {**view, "insight": why}


def test_without_a_finite_network_there_is_a_report_but_no_model() -> None:
    text = "[[population.candidate]]\noptimizer = 'sgd'\nlearning_rate = 1e30\nactivation = 'relu'"
    for report in ("r.json", "r.html"):
        outputs = {"output.report": report, "output.model": "m.json"}
        run = Replay(apply_overrides(settings_of(text), outputs))
        with pytest.raises(NoCandidateError):
            anyio.run(run.run)
        assert run.result is None
    assert json.loads(Path("r.json").read_text())["candidates"][0]["quarantined"]
    assert embedded("r.html")["leaders"][0]["state"] == "quarantined"
    assert not Path("m.json").exists()


# ------------------------------------------------------------------ what it takes


def test_it_runs_where_another_event_loop_runs() -> None:
    path = write()

    async def notebook() -> int:
        learned: int = replay(path, target="y", candidates=1).report[
            "learned"
        ]  # blocks, on purpose
        return learned

    assert anyio.run(notebook) == 600


def test_several_files_and_patterns_are_one_stream_in_order() -> None:
    whole = write("whole.csv", 900)
    lines = whole.read_text().splitlines(keepends=True)
    Path("1.csv").write_text("".join(lines[:401]))
    Path("2.csv").write_text(lines[0] + "".join(lines[401:]))
    reports = [
        replay(*names, target="y", candidates=2).report["candidates"]
        for names in ((whole,), ("1.csv", "2.csv"), ("[12].csv",))
    ]
    assert reports[0] == reports[1] == reports[2]


def test_a_run_file_is_overridden_by_arguments() -> None:
    write("other.csv", 50)
    Path("run.toml").write_text(
        f"source.files = '{write()}'\nsource.target = 'y'\nrun.seed = 5\npopulation.candidates = 3"
    )
    as_written = replay(config="run.toml").report
    changed = replay("other.csv", config="run.toml", seed=6, limit=20).report
    assert (as_written["seed"], as_written["learned"], len(as_written["candidates"])) == (5, 600, 3)
    assert (changed["seed"], changed["learned"], len(changed["candidates"])) == (6, 20, 3)


def test_later_epochs_are_learned_but_not_scored() -> None:
    report = replay(write(rows=100), target="y", epochs=3, candidates=1).report
    assert (report["learned"], report["scored"]) == (300, 100)


def test_shuffling_changes_the_order_by_the_seed_alone() -> None:
    path = write()
    scores = [
        replay(path, target="y", candidates=1, shuffle_buffer=100, seed=seed).report["served"]
        for seed in (1, 1, 2)
    ]
    assert scores[0] == scores[1] != scores[2]


def test_each_epoch_is_shuffled_by_itself_so_that_none_is_scored_twice() -> None:
    replay(
        write(rows=300),
        target="y",
        epochs=2,
        shuffle_buffer=200,
        candidates=1,
        predictions="p.jsonl",
    )
    rows = [json.loads(line) for line in Path("p.jsonl").read_text().splitlines()]
    assert [row["sample"] for row in rows] == list(range(300))


def test_columns_are_read_as_configured() -> None:
    model = replay(write(), target="y", drop="colour", kinds={"x": "category"}, candidates=1).model
    assert model.fields == (("x", "category"),)


def test_a_run_file_sets_the_longest_record() -> None:
    settings = settings_of("[source]\nmax_record_bytes = 12\n[population]\ncandidates = 1")
    Path("a.csv").write_text("x,colour,y\n" + row(1) * 600 + f"1,{'r' * 20},a\n" + row(2))
    result = anyio.run(Replay(settings).run)
    assert result.report["learned"] == 601
    assert result.report["rejected_reasons"] == {"too-long": 1}


# --------------------------------------------------------------- what it refuses


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sed": 1}, "sed is not a known setting of replay(); did you mean 'seed'?"),
        ({"targt": "y"}, "targt is not a known setting of replay(); did you mean 'target'?"),
        ({"qzx": 1}, "qzx is not a known setting of replay(); known here: state, "),
        ({"seed": -1}, "replay(): seed is -1, but must be >= 0"),
        ({"candidates": 0}, "replay(): candidates is 0, but must be >= 1"),
        ({"learning_rate": [0.1, float("nan")]}, "replay(): learning_rate is nan, but must be a"),
        ({"kinds": {"x": "colour"}}, "replay(): kinds (x) is 'colour', but must be"),
        ({"format": "xls"}, "replay(): format is 'xls', but must be 'csv'"),
        ({"model": "m.pkl"}, "model is 'm.pkl', but must end in .safetensors or .json"),
        ({"report": "r.txt"}, "report is 'r.txt', but must end in .json or .html"),
        ({"predictions": "p.tsv"}, "predictions is 'p.tsv', but must end in .csv or .jsonl"),
        ({"model": "no/m.json"}, "model is 'no/m.json', but its folder does not exist"),
        ({"dead_letters": "no/d"}, "dead_letters is 'no/d', but its folder does not exist"),
        ({"dead_letters": "."}, "dead_letters is '.', but that is a folder"),
        ({"predictions": "a.csv"}, "predictions is 'a.csv', but that is a file to learn from"),
        (
            {"model": "r.json", "report": "./r.json"},
            "report is './r.json', but that is where model",
        ),
        ({"drop": ["y"]}, "drop has 'y', but that is the target"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_read(
    options: dict[str, Any], message: str
) -> None:
    path = write()
    with pytest.raises(ConfigurationError) as caught:
        replay(path, target="y", **options)
    assert str(caught.value).startswith(message)
    assert files() == [path.name]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_forbidden_output_is_refused_before_anything_is_read() -> None:
    Path("locked").mkdir(mode=0o500)
    with pytest.raises(ConfigurationError, match="Permission denied"):
        replay(write(), target="y", model="locked/m.json")


def test_without_a_target_the_columns_are_named() -> None:
    with pytest.raises(ConfigurationError, match="must be one of the columns 'x', 'colour', 'y'"):
        replay(write())


def test_an_unknown_target_is_refused_with_a_suggestion() -> None:
    with pytest.raises(DataError, match="Did you mean 'colour'"):
        replay(write(), target="color")


def test_without_files_there_is_nothing_to_replay() -> None:
    with pytest.raises(ConfigurationError, match="no file is given"):
        replay(target="y")
    with pytest.raises(DataError, match=r"\*\.none matches no file"):
        replay("*.none", target="y")


def test_standard_input_can_not_be_read_twice() -> None:
    with pytest.raises(ConfigurationError, match="epochs is 2, but must be 1"):
        replay("-", target="y", epochs=2)


def test_a_target_of_libsvm_need_not_be_named() -> None:
    Path("a.svm").write_text("".join(f"{i % 2} {i % 2 + 1}:1\n" for i in range(300)))
    result = replay("a.svm", candidates=2)
    assert result.report["task"] == "classification"
    assert result.report["served"]["accuracy"] > 0.8


def test_a_single_class_gives_a_result() -> None:
    Path("one.csv").write_text("x,y\n" + "".join(f"{i},same\n" for i in range(300)))
    result = replay("one.csv", target="y", candidates=2)
    assert result.model.labels == ("same",)
    assert result.report["served"]["accuracy"] > 0.99


async def learned(run: Replay, samples: int) -> None:
    with anyio.fail_after(20):
        while run.pipeline.statistics().samples < samples:  # noqa: ASYNC110 - it has no event
            await anyio.sleep(0.05)


def test_a_followed_file_is_learned_as_it_grows_until_it_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "live.csv"
    path.write_text("x,y\n" + "".join(f"{n % 2},{'ab'[n % 2]}\n" for n in range(50)))
    given = {"source.files": [str(path)], "source.target": "y", "source.follow": True}
    run = Replay(apply_overrides(parse("population.candidates = 2"), given))

    def grow() -> None:
        with path.open("a") as file:
            file.write("0,a\n1,b\n")

    async def main() -> dict[str, Any]:
        async with anyio.create_task_group() as group:
            group.start_soon(run.run)
            await learned(run, 50)
            grow()
            await learned(run, 52)
            run.pipeline.stop()
        assert run.result is not None
        return run.result.report

    report = anyio.run(main)
    assert report["learned"] == 52


@pytest.mark.parametrize(("name", "value"), [("epochs", 2), ("shuffle_buffer", 5)])
def test_an_endless_source_is_read_once_and_in_order(tmp_path: Path, name: str, value: Any) -> None:
    path = tmp_path / "live.csv"
    path.write_text("x,y\n1,a\n")
    with pytest.raises(ConfigurationError, match=f"{name} is {value}, but must be . with follow"):
        replay(path, target="y", follow=True, **{name: value})


def test_each_epoch_of_a_replay_shuffles_in_an_order_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("x,y\n" + "".join(f"{n},a\n" for n in range(50)))
    settings = parse("[source]\nepochs = 2\nshuffle_buffer = 50\ntarget = 'y'\nfiles = 'F'")
    source = build_source(apply_overrides(settings, {"source.files": [str(path)]}))

    async def main() -> list[float]:
        await source.open()
        found: list[float] = []
        while (block := await source.receive()) is not None:
            found += block.numbers[:, 0].tolist()
        await source.aclose()
        return found

    found = anyio.run(main)
    assert sorted(found[:50]) == sorted(found[50:]) == list(range(50))
    assert found[:50] != found[50:]


def test_options_may_be_numbers_and_sets_of_other_libraries(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x,z,y\n" + "".join(f"{i % 5},{i},{'ab'[i % 2]}\n" for i in range(300)))
    plain = replay(path, target="y", seed=3, limit=200, candidates=2, drop=["z"])
    others: Any = {
        "seed": np.int64(3),
        "limit": np.uint8(200),
        "candidates": np.int32(2),
        "drop": {"z"},
    }
    other = replay(path, target="y", **others)
    assert other.report["settings"] == plain.report["settings"]
    assert other.model.document()["checksum"] == plain.model.document()["checksum"]
    with pytest.raises(ConfigurationError, match=r"files has \[.*\], but must have names"):
        replay([str(path)], target="y")  # type: ignore[arg-type]


def test_samples_in_place_of_files_are_refused_in_a_short_message() -> None:
    with pytest.raises(ConfigurationError, match="files has ") as caught:
        replay([{"x": i, "y": "ab"[i % 2]} for i in range(5000)], target="y")  # type: ignore[arg-type]
    assert len(str(caught.value)) < 300


def test_written_predictions_have_the_ids_of_a_column_that_is_no_feature(tmp_path: Path) -> None:
    rows = [{"order": 7000 + i, "x": i % 7, "y": "ab"[i % 7 > 3]} for i in range(600)]
    (tmp_path / "s.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))

    def run(**given: Any) -> list[dict[str, Any]]:
        path = tmp_path / "p.jsonl"
        replay(tmp_path / "s.jsonl", target="y", hidden="4", predictions=path, **given)
        return [json.loads(line) for line in path.read_text().splitlines()]

    found = run(id="order", model=tmp_path / "m.json")
    assert [row.pop("id") for row in found] == [str(row["order"]) for row in rows]
    assert found == run(drop=["order"])
    model = Model.load(tmp_path / "m.json")
    anyio.run(
        write_predictions,
        model,
        [str(tmp_path / "s.jsonl")],
        tmp_path / "q.csv",
        None,
        None,
        "order",
    )
    with (tmp_path / "q.csv").open() as file:
        assert [row["id"] for row in csv.DictReader(file)] == [str(row["order"]) for row in rows]

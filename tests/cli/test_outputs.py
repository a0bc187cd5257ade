"""What commands write: checked before the work, kept when something breaks, never half there."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from streamnet.modelfiles import Model
from tests.cli.invocation import Cli, csv_text, json_lines, read_csv, rows, write
from tests.cli.processes import redirected, start

FULL = Path("/dev/full")
needs_a_full_device = pytest.mark.skipif(not FULL.exists(), reason="no device that is always full")


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        ("predict model.json absent.csv --output", "output"),
        ("evaluate model.json absent.csv --report", "report"),
        ("replay absent.csv --target label --model", "model"),
        ("replay absent.csv --target label --predictions", "predictions"),
        ("replay absent.csv --target label --report", "report"),
        ("replay absent.csv --target label --dead-letters", "dead_letters"),
    ],
)
def test_an_output_is_checked_before_anything_is_read(
    cli: Cli, arguments: str, option: str
) -> None:
    suffix = ".csv" if option in ("output", "predictions") else ".json"
    outcome = cli(*arguments.split(), f"no/x{suffix}")
    assert outcome.code == 2
    assert outcome.complaint == f"{option} is 'no/x{suffix}', but its folder does not exist"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ("evaluate model.json data.jsonl --report model.json", "the model"),
        ("evaluate model.json data.json --report data.json", "a file to evaluate"),
        ("evaluate model.json data*.json --report data.json", "a file to evaluate"),
        ("predict model.json *.csv --output data.csv", "a file to predict"),
        ("replay *.csv --target label --predictions data.csv", "a file to learn from"),
        ("replay folder/../data.csv --target label --dead-letters data.csv", "to learn from"),
        ("replay rejected.jsonl --target label", "a file to learn from"),
    ],
)
def test_no_file_that_is_read_is_overwritten(
    cli: Cli, trained: Path, arguments: str, what: str
) -> None:
    Path("folder").mkdir()
    write("model.json", (trained / "model.json").read_text("utf-8"))
    write("data.csv", csv_text(rows(60)))
    for name in ("data.json", "data.jsonl", "rejected.jsonl"):
        write(name, "".join(json.dumps(row) + "\n" for row in rows(60)))
    before = {path: path.read_bytes() for path in Path().glob("*.*")}
    outcome = cli(*arguments.split())
    assert outcome.code == 2
    assert what in outcome.complaint
    assert {path: path.read_bytes() for path in Path().glob("*.*")} == before


@needs_a_full_device
def test_if_predictions_can_not_be_written_what_was_learned_is_kept(cli: Cli) -> None:
    Path("answers.csv").symlink_to(FULL)
    path = write("good.csv", csv_text(rows(3000)))
    outcome = cli.replay(
        path, "--predictions", "answers.csv", "--model", "model.json", "--report", "report.json"
    )
    assert outcome.code == 1
    waits, ends = outcome.complaints
    assert waits == "predictions answers.csv: No space left on device; it waits"
    assert ends.startswith("predictions answers.csv: No space left on device")
    report = json.loads(Path("report.json").read_text("utf-8"))
    assert 0 < Model.load("model.json").about["samples"] == report["learned"] <= 3000


@needs_a_full_device
def test_if_dead_letters_can_not_be_written_the_run_ends_with_one_clear_line(cli: Cli) -> None:
    path = write("bad.csv", csv_text(rows(60)) + "1,red,low,5\n")
    outcome = cli.replay(path, "--dead-letters", FULL, "--model", "model.json")
    assert outcome.code == 1
    waits, ends = outcome.complaints
    assert waits == f"dead_letters {FULL}: No space left on device; it waits"
    assert ends.startswith(f"dead_letters {FULL}: No space left on device")
    assert Path("model.json").exists()


def test_if_the_model_can_not_be_written_the_report_still_is(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("streamnet.modelfiles.document.write_durably", fail)
    path = write("good.csv", csv_text(rows(60)))
    outcome = cli.replay(path, "--model", "model.json", "--report", "report.json")
    assert outcome.code == 1
    assert outcome.complaint == "model.json can't be written: No space left on device"
    assert json.loads(Path("report.json").read_text("utf-8"))["learned"] == 60


@pytest.mark.parametrize(
    ("command", "place", "message"),
    [
        (("predict", "--output", "a.csv"), "answering._write", "output a.csv can't be written"),
        (("evaluate", "--report", "r.json"), "grading.write_durably", "report r.json can't be"),
    ],
)
def test_what_can_not_be_written_after_the_work_is_named_and_not_half_there(
    cli: Cli,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    place: str,
    message: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    path = write("new.csv", csv_text(rows(20)))
    monkeypatch.setattr(f"streamnet.cli.{place}", fail)
    name, *options = command
    outcome = cli(name, model, path, *options)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.complaint.startswith(message)
    assert outcome.complaint.endswith("No space left on device")
    assert list(Path().iterdir()) == [path]


@needs_a_full_device
@pytest.mark.parametrize("command", ["inspect", "--help", "predict"])
def test_a_full_standard_output_costs_one_line(cli: Cli, model: Path, command: str) -> None:
    arguments = {"inspect": [model], "predict": [model, write("a.csv", csv_text(rows(60)))]}
    done = redirected(f"> {FULL}", command, *arguments.get(command, []))
    assert (done.returncode, done.stderr) == (1, "streamnet: output: No space left on device\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_half_written_answers(
    cli: Cli, model: Path, number: signal.Signals
) -> None:
    write("answers.csv", "old\n")
    process = start("predict", model, "-", "--output", "answers.csv")
    assert process.stdin is not None
    process.stdin.write(csv_text(rows(2000)))
    process.stdin.flush()  # and it stays open
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in Path().glob(".*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert err == "streamnet: interrupted\n"
    assert [path.name for path in Path().iterdir()] == ["answers.csv"]
    assert Path("answers.csv").read_text() == "old\n"


def test_answers_take_the_place_of_older_ones(cli: Cli, model: Path) -> None:
    write("answers.csv", "old\n" * 1000)
    path = write("new.csv", csv_text(rows(5)))
    assert cli("predict", model, path, "--output", "answers.csv").code == 0
    assert len(read_csv(Path("answers.csv").read_text("utf-8"))) == 5


def test_bad_records_may_be_thrown_away_on_purpose(cli: Cli) -> None:
    path = write("bad.csv", csv_text(rows(60)) + "1,red,low,5\n")
    assert cli.report(path, "--dead-letters", "/dev/null")["rejected"] == 1
    assert not Path("rejected.jsonl").exists()
    assert cli.report(path)["rejected"] == 1
    assert len(json_lines(Path("rejected.jsonl").read_text("utf-8"))) == 1

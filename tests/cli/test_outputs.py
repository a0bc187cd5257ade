"""Output files and standard files: checked before anything is read, and never left half-written."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streamnet.cli.terminal import log_to_stderr
from streamnet.modelfiles import Model
from tests.cli.invocation import Cli, csv_text, json_lines, read_csv, rows, write
from tests.cli.processes import COMMAND, redirected, start

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
def test_if_predictions_cannot_be_written_the_model_is_kept(cli: Cli) -> None:
    Path("answers.csv").symlink_to(FULL)
    path = write("good.csv", csv_text(rows(3000)))
    outcome = cli.replay(
        path, "--predictions", "answers.csv", "--model", "model.json", "--report", "report.json"
    )
    assert outcome.code == 1
    waits, ends = outcome.complaints
    assert waits == "predictions answers.csv: No space left on device; retrying"
    assert ends.startswith("predictions answers.csv: No space left on device")
    report = json.loads(Path("report.json").read_text("utf-8"))
    assert 0 < Model.load("model.json").about["samples"] == report["learned"] <= 3000


@needs_a_full_device
def test_if_dead_letters_can_not_be_written_the_run_ends_with_one_clear_line(cli: Cli) -> None:
    path = write("bad.csv", csv_text(rows(60)) + "1,red,low,5\n")
    outcome = cli.replay(path, "--dead-letters", FULL, "--model", "model.json")
    assert outcome.code == 1
    waits, ends = outcome.complaints
    assert waits == f"dead_letters {FULL}: No space left on device; retrying"
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
        (
            ("predict", "--output", "a.csv"),
            "runs.inference._write_rows",
            "output a.csv can't be written",
        ),
        (
            ("evaluate", "--report", "r.json"),
            "cli.views.report.write_durably",
            "report r.json can't be",
        ),
    ],
)
def test_an_output_that_cannot_be_written_is_named_and_not_left_half_written(
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
    monkeypatch.setattr(f"streamnet.{place}", fail)
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
def test_a_signal_leaves_no_half_written_predictions(
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


def test_predictions_replace_older_ones(cli: Cli, model: Path) -> None:
    write("answers.csv", "old\n" * 1000)
    path = write("new.csv", csv_text(rows(5)))
    assert cli("predict", model, path, "--output", "answers.csv").code == 0
    assert len(read_csv(Path("answers.csv").read_text("utf-8"))) == 5


def test_bad_records_may_be_discarded_on_purpose(cli: Cli) -> None:
    path = write("bad.csv", csv_text(rows(60)) + "1,red,low,5\n")
    assert cli.report(path, "--dead-letters", "/dev/null")["rejected"] == 1
    assert not Path("rejected.jsonl").exists()
    assert cli.report(path)["rejected"] == 1
    assert len(json_lines(Path("rejected.jsonl").read_text("utf-8"))) == 1


RUN = ("--target", "label", "--candidates", "1")
INTERRUPTED_EARLY = """
import sys

class Interruption:
    def find_spec(self, name, *_):
        if name == "streamnet.cli.app":
            raise KeyboardInterrupt

import streamnet.__main__
sys.meta_path.insert(0, Interruption())
streamnet.__main__.main()
"""


@pytest.mark.parametrize("command", ["inspect", "predict", "evaluate", "replay"])
def test_a_closed_standard_output_costs_one_line(cli: Cli, model: Path, command: str) -> None:
    path = write("good.csv", csv_text(rows(60)))
    arguments = {"inspect": (model,), "replay": (path, *RUN)}.get(command, (model, path))
    done = redirected(">&-", command, *arguments)
    assert (done.returncode, done.stderr) == (1, "streamnet: output: Bad file descriptor\n")


def test_a_quiet_command_needs_no_standard_output(cli: Cli) -> None:
    path = write("good.csv", csv_text(rows(60)))
    done = redirected(">&-", "replay", path, *RUN, "--quiet", "--model", "model.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert Path("model.json").exists()


def test_errors_are_never_written_among_predictions(cli: Cli, model: Path) -> None:
    path = write("new.csv", csv_text(rows(5)) + "1,red,low,5\n")
    done = redirected("2>&-", "predict", model, path)
    assert done.returncode == 1
    assert len(read_csv(done.stdout)) == 5
    assert "rejected" not in done.stdout


def test_a_closed_standard_input_holds_no_samples(cli: Cli, model: Path) -> None:
    for arguments in (("replay", "-", *RUN, "--quiet"), ("predict", model, "-")):
        done = redirected("<&-", *arguments)
        assert done.returncode == 1
        assert done.stderr == "streamnet: standard input holds no samples\n"


def test_train_needs_no_target_for_libsvm_from_standard_input(cli: Cli) -> None:
    path = write("moons.svm", "".join(f"{i % 2} 1:{i % 2}.{i % 7} 2:{i % 5}\n" for i in range(60)))
    done = redirected(f"<{path}", "train", "-", "--tries", 1, "--epochs", 1, "--decay", 0)
    assert (done.returncode, done.stderr) == (0, "")
    assert "42 training, 9 validation, 9 test" in done.stdout


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("inspect -", "- can't be read: No such file"),
        ("run -", "-: cannot be read: No such file"),
        ("predict - good.csv", "- can't be read: No such file"),
        ("replay good.csv --target label --report -", "'-'"),
        ("replay good.csv --target label --limit -", "'-' is not a whole number"),
        ("dead-letters - state", 'Invalid value "-" for ACTION'),
    ],
)
def test_a_dash_is_refused_where_standard_input_is_not_read(
    cli: Cli, command: str, says: str
) -> None:
    write("good.csv", csv_text(rows(60)))
    done = cli(*command.split())
    assert done.code > 0
    assert says in done.complaint
    assert [path.name for path in Path().iterdir()] == ["good.csv"]


def test_a_dash_may_be_a_missing_value_or_a_delimiter(cli: Cli) -> None:
    lines = [f"{'-' if i % 3 else i},{'ab'[i % 2]}\n" for i in range(60)]
    path = write("gaps.csv", "".join(["x,label\n", *lines]))
    apart, joined = cli.report(path, "--missing", "-"), cli.report(path, "--missing=-")
    assert apart["served"] == joined["served"] != cli.report(path)["served"]
    path = write("dashes.csv", csv_text(rows(60), delimiter="-"))
    assert cli.report(path, "--delimiter", "-")["learned"] == 60


@pytest.mark.parametrize("command", ["--help", "replay --help", "--version"])
def test_a_broken_pipe_ends_the_help_silently(cli: Cli, command: str) -> None:
    process = start(*command.split())
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == ""
    process.communicate()


def test_an_interruption_before_the_command_is_known_costs_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_EARLY],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "streamnet: interrupted\n"


def test_sigterm_ends_a_command_that_ignores_sigint() -> None:
    run = ("replay", "-", *RUN)
    process = subprocess.Popen(
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *COMMAND, *run],  # as in the background
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("streamnet ")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    # Before the run listens, or when it does and has learned nothing yet.
    assert process.returncode in (-signal.SIGTERM, 130)


def test_a_sink_that_is_waited_for_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    with log_to_stderr():
        logging.getLogger("streamnet.sinks").warning("predictions answers waits: it is away")
    assert capsys.readouterr().err == "streamnet: predictions answers waits: it is away\n"

"""Standard files that are closed or that nobody reads, and an interruption at any moment."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.invocation import Cli, csv_text, read_csv, rows, write
from tests.cli.processes import COMMAND, redirected, start

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


def test_who_says_nothing_needs_no_standard_output(cli: Cli) -> None:
    path = write("good.csv", csv_text(rows(60)))
    done = redirected(">&-", "replay", path, *RUN, "--quiet", "--model", "model.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert Path("model.json").exists()


def test_complaints_never_go_among_the_answers(cli: Cli, model: Path) -> None:
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
def test_where_standard_input_is_not_read_a_dash_costs_one_line(
    cli: Cli, command: str, says: str
) -> None:
    write("good.csv", csv_text(rows(60)))
    done = cli(*command.split())
    assert done.code > 0
    assert says in done.complaint
    assert [path.name for path in Path().iterdir()] == ["good.csv"]


def test_a_dash_may_mean_missing_or_stand_between_fields(cli: Cli) -> None:
    lines = [f"{'-' if i % 3 else i},{'ab'[i % 2]}\n" for i in range(60)]
    path = write("gaps.csv", "".join(["x,label\n", *lines]))
    apart, joined = cli.report(path, "--missing", "-"), cli.report(path, "--missing=-")
    assert apart["served"] == joined["served"] != cli.report(path)["served"]
    path = write("dashes.csv", csv_text(rows(60), delimiter="-"))
    assert cli.report(path, "--delimiter", "-")["learned"] == 60


@pytest.mark.parametrize("command", ["--help", "replay --help", "--version"])
def test_a_reader_of_the_help_may_go_away(cli: Cli, command: str) -> None:
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


def test_a_termination_is_heeded_where_ctrl_c_is_not() -> None:
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

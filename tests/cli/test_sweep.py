"""``streamnet sweep``: progress, tables, exit codes, and Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.invocation import Cli, csv_text, read_csv, rows, write
from tests.processes import environment

COMMAND = ("sweep", "--target", "label", "--candidates", 2)


def test_a_line_for_each_run_then_tables_and_the_exit_code(cli: Cli) -> None:
    write("a.csv", csv_text(rows(200)))
    write("b.csv", csv_text(rows(300)))
    given = ("a.csv", "b.csv", "--seeds", "1,2", "--vary", "selection.serve=ensemble,champion")
    outcome = cli(*COMMAND, *given)
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0].startswith("1/8 a.csv, seed 1, serve ensemble: took ")
    assert lines[7].startswith("8/8 b.csv, seed 2, serve champion: took ")
    assert lines[9].split()[:4] == ["file", "seed", "serve", "accuracy"]
    table = read_csv(Path("sweep/table.csv").read_text())
    for line, row in zip(lines[10:18], table, strict=True):
        assert line.split()[:3] == [row["file"], row["seed"], row["selection.serve"]]
        assert line.split()[3] == f"{float(row['accuracy']):.4f}"
    assert lines[19] == "means over seeds ± standard deviation"
    assert lines[-1].split()[:3] == ["b.csv", "champion", "2"]
    scores = [float(row["accuracy"]) for row in table[6:]]
    assert lines[-1].split()[3:5] == [f"{sum(scores) / 2:.4f}", "±"]
    again = cli(*COMMAND, *given)
    assert again.out.splitlines()[0] == "1/8 a.csv, seed 1, serve ensemble: is there"
    assert again.out.splitlines()[8:] == lines[8:]
    assert cli(*COMMAND, *given, "--quiet") == (0, "", "")


def test_a_failed_run_is_reported(cli: Cli) -> None:
    write("a.csv", csv_text(rows(100)))
    outcome = cli(*COMMAND, "a.csv", "b.csv", "--quiet", "--results", "out")
    assert outcome.code == 1
    assert outcome.complaint.startswith("run ")
    assert "failed: " in outcome.complaint
    assert "b.csv" in outcome.complaint
    shown = cli(*COMMAND, "a.csv", "b.csv", "--results", "out").out.splitlines()
    assert [line.split()[-1] for line in shown if "b.csv" in line] == ["failed"] * 2


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--vary", "search.every"), "must have the form KEY=VALUE,VALUE"),
        (("--vary", "search.every=0", "--vary", "search.every=1"), "'search.every' is given twice"),
        (("--vary", "search.every=often"), "search.every"),
        (("--workers", 0), "workers is 0, but must be >= 1"),
        (("--seeds", "1,x"), "'x' is not a whole number"),
    ],
)
def test_wrong_options_are_refused(cli: Cli, options: tuple[str, ...], problem: str) -> None:
    write("a.csv", csv_text(rows(10)))
    outcome = cli(*COMMAND, "a.csv", *options)
    assert outcome.code == 2
    assert problem in outcome.complaint
    assert not Path("sweep").exists()


@pytest.mark.timeout(600)
def test_ctrl_c_ends_the_processes_and_the_next_call_runs_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(csv_text(rows(20_000)))
    command = [sys.executable, "-m", "streamnet", *map(str, COMMAND), "a.csv", "--quiet"]
    command += ["--seeds", ",".join(map(str, range(40))), "--workers", "2"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True
    ) as child:
        while not list(tmp_path.glob("sweep/*.json")):
            assert child.poll() is None
            time.sleep(0.05)
        workers = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate()
    assert child.returncode == 130
    done = len(list(tmp_path.glob("sweep/*.json")))
    assert 1 <= done < 40
    assert errors.splitlines() == [
        f"streamnet: {done} of 40 runs are done; the next call runs the others",
        "streamnet: interrupted",
    ]
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)

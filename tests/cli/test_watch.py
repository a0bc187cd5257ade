"""Watching a run as a process of its own: on a terminal, in a pipe, and when someone ends it."""

from __future__ import annotations

import os
import pty
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.calling import csv_text
from tests.cli.calling import rows

COMMAND = (sys.executable, "-m", "streamnet")
RUN = ("replay", "-", "--target", "label", "--candidates", "2", "--model", "model.json")
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment},
    )


def on_a_terminal(*arguments: str, **environment: str) -> tuple[int, str]:
    """Exit code, and all that a terminal of 100 columns and 40 lines was sent."""
    master, slave = pty.openpty()
    size = {"COLUMNS": "100", "LINES": "40", "TERM": "xterm-256color"}
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, **size, **environment},
    )
    os.close(slave)
    sent = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # Linux's way to say that the other side has closed
            break
        if not part:
            break
        sent += part
    os.close(master)
    return process.wait(timeout=60), sent.decode()


def write(count: int = 3000) -> str:
    Path("a.csv").write_text(csv_text(rows(count)), encoding="utf-8")
    return "a.csv"


def test_a_terminal_gets_a_live_view_and_then_the_summary() -> None:
    code, sent = on_a_terminal("replay", write(), "--target", "label", "--candidates", "3")
    text = ESCAPE.sub("", sent)
    assert code == 0
    assert text != sent
    live, summary = text.rsplit("learned", 1)
    for words in ("100%", "leader board", "served", "majority", "no-change", "over time"):
        assert words in live
    assert "3,000 samples" in summary
    assert "champion" in summary
    assert "-0.0000" not in text
    assert not re.search(r"Traceback|\[bold", text)


def test_a_terminal_may_do_without_colours() -> None:
    run = ("replay", write(300), "--target", "label", "--candidates", "2")
    _, coloured = on_a_terminal(*run)
    _, plain = on_a_terminal(*run, NO_COLOR="1")
    colour = r"\x1b\[[0-9;]*3[1-7]m"
    assert re.search(colour, coloured)
    assert not re.search(colour, plain)


def test_a_terminal_that_can_not_move_its_cursor_gets_plain_lines() -> None:
    _, sent = on_a_terminal(
        "replay", write(300), "--target", "label", "--candidates", "2", TERM="dumb"
    )
    assert "kernels ready" in sent
    assert "\x1b" not in sent


def test_a_pipe_gets_plain_lines() -> None:
    process = start("replay", write(), "--target", "label", "--candidates", "2")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "\x1b" not in out
    first, second, *_ = out.splitlines()
    assert first.startswith("streamnet ")
    assert "kernels ready" in second


def test_what_can_not_be_shown_in_ascii_does_not_end_a_run() -> None:
    Path("größe.csv").write_text(csv_text(rows(300)).replace("high", "hoch ↑"), encoding="utf-8")
    process = start(
        "replay", "größe.csv", "--target", "label", "--candidates", "1", PYTHONIOENCODING="ascii"
    )
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.isascii()
    assert "300 samples" in out


def begin_to_learn(process: subprocess.Popen[str]) -> None:
    """Feed a stream that stays open, and wait until some of it is learned."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(csv_text(rows(20_000)))
    process.stdin.flush()
    assert any(" samples " in line for line in process.stdout)


def test_a_second_signal_breaks_off_and_leaves_no_model() -> None:
    process = start(*RUN, "--hidden", "256-256")  # slow enough not to end before the second one
    begin_to_learn(process)
    # Both wait for the process to go on, and then come at once.
    process.send_signal(signal.SIGSTOP)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in out + err
    assert err.splitlines()[-1] == "streamnet: interrupted"
    assert not Path("model.json").exists()


def test_a_signal_before_the_first_sample_ends_a_run_with_one_clear_line() -> None:
    process = start(*RUN)
    assert process.stdout is not None
    process.stdout.readline()  # the headline: the stream is opened, and nothing comes
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "streamnet: interrupted"
    assert not Path("model.json").exists()


def test_a_watcher_that_goes_away_ends_reading_and_what_was_learned_is_written() -> None:
    process = start(*RUN)
    begin_to_learn(process)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == ""
    assert Path("model.json").exists()
    process.communicate()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_costs_one_line() -> None:
    write(100)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "replay", "a.csv", "--target", "label", "--candidates", "1"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("streamnet: output: ")
    assert done.stderr.count("\n") == 1


def test_help_is_there_at_once(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment.pop("COVERAGE_PROCESS_START", None)
    seconds = []
    for _ in range(5):  # the first one compiles Python's own byte code
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [*COMMAND, "--help"], env=environment, capture_output=True, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert b"replay" in done.stdout
    assert min(seconds) < 0.2


@pytest.mark.parametrize("heavy", ["numba", "numpy", "polars", "pydantic", "anyio"])
def test_help_does_not_wait_for_what_only_runs_need(heavy: str) -> None:
    code = f"import sys, streamnet.cli.app; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0

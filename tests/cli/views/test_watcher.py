"""Runs in their own process: on a terminal, in a pipe, and when they are stopped."""

from __future__ import annotations

import errno
import io
import logging
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streamnet.cli.views import watcher as watching
from streamnet.modelfiles import Model
from streamnet.runs.replay import Replay
from streamnet.settings.run import RunSettings, apply_overrides
from tests import processes as untraced
from tests.cli.invocation import csv_text, rows, write
from tests.cli.processes import COMMAND, STREAM, begin_to_learn, on_a_terminal, start

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def samples(count: int = 3000) -> Path:
    return write("a.csv", csv_text(rows(count)))


def test_a_terminal_gets_a_live_view_and_then_the_summary() -> None:
    code, sent = on_a_terminal("replay", samples(), "--target", "label", "--candidates", "3")
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


def test_a_narrow_terminal_is_never_sent_a_longer_line() -> None:
    code, sent = on_a_terminal(
        "replay", samples(), "--target", "label", "--candidates", "3", columns=40, lines=20
    )
    assert code == 0
    headline, *others = ESCAPE.sub("", sent).replace("\r", "\n").splitlines()
    assert headline.startswith("streamnet ")  # a line of its own, that a terminal breaks
    assert max(map(len, others)) <= 40
    for words in ("leader board", "loss now", "balanced", "log loss", "champion"):
        assert any(words in line for line in others)


def test_a_terminal_may_be_without_colors() -> None:
    run = ("replay", samples(300), "--target", "label", "--candidates", "2")
    _, coloured = on_a_terminal(*run)
    _, plain = on_a_terminal(*run, NO_COLOR="1")
    colour = r"\x1b\[[0-9;]*3[1-7]m"
    assert re.search(colour, coloured)
    assert not re.search(colour, plain)


def test_a_terminal_that_can_not_move_its_cursor_gets_plain_lines() -> None:
    _, sent = on_a_terminal(
        "replay", samples(300), "--target", "label", "--candidates", "2", TERM="dumb"
    )
    assert "kernels ready" in sent
    assert "\x1b" not in sent


def test_a_pipe_gets_plain_lines() -> None:
    process = start("replay", samples(), "--target", "label", "--candidates", "2")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "\x1b" not in out
    first, second, *_ = out.splitlines()
    assert first.startswith("streamnet ")
    assert second.startswith("classification: source open and kernels ready")


def test_characters_beyond_ascii_do_not_end_a_run() -> None:
    Path("größe.csv").write_text(csv_text(rows(300)).replace("high", "hoch ↑"), encoding="utf-8")
    process = start(
        "replay", "größe.csv", "--target", "label", "--candidates", "1", PYTHONIOENCODING="ascii"
    )
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.isascii()
    assert "300 samples" in out


def test_a_second_signal_aborts_and_leaves_no_model() -> None:
    process = start(*STREAM, "--hidden", "256-256")  # slow enough not to end before the second one
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
    process = start(*STREAM)
    assert process.stdout is not None
    process.stdout.readline()  # the headline: the stream is opened, and nothing comes
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "streamnet: interrupted"
    assert not Path("model.json").exists()


def test_a_broken_pipe_ends_reading_and_what_was_learned_is_written() -> None:
    process = start(*STREAM)
    begin_to_learn(process)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == ""
    assert Path("model.json").exists()
    process.communicate()


def test_a_broken_pipe_before_the_first_sample_is_not_a_failure_of_the_run() -> None:
    process = start(*STREAM)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()  # the headline: the stream is opened, and nothing comes
    process.stdout.close()
    process.stdin.write(csv_text(rows(5)))
    process.stdin.flush()
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == ""
    process.communicate()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_costs_one_line() -> None:
    samples(100)
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


class FullDisk(io.StringIO):
    """A file that takes the first two lines of a run."""

    def write(self, text: str) -> int:
        if self.getvalue().count("\n") >= 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


def test_a_disk_that_becomes_full_ends_reading_and_what_was_learned_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watching, "MIN_LINE_SECONDS", 0.0)
    run = replay_of(samples(100_000))
    out = FullDisk()
    with pytest.raises(OSError, match="No space left on device"):
        watching.watch(run, quiet=False, out=out)
    assert "kernels ready" in out.getvalue()
    assert run.result is not None
    assert 0 < Model.load("model.json").about["samples"] == run.result.report["learned"]


def test_watching_repeatedly_adds_one_log_handler() -> None:
    path = samples(20)
    for _ in range(2):
        assert watching.watch(replay_of(path), quiet=True) == 0
    handlers = logging.getLogger("streamnet").handlers
    assert sum(isinstance(handler, logging.NullHandler) for handler in handlers) == 1


def replay_of(path: Path) -> Replay:
    values = {
        "source.files": [str(path)],
        "source.target": "label",
        "population.candidates": 2,
        "output.model": "model.json",
    }
    return Replay(apply_overrides(RunSettings(), values))


BARE = """
from cyclopts import App

app = App(name="replay")


@app.command
def replay(file: str, *, limit: int = 1) -> None:
    "Replay."


app(["--help"])
"""


def seconds_of(command: list[str], environment: dict[str, str]) -> float:
    """Processor time of a command, the least of five runs."""
    seconds = []
    for _ in range(5):  # the first one compiles Python's own byte code
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, env=environment, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert b"replay" in done.stdout
    return min(seconds)


def test_help_takes_hardly_longer_than_that_of_a_minimal_program(tmp_path: Path) -> None:
    environment = untraced.environment(PYTHONPYCACHEPREFIX=str(tmp_path))
    bare = seconds_of([sys.executable, "-c", BARE], environment)
    assert seconds_of([*COMMAND, "--help"], environment) < 2 * bare


@pytest.mark.parametrize("heavy", ["numba", "numpy", "polars", "pydantic", "anyio"])
def test_help_does_not_import_what_only_runs_need(heavy: str) -> None:
    code = f"import sys, streamnet.cli.app; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0

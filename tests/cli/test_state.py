"""``run``, ``status``, ``rollback``, ``verify``, and ``replay`` with a state."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamnet.cli.replay import reload
from streamnet.durability.state_directory import StateDirectory
from streamnet.errors import ConfigurationError
from streamnet.runs.replay import Replay
from streamnet.settings.run import load
from tests.cli.invocation import Cli, read_csv
from tests.conftest import REPOSITORY
from tests.durability.killed_runs import CONFIG, left, write_stream

STATE = ("--state", "state")


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    """A run file in the working directory, and its stream."""
    write_stream(tmp_path / "stream.csv", 3000)
    path = tmp_path / "run.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def ran(cli: Cli, run_file: Path) -> Cli:
    """The command, after a run has ended."""
    assert cli("run", run_file, "--quiet") == (0, "", "")
    return cli


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        [sys.executable, "-m", "streamnet", *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


@pytest.fixture
def piped(run_file: Path) -> Iterator[subprocess.Popen[str]]:
    """A run that reads from a pipe, of which so far 1,500 records came."""
    text = run_file.read_text().replace('"stream.csv"', '"-"')
    run_file.write_text(text)
    child = start(run_file.parent, "run", "run.toml", "--quiet")
    assert child.stdin is not None
    records = (run_file.parent / "stream.csv").read_text().splitlines(keepends=True)
    child.stdin.write("".join(records[:1501]))
    child.stdin.flush()
    wait_for(run_file.parent, 1000)
    yield child
    if child.poll() is None:
        child.kill()
        child.wait()
    for stream in (child.stdin, child.stderr):
        if stream is not None and not stream.closed:
            stream.close()


def wait_for(folder: Path, samples: int) -> None:
    """Wait until so many samples were served."""
    path = folder / "predictions.csv"
    for _ in range(900):
        state = folder / "state" / "checkpoints"
        if path.exists() and state.is_dir() and len(list(state.glob("*.checkpoint"))) > 1:
            return
        time.sleep(0.1)
    pytest.fail(f"{samples} samples did not come")


# ------------------------------------------------------------------ commands


def test_a_run_resumes_by_itself_and_writes_the_same(ran: Cli, run_file: Path) -> None:
    before = left(run_file.parent)
    assert ran("run", run_file, "--quiet") == (0, "", "")
    assert left(run_file.parent) == before


def test_a_run_file_without_a_state_is_refused(cli: Cli, run_file: Path) -> None:
    run_file.write_text("[source]\nfiles = 'stream.csv'\ntarget = 'y'\n")
    outcome = cli("run", run_file)
    assert outcome.code == 2
    assert "state.dir is not given" in outcome.complaint


def test_replay_resumes_only_on_request(cli: Cli, run_file: Path) -> None:
    files = ("stream.csv", "--target", "y", "--candidates", 2, "--quiet", "--max-rejected", 0.5)
    assert cli("replay", *files, *STATE, "--limit", 1000) == (0, "", "")
    refused = cli("replay", *files, *STATE)
    assert refused.code == 1
    hint = "--resume, or resume=True in Python, resumes it"
    assert refused.complaint == f"state state holds an earlier run; {hint}"
    report = ("--report", "report.json")
    unlimited = cli("replay", *files, *STATE, "--resume", *report)
    assert unlimited.code == 1
    assert "source.limit is not given, but was given" in unlimited.complaint
    limit = ("--limit", 10_000)
    assert cli("replay", *files, *STATE, "--resume", *report, *limit) == (0, "", "")
    gone_on = json.loads(Path("report.json").read_text())
    assert cli("replay", *files, *report) == (0, "", "")
    whole = json.loads(Path("report.json").read_text())
    assert gone_on["served"] == whole["served"]
    assert gone_on["samples"] == whole["samples"] == 3000


def test_the_speed_of_a_resumed_run_is_its_own(cli: Cli, run_file: Path) -> None:
    files = ("stream.csv", "--target", "y", "--candidates", 2, "--max-rejected", 0.5)
    told, reports = [], []
    for limit in (1000, 1300):
        run = ("--limit", limit, "--resume", "--report", "report.json")
        told.append(cli("replay", *files, *STATE, *run).out)
        reports.append(json.loads(Path("report.json").read_text()))
    first, second = (report["learned"] for report in reports)
    speed = (second - first) / reports[1]["seconds"]
    assert reports[1]["samples_per_second"] == pytest.approx(speed, rel=0.01)
    assert f"{first:,} samples in " in told[0]
    assert f"{second:,} samples, {second - first} of them in " in told[1]


def test_predictions_that_the_state_does_not_know_are_not_lost(cli: Cli, run_file: Path) -> None:
    files = ("stream.csv", "--target", "y", "--candidates", 2, "--quiet", "--max-rejected", 0.5)
    predictions, going_on = ("--predictions", "answers.csv"), (*files, *STATE, "--resume")
    assert cli("replay", *files, *STATE, "--limit", 100, *predictions) == (0, "", "")
    before = Path("answers.csv").read_bytes()
    assert cli("replay", *going_on, "--limit", 200) == (0, "", "")
    refused = cli("replay", *going_on, "--limit", 300, *predictions)
    assert refused.code == 1
    assert refused.complaint == (
        f"predictions answers.csv has {len(before):,} bytes, but must be absent or empty, since "
        "the state to resume from has no such output"
    )
    assert Path("answers.csv").read_bytes() == before
    other = ("--predictions", "later.csv")
    assert cli("replay", *going_on, "--limit", 300, *other) == (0, "", "")
    assert len(Path("later.csv").read_text().splitlines()) == 101


def test_resume_without_a_state_is_refused(cli: Cli, run_file: Path) -> None:
    outcome = cli("replay", "stream.csv", "--target", "y", "--resume")
    assert outcome.code == 2
    assert "state is not given" in outcome.complaint


@pytest.mark.parametrize("name", ["every_samples", "every_seconds"])
def test_checkpoint_options_are_refused_without_a_state(
    cli: Cli, run_file: Path, name: str
) -> None:
    option = f"--{name.replace('_', '-')}"
    outcome = cli("replay", "stream.csv", "--target", "y", option, 5)
    complaint = f"{name} is given, but state is not, so nothing is kept"
    assert (outcome.code, outcome.complaint) == (2, complaint)


def test_a_changed_setting_is_named(ran: Cli, run_file: Path) -> None:
    run_file.write_text(run_file.read_text().replace("seed = 3", "seed = 4"))
    outcome = ran("run", run_file, "--quiet")
    assert outcome.code == 1
    assert outcome.complaint.endswith("can't be resumed: seed is 4, but was 3")


def test_the_source_may_not_be_read_differently(ran: Cli, run_file: Path) -> None:
    run_file.write_text(run_file.read_text().replace('"y"', '"y", drop = ["z"]'))
    outcome = ran("run", run_file, "--quiet")
    assert outcome.code == 1
    assert "source.drop is ['z'], but was not given" in outcome.complaint


def test_a_table_may_not_be_added_on_resume(ran: Cli, run_file: Path) -> None:
    text = run_file.read_text()
    for table, phrase in (
        ('kinds = {x = "text"}', "source.kinds.x is text, but was not given"),
        ('drift = {changed = "stop"}', "source.drift.changed is stop, but was not given"),
    ):
        run_file.write_text(text.replace('"y"', f'"y", {table}'))
        outcome = ran("run", run_file, "--quiet")
        assert outcome.code == 1
        assert outcome.complaint.endswith(f"can't be resumed: {phrase}")


def test_status_shows_the_progress_of_a_run(ran: Cli) -> None:
    outcome = ran("status", "state")
    assert outcome.code == 0
    for pattern in (
        r"lineage +[0-9a-f]{16}\n",
        r"writer +none",
        r"position +stream\.csv, before line 3,002",
        r"records +3,000 read, 2,940 learned, 60 rejected",
        r"ledger +[0-9a-f]{64}",
        r"categories of colour +3 +1,000",
        r"fields +3 +4,096",
        r"candidates that went +\d+ +100",
    ):
        assert re.search(pattern, re.sub(r" +\n", "\n", outcome.out)), pattern


def test_a_rolled_back_run_writes_the_same_under_another_lineage(ran: Cli, run_file: Path) -> None:
    before = left(run_file.parent)
    lineage = re.search(r"lineage +(\w+)", ran("status", "state").out)
    numbers = sorted(int(p.stem) for p in Path("state/checkpoints").iterdir())
    outcome = ran("rollback", "state", numbers[0])
    assert outcome.code == 0
    assert f"copied to generation {numbers[-1] + 1}" in outcome.out
    assert ran("run", run_file, "--quiet") == (0, "", "")
    after = left(run_file.parent)
    assert lineage is not None
    assert lineage[1] not in ran("status", "state").out.split("model")[0]
    kept = ("report", "ledger", "model.json", "predictions.csv")
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}


def test_verify_compares_every_bit(ran: Cli, run_file: Path) -> None:
    run_file.write_text(run_file.read_text().replace("models = 4", "models = 4, generations = 99"))
    for path in Path("state/checkpoints").iterdir():
        path.unlink()
    assert ran("run", run_file, "--quiet") == (0, "", "")
    assert Path("state/checkpoints/000000000000.checkpoint").exists()
    for path in sorted(Path("state/checkpoints").iterdir()):
        outcome = ran("verify", "state", int(path.stem))
        assert outcome.code == 0
        assert outcome.out.endswith("bit-identical\n")
    text = Path("stream.csv").read_text().splitlines(keepends=True)
    text[1700] = text[1700].replace("up", "down") if "up" in text[1700] else "0.5,0.5,g,up\n"
    Path("stream.csv").write_text("".join(text))
    outcome = ran("verify", "state")
    assert outcome.code == 1
    assert re.search(r" samples, differs in \d+ values: learner\.", outcome.complaint)
    assert "versions" not in outcome.complaint


def test_a_class_is_merged_in_a_stopped_run_and_verify_repeats_it(ran: Cli, run_file: Path) -> None:
    generation = StateDirectory(Path("state")).generations.newest()
    assert generation is not None
    outcome = ran("classes", "merge", "state", "down", "up")
    number = generation.number + 1
    assert outcome.out == (
        f"'down' merged into 'up' in generation {number}, from which the next run resumes\n"
    )
    outcome = ran("classes", "retire", "state", "up")
    assert outcome.complaint == "label is 'up', but that is the last class, which must stay"
    assert ran("verify", "state").out.endswith("bit-identical\n")
    with Path("stream.csv").open("a") as stream:
        stream.writelines(f"0.5,{i % 7 - 3},g,{'up' if i % 2 else 'down'}\n" for i in range(400))
    assert ran("run", run_file).out.count("'down' merged into 'up' at sample") == 1
    report = json.loads(Path("report.json").read_text())
    (change,) = report["class_changes"]
    assert (change["label"], change["into"]) == ("down", "up")
    answers = read_csv(Path("predictions.csv").read_text())[-400:]
    assert {(row["truth"], row["answer"]) for row in answers} == {("up", "up")}
    assert ran("verify", "state").out.endswith("bit-identical\n")
    outcome = ran("inspect", "model.json")
    assert re.search(r"changed classes +'down' merged into 'up'", outcome.out)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("merge", "state", "down"), "INTO is missing, but merge needs another class"),
        (("retire", "state", "down", "up"), "INTO is 'up', but retire has no other class"),
        (("retire", "state", "Up"), "Did you mean 'up'?"),
    ],
)
def test_impossible_changes_of_classes_are_refused(
    ran: Cli, arguments: tuple[str, ...], problem: str
) -> None:
    before = StateDirectory(Path("state")).generations.numbers()
    assert problem in ran("classes", *arguments).complaint
    assert StateDirectory(Path("state")).generations.numbers() == before


def test_verify_names_versions_that_differ(ran: Cli) -> None:
    generations = StateDirectory(Path("state")).generations
    newest = generations.newest()
    assert newest is not None
    older = {**newest.tree["numerics"], "numpy": "0.1"}
    learner = {**newest.tree["learner"], "unknown": 1}
    tree = {**newest.tree, "numerics": older, "learner": learner}
    generations.save(tree)
    outcome = ran("verify", "state")
    assert outcome.code == 1
    assert "differs in 1 value: learner.unknown (" in outcome.complaint
    assert ", but was 0.1)" in outcome.complaint


def test_dead_letters_are_listed_shown_and_written_out(ran: Cli) -> None:
    listed = ran("dead-letters", "list", "state")
    assert listed.code == 0
    assert len(listed.out.splitlines()) == 60
    assert listed.out.startswith("1  stream.csv, line 9  arity  ")
    shown = ran("dead-letters", "show", "state", 2)
    assert re.search(r"line +59\n", re.sub(r" +\n", "\n", shown.out))
    assert (
        "NUMBER is 61, but must be from 1 to 60"
        in ran("dead-letters", "show", "state", 61).complaint
    )
    written = ran("dead-letters", "replay", "state", "--to", "again.csv")
    assert written.out == "60 records written to again.csv\n"
    assert Path("again.csv").read_text().splitlines()[-60:] == ["broken"] * 60
    assert "File exists" in ran("dead-letters", "replay", "state", "--to", "again.csv").complaint


def test_a_state_without_any_usable_generation_has_its_own_exit_code(
    ran: Cli, run_file: Path
) -> None:
    for path in Path("state/checkpoints").iterdir():
        path.write_bytes(b"")
    for command in (("run", run_file, "--quiet"), ("status", "state")):
        outcome = ran(*command)
        assert outcome.code == 78
        assert "no generation in state" in outcome.complaint


@pytest.mark.parametrize("command", ["status", "verify"])
def test_a_folder_without_a_state_is_an_error(cli: Cli, command: str) -> None:
    outcome = cli(command, ".")
    assert outcome.code == 1
    assert "holds no state" in outcome.complaint


# ------------------------------------------------------------------- signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_signal_ends_a_run_in_time_and_another_run_resumes(
    run_file: Path, piped: subprocess.Popen[str], number: signal.Signals
) -> None:
    piped.send_signal(number)
    begun = time.monotonic()
    _, words = piped.communicate(timeout=20)
    assert piped.returncode == 128 + number
    assert time.monotonic() - begun < 10
    assert words.startswith("streamnet: stopping after learning what was read")
    assert "Traceback" not in words
    folder = run_file.parent
    stopped = json.loads((folder / "report.json").read_text())
    assert 0 < stopped["learned"] < 1500
    child = start(folder, "run", "run.toml", "--quiet")
    records = (folder / "stream.csv").read_text()
    assert child.communicate(records, timeout=60)[1] == ""
    gone_on = left(folder)
    for path in folder.glob("state/*/*"):
        path.unlink()
    child = start(folder, "run", "run.toml", "--quiet")
    assert child.communicate(records, timeout=60)[1] == ""
    assert left(folder) == gone_on


def test_a_second_signal_ends_at_once_and_damages_nothing(
    cli: Cli, piped: subprocess.Popen[str]
) -> None:
    piped.send_signal(signal.SIGTERM)
    piped.send_signal(signal.SIGTERM)
    _, words = piped.communicate(timeout=20)
    assert piped.returncode in (130, 143)
    assert "Traceback" not in words
    assert cli("status", "state").code == 0


def test_a_second_process_is_refused_while_the_first_runs(
    cli: Cli, run_file: Path, piped: subprocess.Popen[str]
) -> None:
    refused = cli("run", run_file, "--quiet")
    assert refused.code == 1
    assert f"is in use by process {piped.pid}" in refused.complaint
    assert f"process {piped.pid}" in cli("status", "state").out


def test_sighup_reloads_the_run_file_and_refuses_settings_that_can_not_change(
    run_file: Path, piped: subprocess.Popen[str]
) -> None:
    text = run_file.read_text()
    assert piped.stderr is not None

    def hang_up(new: str) -> str:
        run_file.write_text(new)
        piped.send_signal(signal.SIGHUP)
        assert piped.stderr is not None
        return piped.stderr.readline()

    assert "state.models changed" in hang_up(text.replace("models = 4", "models = 9"))
    assert "refused: run.toml: run.seed is 9" in hang_up(text.replace("seed = 3", "seed = 9"))
    assert "refused: run.toml" in hang_up(text + "nonsense")
    assert "state.models changed" in hang_up(text)
    assert "nothing changed" in hang_up(text)
    piped.send_signal(signal.SIGTERM)
    piped.communicate(timeout=20)
    assert piped.returncode == 128 + signal.SIGTERM


def test_sighup_before_a_run_starts_is_handled_once_it_has(run_file: Path) -> None:
    text = run_file.read_text().replace('"stream.csv"', '"-"')
    run_file.unlink()
    os.mkfifo(run_file)
    child = start(run_file.parent, "run", "run.toml", "--quiet")
    with run_file.open("w") as file:  # opened once it is being read
        child.send_signal(signal.SIGHUP)
        file.write(text)
        run_file.unlink()
        run_file.write_text(text)
    records = (run_file.parent / "stream.csv").read_text()
    _, words = child.communicate(records, timeout=60)
    assert words == "streamnet: run.toml was reloaded: nothing changed\n"
    assert child.returncode == 0


RUN_CONFIG = """
[source]
files = "stream.csv"
target = "y"
[state]
dir = "state"
models = 4
"""
KINDS = RUN_CONFIG.replace('"y"', '"y"\nkinds = {c = "text"}')
CANDIDATE = RUN_CONFIG + "[[population.candidate]]\nhidden = 4\n"


@pytest.fixture
def run_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run file in the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("stream.csv").write_text("c,y\n1,a\n2,b\n")
    path = Path("run.toml")
    path.write_text(RUN_CONFIG)
    return path


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        (KINDS, "source.kinds.c is text, but was not given"),
        (CANDIDATE, "population.candidate.count is 1, but was not given"),
        (RUN_CONFIG + "[selection]\nalpha = 0.5\n", "selection.alpha is 0.5, but was not given"),
    ],
)
def test_new_settings_in_a_run_file_are_refused_and_the_original_is_accepted(
    run_config: Path, text: str, phrase: str
) -> None:
    replay = Replay(load(run_config), resume=True)
    run_config.write_text(text)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"can't change during a run$") as raised:
            reload(replay, run_config)
        assert f"run.toml: {phrase}" in str(raised.value)
        assert str(raised.value).count(", but was ") <= 10
    run_config.write_text(RUN_CONFIG)
    assert reload(replay, run_config) == "run.toml was reloaded: nothing changed"
    run_config.write_text(RUN_CONFIG.replace("4", "9"))
    assert reload(replay, run_config) == "run.toml was reloaded: state.models changed"

"""The command as a whole: help, exit codes, and one clear line for everything that goes wrong."""

from __future__ import annotations

import re
import signal
from importlib import import_module
from inspect import signature
from pathlib import Path

import pytest

import streamnet
from streamnet.cli.app import COMMANDS, Command
from streamnet.metrics import windows
from streamnet.modelfiles import Model
from streamnet.pipeline import Pipeline
from tests.cli.invocation import Cli, csv_text, rows, write
from tests.cli.processes import STREAM, begin_to_learn, start

READING = "--format --delimiter --header --no-header --missing"
OPTIONS = {
    "replay": "--target --task --drop --kind --epochs --shuffle-buffer --limit --max-rejected "
    f"{READING} --candidates --hidden --activation --optimizer --learning-rate --rehearsal --dtype "
    "--criterion "
    "--seed --block-size --threads --config --model --predictions --report --dead-letters --quiet",
    "predict": f"MODEL FILE {READING} --output",
    "evaluate": f"MODEL FILE --target {READING} --report --all-measures --per-class "
    "--confusion --threshold --plot",
    "inspect": "FILE",
}


@pytest.mark.parametrize("command", OPTIONS)
def test_help_of_a_command_mentions_every_option(cli: Cli, command: str) -> None:
    outcome = cli(command, "--help")
    assert outcome.code == 0
    assert set(OPTIONS[command].split()) <= set(re.findall(r"[\w-]+", outcome.out))
    assert outcome.out.startswith(f"Usage: streamnet {command}")


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("replay", "FILE"),
        ("predict", "MODEL FILE"),
        ("run", "CONFIG"),
        ("status", "DIR"),
        ("rollback", "DIR GENERATION"),
        ("verify", "DIR GENERATION"),
        ("dead-letters", "DIR NUMBER"),
        ("classes", "DIR LABEL INTO"),
        ("client upload", "NAME FILE SETTINGS"),
    ],
)
def test_usage_and_help_call_the_arguments_the_same(cli: Cli, command: str, arguments: str) -> None:
    usage, *lines = cli(*command.split(), "--help").out.splitlines()
    told = [found[1] for line in lines if (found := re.match(r"│ [ *]? *([A-Z]+)  ", line))]
    assert [name for name in told if name != "ACTION"] == arguments.split()
    assert [name for name in re.findall("[A-Z]{3,}", usage) if name != "OPTIONS"] == told[
        -len(arguments.split()) :
    ]


def test_help_states_the_defaults_of_a_run(cli: Cli) -> None:
    words = " ".join(re.sub("│", " ", cli("replay", "--help").out).split())
    pipeline = signature(Pipeline).parameters
    for option, name in (("seed", "seed"), ("block-size", "block_size"), ("threads", "threads")):
        told = re.search(rf"--{option} N .*?default (\d+)\.", words)
        assert told is not None
        assert int(told[1]) == pipeline[name].default


def test_help_says_how_many_bad_records_end_a_run(cli: Cli) -> None:
    words = " ".join(re.sub("│", " ", cli("replay", "--help").out).split())
    assert "among the last 1,000, from the 1,000th on; default 0.1" in words


@pytest.mark.parametrize("command", ["replay", "train", "evaluate"])
def test_help_says_what_bounds_a_log_loss(cli: Cli, command: str) -> None:
    assert "0.0001" in cli(command, "--help").out


@pytest.mark.parametrize("columns", [40, 80, 100])
def test_help_fits_the_terminal(cli: Cli, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = cli("replay", "--help").out.splitlines()
    assert max(map(len, lines)) == columns


def test_help_lists_the_commands(cli: Cli) -> None:
    outcome = cli("--help")
    assert outcome.code == 0
    assert set(OPTIONS) <= set(re.findall(r"\w+", outcome.out))
    assert cli() == outcome


def test_version_is_that_of_the_package(cli: Cli) -> None:
    assert cli("--version") == (0, f"{streamnet.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "code", "phrases"),
    [
        ("learn", 2, ("learn", "replay, train, predict, evaluate")),
        ("replay", 2, ("no file",)),
        ("predict", 2, ("MODEL",)),
        ("evaluate", 2, ("MODEL",)),
        ("inspect", 2, ("FILE",)),
        ("replay good.csv --targt label", 2, ("--targt", "--target?")),
        ("predict model.json good.csv --outputs x.csv", 2, ("--outputs", "--output?")),
        ("replay absent.csv --target label", 1, ("absent.csv", "does not exist")),
        ("replay absent*.csv --target label", 1, ("absent*.csv",)),
        ("replay folder --target label", 1, ("folder is a folder",)),
        ("replay empty.csv --target label", 1, ("empty.csv", "no samples")),
        ("replay header.csv --target label", 1, ("header.csv", "no samples", "header")),
        ("replay good.csv", 2, ("target", "'number'", "'shade'", "'label'")),
        ("replay good.csv --target lable", 1, ("good.csv", "'lable'", "mean 'label'?")),
        ("replay good.csv --target label --drop numbr", 1, ("'numbr'", "mean 'number'?")),
        ("replay good.csv --target label --kind shad=text", 1, ("'shad'", "mean 'shade'?")),
        ("replay good.csv --target label --task regression", 1, ("label", "'low'", "line 2")),
        ("replay good.csv --target label --task ranking", 2, ("ranking", "--task")),
        ("replay good.csv --target label --kind shade=colour", 2, ("--kind", "'colour'")),
        ("replay good.csv --target label --kind shade", 2, ("--kind", "'shade'", "COLUMN=KIND")),
        ("replay good.csv --target label --kind.shade text", 2, ("--kind.shade", "--kind?")),
        (
            "replay good.csv --target label --kind shade=text --kind shade=category",
            2,
            ("--kind", "'shade' can't be both text and category"),
        ),
        ("replay good.csv --target label --limit 0", 2, ("--limit is 0", ">= 1")),
        ("replay good.csv --target label --limit many", 2, ("--limit", "many")),
        ("replay good.csv --target label --seed 1.5", 2, ("--seed", "'1.5'", "whole number")),
        ("replay good.csv --target label --epochs 1e3", 2, ("--epochs", "'1e3'", "whole")),
        ("replay good.csv --target label --every-samples 1.5", 2, ("--every-samples", "'1.5'")),
        ("train good.csv --tries 1.5", 2, ("--tries", "'1.5' is not a whole number")),
        ("rollback state 1.5", 2, ("GENERATION", "'1.5' is not a whole number")),
        ("dead-letters show state 1.5", 2, ("NUMBER", "'1.5' is not a whole number")),
        ("client events wine --after 1.5", 2, ("--after", "'1.5' is not a whole number")),
        ("replay good.csv --target label --max-rejected 2", 2, ("--max-rejected is 2",)),
        ("replay good.csv --target label --learning-rate fast", 2, ("'fast'", "number")),
        (
            "replay good.csv --target label --learning-rate 1 --learning-rate fast",
            2,
            ("--learning-rate", "'fast' is not a number"),
        ),
        ("replay good.csv --target label --learning-rate nan", 2, ("--learning-rate is nan",)),
        ("replay good.csv --target label --optimizer magic", 2, ("'magic'", "adam")),
        ("replay good.csv --target label --config absent.toml", 2, ("absent.toml",)),
        ("replay - --target label --epochs 2", 2, ("epochs is 2", "standard input")),
        ("replay good.csv --target label --model m.pkl", 2, ("m.pkl", ".safetensors or .json")),
        ("replay good.csv --target label --report r.txt", 2, ("r.txt", "end in .json")),
        ("replay good.csv --target label --predictions p.txt", 2, ("p.txt", ".csv or .jsonl")),
        ("replay good.csv --target label --predictions good.csv", 2, ("good.csv", "learn from")),
        ("replay good.csv --target label --model no/m.json", 2, ("no/m.json", "folder")),
        ("predict model.json", 2, ("no file",)),
        ("predict absent.json good.csv", 1, ("absent.json", "No such file")),
        ("predict model.json absent.csv", 1, ("absent.csv", "does not exist")),
        ("predict model.json folder", 1, ("folder is a folder",)),
        ("predict model.json empty.csv", 1, ("empty.csv", "no samples")),
        ("predict model.json header.csv", 1, ("header.csv", "no samples")),
        ("predict damaged.json good.csv", 1, ("damaged.json",)),
        ("predict damaged.safetensors good.csv", 1, ("damaged.safetensors", "damaged")),
        ("predict model.json good.csv --output p.txt", 2, ("p.txt", ".csv or .jsonl")),
        ("predict model.json good.csv --output no/p.csv", 2, ("no/p.csv", "folder does not exist")),
        ("predict model.json good.csv --output good.csv", 2, ("good.csv", "predict")),
        ("predict model.json other.csv", 1, ("other.csv", "'number'", "model")),
        ("evaluate model.json", 2, ("no file",)),
        ("evaluate model.json other.csv", 1, ("other.csv", "no column")),
        ("evaluate model.json empty.csv", 1, ("empty.csv", "no samples")),
        ("evaluate damaged.json good.csv", 1, ("damaged.json",)),
        ("evaluate model.json good.csv --target lable", 1, ("'lable'", "mean 'label'?")),
        ("evaluate model.json good.csv --report r.txt", 2, ("r.txt", "end in .json")),
        ("evaluate model.json good.csv --report no/r.json", 2, ("no/r.json",)),
        ("inspect model.json more.json", 2, ("more.json", "unexpected argument")),
        ("inspect absent.json", 1, ("absent.json", "No such file")),
        ("inspect damaged.json", 1, ("damaged.json", "damaged")),
        ("inspect damaged.safetensors", 1, ("damaged.safetensors", "damaged")),
        ("inspect good.csv", 1, ("good.csv",)),
        ("inspect folder", 1, ("folder",)),
    ],
)
def test_a_mistake_costs_one_line_and_no_traceback(
    cli: Cli, trained: Path, arguments: str, code: int, phrases: tuple[str, ...]
) -> None:
    write("good.csv", csv_text(rows(60)))
    write("other.csv", "size,mass\n1,2\n3,4\n")
    Path("empty.csv").touch()
    write("header.csv", "number,shade,label\n")
    Path("folder").mkdir()
    for name in ("model.json", "model.safetensors"):
        content = (trained / name).read_bytes()
        Path(name).write_bytes(content)
        Path(name.replace("model", "damaged")).write_bytes(content[: len(content) // 2])
    outcome = cli(*arguments.split())
    assert outcome.code == code
    for phrase in phrases:
        assert phrase in outcome.complaint


def test_a_usage_error_leaves_files_unchanged(cli: Cli) -> None:
    path, text = Path("good.csv"), csv_text(rows(60))
    path.write_text(text, encoding="utf-8")
    for option in ("--predictions", "--model", "--report", "--dead-letters"):
        assert cli("replay", path, "--target", "label", option, path).code == 2
    assert path.read_text(encoding="utf-8") == text
    assert list(Path().iterdir()) == [path]


def test_standard_input_is_a_stream_too(cli: Cli) -> None:
    write("good.csv", csv_text(rows(300)))
    assert cli.replay("good.csv", "--predictions", "file.csv").code == 0
    process = start(*STREAM, "--predictions", "piped.csv", "--report", "report.json")
    out, err = process.communicate(csv_text(rows(300)), timeout=100)
    assert (process.returncode, err) == (0, "")
    assert "300 samples" in out
    from_file, piped = (
        [line.split(",", 2)[2] for line in Path(name).read_text(encoding="utf-8").splitlines()]
        for name in ("file.csv", "piped.csv")
    )
    assert len(piped) == 301
    assert piped == from_file


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_reading_and_what_was_learned_is_written(
    cli: Cli, number: signal.Signals
) -> None:
    process = start(*STREAM, "--predictions", "answers.csv")
    begin_to_learn(process)
    process.send_signal(number)
    assert process.wait(timeout=60) == 128 + number
    out, err = process.communicate()
    assert "Traceback" not in out + err
    answers = len(Path("answers.csv").read_text(encoding="utf-8").splitlines()) - 1
    saved = Model.load("model.json")
    assert 0 < answers == saved.about["samples"] <= 20_000
    assert saved.predict({"number": 6, "shade": "red"})[0] == "high"


def test_a_broken_pipe_ends_the_command_silently(cli: Cli, model: Path) -> None:
    write("many.csv", csv_text(rows(20_000)))
    process = start("predict", model, "many.csv")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith("source,")
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == ""
    process.communicate()


def test_running_out_of_memory_is_one_clear_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "validate_windows", lambda *_: None)
    write("stream.csv", csv_text(rows(50)))
    config = (
        "[source]\nfiles = 'stream.csv'\ntarget = 'label'\n[evaluation]\nwindow = 10000000000000"
    )
    outcome = cli("replay", "--config", write("run.toml", config), "--quiet")
    assert outcome.code == 1
    assert outcome.complaint.startswith("out of memory: Unable to allocate")


def test_a_name_that_is_not_utf_8_is_refused_clearly(cli: Cli) -> None:
    outcome = cli("replay", "a.csv", "--target", "caf\udce9")
    assert outcome.code == 2
    assert outcome.complaint.endswith("', but must be text in UTF-8")
    assert outcome.complaint.startswith("--target is 'caf")


@pytest.mark.parametrize("command", ["replay", "train"])
def test_a_warning_about_a_file_is_printed_once(cli: Cli, command: str) -> None:
    write("f.csv", "5.5,a\n3.5,b\n" * 20)
    sizes = ("--candidates", 2) if command == "replay" else ("--tries", 1, "--epochs", 2)
    outcome = cli(command, "f.csv", "--target", "1", "--quiet", *sizes)
    assert outcome.complaint == "f.csv has no header: target 1 is column 'f1', counted from 0"


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_the_summary_of_a_command_is_the_first_sentence_of_its_help(command: Command) -> None:
    module, _, name = command.function.partition(":")
    function = getattr(import_module(f"streamnet.cli.{module}"), name)
    assert command.summary == function.__doc__.partition("\n")[0]

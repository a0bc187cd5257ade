"""A run whose state and outputs are in a bucket, killed again and again."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import pytest

import streamnet
from streamnet import objects
from streamnet.errors import ConfigurationError, StateError
from streamnet.modelfiles.model import Model
from tests.conftest import REPOSITORY
from tests.processes import environment

SAMPLES = 12_000
SECONDS = 600


def write_samples(path: Path, count: int = SAMPLES) -> None:
    chance = random.Random(1)
    lines = [
        f"{chance.random():.4f},{chance.choice('abc')},{'uv'[chance.random() < 0.5]}"
        if number % 97
        else "bad,record"
        for number in range(count)
    ]
    path.write_text("x,w,y\n" + "\n".join(lines) + "\n")


def command(state: str) -> list[str]:
    return [
        *(sys.executable, "-P", "-m", "streamnet", "replay", "a.csv", "--target", "y"),
        *("--every-samples", "200", "--quiet", "--resume"),
        *("--state", state, "--model", f"{state}.safetensors", "--predictions", f"{state}.csv"),
    ]


def start(state: str, folder: Path) -> subprocess.Popen[str]:
    given = environment(PYTHONPATH=str(REPOSITORY))
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command(state), cwd=folder, env=given, stdout=pipe, stderr=pipe, text=True
    )


def show_status(state: str) -> str:
    shown = [sys.executable, "-P", "-m", "streamnet", "status", state]
    given = environment(PYTHONPATH=str(REPOSITORY), COLUMNS="200")
    return subprocess.run(shown, env=given, capture_output=True, text=True, check=True).stdout


def count_checkpoints(state: str) -> int:
    names = [info.url.rpartition("/")[2] for info in objects.list_below(f"{state}/checkpoints")]
    return max((int(name.partition(".")[0]) for name in names), default=-1)


@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.long)])
@pytest.mark.timeout(SECONDS)
def test_a_run_that_is_killed_goes_on_to_the_same_bits(
    bucket: str, tmp_path: Path, kills: int
) -> None:
    assert_kills_change_nothing(bucket, tmp_path, kills)


@pytest.mark.long
@pytest.mark.timeout(SECONDS)
def test_so_does_one_at_google(gs_bucket: str, tmp_path: Path) -> None:
    assert_kills_change_nothing(gs_bucket, tmp_path, kills=10, samples=2 * SAMPLES)


@pytest.mark.long
@pytest.mark.timeout(SECONDS)
def test_so_does_one_at_azure_which_also_reads_a_folder_there(
    azure_bucket: str, tmp_path: Path
) -> None:
    assert_kills_change_nothing(azure_bucket, tmp_path, kills=10)
    data = (tmp_path / "a.csv").read_bytes()
    for name in ("a", "b"):
        objects.write(f"{azure_bucket}/data/{name}.csv", data)
    state = str(tmp_path / "state")
    report = streamnet.replay(f"{azure_bucket}/data/", target="y", candidates=2, state=state).report
    assert report["learned"] + report["rejected"] == 2 * SAMPLES


def assert_kills_change_nothing(
    bucket: str, tmp_path: Path, kills: int, samples: int = SAMPLES
) -> None:
    write_samples(tmp_path / "a.csv", samples)
    undisturbed = start("local", tmp_path)
    assert undisturbed.communicate(timeout=SECONDS)[1] == ""
    chance = random.Random(kills)
    state = f"{bucket}/state"
    killed = 0
    while killed < kills:
        process = start(state, tmp_path)
        before = count_checkpoints(state)
        deadline = monotonic() + SECONDS / 4
        # Each run gets on by a checkpoint at least, and leaves enough for the others.
        while count_checkpoints(state) < before + 1 and process.poll() is None:
            assert monotonic() < deadline
            sleep(0.01)
        sleep(chance.random() / 20)
        assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed += 1
    process = start(state, tmp_path)
    assert process.communicate(timeout=SECONDS)[1] == ""
    assert process.returncode == 0
    for suffix in (".safetensors", ".csv"):
        assert objects.read(f"{state}{suffix}") == (tmp_path / f"local{suffix}").read_bytes()
    letters = tmp_path / "local" / "dead-letters.jsonl"
    assert objects.read(f"{state}/dead-letters.jsonl") == letters.read_bytes()
    ledgers = []
    for name in (state, str(tmp_path / "local")):
        shown = show_status(name)
        assert f"state        {name}" in shown
        ledgers.append(next(line for line in shown.splitlines() if "ledger" in line).split())
    assert ledgers[0] == ledgers[1]


def test_two_writers_at_once_are_refused(bucket: str, tmp_path: Path) -> None:
    write_samples(tmp_path / "a.csv")
    state = f"{bucket}/state"
    first = start(state, tmp_path)
    deadline = monotonic() + SECONDS / 4
    while count_checkpoints(state) < 1 and first.poll() is None:
        assert monotonic() < deadline
        sleep(0.01)
    first.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(StateError, match=f"{state} is in use by process {first.pid} on "):
            streamnet.replay(tmp_path / "a.csv", target="y", state=state, resume=True)
    finally:
        first.send_signal(signal.SIGCONT)
        first.kill()
        first.communicate()


@pytest.mark.parametrize("url", ["ftp://host/state", "https://host/state"])
def test_a_state_that_is_no_folder_is_refused(tmp_path: Path, url: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x,y\n1,u\n2,v\n")
    with pytest.raises(ConfigurationError, match=f"state is '{url}', but must be a folder, or one"):
        streamnet.replay(path, target="y", state=url)


def test_outputs_go_to_a_bucket(bucket: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x,y\n" + "".join(f"{n % 7},{'uv'[n % 7 > 3]}\n" for n in range(800)) + "?\n")
    outputs = {
        "model": "m.safetensors",
        "predictions": "p.jsonl",
        "report": "r.json",
        "dead_letters": "d.jsonl",
    }
    urls = {name: f"{bucket}/out/{file}" for name, file in outputs.items()}
    local = {name: str(tmp_path / file) for name, file in outputs.items()}
    for given in (urls, local):
        streamnet.replay(path, target="y", candidates=2, **given)  # type: ignore[arg-type]
    for name in ("model", "predictions", "dead_letters"):
        assert objects.read(urls[name]) == Path(local[name]).read_bytes(), name
    assert b'"learned": 800' in objects.read(urls["report"])
    model = Model.load(urls["model"])
    assert model.predict({"x": 6}) == Model.load(local["model"]).predict({"x": 6})


@pytest.mark.parametrize(
    ("name", "url", "rule"),
    [
        ("model", "s3://no-such-bucket/m.json", "the bucket of s3://no-such-bucket/m.json/ does"),
        ("model", "https://host/m.json", "must be a file"),
        ("report", "s3://bucket/r.txt", "must end in .json or .html"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_at_once(
    bucket: str, tmp_path: Path, name: str, url: str, rule: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x,y\n1,u\n2,v\n")
    with pytest.raises(ConfigurationError, match=f"{name} is '{url}', but {rule}"):
        streamnet.replay(path, target="y", **{name: url})  # type: ignore[arg-type]

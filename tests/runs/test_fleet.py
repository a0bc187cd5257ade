"""Owners of partitions of keys: the same bits for any number of them, whatever becomes of them.

``pytest -m long tests/runs/test_fleet.py`` kills owners ten times and the run itself three times,
as processes and on Ray.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from pathlib import Path
from shutil import copy, rmtree
from typing import Any

import anyio
import numpy as np
import polars as pl
import pytest

from streamnet import objects, replay
from streamnet.cli.views import watcher as watching
from streamnet.cli.views.fleet import show_fleet
from streamnet.durability.bucket import open_state
from streamnet.durability.state_directory import StateDirectory, WriterLock
from streamnet.errors import ConfigurationError, DataError, StateError
from streamnet.executors import Actor, Executor, WorkerDiedError
from streamnet.executors.in_process import InProcessExecutor
from streamnet.jit import numerics
from streamnet.runs import fleet as fleet_module
from streamnet.runs import key_partitions
from streamnet.runs.fleet import FleetResult, FleetRun
from streamnet.runs.fleet_status import read_status
from streamnet.runs.keys import hash_rows
from streamnet.runs.owner import Owner
from streamnet.settings.run import RunSettings, apply_overrides, parse
from tests.cli.invocation import Cli
from tests.learning.streams import differences
from tests.processes import environment
from tests.shards.test_sharded_runs import list_shards

PARTITIONS = 4
SMALL: dict[str, Any] = {
    "hidden": "8",
    "learning_rate": 0.1,
    "optimizer": "adagrad",
    "key": ["device"],
    "target": "y",
    "partitions": PARTITIONS,
    "every_samples": 100,
    "threads": 1,
}


def write_stream(path: Path, samples: int, keys: int = 40) -> None:
    """Devices with levels that wander, and some records that can't be read."""
    rng = np.random.default_rng(1)
    levels = rng.normal(scale=30.0, size=keys)
    lines = ["device,load,y"]
    for number in range(samples):
        device, load = int(rng.integers(keys)), float(rng.normal())
        levels[device] += rng.normal()
        y = f"{levels[device] + device * load:.6f}" if number % 97 != 96 else "broken"
        lines.append(f"d{device},{load:.6f},{y}")
    path.write_text("\n".join(lines) + "\n")


def make_settings(owners: int = 2, **given: Any) -> RunSettings:
    values: dict[str, Any] = {
        "source.files": ["stream.csv"],
        "source.target": "y",
        "source.task": "regression",
        "population.hidden": ["8"],
        "population.learning_rate": [0.1],
        "population.optimizer": ["adagrad"],
        "keys.key": ["device"],
        "fleet.owners": owners,
        "fleet.partitions": PARTITIONS,
        "state.dir": "state",
        "state.every_samples": 100,
        "run.threads": 1,
        "output.predictions": "predictions.csv",
        "output.dead_letters": "rejected.jsonl",
    }
    return apply_overrides(parse(""), {**values, **given})


class HereExecutor(Executor):
    """Owners in this process that may die: what they learned since the last checkpoint is gone."""

    def __init__(self, on_call: Callable[[str], bool] = lambda _: False) -> None:
        super().__init__(1)
        self.dies, self.hosted = on_call, 0

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        return InProcessExecutor().submit(function, *arguments)

    def host(self, make: Callable[..., Any], *arguments: Any) -> Actor:
        self.hosted += 1
        return HereActor(self, make(*arguments))

    def close(self) -> None:
        pass


class HereActor(Actor):
    def __init__(self, executor: HereExecutor, hosted: Owner) -> None:
        self.executor, self.hosted, self.dead = executor, hosted, False

    def call(self, method: str, *arguments: Any) -> Future[Any]:
        if not self.dead and self.executor.dies(method):
            self.close()
        if self.dead:
            found: Future[Any] = Future()
            found.set_exception(WorkerDiedError("it was ended"))
            return found
        return self.executor.submit(getattr(self.hosted, method), *arguments)

    def close(self) -> None:
        if not self.dead:
            self.dead = True
            portal = self.hosted._portal
            for owned in self.hosted._owned.values():
                portal.call(owned.partition.scope.cancel)
            self.hosted._stack.close()


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fleet_module, "POLL_SECONDS", 0.01)


@pytest.fixture
def folder(alone: Path, tmp_path: Path) -> Path:
    """The working directory, with the stream."""
    copy(alone / "stream.csv", tmp_path)
    return tmp_path


def learn(
    run: FleetRun, beside: Callable[[], Coroutine[Any, Any, object]] | None = None
) -> FleetResult:
    """Have owners learn, and something else happen meanwhile."""

    async def both() -> None:
        async with anyio.create_task_group() as group:
            if beside is not None:
                group.start_soon(beside)
            await run.run()

    anyio.run(run.run if beside is None else both)
    assert run.result is not None
    return run.result


def read_state(path: Path) -> dict[str, Any]:
    """What a partition has learned, with hashes of the rows of its keys."""
    generations = StateDirectory(path).generations
    newest = generations.newest()
    assert newest is not None
    tree: dict[str, Any] = hash_rows(newest.tree, generations.rows)["learner"]
    return tree


def assert_equal_outcomes(one: Path, other: Path) -> None:
    """Two runs have left the same, to the bit."""
    for number in range(PARTITIONS):
        for name in (f"predictions.{number}.csv", f"rejected.{number}.jsonl"):
            left, right = one / name, other / name
            assert left.read_bytes() == right.read_bytes(), name
        name = f"state/partition-{number}"
        found = differences(read_state(one / name), read_state(other / name))
        assert found == [], (number, found)


SAMPLES = 2000


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which each partition was learned by a run of its own."""
    folder = tmp_path_factory.mktemp("alone")
    before = Path.cwd()
    os.chdir(folder)
    try:
        write_stream(Path("stream.csv"), SAMPLES)
        for number in range(PARTITIONS):
            given: dict[str, Any] = {
                "state": f"state/partition-{number}",
                "predictions": f"predictions.{number}.csv",
                "dead_letters": f"rejected.{number}.jsonl",
            }
            replay("stream.csv", task="regression", partition=number, **SMALL, **given)
    finally:
        os.chdir(before)
    return folder


def test_any_number_of_owners_leaves_what_runs_of_single_partitions_leave(
    alone: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = FleetResult({})
    for owners in (1, 3):
        own = folder / str(owners)
        own.mkdir()
        copy(folder / "stream.csv", own)
        monkeypatch.chdir(own)
        result = learn(FleetRun(make_settings(owners), executor=HereExecutor()))
        assert_equal_outcomes(own, alone)
    total = result.table[-1]
    rejected = sum(1 for n in range(SAMPLES) if n % 97 == 96)
    assert (total["partition"], total["rejected"], total["keys"]) == ("all", rejected, 40)
    assert total["learned"] == SAMPLES - rejected
    served = pl.concat(
        pl.read_csv(alone / f"predictions.{number}.csv") for number in range(PARTITIONS)
    )
    errors = served.select((pl.col("answer") - pl.col("truth")).abs().mean())
    assert total["mae"] == pytest.approx(errors.item(), rel=1e-4)


def test_what_owners_had_that_die_is_taken_over_with_the_same_bits(
    alone: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_module, "MAX_DEATHS", 100)
    chance, deaths = random.Random(3), 0

    def die(method: str) -> bool:
        nonlocal deaths
        dies = deaths < 12 and method != "numerics" and chance.random() < 0.15
        deaths += dies
        return dies

    executor = HereExecutor(die)
    learn(FleetRun(make_settings(2), executor=executor))
    assert executor.hosted > 6
    assert_equal_outcomes(folder, alone)


def test_states_in_a_bucket_move_between_owners(
    alone: Path, folder: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths = iter([False] * 12 + [True] + [False] * 12 + [True])
    executor = HereExecutor(lambda method: method == "list_partitions" and next(deaths, False))
    places = {
        "state.dir": f"{bucket}/state",
        "state.every_samples": 300,
        "output.predictions": f"{bucket}/predictions.csv",
    }
    learn(FleetRun(make_settings(2, **places), executor=executor))
    assert executor.hosted > 2
    for number in range(PARTITIONS):
        name = f"predictions.{number}.csv"
        assert objects.read(f"{bucket}/{name}") == (alone / name).read_bytes()
        with open_state(f"{bucket}/state/partition-{number}") as (path, _):
            found = read_state(path)
        assert differences(found, read_state(alone / f"state/partition-{number}")) == []
    status = read_status(f"{bucket}/state")
    assert status is not None
    assert len(status.owners) == 2


def test_a_run_that_is_stopped_goes_on_with_another_number_of_owners(
    alone: Path, folder: Path
) -> None:
    first = FleetRun(make_settings(3), executor=HereExecutor())

    async def stop() -> None:
        # What is waited for knows no event.
        while sum(one.samples for o in first.list_owners() for one in o.partitions) < 100:  # noqa: ASYNC110
            await anyio.sleep(0.002)
        first.stop()

    learn(first, stop)
    with pytest.raises(DataError, match=r"partition \d: .* holds an earlier run"):
        learn(FleetRun(make_settings(2), executor=HereExecutor()))
    learn(FleetRun(make_settings(2), resume=True, executor=HereExecutor()))
    assert_equal_outcomes(folder, alone)


def test_a_late_owner_gets_its_share_from_the_others(
    alone: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    monkeypatch.setattr(
        fleet_module._OwnerHandle, "is_expected", property(lambda one: one.number == 1 or said)
    )
    learn(FleetRun(make_settings(2), executor=HereExecutor(), say=said.append))
    assert said[0] == "owner 1 takes partitions 0, 1, 2, 3"
    given_up = sorted(text for text in said if "gave up" in text)
    assert given_up == ["owner 1 gave up partition 2", "owner 1 gave up partition 3"]
    taken = [text.partition("partitions ")[2] for text in said if text.startswith("owner 2 takes")]
    assert sorted(", ".join(taken).split(", ")) == ["2", "3"]
    assert_equal_outcomes(folder, alone)


def test_what_an_owner_gave_up_and_takes_back_is_learned_to_the_end(
    alone: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    deaths: list[int] = []
    handle, stream = fleet_module._OwnerHandle, key_partitions.KeyPartition
    take, receive = handle.take, stream.receive

    def die(owner: Any, numbers: list[int], resumed: list[int]) -> None:
        if owner.number == 2 and not deaths:
            deaths.append(2)
            owner._actor.close()
        take(owner, numbers, resumed)

    async def wait(one: Any) -> Any:
        while one.number >= 2 and not deaths:  # noqa: ASYNC110
            await anyio.sleep(0.002)
        return await receive(one)

    monkeypatch.setattr(stream, "receive", wait)
    monkeypatch.setattr(
        handle, "is_expected", property(lambda one: one.number == 1 or (said and not deaths))
    )
    monkeypatch.setattr(handle, "take", die)
    result = learn(FleetRun(make_settings(2), executor=HereExecutor(), say=said.append))
    taken = [text.partition("partitions ")[2] for text in said if text.startswith("owner 1 takes")]
    assert deaths
    assert list(result.reports) == [0, 1, 2, 3]
    assert taken[0] == "0, 1, 2, 3"
    assert sorted(", ".join(taken[1:]).split(", ")) == ["2", "3"]
    assert_equal_outcomes(folder, alone)


def test_a_record_that_kills_every_owner_ends_the_run(folder: Path) -> None:
    """Though each has learned anew what came after its last checkpoint."""

    class Actor(HereActor):
        seen = False

        def call(self, method: str, *arguments: Any) -> Future[Any]:
            if not self.dead and method == "list_partitions":
                if self.seen:
                    self.close()
                else:
                    samples = (status[2] for status in self.hosted.list_partitions())
                    self.seen = max(samples, default=0) >= 300
            return super().call(method, *arguments)

    class Executor(HereExecutor):
        def host(self, make: Callable[..., Any], *arguments: Any) -> HereActor:
            self.hosted += 1
            assert self.hosted < 20, "it is replaced for ever"
            return Actor(self, make(*arguments))

    with pytest.raises(DataError, match="owner 1 died 4 times in a row"):
        learn(FleetRun(make_settings(1), executor=Executor()))


def test_an_owner_that_dies_while_the_run_stops_is_left_to_the_next_run(folder: Path) -> None:
    said: list[str] = []
    executor = HereExecutor(lambda method: method == "give_up")
    run = FleetRun(make_settings(1), executor=executor, say=said.append)

    async def stop() -> None:
        while not any(owner.partitions for owner in run.list_owners()):  # noqa: ASYNC110
            await anyio.sleep(0.002)
        run.stop()

    assert learn(run, stop).reports == {}
    assert executor.hosted == 1
    assert said[-1] == (
        "owner 1 died (it was ended); with the next run, partitions 0, 1, 2, 3 go on from their "
        "last checkpoints"
    )


def test_the_status_of_owners_is_in_the_state_directory(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert read_status("state") is None
    assert read_status("stream.csv") is None
    learn(FleetRun(make_settings(2), executor=HereExecutor()))
    status = read_status("state")
    assert status is not None
    numbers = [[one.number for one in owner.partitions] for owner in status.owners]
    assert numbers == [[0, 1], [2, 3]]
    found = [one for owner in status.owners for one in owner.partitions]
    assert {one.phase for one in found} == {"ended"}
    assert sum(one.keys for one in found) == 40
    assert sum(one.samples for one in found) == SAMPLES - sum(one.rejected for one in found)
    show_fleet(status, "state")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("state: 2 owners of 4 partitions, as of ")
    rows = [line.split() for line in lines[2:]]
    assert [row[:5] for row in rows] == [
        [str(1 + one.number // 2), str(one.number), "ended", f"{one.samples:,}", str(one.keys)]
        for one in found
    ]
    (folder / "state/owners.json").write_text("[1]")
    with pytest.raises(StateError, match=r"state/owners.json can't be read: "):
        read_status("state")


def test_the_command_line_prints_what_owners_do_and_a_table_of_partitions(
    alone: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fleet_module, "open_executor", lambda *_: HereExecutor())
    monkeypatch.setattr(watching, "MIN_LINE_SECONDS", 0.01)
    options = ["--task", "regression", "--hidden", "8", "--learning-rate", "0.1"]
    options += ["--optimizer", "adagrad", "--every-samples", "100", "--threads", "1"]
    options += ["--target", "y", "--key", "device", "--owners", "2", "--partitions", "4"]
    options += ["--predictions", "predictions.csv", "--dead-letters", "rejected.jsonl"]
    assert Cli(capsys)("replay", "stream.csv", *options, "--state", "state").code == 0
    assert_equal_outcomes(folder, alone)
    again = Cli(capsys)("replay", "stream.csv", *options, "--state", "state")
    assert re.match(r"partition (\d): state state/partition-\1 holds an earlier", again.complaint)
    (folder / "run.toml").write_text(RUN_FILE.format(owners=2, executor="processes"))
    found = Cli(capsys)("run", "run.toml")
    assert re.match(r"partition \d: .*partition", found.complaint), "other settings than before"
    rmtree("state")

    def hang_up(method: str) -> bool:
        if method == "take":
            signal.raise_signal(signal.SIGHUP)
        return False

    monkeypatch.setattr(fleet_module, "open_executor", lambda *_: HereExecutor(hang_up))
    found = Cli(capsys)("run", "run.toml")
    assert "a run with owners does not reload its run file: stop it, and start it" in found.err
    lines = found.out.splitlines()
    assert lines[0].endswith(": 2 owners for 6 partitions of the keys")
    assert "owner 1 takes partitions 0, 1, 2" in lines
    assert any(line.startswith("owner 2  partitions 3, 4, 5  ") for line in lines)
    table = [line.split() for line in lines[-8:]]
    assert table[0][:4] == ["partition", "learned", "rejected", "keys"]
    assert [row[0] for row in table[1:]] == [*"012345", "all"]
    assert table[-1][1] == f"{SAMPLES - SAMPLES // 97:,}"
    assert "samples" in Cli(capsys)("status", "state").out
    complaint = Cli(capsys)("keys", "list", "state").complaint
    assert complaint.startswith("DIR is 'state', but must be the state of a single partition: ")


def test_owners_that_only_die_end_the_run(folder: Path) -> None:
    run = FleetRun(make_settings(1), executor=HereExecutor(lambda method: method == "take"))
    with pytest.raises(DataError, match=r"owner 1 died 4 times in a row: it was ended"):
        learn(run)


def test_an_owner_waits_for_a_state_that_another_process_holds(alone: Path, folder: Path) -> None:
    run = FleetRun(make_settings(2), executor=HereExecutor())
    (folder / "state/partition-2").mkdir(parents=True)
    lock = WriterLock(folder / "state/partition-2")

    async def free() -> None:
        waits: list[str] = []
        while not waits:
            await anyio.sleep(0.002)
            waits = [one.message for o in run.list_owners() for one in o.partitions if one.message]
        assert "is in use by process" in waits[0]
        lock.close()

    learn(run, free)
    assert_equal_outcomes(folder, alone)


def test_a_partition_that_fails_ends_the_run_with_its_number(folder: Path) -> None:
    strict = {"source.max_rejected": 0.0, "source.rejected_window": 1}
    with pytest.raises(DataError, match=r"partition \d: .*rejected"):
        learn(FleetRun(make_settings(2, **strict), executor=HereExecutor()))


def test_partitions_without_keys_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_partitions, "MAX_SKIPPED", 20)
    write_stream(tmp_path / "stream.csv", 90, keys=1)
    for resume in (False, True):
        run = FleetRun(make_settings(2), resume=resume, executor=HereExecutor())
        result = learn(run)
        assert len(result.reports) == 1
        assert result.table[-1]["learned"] == 90
    for number in range(PARTITIONS):
        newest = StateDirectory(Path(f"state/partition-{number}")).generations.newest()
        assert newest is not None
        assert newest.tree["reading"]["source"]["done"] > 60, "it would read all again"


def test_rejected_records_of_partitions_without_keys_are_counted(tmp_path: Path) -> None:
    write_stream(tmp_path / "stream.csv", 400, keys=1)
    result = learn(FleetRun(make_settings(2), executor=HereExecutor()))
    assert [row["rejected"] for row in result.table] == [1, 1, 1, 1, 4]
    assert result.table[-1]["learned"] == 396
    lines = (tmp_path / "stream.csv").read_text().splitlines()
    (tmp_path / "stream.csv").write_text("\n".join([lines[0], *(["d1,0.5,broken"] * 6)]))
    rmtree("state")
    for path in tmp_path.glob("rejected.*"):
        path.unlink()
    settings = make_settings(2, **{"output.predictions": None})
    with pytest.raises(DataError, match="nothing could be learned: all 6 records were rejected"):
        learn(FleetRun(settings, executor=HereExecutor()))


def test_a_machine_that_computes_other_bits_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamnet.runs.owner.numerics", lambda: {**numerics(), "cpu": "z80"})
    with pytest.raises(ConfigurationError, match=r"owner 1 would compute other bits: cpu is "):
        learn(FleetRun(make_settings(1), executor=HereExecutor()))


RUN_FILE = """
[source]
files = ["stream.csv"]
target = "y"
task = "regression"
[keys]
key = ["device"]
[fleet]
owners = {owners}
owner_executor = "{executor}"
partitions = 6
[population]
hidden = ["8", "16"]
[state]
dir = "state"
every_samples = 500
[output]
predictions = "predictions.csv"
"""


def start(folder: Path, owners: int, executor: str) -> subprocess.Popen[bytes]:
    """Start a run, or resume it."""
    (folder / "run.toml").write_text(RUN_FILE.format(owners=owners, executor=executor))
    command = [sys.executable, "-m", "streamnet", "run", "run.toml", "--quiet"]
    with (folder / "errors.txt").open("ab") as errors:
        return subprocess.Popen(command, cwd=folder, stderr=errors, env=environment())


def wait_for_owners(
    folder: Path, process: subprocess.Popen[bytes], executor: str, size: int
) -> list[int]:
    """Wait until so many bytes of predictions are there, and owners, which are returned."""
    while process.poll() is None:
        written = sum(path.stat().st_size for path in folder.glob("predictions.*.csv"))
        if written >= size and (found := list_shards(process, executor)):
            return found
        time.sleep(0.02)
    pytest.fail((folder / "errors.txt").read_text())


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("executor", ["processes", "ray"])
def test_killed_owners_and_drivers_leave_no_trace(tmp_path: Path, executor: str) -> None:
    if executor == "ray":
        pytest.importorskip("ray")
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    for path in (whole, folder):
        path.mkdir()
        write_stream(path / "stream.csv", 120_000, keys=300)
    assert start(whole, 1, "processes").wait() == 0
    files = sorted(path.name for path in whole.glob("predictions.*.csv"))
    total = sum((whole / name).stat().st_size for name in files)
    drivers = 0
    process = start(folder, 2, executor)
    for step in range(1, 14):
        found = wait_for_owners(folder, process, executor, step * total // 18)
        if step in (4, 8, 12):
            process.kill()
            process.wait()
            drivers += 1
            process = start(folder, 1 + drivers, executor)
        else:
            os.kill(random.Random(step).choice(found), signal.SIGKILL)
    assert process.wait() == 0, (folder / "errors.txt").read_text()
    assert len(files) == 6
    for name in files:
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
    for number in range(6):
        name = f"state/partition-{number}"
        assert differences(read_state(folder / name), read_state(whole / name)) == []

"""A hosted model survives kills, power cuts and full disks: nothing is lost or learned twice."""

from __future__ import annotations

import errno
import json
import random
from math import inf
from pathlib import Path
from threading import RLock
from typing import Any

import anyio
import httpx2
import pytest

from streamnet.daemon.hosting import supervisor
from streamnet.daemon.hosting.hosted_model import HostedModel
from streamnet.daemon.hosting.registry import Registry
from streamnet.durability.files import FileSystem
from streamnet.errors import OutputError, StateError
from tests.conftest import Runner
from tests.daemon.app_client import client_beside
from tests.daemon.feed_kills import BAD, RECORDS, messages
from tests.daemon.hosted_models import hosting, learned, rows, settings_of, until
from tests.daemon.kills import BATCH
from tests.durability.disks import Filling, Memory
from tests.processes import found_by
from tests.sources.brokers.runs import trickle
from tests.sources.brokers.servers import Kafka, Server


@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=pytest.mark.long)])
def test_what_was_acknowledged_is_learned_once_and_every_label_joins(
    kills: int, tmp_path: Path
) -> None:
    found = found_by("tests.daemon.kills", kills, 7, tmp_path)
    assert found["merged"] == ["c"]
    assert found["batches"] >= kills
    assert found["in_order"]
    assert found["monotone"]
    assert found["kept"] > 0
    assert {"joined"} <= set(found["outcomes"]) <= {"joined", "duplicate"}
    assert found["joined"] >= found["kept"]
    bad = -(-found["batches"] // 10)
    assert found["rejected"]["json"] == 2 * bad
    assert found["accepted"] == BATCH * found["batches"] + found["joined"] + 2 * bad
    assert found["requested"] == found["joined"]
    # Of a shadow, each prediction counts once, unless the label came before.
    assert set(found["posted"]) <= {"waiting", "duplicate", "late"}
    assert 0 < found["shadow"][0] <= found["joined"]
    assert found["shadow"][1:] == [0, 0]
    assert found["bits"] == found["whole"]


PROGRAM = "tests.daemon.feed_kills"
KILLS = [4, pytest.param(50, marks=pytest.mark.long)]


@pytest.mark.parametrize("kills", KILLS)
def test_a_file_read_across_kills_leaves_the_same_bits(kills: int, tmp_path: Path) -> None:
    found = found_by(PROGRAM, kills, 5, tmp_path)
    assert found["fed"] > 0
    assert found["killed"] == found["whole"]
    assert found["killed"]["records"] == RECORDS
    assert found["killed"]["rejected"] == {"arity": RECORDS // BAD}


@pytest.mark.parametrize("kills", KILLS)
def test_samples_sent_meanwhile_are_learned_once(kills: int, tmp_path: Path) -> None:
    """In which order they came is chance, so the bits are not compared."""
    found = found_by(PROGRAM, kills, 6, tmp_path, "sending")
    del found["killed"]["bits"], found["whole"]["bits"]
    assert found["killed"] == found["whole"]
    assert found["batches"] > 1
    assert found["killed"]["accepted"] == RECORDS + BATCH * found["batches"]
    assert found["killed"]["learned"] == found["killed"]["accepted"] - RECORDS // BAD


@pytest.mark.parametrize("kills", KILLS)
def test_a_topic_read_across_kills_while_it_is_written_leaves_the_same_bits(
    own_kafka: tuple[Kafka, Server], kills: int, tmp_path: Path
) -> None:
    kafka, _ = own_kafka
    kafka.create_topic()
    count = 60_000 if kills > 5 else 12_000
    written = messages(count)
    kafka.produce(written[:1500])  # from which both infer the same columns
    writing = trickle(kafka.produce, written[1500:], rate=4000)
    source = {"kafka": {"servers": [kafka.address], "topic": "events", "group": "g"}}
    found = found_by(PROGRAM, kills, 8, tmp_path, json.dumps(source), count)
    writing.join()
    assert found["fed"] > 0
    assert found["killed"] == found["whole"]
    assert found["killed"]["records"] == count
    assert found["killed"]["rejected"] == {"json": count // BAD}
    assert kafka.committed("g") == count


FOLDER = Path("/spam")
SETTINGS = settings_of(
    state={"every_samples": 30, "every_seconds": 0.02}, intake={"segment_bytes": 2048}
)
CUTS = 4  # that are tried of each moment


class Shared(Memory):
    """A disk that several threads use, and that is looked at between two calls."""

    def __init__(self) -> None:
        super().__init__()
        self.lock_of_calls = RLock()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_") or not callable(found):
            return found
        lock = super().__getattribute__("lock_of_calls")

        def call(*arguments: Any) -> Any:
            with lock:
                return found(*arguments)

        return call

    def left(self, chance: random.Random) -> list[Memory]:
        """Some of the disks that a power cut at this moment may leave."""
        powers = list(self.cuts())
        return [self.after(power) for power in chance.sample(powers, min(CUTS, len(powers)))]


def test_a_checkpoint_is_never_ahead_of_the_journal(run: Runner) -> None:
    chance = random.Random(5)
    found: list[tuple[int, Memory]] = []

    async def push() -> None:
        disk = Shared()
        async with hosting(FOLDER, SETTINGS, files=disk) as hosted:
            acknowledged = 0
            for number in range(12):
                durable = number % 6 == 0
                receipt = await hosted.learn(rows(20, 20 * number), durable=durable)
                if durable:
                    acknowledged = 1 + (receipt.last or 0)
                await anyio.sleep(chance.uniform(0.01, 0.05))
                found.extend((acknowledged, left) for left in disk.left(chance))

    async def check(acknowledged: int, disk: Memory) -> None:
        async with hosting(FOLDER, SETTINGS, files=disk) as hosted:
            assert hosted.failure is None
            accepted = hosted.status().accepted
            assert acknowledged <= accepted <= 240
            assert accepted % 20 == 0
            # Whatever was learned of those that are gone, the checkpoint does not know of it.
            await hosted.learn(rows(20, accepted))
            await learned(hosted, accepted + 20)
            await until(lambda: hosted.state == "learning")

    run(push)
    assert len(found) > 30
    for acknowledged, disk in found:
        run(check, acknowledged, disk)


def test_a_full_disk_refuses_samples_and_nothing_else(run: Runner, tmp_path: Path) -> None:
    async def main() -> None:
        files = Filling(FileSystem())
        async with hosting(tmp_path, files=files) as hosted:
            await hosted.learn(rows(100), key="a")
            await learned(hosted, 100)
            await hosted.published()
            await hosted.remember("x", rows(1), hosted.predict(rows(1)))
            files.full = True
            for key in "bc":
                with pytest.raises(OutputError, match="No space left on device"):
                    await hosted.learn(rows(50), key=key)
            with pytest.raises(OutputError, match="No space left on device"):
                await hosted.label([("x", "a")])
            assert hosted.predict(rows(3)).values.shape == (3,)
            assert hosted.state == "learning"
            files.full = False
            await until(lambda: not refuses(hosted))
            assert hosted.status().accepted == 100
            assert not (await hosted.learn(rows(50), key="b")).duplicate
            assert await hosted.label([("x", "a")]) == ["joined"]
            await learned(hosted, 151)
            assert hosted.status().accepted == 151

    run(main)


def test_a_model_that_starts_on_a_full_disk_says_so_and_starts_once_there_is_space(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_MIN_RETRY_DELAY", 0.05)

    async def main() -> None:
        files = Filling(FileSystem())
        files.full = True
        async with hosting(tmp_path, files=files) as hosted:
            assert hosted.state == "failed"
            assert str(hosted.failure).endswith(f"{tmp_path}: No space left on device")
            await until(lambda: hosted.run_count >= 3)  # it fails again, and is not given up
            assert hosted.state in ("failed", "starting")
            files.full = False
            await until(lambda: hosted.state == "learning")
            assert hosted.failure is None
            await hosted.learn(rows(50))
            await learned(hosted, 50)

    run(main)


def test_readiness_reports_a_full_disk_until_it_recovers(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_MIN_RETRY_DELAY", 0.05)
    files = Filling(FileSystem())
    registry = Registry(tmp_path, {"spam": settings_of()}, files=files)

    async def ready(http: httpx2.AsyncClient) -> tuple[int, str]:
        told = await http.get("/readyz")
        return told.status_code, told.json()["status"]

    async def main() -> None:
        async with anyio.create_task_group() as group, client_beside(registry) as http:
            files.full = True  # at the start
            await group.start(registry.run)
            spam = registry.models["spam"]
            await until(lambda: spam.run_count >= 3)
            assert await ready(http) == (503, "refusing")
            files.full = False
            await until(lambda: spam.state == "learning" and not spam.is_compiling)
            assert await ready(http) == (200, "ok")
            files.full = True  # later
            body = {"samples": rows(5)}
            assert (await http.post("/v1/models/spam/samples", json=body)).status_code == 507
            for _ in range(20):
                await anyio.sleep(0.05)
                assert await ready(http) == (503, "refusing")
            files.full = False
            await until(lambda: not spam.waits_for_disk)
            assert await ready(http) == (200, "ok")
            registry.stop()

    run(main)


def test_retries_after_a_disk_failure_grow_rarer_and_other_failures_wait_for_an_operator(
    tmp_path: Path,
) -> None:
    waiting = supervisor.Supervisor("spam", settings_of(), tmp_path)
    tried = waiting._compute_retry_delay
    full = OSError(errno.ENOSPC, "No space left on device")
    told = StateError("state: No space left on device")
    told.__cause__ = full
    waits = [tried(error) for error in (full, told, full, full, full, full, full, full)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert waiting.waits_for_disk
    assert tried(StateError("the state can't be resumed: seed")) == inf
    assert not waiting.waits_for_disk  # but for somebody


def refuses(hosted: HostedModel) -> bool:
    """Whether the journal can't be written just now."""
    return hosted.model_run is not None and hosted.model_run.committer.failure is not None

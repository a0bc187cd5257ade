"""Members of a consumer group: partitions come, go and are lost; their state moves with them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Self
from uuid import uuid4

import anyio
import pytest

from streamnet.durability.state_directory import WriterLock
from streamnet.errors import ConfigurationError
from streamnet.runs import group
from streamnet.runs.group import GroupRun, build_partition_settings
from streamnet.settings.run import RunSettings, parse
from tests.processes import environment
from tests.sinks.readers import read_topic
from tests.sources.brokers.runs import (
    Run,
    assert_equal_predictions,
    assert_equal_states,
    count_records,
    describe_left,
    trickle,
    write_samples,
)
from tests.sources.brokers.servers import Kafka, mock_kafka, noida, require_module, wait_until

require_module("confluent_kafka")


FILE = """
[source]
target = "y"
follow = true

[source.kafka]
servers = "{servers}"
topic = "{topic}"
group = "{group}"
subscribe = true
session_seconds = 6

[population]
hidden = ["8", "linear"]

[output]
{output}

[state]
dir = "{state}"
every_seconds = 0.1
"""


def make_text(state: object = "state", output: str = "", **given: str) -> str:
    values = {"servers": "localhost:9092", "topic": "events", "group": "g", **given}
    return FILE.format(state=state, output=output, **values)


# ------------------------------------------------------------------------------- settings


def test_each_partition_has_a_state_and_outputs_of_its_own() -> None:
    output = """
    model = "models/m.json"
    report = "r.html"
    predictions = "kafka://h/answers?tls=true"
    champions = "mqtt://h/champions?client_id=me"
    events = "https://example.org/hook#batch=9"
    dead_letters = "bad.jsonl"
    """
    found = build_partition_settings(parse(make_text("s3://b/state/", output)), 3)
    kafka = found.source.kafka
    assert kafka is not None
    assert (kafka.partition, kafka.group, kafka.subscribe) == (3, None, False)
    assert found.state.dir == "s3://b/state/events-3"
    assert found.state.every_seconds == 0.1
    assert found.output.to_kwargs() == {
        "model": "models/m.3.json",
        "report": "r.3.html",
        "predictions": "kafka://h/answers?tls=true&partition=3",
        "champions": "mqtt://h/champions.3?client_id=me-3",
        "events": "https://example.org/hook#batch=9",
        "dead_letters": "bad.3.jsonl",
    }


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("follow = true", "", "follow is false, but a member of a group reads without an end"),
        ('group = "g"', "", "subscribe is true, but then group must be given, too"),
        (
            "subscribe = true",
            "subscribe = true\npartition = 2",
            "partition is 2, but with subscribe the group assigns partitions",
        ),
        (
            'dir = "state"',
            'dir = "s3://b/state"',
            "predictions is 'kafka://h/answers', but needs transactions=true: a member that was",
        ),
        ("kafka://h/answers", "answers.exe", "predictions is 'answers.0.exe', but must end in"),
    ],
)
def test_settings_that_make_no_sense_in_a_group_are_named(old: str, new: str, message: str) -> None:
    text = make_text(output="predictions = 'kafka://h/answers'")
    assert old in text
    with pytest.raises(ConfigurationError) as found:
        GroupRun(parse(text.replace(old, new)))
    assert message in str(found.value)


# ------------------------------------------------------------- what the group says, in turn


class ScriptedMembership:
    """What a group says, told by a test; the messages are those of a real topic."""

    def __init__(self, settings: Any, **told: Callable[[list[int]], object]) -> None:
        del settings
        self.name = "events of group g"
        self.committed: dict[int, int] = {}
        self._told = told
        self._owned: set[int] = set()
        self._next: SimpleQueue[tuple[str, list[int]]] = SimpleQueue()

    def say(self, what: str, *numbers: int) -> None:
        self._next.put((what, list(numbers)))

    def open(self) -> None:
        pass

    def poll(self, seconds: float) -> None:
        try:
            what, numbers = self._next.get(timeout=seconds)
        except Empty:
            return
        self._told[f"on_{what}"](numbers)
        self._owned = self._owned | {*numbers} if what == "assigned" else self._owned - {*numbers}

    def note(self, partition: int, offset: int) -> None:
        self.committed[partition] = offset

    def close(self) -> None:
        if self._owned:
            self._told["on_revoked"](sorted(self._owned))


async def until(ready: Callable[[], object]) -> None:
    with anyio.fail_after(60):
        while not ready():  # noqa: ASYNC110 - what is waited for knows no event
            await anyio.sleep(0.02)


class Scene:
    """A member whose group is told by the test, at a topic of its own."""

    def __init__(self, kafka: Kafka, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kafka, self.topic = kafka, f"t{uuid4().hex}"
        self.state = folder / "state"
        settings = parse(make_text(self.state, servers=kafka.address, topic=self.topic))
        made: list[ScriptedMembership] = []

        class Client:
            @staticmethod
            def load(extra: str) -> Callable[..., ScriptedMembership]:
                def make(settings: Any, **told: Any) -> ScriptedMembership:
                    made.append(ScriptedMembership(settings, **told))
                    return made[-1]

                return make

        monkeypatch.setattr(group, "MEMBERSHIP", Client)
        self.said: list[str] = []
        self.run = GroupRun(settings, say=self.said.append)
        (self.membership,) = made

    def produce(self, values: Sequence[bytes], partition: int = 0) -> None:
        self.kafka.produce(values, topic=self.topic, partition=partition)

    def folder(self, partition: int = 0) -> Path:
        return self.state / f"{self.topic}-{partition}"

    def play(self, act: Callable[[], Awaitable[None]]) -> None:
        async def main() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.run.run)
                await act()
                self.run.stop()

        anyio.run(main)


@pytest.fixture(scope="module")
def kafka() -> Iterator[Kafka]:
    with mock_kafka() as found:
        yield found


@pytest.fixture
def scene(kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(kafka, tmp_path, monkeypatch)


def test_a_partition_that_is_given_up_has_a_checkpoint_of_all_that_was_read(scene: Scene) -> None:
    samples = write_samples(700)
    scene.produce(samples)
    scene.produce(samples[:300], 2)

    async def act() -> None:
        scene.membership.say("assigned", 0, 2)
        await until(lambda: count_records(scene.folder()) == 700)
        scene.produce(samples[:9])
        await until(lambda: scene.membership.committed.get(0) == 709)
        scene.membership.say("revoked", 0)
        await until(lambda: "partition 0 is given up" in scene.said[-1])
        assert [one.number for one in scene.run.list_partitions()] == [2]
        WriterLock(scene.folder()).close()  # so that another process may have it

    scene.play(act)
    assert count_records(scene.folder(2)) == 300
    assert scene.membership.committed == {0: 709, 2: 300}


def test_a_state_that_another_process_has_is_waited_for(scene: Scene) -> None:
    scene.produce(write_samples(50))
    scene.folder().mkdir(parents=True)
    lock = WriterLock(scene.folder())

    async def act() -> None:
        scene.membership.say("assigned", 0)
        await until(lambda: any(one.waits_for for one in scene.run.list_partitions()))
        (waiting,) = scene.run.list_partitions()
        assert not waiting.is_ready
        assert "is in use by process" in waiting.waits_for
        lock.close()
        await until(lambda: count_records(scene.folder()) == 50)

    scene.play(act)


def test_a_partition_that_is_lost_is_let_go_without_a_checkpoint(scene: Scene) -> None:
    scene.produce(write_samples(200))

    async def act() -> None:
        scene.membership.say("assigned", 0)
        await until(lambda: count_records(scene.folder()) == 200)
        (one,) = scene.run.list_partitions()
        assert one.replay is not None
        assert one.replay.state is not None
        # A long time until the next one.
        one.replay.state.change(every_seconds=1000.0)
        scene.produce(write_samples(10))
        pipeline = one.replay.pipeline
        await until(lambda: pipeline.statistics().samples == 206)
        scene.membership.say("lost", 0)
        await until(lambda: not scene.run.list_partitions())
        WriterLock(scene.folder()).close()

    scene.play(act)
    assert count_records(scene.folder()) == 200


def test_a_partition_that_fails_ends_the_member_after_the_others_are_saved(scene: Scene) -> None:
    scene.produce(write_samples(60))
    scene.state.mkdir()
    scene.folder(1).write_text("no folder")

    async def act() -> None:
        scene.membership.say("assigned", 0)
        await until(lambda: count_records(scene.folder()) == 60)
        scene.membership.say("assigned", 1)
        await anyio.sleep(30)

    refused = pytest.RaisesExc(ConfigurationError, match="-1', but: File exists")
    with pytest.RaisesGroup(refused):
        scene.play(act)
    assert count_records(scene.folder()) == 60
    WriterLock(scene.folder()).close()


# ---------------------------------------------------------------------------- real groups


def test_a_single_member_learns_all_partitions_and_commits_their_offsets(
    kafka: Kafka, tmp_path: Path
) -> None:
    topic = f"t{uuid4().hex}"
    for partition in range(4):
        kafka.produce(write_samples(100), topic=topic, partition=partition)
    given = {"servers": kafka.address, "topic": topic, "group": topic}
    settings: RunSettings = parse(make_text(tmp_path, **given))
    member = GroupRun(settings)
    states = [tmp_path / f"{topic}-{partition}" for partition in range(4)]

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(member.run)
            await until(lambda: all(count_records(state) == 100 for state in states))
            member.stop()

    anyio.run(main)
    assert [kafka.committed(topic, topic, n) for n in range(4)] == [100] * 4


class Members:
    """Processes of a group, in one folder."""

    def __init__(
        self,
        folder: Path,
        servers: str,
        *,
        command: Sequence[str] = (sys.executable, "-m", "streamnet"),
        state: str = "state",
        output: str = "",
    ) -> None:
        self.folder = folder
        output = output or f'predictions = "kafka://{servers}/answers"'
        (folder / "run.toml").write_text(make_text(state, output, servers=servers))
        self._command = command
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        """Start another one."""
        with (self.folder / f"log-{len(self.processes)}.txt").open("ab") as log:
            process = subprocess.Popen(
                [*self._command, "run", "run.toml"],
                cwd=self.folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    def state(self, partition: int) -> Path:
        return self.folder / "state" / f"events-{partition}"

    def owners(self) -> list[str]:
        """The process that learns each partition."""
        return [self.find_owner(partition) for partition in range(4)]

    def find_owner(self, partition: int) -> str:
        """The process that learns a partition."""
        return WriterLock.find_holder(self.state(partition))

    def wait_for(self, ready: Callable[[], object], what: str) -> None:
        try:
            wait_until(ready, what, 150)
        except AssertionError:
            logs = [path.read_text()[-3000:] for path in sorted(self.folder.glob("log-*"))]
            pytest.fail("\n---\n".join([what, str(self.owners()), *logs]))

    def wait_until_owned(self, by: Sequence[subprocess.Popen[bytes]]) -> None:
        """Wait until each partition has an owner, and each of these processes has some."""
        names = {f"process {process.pid}" for process in by}
        self.wait_for(lambda: set(self.owners()) == names, f"partitions owned by {names}")


def learn_together(
    members: Members, kafka: Kafka, samples: Sequence[Sequence[bytes]], rest: int = 1000
) -> None:
    """Learn four partitions, to which is written all the time; the last samples come at the end."""

    def produce(partition: int, values: Sequence[bytes]) -> None:
        kafka.produce(values, partition=partition)

    for partition in range(4):
        produce(partition, samples[partition][:1200])
    first = members.start()
    members.wait_until_owned([first])
    writing = [
        trickle(partial(produce, partition), samples[partition][1200:-rest], rate=30)
        for partition in range(4)
    ]
    second = members.start()
    members.wait_until_owned([first, second])
    second.kill()
    second.wait()
    third = members.start()
    members.wait_until_owned([first, third])
    first.send_signal(signal.SIGSTOP)
    time.sleep(12)  # two sessions
    first.send_signal(signal.SIGCONT)
    fourth = members.start()
    members.wait_until_owned([first, third, fourth])
    first.terminate()
    assert first.wait(60) == 128 + signal.SIGTERM
    third.kill()
    third.wait()
    fifth = members.start()
    members.wait_until_owned([fourth, fifth])
    for thread in writing:
        thread.join()
    for partition in range(4):
        produce(partition, samples[partition][-rest:])
    members.wait_for(
        lambda: all(count_records(members.state(n)) == len(samples[n]) for n in range(4)), "the end"
    )
    for process in (fourth, fifth):
        process.terminate()
    assert [process.wait(60) for process in (fourth, fifth)] == [128 + signal.SIGTERM] * 2


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("start", [mock_kafka, noida])
def test_members_that_join_leave_hang_and_are_killed_leave_what_single_runs_leave(
    start: Callable[[], Any], tmp_path: Path
) -> None:
    """The small server notices a dead member only when another one joins."""
    count = 4000
    (tmp_path / "group").mkdir()
    with start() as found:
        kafka = found if isinstance(found, Kafka) else found[0]
        if not isinstance(found, Kafka):
            kafka.create_topic("events", 4)
            kafka.create_topic("answers", 4)
        samples = [write_samples(count, seed) for seed in range(4)]
        with Members(tmp_path / "group", kafka.address) as members:
            learn_together(members, kafka, samples)
        for partition in range(4):
            settings = f"servers = '{kafka.address}'\ntopic = 'events'\npartition = {partition}"
            single = Run(tmp_path / f"single-{partition}", "kafka", settings)
            single.start()
            single.wait_for(count)
            single.stop()
            assert_equal_states(describe_left(members.state(partition)), single.left())
            sent = read_topic(kafka, "answers", partition)
            assert_equal_predictions(sent, single.predictions())

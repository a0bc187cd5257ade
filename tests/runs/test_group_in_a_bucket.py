"""A member of a group that hangs while others take over its partitions, with states in a bucket."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from streamnet.durability.bucket import find_holder, open_state
from tests.runs.test_group import Members
from tests.sinks.readers import read_entries
from tests.sources.brokers.runs import (
    Run,
    assert_equal_predictions,
    assert_equal_states,
    count_records,
    describe_left,
    write_samples,
)
from tests.sources.brokers.servers import mock_kafka, valkey

# Each process is as one of another machine, which can't see whether the others live.
ELSEWHERE = """
import sys
from streamnet.durability import bucket
own = bucket._find_place()
bucket._find_place = lambda: [f"machine {own[2]}", *own[1:]]
bucket.BEAT_SECONDS, bucket.LEASE_SECONDS = 0.5, 4.0
from streamnet.__main__ import main
sys.exit(main())
"""


class BucketMembers(Members):
    """Processes of a group on several machines, with their states in a bucket."""

    def __init__(self, folder: Path, servers: str, bucket: str, sink: str) -> None:
        self.url = f"{bucket}/state"
        super().__init__(
            folder,
            servers,
            command=[sys.executable, "-c", ELSEWHERE],
            state=self.url,
            output=f'predictions = "{sink}"',
        )

    def find_owner(self, partition: int) -> str:
        return find_holder(f"{self.url}/events-{partition}").partition(" on ")[0]

    def count(self, partition: int) -> int:
        """Records before the newest checkpoint of a partition."""
        with open_state(f"{self.url}/events-{partition}") as (path, _):
            return count_records(path)

    def wait_for_records(self, count: int) -> None:
        self.wait_for(lambda: all(self.count(n) == count for n in range(4)), f"{count} records")

    def left(self, partition: int) -> dict[str, Any]:
        with open_state(f"{self.url}/events-{partition}") as (path, _):
            return describe_left(path)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_member_that_hangs_can_write_nothing_after_its_partitions_moved(
    bucket: str, tmp_path: Path
) -> None:
    samples = [write_samples(2600, seed) for seed in range(4)]
    (tmp_path / "group").mkdir()
    with mock_kafka() as kafka, valkey() as server:

        def produce(start: int, end: int) -> None:
            for partition in range(4):
                kafka.produce(samples[partition][start:end], partition=partition)

        produce(0, 1600)
        sink = f"valkey://{server.address}/answers"
        with BucketMembers(tmp_path / "group", kafka.address, bucket, sink) as members:
            first = members.start()
            members.wait_until_owned([first])
            members.wait_for_records(1600)
            produce(1600, 1800)
            first.send_signal(signal.SIGSTOP)  # while it learns those
            second = members.start()
            members.wait_until_owned([second])
            produce(1800, 2100)
            members.wait_for_records(2100)
            first.send_signal(signal.SIGCONT)
            members.wait_until_owned([first, second])
            produce(2100, 2600)
            members.wait_for_records(2600)
            for process in (first, second):
                process.terminate()
            assert [one.wait(60) for one in (first, second)] == [128 + signal.SIGTERM] * 2
            for partition in range(4):
                settings = f"servers = '{kafka.address}'\ntopic = 'events'\npartition = {partition}"
                single = Run(tmp_path / f"single-{partition}", "kafka", settings)
                single.start()
                single.wait_for(2600)
                single.stop()
                assert_equal_states(members.left(partition), single.left())
                sent = read_entries(server, f"answers.{partition}")
                assert_equal_predictions(sent, single.predictions())

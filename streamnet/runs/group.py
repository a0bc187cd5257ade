"""Runs of a consumer group: each process learns some partitions of a topic, and they move."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, final

from anyio import (
    CancelScope,
    CapacityLimiter,
    Event,
    create_task_group,
    from_thread,
    move_on_after,
    to_thread,
)
from anyio.abc import TaskGroup

from streamnet.errors import ConfigurationError, ReadError, StreamnetError
from streamnet.objects import is_url
from streamnet.pipeline.callbacks import Callback
from streamnet.pipeline.state import StateStatistics
from streamnet.runs.builder import check_files
from streamnet.runs.partitions import PartitionRun, place_outputs
from streamnet.runs.replay import Replay
from streamnet.settings.brokers import KafkaSettings
from streamnet.settings.run import RunSettings, validate_settings
from streamnet.settings.sinks import SENT_OUTPUTS, find_sink, parse_sink_url
from streamnet.sources.brokers.registry import ClientModule

logger: logging.Logger = logging.getLogger("streamnet.runs")

MEMBERSHIP = ClientModule[Any](
    "streamnet.sources.brokers.kafka_group", "Membership", "confluent_kafka"
)
POLL_SECONDS = 0.2
RECONNECT_SECONDS = 5.0
GIVE_UP_SHARE = 0.75  # of a session, in which a partition is to be given up

_GROUP_KEYS = ("group", "subscribe", "session_seconds")


def check_group(settings: RunSettings) -> KafkaSettings:
    """Check the settings of a run whose partitions are assigned by a group; returns the stream's.

    Raises:
        ConfigurationError: If one contradicts that.
    """
    kafka = settings.source.kafka
    assert kafka is not None
    assert kafka.subscribe
    if not settings.source.follow:
        raise ConfigurationError("follow is false, but a member of a group reads without an end")
    if settings.state.dir is None:
        raise ConfigurationError("state.dir is not given, but must be what all members can reach")
    for name in SENT_OUTPUTS if is_url(settings.state.dir) else ():
        url = getattr(settings.output, name)
        if url is None or find_sink(url) != "kafka":
            continue
        sink: Any = parse_sink_url(url)
        if not sink.transactions:
            raise ConfigurationError(
                f"{name} is {url!r}, but needs transactions=true: a member that was suspended for "
                "so long that its state in the bucket was taken over could still write there"
            )
    return kafka


def build_partition_settings(settings: RunSettings, number: int) -> RunSettings:
    """The settings of the run of one partition: with a state and outputs of its own."""
    given = settings.source.kafka
    assert given is not None
    values = place_outputs(settings, number, f"{given.topic}-{number}")
    kafka = values["source"]["kafka"]
    for name in _GROUP_KEYS:
        kafka.pop(name, None)
    kafka["partition"] = number
    return validate_settings(RunSettings, values)


class PartitionStatus(NamedTuple):
    """A partition of a member."""

    number: int
    replay: Replay | None  # None while it is being opened
    waits_for: str  # why its state can't be opened yet; empty if it can

    @property
    def is_ready(self) -> bool:
        """Whether it learns."""
        return self.replay is not None and self.replay.pipeline.ready.is_set()


@final
class GroupRun:
    """A member of a consumer group, with a run for each partition that the group assigns to it.

    A partition that is taken over goes on from its last checkpoint, at the offset in it. One that
    is given up gets a last checkpoint before others get it. The lock of its state directory sees to
    it that its former owner, which may not know yet, and the new one never write both.

    Args:
        settings: Settings of each run, whose state directory is in that of the settings.
        say: Called with a sentence when a partition comes or goes.
        callbacks: Follow the run of each partition.

    Raises:
        ConfigurationError: If a setting makes no sense in a group.
    """

    def __init__(
        self,
        settings: RunSettings,
        *,
        say: Callable[[str], object] = logger.info,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.settings = settings
        self._say, self._callbacks = say, callbacks
        kafka = check_group(settings)
        check_files(build_partition_settings(settings, 0))
        self._seconds = GIVE_UP_SHARE * kafka.session_seconds
        self._membership = MEMBERSHIP.load("kafka")(
            kafka,
            on_assigned=lambda numbers: from_thread.run(self._take, numbers),
            on_revoked=lambda numbers: from_thread.run(self._give_up, numbers),
            on_lost=lambda numbers: from_thread.run(self._drop, numbers),
        )
        self._owned: dict[int, PartitionRun] = {}
        self._thread = CapacityLimiter(1)
        self._tasks: TaskGroup | None = None
        self._stopped = Event()
        self._failure: StreamnetError | None = None

    def stop(self) -> None:
        """Give up all partitions and leave the group. Call it in the event loop."""
        self._stopped.set()

    def change(self, settings: RunSettings) -> None:
        """Apply settings that may change in a run, from the next sample of each partition on."""
        for owned in self._owned.values():
            if owned.replay is not None:
                owned.replay.change(build_partition_settings(settings, owned.number))
        self.settings = settings

    def list_partitions(self) -> list[PartitionStatus]:
        """The partitions of this member."""
        owned = sorted(self._owned.items())
        return [PartitionStatus(number, one.replay, one.waits_for) for number, one in owned]

    async def run(self) -> None:
        """Take part until it is stopped.

        Raises:
            StreamnetError: Why a run has failed; the others were stopped then.
        """
        async with create_task_group() as self._tasks:
            try:
                await self._take_part()
            finally:
                with CancelScope(shield=True):
                    await to_thread.run_sync(self._membership.close, limiter=self._thread)
        if self._failure is not None:
            raise self._failure

    async def _take_part(self) -> None:
        is_open = False
        while not self._stopped.is_set() and self._failure is None:
            try:
                if not is_open:
                    await to_thread.run_sync(self._membership.open, limiter=self._thread)
                    is_open = True
                await to_thread.run_sync(self._membership.poll, POLL_SECONDS, limiter=self._thread)
            except ReadError as error:
                logger.warning("%s; trying again", error)
                is_open = False
                with move_on_after(RECONNECT_SECONDS):
                    await self._stopped.wait()
            except StreamnetError as error:
                self._fail(error)

    def _fail(self, error: StreamnetError) -> None:
        self._failure = self._failure or error

    # ------------------------------------------------------------------- partitions

    async def _take(self, numbers: list[int]) -> None:
        """Begin to learn partitions."""
        assert self._tasks is not None
        for number in numbers:
            make = partial(self._make_replay, number)
            self._owned[number] = owned = PartitionRun(number, make)
            self._say(f"{self._membership.name}: partition {number} is assigned")
            self._tasks.start_soon(self._own, owned)

    async def _give_up(self, numbers: list[int]) -> None:
        """Write last checkpoints of partitions, and stop learning them."""
        await self._end(numbers, self._seconds)

    async def _drop(self, numbers: list[int]) -> None:
        """Stop learning partitions that others may have already."""
        await self._end(numbers, 0.0)

    async def _end(self, numbers: list[int], seconds: float) -> None:
        given_up = [self._owned[number] for number in numbers if number in self._owned]
        for owned in given_up:
            owned.stop()
        with CancelScope(shield=True):  # if this member ends at once, so do its runs
            with move_on_after(seconds):
                for owned in given_up:
                    await owned.ended.wait()
            for owned in given_up:
                owned.scope.cancel()
                await owned.ended.wait()
                del self._owned[owned.number]
                self._say(f"{self._membership.name}: partition {owned.number} is given up")

    async def _own(self, owned: PartitionRun) -> None:
        """Learn a partition until it is given up."""
        await owned.run()
        if owned.failure is not None:
            self._fail(owned.failure)

    def _make_replay(self, number: int) -> Replay:
        follow = _OffsetCallback(self._membership, number)
        settings = build_partition_settings(self.settings, number)
        return Replay(settings, resume=True, callbacks=[follow, *self._callbacks])


@final
class _OffsetCallback(Callback):
    """Lets the group's offset of a partition follow its checkpoints."""

    def __init__(self, membership: Any, number: int) -> None:
        self._membership, self._number = membership, number

    def on_checkpoint(self, statistics: StateStatistics) -> None:
        """Have the offset behind a checkpoint committed."""
        if statistics.offset is not None:
            self._membership.note(self._number, statistics.offset)

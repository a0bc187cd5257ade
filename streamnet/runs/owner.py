"""Owner: learns some partitions of the keys of a stream, in a worker of its own."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from time import monotonic
from typing import Any, Literal, NamedTuple, final

from anyio.from_thread import start_blocking_portal

from streamnet.errors import DataError
from streamnet.jit import numerics
from streamnet.pipeline.callbacks import Callback
from streamnet.pipeline.state import StateStatistics
from streamnet.reporting.report import MAIN_METRICS, error_to_score
from streamnet.runs.builder import share_reading
from streamnet.runs.key_partitions import KeyPartition, SharedReading
from streamnet.runs.partitions import PartitionRun, build_key_partition_settings
from streamnet.runs.replay import Replay
from streamnet.settings.run import RunSettings

Phase = Literal["waiting", "learning", "ended", "failed"]


class PartitionStatus(NamedTuple):
    """A partition of an owner at one moment."""

    number: int
    phase: Phase
    samples: int = 0  # that were learned
    rejected: int = 0
    keys: int = 0
    metric: str = ""
    score: float | None = None  # of what was served, by that metric
    saved: int = 0  # samples before its last checkpoint
    age: float | None = None  # seconds since its last checkpoint; None if its owner made none
    progress: float | None = None  # fraction of the stream that was read
    message: str = ""  # what it waits for, or why it has failed


@final
class Owner:
    """Learns partitions of a stream, each with a state and outputs of its own.

    Its methods return at once, so that they can be called at any time.

    Args:
        settings: Settings of all partitions.
    """

    def __init__(self, settings: RunSettings) -> None:
        self._settings = settings
        self._stack = ExitStack()
        self._portal = self._stack.enter_context(start_blocking_portal())
        self._owned: dict[int, _Owned] = {}
        self._tasks: dict[int, Future[None]] = {}

    def numerics(self) -> dict[str, str]:
        """What decides about bits, besides the samples; see `streamnet.jit.numerics`."""
        return numerics()

    def take(self, numbers: Sequence[int], resumed: Sequence[int]) -> None:
        """Begin to learn partitions; those that are not ``resumed`` fail if they have a state."""
        for owned in self._portal.call(self._take, numbers, resumed):
            self._tasks[owned.number] = self._portal.start_task_soon(owned.run)

    async def _take(self, numbers: Sequence[int], resumed: Sequence[int]) -> list[_Owned]:
        reading = share_reading(self._settings, numbers)
        taken = [_Owned(self._settings, n, reading, resume=n in resumed) for n in numbers]
        self._owned.update((owned.number, owned) for owned in taken)
        return taken

    def give_up(self, numbers: Sequence[int]) -> None:
        """Write last checkpoints of partitions, and stop learning them."""
        self._portal.call(self._give_up, numbers)

    async def _give_up(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self._owned[number].partition.stop()

    def forget(self, number: int) -> None:
        """Let go of a partition that was given up, so that it may be taken again."""
        self._tasks.pop(number).result()
        self._portal.call(self._forget, number)

    async def _forget(self, number: int) -> None:
        del self._owned[number]

    def list_partitions(self) -> list[tuple[Any, ...]]:
        """The partitions so far; plain tuples with the items of `PartitionStatus`."""
        for task in self._tasks.values():
            if task.done():
                task.result()
        found: list[tuple[Any, ...]] = self._portal.call(self._list_partitions)
        return found

    async def _list_partitions(self) -> list[tuple[Any, ...]]:
        return [tuple(owned.describe()) for owned in self._owned.values()]

    def report(self, number: int) -> dict[str, dict[str, Any]]:
        """The reports of a partition that has ended, by part.

        Without a sample, they have only the counts of rejected records; without these, there is
        none.
        """
        replay = self._owned[number].partition.replay
        if replay is None:
            return {}
        if replay.result is not None:
            return {name: part.report for name, part in replay.result.parts.items()}
        counts = {name: run.statistics().rejected for name, run in replay.pipeline.parts.items()}
        return {
            name: {"samples": count, "learned": 0, "scored": 0, "rejected": count, "served": {}}
            for name, count in counts.items()
            if count
        }


@final
class _Owned(Callback):
    """A partition of an owner."""

    def __init__(
        self, settings: RunSettings, number: int, reading: SharedReading, *, resume: bool
    ) -> None:
        self.number = number
        self.partition = PartitionRun(number, self._make)
        self._all = settings
        self._settings = build_key_partition_settings(settings, number)
        self._stream = KeyPartition(reading, number)
        self._resume = resume
        self._tries = 0
        self._since: float | None = None  # the last checkpoint
        self._saved = 0

    async def run(self) -> None:
        """Learn it until it ends or is given up."""
        try:
            await self.partition.run()
        finally:
            self._stream.reading.leave(self.number)

    def _make(self) -> Replay:
        if self._tries:  # the others do not wait for what another process holds
            self._stream.reading.leave(self.number)
            self._stream = KeyPartition(share_reading(self._all, (self.number,)), self.number)
        self._tries += 1
        return Replay(self._settings, resume=self._resume, callbacks=[self], stream=self._stream)

    def on_checkpoint(self, statistics: StateStatistics) -> None:
        """Note that there is a checkpoint."""
        self._since, self._saved = monotonic(), statistics.samples

    def describe(self) -> PartitionStatus:
        """Its condition."""
        run, age = self.partition, None if self._since is None else monotonic() - self._since
        replay = run.replay
        if run.failure is not None and not self._is_empty():
            return PartitionStatus(self.number, "failed", age=age, message=str(run.failure))
        phase: Phase = "ended" if run.ended.is_set() else "learning"
        if replay is None or not replay.pipeline.ready.is_set():
            phase = phase if run.ended.is_set() else "waiting"
            return PartitionStatus(self.number, phase, age=age, message=run.waits_for)
        pipeline = replay.pipeline
        now = pipeline.statistics()
        found = PartitionStatus(
            self.number,
            phase,
            samples=now.samples,
            rejected=now.rejected,
            saved=self._saved,
            age=age,
            progress=now.progress,
        )
        learner = next(iter(pipeline.parts.values())).learner
        if learner is None:
            return found
        models = learner.serving.contenders.keyed
        found = found._replace(keys=0 if models is None else len(models.rows))
        serving = learner.serving
        if not serving.scored:
            return found
        score = error_to_score(learner.task, float(serving.errors[0]) / serving.scored)
        return found._replace(metric=MAIN_METRICS[learner.task], score=score)

    def _is_empty(self) -> bool:
        """Whether it has failed only because no key of the stream is in it."""
        replay = self.partition.replay
        is_error = isinstance(self.partition.failure, DataError) and self._stream.reading.ended
        return is_error and replay is not None and not replay.pipeline.statistics().samples

"""Pipeline: the stages joined by bounded channels, in one task group."""

from __future__ import annotations

from collections.abc import AsyncIterator
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from time import perf_counter
from types import TracebackType
from typing import Any
from typing import Self
from typing import final

from anyio import CancelScope
from anyio import Event
from anyio import create_memory_object_stream
from anyio import create_task_group
from anyio import to_thread
from anyio.abc import TaskGroup

from streamnet.checked import native
from streamnet.durability.ledger import Ledger
from streamnet.durability.tree import Tree
from streamnet.errors import ConfigurationError
from streamnet.errors import NoCandidateError
from streamnet.learning.given import candidates_of
from streamnet.learning.given import check_settings
from streamnet.learning.learner import ROUND
from streamnet.learning.learner import Learner
from streamnet.learning.trainer import Snapshot
from streamnet.modelfiles.model import Model
from streamnet.networks.candidate import CandidateSettings
from streamnet.pipeline.beginning import begin_outputs
from streamnet.pipeline.beginning import compiling_ahead
from streamnet.pipeline.beginning import first_cut
from streamnet.pipeline.beginning import restore_learning
from streamnet.pipeline.beginning import warming_up
from streamnet.pipeline.board import Board
from streamnet.pipeline.board import board_of
from streamnet.pipeline.causes import raise_cause
from streamnet.pipeline.champions import Champion
from streamnet.pipeline.champions import Champions
from streamnet.pipeline.champions import about_of
from streamnet.pipeline.cutting import Cutter
from streamnet.pipeline.given import check_parts
from streamnet.pipeline.given import sinks_of
from streamnet.pipeline.glance import Glance
from streamnet.pipeline.identity import identity_of
from streamnet.pipeline.reading import Reader
from streamnet.pipeline.recording import Recorder
from streamnet.pipeline.recording import check_records
from streamnet.pipeline.rejections import Rejections
from streamnet.pipeline.report import Result
from streamnet.pipeline.report import Times
from streamnet.pipeline.report import report_of
from streamnet.pipeline.sinks import Sink
from streamnet.pipeline.stages import encode
from streamnet.pipeline.stages import evaluate
from streamnet.pipeline.stages import keep
from streamnet.pipeline.stages import record
from streamnet.pipeline.stages import serve
from streamnet.pipeline.state import Emission
from streamnet.pipeline.state import State
from streamnet.pipeline.statistics import PipelineStatistics
from streamnet.pipeline.threads import BRIEF
from streamnet.pipeline.training import train
from streamnet.randomness import seed_of
from streamnet.samples import Schema
from streamnet.sources.base import Source

__all__ = ("Pipeline",)

_CHANNEL = 4  # blocks that may wait before a stage
_UNWRITTEN = 16  # emitted models and cuts that may wait to be written


@final
class Pipeline:
    """Learns a source with a population of networks and follows the best.

    Enter it with ``async with``; leaving the block ends reading, works off what was read, and waits
    for that. Runs under asyncio and trio.

    Args:
        source: Where samples come from; it is opened and closed here.
        candidates: Settings of each; None is `default_population`.
        seed: Key of all random numbers.
        block_size: Most samples that travel together; changes speed, never results.
        round_size: Samples between two decisions about the population.
        threads: Most threads that learn at once; changes speed, never results.
        dtype: float32 or float64, of the networks.
        sinks: Called with every served block, in order, in a worker thread.
        rejections: Where rejected records go; None counts them.
        prepare: Called with learner and schema before the first sample; may return sinks.
        settings: Passed through to the report.
        state: Where checkpoints go, and what an earlier run is gone on from; None keeps nothing.
        start: Model to go on learning, instead of candidates; see `Learner`.
        brief: Longest work, in seconds, that is done in the event loop rather than in a thread.
            More is faster, if nobody else needs the loop.
        learning: More settings of `Learner`.

    Raises:
        ConfigurationError: If a setting is unknown or breaks its rule.

    >>> import anyio
    >>> from streamnet.sources import IterableSource
    >>> rows = [{"x": i % 7, "y": "odd" if i % 7 % 2 else "even"} for i in range(3000)]
    >>> async def main():
    ...     async with Pipeline(IterableSource(rows, target="y")) as pipeline:
    ...         async for champion in pipeline.champions():
    ...             last = champion
    ...     return last.model.predict({"x": 3})[0]
    >>> anyio.run(main)
    'odd'
    """

    def __init__(
        self,
        source: Source,
        *,
        candidates: Sequence[CandidateSettings] | None = None,
        seed: int = 0,
        block_size: int = 1024,
        round_size: int = ROUND,
        threads: int = 2,
        dtype: str = "float32",
        sinks: Sequence[Sink] = (),
        rejections: Rejections | None = None,
        prepare: Callable[[Learner, Schema], Sequence[Sink]] | None = None,
        settings: dict[str, Any] | None = None,
        state: State | None = None,
        start: Model | None = None,
        brief: float = BRIEF,
        **learning: Any,
    ) -> None:
        check_settings(learning, type(self), Learner)
        check_parts(threads, brief, state, start, rejections)
        seed, candidates = seed_of(seed), candidates_of(candidates)
        self.source, self.state = source, state
        self.rejections = rejections or Rejections()
        self.learner: Learner | None = None
        self.schema: Schema | None = None
        self.ready = Event()
        self._reader = Reader(
            source,
            Cutter(block_size=block_size, round_size=round_size),
            None if state is None else state.cadence,
        )
        if start is not None:
            dtype = start.networks[0].dtype.name
        learning |= {"candidates": candidates, "seed": seed, "dtype": dtype, "start": start}
        learning = native(learning)
        self._make = partial(Learner, **learning)
        window = self.rejections.limit.window
        self._identity = identity_of(round_size=round_size, rejected_window=window, **learning)
        self._encoder, self._settings = learning.get("encoder"), settings or {}
        self._dtype, self._seed, self._threads = learning["dtype"], seed, int(threads)
        self._brief = brief
        self.sinks, self._prepare = sinks_of(sinks), prepare
        self._champions = Champions()
        self._glances: list[Glance] = []  # on their way
        self._begun = self._started = self._ended = 0.0
        self._earlier = 0  # samples that the runs before this one learned
        self._channels: list[Any] = []
        self._group: TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._group = create_task_group()
        await self._group.__aenter__()
        self._group.start_soon(self._run)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._group is not None
        self.stop()
        try:
            await self._group.__aexit__(kind, error, traceback)
        except BaseExceptionGroup as group:
            raise_cause(group, unless_of=error)

    async def run(self) -> Result:
        """Learn the whole source.

        Raises:
            DataError: If the source can't be read or breaks off, too many records are rejected, or
                nothing could be learned; all samples before were learned, and sinks have them.
            StateError: If the state can't be gone on from, or another process is at it.
            NoCandidateError: If no candidate has a finite network at the end; `report` still
                works.
        """
        try:
            await self._run()
        except BaseExceptionGroup as group:
            raise_cause(group)
        return self.result()

    def stop(self) -> None:
        """Read no more; what was read is still worked off. To be called in the event loop."""
        self._reader.stop()

    def champions(self) -> AsyncIterator[Champion]:
        """Each emitted champion, the last one at the end of the stream.

        Each call gives a new reader. One that is late gets the latest 16; one that is early waits
        for the run to begin, by ``async with`` or `run` in another task.
        """
        return self._champions.follow()

    async def glance(self) -> Champion | None:
        """What is served at this moment; learning goes on, and nothing else depends on it.

        None before the first sample, where there is no finite network, and at the end.
        """
        glance = Glance()
        if self.ready.is_set() and not self._ended:
            self._glances.append(glance)
            self._reader.send_glance(glance)
            try:
                await glance.done.wait()
            finally:
                self._glances.remove(glance)
        return glance.snapshot and self._champion(glance.snapshot)

    def checkpoint(self) -> None:
        """Let the state be kept soon, once there is one, also if nothing is new since the last."""
        if self.ready.is_set():  # what was waited for before must not be cancelled
            self._reader.cut()

    async def _run(self) -> None:
        if self._begun:
            raise ConfigurationError("the pipeline has run before, but can run only once")
        self._begun = perf_counter()
        try:
            await self._learn()
        finally:
            self._ended = self._ended or perf_counter()
            self._champions.close()
            for glance in self._glances:
                glance.done.set()
            with CancelScope(shield=True):
                try:
                    self.rejections.close()
                finally:
                    await self.source.aclose()
                    if self.state is not None:
                        self.state.close()
        if self._reader.broken is not None:
            raise self._reader.broken

    async def _learn(self) -> None:
        saved = None if self.state is None else await to_thread.run_sync(self.state.open)
        if self.state is not None and saved is not None:
            # First of all: what the source remembers may not fit other settings.
            self.state.check(self._identity, saved)
            self._reader.restore_state(saved["reading"])
        async with compiling_ahead(self._dtype) as ahead:
            schema = await self._reader.open()
            if schema is None:
                return
            if schema.task is None:
                raise ConfigurationError("the source has no target, but learning needs one")
            warm = warming_up(schema.task, schema.fields, self._dtype, self._encoder, ahead)
            if not await self._reader.unless_stopped(warm):
                return
        self.schema, self.learner = schema, self._make(task=schema.task)
        recorder = await to_thread.run_sync(self._begin, self.learner, schema, saved)
        self._earlier, self._started = self.learner.trainer.number, perf_counter()
        self.ready.set()
        await self._flow(self.learner, recorder)
        self._ended = perf_counter()
        check_records(
            read=self._reader.records,
            learned=self.learner.trainer.number,
            rejected=self.rejections.total,
        )
        self._finish(self.learner)

    def _begin(self, learner: Learner, schema: Schema, saved: Tree | None) -> Recorder:
        """Put everything where it was when ``saved`` was cut, or save the beginning."""
        state = self.state
        recorder = Recorder(self.rejections, self.sinks, None if state is None else Ledger())
        if state is not None:
            task = {"task": str(schema.task), "target": schema.target}
            state.begin(self._identity | task, self._settings, saved)
        if saved is not None:
            restore_learning(learner, recorder, saved)
        if self._prepare is not None:
            recorder.add(sinks_of(self._prepare(learner, schema) or ()))
        if state is not None:
            state.forget_abandoned(saved or {})
        begin_outputs(recorder, saved)
        if state is not None and saved is None:
            state.first(partial(first_cut, self._reader, learner, recorder))
        return recorder

    async def _flow(self, learner: Learner, recorder: Recorder) -> None:
        channels = [create_memory_object_stream[Any](_CHANNEL) for _ in range(5)]
        decisions_send, decisions = create_memory_object_stream[Any](_CHANNEL)
        written_send, written = create_memory_object_stream[Any](_UNWRITTEN)
        sends = [send for send, _ in channels]
        receives = [receive for _, receive in channels]
        self._channels = receives
        limit = self.rejections.limit
        undone, brief = learner.trainer.decisions, self._brief
        # The last two decisions come when training has ended: their channel stays open so long.
        with decisions_send, decisions, written:
            async with create_task_group() as group:
                start = group.start_soon
                start(self._reader.read, sends[0])
                start(encode, learner.encoder, self._reader, limit, receives[0], sends[1], brief)
                learned = receives[1], sends[2], decisions
                start(train, learner.trainer, self._threads, *learned, brief)
                start(evaluate, learner.evaluator, receives[2], sends[3], brief)
                served = receives[3], sends[4], decisions_send
                start(serve, learner.server, undone, *served, brief)
                start(record, recorder, self._publish, self.state, receives[4], written_send, brief)
                if self.state is not None:
                    start(keep, self.state, written)

    def _publish(self, snapshot: Snapshot) -> Emission | None:
        self._champions.publish(champion := self._champion(snapshot))
        return None if self.state is None else self.state.emit(champion)

    def _champion(self, snapshot: Snapshot, more: dict[str, Any] | None = None) -> Champion:
        about = about_of(snapshot, self._seed) | (more or {})
        about["target"] = self.schema and self.schema.target
        settings, serial, _ = snapshot.member
        return Champion(serial, settings, snapshot.number, about, snapshot)

    def _finish(self, learner: Learner) -> None:
        if learner.trainer.number == 0:
            if self._reader.broken is None and not self._reader.stopped:
                raise self.rejections.nothing_learned()
            return
        with suppress(NoCandidateError):
            slot, snapshot = learner.leader()
            self._champions.publish(self._champion(snapshot, learner.about(slot)))

    def result(self) -> Result:
        """Report and model of what was learned; call it when the pipeline has ended.

        Raises:
            NoCandidateError: If nothing was learned, or no candidate has a finite network.
        """
        if self.learner is None:
            raise NoCandidateError("nothing was learned yet")
        slot, snapshot = self.learner.leader()
        champion = self._champion(snapshot, self.learner.about(slot))
        return Result(self.report(), champion.model)

    def report(self) -> dict[str, Any]:
        """The report of what was learned; call it when the pipeline has ended or broken off.

        Raises:
            NoCandidateError: If no sample could be learned.
        """
        if self.learner is None or self.schema is None:
            raise NoCandidateError("nothing was learned yet")
        return report_of(
            self.learner,
            target=self.schema.target,
            read=self.learner.trainer.number + self.rejections.total,
            rejected=self.rejections.statistics(),
            times=self._times(),
            settings=self._settings,
            threads=self._threads,
        )

    def _times(self) -> Times:
        now = self._ended or perf_counter()
        started = self._started or now
        return Times(started - (self._begun or now), now - started, self._earlier)

    def board(self) -> Board | None:
        """Scores and leaders of this moment; None before the first sample could be learned."""
        return None if self.learner is None else board_of(self.learner)

    def statistics(self) -> PipelineStatistics:
        """Where the run stands."""
        learner, times, rejected = self.learner, self._times(), self.rejections.total
        champion = learner.server.champion if learner else None
        samples = learner.trainer.number if learner else 0
        return PipelineStatistics(
            samples=samples,
            rejected=rejected,
            seconds=times.running,
            startup=times.startup,
            progress=self._reader.progress(samples + rejected),
            champion=champion.settings.describe() if champion else "",
            switches=learner.server.selector.switched if learner else 0,
            waiting=tuple(r.statistics().current_buffer_used for r in self._channels),
            earlier=times.earlier,
        )

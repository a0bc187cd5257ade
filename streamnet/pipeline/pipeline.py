"""The pipeline: test-then-train stages joined by bounded channels in one task group."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from inspect import iscoroutinefunction, signature
from time import perf_counter
from types import TracebackType
from typing import Any, NamedTuple, Self, Unpack, final

from anyio import CancelScope, Event, create_task_group, to_thread
from anyio.abc import TaskGroup

from streamnet.durability.checkpoint import StateDict
from streamnet.durability.provenance import Ledger
from streamnet.errors import ConfigurationError, NoCandidateError
from streamnet.learning.label_delay import LabelDelay
from streamnet.learning.learner import ROUND, Learner
from streamnet.learning.trainer import Snapshot
from streamnet.learning.warmup import CompileProcess, start_compiling, warm_up
from streamnet.modelfiles.model import Model
from streamnet.pipeline.concurrency import INLINE_SECONDS, raise_cause, run_abandonable
from streamnet.pipeline.control_messages import Barrier, Glance
from streamnet.pipeline.outputs import Champion, ChampionBroadcast, ResumableSink, Sink
from streamnet.pipeline.reader import BlockSplitter, Reader, check_source
from streamnet.pipeline.recorder import Record, check_records, discard, keep
from streamnet.pipeline.rejections import Rejections
from streamnet.pipeline.stages import Encode, Evaluate, Serve, Stage, Train, run_stages
from streamnet.pipeline.state import EmittedModel, State, build_identity
from streamnet.reporting.builder import RunTimes, build_leader_board, build_report
from streamnet.reporting.report import LeaderBoard, PipelineStatistics, Report
from streamnet.samples import Schema
from streamnet.settings.candidate import CandidateSettings
from streamnet.settings.encoder import EncoderSettings
from streamnet.settings.fields import check_group, check_names, with_settings
from streamnet.settings.keywords import EncoderKeywords, LearningKeywords, SearchKeywords
from streamnet.settings.learning import (
    LearningSettings,
    SearchSettings,
    build_learning_settings,
    check_candidates,
)
from streamnet.sources.base import Source
from streamnet.sources.columns import format_names
from streamnet.sources.weights import WeightedSource
from streamnet.validation import check_integer, check_number, check_seed, to_builtins


@asynccontextmanager
async def compile_in_background(dtype: str) -> AsyncIterator[CompileProcess | None]:
    """Compile kernels in another process, where that is worthwhile, while the source is opened."""
    ahead = await to_thread.run_sync(start_compiling, dtype)
    try:
        yield ahead
    finally:
        if ahead is not None:
            ahead.end()


def open_outputs(outputs: Iterable[ResumableSink], saved: StateDict | None) -> None:
    """Create the outputs, or truncate them to their length at a checkpoint."""
    for output in outputs:
        if saved is None:
            output.begin()
        elif output.name in saved["outputs"]:
            output.restore_state(saved["outputs"][output.name])
        else:
            output.begin_unsaved()


def build_first_barrier(reader: Reader, learner: Learner, record: Record) -> Barrier:
    """Build the barrier before the first sample, while no stage is running."""
    barrier = reader.barrier()
    barrier.encoder = learner.encoder.snapshot()
    barrier.parts = {
        "limit": record.rejections.limit.export_state(),
        "trainer": learner.trainer.export_state(),
        "evaluator": learner.evaluator.export_state(),
        "serving": learner.serving.export_state(),
        "pending": learner.delayed and learner.delayed.export_state(),
        "keyed": learner.keyed and learner.keyed.export_state(),
        "emitted": 0,
    }
    record.complete(barrier)
    return barrier


def check_arguments(
    threads: object, inline_seconds: object, state: object, start: object, rejections: object
) -> None:
    """Check arguments of `Pipeline`."""
    if check_integer("threads", threads) < 1:
        raise ConfigurationError(f"threads is {threads}, but must be >= 1")
    check_number("inline_seconds", inline_seconds)
    for name, part, kind in (
        ("state", state, State),
        ("start", start, Model),
        ("rejections", rejections, Rejections),
    ):
        if part is not None and not isinstance(part, kind):
            raise ConfigurationError(f"{name} is {part!r}, but must be a {kind.__name__} or None")


def check_sinks(given: object) -> list[Sink]:
    """Check that sinks are plain functions, and return them as a list; any iterable will do."""
    rule = "functions, which are called in a thread"
    if not isinstance(given, Iterable):
        raise ConfigurationError(f"sinks is {given!r}, but must be a list of {rule}")
    sinks = list(given)
    for sink in sinks:
        late = iscoroutinefunction(sink) or iscoroutinefunction(type(sink).__call__)
        if late or not callable(sink):
            raise ConfigurationError(f"sinks has {sink!r}, but must have {rule}")
    return sinks


class Result(NamedTuple):
    """The outcome of a run: the JSON ``report``, see docs/report.md, and the ``model``."""

    report: dict[str, Any]
    model: Model


@final
@with_settings(LearningSettings)
class Pipeline:
    """Trains a population of networks on a stream, test-then-train, and serves the best.

    Enter it with ``async with``; leaving the block stops reading, processes what was read, and
    waits for that. Runs under asyncio and trio.

    Args:
        source: Where samples come from; opened and closed by the pipeline.
        candidates: Settings of each candidate; None is `default_population`.
        seed: Seed of all random numbers.
        block_size: Maximum number of samples in a block; affects speed, never results.
        round_size: Number of samples between two decisions about the population.
        threads: Maximum number of training threads; affects speed, never results.
        dtype: "float32" or "float64", of the networks.
        sinks: Called with every served block, in order, in a worker thread.
        rejections: Where rejected records go; None only counts them.
        prepare: Called with learner and schema before the first sample; may return sinks.
        settings: Passed through to the report.
        state: Where checkpoints go, and from which a run resumes; None keeps no state.
        start: Model to continue training, instead of candidates; see `Learner`.
        inline_seconds: Work that takes no longer than this many seconds runs in the event loop,
            not in a thread. More is faster if nothing else needs the loop.
        encoder: Settings of the encoder.
        evolution: Settings of the search for better candidates; see `Learner`.
        weight: Name of the column with the weights of samples; see `WeightedSource`.
        late_labels: Whether samples without target wait for labels that the source brings later.

    Raises:
        ConfigurationError: If a setting is unknown or invalid.

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

    source: Source
    state: State | None
    sinks: list[Sink]

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
        inline_seconds: float = INLINE_SECONDS,
        encoder: EncoderKeywords | None = None,
        evolution: SearchKeywords | None = None,
        weight: str | None = None,
        late_labels: bool = False,
        **learning: Unpack[LearningKeywords],
    ) -> None:
        check_names(learning, signature(Pipeline).parameters, "Pipeline")
        chosen = build_learning_settings(learning)
        LabelDelay.build(chosen.label_delay, chosen.time, chosen.label_time, chosen.horizon)
        check_group("encoder", encoder, EncoderSettings)
        check_group("evolution", evolution, SearchSettings)
        check_arguments(threads, inline_seconds, state, start, rejections)
        seed, candidates = check_seed(seed), check_candidates(candidates)
        self.source, self.state = source, state
        self.rejections: Rejections = rejections or Rejections()
        self.learner: Learner | None = None
        self.schema: Schema | None = None
        self.ready: Event = Event()
        self._reader = Reader(
            source if weight is None else WeightedSource(check_source(source), weight),
            BlockSplitter(block_size=block_size, round_size=round_size),
            None if state is None else state.cadence,
        )
        if state is not None:
            state.on_saved = self._reader.source.commit
        if start is not None:
            dtype = start.networks[0].dtype.name
        given: dict[str, Any] = to_builtins(
            {
                **learning,
                "candidates": candidates,
                "seed": seed,
                "dtype": dtype,
                "start": start,
                "encoder": encoder,
                "evolution": evolution,
                "late_labels": late_labels,
            }
        )
        self._make = partial(Learner, **given)
        window = self.rejections.limit.window
        weighted: dict[str, Any] = {} if weight is None else {"weight": weight}
        self._identity = build_identity(
            round_size=round_size, rejected_window=window, **weighted, **given
        )
        self._encoder, self._settings = given["encoder"], settings or {}
        self._dtype, self._seed, self._threads = given["dtype"], seed, int(threads)
        self._inline_seconds = inline_seconds
        self.sinks, self._prepare = check_sinks(sinks), prepare
        self._champions = ChampionBroadcast()
        self._glances: list[Glance] = []  # that travel through the stages
        self._begun = self._started = self._ended = 0.0
        self._earlier = 0  # samples that previous runs learned
        self._stages: list[Stage[Any]] = []
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
        """Train on the whole source.

        Raises:
            DataError: If the source can't be read or fails, too many records are rejected, or
                nothing could be learned; all samples before were learned and passed to sinks.
            StateError: If the run can't resume from the state, or another process uses it.
            NoCandidateError: If no candidate has a finite network at the end; `report` still
                works.
        """
        try:
            await self._run()
        except BaseExceptionGroup as group:
            raise_cause(group)
        return self.result()

    def stop(self) -> None:
        """Stop reading; what was read is still processed. Call it in the event loop."""
        self._reader.stop()

    def champions(self) -> AsyncIterator[Champion]:
        """Iterate over the emitted champions, the last one at the end of the stream.

        Each call returns an independent iterator. A slow one gets the latest 16; an early one waits
        until the run starts, by ``async with`` or `run` in another task.
        """
        return self._champions.follow()

    async def glance(self) -> Champion | None:
        """A copy of what is served at this moment; learning continues unaffected.

        None before the first sample, without a finite network, and after the end.
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
        """Request a checkpoint as soon as possible, even if nothing is new since the last one."""
        if self.ready.is_set():  # before that, waiting for the source must not be cancelled
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
            # First of all, since the source's state may not fit other settings.
            self.state.check(self._identity, saved)
            self._reader.restore_state(saved["reading"])
        async with compile_in_background(self._dtype) as ahead:
            schema = await self._reader.open()
            if schema is None:
                return
            if schema.task is None:
                names = format_names([field.name for field in schema.fields])
                rule = f"must be one of the columns {names}"
                raise ConfigurationError(f"target is not given, but {rule}")
            kinds = [field.kind for field in schema.fields]
            settings = schema.task, self._dtype, self._encoder
            work = partial(warm_up, *settings, kinds=kinds, background=ahead)
            if not await self._reader.run_unless_stopped(partial(run_abandonable, work)):
                return
        self.schema, self.learner = schema, self._make(task=schema.task)
        record = await to_thread.run_sync(self._begin, self.learner, schema, saved)
        self._earlier, self._started = self.learner.trainer.number, perf_counter()
        self.ready.set()
        await self._flow(self.learner, record)
        self._ended = perf_counter()
        check_records(
            read=self._reader.records,
            learned=self.learner.trainer.number + self.learner.trainer.labels,
            rejected=self.rejections.total,
        )
        self._finish(self.learner)

    def _begin(self, learner: Learner, schema: Schema, saved: StateDict | None) -> Record:
        """Restore everything from a checkpoint, or save the first one."""
        state = self.state
        ledger = None if state is None else Ledger()
        if state is not None:
            task = {"task": str(schema.task), "target": schema.target}
            state.begin(self._identity | task, self._settings, saved)
        if saved is not None:
            learner.restore_state(saved["learner"])
            self.rejections.limit.restore_state(saved["limit"])
            if ledger is not None:
                ledger.restore_state(saved["ledger"])
        if self._prepare is not None:
            self.sinks += check_sinks(self._prepare(learner, schema) or ())
        record = Record(
            self.rejections,
            self.sinks,
            ledger,
            publish=self._publish,
            state=state,
            inline_seconds=self._inline_seconds,
        )
        if state is not None:
            state.remove_rolled_back(saved or {})
        open_outputs(record.outputs, saved)
        if state is not None and saved is None:
            state.first(partial(build_first_barrier, self._reader, learner, record))
        return record

    async def _flow(self, learner: Learner, record: Record) -> None:
        seconds, state = self._inline_seconds, self.state
        train = Train(learner.trainer, self._threads, seconds)
        self._stages = [
            Encode(learner.source, self._reader, self.rejections.limit, seconds),
            train,
            Evaluate(learner.evaluator, seconds),
            Serve(learner.serving, train.decide, learner.trainer.decisions, seconds),
            record,
        ]
        end = discard if state is None else partial(keep, state)
        await run_stages(self._reader.read, self._stages, end)

    def _publish(self, snapshot: Snapshot) -> EmittedModel | None:
        self._champions.publish(champion := self._champion(snapshot))
        return None if self.state is None else self.state.emit(champion)

    def _champion(self, snapshot: Snapshot, more: dict[str, Any] | None = None) -> Champion:
        settings, serial, born = snapshot.member
        about = {
            "candidate": serial,
            "born": born,
            "samples": snapshot.number,
            "seed": self._seed,
            **(more or {}),
            "target": self.schema and self.schema.target,
        }
        return Champion(serial, settings, snapshot.number, about, snapshot)

    def _finish(self, learner: Learner) -> None:
        if learner.trainer.number == 0:
            if self._reader.broken is None and not self._reader.stopped:
                raise self.rejections.nothing_learned_error()
            return
        with suppress(NoCandidateError):
            slot, snapshot = learner.best_snapshot()
            self._champions.publish(self._champion(snapshot, learner.model_metadata(slot)))

    def result(self) -> Result:
        """Report and model; call it when the pipeline has ended.

        Raises:
            NoCandidateError: If nothing was learned, or no candidate has a finite network.
        """
        if self.learner is None:
            raise NoCandidateError("nothing was learned yet")
        slot, snapshot = self.learner.best_snapshot()
        champion = self._champion(snapshot, self.learner.model_metadata(slot))
        return Result(self.report(), champion.model)

    def report(self) -> dict[str, Any]:
        """The JSON report of what was learned; call it when the pipeline has ended or failed.

        Raises:
            NoCandidateError: If no sample could be learned.
        """
        return self.build_report().as_dict()

    def build_report(self) -> Report:
        """`report` as typed data.

        Raises:
            NoCandidateError: If no sample could be learned.
        """
        if self.learner is None or self.schema is None:
            raise NoCandidateError("nothing was learned yet")
        return build_report(
            self.learner,
            target=self.schema.target,
            rejected=self.rejections.statistics(),
            times=self._times(),
            settings=self._settings,
            threads=self._threads,
        )

    def _times(self) -> RunTimes:
        now = self._ended or perf_counter()
        started = self._started or now
        return RunTimes(started - (self._begun or now), now - started, self._earlier)

    def board(self) -> LeaderBoard | None:
        """Current scores and leaders; None before the first sample could be learned."""
        return None if self.learner is None else build_leader_board(self.learner)

    def statistics(self) -> PipelineStatistics:
        """Progress of the run."""
        learner, times, rejected = self.learner, self._times(), self.rejections.total
        champion = learner.serving.champion if learner else None
        samples = learner.trainer.number if learner else 0
        return PipelineStatistics(
            samples=samples,
            rejected=rejected,
            seconds=times.running,
            startup=times.startup,
            progress=self._reader.progress(samples + rejected),
            champion=champion.settings.describe() if champion else "",
            switches=learner.serving.selector.switched if learner else 0,
            waiting=tuple(stage.waiting for stage in self._stages),
            earlier=times.earlier,
        )

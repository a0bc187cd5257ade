"""The pipeline: test-then-train stages joined by bounded channels in one task group."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from inspect import signature
from time import perf_counter
from types import TracebackType
from typing import Any, Self, Unpack, final

from anyio import CancelScope, Event, create_memory_object_stream, create_task_group, to_thread
from anyio.abc import TaskGroup

from streamnet.durability.checkpoint import StateDict
from streamnet.errors import ConfigurationError, NoCandidateError
from streamnet.guests import as_guests
from streamnet.learning.label_delay import LabelDelay
from streamnet.learning.learner import ROUND, Learner
from streamnet.learning.warmup import CompileProcess, start_compiling, warm_up
from streamnet.modelfiles.model import Model
from streamnet.pipeline.callbacks import Callback, Callbacks
from streamnet.pipeline.concurrency import INLINE_SECONDS, raise_cause, run_abandonable
from streamnet.pipeline.control_messages import Barrier, Glance, JoinedBarrier, list_part_trees
from streamnet.pipeline.outputs import Champion, ChampionBroadcast, Sink
from streamnet.pipeline.part_run import (
    PartRun,
    Prepare,
    RunOptions,
    build_part_runs,
    check_arguments,
    check_sinks,
    enter_shards,
    open_outputs,
)
from streamnet.pipeline.parts import PartFeed, check_only_part, fork, list_parts, open_branch
from streamnet.pipeline.reader import BlockSplitter, Reader, check_source
from streamnet.pipeline.recorder import discard, keep
from streamnet.pipeline.rejections import Rejections
from streamnet.pipeline.stages import CHANNEL_BLOCKS, run_chains, run_stages
from streamnet.pipeline.state import State, build_identity
from streamnet.reporting.builder import RunTimes
from streamnet.reporting.html import render_leader_board
from streamnet.reporting.report import LeaderBoard, PipelineStatistics, Report
from streamnet.reporting.result import Result
from streamnet.samples import ClassChange, KeyRemoval, Schema
from streamnet.settings.candidate import CandidateSettings
from streamnet.settings.encoder import EncoderSettings
from streamnet.settings.execution import ShardExecutor
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
from streamnet.sources.roles import IdentifiedSource, WeightedSource
from streamnet.validation import check_seed, to_builtins


@asynccontextmanager
async def compile_in_background(dtype: str) -> AsyncIterator[CompileProcess | None]:
    """Compile kernels in another process, where that is worthwhile, while the source is opened."""
    ahead = await to_thread.run_sync(start_compiling, dtype)
    try:
        yield ahead
    finally:
        if ahead is not None:
            ahead.end()


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
        shards: Workers that share the candidates; 0: they learn in this process.
        shard_executor: Where shards are: "processes" of this machine, or "ray".
        dtype: "float32" or "float64", of the networks.
        sinks: Called with every served block, in order, in a worker thread.
        callbacks: Called when a round, a drift, a new champion or a checkpoint has come.
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
        ids: Name of the column with the ids of samples; see `IdentifiedSource`.
        late_labels: Whether samples without target wait for labels that the source brings later.
        targets: Names of all targets, if there are several: that of the source, and columns of it.
            Numbers are predicted as numbers, categories as labels.
        guests: Models of River, scikit-learn or your own by name, which are candidates beside the
            networks; see `Guest`. A part of the run has a copy of each. A run resumes only if it is
            given the same guests again; those without a serializer then start again.

    With several targets or horizons, a run has a part for each pair of them, see `parts`; then
    sinks can only come from ``prepare``, which is called for each part.

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

    def __init__(
        self,
        source: Source,
        *,
        candidates: Sequence[CandidateSettings] | None = None,
        seed: int = 0,
        block_size: int = 1024,
        round_size: int = ROUND,
        threads: int = 2,
        shards: int = 0,
        shard_executor: ShardExecutor = "processes",
        dtype: str = "float32",
        sinks: Sequence[Sink] = (),
        callbacks: Sequence[Callback] = (),
        rejections: Rejections | None = None,
        prepare: Prepare | None = None,
        settings: dict[str, Any] | None = None,
        state: State | None = None,
        start: Model | None = None,
        inline_seconds: float = INLINE_SECONDS,
        encoder: EncoderKeywords | None = None,
        evolution: SearchKeywords | None = None,
        weight: str | None = None,
        ids: str | None = None,
        late_labels: bool = False,
        targets: Sequence[str] | None = None,
        guests: Mapping[str, Any] | None = None,
        **learning: Unpack[LearningKeywords],
    ) -> None:
        check_names(learning, signature(Pipeline).parameters, "Pipeline")
        chosen = build_learning_settings(learning)
        LabelDelay.build_all(**vars(chosen))
        check_group("encoder", encoder, EncoderSettings)
        check_group("evolution", evolution, SearchSettings)
        check_arguments(threads, shards, shard_executor, inline_seconds, state, start, rejections)
        seed, candidates = check_seed(seed), check_candidates(candidates)
        self.source, self.state = source, state
        self._callbacks = Callbacks(callbacks)
        self.ready: Event = Event()
        reading = source if ids is None else IdentifiedSource(check_source(source), ids)
        self._reader = Reader(
            reading if weight is None else WeightedSource(check_source(reading), weight),
            BlockSplitter(block_size=block_size, round_size=round_size, late_labels=late_labels),
            None if state is None else state.cadence,
        )
        if state is not None:
            state.on_saved = self._on_saved
        if start is not None:
            dtype = start.networks[0].dtype.name
        given: dict[str, Any] = to_builtins(
            {
                **learning,
                **({} if chosen.horizon is None else {"horizon": chosen.horizon}),
                "candidates": candidates,
                "seed": seed,
                "dtype": dtype,
                "start": start,
                "encoder": encoder,
                "evolution": evolution,
                "late_labels": late_labels,
            }
        )
        options = RunOptions(
            reader=self._reader,
            times=self._times,
            publish=self._publish,
            settings=settings or {},
            threads=int(threads),
            shards=int(shards),
            shard_executor=shard_executor,
            seed=seed,
            inline_seconds=inline_seconds,
            callbacks=self._callbacks,
            columns={
                role: name for role, name in (("weight", weight), ("id", ids)) if name is not None
            },
        )
        self._runs = build_part_runs(
            list_parts(targets, chosen.horizon),
            given,
            rejections=rejections or Rejections(),
            sinks=check_sinks(sinks),
            prepare=prepare,
            state=state,
            options=options,
            guests=(hosted := as_guests(guests)),
        )
        window = self.rejections.limit.window
        more: dict[str, Any] = {} if weight is None else {"weight": weight}
        if len(self._runs) > 1:
            more["targets"] = None if targets is None else list(targets)
        if hosted:
            more["guests"] = {name: guest.describe() for name, guest in hosted.items()}
        self._identity = build_identity(
            round_size=round_size, rejected_window=window, **more, **given
        )
        self._encoder, self._settings, self._dtype = given["encoder"], settings or {}, dtype
        self._feeds: Mapping[str, Reader | PartFeed] = {}
        self._champions = ChampionBroadcast()
        self._glances: list[Glance] = []  # that travel through the stages
        self._begun = self._started = self._ended = 0.0
        self._earlier = 0  # samples that previous runs learned
        self._group: TaskGroup | None = None

    @property
    def parts(self) -> dict[str, PartRun]:
        """The parts of the run by name, such as ``"cnt+24"``; the name of the only one is empty."""
        return {run.name: run for run in self._runs}

    @property
    def learner(self) -> Learner | None:
        """The learner, of the first part if there are several; None before the source is open."""
        return self._runs[0].learner

    @property
    def schema(self) -> Schema | None:
        """The schema, as the first part sees it; None before the source is open."""
        return self._runs[0].schema

    @property
    def rejections(self) -> Rejections:
        """Where rejected records go, those of the source and of the first part."""
        return self._runs[0].rejections

    @property
    def sinks(self) -> list[Sink]:
        """What receives the served blocks of the first part."""
        return self._runs[0].sinks

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

    def _repr_html_(self) -> str:
        name, boards = type(self).__name__, [(run.name, run.board()) for run in self._runs]
        return "\n".join(
            render_leader_board(board, f"{name} {part}".rstrip()) for part, board in boards
        )

    def stop(self) -> None:
        """Stop reading; what was read is still processed. Call it in the event loop."""
        self._reader.stop()

    def champions(self) -> AsyncIterator[Champion]:
        """Iterate over the emitted champions, the last one at the end of the stream.

        `Champion.part` tells of which part, if there are several. Each call returns an independent
        iterator. A slow one gets the latest 16; an early one waits until the run starts, by ``async
        with`` or `run` in another task.
        """
        return self._champions.follow()

    def keep_champions(self, count: int) -> None:
        """Keep so many champions, each a copy of networks, for followers that are not there yet."""
        self._champions.keep(count)

    @property
    def next_block(self) -> Event:
        """Set once another block has passed all stages of the first part, after `ready`."""
        return self._runs[0].next_block

    async def glance(self, part: str | None = None) -> Champion | None:
        """A copy of what is served at this moment; learning continues unaffected.

        None before the first sample, without a finite network, and after the end.

        Args:
            part: Name of the part; None is the first one.
        """
        run = self._runs[0] if part is None else self.parts[part]
        return self.build_champion(await self.freeze(Glance(run.name)))

    def build_champion(self, glance: Glance) -> Champion | None:
        """The model to take home that a glance has collected; None if there is none."""
        run = next(run for run in self._runs if run.name == glance.part)
        return glance.snapshot and run.champion(glance.snapshot)

    async def freeze(self, glance: Glance) -> Glance:
        """Let a glance collect what is served at this moment; learning continues unaffected.

        It stays empty before the first sample and after the end.
        """
        if self.ready.is_set() and not self._ended:
            self._glances.append(glance)
            self._reader.send_glance(glance)
            try:
                await glance.done.wait()
            finally:
                self._glances.remove(glance)
        return glance

    def merge_class(self, label: str, into: str) -> None:
        """Read a label as another one from the next sample that is read on.

        The probability of its class is added to the other one's; what was scored stays as it was. A
        checkpoint follows. Call it in the event loop, once `ready` is set.

        Args:
            label: Label of the class that is merged.
            into: Label of another class.

        Raises:
            ConfigurationError: If there are no such classes, or one was merged or retired before.
            NoCandidateError: If nothing was learned yet.
        """
        self._change_classes(ClassChange(label, into))

    def retire_class(self, label: str) -> None:
        """Give a class no probability, and reject samples with its label, from the next sample on.

        See `merge_class`.

        Args:
            label: Label of the class.

        Raises:
            ConfigurationError: As for `merge_class`, or if it is the last class.
            NoCandidateError: If nothing was learned yet.
        """
        self._change_classes(ClassChange(label))

    def forget_key(self, key: str) -> None:
        """Delete the model of a key and its last targets before the next sample that is read.

        If the key comes again, it is new; what the shared model learned from it stays. A checkpoint
        follows. A key that is not known is ignored. Call it in the event loop, once `ready` is set.

        Args:
            key: The key; the texts of several columns are joined by ``|``.

        Raises:
            ConfigurationError: If keys have no models.
            NoCandidateError: If nothing was learned yet.
        """
        check_only_part(self._runs)
        if self.learner is None or not self.ready.is_set():
            raise NoCandidateError("nothing was learned yet")
        if self.learner.keyed is None:
            raise ConfigurationError("key is not given, so there are no models of keys")
        self._reader.send_change(KeyRemoval(key))

    def _change_classes(self, change: ClassChange) -> None:
        check_only_part(self._runs)
        if self.learner is None or not self.ready.is_set():
            raise NoCandidateError("nothing was learned yet")
        self.learner.check_change(change)
        self._reader.send_change(change)

    def checkpoint(self) -> None:
        """Request a checkpoint as soon as possible, even if nothing is new since the last one."""
        if self.ready.is_set():  # before that, waiting for the source must not be cancelled
            self._reader.cut()

    async def _run(self) -> None:
        if self._begun:
            raise ConfigurationError("the pipeline has run before, but can run only once")
        self._begun = perf_counter()
        try:
            await self._learn_then_close()
        except BaseException as error:
            await self._callbacks.fail(error)
            raise
        if self._callbacks:
            await self._callbacks.end(self.result)

    async def _learn_then_close(self) -> None:
        try:
            await self._learn()
        finally:
            self._ended = self._ended or perf_counter()
            self._champions.close()
            for glance in self._glances:
                glance.done.set()
            with CancelScope(shield=True):
                try:
                    for run in self._runs:
                        run.rejections.close()
                finally:
                    await self.source.aclose()
                    if self.state is not None:
                        self.state.close()
        if self._reader.broken is not None:
            raise self._reader.broken

    def _on_saved(self, position: Mapping[str, Any]) -> None:
        """A checkpoint is on disk; ``position`` is that of the source."""
        assert self.state is not None
        self._reader.source.commit(position)
        statistics = self.state.statistics()
        self._callbacks.call(lambda one: one.on_checkpoint(statistics))

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
            for own in {run.adopt(schema).task: run.schema for run in self._runs}.values():
                assert own is not None
                assert own.task is not None
                kinds = [field.kind for field in own.fields]
                settings = own.task, self._dtype, self._encoder
                work = partial(warm_up, *settings, kinds=kinds, background=ahead)
                if not await self._reader.run_unless_stopped(partial(run_abandonable, work)):
                    return
        first, *_ = [run.make_learner() for run in self._runs]
        await to_thread.run_sync(self._begin, schema, saved)
        self._earlier, self._started = first.trainer.number, perf_counter()
        async with enter_shards(self._runs):
            self.ready.set()
            await self._flow()
        self._ended = perf_counter()
        for run in self._runs:
            run.finish(self._feeds[run.name].records)

    def _begin(self, schema: Schema, saved: StateDict | None) -> None:
        """Restore everything from a checkpoint, or save the first one."""
        self._callbacks.call(lambda one: one.on_start(self._settings))
        state = self.state
        if state is not None:
            state.begin(self._identity | self._describe_task(schema), self._settings, saved)
        parts = {} if saved is None else list_part_trees(saved)
        records = {run.name: run.begin(parts.get(run.name)) for run in self._runs}
        if state is not None:
            state.remove_rolled_back(saved or {})
        for name, record in records.items():
            open_outputs(record.outputs, parts.get(name))
        if state is not None and saved is None:
            state.first(self._cut_first)

    def _describe_task(self, schema: Schema) -> dict[str, Any]:
        """What is predicted, as part of the identity of a run."""
        if len(self._runs) == 1:
            return {"task": str(schema.task), "target": schema.target}
        schemas = {run.name: run.schema or schema for run in self._runs}
        return {
            "task": {name: str(own.task) for name, own in schemas.items()},
            "target": {name: own.target for name, own in schemas.items()},
        }

    def _cut_first(self) -> Barrier | JoinedBarrier:
        """The barrier before the first sample."""
        barrier = self._reader.barrier()
        if len(self._runs) == 1:
            self._runs[0].complete_first(barrier)
            return barrier
        copies = barrier.split(self._slugs)
        for run in self._runs:
            run.complete_first(copies[run.name])
        wholes = [copy.join() for copy in copies.values()]
        assert wholes[-1] is not None
        return wholes[-1]

    @property
    def _slugs(self) -> dict[str, str]:
        return {run.name: run.part.slug for run in self._runs}

    async def _flow(self) -> None:
        end = discard if self.state is None else partial(keep, self.state)
        if len(self._runs) == 1:
            self._feeds = {"": self._reader}
            await run_stages(self._reader.read, self._runs[0].build_stages(self._reader), end)
            return
        feeds = {run.name: PartFeed(self._reader) for run in self._runs}
        self._feeds = feeds
        slugs = self._slugs
        send, receive = create_memory_object_stream[Any](CHANNEL_BLOCKS)
        branches, chains = {}, []
        for run in self._runs:
            branches[run.name], own = open_branch(run.view, feeds[run.name], CHANNEL_BLOCKS)
            chains.append((own, run.build_stages(feeds[run.name])))
        work = [partial(self._reader.read, send), partial(fork, receive, branches, slugs)]
        await run_chains(work, chains, end)

    def _publish(self, champion: Champion) -> None:
        self._champions.publish(champion)

    def result(self) -> Result:
        """Reports and models; call it when the pipeline has ended.

        Raises:
            NoCandidateError: If nothing was learned, or no candidate has a finite network.
        """
        return Result({run.name: run.result() for run in self._runs})

    def report(self) -> dict[str, Any]:
        """The JSON report of what was learned; call it when the pipeline has ended or failed.

        Of several parts it is that of the first one.

        Raises:
            NoCandidateError: If no sample could be learned.
        """
        return self.build_report().as_dict()

    def build_report(self) -> Report:
        """`report` as typed data.

        Raises:
            NoCandidateError: If no sample could be learned.
        """
        return self._runs[0].build_report()

    def _times(self) -> RunTimes:
        now = self._ended or perf_counter()
        started = self._started or now
        return RunTimes(started - (self._begun or now), now - started, self._earlier)

    def board(self) -> LeaderBoard | None:
        """Current scores and leaders, of the first part; None before a sample could be learned."""
        return self._runs[0].board()

    def statistics(self) -> PipelineStatistics:
        """Progress of the run, which is that of the part that is furthest behind."""
        found = [run.statistics() for run in self._runs]
        return min(found, key=lambda now: now.samples + now.rejected)

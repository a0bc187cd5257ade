"""One part of a run: its learner, its stages, and what leaves them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, final

from anyio import CancelScope, Event, to_thread

from streamnet.durability.checkpoint import StateDict
from streamnet.durability.provenance import Ledger
from streamnet.errors import ConfigurationError, NoCandidateError
from streamnet.guests import Guest
from streamnet.learning.learner import Learner
from streamnet.learning.trainer import Snapshot
from streamnet.modelfiles.model import Model
from streamnet.pipeline.callbacks import Callbacks, PartFollower
from streamnet.pipeline.concurrency import NEVER_INLINE
from streamnet.pipeline.control_messages import LEARNER_PARTS, Barrier
from streamnet.pipeline.outputs import Champion, EmittedModel, ResumableSink, Sink
from streamnet.pipeline.parts import Part, TargetView
from streamnet.pipeline.reader import Reader
from streamnet.pipeline.recorder import Record, check_records
from streamnet.pipeline.rejections import Rejections
from streamnet.pipeline.stages import Encode, Evaluate, Feed, Serve, Stage, Train
from streamnet.pipeline.state import State
from streamnet.reporting.builder import RunTimes, build_leader_board, build_report
from streamnet.reporting.report import LeaderBoard, PipelineStatistics, Report
from streamnet.reporting.result import PartResult
from streamnet.samples import Schema
from streamnet.settings.execution import ExecutionSettings, ShardExecutor
from streamnet.settings.fields import build_settings
from streamnet.shards import ShardedLearner
from streamnet.sources.columns import format_names
from streamnet.validation import check_number

Prepare = Callable[[Learner, Schema], Sequence[Sink]]


def check_arguments(
    threads: object,
    shards: object,
    shard_executor: object,
    inline_seconds: object,
    state: object,
    start: object,
    rejections: object,
) -> None:
    """Check arguments of `Pipeline`."""
    execution = {"threads": threads, "shards": shards, "shard_executor": shard_executor}
    build_settings(ExecutionSettings, execution, "Pipeline")
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


def open_outputs(outputs: Iterable[ResumableSink], saved: StateDict | None) -> None:
    """Create the outputs, or truncate them to their length at a checkpoint."""
    for output in outputs:
        if saved is None:
            output.begin()
        elif output.name in saved["outputs"]:
            output.restore_state(saved["outputs"][output.name])
        else:
            output.begin_unsaved()


@final
@dataclass(frozen=True)
class RunOptions:
    """What the parts of a run have in common."""

    reader: Reader
    times: Callable[[], RunTimes]
    publish: Callable[[Champion], None]
    settings: dict[str, Any]
    threads: int
    shards: int
    shard_executor: ShardExecutor
    seed: int
    inline_seconds: float
    callbacks: Callbacks
    columns: Mapping[str, str]  # that are no features by what they are: weight, id


@final
class PartRun:
    """One part of a run; most runs have no other.

    Args:
        part: What it predicts.
        view: How it sees the stream.
        make: Makes its learner for a task.
        rejections: Where its rejected records go.
        sinks: Receive what is served.
        prepare: Called with learner and schema before the first sample; may return sinks.
        state: Where the run keeps its state.
        options: What all parts have in common.
    """

    def __init__(
        self,
        part: Part,
        view: TargetView,
        make: Callable[..., Learner],
        *,
        rejections: Rejections,
        sinks: list[Sink],
        prepare: Prepare | None,
        state: State | None,
        options: RunOptions,
    ) -> None:
        self.part = part
        self.view = view
        self.rejections = rejections
        self.sinks: list[Sink] = sinks
        self.learner: Learner | None = None
        self.schema: Schema | None = None
        self.stages: list[Stage[Any]] = []
        self.prepare: Prepare | None = prepare
        self._make, self._state, self._options = make, state, options
        self._record: Record | None = None
        self._follower: PartFollower | None = None
        self._emitted = 0  # models, where there is no state

    @property
    def emitted(self) -> int:
        """Models that were emitted so far."""
        return self._emitted if self._state is None else self._state.queues[self.name].emitted

    @property
    def next_block(self) -> Event:
        """Set once another block has passed all stages."""
        assert self._record is not None
        return self._record.next_block

    @property
    def name(self) -> str:
        """Its name; empty if the run has no other part."""
        return self.part.name

    def adopt(self, schema: Schema) -> Schema:
        """Take the schema of the source; returns its own."""
        self.schema = self.view.schema(schema)
        return self.schema

    def make_learner(self) -> Learner:
        """Make the learner, once the task is known."""
        assert self.schema is not None
        self.learner = self._make(task=self.schema.task)
        return self.learner

    def begin(self, saved: StateDict | None) -> Record:
        """Restore everything from a checkpoint; returns the last stage, with outputs to open.

        Args:
            saved: The state of this part, if the run resumes.
        """
        assert self.learner is not None
        assert self.schema is not None
        ledger = None if self._state is None else Ledger()
        if self._state is not None:
            self.learner.keep_rows_in(self._state.folder.generations.rows)
        if saved is not None:
            self.learner.restore_state(saved["learner"])
            self.rejections.limit.restore_state(saved["limit"])
            if ledger is not None:
                ledger.restore_state(saved["ledger"])
        if self.prepare is not None:
            self.sinks += check_sinks(self.prepare(self.learner, self.schema) or ())
        if callbacks := self._options.callbacks:
            self._follower = PartFollower(callbacks, self.learner, self.name, self.champion)
            self.sinks.append(self._follower)
        self._record = Record(
            self.rejections,
            self.sinks,
            ledger,
            publish=self._emit,
            state=self._state,
            part=self.name,
            inline_seconds=self._options.inline_seconds,
        )
        return self._record

    def complete_first(self, barrier: Barrier) -> None:
        """Complete the barrier before the first sample, while no stage is running."""
        learner, record = self.learner, self._record
        assert learner is not None
        assert record is not None
        barrier.encoder = learner.encoder.snapshot()
        state = learner.export_state()
        barrier.parts = {
            **{name: state[name] for name in LEARNER_PARTS},
            "limit": self.rejections.limit.export_state(),
            "emitted": 0,
        }
        record.complete(barrier)

    def shard(self) -> AbstractContextManager[object]:
        """A context in which its candidates are in shards, if there are to be any."""
        assert self.learner is not None
        options = self._options
        if not options.shards:
            return nullcontext()
        return ShardedLearner(self.learner, options.shards, options.shard_executor)

    def build_stages(self, feed: Feed) -> list[Stage[Any]]:
        """Build the stages of a run, behind what feeds them."""
        learner, seconds = self.learner, self._options.inline_seconds
        assert learner is not None
        assert self._record is not None
        threads, training = self._options.threads, seconds
        if self._options.shards:  # one thread waits for all, and never in the event loop
            threads, training = 1, NEVER_INLINE
        train = Train(learner.trainer, threads, training)
        self.stages = [
            Encode(
                learner.source,
                feed,
                self.rejections.limit,
                seconds,
                freezes=learner.encoder,
                keyed=learner.keyed,
            ),
            train,
            Evaluate(learner.evaluator, seconds),
            Serve(
                learner.serving,
                train.decide,
                learner.trainer.decisions,
                seconds,
                follow=self._follower and self._follower.note_round,
            ),
            self._record,
        ]
        return self.stages

    def finish(self, records: int) -> None:
        """Check that none of the records that it was given was lost; publish the last champion."""
        learner, reader = self.learner, self._options.reader
        assert learner is not None
        trainer = learner.trainer
        check_records(
            read=records, learned=trainer.number + trainer.labels, rejected=self.rejections.total
        )
        if trainer.number == 0:
            if reader.broken is None and not reader.stopped:
                raise self.rejections.nothing_learned_error()
            return
        with suppress(NoCandidateError):
            slot, snapshot = learner.best_snapshot()
            self._options.publish(self.champion(snapshot, learner.model_metadata(slot)))

    def _emit(self, snapshot: Snapshot) -> EmittedModel | None:
        self._options.publish(champion := self.champion(snapshot))
        self._emitted += 1
        return None if self._state is None else self._state.emit(champion)

    def champion(self, snapshot: Snapshot, more: dict[str, Any] | None = None) -> Champion:
        """The champion of a snapshot, with more metadata."""
        settings, serial, born = snapshot.member
        horizon = self.part.horizon
        about = {
            "candidate": serial,
            "born": born,
            "samples": snapshot.number,
            "seed": self._options.seed,
            **(more or {}),
            "target": self.schema and self.schema.target,
            **({} if horizon is None else {"horizon": horizon}),
        }
        if self.learner is not None:
            about |= self.learner.describe_absent()
        about |= self._options.columns
        return Champion(serial, settings, snapshot.number, about, snapshot, self.name)

    def result(self) -> PartResult:
        """Report and model.

        Raises:
            NoCandidateError: If nothing was learned, or no candidate has a finite network.
        """
        if self.learner is None:
            raise NoCandidateError("nothing was learned yet")
        slot, snapshot = self.learner.best_snapshot()
        champion = self.champion(snapshot, self.learner.model_metadata(slot))
        guests = self.learner.guests
        models = {} if guests is None else guests.models
        return PartResult(self.build_report().as_dict(), champion.model, guests=models)

    def build_report(self) -> Report:
        """The report of what was learned.

        Raises:
            NoCandidateError: If no sample could be learned.
        """
        if self.learner is None or self.schema is None:
            raise NoCandidateError("nothing was learned yet")
        return build_report(
            self.learner,
            target=self.schema.target,
            horizon=self.part.horizon,
            rejected=self.rejections.statistics(),
            times=self._options.times(),
            settings=self._options.settings,
            threads=self._options.threads,
        )

    def board(self) -> LeaderBoard | None:
        """Current scores and leaders; None before the first sample could be learned."""
        return None if self.learner is None else build_leader_board(self.learner)

    def statistics(self) -> PipelineStatistics:
        """Progress of the part."""
        learner, times, rejected = self.learner, self._options.times(), self.rejections.total
        champion = learner.serving.champion if learner else None
        samples = learner.trainer.number if learner else 0
        return PipelineStatistics(
            samples=samples,
            rejected=rejected,
            seconds=times.running,
            startup=times.startup,
            progress=self._options.reader.progress(samples + rejected),
            champion=champion.settings.describe() if champion else "",
            switches=learner.serving.selector.switched if learner else 0,
            waiting=tuple(stage.waiting for stage in self.stages),
            earlier=times.earlier,
            outputs=tuple(output.status() for output in self._record.sent) if self._record else (),
        )


@asynccontextmanager
async def enter_shards(runs: Iterable[PartRun]) -> AsyncIterator[None]:
    """Have the candidates of all parts in shards, if there are to be any, and back at the end."""
    with ExitStack() as stack:
        try:
            for run in runs:
                await to_thread.run_sync(stack.enter_context, run.shard())
            yield
        finally:
            with CancelScope(shield=True):
                await to_thread.run_sync(stack.close)


def build_part_runs(
    parts: Sequence[Part],
    given: Mapping[str, Any],
    *,
    rejections: Rejections,
    sinks: list[Sink],
    prepare: Prepare | None,
    state: State | None,
    options: RunOptions,
    guests: Mapping[str, Guest],
) -> list[PartRun]:
    """Build the parts of a run.

    Args:
        parts: What they predict.
        given: Arguments of their learners.
        rejections: Where rejected records go.
        sinks: Receive what the only part serves.
        prepare: Called for each part before the first sample.
        state: Where the run keeps its state.
        options: What all parts have in common.
        guests: Candidates beside the networks, of which each part has a copy.
    """
    if len(parts) > 1:
        names = format_names([part.name for part in parts])
        for name in ("sinks", "late_labels", "start"):
            if sinks if name == "sinks" else given[name]:
                raise ConfigurationError(f"{name} is given, but the run has the parts {names}")
        if state is not None:
            state.split({part.name: part.slug for part in parts})
    targets = list(dict.fromkeys(part.target for part in parts if part.target is not None))
    runs = []
    for number, part in enumerate(parts):
        own = {**given, **({} if part.horizon is None else {"horizon": part.horizon})}
        runs.append(
            PartRun(
                part,
                TargetView(part.target, targets if len(targets) > 1 else ()),
                partial(Learner, forecasts=True, guests=guests, **own),
                rejections=rejections if number == 0 else rejections.derive(part.place),
                sinks=sinks if number == 0 else [],
                prepare=prepare,
                state=state,
                options=options,
            )
        )
    return runs

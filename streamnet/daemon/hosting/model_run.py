"""One run of a model: journal, feeds, pipeline and publisher, new or from a model file."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, final

import numpy as np
from anyio import CancelScope, Event, create_task_group, sleep, to_thread

from streamnet.daemon.hosting.budgets import Budgets
from streamnet.daemon.hosting.events import EventLog, Monitor
from streamnet.daemon.hosting.feeder import QueueShare
from streamnet.daemon.hosting.feeds import Feeds
from streamnet.daemon.hosting.publishing import Publisher
from streamnet.daemon.hosting.timeline import Timeline
from streamnet.daemon.journal.committer import Committer
from streamnet.daemon.journal.intake import Intake
from streamnet.daemon.journal.segments import Journal
from streamnet.daemon.journal.source import JournalSource
from streamnet.durability.files import DISK, FileSystem
from streamnet.durability.state_directory import WriterLock
from streamnet.errors import ConfigurationError, ModelFileError, StreamnetError
from streamnet.keyed.rules import check_keyed
from streamnet.learning.learner import Learner
from streamnet.learning.serving import Served
from streamnet.learning.warmup import needs_compiling, warm_up
from streamnet.modelfiles.document import CONTRADICTIONS, verify_document
from streamnet.modelfiles.formats import SUFFIXES
from streamnet.modelfiles.model import Model
from streamnet.pipeline.concurrency import run_abandonable
from streamnet.pipeline.outputs import ResumableSink
from streamnet.pipeline.pipeline import Pipeline
from streamnet.pipeline.rejections import STATE_DEAD_LETTERS, Rejections, export_dead_letter
from streamnet.pipeline.state import State, StateStatistics
from streamnet.reporting.feature_drift import FeatureDrift
from streamnet.reporting.insight import RecentSamples
from streamnet.runs.builder import (
    CHANGEABLE_SOURCE_KEYS,
    build_columns,
    encoder_arguments,
    learner_arguments,
    pipeline_arguments,
)
from streamnet.runs.outputs import open_boxes, open_sinks
from streamnet.samples import Block, DeadLetter, Task, are_compatible
from streamnet.settings.daemon import READING_KEYS, ModelSettings, parse_model
from streamnet.settings.learning import build_learning_settings
from streamnet.settings.run import SourceSection
from streamnet.sinks.outbox import OutboxStatus

_LOG = logging.getLogger("streamnet.daemon")
_SOURCE_NAME = "the file"
# Tables that the model determines.
_PROVIDED_BY_MODEL = ("population", "encoder")


def decode_model(data: bytes, suffix: str) -> Model:
    """Decode a model file of a format given by its suffix.

    Raises:
        ModelFileError: If it is not a model file, damaged or of another version.
    """
    try:
        document = SUFFIXES[suffix].decode(data, _SOURCE_NAME)
        verify_document(document, _SOURCE_NAME)
        return Model.from_document(document, _SOURCE_NAME)
    except MemoryError as error:
        raise ModelFileError(f"{_SOURCE_NAME} does not fit into memory") from error


def build_settings(values: Mapping[str, Any], model: Model) -> ModelSettings:
    """Build the settings of a model that continues from another one.

    Target and task in ``values``, tables of a run file, default to those of the model.

    Raises:
        ConfigurationError: If keys are invalid, or determined by the model.
        ModelFileError: If learning can't continue from the model.
    """
    tables = {name: value for name, value in values.items() if value != {}}
    for name in _PROVIDED_BY_MODEL:
        if name in tables:
            raise ConfigurationError(f"{name} is given, but the model file determines it")
    source = tables.get("source", {})
    if isinstance(source, dict) and (target := model.about.get("target")) is not None:
        tables["source"] = {"target": target} | source
    settings = parse_model(tables)
    _check_start(settings, model)
    return settings


def _check_start(settings: ModelSettings, model: Model) -> None:
    """Check what would otherwise fail when the model starts."""
    task = settings.source.task or model.task
    known = {field.name for field in model.fields}
    (target,) = settings.source.targets
    if target in known:
        raise ConfigurationError(
            f"source.target is {target!r}, but that is an input of the model in the file"
        )
    try:
        with np.errstate(invalid="raise", over="raise"):
            Learner(task=task, start=model, **learner_arguments(settings))
            model.outputs([dict.fromkeys(name for name, _ in model.fields)])
    except StreamnetError:
        raise
    except CONTRADICTIONS as error:
        raise ModelFileError(f"learning can't continue from {_SOURCE_NAME}: {error!r}") from error


def apply_start(settings: ModelSettings, start: Model | None) -> ModelSettings:
    """Add the task of a start and the kinds of its columns to settings."""
    if start is None:
        return settings
    source = settings.source
    kinds = {field.name: field.kind for field in start.fields}
    for name in source.drop or ():
        if name in kinds:
            raise ConfigurationError(f"source.drop has {name!r}, but that is an input of the start")
    for name, kind in (source.kinds or {}).items():
        if not are_compatible(kind, kinds.get(name, kind)):
            raise ConfigurationError(
                f"source.kinds has {str(kind)!r} for {name!r}, but must be {str(kinds[name])!r}, "
                "as the start reads it"
            )
    update = {"task": source.task or start.task, "kinds": {**kinds, **(source.kinds or {})}}
    return settings.model_copy(update={"source": source.model_copy(update=update)})


_POLL_SECONDS = 0.05  # between checks for a first model
_KEPT_DEAD_LETTERS = 100
_TIMELINE_FILE = "timeline.json"


@final
class ModelRun:
    """The parts of a running model, and the folder of its files.

    ::

        journal/   what was received
        state/     checkpoints, models and rejected records, as of any run
        lock       held while a process uses the folder
        paused     exists while learning is paused

    The folder is created if absent; ``networks`` come from `network_arguments`.

    Raises:
        ConfigurationError: If settings contradict each other.
    """

    def __init__(
        self,
        folder: Path,
        settings: ModelSettings,
        networks: Mapping[str, Any],
        events: EventLog,
        *,
        files: FileSystem = DISK,
        budgets: Budgets | None = None,
    ) -> None:
        budgets = Budgets() if budgets is None else budgets
        self._name = folder.name
        start = networks.get("start")
        dtype = networks["dtype"] if start is None else start.dtype.name
        settings = apply_start(settings, start)
        check_keyed(build_learning_settings(_list_learning(settings)), start=start)
        limits, source = settings.intake, settings.source
        self._folder, self._files = folder, files
        self._has_start = start is not None
        self._warm_up = partial(warm_up, dtype=dtype, **encoder_arguments(settings))
        self._tasks = tuple(Task) if source.task is None else (source.task,)
        self.max_queued: int = limits.max_queued
        self.compiled: Event = Event()  # set once nothing that a request needs is to be compiled
        journal = Journal(folder / "journal", files=files, segment_bytes=limits.segment_bytes)
        build_intake = partial(
            Intake,
            source.targets[0],
            limits,
            source.task,
            window=settings.evaluation.window,
            fading=settings.evaluation.fading,
            weight=source.weight,
        )
        self.committer: Committer = Committer(journal, build_intake, budgets.commits)
        columns = build_columns(settings, start)
        self.source: JournalSource = JournalSource(
            journal,
            self.committer.wait_beyond,
            columns,
            budgets.learning,
            keeps_requests=settings.output.predictions is not None,
        )
        self.publisher: Publisher = Publisher(limits.publish_seconds, start, budgets.publishing)
        self.journal_output: _JournalOutput = _JournalOutput(journal, self.source.find_time)
        self.feature_drift: FeatureDrift = FeatureDrift()
        self.feeds: Feeds = Feeds(
            settings,
            columns,
            schema=lambda: self.source.schema,
            committer=self.committer,
            share=QueueShare(lambda: self.queued, limits.max_queued // 2),
            events=events,
        )
        self._output = settings.output
        self._boxes = open_boxes(settings.output.urls)
        files.make_dir(folder / "state")
        self._state = State(
            folder / "state",
            identity={"source": _identify_source(source)},
            files=files,
            budget=budgets.checkpoints,
            **settings.state.to_kwargs(),
        )
        self.pipeline: Pipeline = self._build_pipeline(settings, networks)
        self.monitor: Monitor = Monitor(
            self.pipeline,
            self._state,
            self.committer,
            events,
            predicted=lambda: self.publisher.predicted,
            queued=lambda: self.queued,
            timeline=Timeline(folder / "state" / _TIMELINE_FILE, files=files),
        )

    def _build_pipeline(self, settings: ModelSettings, networks: Mapping[str, Any]) -> Pipeline:
        source = settings.source
        # Senders must not stop a model by samples that can't be learned, unless a limit is set.
        is_limited = "max_rejected" in source.model_fields_set
        rejections = Rejections(
            self._folder / "state" / STATE_DEAD_LETTERS,
            most_bytes=settings.intake.dead_letters_bytes,
            files=self._files,
            find_time=self.source.find_time,
            share=source.max_rejected if is_limited else 1.0,
            window=source.rejected_window,
        )
        pipeline = Pipeline(
            self.source,
            rejections=rejections,
            sinks=(self.journal_output, _FeatureDriftSink(self.feature_drift)),
            prepare=self._open_sinks,
            settings=settings.model_dump(mode="json", exclude_unset=True),
            state=self._state,
            late_labels=True,
            **pipeline_arguments(settings, networks),
        )
        pipeline.keep_champions(0)  # nobody follows them here: outputs and files have them
        return pipeline

    def _open_sinks(self, *_: Any) -> Sequence[ResumableSink]:
        """The outputs that the run file sends somewhere."""
        return open_sinks(
            self._boxes,
            self.pipeline.parts[""],
            name=self._name,
            lineage=self._state.lineage,
            send_models=self._output.send_models,
            ids=True,
        )

    @property
    def outputs(self) -> tuple[OutboxStatus, ...]:
        """The condition of the outputs that are sent."""
        return self.pipeline.statistics().outputs

    def pause(self) -> None:
        """Learn nothing and read no feeds until `resume`."""
        self.source.pause()
        self.feeds.pause()

    def resume(self) -> None:
        """Learn and read again, also feeds that failed."""
        self.source.resume()
        self.feeds.resume()

    @property
    def queued(self) -> int:
        """Samples and labels accepted and not yet learned.

        Before the first label, predicted samples may not even have a task, and do not count.
        """
        intake = self.committer.intake
        if self.learner is None and self.has_learned_nothing:
            return intake.samples
        return max(0, intake.records - self.learned)

    @property
    def waits_for_target(self) -> bool:
        """Whether nothing is learned until a sample has the target: none in the journal does."""
        source = self.source
        return source.infers_task and source.consumed >= self.committer.intake.records

    def statistics(self) -> StateStatistics:
        """The condition of the state on disk."""
        return self._state.statistics()

    @property
    def learner(self) -> Learner | None:
        """What has learned; None until the state of earlier runs is restored."""
        return self.pipeline.learner if self.pipeline.ready.is_set() else None

    @property
    def has_learned_nothing(self) -> bool:
        """Whether there is no model, nor one that is being restored or about to be published."""
        if self.publisher.published is not None or not self.publisher.restored.is_set():
            return False
        return self.learner is None or not self.learner.serving.has_ranking

    @property
    def learned(self) -> int:
        """Records of the journal that were learned or rejected, as far as is known."""
        if self.learner is None:
            return self.committer.journal.samples_before
        trainer = self.learner.trainer
        return trainer.number + trainer.labels + self.pipeline.rejections.total

    async def run(
        self, opened: Callable[[], None], restored: Callable[[], None], stop: Event
    ) -> None:
        """Learn until ``stop``; then what was read is learned, what was accepted in the journal.

        Args:
            opened: Called once samples are accepted.
            restored: Called once the model of earlier runs, or a start, predicts; not called if
                there is neither.
            stop: Set it to end the run.

        Raises:
            StreamnetError: If the state or the journal can't be resumed, or another process uses
                the folder.
            OSError: If the disk fails at the start.
        """
        self._files.make_dir(self._folder / "journal")
        lock = WriterLock(self._folder, files=self._files)
        with closing(lock), closing(self.committer.journal):
            await self.committer.open()
            if not await to_thread.run_sync(self._has_history):
                self.publisher.restored.set()
            failure: BaseException | None = None
            async with create_task_group() as group:
                group.start_soon(self.committer.run)
                try:
                    opened()
                    await self._learn(restored, stop)
                except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - raised below
                    failure = error  # once what was accepted is in the journal
                finally:
                    self.committer.stop()
            if failure is not None:
                raise failure

    def _has_history(self) -> bool:
        return self._has_start or bool(self._state.folder.generations.numbers())

    async def _learn(self, restored: Callable[[], None], stop: Event) -> None:
        async with create_task_group() as group:
            if self._boxes:
                group.start_soon(self._abandon, stop, group.cancel_scope)
            await self._learn_until(restored, stop)
            group.cancel_scope.cancel()

    async def _abandon(self, stop: Event, scope: CancelScope) -> None:
        """Cancel learning that would end, but waits for a sink which takes nothing.

        What follows the last checkpoint is learned, and sent, when the model starts again.
        """
        await stop.wait()
        while not any(status.error for status in self.outputs):  # noqa: ASYNC110 - of a thread
            await sleep(_POLL_SECONDS)
        scope.cancel()

    async def _learn_until(self, restored: Callable[[], None], stop: Event) -> None:
        async with self.pipeline, create_task_group() as group:
            if self.publisher.restored.is_set():
                # The first sample of a new model need not wait; other models start with it.
                group.start_soon(self._warm_up_all)
            else:
                self.compiled.set()  # before the model is restored
            group.start_soon(self.publisher.run, self.pipeline, self.committer)
            group.start_soon(self.monitor.run)
            group.start_soon(self._call_when_restored, restored)
            group.start_soon(self.feeds.run)
            await stop.wait()
            group.cancel_scope.cancel()

    async def _call_when_restored(self, restored: Callable[[], None]) -> None:
        await self.publisher.restored.wait()
        restored()

    async def _warm_up_all(self) -> None:
        started = monotonic()
        extra = {"model": self._name}
        if slow := needs_compiling():
            _LOG.info("model %s: compiling", self._name, extra=extra)
        for task in self._tasks:
            await run_abandonable(partial(self._warm_up, task))
        if slow:
            seconds = monotonic() - started
            _LOG.info("model %s: compiled in %.0f s", self._name, seconds, extra=extra)
        self.compiled.set()


def _list_learning(settings: ModelSettings) -> dict[str, Any]:
    sections = settings.evaluation, settings.selection, settings.keys
    return {name: value for one in sections for name, value in one.to_kwargs().items()}


def _identify_source(source: SourceSection) -> dict[str, Any]:
    """What identifies a model's data; what is read and how may change."""
    changeable = {*READING_KEYS, *CHANGEABLE_SOURCE_KEYS}
    return SourceSection.model_construct(
        **{name: value for name, value in source if name not in changeable}
    ).model_dump(mode="json")


@final
class _JournalOutput(ResumableSink):
    """Syncs the journal before a checkpoint refers to it, and keeps what came last."""

    name = "journal"

    def __init__(
        self, journal: Journal, find_time: Callable[[Block, DeadLetter | None], float]
    ) -> None:
        # With the time when it was received.
        self.dead_letters: deque[tuple[DeadLetter, float]] = deque(maxlen=_KEPT_DEAD_LETTERS)
        self.recent: RecentSamples = RecentSamples()
        self._journal, self._find_time = journal, find_time

    def __call__(self, served: Served) -> None:
        self.recent(served)
        block = served.predicted.encoded.block
        for letter in block.rejected:
            self.dead_letters.append((letter, self._find_time(block, letter)))
        self._find_time(block, None)  # forget those of earlier blocks

    def begin(self) -> None:
        """Nothing to do: the journal exists."""

    def export_state(self) -> dict[str, Any]:
        """The dead letters; the journal's offset is part of the source's state."""
        return {
            "letters": [[export_dead_letter(letter), when] for letter, when in self.dead_letters]
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        self.dead_letters.extend((DeadLetter(*values), when) for values, when in state["letters"])

    def sync(self) -> None:
        self._journal.sync()


@final
class _FeatureDriftSink(ResumableSink):
    """Counts the values of each column."""

    name = "feature_drift"

    def __init__(self, drift: FeatureDrift) -> None:
        self._drift = drift

    def __call__(self, served: Served) -> None:
        self._drift.add(served.predicted.encoded.block)

    def begin(self) -> None:
        """Nothing to do: it has no file."""

    def export_state(self) -> dict[str, Any]:
        return self._drift.export_state()

    def restore_state(self, state: dict[str, Any]) -> None:
        self._drift.restore_state(state)

    def sync(self) -> None:
        """Nothing to do: all is in the checkpoint."""

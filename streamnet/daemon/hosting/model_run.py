"""One run of a hosted model, from its start to its stop, failure or reset."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, final

from anyio import Event, create_task_group, to_thread

from streamnet.daemon.hosting.events import EventLog, Monitor
from streamnet.daemon.hosting.feeder import Feeder
from streamnet.daemon.hosting.publisher import Publisher
from streamnet.daemon.hosting.warm_start import apply_start
from streamnet.daemon.journal.committer import Committer
from streamnet.daemon.journal.intake import Intake
from streamnet.daemon.journal.segments import Journal
from streamnet.daemon.journal.source import JournalSource
from streamnet.durability.files import DISK, FileSystem
from streamnet.durability.state_directory import WriterLock
from streamnet.learning.serving import Served
from streamnet.learning.warmup import warm_up
from streamnet.modelfiles.model import Model
from streamnet.pipeline.concurrency import run_abandonable
from streamnet.pipeline.outputs import ResumableSink
from streamnet.pipeline.pipeline import Pipeline
from streamnet.pipeline.rejections import (
    RejectionLimit,
    Rejections,
    export_dead_letter,
    restore_dead_letter,
)
from streamnet.pipeline.state import State
from streamnet.runs.builder import (
    CHANGEABLE_SOURCE_KEYS,
    STATE_DEAD_LETTERS,
    build_columns,
    build_source,
    check_source,
    encoder_arguments,
    search_arguments,
)
from streamnet.samples import DeadLetter, Task
from streamnet.settings.daemon import FILE_KEYS, ModelSettings
from streamnet.settings.sections import SourceSection

__all__ = ("ModelRun",)

MAX_QUEUED = 100_000
MAX_DEAD_LETTER_BYTES = 64 << 20  # of rejected records
_KEPT_DEAD_LETTERS = 100
_BOUND_NAMES = {name: name for name in ("max_pending", "max_age", "max_keys")}


@final
class ModelRun:
    """The parts of a model that learns, and the folder that it lives in.

    ::

        journal/   what came in
        state/     checkpoints, models and rejected records, as of any run
        lock       held while a process is at it
        paused     there while nothing is to be learned

    Args:
        folder: The model's folder; made if it is absent.
        settings: Of the model.
        networks: Who learns; see `networks_of`.
        events: Where it is told what happens.
        files: The file system.

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
    ) -> None:
        start = networks.get("start")
        dtype = networks["dtype"] if start is None else start.dtype.name
        settings = apply_start(settings, start)
        given, source = settings.intake.given(), settings.source
        self._folder, self._files = folder, files
        self._has_start = start is not None
        self._warm_up = partial(warm_up, dtype=dtype, **encoder_arguments(settings))
        self._tasks = tuple(Task) if source.task is None else (source.task,)
        self.max_queued = given.get("max_queued", MAX_QUEUED)
        segments = _select_given(given, segment_bytes="segment_bytes")
        journal = Journal(folder / "journal", files=files, **segments)
        intake = partial(Intake, target=str(source.target), **_select_given(given, **_BOUND_NAMES))
        self.committer = Committer(journal, intake)
        self.source = JournalSource(journal, self.committer.grown, build_columns(settings, start))
        self.journal_output = _JournalOutput(journal)
        self.feeder = self._feeder_of(settings, start, events) if source.files else None
        files.make_dir(folder / "state")
        self._state = State(
            folder / "state",
            identity={"source": _identify_source(source)},
            files=files,
            **settings.state.given(),
        )
        self.pipeline = self._pipeline_of(settings, networks)
        self.publication = Publisher(start=start, **_select_given(given, every="publish_seconds"))
        self.watch = Monitor(
            self.pipeline,
            self._state,
            self.committer,
            events,
            answered=lambda: self.publication.answered,
            queued=lambda: self.queued,
        )

    def _pipeline_of(self, settings: ModelSettings, networks: Mapping[str, Any]) -> Pipeline:
        source, given = settings.source, settings.intake.given()
        # A model must not be stopped by who sends what can't be learned, unless that is wanted.
        limited = "max_rejected" in source.model_fields_set
        rejections = Rejections(
            self._folder / "state" / STATE_DEAD_LETTERS,
            most_bytes=given.get("dead_letters_bytes", MAX_DEAD_LETTER_BYTES),
            files=self._files,
            share=source.max_rejected if limited else 1.0,
            window=source.rejected_window,
        )
        return Pipeline(
            self.source,
            rejections=rejections,
            sinks=(self.journal_output,),
            settings=settings.model_dump(mode="json", exclude_none=True),
            state=self._state,
            **settings.run.given(),
            **settings.evaluation.given(),
            **settings.selection.given(),
            **encoder_arguments(settings),
            evolution=search_arguments(settings),
            **networks,
        )

    def _feeder_of(self, settings: ModelSettings, start: Model | None, events: EventLog) -> Feeder:
        check_source(settings)
        source = settings.source
        return Feeder(
            partial(build_source, settings, start),
            self.committer,
            limit=lambda: RejectionLimit(share=source.max_rejected, window=source.rejected_window),
            queued=lambda: self.queued,
            most=self.max_queued,
            events=events,
        )

    @property
    def queued(self) -> int:
        """Samples that were accepted and not learned."""
        return max(0, self.committer.intake.samples - self.learned)

    @property
    def learned(self) -> int:
        """Samples of the journal that were learned or rejected, as far as is known."""
        learner = self.pipeline.learner
        if learner is None or not self.pipeline.ready.is_set():
            return self.committer.journal.samples_before
        return learner.trainer.number + self.pipeline.rejections.total

    async def run(
        self, opened: Callable[[], None], restored: Callable[[], None], until: Event
    ) -> None:
        """Learn until told.

        Args:
            opened: To be called when samples can be taken.
            restored: To be called when what was learned before, or a start, answers; not where
                there is neither.
            until: Ends it when set: what was read is learned, what was taken is in the journal.

        Raises:
            StreamnetError: If the state or the journal can't be gone on from, or another process
                is at it.
            OSError: If the disk fails at the start.
        """
        self._files.make_dir(self._folder / "journal")
        lock = WriterLock(self._folder, files=self._files)
        try:
            await self.committer.open()
            if not await to_thread.run_sync(self._has_begun):
                self.publication.restored.set()
            failure: BaseException | None = None
            async with create_task_group() as group:
                group.start_soon(self.committer.run)
                try:
                    opened()
                    await self._learn(restored, until)
                except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - raised below
                    failure = error  # once what was taken is in the journal
                finally:
                    self.committer.stop()
            if failure is not None:
                raise failure
        finally:
            self.committer.journal.close()
            lock.release()

    def _has_begun(self) -> bool:
        return self._has_start or bool(self._state.folder.generations.numbers())

    async def _learn(self, restored: Callable[[], None], until: Event) -> None:
        async with self.pipeline, create_task_group() as group:
            if self.committer.journal.samples == 0:
                # The first sample of a new model need not wait for this; others begin with it.
                group.start_soon(self._warm_up_all)
            group.start_soon(self.publication.run, self.pipeline, self.committer)
            group.start_soon(self.watch.run)
            group.start_soon(self._tell, restored)
            if self.feeder is not None:
                group.start_soon(self.feeder.run)
            await until.wait()
            group.cancel_scope.cancel()

    async def _tell(self, restored: Callable[[], None]) -> None:
        await self.publication.restored.wait()
        restored()

    async def _warm_up_all(self) -> None:
        for task in self._tasks:
            await run_abandonable(partial(self._warm_up, task))


def _select_given(given: Mapping[str, Any], **keys: str) -> dict[str, Any]:
    """Arguments by name of those keys that were given: all others have their defaults."""
    return {name: given[key] for name, key in keys.items() if key in given}


def _identify_source(source: SourceSection) -> dict[str, Any]:
    """What a model goes on with: which files there are, and how they are read, may change."""
    fed = {*FILE_KEYS, *CHANGEABLE_SOURCE_KEYS}
    return SourceSection.model_construct(
        **{name: value for name, value in source if name not in fed}
    ).model_dump(mode="json")


@final
class _JournalOutput(ResumableSink):
    """Puts the journal on the disk before a checkpoint that reaches into it, and keeps letters."""

    name = "journal"

    def __init__(self, journal: Journal) -> None:
        self.letters: deque[DeadLetter] = deque(
            maxlen=_KEPT_DEAD_LETTERS
        )  # the last rejected records
        self._journal = journal

    def __call__(self, served: Served) -> None:
        self.letters.extend(served.predicted.encoded.block.rejected)

    def begin(self) -> None:
        """Nothing to do: the journal is there."""

    def export_state(self) -> dict[str, Any]:
        """The letters; a place in the journal is a part of the source's state."""
        return {"letters": [export_dead_letter(letter) for letter in self.letters]}

    def restore_state(self, state: dict[str, Any]) -> None:
        # States of earlier releases have none.
        self.letters.extend(restore_dead_letter(values) for values in state.get("letters", ()))

    def sync(self) -> None:
        self._journal.sync()

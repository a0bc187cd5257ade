"""The feeds of a model: files and streams of its run file, which it learns besides what is sent."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, final

from anyio import Event, create_task_group, sleep, to_thread

from streamnet.client.schemas import Feed, FeedState
from streamnet.daemon.hosting.events import EventLog
from streamnet.daemon.hosting.feeder import (
    Feeder,
    LabelRecipient,
    QueueShare,
    Recipient,
    SampleRecipient,
)
from streamnet.daemon.journal.committer import Committer
from streamnet.errors import ReadError, StreamnetError
from streamnet.pipeline.rejections import RejectionLimit
from streamnet.runs.builder import check_source, open_source
from streamnet.samples import Field, Kind, Schema
from streamnet.settings.daemon import SOURCE_FEED, FeedSection, ModelSettings
from streamnet.settings.run import ReadingSection
from streamnet.sources.base import Source
from streamnet.sources.brokers.registry import list_streams
from streamnet.sources.columns import Columns
from streamnet.sources.wrappers import compute_pause

_LOG = logging.getLogger("streamnet.daemon")

_PARTITION_SECONDS = 60.0  # between looks for new partitions


@final
class Feeds:
    """All feeds of a model.

    Args:
        settings: Settings of the model.
        columns: What the columns of its samples mean.
        schema: Returns the schema of what was learned so far.
        committer: Committer of the journal.
        share: The share of the queue for all of them.
        events: Log for events.

    Raises:
        ConfigurationError: If settings contradict each other.
    """

    def __init__(
        self,
        settings: ModelSettings,
        columns: Columns,
        *,
        schema: Callable[[], Schema],
        committer: Committer,
        share: QueueShare,
        events: EventLog,
    ) -> None:
        self._columns = columns
        self._schema = schema
        self._committer = committer
        self._share = share
        self._events = events
        self._seed = settings.run.seed
        self._groups = [
            _FeedGroup(name, section, partial(self._build_feeder, section))
            for name, section in settings.feeds.items()
        ]
        for name, section in settings.feeds.items():
            check_source(section, name if name == SOURCE_FEED else f"feed.{name}")

    def describe(self) -> list[Feed]:
        """How far each is, and each of its streams."""
        return [feed for group in self._groups for feed in group.describe()]

    def pause(self) -> None:
        """Read nothing more until `resume`."""
        for group in self._groups:
            group.pause()

    def resume(self) -> None:
        """Read on, also after failures."""
        for group in self._groups:
            group.resume()

    async def run(self) -> None:
        """Read all of them until they end or it is cancelled."""
        async with create_task_group() as group:
            for one in self._groups:
                group.start_soon(one.run)

    def _build_feeder(self, declared: ReadingSection, name: str, section: ReadingSection) -> Feeder:
        recipient: Recipient = SampleRecipient()
        build: Callable[[], Columns] = self._build_columns
        if isinstance(declared, FeedSection) and declared.id is not None:
            recipient = LabelRecipient(declared.id)
            build = partial(self._build_label_columns, declared.id, declared.label)

        def build_source() -> Source:
            return open_source(section, build(), self._seed)

        return Feeder(
            name,
            build_source,
            recipient,
            self._committer,
            limit=lambda: RejectionLimit(
                share=section.max_rejected, window=section.rejected_window
            ),
            share=self._share,
            events=self._events,
        )

    def _build_columns(self) -> Columns:
        """The columns of samples, of the kinds that other feeds and senders have given them."""
        schema, columns = self._schema(), self._columns
        kinds = {field.name: field.kind for field in schema.fields}
        known = {name: kind for name, kind in kinds.items() if name not in columns.kinds}
        return replace(columns, known=known | dict(columns.known), task=columns.task or schema.task)

    def _build_label_columns(self, identity: str, label: str | None) -> Columns:
        """The columns of labels; all others are ignored."""
        columns, task = self._columns, self._columns.task or self._schema().task
        target = label or columns.target
        return Columns(
            target=target,
            task=task,
            schema=Schema((Field(identity, Kind.CATEGORY),), target, task),
            missing=columns.missing,
            thousands=columns.thousands,
            labels_required=True,
        )


@final
class _FeedGroup:
    """The streams of one feed: one, or the partitions of a topic, those that appear later too."""

    def __init__(
        self,
        name: str,
        section: ReadingSection,
        build_feeder: Callable[[str, ReadingSection], Feeder],
    ) -> None:
        self._name = name
        self._section = section
        self._build_feeder = build_feeder
        self._feeders: dict[str, Feeder] = {}
        self._failure: str | None = None  # why the streams can't be found
        self._failed = False  # until `resume`
        self._retry = Event()
        self._paused = False

    def describe(self) -> list[Feed]:
        if self._feeders:
            return [feeder.describe() for feeder in self._feeders.values()]
        state: FeedState = "failed" if self._failed else "reading"
        return [Feed(name=self._name, state=state, failure=self._failure)]

    def pause(self) -> None:
        self._paused = True
        for feeder in self._feeders.values():
            feeder.pause()

    def resume(self) -> None:
        self._paused = self._failed = False
        self._retry.set()
        for feeder in self._feeders.values():
            feeder.resume()

    async def run(self) -> None:
        """Read all streams until they end or it is cancelled."""
        async with create_task_group() as group:
            while True:
                sections = await self._find_streams()
                for name, section in sections.items():
                    if name not in self._feeders:
                        feeder = self._feeders[name] = self._build_feeder(name, section)
                        if self._paused:
                            feeder.pause()
                        group.start_soon(feeder.run)
                if all(section == self._section for section in sections.values()):
                    return  # the stream was given
                await sleep(_PARTITION_SECONDS)

    async def _find_streams(self) -> Mapping[str, ReadingSection]:
        """The streams by name; tries again while the broker is away."""
        failures = 0
        while True:
            try:
                found = await to_thread.run_sync(_split_streams, self._name, self._section)
            except ReadError as error:
                failures += 1
                self._failure = str(error)
                _LOG.warning("feed %s: %s", self._name, error)
                await sleep(compute_pause(failures))
            except StreamnetError as error:
                self._failure, self._failed, self._retry = str(error), True, Event()
                _LOG.error("feed %s: %s", self._name, error)
                await self._retry.wait()
            else:
                self._failure = None
                return found


def _split_streams(name: str, section: ReadingSection) -> dict[str, ReadingSection]:
    """The streams of a feed, by its name and theirs."""
    broker = section.broker
    if broker is None:
        return {name: section}
    given = getattr(section, broker)
    settings: dict[str, Any] = given.to_kwargs()
    return {
        f"{name}/{stream}" if stream else name: section
        if one == settings
        else section.model_copy(update={broker: type(given)(**one)})
        for stream, one in list_streams(broker, settings).items()
    }

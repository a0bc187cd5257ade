"""A member of a consumer group, shown to a person: a line for each of its partitions."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, final

import anyio
from anyio import CancelScope
from rich.live import Live

from streamnet.cli.terminal import Terminal, escape_text, write_error
from streamnet.cli.views.run import status_line
from streamnet.cli.views.tables import format_count, new_grid
from streamnet.cli.views.watcher import (
    LINE_FRACTION,
    MAX_LINE_SECONDS,
    MIN_LINE_SECONDS,
    REFRESH_SECONDS,
    SHUTDOWN_SECONDS,
    SIGNAL_EXIT_CODE,
    Watcher,
)
from streamnet.errors import StreamnetError
from streamnet.pipeline.callbacks import Callback
from streamnet.runs.group import GroupRun, PartitionStatus
from streamnet.settings.run import RunSettings
from streamnet.version import __version__


def watch_group(settings: RunSettings, *, quiet: bool, reload: Callable[[GroupRun], str]) -> int:
    """Be a member of a group until a signal, displaying progress, and return the exit code.

    The first signal gives up all partitions, each with a last checkpoint; the second one aborts.
    SIGHUP calls ``reload`` and prints its message.
    """
    logging.getLogger("streamnet").addHandler(logging.NullHandler())
    return _GroupWatcher(settings, quiet=quiet, reload=reload).watch()


@final
class _FreezeStartup(Callback):
    def on_start(self, settings: Mapping[str, Any]) -> None:
        """Exclude objects made at startup from garbage collection, which takes 50 ms each time."""
        del settings
        gc.freeze()


@final
class _GroupWatcher(Watcher):
    stopping_message = "stopping after learning what was read; repeat to abort"

    def __init__(
        self, settings: RunSettings, *, quiet: bool, reload: Callable[[GroupRun], str]
    ) -> None:
        super().__init__(Terminal(), quiet=quiet)
        self._reload = reload
        self._group = GroupRun(settings, say=self._say, callbacks=[_FreezeStartup()])

    def _say(self, text: str) -> None:
        if not self.quiet:
            self.terminal.say(escape_text(text))

    def watch(self) -> int:
        """Take part, and return the exit code."""
        kafka = self._group.settings.source.kafka
        assert kafka is not None
        self._say(f"streamnet {__version__} joins group {kafka.group}, topic {kafka.topic}")
        failure = self.run(self._group.run, hang_up=True)
        if self.aborted:
            raise KeyboardInterrupt
        if failure is not None:
            raise failure
        if self.output_error is not None:
            raise self.output_error
        return SIGNAL_EXIT_CODE + self.signal

    def on_stop_requested(self, scope: CancelScope) -> None:
        """Leave what is not done in time to those who take over."""
        scope.deadline = anyio.current_time() + SHUTDOWN_SECONDS

    def stop(self) -> None:
        """Leave the group."""
        self._group.stop()

    def reload(self) -> None:
        """Apply settings that may change."""
        try:
            write_error(self._reload(self._group))
        except StreamnetError as error:
            write_error(f"refused: {error}")

    async def live(self) -> None:
        """Keep a table of partitions up to date."""
        with Live(console=self.terminal, auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                rows = [(str(one.number), _describe(one)) for one in self._group.list_partitions()]
                live.update(new_grid(*rows or [("", "no partition")]), refresh=True)
                await anyio.sleep(REFRESH_SECONDS)

    async def lines(self) -> None:
        """Print a line for each partition from time to time."""
        begun = monotonic()
        while True:
            seconds = LINE_FRACTION * (monotonic() - begun)
            await anyio.sleep(min(max(MIN_LINE_SECONDS, seconds), MAX_LINE_SECONDS))
            found = self._group.list_partitions()
            self.terminal.say(format_count(len(found), "partition"))
            for one in found:
                self.terminal.say(f"{one.number:>5} {_describe(one)}")


def _describe(one: PartitionStatus) -> str:
    if one.is_ready:
        assert one.replay is not None
        return status_line(one.replay.pipeline)
    return escape_text(one.waits_for) or "waits for its first messages"

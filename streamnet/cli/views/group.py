"""A member of a consumer group, shown to a person: a line for each of its partitions."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import anyio
from anyio import CancelScope

from streamnet.cli.terminal import Terminal, escape_text, write_error
from streamnet.cli.views.run import status_line
from streamnet.cli.views.tables import format_count
from streamnet.cli.views.watcher import SHUTDOWN_SECONDS, SIGNAL_EXIT_CODE, TableWatcher
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
class _GroupWatcher(TableWatcher):
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

    def list_rows(self) -> Sequence[Sequence[str]]:
        """A row for each partition."""
        rows = [(str(one.number), _describe(one)) for one in self._group.list_partitions()]
        return rows or [("", "no partition")]

    def say_rows(self) -> None:
        """Print a line for each partition."""
        found = self._group.list_partitions()
        self.terminal.say(format_count(len(found), "partition"))
        for one in found:
            self.terminal.say(f"{one.number:>5} {_describe(one)}")


def _describe(one: PartitionStatus) -> str:
    if one.is_ready:
        assert one.replay is not None
        return status_line(one.replay.pipeline)
    return escape_text(one.waits_for) or "waits for its first messages"

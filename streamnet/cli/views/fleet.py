"""A fleet of owners, shown to a person: a line for each of them, and a table at the end."""

from __future__ import annotations

from collections.abc import Sequence
from time import time
from typing import final

import anyio
from anyio import CancelScope
from rich.text import Text

from streamnet.cli.terminal import Terminal, escape_text, write_error
from streamnet.cli.views.tables import format_count, format_duration, new_table
from streamnet.cli.views.watcher import SHUTDOWN_SECONDS, SIGNAL_EXIT_CODE, TableWatcher
from streamnet.metrics.formulas import format_number
from streamnet.runs.fleet import FleetResult, FleetRun
from streamnet.runs.fleet_status import FleetStatus, OwnerStatus
from streamnet.settings.run import RunSettings
from streamnet.version import __version__

_COUNTS = "learned", "rejected", "keys"
_MAX_METRICS = 4


def watch_fleet(settings: RunSettings, *, resume: bool, quiet: bool, hang_up: bool = False) -> int:
    """Have owners learn the partitions of a stream, displaying progress; returns the exit code.

    The first signal ends reading, and each partition gets a last checkpoint; the second one aborts.
    With ``hang_up``, SIGHUP is answered with how to change settings, rather than ending the run.
    """
    return _FleetWatcher(settings, resume=resume, quiet=quiet).watch(hang_up=hang_up)


@final
class _FleetWatcher(TableWatcher):
    stopping_message = "stopping after learning what was read; repeat to abort"

    def __init__(self, settings: RunSettings, *, resume: bool, quiet: bool) -> None:
        super().__init__(Terminal(), quiet=quiet)
        self._fleet = FleetRun(settings, resume=resume, say=self._say)

    def _say(self, text: str) -> None:
        if not self.quiet:
            self.terminal.say(escape_text(text))

    def watch(self, *, hang_up: bool) -> int:
        """Run to the end, print the table, and return the exit code."""
        fleet = self._fleet.settings.fleet
        owners = format_count(fleet.owners, "owner")
        partitions = format_count(fleet.partitions, "partition")
        self._say(f"streamnet {__version__}: {owners} for {partitions} of the keys")
        failure = self.run(self._fleet.run, hang_up=hang_up)
        if self.aborted:
            raise KeyboardInterrupt
        if failure is not None:
            raise failure
        if self.output_error is not None:
            raise self.output_error
        if self._fleet.result is not None and not self.quiet:
            self._show(self._fleet.result)
        return SIGNAL_EXIT_CODE + self.signal if self.signal else 0

    def _show(self, result: FleetResult) -> None:
        rows = result.table
        if not rows:
            return
        about = ["partition", "part"] if any(row["part"] for row in rows) else ["partition"]
        shown = [*about, *_COUNTS]
        others = ("partition", "part", "samples", *_COUNTS)
        names = dict.fromkeys(name for row in rows for name in row if name not in others)
        metrics = list(names)[:_MAX_METRICS]
        table = new_table(*shown, *metrics, left=len(about))
        for row in rows:
            cells = [escape_text(str(row[name])) for name in about]
            cells += [f"{row[name]:,}" for name in _COUNTS]
            cells += [format_number(row.get(name)) for name in metrics]
            table.add_row(*map(Text, cells))
        self.terminal.print(table)

    def on_stop_requested(self, scope: CancelScope) -> None:
        """Leave what is not done in time to the next run."""
        scope.deadline = anyio.current_time() + SHUTDOWN_SECONDS

    def reload(self) -> None:
        """Say how settings can be changed."""
        write_error("a run with owners does not reload its run file: stop it, and start it again")

    def stop(self) -> None:
        """End reading."""
        self._fleet.stop()

    def list_rows(self) -> Sequence[Sequence[str]]:
        """A row for each owner."""
        return [_describe(one) for one in self._fleet.list_owners()] or [("", "no owner")]

    def say_rows(self) -> None:
        """Print a line for each owner."""
        for one in self._fleet.list_owners():
            self.terminal.say("  ".join(_describe(one)))


def _describe(owner: OwnerStatus) -> tuple[str, ...]:
    """An owner in words: its partitions, and what they have learned."""
    name = f"owner {owner.number}"
    if not owner.is_ready:
        return name, "starts"
    running = [one for one in owner.partitions if one.phase in ("waiting", "learning")]
    if not running:
        return name, "is done" if owner.partitions else "has no partition"
    total = owner.partitions
    numbers = ", ".join(str(one.number) for one in running)
    words: tuple[str, ...] = (
        name,
        f"{'partition' if len(running) == 1 else 'partitions'} {numbers}",
        format_count(sum(one.samples for one in total), "sample"),
        format_count(sum(one.keys for one in total), "key"),
    )
    ages = [one.age for one in running if one.age is not None]
    if ages:
        words += (f"oldest checkpoint {format_duration(max(ages))}",)
    waits = next((one.message for one in running if one.message), "")
    return (*words, escape_text(waits)) if waits else words


def show_fleet(status: FleetStatus, name: str) -> None:
    """Print which owner has which partitions, and what they have learned."""
    owners = format_count(len(status.owners), "owner")
    age = format_duration(max(0.0, time() - status.written))
    terminal = Terminal()
    terminal.say(
        f"{escape_text(name)}: {owners} of {format_count(status.partitions, 'partition')}, "
        f"as of {age} ago"
    )
    table = new_table(
        *("owner", "partition", "", "samples", "keys", "score", "saved", "age"), left=3
    )
    for owner in status.owners:
        title = f"{owner.number}" + (
            f" (replaced {format_count(owner.replaced, 'time')})" if owner.replaced else ""
        )
        for one in owner.partitions:
            score = "-" if one.score is None else f"{one.metric} {format_number(one.score)}"
            table.add_row(
                *(title, str(one.number), one.phase, f"{one.samples:,}", f"{one.keys:,}", score),
                *(f"{one.saved:,}", "-" if one.age is None else format_duration(one.age)),
            )
        if not owner.partitions:
            table.add_row(title, "-", "has none" if owner.is_ready else "starts")
    terminal.print(table)

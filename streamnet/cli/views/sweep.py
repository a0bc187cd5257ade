"""A sweep, shown to a person: a line for each run, and a table of all."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean, stdev
from typing import Any, final

from rich.text import Text

from streamnet.cli.terminal import Terminal, escape_text
from streamnet.cli.views.tables import format_duration, new_table
from streamnet.metrics.formulas import format_number
from streamnet.runs.sweep import Finished, Sweep

_MAX_METRICS = 4  # in a table; the file has all of them


@final
class SweepView:
    """Shows the runs of a sweep as they end.

    Args:
        terminal: Where it is shown.
        count: Number of runs.
        quiet: Whether nothing is shown.
    """

    def __init__(self, terminal: Terminal, count: int, *, quiet: bool) -> None:
        self.done: int = 0  # without those that failed
        self.seen: int = 0
        self._terminal, self._count, self._quiet = terminal, count, quiet
        self._sign = "+-" if terminal.plain else "±"

    def add(self, one: Finished) -> None:
        """Print a line on a run that ended."""
        self.done += not one.error
        if self._quiet:
            return
        run = one.run
        names = _shorten(list(run.values))
        values = (f"{n} {value}" for n, value in zip(names, run.values.values(), strict=True))
        words = ", ".join((run.file, f"seed {run.seed}", *values))
        how = "is there" if one.earlier else f"took {format_duration(one.seconds)}"
        self.seen += 1
        place = f"{self.seen}/{self._count}"
        self._terminal.say(f"{place} {escape_text(words)}: {'failed' if one.error else how}")

    def show(self, sweep: Sweep) -> None:
        """Print the table, and the means over seeds if there are several."""
        if self._quiet:
            return
        rows, metrics = sweep.table, sweep.metrics[:_MAX_METRICS]
        about = [name for name in ("file", "part", "seed", *sweep.varied) if name in rows[0]]
        if len({row["file"] for row in rows}) == 1:
            about.remove("file")
        table = new_table(*_shorten(about), *metrics, "", left=len(about))
        for row in rows:
            cells = [escape_text(str(row.get(name, ""))) for name in about]
            cells += [format_number(row.get(name)) for name in metrics]
            table.add_row(*map(Text, (*cells, "failed" if row["error"] else "")))
        self._terminal.print()
        self._terminal.print(table)
        self._show_means(rows, [name for name in about if name != "seed"], metrics)

    def _show_means(self, rows: list[dict[str, Any]], about: list[str], metrics: list[str]) -> None:
        groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for row in rows:
            if not row["error"]:
                groups.setdefault(tuple(str(row.get(n, "")) for n in about), []).append(row)
        if max(map(len, groups.values()), default=0) < 2:
            return
        table = new_table(*_shorten(about), "seeds", *metrics, left=len(about))
        for names, group in groups.items():
            cells = [self._format_mean(row.get(name) for row in group) for name in metrics]
            table.add_row(*map(Text, (*map(escape_text, names), str(len(group)), *cells)))
        self._terminal.say(f"\nmeans over seeds {self._sign} standard deviation")
        self._terminal.print(table)

    def _format_mean(self, values: Iterator[float | None]) -> str:
        known = [value for value in values if value is not None]
        if not known:
            return "-"
        if len(known) == 1:
            return format_number(known[0])
        return f"{format_number(fmean(known))} {self._sign} {format_number(stdev(known))}"


def _shorten(names: list[str]) -> list[str]:
    """Names of settings without their table."""
    return [name.rpartition(".")[2] for name in names]

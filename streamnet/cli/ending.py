"""What a run came to, for a person."""

from __future__ import annotations

from typing import Any

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from streamnet.cli.figures import number
from streamnet.cli.figures import plural
from streamnet.cli.summaries import measures_table
from streamnet.cli.terminal import printable
from streamnet.cli.view import WIDE
from streamnet.pipeline.report import Result
from streamnet.replaying import Replay

__all__ = ("ending",)

_SHOWN = {
    "classification": ("accuracy", "balanced_accuracy", "kappa", "log_loss"),
    "regression": ("mae", "rmse", "r2"),
}


def ending(run: Replay, result: Result, width: int = WIDE) -> Padding:
    """The summary of a run, for so many columns."""
    report: dict[str, Any] = result.report
    learned = Table.grid(padding=(0, 2))
    learned.add_row("learned", _learned(report, run.pipeline.statistics().earlier))
    if width < WIDE:
        rest = Table.grid(padding=(0, 2))
        _add_rest(rest, run, result)
        return Padding(Group(learned, "", _narrow_measures(report), "", rest), (1, 0, 0, 0))
    learned.add_row("", "")
    learned.add_row("", _measures(report))
    learned.add_row("", "")
    _add_rest(learned, run, result)
    return Padding(learned, (1, 0, 0, 0), expand=False)


def _add_rest(table: Table, run: Replay, result: Result) -> None:
    report = result.report
    if report["champion"] is not None:
        table.add_row("champion", _champion(result))
    if len(result.model.labels) == 1:
        only = printable(result.model.labels[0])
        table.add_row("note", f"the target has one value only, {only!r}: there is nothing to tell")
    if report["rejected"]:
        what = plural(report["rejected"], "record")
        but = (
            f", but {lost:,} for which it had no room"
            if (lost := report["rejected_not_kept"])
            else ""
        )
        table.add_row("rejected", f"{what}, kept in {run.rejections.path}{but}")
    for name in ("model", "predictions", "report"):
        if path := getattr(run.settings.output, name):
            table.add_row(name, Text(printable(path)))


def _learned(report: dict[str, Any], earlier: int) -> str:
    rate = report["samples_per_second"] or 0.0
    now = f", {report['learned'] - earlier:,} of them" if earlier else ""
    return (
        f"{plural(report['learned'], 'sample')}{now} in {report['seconds']:.2f} s ({rate:,.0f}/s), "
        f"after {report['startup_seconds']:.1f} s to start"
    )


def _measures(report: dict[str, Any]) -> Table:
    names = _SHOWN[report["task"]]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("")
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for who, measures in _by_who(report).items():
        cells = [number(measures[name]) for name in names]
        style = "bold green" if who == "served" else ""
        table.add_row(who.replace("_", "-"), *cells, style=style)
    return table


def _narrow_measures(report: dict[str, Any]) -> Table:
    names = _SHOWN[report["task"]]
    by_who = _by_who(report)
    return measures_table({who: {n: by_who[who][n] for n in names} for who in by_who})


def _by_who(report: dict[str, Any]) -> dict[str, dict[str, float | None]]:
    return {"served": report["served"], **report["baselines"]}


def _champion(result: Result) -> str:
    report = result.report
    return (
        f"#{report['champion']['candidate']} {result.model.settings.describe()}, since sample "
        f"{report['champion']['since']:,}, after {plural(report['switches'], 'switch')}"
    )

"""What a run came to, for a person."""

from __future__ import annotations

from typing import Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from streamnet.cli.figures import number
from streamnet.cli.figures import plural
from streamnet.cli.terminal import printable
from streamnet.pipeline.pipeline import Result
from streamnet.replaying import Replay

__all__ = ("ending",)

_SHOWN = {
    "classification": ("accuracy", "balanced_accuracy", "kappa", "log_loss"),
    "regression": ("mae", "rmse", "r2"),
}


def ending(run: Replay, result: Result) -> Padding:
    """The summary of a run."""
    report: dict[str, Any] = result.report
    table = Table.grid(padding=(0, 2))
    table.add_row("learned", _learned(report))
    table.add_row("", "")
    names = _SHOWN[report["task"]]
    table.add_row("", _measures(names, report))
    table.add_row("", "")
    if report["champion"] is not None:
        table.add_row("champion", _champion(result))
    if len(result.model.labels) == 1:
        only = printable(result.model.labels[0])
        table.add_row("note", f"the target has one value only, {only!r}: there is nothing to tell")
    if report["rejected"]:
        what = plural(report["rejected"], "record")
        table.add_row("rejected", f"{what}, kept in {run.rejections.path}")
    for name in ("model", "predictions", "report"):
        if path := getattr(run.settings.output, name):
            table.add_row(name, Text(printable(path)))
    return Padding(table, (1, 0, 0, 0), expand=False)


def _learned(report: dict[str, Any]) -> str:
    rate = report["samples_per_second"] or 0.0
    return (
        f"{plural(report['learned'], 'sample')} in {report['seconds']:.2f} s ({rate:,.0f}/s), "
        f"after {report['startup_seconds']:.1f} s to start"
    )


def _measures(names: tuple[str, ...], report: dict[str, Any]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("")
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for who, measures in {"served": report["served"], **report["baselines"]}.items():
        cells = [number(measures[name]) for name in names]
        style = "bold green" if who == "served" else ""
        table.add_row(who.replace("_", "-"), *cells, style=style)
    return table


def _champion(result: Result) -> str:
    report = result.report
    return (
        f"#{report['champion']['candidate']} {result.model.settings.describe()}, since sample "
        f"{report['champion']['since']:,}, after {plural(report['switches'], 'switch')}"
    )

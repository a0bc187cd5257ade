"""A state directory, shown to a person."""

from __future__ import annotations

from pathlib import Path

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from streamnet.cli.figures import plural
from streamnet.cli.terminal import Terminal
from streamnet.cli.terminal import printable
from streamnet.pipeline.standing import Standing
from streamnet.pipeline.standing import standing_of

__all__ = ("show_standing",)


def show_standing(path: Path) -> None:
    """Print what a state directory holds.

    Raises:
        StateError: If it is none, or nothing in it can be used.
    """
    standing = standing_of(path)
    tree = standing.tree
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_row("state", Text(printable(str(path))))
    table.add_row("lineage", tree["lineage"])
    table.add_row("writer", standing.writer or "none")
    table.add_row("position", Text(_position(standing)))
    counts = standing.counts
    table.add_row("records", ", ".join(f"{count:,} {name}" for name, count in counts.items()))
    table.add_row("ledger", tree["ledger"]["value"])
    table.add_row("model", _model(standing))
    table.add_row("", "")
    table.add_row("generations", _generations(standing))
    table.add_row("", "")
    table.add_row("limits", _caps(standing))
    Terminal().print(Padding(table, 0, expand=False))


def _position(standing: Standing) -> str:
    position = standing.tree["reading"]["position"]
    if position is None:
        return "at the start"
    source, offset, record, line = position
    where = f"line {line:,}" if line else f"record {record:,}"
    return f"{printable(source)}, before {where} (offset {offset:,})"


def _model(standing: Standing) -> str:
    current = standing.current
    if current is None:
        return "none was emitted yet"
    return f"{current.file}, after {plural(current.samples, 'sample')}"


def _generations(standing: Standing) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("number", justify="right")
    table.add_column("samples", justify="right")
    table.add_column("bytes", justify="right")
    table.add_column("")
    for view in standing.generations:
        samples = "-" if view.samples is None else f"{view.samples:,}"
        table.add_row(str(view.number), samples, f"{view.size:,}", Text(printable(view.damage)))
    return table


def _caps(standing: Standing) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("")
    table.add_column("used", justify="right")
    table.add_column("most", justify="right")
    for cap in standing.caps:
        table.add_row(Text(printable(cap.name)), f"{cap.used:,}", f"{cap.most:,}")
    return table

"""A state directory, shown to a person."""

from __future__ import annotations

from pathlib import Path

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from streamnet.cli.terminal import Terminal, escape_text
from streamnet.cli.views.tables import format_count
from streamnet.pipeline.maintenance import StateStatus, read_state_status

__all__ = ("show_state",)


def show_state(path: Path) -> None:
    """Print what a state directory holds.

    Raises:
        StateError: If it is none, or nothing in it can be used.
    """
    standing = read_state_status(path)
    tree = standing.tree
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_row("state", Text(escape_text(str(path))))
    table.add_row("lineage", tree["lineage"])
    table.add_row("writer", standing.writer or "none")
    table.add_row("position", Text(_format_position(standing)))
    counts = standing.counts
    table.add_row("records", ", ".join(f"{count:,} {name}" for name, count in counts.items()))
    table.add_row("ledger", tree["ledger"]["value"])
    table.add_row("model", _format_model(standing))
    table.add_row("", "")
    table.add_row("generations", _generations_table(standing))
    table.add_row("", "")
    table.add_row("limits", _limits_table(standing))
    Terminal().print(Padding(table, 0, expand=False))


def _format_position(standing: StateStatus) -> str:
    position = standing.tree["reading"]["position"]
    if position is None:
        return "at the start"
    source, offset, record, line = position
    where = f"line {line:,}" if line else f"record {record:,}"
    return f"{escape_text(source)}, before {where} (offset {offset:,})"


def _format_model(standing: StateStatus) -> str:
    current = standing.current
    if current is None:
        return "none was emitted yet"
    return f"{current.file}, after {format_count(current.samples, 'sample')}"


def _generations_table(standing: StateStatus) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("number", justify="right")
    table.add_column("samples", justify="right")
    table.add_column("bytes", justify="right")
    table.add_column("")
    for view in standing.generations:
        samples = "-" if view.samples is None else f"{view.samples:,}"
        table.add_row(str(view.number), samples, f"{view.size:,}", Text(escape_text(view.damage)))
    return table


def _limits_table(standing: StateStatus) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("")
    table.add_column("used", justify="right")
    table.add_column("most", justify="right")
    for cap in standing.caps:
        table.add_row(Text(escape_text(cap.name)), f"{cap.used:,}", f"{cap.most:,}")
    return table

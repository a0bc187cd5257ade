"""A state directory, shown to a person: its status and its dead letters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from streamnet.cli.terminal import Terminal, escape_text, write_error
from streamnet.cli.views.tables import format_count, new_table
from streamnet.errors import ConfigurationError
from streamnet.pipeline.maintenance import StateStatus, read_state_status
from streamnet.pipeline.rejections import export_dead_letters, read_dead_letters

_NO_DEAD_LETTERS = "no record was rejected"


def show_state(path: Path) -> None:
    """Print the status of a state directory.

    Raises:
        StateError: If it is not a state directory, or is too damaged to resume from.
    """
    status = read_state_status(path)
    tree = status.tree
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_row("state", Text(escape_text(str(path))))
    table.add_row("lineage", tree["lineage"])
    table.add_row("writer", status.writer or "none")
    table.add_row("position", Text(_format_position(status)))
    counts = status.counts
    table.add_row("records", ", ".join(f"{count:,} {name}" for name, count in counts.items()))
    table.add_row("ledger", tree["ledger"]["value"])
    table.add_row("model", _format_model(status))
    table.add_row("", "")
    table.add_row("generations", _generations_table(status))
    table.add_row("", "")
    table.add_row("limits", _limits_table(status))
    Terminal().print(Padding(table, 0, expand=False))


def _format_position(status: StateStatus) -> str:
    position = status.tree["reading"]["position"]
    if position is None:
        return "at the start"
    source, offset, record, line = position
    where = f"line {line:,}" if line else f"record {record:,}"
    return f"{escape_text(source)}, before {where} (offset {offset:,})"


def _format_model(status: StateStatus) -> str:
    current = status.current
    if current is None:
        return "none published yet"
    return f"{current.file}, after {format_count(current.samples, 'sample')}"


def _generations_table(status: StateStatus) -> Table:
    table = new_table("number", "samples", "bytes", left=0)
    table.add_column("")
    for generation in status.generations:
        table.add_row(
            str(generation.number),
            "-" if generation.samples is None else f"{generation.samples:,}",
            f"{generation.size:,}",
            Text(escape_text(generation.damage)),
        )
    return table


def _limits_table(status: StateStatus) -> Table:
    table = new_table("", "used", "maximum")
    for cap in status.caps:
        table.add_row(Text(escape_text(cap.name)), f"{cap.used:,}", f"{cap.most:,}")
    return table


def list_dead_letters(folder: Path) -> None:
    """Print a line for each rejected record.

    Raises:
        StateError: If the directory holds no state, or its dead letters are damaged.
    """
    terminal = Terminal()
    count = 0
    for count, letter in enumerate(read_dead_letters(folder), start=1):
        place = _format_place(letter)
        terminal.say(escape_text(f"{count}  {place}  {letter['reason']}  {letter['detail']}"))
    if not count:
        terminal.say(_NO_DEAD_LETTERS)


def show_dead_letter(folder: Path, number: int | None) -> None:
    """Print everything that is known about a rejected record.

    Raises:
        ConfigurationError: If there is no record with that number.
        StateError: As for `list_dead_letters`.
    """
    if number is None:
        raise ConfigurationError("NUMBER is missing: which record should be shown?")
    count = 0
    for count, letter in enumerate(read_dead_letters(folder), start=1):
        if count == number:
            table = Table.grid(padding=(0, 2))
            for name, value in letter.items():
                table.add_row(name, Text(escape_text(str(value))))
            Terminal().print(table)
            return
    if not count:
        raise ConfigurationError(f"NUMBER is {number}, but {_NO_DEAD_LETTERS}")
    raise ConfigurationError(f"NUMBER is {number}, but must be from 1 to {count}")


def write_dead_letters(folder: Path, to: Path | None) -> None:
    """Write rejected records to a new file as they were, and print what was left out.

    Raises:
        ConfigurationError: If no file is given, or it can't be created.
        StateError: As for `export_dead_letters`.
    """
    if to is None:
        raise ConfigurationError("--to is missing: which file should the records be written to?")
    exported = export_dead_letters(folder, to)
    for count, thing, why in (
        (exported.gaps, "gap", "only the beginning of what was lost is kept"),
        (exported.labels, "record", "of those with one label too many, only the label is kept"),
        (exported.truncated, "record", "only the beginning of long records is kept"),
        (
            exported.ambiguous,
            "record",
            "their files have the columns in another order, and which value is whose is ambiguous",
        ),
    ):
        if count:
            write_error(f"{format_count(count, thing)} left out: {why}")
    terminal = Terminal()
    terminal.say(f"{format_count(exported.written, 'record')} written to {escape_text(str(to))}")


def _format_place(letter: Mapping[str, Any]) -> str:
    place = f"line {letter['line']}" if letter["line"] else f"record at {letter['offset']}"
    return f"{letter['source']}, {place}"

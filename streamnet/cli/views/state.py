"""A state directory, shown to a person: its status and its dead letters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from streamnet.cli.terminal import Terminal, escape_text, write_error
from streamnet.cli.views.tables import format_count, new_grid, new_table
from streamnet.durability.bucket import find_holder
from streamnet.errors import ConfigurationError
from streamnet.objects import is_url
from streamnet.pipeline.maintenance import PartStatus, StateStatus, read_state_status
from streamnet.pipeline.rejections import export_dead_letters, read_dead_letters

_NO_DEAD_LETTERS = "no record was rejected"


def show_state(path: Path, name: str) -> None:
    """Print the status of a state directory of this name."""
    status = read_state_status(path)
    writer = find_holder(name) if is_url(name) else status.writer
    table = new_grid(
        ("state", Text(escape_text(name))),
        ("lineage", status.tree["lineage"]),
        ("writer", writer or "none"),
        ("position", Text(_format_position(status))),
        *(row for which, part in status.parts.items() for row in _list_part(which, part)),
        ("", ""),
        ("generations", _generations_table(status)),
        *(row for which, part in status.parts.items() for row in _list_limits(which, part)),
    )
    table.columns[0].no_wrap = True
    Terminal().print(Padding(table, 0, expand=False))


def _format_position(status: StateStatus) -> str:
    position = status.tree["reading"]["position"]
    if position is None:
        return "at the start"
    source, offset, record, line = position
    where = f"line {line:,}" if line else f"record {record:,}"
    return f"{escape_text(source)}, before {where} (offset {offset:,})"


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


def _list_part(name: str, part: PartStatus) -> list[tuple[str, RenderableType]]:
    """Rows on one part of a run."""
    current, model = part.current, "none published yet"
    if current is not None:
        model = f"{current.file}, after {format_count(current.samples, 'sample')}"
    title = [("", ""), ("part", Text(escape_text(name)))] if name else []
    return [
        *title,
        ("records", ", ".join(f"{count:,} {what}" for what, count in part.counts.items())),
        ("ledger", part.tree["ledger"]["value"]),
        ("model", model),
    ]


def _list_limits(name: str, part: PartStatus) -> list[tuple[str, RenderableType]]:
    """Rows on the tables of one part of a run."""
    title = [("part", Text(escape_text(name)))] if name else []
    return [("", ""), *title, ("limits", _limits_table(part))]


def _limits_table(part: PartStatus) -> Table:
    table = new_table("", "used", "maximum")
    for cap in part.caps:
        table.add_row(Text(escape_text(cap.name)), f"{cap.used:,}", f"{cap.most:,}")
    return table


def list_dead_letters(folder: Path) -> None:
    """Print a line for each rejected record."""
    terminal = Terminal()
    count = 0
    for count, letter in enumerate(read_dead_letters(folder), start=1):
        place = _format_place(letter)
        terminal.say(escape_text(f"{count}  {place}  {letter['reason']}  {letter['detail']}"))
    if not count:
        terminal.say(_NO_DEAD_LETTERS)


def show_dead_letter(folder: Path, number: int | None) -> None:
    """Print everything that is known about a rejected record."""
    if number is None:
        raise ConfigurationError("NUMBER is missing: which record should be shown?")
    count = 0
    for count, letter in enumerate(read_dead_letters(folder), start=1):
        if count == number:
            rows = ((name, Text(escape_text(str(value)))) for name, value in letter.items())
            Terminal().print(new_grid(*rows))
            return
    if not count:
        raise ConfigurationError(f"NUMBER is {number}, but {_NO_DEAD_LETTERS}")
    raise ConfigurationError(f"NUMBER is {number}, but must be from 1 to {count}")


def write_dead_letters(folder: Path, to: Path | None) -> None:
    """Write rejected records to a new file as they were, and print what was left out."""
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

"""A model file or a report, shown to a person."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import JustifyMethod, RenderableType
from rich.table import Table

from streamnet.cli.terminal import Terminal, escape_text
from streamnet.cli.views.tables import format_count, format_number, measures_table, sparkline
from streamnet.errors import ModelFileError
from streamnet.modelfiles import Model
from streamnet.settings.candidate import CandidateSettings

__all__ = ("show_file",)

_CURVE_WIDTH = 72  # columns
_MAX_NAMES = 12  # of labels or columns, before the rest are only counted
_REPORT_KEYS = ("served", "measures", "protocol")  # of replay, of evaluate and of train
_DAMAGE_ERRORS = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    IndexError,
    ZeroDivisionError,
    StopIteration,
)


def show_file(path: Path) -> None:
    """Print a model or a report.

    Raises:
        ModelFileError: If the file is neither, or damaged.
    """
    terminal = Terminal()
    report = _load_report(path)
    if report is None:
        terminal.print(*_render_model(Model.load(path)), sep="\n")
        return
    try:
        parts = _render_report(report, plain=terminal.plain)
    except _DAMAGE_ERRORS as error:
        raise ModelFileError(f"{path} is a damaged report: {error!r}") from error
    terminal.print(*parts, sep="\n")


def _load_report(path: Path) -> dict[str, Any] | None:
    """What is in the file if it is a report."""
    if path.suffix != ".json":
        return None
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelFileError(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} is damaged or no JSON: {error}") from error
    known = isinstance(value, dict) and not value.keys().isdisjoint(_REPORT_KEYS)
    return value if known else None


def _grid(rows: list[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _render_model(model: Model) -> list[RenderableType]:
    weights = sum(matrix.size for network in model.networks for matrix in network.weights.values())
    kinds: dict[str, list[str]] = {}
    for field in model.fields:
        kinds.setdefault(str(field.kind), []).append(field.name)
    about = model.about
    target = f" of {escape_text(str(about['target']))!r}" if about.get("target") else ""
    rows = [
        ("model", f"{model.task}{target}"),
        ("network", f"{model.describe()}, {weights:,} weights, {model.dtype}"),
        ("learned", f"{format_count(about.get('samples', 0), 'sample')}, seed {about.get('seed')}"),
    ]
    if model.labels:
        rows.append(("labels", _abbreviate(list(model.labels))))
    rows += [(f"{kind} columns", _abbreviate(names)) for kind, names in kinds.items()]
    measures = {
        heading: about[name]
        for name, heading in (("scores", "this network"), ("served", "served in its run"))
        if about.get(name)
    }
    parts: list[RenderableType] = [_grid(rows)]
    return [*parts, "", measures_table(measures)] if measures else parts


def _render_report(report: dict[str, Any], *, plain: bool) -> list[RenderableType]:
    if "protocol" in report:
        return _render_training_report(report)
    if "served" not in report:
        samples = format_count(report["samples"], "sample")
        return [f"report of evaluate, {samples}", "", measures_table(report["measures"])]
    measures = {"served": report["served"], **report["baselines"]}
    parts: list[RenderableType] = [_grid(_summary(report)), "", measures_table(measures), ""]
    return [*parts, _candidates(report), *_curve(report, plain=plain)]


def _render_training_report(report: dict[str, Any]) -> list[RenderableType]:
    parts = ", ".join(f"{count:,} of {name}" for name, count in report["samples"].items())
    rows = [
        ("report", f"training, {report['task']} of {escape_text(str(report['target']))!r}"),
        ("samples", f"{parts}, {format_count(report['rejected'], 'record')} rejected"),
        ("protocol", f"{report['protocol']}, by {report['criterion']}, seed {report['seed']}"),
        ("learned", f"{format_count(report['passes'], 'pass')} in {report['seconds']:.1f} s"),
    ]
    for member in report["members"]:
        words = CandidateSettings.from_dict(member["settings"]).describe()
        rows.append(("network", f"#{member['candidate']} {words}, of epoch {member['epoch']}"))
    measures = {report["reported"]: report["evaluation"]["measures"], **report.get("baselines", {})}
    return [_grid(rows), "", measures_table(measures)]


def _summary(report: dict[str, Any]) -> list[tuple[str, str]]:
    rejected = format_count(report["rejected"], "record")
    rows = [
        ("report", f"{report['task']} of {escape_text(str(report['target']))!r}"),
        ("learned", f"{format_count(report['learned'], 'sample')}, {rejected} rejected"),
        ("speed", f"{report['samples_per_second'] or 0:,.0f} samples/s"),
        ("seed", str(report["seed"])),
    ]
    champion = report["champion"]
    if champion is not None:
        words = CandidateSettings.from_dict(champion["settings"]).describe()
        since = f"since sample {champion['since']:,}, after {format_count(report['switches'], 'switch')}"
        rows.append(("champion", f"#{champion['candidate']} {words}, {since}"))
    return rows


def _candidates(report: dict[str, Any]) -> Table:
    main = next(iter(report["served"]))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("#", "candidate", "loss now", main, "born", ""):
        justify: JustifyMethod = "left" if name in ("candidate", "") else "right"
        table.add_column(name, justify=justify, overflow="fold")
    for row in report["candidates"]:
        table.add_row(
            str(row["candidate"]),
            CandidateSettings.from_dict(row["settings"]).describe(),
            format_number(row.get("loss")),
            format_number(row["scores"].get(main)),
            f"{row['born']:,}",
            "quarantined" if row["quarantined"] else "",
        )
    return table


def _curve(report: dict[str, Any], *, plain: bool) -> list[RenderableType]:
    main = next(iter(report["served"]))
    numbers, errors = report["curve"]["samples"], report["curve"]["summed_errors"]
    points = [(0, 0.0), *((n, e[0]) for n, e in zip(numbers, errors, strict=True))]
    stride = -(-(len(points) - 1) // _CURVE_WIDTH) or 1
    some = points[::stride]
    steps = [(later[1] - now[1]) / (later[0] - now[0]) for now, later in pairwise(some)]
    if not steps:
        return []
    values = [1.0 - step if main == "accuracy" else step for step in steps]
    words = f"{main} over time, from {format_number(min(values))} to {format_number(max(values))}"
    return ["", words, sparkline(values, plain=plain)]


def _abbreviate(names: list[str]) -> str:
    more = len(names) - _MAX_NAMES
    listed = ", ".join(escape_text(name) for name in names[:_MAX_NAMES])
    return f"{listed} and {more:,} more" if more > 0 else listed

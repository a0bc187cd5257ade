"""Showing a model file or a report to a person."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import JustifyMethod
from rich.console import RenderableType
from rich.table import Table

from streamnet.cli.figures import number
from streamnet.cli.figures import plural
from streamnet.cli.figures import spark
from streamnet.cli.summaries import measures_table
from streamnet.cli.terminal import Terminal
from streamnet.cli.terminal import printable
from streamnet.errors import ModelFileError
from streamnet.modelfiles import Model
from streamnet.networks.candidate import CandidateSettings

__all__ = ("show",)

CURVE = 72  # columns
NAMES = 12  # of labels or columns, before the rest are only counted
_OF_REPORTS = ("served", "measures", "protocol")  # of replay, of evaluate and of train
DAMAGE = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    IndexError,
    ZeroDivisionError,
    StopIteration,
)


def show(path: Path) -> None:
    """Print a model or a report.

    Raises:
        ModelFileError: If the file is neither, or damaged.
    """
    terminal = Terminal()
    report = _report(path)
    if report is None:
        terminal.print(*_model_parts(Model.load(path)), sep="\n")
        return
    try:
        parts = _parts(report, plain=terminal.plain)
    except DAMAGE as error:
        raise ModelFileError(f"{path} is a damaged report: {error!r}") from error
    terminal.print(*parts, sep="\n")


def _report(path: Path) -> dict[str, Any] | None:
    """What is in the file if it is a report."""
    if path.suffix != ".json":
        return None
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelFileError(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} is damaged or no JSON: {error}") from error
    known = isinstance(value, dict) and not value.keys().isdisjoint(_OF_REPORTS)
    return value if known else None


def _grid(rows: list[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _model_parts(model: Model) -> list[RenderableType]:
    weights = sum(matrix.size for network in model.networks for matrix in network.weights.values())
    kinds: dict[str, list[str]] = {}
    for field in model.fields:
        kinds.setdefault(str(field.kind), []).append(field.name)
    about = model.about
    target = f" of {printable(str(about['target']))!r}" if about.get("target") else ""
    rows = [
        ("model", f"{model.task}{target}"),
        ("network", f"{model.describe()}, {weights:,} weights, {model.dtype}"),
        ("learned", f"{plural(about.get('samples', 0), 'sample')}, seed {about.get('seed')}"),
    ]
    if model.labels:
        rows.append(("labels", _some(list(model.labels))))
    rows += [(f"{kind} columns", _some(names)) for kind, names in kinds.items()]
    measures = {
        heading: about[name]
        for name, heading in (("scores", "this network"), ("served", "served in its run"))
        if about.get(name)
    }
    parts: list[RenderableType] = [_grid(rows)]
    return [*parts, "", measures_table(measures)] if measures else parts


def _parts(report: dict[str, Any], *, plain: bool) -> list[RenderableType]:
    if "protocol" in report:
        return _trained_parts(report)
    if "served" not in report:
        samples = plural(report["samples"], "sample")
        return [f"report of evaluate, {samples}", "", measures_table(report["measures"])]
    measures = {"served": report["served"], **report["baselines"]}
    parts: list[RenderableType] = [_grid(_summary(report)), "", measures_table(measures), ""]
    return [*parts, _candidates(report), *_curve(report, plain=plain)]


def _trained_parts(report: dict[str, Any]) -> list[RenderableType]:
    parts = ", ".join(f"{count:,} of {name}" for name, count in report["samples"].items())
    rows = [
        ("report", f"training, {report['task']} of {printable(str(report['target']))!r}"),
        ("samples", f"{parts}, {plural(report['rejected'], 'record')} rejected"),
        ("protocol", f"{report['protocol']}, by {report['criterion']}, seed {report['seed']}"),
        ("learned", f"{plural(report['passes'], 'pass')} in {report['seconds']:.1f} s"),
    ]
    for member in report["members"]:
        words = CandidateSettings.from_dict(member["settings"]).describe()
        rows.append(("network", f"#{member['candidate']} {words}, of epoch {member['epoch']}"))
    measures = {report["reported"]: report["evaluation"]["measures"], **report.get("baselines", {})}
    return [_grid(rows), "", measures_table(measures)]


def _summary(report: dict[str, Any]) -> list[tuple[str, str]]:
    rejected = plural(report["rejected"], "record")
    rows = [
        ("report", f"{report['task']} of {printable(str(report['target']))!r}"),
        ("learned", f"{plural(report['learned'], 'sample')}, {rejected} rejected"),
        ("speed", f"{report['samples_per_second'] or 0:,.0f} samples/s"),
        ("seed", str(report["seed"])),
    ]
    champion = report["champion"]
    if champion is not None:
        words = CandidateSettings.from_dict(champion["settings"]).describe()
        since = f"since sample {champion['since']:,}, after {plural(report['switches'], 'switch')}"
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
            number(row.get("loss")),
            number(row["scores"].get(main)),
            f"{row['born']:,}",
            "quarantined" if row["quarantined"] else "",
        )
    return table


def _curve(report: dict[str, Any], *, plain: bool) -> list[RenderableType]:
    main = next(iter(report["served"]))
    numbers, errors = report["curve"]["samples"], report["curve"]["summed_errors"]
    points = [(0, 0.0), *((n, e[0]) for n, e in zip(numbers, errors, strict=True))]
    stride = -(-(len(points) - 1) // CURVE) or 1
    some = points[::stride]
    steps = [(later[1] - now[1]) / (later[0] - now[0]) for now, later in pairwise(some)]
    if not steps:
        return []
    values = [1.0 - step if main == "accuracy" else step for step in steps]
    words = f"{main} over time, from {number(min(values))} to {number(max(values))}"
    return ["", words, spark(values, plain=plain)]


def _some(names: list[str]) -> str:
    more = len(names) - NAMES
    listed = ", ".join(printable(name) for name in names[:NAMES])
    return f"{listed} and {more:,} more" if more > 0 else listed

"""Showing a model file or a report to a person."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from streamnet.cli.view import number
from streamnet.cli.view import spark
from streamnet.errors import ModelFileError
from streamnet.modelfiles import Model
from streamnet.networks.candidate import CandidateSettings

__all__ = ("show",)


def show(path: Path) -> None:
    """Print a model or a report.

    Raises:
        ModelFileError: If the file is neither, or damaged.
    """
    console = Console(highlight=False)
    report = _report(path)
    if report is None:
        _show_model(Model.load(path), console)
        return
    try:
        _show_report(report, console)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ModelFileError(f"{path} is a damaged report: {error!r}") from error


def _report(path: Path) -> dict[str, Any] | None:
    if path.suffix != ".json":
        return None
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelFileError(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} is damaged or no JSON: {error}") from error
    return value if isinstance(value, dict) and "served" in value else None


def _grid(rows: list[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    for row in rows:
        table.add_row(*row)
    return table


def _show_model(model: Model, console: Console) -> None:
    weights = sum(matrix.size for matrix in model.network.weights.values())
    kinds: dict[str, list[str]] = {}
    for field in model.fields:
        kinds.setdefault(str(field.kind), []).append(field.name)
    rows = [
        ("model", f"{model.task} of {model.about.get('target')!r}"),
        ("network", f"{model.settings.describe()}, {weights:,} weights, {model.network.dtype}"),
        ("learned", f"{model.about.get('samples', 0):,} samples, seed {model.about.get('seed')}"),
    ]
    if model.labels:
        rows.append(("labels", _some(list(model.labels))))
    rows += [(f"{kind} columns", _some(names)) for kind, names in kinds.items()]
    for name in ("scores", "served"):
        measures = model.about.get(name) or {}
        words = [f"{key} {_value(value)}" for key, value in measures.items()]
        rows.append((name, "  ".join(words) or "-"))
    console.print(_grid(rows))


def _show_report(report: dict[str, Any], console: Console) -> None:
    console.print(
        _grid(
            [
                ("report", f"{report['task']} of {report['target']!r}, seed {report['seed']}"),
                (
                    "samples",
                    f"{report['learned']:,} learned, {report['rejected']:,} rejected, "
                    f"{report['samples_per_second'] or 0:,.0f}/s",
                ),
                ("switches", f"{report['switches']} of the champion"),
            ]
        )
    )
    table = Table(box=None, title="\nmeasures", title_justify="left")
    table.add_column("")
    for name in report["served"]:
        table.add_column(name, justify="right")
    for who, measures in {"served": report["served"], **report["baselines"]}.items():
        table.add_row(who.replace("_", "-"), *(_value(value) for value in measures.values()))
    console.print(table)
    table = Table(box=None, title="\ncandidates", title_justify="left")
    main = next(iter(report["served"]))
    for name in ("#", "settings", "loss now", main, "born", ""):
        table.add_column(name, justify="left" if name == "settings" else "right")
    for row in report["candidates"]:
        table.add_row(
            str(row["candidate"]),
            CandidateSettings.from_dict(row["settings"]).describe(),
            _value(row.get("loss")),
            _value(row["scores"].get(main)),
            f"{row['born']:,}",
            "quarantined" if row["quarantined"] else "",
        )
    console.print(table)
    _show_curve(report, main, console)


def _show_curve(report: dict[str, Any], main: str, console: Console) -> None:
    numbers, errors = report["curve"]["samples"], report["curve"]["summed_errors"]
    steps = []
    for i in range(1, len(numbers)):
        step = (errors[i][0] - errors[i - 1][0]) / (numbers[i] - numbers[i - 1])
        steps.append(1.0 - step if main == "accuracy" else step)
    width = max(1, len(steps) // 72)
    parts = [steps[i : i + width] for i in range(0, len(steps), width)]
    means = tuple(sum(part) / len(part) for part in parts)
    if means:
        console.print(f"\n{main} over time, from {number(min(means))} to {number(max(means))}")
        console.print(spark(means))


def _value(value: float | None) -> str:
    return "-" if value is None else number(value)


def _some(names: list[str]) -> str:
    more = len(names) - 12
    return ", ".join(names[:12]) + (f" and {more} more" if more > 0 else "")

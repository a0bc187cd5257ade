"""A model file, a report, or an evaluation, shown to a person."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, Struct
from rich.console import JustifyMethod, RenderableType
from rich.table import Table

from streamnet.cli.terminal import Terminal, escape_text
from streamnet.cli.views.tables import (
    class_tables,
    classes_table,
    confusion_table,
    format_class_changes,
    format_count,
    format_learned,
    measures_table,
    new_grid,
    new_table,
    regression_table,
    sparkline,
)
from streamnet.durability.files import write_durably
from streamnet.errors import ConfigurationError, ModelFileError, StreamnetError
from streamnet.metrics.formulas import format_number
from streamnet.modelfiles import Model
from streamnet.reporting.report import KeysReport, Report, Scores
from streamnet.runs.inference import EvaluationResult
from streamnet.samples import ClassChange, Task
from streamnet.settings.candidate import CandidateSettings
from streamnet.settings.horizon import describe_target

_CURVE_WIDTH = 72  # columns
_MAX_NAMES = 12  # of labels or columns, before the rest are only counted
_MAX_CLASSES = 12  # of a confusion matrix that is shown by default
_MAX_COLUMNS = 1 << 20
_MAX_KEYS = 5  # of the worst and of the best that are shown


class _TrainedMember(Struct, frozen=True):
    """A network in a report of ``train``."""

    candidate: int
    epoch: int
    settings: dict[str, Any]


class _Evaluated(Struct, frozen=True):
    """The evaluation in a report of ``train``."""

    measures: Scores


class _TrainingReport(Struct, frozen=True):
    """What is shown of a report of ``train``, see `streamnet.engine.engine`."""

    task: Task
    target: str | None
    protocol: str
    criterion: str
    samples: dict[str, int]
    rejected: int
    passes: int
    seconds: float
    seed: int
    members: list[_TrainedMember]
    reported: str
    evaluation: _Evaluated
    baselines: dict[str, Scores]


class _EvaluationReport(Struct, frozen=True):
    """What is shown of a report of ``evaluate``, see `EvaluationResult`."""

    samples: int
    measures: dict[str, Scores]


_REPORTS = {"protocol": _TrainingReport, "served": Report, "measures": _EvaluationReport}
"""Types of reports, by a key that only they have."""


def show_file(path: Path) -> None:
    """Print a model or a report."""
    terminal = Terminal()
    values = _read_json(path)
    kind = next((kind for key, kind in _REPORTS.items() if key in values), None)
    if kind is None:
        terminal.print(*_render_model(Model.load(path)), sep="\n")
        return
    try:
        parts = _render_report(msgspec.convert(values, kind), terminal)
    except (msgspec.ValidationError, ConfigurationError) as error:
        raise ModelFileError(f"{path} is a damaged report: {error}") from error
    terminal.print(*parts, sep="\n")


def write_report(path: Path, values: Mapping[str, Any]) -> None:
    """Write a report as JSON, so that it is on the disk afterwards."""
    text = json.dumps(values, indent=1, allow_nan=False) + "\n"
    try:
        write_durably(path, text.encode())
    except OSError as error:
        raise StreamnetError(f"report {path} can't be written: {error.strerror}") from error


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty for other files and values."""
    if path.suffix != ".json":
        return {}
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelFileError(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} is damaged or not JSON: {error}") from error
    return value if isinstance(value, dict) else {}


def _grid(rows: list[tuple[str, str]]) -> Table:
    table = new_grid(*rows)
    table.columns[0].no_wrap = True
    return table


def _render_model(model: Model) -> list[RenderableType]:
    weights = sum(matrix.size for network in model.networks for matrix in network.weights.values())
    kinds: dict[str, list[str]] = {}
    for field in model.fields:
        kinds.setdefault(str(field.kind), []).append(field.name)
    about = model.about
    target = repr(escape_text(str(about.get("target"))))
    target = f" of {describe_target(target, about.get('horizon'))}" if about.get("target") else ""
    rows = [
        ("model", f"{model.task}{target}"),
        ("network", f"{model.describe()}, {weights:,} weights, {model.dtype}"),
        ("learned", f"{format_count(about.get('samples', 0), 'sample')}, seed {about.get('seed')}"),
    ]
    if model.key is not None:
        columns = ", ".join(map(escape_text, model.key_columns))
        rows.append(("key", f"{escape_text(model.key)}, of {columns}"))
    if needed := model.needs_last_targets:
        rows.append(("last targets", f"needs the last {needed} (streamnet predict --last-targets)"))
    if model.labels:
        changed = model.changed_classes
        rows.append(("labels", _abbreviate([one for one in model.labels if one not in changed])))
        if changed:
            words = [ClassChange(*change).describe() for change in changed.items()]
            rows.append(("changed classes", escape_text("; ".join(words))))
    rows += [(f"{kind} columns", _abbreviate(names)) for kind, names in kinds.items()]
    measures = {
        heading: about[name]
        for name, heading in (("scores", "this network"), ("served", "served in its run"))
        if about.get(name)
    }
    parts: list[RenderableType] = [_grid(rows)]
    return [*parts, "", measures_table(measures)] if measures else parts


def _render_report(
    report: _TrainingReport | _EvaluationReport | Report, terminal: Terminal
) -> list[RenderableType]:
    if isinstance(report, _TrainingReport):
        return _render_training_report(report)
    if isinstance(report, _EvaluationReport):
        samples = format_count(report.samples, "sample")
        return [f"report of evaluate, {samples}", "", measures_table(report.measures)]
    measures = {"served": report.served, **report.baselines}
    parts: list[RenderableType] = [_grid(_summarize(report)), "", measures_table(measures), ""]
    if len(report.classes) > 1:
        parts += [classes_table(report.classes, terminal.width), ""]
    parts += [_candidates_table(report), *_render_curve(report, plain=terminal.plain)]
    return parts if report.keys is UNSET else [*parts, "", _keys_table(report.keys)]


def _render_training_report(report: _TrainingReport) -> list[RenderableType]:
    parts = ", ".join(f"{count:,} of {name}" for name, count in report.samples.items())
    rows = [
        ("report", f"training, {report.task} of {escape_text(str(report.target))!r}"),
        ("samples", f"{parts}, {format_count(report.rejected, 'record')} rejected"),
        ("protocol", f"{report.protocol}, by {report.criterion}, seed {report.seed}"),
        ("learned", f"{format_count(report.passes, 'pass')} in {report.seconds:.1f} s"),
    ]
    for member in report.members:
        words = CandidateSettings.from_dict(member.settings).describe()
        rows.append(("network", f"#{member.candidate} {words}, of epoch {member.epoch}"))
    measures = {report.reported: report.evaluation.measures, **report.baselines}
    return [_grid(rows), "", measures_table(measures)]


def _summarize(report: Report) -> list[tuple[str, str]]:
    rejected = format_count(report.rejected, "record")
    target = repr(escape_text(str(report.target)))
    rows = [
        ("report", f"{report.task} of {report.describe_target(target)}"),
        ("learned", f"{format_learned(report)}, {rejected} rejected"),
        ("speed", f"{report.samples_per_second or 0:,.0f} samples/s"),
        ("seed", str(report.seed)),
    ]
    champion = report.champion
    if champion is not None:
        words = CandidateSettings.from_dict(champion.settings).describe()
        switches = format_count(report.switches, "switch")
        since = f"since sample {champion.since:,}, after {switches}"
        rows.append(("champion", f"#{champion.candidate} {words}, {since}"))
    if report.class_changes:
        rows.append(("classes", format_class_changes(report)))
    if report.intervals is not UNSET:
        rows.append(("intervals", report.intervals.describe()))
    if report.keys is not UNSET:
        columns = ", ".join(map(escape_text, report.keys.columns))
        rows.append(("keys", f"{report.keys.count:,} of {columns}"))
    return rows


def _candidates_table(report: Report) -> Table:
    metric = report.status.metric
    table = new_table(left=0)
    for name in ("#", "candidate", "loss now", metric, "born", ""):
        justify: JustifyMethod = "left" if name in ("candidate", "") else "right"
        table.add_column(name, justify=justify, overflow="fold")
    for row in report.leader_board:
        table.add_row(
            str(row.candidate),
            row.settings,
            format_number(row.loss),
            format_number(row.scores.get(metric)),
            f"{row.born:,}",
            row.state if row.state in ("quarantined", "resting") else "",
        )
    return table


def _keys_table(keys: KeysReport) -> Table:
    """The worst and the best keys, and how much better each is predicted than by one for all."""
    table = new_table("", "key", "samples", "loss", "of the shared model", "drifts", left=2)
    rows = [("worst", each) for each in keys.worst[:_MAX_KEYS]]
    rows += [("best", each) for each in keys.best[:_MAX_KEYS]]
    for which, each in rows:
        table.add_row(
            which,
            escape_text(each.key),
            f"{each.samples:,}",
            format_number(each.loss),
            format_number(each.shared_loss),
            f"{each.drifts:,}",
        )
    return table


def _render_curve(report: Report, *, plain: bool) -> list[RenderableType]:
    points = report.curve.resample(report.task, _CURVE_WIDTH)
    if not points:
        return []
    low, high = format_number(min(points)), format_number(max(points))
    words = f"{report.status.metric} over time, from {low} to {high}"
    return ["", words, sparkline(points, plain=plain)]


def _abbreviate(names: list[str]) -> str:
    more = len(names) - _MAX_NAMES
    listed = ", ".join(escape_text(name) for name in names[:_MAX_NAMES])
    return f"{listed} and {more:,} more" if more > 0 else listed


def show_evaluation(
    result: EvaluationResult,
    report: Path | None,
    plot: Path | None,
    *,
    per_class: bool,
    confusion: bool,
) -> None:
    """Print an evaluation, with the confusion matrix if it fits, and write report and plot."""
    if report is not None:
        write_report(report, result.as_dict())
    if plot is not None:
        _save_plot(result, plot)
    terminal = Terminal()
    terminal.say(f"{format_count(result.samples, 'sample')}\n")
    terminal.print(measures_table(result.measures))
    if result.pairs is not None and result.pairs.threshold is not None:
        terminal.say("")
        terminal.print(regression_table(result.pairs))
    if result.confusion is None:
        return
    if per_class:
        for table in class_tables(result.labels, result.confusion, terminal.width):
            terminal.say("")
            terminal.print(table)
    table = confusion_table(result.labels, result.confusion)
    unbounded = terminal.options.update(max_width=_MAX_COLUMNS)
    width = terminal.measure(table, options=unbounded).maximum
    fits = len(result.labels) <= _MAX_CLASSES and width <= terminal.width
    if confusion or fits:
        terminal.say("\nconfusion matrix: true labels in rows, predicted labels in columns\n")
        terminal.width = max(terminal.width, width)
        terminal.print(table)
    else:
        where = f"see {report}" if report else "use --report"
        terminal.say(f"\nconfusion matrix: too wide; {where}, or show it with --confusion")


def _save_plot(result: EvaluationResult, path: Path) -> None:
    from streamnet.plots import confusion_figure, residual_figure, save_figure

    if result.confusion is not None:
        figure = confusion_figure(result.labels, result.confusion)
    else:
        assert result.pairs is not None  # kept for the plot
        figure = residual_figure(result.pairs.truths, result.pairs.answers)
    save_figure(figure, path)

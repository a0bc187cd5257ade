"""Tables of metrics, and numbers, durations and sparklines as text.

Classes are always in the order of their numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from math import isfinite

import numpy as np
from numpy.typing import NDArray
from rich.console import RenderableType
from rich.table import Table

from streamnet.cli.terminal import escape_text
from streamnet.metrics import METRICS, RegressionEvaluation
from streamnet.metrics.formulas import format_number
from streamnet.metrics.per_class import compute_per_class
from streamnet.reporting.report import Report, Scores

_BARS = "▁▂▃▄▅▆▇█"
_ASCII_BARS = "_.-~=*^#"


def format_count(count: int, thing: str) -> str:
    """Format a count with its noun.

    >>> format_count(1, "switch"), format_count(1200, "sample")
    ('1 switch', '1,200 samples')
    """
    ending = "" if count == 1 else "es" if thing.endswith(("tch", "s")) else "s"
    return f"{count:,} {thing}{ending}"


def format_learned(report: Report) -> str:
    """Format how many samples were learned, and how many of them had no label."""
    learned = format_count(report.learned, "sample")
    return f"{learned} ({report.unlabeled:,} without a label)" if report.unlabeled else learned


def estimate_remaining(seconds: float, progress: float, earlier: float = 0.0) -> float:
    """Estimate the remaining seconds at the same speed; infinite if it is unknown.

    In ``seconds`` the fraction that is done rose from ``earlier`` to ``progress``.
    """
    if progress >= 1.0:
        return 0.0
    done = progress - earlier
    return seconds * (1.0 - progress) / done if done > 0 else float("inf")


def format_duration(seconds: float) -> str:
    """Format a duration in at most two units.

    >>> [format_duration(seconds) for seconds in (3.2, 75, 4000, float("inf"))]
    ['3 s', '1 min 15 s', '1 h 06 min', '-']
    """
    if not isfinite(seconds):
        return "-"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02} min"


def sparkline(values: Sequence[float], *, plain: bool = False) -> str:
    """Draw a curve as one line, scaled to its range and blank where it is not finite.

    >>> sparkline((0.0, 0.5, 1.0)), sparkline((0.0, 0.5, 1.0), plain=True)
    ('▁▄█', '_~#')
    """
    bars = _ASCII_BARS if plain else _BARS
    finite = [value for value in values if isfinite(value)]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    if not high > low:
        return "".join(bars[3] if isfinite(v) else " " for v in values)
    top = len(bars) - 1
    # The division comes first: the reciprocal of a subnormal difference is infinite.
    return "".join(
        bars[int((v - low) / (high - low) * top)] if isfinite(v) else " " for v in values
    )


_NO_PREDICTION = "(none)"
_NAME_WIDTH = 27  # columns of the longest metric name and the space after it
_COUNT_SUFFIXES = ("positives", "negatives")  # of metrics that are counts
_CELL_WIDTH = 9  # columns of most numbers and the space after them
_MAX_ROWS = 12  # classes
_SUPPORT = "positives"  # samples of a class
METRICS_OF_CLASSES = {
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
}
"""Metrics of each class that are shown of a stream, and their titles."""


def measures_table(measures: Mapping[str, Mapping[str, float | None]]) -> Table:
    """Build a table with a row for each metric and a column for each model or baseline.

    Rows are in the order of the registry, whatever order a file has.
    """
    table = new_table("")
    for number, track in enumerate(measures):
        style = "bold green" if number == 0 else ""
        table.add_column(track.replace("_", "-"), justify="right", style=style)
    for name in sorted(next(iter(measures.values())), key=_sort_key):
        cells = [format_number(values.get(name)) for values in measures.values()]
        table.add_row(name.replace("_", " "), *cells)
    return table


def class_tables(
    labels: Sequence[str], confusion: NDArray[np.float64], width: int
) -> Iterator[Table]:
    """Build tables of each class against the rest: a row for each metric, a column for each class.

    Classes that don't fit into the width go into another table. ``confusion`` has shape (C, C + 1):
    true labels in rows, predicted labels in columns, the last one without a prediction.
    """
    metrics = compute_per_class(labels, confusion)
    widest = max((len(escape_text(label)) + 2 for label in labels), default=0)
    together = max(1, (width - _NAME_WIDTH) // max(_CELL_WIDTH, widest))
    for start in range(0, len(labels), together):
        some = labels[start : start + together]
        table = new_table("class", *map(escape_text, some))
        for name in metrics[some[0]]:
            show = _format_total if name.endswith(_COUNT_SUFFIXES) else format_number
            table.add_row(name.replace("_", " "), *(show(metrics[label][name]) for label in some))
        yield table


def format_class_changes(report: Report) -> str:
    """Classes that were merged or retired, in words."""
    changes = (f"{c.describe()} at sample {c.sample:,}" for c in report.class_changes)
    return escape_text("; ".join(changes))


def classes_table(classes: Mapping[str, Scores], width: int) -> Table:
    """Build a table of the classes of a stream: a row for each of the 12 most frequent ones.

    Metrics that don't fit into the width are left out.
    """
    support = {label: values[_SUPPORT] or 0.0 for label, values in classes.items()}
    most = set(sorted(support, key=support.__getitem__, reverse=True)[:_MAX_ROWS])
    widest = max(len(escape_text(label)) for label in ("class", *most)) + 2
    together = max(0, (width - widest) // _CELL_WIDTH - 1)
    shown = dict(islice(METRICS_OF_CLASSES.items(), together))
    table = new_table("class", "support", *shown.values())
    table.columns[0].overflow = "fold"
    for label, values in classes.items():
        if label in most:
            cells = (format_number(values.get(name)) for name in shown)
            table.add_row(escape_text(label), _format_total(support[label]), *cells)
    if len(classes) > len(most):
        table.add_row(f"and {len(classes) - len(most):,} more")
    return table


def confusion_table(labels: Sequence[str], confusion: NDArray[np.float64]) -> Table:
    """Build a confusion matrix: true labels in rows, predicted labels in columns.

    The last column counts samples without a prediction, if there are any.
    """
    names = [escape_text(label) for label in labels]
    shown = confusion if confusion[:, -1].any() else confusion[:, :-1]
    table = new_table("true \\ predicted", *[*names, _NO_PREDICTION][: shown.shape[1]])
    for name, row in zip(names, shown, strict=True):
        table.add_row(name, *map(_format_total, row))
    return table


def regression_table(
    evaluation: RegressionEvaluation,
    baselines: Mapping[str, Mapping[str, float | None]] | None = None,
) -> Table:
    """Build a table of regression metrics, with a column for each baseline.

    With a threshold it also counts correct and wrong predictions.
    """
    others = baselines or {}
    table = new_table("", "model" if others else "", *others)
    table.add_row("samples", f"{len(evaluation):,}")
    if evaluation.unanswered:
        table.add_row("not predicted", f"{evaluation.unanswered:,}")
    if evaluation.threshold is not None:
        table.add_row(f"correct (within {evaluation.threshold:g})", f"{evaluation.correct:,}")
        table.add_row("wrong", f"{evaluation.wrong:,}")
    for name, value in evaluation.measures().items():
        cells = [format_number(values.get(name)) for values in others.values()]
        table.add_row(name.replace("_", " "), format_number(value), *cells)
    return table


def new_grid(*rows: Sequence[RenderableType]) -> Table:
    """Create a table of names and values without headings."""
    table = Table.grid(padding=(0, 2))
    for row in rows:
        table.add_row(*row)
    return table


def new_table(*columns: str, left: int = 1) -> Table:
    """Create an empty table without lines, whose first ``left`` columns are left-aligned."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if number < left else "right")
    return table


def _format_total(value: float) -> str:
    return f"{value:,.0f}"


def _sort_key(name: str) -> tuple[int, str]:
    """Put registered metrics first, in the order of the registry."""
    order = [known for metrics in METRICS.values() for known in metrics]
    return (order.index(name), "") if name in order else (len(order), name)

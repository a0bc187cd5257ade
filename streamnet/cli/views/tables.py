"""Tables of metrics, and numbers, durations and sparklines as text.

Rows and columns always stand in the order of the class numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from streamnet.cli.terminal import escape_text
from streamnet.metrics import METRICS, Evaluation, RegressionEvaluation
from streamnet.metrics.evaluation import compute_per_class

__all__ = (
    "class_tables",
    "confusion_table",
    "estimate_remaining",
    "evaluation_tables",
    "format_count",
    "format_duration",
    "format_number",
    "measures_table",
    "regression_table",
    "sparkline",
)


_BARS = "▁▂▃▄▅▆▇█"
_ASCII_BARS = "_.-~=*^#"


def format_number(value: float | None) -> str:
    """A measure with as many digits as it takes to compare it; a dash for none.

    >>> format_number(0.81234), format_number(-0.00001), format_number(1234.5), format_number(None)
    ('0.8123', '0.0000', '1,234.50', '-')
    """
    if value is None or not isfinite(value):
        return "-"
    if abs(value) >= 1e9:
        return f"{value:.3e}"
    if abs(value) >= 10:
        return f"{value:,.2f}"
    text = f"{value:.4f}"
    return text.removeprefix("-") if float(text) == 0.0 else text


def format_count(count: int, thing: str) -> str:
    """A number of things.

    >>> format_count(1, "switch"), format_count(1200, "sample")
    ('1 switch', '1,200 samples')
    """
    ending = "" if count == 1 else "es" if thing.endswith(("tch", "s")) else "s"
    return f"{count:,} {thing}{ending}"


def estimate_remaining(seconds: float, progress: float, earlier: float = 0.0) -> float:
    """Seconds left if it goes on as it went, infinite if nothing tells.

    Args:
        seconds: Since it goes on.
        progress: Share that is done.
        earlier: Share that was done before these seconds.
    """
    if progress >= 1.0:
        return 0.0
    done = progress - earlier
    return seconds * (1.0 - progress) / done if done > 0 else float("inf")


def format_duration(seconds: float) -> str:
    """A time span in two units at most.

    >>> format_duration(3.2), format_duration(75), format_duration(4000), format_duration(float("inf"))
    ('3 s', '1 min 15 s', '1 h 06 min', '-')
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
    """A curve of one line, from its lowest to its highest value; ``plain`` keeps to ASCII.

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
    # Divided first: of the least differences there are, the reciprocal is infinite.
    return "".join(
        bars[int((v - low) / (high - low) * top)] if isfinite(v) else " " for v in values
    )


NO_ANSWER = "(none)"
NAME_WIDTH = 27  # columns of the longest name of a measure, and the space behind it
COUNTS = ("positives", "negatives")  # how measures are called that are counts, no shares
CELL_WIDTH = 9  # columns of most figures, and the space behind them


def measures_table(measures: Mapping[str, Mapping[str, float | None]]) -> Table:
    """Measures as rows, and a column for each thing that is measured, the first one in bold.

    The rows stand in one order, whatever order a file has kept them in.
    """
    table = _new_table("")
    for place, who in enumerate(measures):
        style = "bold green" if place == 0 else ""
        table.add_column(who.replace("_", "-"), justify="right", style=style)
    for name in sorted(next(iter(measures.values())), key=_sort_key):
        cells = [format_number(one.get(name)) for one in measures.values()]
        table.add_row(name.replace("_", " "), *cells)
    return table


def class_tables(
    labels: Sequence[str], confusion: NDArray[np.float64], width: int
) -> Iterator[Table]:
    """Every measure of each class against the rest: a row a measure, a column a class.

    Args:
        labels: Labels by class number.
        confusion: Shape (C, C + 1), rows truths, columns answers, the last for none.
        width: Columns of the terminal; classes that don't fit go into a further table.
    """
    found = compute_per_class(labels, confusion)
    widest = max((len(escape_text(label)) + 2 for label in labels), default=0)
    together = max(1, (width - NAME_WIDTH) // max(CELL_WIDTH, widest))
    for start in range(0, len(labels), together):
        some = labels[start : start + together]
        table = _new_table("class", *map(escape_text, some))
        for name in found[some[0]]:
            show = _format_total if name.endswith(COUNTS) else format_number
            table.add_row(name.replace("_", " "), *(show(found[one][name]) for one in some))
        yield table


def confusion_table(labels: Sequence[str], confusion: NDArray[np.float64]) -> Table:
    """A row for each truth and a column for each answer, both in the order of the labels.

    A last column counts samples without an answer, if there are any.

    Args:
        labels: Labels by class number.
        confusion: Shape (C, C + 1).
    """
    names = [escape_text(label) for label in labels]
    shown = confusion if confusion[:, -1].any() else confusion[:, :-1]
    table = _new_table("truth \\ answer", *[*names, NO_ANSWER][: shown.shape[1]])
    for name, row in zip(names, shown, strict=True):
        table.add_row(name, *map(_format_total, row))
    return table


def regression_table(
    evaluation: RegressionEvaluation,
    baselines: Mapping[str, Mapping[str, float | None]] | None = None,
) -> Table:
    """Measures of a regression, and of baselines in columns of their own.

    With a threshold also how many answers were correct and wrong.
    """
    others = baselines or {}
    table = _new_table("", "model" if others else "", *others)
    table.add_row("samples", f"{len(evaluation):,}")
    if evaluation.unanswered:
        table.add_row("unanswered", f"{evaluation.unanswered:,}")
    if evaluation.threshold is not None:
        table.add_row(f"correct (within {evaluation.threshold:g})", f"{evaluation.correct:,}")
        table.add_row("wrong", f"{evaluation.wrong:,}")
    for name, value in evaluation.measures().items():
        cells = [format_number(one.get(name)) for one in others.values()]
        table.add_row(name.replace("_", " "), format_number(value), *cells)
    return table


def evaluation_tables(evaluation: Evaluation, width: int) -> Iterator[Table]:
    """All of a classification: measures of all classes, each class, who was taken for whom."""
    yield measures_table({"model": evaluation.measures()})
    yield from class_tables(evaluation.labels, evaluation.confusion, width)
    yield confusion_table(evaluation.labels, evaluation.confusion)


def _new_table(corner: str, *columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(corner)
    for name in columns:
        table.add_column(name, justify="right")
    return table


def _format_total(value: float) -> str:
    return f"{value:,.0f}"


def _sort_key(name: str) -> tuple[int, str]:
    """Put registered metrics first, in their order."""
    order = [known for metrics in METRICS.values() for known in metrics]
    return (order.index(name), "") if name in order else (len(order), name)

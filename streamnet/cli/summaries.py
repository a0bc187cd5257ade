"""Summaries as tables: measures side by side, each class against the rest, who was taken for whom.

Rows and columns always stand in the order of the class numbers: no figure can get under another
label. Colours and widths are the terminal's; the same as plain data is what evaluations return.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from streamnet.cli.figures import number
from streamnet.cli.terminal import printable
from streamnet.evaluation import Evaluation
from streamnet.evaluation import RegressionEvaluation
from streamnet.evaluation.evaluation import class_measures

__all__ = (
    "class_tables",
    "confusion_table",
    "evaluation_tables",
    "measures_table",
    "regression_table",
)

NO_ANSWER = "(none)"
NAME_WIDTH = 27  # columns of the longest name of a measure, and the space behind it
COUNTS = ("positives", "negatives")  # how measures are called that are counts, no shares
CELL_WIDTH = 9  # columns of most figures, and the space behind them

_CLASSIFICATION = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "micro_f1",
    "weighted_f1",
    "kappa",
    "kappa_temporal",
    "mcc",
    "log_loss",
    "brier",
    "roc_auc",
    "calibration_error",
)
_ORDER = (*_CLASSIFICATION, "mae", "rmse", "r2", "mape", "distance")


def measures_table(measures: Mapping[str, Mapping[str, float | None]]) -> Table:
    """Measures as rows, and a column for each thing that is measured, the first one in bold.

    The rows stand in one order, whatever order a file has kept them in.
    """
    table = _table("")
    for place, who in enumerate(measures):
        style = "bold green" if place == 0 else ""
        table.add_column(who.replace("_", "-"), justify="right", style=style)
    for name in sorted(next(iter(measures.values())), key=_place):
        cells = [number(one.get(name)) for one in measures.values()]
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
    found = class_measures(labels, confusion)
    widest = max((len(printable(label)) + 2 for label in labels), default=0)
    together = max(1, (width - NAME_WIDTH) // max(CELL_WIDTH, widest))
    for start in range(0, len(labels), together):
        some = labels[start : start + together]
        table = _table("class", *map(printable, some))
        for name in found[some[0]]:
            show = _count if name.endswith(COUNTS) else number
            table.add_row(name.replace("_", " "), *(show(found[one][name]) for one in some))
        yield table


def confusion_table(labels: Sequence[str], confusion: NDArray[np.float64]) -> Table:
    """A row for each truth and a column for each answer, both in the order of the labels.

    A last column counts samples without an answer, if there are any.

    Args:
        labels: Labels by class number.
        confusion: Shape (C, C + 1).
    """
    names = [printable(label) for label in labels]
    shown = confusion if confusion[:, -1].any() else confusion[:, :-1]
    table = _table("truth \\ answer", *[*names, NO_ANSWER][: shown.shape[1]])
    for name, row in zip(names, shown, strict=True):
        table.add_row(name, *map(_count, row))
    return table


def regression_table(
    evaluation: RegressionEvaluation,
    baselines: Mapping[str, Mapping[str, float | None]] | None = None,
) -> Table:
    """Measures of a regression, and of baselines in columns of their own.

    With a threshold also how many answers were correct and wrong.
    """
    others = baselines or {}
    table = _table("", "model" if others else "", *others)
    table.add_row("samples", f"{len(evaluation):,}")
    if evaluation.unanswered:
        table.add_row("unanswered", f"{evaluation.unanswered:,}")
    if evaluation.threshold is not None:
        table.add_row(f"correct (within {evaluation.threshold:g})", f"{evaluation.correct:,}")
        table.add_row("wrong", f"{evaluation.wrong:,}")
    for name, value in evaluation.measures().items():
        cells = [number(one.get(name)) for one in others.values()]
        table.add_row(name.replace("_", " "), number(value), *cells)
    return table


def evaluation_tables(evaluation: Evaluation, width: int) -> Iterator[Table]:
    """All of a classification: measures of all classes, each class, who was taken for whom."""
    yield measures_table({"model": evaluation.measures()})
    yield from class_tables(evaluation.labels, evaluation.confusion, width)
    yield confusion_table(evaluation.labels, evaluation.confusion)


def _table(corner: str, *columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(corner)
    for name in columns:
        table.add_column(name, justify="right")
    return table


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _place(name: str) -> tuple[int, str]:
    return (_ORDER.index(name), "") if name in _ORDER else (len(_ORDER), name)

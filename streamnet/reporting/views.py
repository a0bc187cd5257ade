"""What is known of a run as data frames and as plots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from streamnet.errors import ConfigurationError
from streamnet.plots import (
    Plot,
    calibration_figure,
    confusion_figure,
    history_figure,
    importance_figure,
    residual_figure,
)
from streamnet.reporting.outcomes import Confusion, Residuals
from streamnet.reporting.report import ColumnImportance, Drift, History, LeaderBoardRow
from streamnet.settings.fields import format_choices

# polars is imported where it is used: that takes 0.1 s, and most runs need no data frame.
if TYPE_CHECKING:
    import polars as pl

OutcomeKind = Literal["scores", "confusion", "calibration", "residuals"]
PlotKind = Literal[OutcomeKind, "importance"]


def history_to_frame(history: History) -> pl.DataFrame:
    """A row for each point of a history."""
    import polars as pl

    return pl.DataFrame({"samples": history.samples, **history.series})


def board_to_frame(rows: Sequence[LeaderBoardRow]) -> pl.DataFrame:
    """A row for each candidate of a leader board."""
    import polars as pl

    names = list(dict.fromkeys(name for row in rows for name in row.scores))
    return pl.DataFrame(
        {
            "candidate": [row.candidate for row in rows],
            "settings": [row.settings for row in rows],
            "state": [row.state for row in rows],
            "champion": [row.champion for row in rows],
            "born": [row.born for row in rows],
            "left": [row.left for row in rows],
            "loss": [row.loss for row in rows],
            "weight": [row.weight for row in rows],
            **{name: [row.scores.get(name) for row in rows] for name in names},
        },
        schema_overrides={
            "left": pl.Int64,
            **dict.fromkeys(["loss", "weight", *names], pl.Float64),
        },
    )


def drifts_to_frame(drifts: Sequence[Drift]) -> pl.DataFrame:
    """A row for each drift."""
    import polars as pl

    numbers = dict.fromkeys(("number", "since"), pl.Int64)
    losses = dict.fromkeys(("before", "after"), pl.Float64)
    rows = [(drift.number, drift.since, drift.before, drift.after) for drift in drifts]
    return pl.DataFrame(rows, schema={**numbers, **losses}, orient="row")


def importance_to_frame(columns: Sequence[ColumnImportance]) -> pl.DataFrame:
    """A row for each column."""
    import polars as pl

    rows = [(one.column, one.loss) for one in columns]
    return pl.DataFrame(rows, schema={"column": pl.String, "importance": pl.Float64}, orient="row")


def plot_importance(frame: pl.DataFrame) -> Plot:
    """Draw the importance of columns."""
    return Plot(importance_figure(frame["column"].to_list(), frame["importance"].to_list()))


def check_kind(kind: str, kinds: Any) -> None:
    """Refuse a plot of another kind than those of a literal type."""
    if kind not in get_args(kinds):
        raise ConfigurationError(f"kind is {kind!r}, but must be {format_choices(get_args(kinds))}")


def plot_outcome(kind: OutcomeKind, history: History, outcomes: Confusion | Residuals) -> Plot:
    """Draw scores over time, or what was served against the truth.

    Args:
        kind: What is drawn.
        history: The scores over time.
        outcomes: What was served against the truth.

    Raises:
        ConfigurationError: If the task has no such plot, or there are no samples.
    """
    if kind == "scores":
        marks = [(mark.number, mark.kind) for mark in history.marks]
        return Plot(history_figure(history.metric, history.samples, history.series, marks))
    if isinstance(outcomes, Confusion) != (kind != "residuals"):
        task = "classification" if isinstance(outcomes, Confusion) else "regression"
        raise ConfigurationError(f"kind is {kind!r}, but the task is {task}")
    if not isinstance(outcomes, Confusion):
        truths, predictions = zip(*outcomes.pairs, strict=True) if outcomes.pairs else ((), ())
        return Plot(residual_figure(truths, predictions))
    if kind == "confusion":
        return Plot(confusion_figure(outcomes.labels, [[*row, 0] for row in outcomes.matrix]))
    points = outcomes.calibration
    return Plot(
        calibration_figure([one.predicted for one in points], [one.observed for one in points])
    )

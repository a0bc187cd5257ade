"""What a run leaves: reports and models, also as data frames, plots and tables of a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, final, get_args

import polars as pl

from streamnet.errors import ConfigurationError
from streamnet.modelfiles.model import Model
from streamnet.plots import (
    Plot,
    calibration_figure,
    confusion_figure,
    history_figure,
    residual_figure,
)
from streamnet.reporting.html import render_report
from streamnet.reporting.outcomes import Confusion
from streamnet.reporting.report import Report
from streamnet.settings.fields import format_choices
from streamnet.sources.columns import format_names

PlotKind = Literal["scores", "confusion", "calibration", "residuals"]


@final
@dataclass(frozen=True)
class PartResult:
    """The outcome of a run, or of one of its parts.

    Attributes:
        report: The JSON report, see docs/report.md.
        model: The model to take home.
        predictions_file: The file with the predictions; None if none was written to this machine.
    """

    report: dict[str, Any]
    model: Model
    predictions_file: Path | None = None

    @cached_property
    def _typed(self) -> Report:
        return Report.from_dict(self.report)

    @property
    def curve(self) -> pl.DataFrame:
        """The main metric over time.

        A row for each stretch of the stream: ``samples``, the number of its last one, and the
        metric over the stretch, of what was served and of each baseline.
        """
        history = self._typed.history
        return pl.DataFrame({"samples": history.samples, **history.series})

    @property
    def candidates(self) -> pl.DataFrame:
        """The leader board: a row for each candidate, best first, with all of its scores."""
        rows = self._typed.leader_board
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

    @property
    def predictions(self) -> pl.DataFrame:
        """Every prediction beside its truth, read from the file that the run wrote.

        Raises:
            ConfigurationError: If it wrote none: `replay` does with ``predictions="FILE.csv"``.
        """
        if self.predictions_file is None:
            raise ConfigurationError(
                "the run wrote no predictions; name a file, as in "
                'replay(..., predictions="predictions.csv")'
            )
        read = pl.read_csv if self.predictions_file.suffix == ".csv" else pl.read_ndjson
        return read(self.predictions_file, infer_schema_length=None)

    def plot(self, kind: PlotKind = "scores") -> Plot:
        """A plot, which a notebook shows; it needs matplotlib (extra ``report``).

        Args:
            kind: "scores": the main metric over time, with drifts and changes of champion.
                "confusion" and "calibration": of labels. "residuals": of numbers.

        Raises:
            ConfigurationError: If there is no such plot, or the task has none.
        """
        if kind not in get_args(PlotKind):
            raise ConfigurationError(
                f"kind is {kind!r}, but must be {format_choices(get_args(PlotKind))}"
            )
        if kind == "scores":
            history = self._typed.history
            marks = [(mark.number, mark.kind) for mark in history.marks]
            figure = history_figure(history.metric, history.samples, history.series, marks)
            return Plot(figure)
        outcomes = self._typed.outcomes
        if isinstance(outcomes, Confusion) != (kind != "residuals"):
            raise ConfigurationError(f"kind is {kind!r}, but the task is {self._typed.task}")
        if not isinstance(outcomes, Confusion):
            truths, predictions = zip(*outcomes.pairs, strict=True) if outcomes.pairs else ((), ())
            return Plot(residual_figure(truths, predictions))
        if kind == "confusion":
            return Plot(confusion_figure(outcomes.labels, [[*row, 0] for row in outcomes.matrix]))
        points = outcomes.calibration
        return Plot(
            calibration_figure(
                [point.predicted for point in points], [point.observed for point in points]
            )
        )

    def _repr_html_(self) -> str:
        return render_report(self._typed, type(self).__name__)


@final
@dataclass(frozen=True)
class Result:
    """The outcome of a run.

    Its other attributes are those of its only part, see `PartResult`. Notebooks show it as tables
    with a curve.

    Attributes:
        parts: The outcome of each part by its name, such as ``"cnt+24"``; the name of the only one
            is empty.

    Raises:
        ConfigurationError: By all but ``parts``, if the run has several parts.
    """

    parts: dict[str, PartResult]

    @property
    def report(self) -> dict[str, Any]:
        """The JSON report, see docs/report.md."""
        return self._only.report

    @property
    def model(self) -> Model:
        """The model to take home."""
        return self._only.model

    @property
    def curve(self) -> pl.DataFrame:
        """The main metric over time, see `PartResult.curve`."""
        return self._only.curve

    @property
    def candidates(self) -> pl.DataFrame:
        """The leader board, see `PartResult.candidates`."""
        return self._only.candidates

    @property
    def predictions(self) -> pl.DataFrame:
        """Every prediction beside its truth, see `PartResult.predictions`."""
        return self._only.predictions

    def plot(self, kind: PlotKind = "scores") -> Plot:
        """A plot, which a notebook shows, see `PartResult.plot`.

        Args:
            kind: What is shown.
        """
        return self._only.plot(kind)

    @property
    def _only(self) -> PartResult:
        first, *others = self.parts.values()
        if others:
            raise ConfigurationError(
                f"the run has the parts {format_names(list(self.parts))}: result.parts has report "
                "and model of each"
            )
        return first

    def _repr_html_(self) -> str:
        return "\n".join(
            render_report(Report.from_dict(part.report), f"{type(self).__name__} {name}".rstrip())
            for name, part in self.parts.items()
        )

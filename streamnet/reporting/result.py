"""What a run leaves: reports and models, also as data frames, plots and tables of a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from streamnet.errors import ConfigurationError
from streamnet.metrics.formulas import format_number
from streamnet.modelfiles.model import Model
from streamnet.plots import Plot
from streamnet.reporting.html import render_report
from streamnet.reporting.insight import RecentSamples, rank_columns
from streamnet.reporting.report import Report
from streamnet.reporting.views import (
    PlotKind,
    board_to_frame,
    check_kind,
    drifts_to_frame,
    history_to_frame,
    importance_to_frame,
    plot_importance,
    plot_outcome,
)
from streamnet.sources.columns import format_names

if TYPE_CHECKING:
    import polars as pl


@final
@dataclass(frozen=True)
class PartResult:
    """The outcome of a run, or of one of its parts.

    Attributes:
        report: The JSON report, see docs/report.md.
        model: The model to take home.
        predictions_file: The file with the predictions; None if none was written to this machine.
        recent: The last samples with their predictions; None if the run keeps none.
        guests: The trained guests by name, which the model is without, but for quarantined ones.
    """

    report: dict[str, Any]
    model: Model
    predictions_file: Path | None = None
    recent: RecentSamples | None = field(default=None, repr=False, compare=False)
    guests: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def _typed(self) -> Report:
        return Report.from_dict(self.report)

    @property
    def curve(self) -> pl.DataFrame:
        """The main metric over time.

        A row for each stretch of the stream: ``samples``, the number of its last one, and the
        metric over the stretch, of what was served and of each baseline.
        """
        return history_to_frame(self._typed.history)

    @property
    def candidates(self) -> pl.DataFrame:
        """The leader board: a row for each candidate, best first, with all of its scores."""
        return board_to_frame(self._typed.leader_board)

    @property
    def drifts(self) -> pl.DataFrame:
        """The last drifts: a row for each, with the mean loss, from 0 to 1, before and after it.

        ``number`` is that of the sample at which it was detected, ``since`` the estimated one of
        the first sample with the higher loss.
        """
        return drifts_to_frame(self._typed.last_drifts)

    @property
    def importance(self) -> pl.DataFrame:
        """How much worse the last 256 samples are predicted once a column is permuted among them.

        A row for each column, the most important first; none if there were fewer than 30 samples,
        or columns have no names. See `streamnet.permutation_importance`, which takes other samples.

        Raises:
            ConfigurationError: If the run is none of `replay`, which alone keeps these samples.
        """
        if self.recent is None:
            raise ConfigurationError(
                "the last samples are kept by replay() alone; "
                "use streamnet.permutation_importance(result.model, X, y)"
            )
        ranked, _ = rank_columns(self.model, self.recent.cases())
        return importance_to_frame(ranked)

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
        import polars as pl

        read = pl.read_csv if self.predictions_file.suffix == ".csv" else pl.read_ndjson
        return read(self.predictions_file, infer_schema_length=None)

    def plot(self, kind: PlotKind = "scores") -> Plot:
        """A plot, which a notebook shows; it needs matplotlib (extra ``report``).

        Args:
            kind: "scores": the main metric over time, with drifts and changes of champion.
                "confusion" and "calibration": of labels. "residuals": of numbers. "importance": of
                columns, see `importance`.

        Raises:
            ConfigurationError: If there is no such plot, or the task has none.
        """
        check_kind(kind, PlotKind)
        if kind == "importance":
            return plot_importance(self.importance)
        return plot_outcome(kind, self._typed.history, self._typed.outcomes)

    def __repr__(self) -> str:
        report = self._typed
        metric = report.status.metric
        score = format_number(report.served[metric])
        return f"{type(self).__name__}({report.learned:,} samples learned, {metric} {score})"

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
    def guests(self) -> Mapping[str, Any]:
        """The trained guests, see `PartResult`."""
        return self._only.guests

    @property
    def curve(self) -> pl.DataFrame:
        """The main metric over time, see `PartResult.curve`."""
        return self._only.curve

    @property
    def candidates(self) -> pl.DataFrame:
        """The leader board, see `PartResult.candidates`."""
        return self._only.candidates

    @property
    def drifts(self) -> pl.DataFrame:
        """The last drifts, see `PartResult.drifts`."""
        return self._only.drifts

    @property
    def importance(self) -> pl.DataFrame:
        """How important each column is, see `PartResult.importance`."""
        return self._only.importance

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

    def __repr__(self) -> str:
        parts = (f"{name!r}: {part!r}" if name else repr(part) for name, part in self.parts.items())
        return f"{type(self).__name__}({', '.join(parts)})"

    def _repr_html_(self) -> str:
        return "\n".join(
            render_report(Report.from_dict(part.report), f"{type(self).__name__} {name}".rstrip())
            for name, part in self.parts.items()
        )

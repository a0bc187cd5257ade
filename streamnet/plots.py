"""Plots of scores over time, confusion, calibration, residuals and importance, by matplotlib."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamnet.durability.files import explain_write_errors, write_durably
from streamnet.errors import ConfigurationError
from streamnet.validation import check_array, check_extra

if TYPE_CHECKING:
    from matplotlib.figure import Figure


SUFFIXES = (".png", ".svg")
"""Endings of picture files."""

MAX_ANNOTATED_CLASSES = 30  # classes, before there is no room for a number in each cell
MAX_LABEL_LENGTH = 16  # characters of a label
NO_PREDICTION = "(none)"
BINS = 40
MAX_COLUMNS = 20  # of a plot of their importance
MARK_COLORS = {"champion": "tab:green", "drift": "tab:red", "classes": "tab:purple"}


def confusion_figure(labels: Sequence[Any], confusion: ArrayLike) -> Figure:
    """A heat map of a confusion matrix: a row for each truth, a column for each prediction.

    The color is the share of the row, so that rare classes are seen as well as frequent ones; the
    number is that of samples. ``confusion`` has shape (C, C + 1): its last column, for missing
    predictions, is shown only if there are any.

    >>> confusion_figure(("R", "M"), [[23, 8, 0], [0, 30, 0]]).axes[0].get_xlabel()
    'prediction'
    """
    counts = check_array("confusion", confusion)
    classes = len(labels)
    if not classes:
        raise ConfigurationError("labels is empty, but a plot needs one")
    if counts.shape != (classes, classes + 1):
        raise ConfigurationError(
            f"confusion has shape {counts.shape}, but must have {(classes, classes + 1)}"
        )
    shown = counts if counts[:, -1].any() else counts[:, :-1]
    sums = counts.sum(1, keepdims=True)
    shares = np.divide(shown, sums, out=np.zeros_like(shown), where=sums > 0)
    side = min(12.0, 2.5 + 0.55 * classes)
    figure = _figure(side + 1.0, side)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    figure.colorbar(image, ax=axes, label="share of the truth", fraction=0.046)
    names = [_shorten(str(label)) for label in labels]
    columns = [*names, NO_PREDICTION][: shown.shape[1]]
    slanted = max(map(len, columns)) > 3
    axes.set_xticks(
        range(len(columns)),
        columns,
        parse_math=False,
        rotation=45 if slanted else 0,
        ha="right" if slanted else "center",
    )
    axes.set_yticks(range(classes), names, parse_math=False)
    axes.set_xlabel("prediction")
    axes.set_ylabel("truth")
    if classes <= MAX_ANNOTATED_CLASSES:
        for (row, column), share in np.ndenumerate(shares):
            color = "white" if share > 0.5 else "black"
            text = f"{shown[row, column]:,.0f}"
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=7)
    return figure


def residual_figure(truths: ArrayLike, predictions: ArrayLike) -> Figure:
    """Predictions beside truths, and a histogram of the errors; infinite ones are left out.

    >>> residual_figure([1.0, 2.0], [1.5, 2.0]).axes[1].get_xlabel()
    'truth - prediction'
    """
    y, a = check_array("truths", truths), check_array("predictions", predictions)
    if y.ndim != 1 or y.shape != a.shape:
        raise ConfigurationError(f"predictions has shape {a.shape}, but must have (n,) = {y.shape}")
    with np.errstate(over="ignore", invalid="ignore"):
        known = np.isfinite(y - a)  # of huge numbers it may not be, where both are
    if not known.any():
        raise ConfigurationError("predictions has no finite number, but a plot needs one")
    y, a = y[known], a[known]
    figure = _figure(9.0, 4.2)
    beside, errors = figure.subplots(1, 2)
    _draw_scatter(beside, y, a)
    errors.hist(y - a, bins=BINS, color="tab:blue")
    errors.axvline(0.0, color="black", linewidth=0.8)
    errors.set_xlabel("truth - prediction")
    errors.set_ylabel("samples")
    return figure


def history_figure(
    metric: str,
    samples: Sequence[int],
    series: Mapping[str, Sequence[float | None]],
    marks: Iterable[tuple[int, str]] = (),
) -> Figure:
    """A metric over time: a line for each of ``series``, a vertical line for each of ``marks``.

    Args:
        metric: Name of the metric.
        samples: Number of samples up to each point.
        series: Values at the points by name; None where one is undefined.
        marks: Number of a sample, and the kind of what happened there.

    >>> history_figure("accuracy", [10, 20], {"served": [0.5, 0.9]}).axes[0].get_ylabel()
    'accuracy'
    """
    if not samples or not series:
        raise ConfigurationError("samples is empty, but a plot needs one")
    figure = _figure(9.0, 3.6)
    axes = figure.subplots()
    for name, values in series.items():
        numbers = [np.nan if value is None else value for value in values]
        axes.plot(samples, numbers, label=name.replace("_", " "), linewidth=1.2)
    seen: set[str] = set()
    for number, kind in marks:
        label = None if kind in seen else kind
        axes.axvline(number, color=MARK_COLORS[kind], linestyle=":", linewidth=0.9, label=label)
        seen.add(kind)
    axes.set_xlabel("samples")
    axes.set_ylabel(metric)
    axes.legend(loc="best", fontsize=8)
    return figure


def calibration_figure(predicted: ArrayLike, observed: ArrayLike) -> Figure:
    """How often what was predicted with some probability was true, beside the ideal line.

    >>> calibration_figure([0.1, 0.9], [0.2, 0.8]).axes[0].get_ylabel()
    'fraction that was true'
    """
    x, y = check_array("predicted", predicted), check_array("observed", observed)
    if x.ndim != 1 or x.shape != y.shape:
        raise ConfigurationError(f"observed has shape {y.shape}, but must have (n,) = {x.shape}")
    figure = _figure(4.6, 4.2)
    axes = figure.subplots()
    axes.plot([0.0, 1.0], [0.0, 1.0], color="black", linewidth=0.8, label="ideal")
    axes.plot(x, y, marker="o", markersize=4, label="served")
    axes.set_xlabel("predicted probability")
    axes.set_ylabel("fraction that was true")
    axes.legend(loc="upper left")
    return figure


def importance_figure(columns: Sequence[str], importance: Sequence[float]) -> Figure:
    """A bar for each column, of the 20 first ones.

    Args:
        columns: Names, the most important first.
        importance: How much worse samples are predicted without each.

    >>> importance_figure(["x", "y"], [0.4, 0.1]).axes[0].get_xlabel()
    'importance'
    """
    if not columns:
        raise ConfigurationError("columns is empty, but a plot needs one")
    names = [_shorten(name) for name in columns[:MAX_COLUMNS]]
    figure = _figure(6.4, 1.0 + 0.28 * len(names))
    axes = figure.subplots()
    places = range(len(names))
    axes.barh(places, importance[:MAX_COLUMNS], color="tab:blue")
    axes.set_yticks(places, names, parse_math=False)
    axes.invert_yaxis()
    axes.axvline(0.0, color="black", linewidth=0.8)
    axes.set_xlabel("importance")
    return figure


@final
@dataclass(frozen=True)
class Plot:
    """A figure that notebooks show.

    Attributes:
        figure: The figure of matplotlib, which may be changed.
    """

    figure: Figure

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a .png or .svg file.

        Args:
            path: Path of the file.

        Raises:
            ConfigurationError: If the ending is another one.
        """
        save_figure(self.figure, path)

    def _repr_png_(self) -> bytes:
        return _draw(self.figure, "png")


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure to a .png or .svg file atomically; the same figure gives the same bytes."""
    suffix = Path(path).suffix
    if suffix not in SUFFIXES:
        raise ConfigurationError(
            f"path is {os.fspath(path)!r}, but must end in {' or '.join(SUFFIXES)}"
        )
    picture = _draw(figure, suffix[1:])
    with explain_write_errors(f"plot {path}"):
        write_durably(path, picture)


def _draw(figure: Figure, kind: str) -> bytes:
    """A figure as a file of some kind, "png" or "svg"."""
    import matplotlib as mpl

    picture = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with mpl.rc_context({"svg.hashsalt": "streamnet"}), warnings.catch_warnings():
        # A label in a script that the font lacks is drawn as boxes, which is no reason to stop.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(picture, format=kind, dpi=120, metadata=metadata, bbox_inches="tight")
    return picture.getvalue()


def _figure(width: float, height: float) -> Figure:
    """An empty figure that no window system knows of; sizes in inches."""
    check_extra("report", "matplotlib")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _draw_scatter(axes: Any, y: NDArray[np.float64], a: NDArray[np.float64]) -> None:
    ends = [min(y.min(), a.min()), max(y.max(), a.max())]
    axes.plot(ends, ends, color="black", linewidth=0.8, label="exact")
    axes.scatter(y, a, s=8, alpha=0.4, linewidths=0, rasterized=True)
    axes.set_xlabel("truth")
    axes.set_ylabel("prediction")
    axes.legend(loc="upper left")


def _shorten(label: str) -> str:
    text = "".join(c if c.isprintable() else "\ufffd" for c in label)
    return text if len(text) <= MAX_LABEL_LENGTH else f"{text[: MAX_LABEL_LENGTH - 1]}…"

"""Plots of a confusion matrix and of regression residuals; they need matplotlib."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure to a .png or .svg file atomically; the same figure gives the same bytes."""
    import matplotlib as mpl

    suffix = Path(path).suffix
    if suffix not in SUFFIXES:
        raise ConfigurationError(
            f"path is {os.fspath(path)!r}, but must end in {' or '.join(SUFFIXES)}"
        )
    picture = io.BytesIO()
    metadata = {"Date": None} if suffix == ".svg" else {"Software": None}
    with mpl.rc_context({"svg.hashsalt": "streamnet"}), warnings.catch_warnings():
        # A label in a script that the font lacks is drawn as boxes, which is no reason to stop.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        kind = suffix[1:]
        figure.savefig(picture, format=kind, dpi=120, metadata=metadata, bbox_inches="tight")
    with explain_write_errors(f"plot {path}"):
        write_durably(path, picture.getvalue())


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

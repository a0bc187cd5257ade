"""Grading a model on files with the truth, and showing the grades."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from streamnet.cli.asking import Rejected
from streamnet.cli.asking import answers
from streamnet.cli.figures import number
from streamnet.cli.figures import plural
from streamnet.cli.terminal import Terminal
from streamnet.cli.terminal import printable
from streamnet.durability.writing import write_durably
from streamnet.errors import ConfigurationError
from streamnet.errors import DataError
from streamnet.errors import StreamnetError
from streamnet.evaluation import ClassificationBaselines
from streamnet.evaluation import ClassificationEvaluator
from streamnet.evaluation import RegressionBaselines
from streamnet.evaluation import RegressionEvaluator
from streamnet.learning.evaluator import measures_of
from streamnet.modelfiles import Model
from streamnet.samples import Task

__all__ = ("Grades", "grade", "measures_table", "show")

_WIDEST = 12
_CLASSIFICATION = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "kappa",
    "kappa_temporal",
    "mcc",
    "log_loss",
    "brier",
)
_ORDER = (*_CLASSIFICATION, "mae", "rmse", "r2", "mape")


class Grades(NamedTuple):
    """Measures of a model and of the baselines on the same samples."""

    samples: int
    measures: dict[str, dict[str, float | None]]  # by "model" and the names of the baselines
    labels: tuple[str, ...]
    confusion: NDArray[np.float64] | None  # rows are truths, columns are answers
    note: str | None  # about rejected records


class _Tracks:
    """Model and baselines, scored side by side."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.labels = list(model.labels)
        self.numbers = {name: i for i, name in enumerate(self.labels)}
        self.classify = model.task is Task.CLASSIFICATION
        self.classes = ClassificationEvaluator(1), ClassificationEvaluator(2)
        self.values = RegressionEvaluator(1), RegressionEvaluator(2)
        self.class_baselines = ClassificationBaselines()
        self.value_baselines = RegressionBaselines()

    def update(self, truth: NDArray[Any], outputs: NDArray[np.float64]) -> None:
        if not self.classify:
            self.values[0].update(outputs.T, truth)
            self.values[1].update(self.value_baselines.answers(truth), truth)
            return
        for name in truth.tolist():
            if name not in self.numbers:
                self.numbers[name] = len(self.labels)
                self.labels.append(name)
        label = np.array([self.numbers[name] for name in truth.tolist()], np.int32)
        known = np.full(len(label), len(self.model.labels), np.int32)
        self.classes[0].update(outputs[None].astype(np.float32), label, known)
        simple = self.class_baselines.answers(label, known, len(self.labels))
        everything = np.full(len(label), len(self.labels), np.int32)
        self.classes[1].update(simple, label, everything)

    def grades(self, samples: int, note: str | None) -> Grades:
        model, simple = self.classes if self.classify else self.values
        baselines = self.class_baselines if self.classify else self.value_baselines
        measures = {"model": measures_of(model.measures(0))}
        for track, name in enumerate(baselines.names):
            measures[name] = measures_of(simple.measures(track))
        confusion = self.classes[0].confusion(0) if self.classify else None
        return Grades(samples, measures, tuple(self.labels), confusion, note)


async def grade(
    model: Model,
    files: tuple[str, ...],
    target: str | None,
    options: dict[str, Any],
) -> Grades:
    """Score a model on files.

    Raises:
        ConfigurationError: If there are no files, or no target is known.
        DataError: If a file can't be read or no sample has a truth.
    """
    if target is None and model.about.get("target") is None:
        raise ConfigurationError("target is not given, and the model does not know its own")
    tracks = _Tracks(model)
    samples, rejected = 0, Rejected()
    async with aclosing(answers(model, files, options, target=target, labelled=True)) as blocks:
        async for block, outputs in blocks:
            rejected.update(block.rejected)
            samples += len(block)
            if len(block) and block.target is not None:
                tracks.update(block.target, outputs)
    if not samples:
        raise DataError(rejected.note or "the files hold no samples")
    return tracks.grades(samples, rejected.note)


def show(grades: Grades, report: Path | None) -> None:
    """Print the grades, and write them where asked.

    Raises:
        StreamnetError: If the report can't be written.
    """
    if report is not None:
        _write(grades, report)
    terminal = Terminal()
    terminal.say(f"{plural(grades.samples, 'sample')}\n")
    terminal.print(measures_table(grades.measures))
    if grades.confusion is None:
        return
    confusion = _confusion(grades.labels, grades.confusion)
    if len(grades.labels) <= _WIDEST and terminal.measure(confusion).maximum <= terminal.width:
        terminal.say("\nconfusion: a row for each truth, a column for each answer\n")
        terminal.print(confusion)
    else:
        kept = f"is in {report}" if report else "goes into --report"
        terminal.say(f"\nconfusion: too wide to be shown, it {kept}")


def measures_table(measures: Mapping[str, Mapping[str, float | None]]) -> Table:
    """Measures as rows, and a column for each thing that is measured, the first one in bold.

    The rows stand in one order, whatever order a file has kept them in.
    """
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("")
    for place, who in enumerate(measures):
        style = "bold green" if place == 0 else ""
        table.add_column(who.replace("_", "-"), justify="right", style=style)
    for name in sorted(next(iter(measures.values())), key=_place):
        cells = [number(one.get(name)) for one in measures.values()]
        table.add_row(name.replace("_", " "), *cells)
    return table


def _place(name: str) -> tuple[int, str]:
    return (_ORDER.index(name), "") if name in _ORDER else (len(_ORDER), name)


def _confusion(labels: tuple[str, ...], confusion: NDArray[np.float64]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("")
    names = [printable(label) for label in labels[: len(confusion)]]
    for name in names:
        table.add_column(name, justify="right")
    for name, row in zip(names, confusion, strict=True):
        table.add_row(name, *(f"{count:,.0f}" for count in row[: len(names)]))
    return table


def _write(grades: Grades, path: Path) -> None:
    values = {"samples": grades.samples, "measures": grades.measures, "labels": grades.labels}
    if grades.confusion is not None:
        values["confusion"] = grades.confusion.tolist()
    text = json.dumps(values, indent=1, allow_nan=False) + "\n"
    try:
        write_durably(path, text.encode())
    except OSError as error:
        raise StreamnetError(f"report {path} can't be written: {error.strerror}") from error

"""Grading a model on files with the truth, and showing the grades."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from streamnet.cli.asking import answers
from streamnet.cli.asking import rejected_note
from streamnet.errors import ConfigurationError
from streamnet.errors import DataError
from streamnet.evaluation import ClassificationBaselines
from streamnet.evaluation import ClassificationEvaluator
from streamnet.evaluation import RegressionBaselines
from streamnet.evaluation import RegressionEvaluator
from streamnet.learning.evaluator import measures_of
from streamnet.modelfiles import Model
from streamnet.samples import Task

__all__ = ("Grades", "grade", "show")

_WIDEST = 12


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
    model: Model, files: tuple[str, ...], target: str | None, options: dict[str, Any]
) -> Grades:
    """Score a model on files.

    Raises:
        ConfigurationError: If there are no files or no target is known.
        DataError: If a file can't be read or no sample has a truth.
    """
    if not files:
        raise ConfigurationError("no file is given to evaluate on")
    if target is None and model.about.get("target") is None:
        raise ConfigurationError("target is not given, and the model does not know its own")
    tracks = _Tracks(model)
    samples, rejected = 0, []
    async for block, outputs in answers(model, files, target=target, labelled=True, **options):
        rejected += block.rejected
        samples += len(block)
        if len(block) and block.target is not None:
            tracks.update(block.target, outputs)
    note = rejected_note(rejected)
    if not samples:
        raise DataError(note or "the files hold no samples")
    return tracks.grades(samples, note)


def show(grades: Grades, report: Path | None) -> None:
    """Print the grades, and write them where asked.

    Raises:
        ConfigurationError: If the report can't be written.
    """
    console = Console(highlight=False)
    table = Table(title=f"{grades.samples:,} samples", title_justify="left", box=None)
    table.add_column("")
    for name in grades.measures["model"]:
        table.add_column(name, justify="right")
    for who, measures in grades.measures.items():
        cells = ["-" if value is None else f"{value:.4f}" for value in measures.values()]
        table.add_row(who.replace("_", "-"), *cells, style="bold" if who == "model" else "")
    console.print(table)
    if grades.confusion is not None and len(grades.labels) <= _WIDEST:
        console.print(_confusion(grades.labels, grades.confusion))
    if report is not None:
        _write(grades, report)


def _confusion(labels: tuple[str, ...], confusion: NDArray[np.float64]) -> Table:
    table = Table(title="\nconfusion (rows are truths)", title_justify="left", box=None)
    table.add_column("")
    names = labels[: len(confusion)]
    for name in names:
        table.add_column(name, justify="right")
    for name, row in zip(names, confusion, strict=True):
        table.add_row(name, *(f"{count:,.0f}" for count in row[: len(names)]))
    return table


def _write(grades: Grades, path: Path) -> None:
    values = {"samples": grades.samples, "measures": grades.measures, "labels": grades.labels}
    if grades.confusion is not None:
        values["confusion"] = grades.confusion.tolist()
    try:
        path.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"report {path}: {error.strerror}") from error

"""Evaluation of a saved model on labeled files, and its tables, report and plot."""

from __future__ import annotations

import json
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamnet.cli.terminal import Terminal
from streamnet.cli.views.predictions import RejectedRecords, predict_files
from streamnet.cli.views.tables import (
    class_tables,
    confusion_table,
    format_count,
    measures_table,
    regression_table,
)
from streamnet.durability.files import write_durably
from streamnet.errors import ConfigurationError, DataError, StreamnetError
from streamnet.features.columns.category import match_spelling
from streamnet.metrics import (
    ClassificationBaselines,
    ClassificationEvaluator,
    Evaluation,
    RegressionBaselines,
    RegressionEvaluation,
    RegressionEvaluator,
)
from streamnet.metrics.evaluation import compute_per_class
from streamnet.metrics.formulas import nan_to_none
from streamnet.modelfiles import Model
from streamnet.samples import Task

__all__ = ("DisplayOptions", "EvaluationResult", "evaluate_files", "show_evaluation")

_MAX_CLASSES = 12
_MAX_LABELS = 5  # labels in a sentence
_MAX_COLUMNS = 1 << 20  # columns


class DisplayOptions(NamedTuple):
    """What is to be seen beside the measures."""

    per_class: bool = False
    confusion: bool = False  # however wide it is
    plot: Path | None = None
    threshold: float | None = None  # of a regression: answers nearer than that are correct
    all_measures: bool = False  # also those that need all answers at once


class EvaluationResult(NamedTuple):
    """Measures of a model and of the baselines on the same samples."""

    samples: int
    measures: dict[str, dict[str, float | None]]  # by "model" and the names of the baselines
    labels: tuple[str, ...]
    confusion: NDArray[np.float64] | None  # shape=(C, C + 1), rows truths, columns answers
    pairs: RegressionEvaluation | None  # truths and answers, where they have to be looked at again
    note: str | None  # about rejected records
    known: int  # labels that the model knows: the first ones

    @property
    def warning(self) -> str | None:
        """What is odd about the truths: 1 and true are two labels, and so are a and A."""
        if self.confusion is None or self.confusion[: self.known].any():
            return None
        told, known = self.labels[self.known :], self.labels[: self.known]
        words = [", ".join(map(repr, names[:_MAX_LABELS])) for names in (told, known)]
        return f"no truth is a label of the model: there are {words[0]}, but it knows {words[1]}"


class _ModelAndBaselines:
    """Model and baselines, scored side by side."""

    def __init__(self, model: Model, shown: DisplayOptions) -> None:
        self.model = model
        self.labels = list(model.labels)
        self.numbers = {name: i for i, name in enumerate(self.labels)}
        self.classify = model.task is Task.CLASSIFICATION
        self.classes = ClassificationEvaluator(1), ClassificationEvaluator(2)
        self.values = RegressionEvaluator(1), RegressionEvaluator(2)
        self.class_baselines = ClassificationBaselines()
        self.value_baselines = RegressionBaselines()
        # All answers are kept only where they are asked for: otherwise memory stays flat.
        given = (shown.plot, shown.threshold)
        again = shown.all_measures or any(one is not None for one in given)
        self.everything = shown.all_measures
        self.pairs: RegressionEvaluation | None = None
        self.shares: Evaluation | None = None
        if again and not self.classify:
            self.pairs = RegressionEvaluation(threshold=shown.threshold)
        elif shown.all_measures:
            self.shares = Evaluation(model.labels)

    def update(self, truth: NDArray[Any], outputs: NDArray[np.float64]) -> None:
        if not self.classify:
            self.values[0].update(outputs.T, truth)
            self.values[1].update(self.value_baselines.answers(truth), truth)
            if self.pairs is not None:
                for pair in zip(truth.tolist(), outputs[:, 0].tolist(), strict=True):
                    self.pairs.add(*pair)
            return
        names = [match_spelling(name, self.numbers) for name in truth.tolist()]
        for name in names:
            if name not in self.numbers:
                self.numbers[name] = len(self.labels)
                self.labels.append(name)
        if self.shares is not None:
            for name, row in zip(names, outputs, strict=True):
                self.shares.add(name, probabilities=row)
        label = np.array([self.numbers[name] for name in names], np.int32)
        known = np.full(len(label), len(self.model.labels), np.int32)
        self.classes[0].update(outputs[None].astype(np.float32), label, known)
        simple = self.class_baselines.answers(label, known, len(self.labels))
        # Before the first truth the baselines have no answer, not that of the first label.
        answered = simple.any(axis=(0, 2))
        self.classes[1].update(simple, label, (answered * len(self.labels)).astype(np.int32))

    def grades(self, samples: int, note: str | None) -> EvaluationResult:
        model, simple = self.classes if self.classify else self.values
        baselines = self.class_baselines if self.classify else self.value_baselines
        measures = {"model": {**self._full_metrics(), **nan_to_none(model.measures(0))}}
        for track, name in enumerate(baselines.names):
            measures[name] = nan_to_none(simple.measures(track))
        confusion = self._confusion() if self.classify else None
        known = len(self.model.labels)
        return EvaluationResult(
            samples, measures, tuple(self.labels), confusion, self.pairs, note, known
        )

    def _full_metrics(self) -> dict[str, float | None]:
        """What can only be told of all answers at once, where it is asked for."""
        evaluation = self.shares or self.pairs if self.everything else None
        return {} if evaluation is None else nan_to_none(evaluation.measures())

    def _confusion(self) -> NDArray[np.float64]:
        """The confusion with room for every label, also for those that never came up."""
        found = self.classes[0].confusion(0)
        seen = len(found)
        whole = np.zeros((len(self.labels), len(self.labels) + 1))
        whole[:seen, :seen] = found[:, :seen]
        whole[:seen, -1] = found[:, -1]
        return whole


async def evaluate_files(
    model: Model,
    files: tuple[str, ...],
    target: str | None,
    options: dict[str, Any],
    shown: DisplayOptions,
) -> EvaluationResult:
    """Score a model on files.

    Raises:
        ConfigurationError: If there are no files, no target is known, or what is to be shown is
            nothing that the model's task has.
        DataError: If a file can't be read or no sample has a truth.
    """
    if target is None and model.about.get("target") is None:
        raise ConfigurationError("target is not given, and the model does not know its own")
    _check_options(model, shown)
    tracks = _ModelAndBaselines(model, shown)
    samples, rejected = 0, RejectedRecords()
    async with aclosing(
        predict_files(model, files, options, target=target, labelled=True)
    ) as blocks:
        async for block, outputs in blocks:
            rejected.update(block.rejected)
            samples += len(block)
            if len(block) and block.target is not None:
                tracks.update(block.target, outputs)
    if not samples:
        raise DataError(rejected.note or "the files hold no samples")
    return tracks.grades(samples, rejected.note)


def _check_options(model: Model, shown: DisplayOptions) -> None:
    if model.task is Task.CLASSIFICATION:
        if shown.threshold is not None:
            raise ConfigurationError("threshold is given, but the model answers with labels")
        return
    for name in ("per_class", "confusion"):
        if getattr(shown, name):
            raise ConfigurationError(f"{name} is given, but the model answers with numbers")


def show_evaluation(grades: EvaluationResult, report: Path | None, shown: DisplayOptions) -> None:
    """Print the grades, and write them where asked.

    Raises:
        StreamnetError: If the report or the plot can't be written.
    """
    if report is not None:
        _write_report(grades, report)
    if shown.plot is not None:
        _save_plot(grades, shown.plot)
    terminal = Terminal()
    terminal.say(f"{format_count(grades.samples, 'sample')}\n")
    terminal.print(measures_table(grades.measures))
    if grades.pairs is not None and shown.threshold is not None:
        terminal.say("")
        terminal.print(regression_table(grades.pairs))
    if grades.confusion is None:
        return
    if shown.per_class:
        for table in class_tables(grades.labels, grades.confusion, terminal.width):
            terminal.say("")
            terminal.print(table)
    _show_confusion(terminal, grades.labels, grades.confusion, report, always=shown.confusion)


def _show_confusion(
    terminal: Terminal,
    labels: tuple[str, ...],
    confusion: NDArray[np.float64],
    report: Path | None,
    *,
    always: bool,
) -> None:
    table = confusion_table(labels, confusion)
    unbounded = terminal.options.update(max_width=_MAX_COLUMNS)
    width = terminal.measure(table, options=unbounded).maximum
    if always or (len(labels) <= _MAX_CLASSES and width <= terminal.width):
        terminal.say("\nconfusion: a row for each truth, a column for each answer\n")
        terminal.width = max(terminal.width, width)
        terminal.print(table)
    else:
        kept = f"is in {report}" if report else "goes into --report"
        terminal.say(f"\nconfusion: too wide, it {kept}; --confusion shows it")


def _save_plot(grades: EvaluationResult, path: Path) -> None:
    from streamnet.plots import confusion_figure, residual_figure, save_figure

    if grades.confusion is not None:
        figure = confusion_figure(grades.labels, grades.confusion)
    else:
        assert grades.pairs is not None  # kept for the plot's sake
        figure = residual_figure(grades.pairs.truths, grades.pairs.answers)
    save_figure(figure, path)


def _write_report(grades: EvaluationResult, path: Path) -> None:
    values: dict[str, Any] = {
        "samples": grades.samples,
        "measures": grades.measures,
        "labels": grades.labels,
    }
    if grades.confusion is not None:
        values["confusion"] = grades.confusion.tolist()
        values["classes"] = compute_per_class(grades.labels, grades.confusion)
    if grades.pairs is not None:
        values["regression"] = grades.pairs.as_dict()
    text = json.dumps(values, indent=1, allow_nan=False) + "\n"
    try:
        write_durably(path, text.encode())
    except OSError as error:
        raise StreamnetError(f"report {path} can't be written: {error.strerror}") from error

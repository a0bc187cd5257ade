"""A saved model applied to files: predictions, written as CSV or JSON lines, and evaluation."""

from __future__ import annotations

import csv
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from itertools import compress
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple, TextIO, final

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamnet.durability.files import explain_write_errors
from streamnet.errors import ConfigurationError, DataError, SchemaError
from streamnet.features.columns.category import match_spelling
from streamnet.keyed.history import HISTORY_COLUMNS
from streamnet.metrics import (
    ClassificationBaselines,
    ClassificationEvaluator,
    Evaluation,
    RegressionBaselines,
    RegressionEvaluation,
    RegressionEvaluator,
)
from streamnet.metrics.classification import NONE_PREDICTED
from streamnet.metrics.formulas import nan_to_none
from streamnet.metrics.per_class import compute_per_class
from streamnet.modelfiles import Model
from streamnet.pipeline.outputs import INTERVAL_COLUMNS
from streamnet.reporting.report import Scores
from streamnet.samples import Block, DeadLetter, Field, Kind, Schema, Task
from streamnet.settings.horizon import describe_horizon
from streamnet.sources import Columns, open_files
from streamnet.sources.base import Source
from streamnet.sources.roles import IdentifiedSource, WeightedSource
from streamnet.sources.unknown_columns import ColumnCheck

COLUMNS = ("source", "position", "answer", "probabilities")
"""Columns of written predictions."""

_MAX_LABELS = 5  # that a warning lists
Row = tuple[Any, ...]
Weights = NDArray[np.float64]


async def predict_files(
    model: Model,
    files: Sequence[str],
    options: Mapping[str, Any] | None = None,
    *,
    target: str | None = None,
    weight: str | None = None,
    ids: str | None = None,
    labeled: bool = False,
    last_targets: Sequence[Any] | None = None,
) -> AsyncGenerator[tuple[Block, NDArray[Any]], None]:
    """Yield each block of samples with the model's outputs.

    ``options`` are keyword arguments of `open_files`, ``missing`` and ``thousands`` of `Columns`,
    and ``on_unknown`` of `InferenceSettings`; None stands for a default. ``target`` is the column
    with the true values, by default the one that the model learned; it is required if ``labeled``.
    ``weight`` is a column with the weights of samples, see `WeightedSource`, and ``ids`` one with
    their ids. ``last_targets`` are those before all samples, see `Model.predict`.
    """
    if not files:
        raise ConfigurationError("no file is given, but at least one with samples is needed")
    given = {name: value for name, value in (options or {}).items() if value is not None}
    reading = {name: given.pop(name) for name in ("missing", "thousands") if name in given}
    target = target or model.about.get("target")
    given_names = [name for name in (target, weight, ids) if name is not None]
    expected = dict.fromkeys((*given_names, *model.expected_columns))
    check = ColumnCheck(given.pop("on_unknown", "warn"), expected)
    check.know(name for name, _ in model.fields)
    columns = Columns(
        schema=Schema(_list_fields(model, weight, ids), target, model.task),
        target_optional=not labeled,
        labels_required=labeled,
        weight=weight,
        id=ids,
        check=check.table,
        **reading,
    )
    async with aclosing(_open_files(files, columns, given)) as source:
        await source.open()
        while (block := await source.receive()) is not None:
            if not model.fields and block.sparse is None:
                raise SchemaError(
                    f"{block.source} is not a libSVM file, but the model knows only numbered "
                    "columns"
                )
            yield block, model.outputs(block, last_targets=last_targets)


def _list_fields(model: Model, weight: str | None, ids: str | None) -> tuple[Field, ...]:
    """The columns to read: those of a model, and those of weights and ids.

    The last targets of a key are unknown, and so are missing for a shared model.
    """
    fields = tuple(field for field in model.fields if field.name not in HISTORY_COLUMNS)
    for role, name, kind in (("weight", weight, Kind.NUMBER), ("id", ids, Kind.CATEGORY)):
        if name is None:
            continue
        if name in {field.name for field in model.fields}:
            raise ConfigurationError(f"{role} is {name!r}, but that is an input of the model")
        fields = (*fields, Field(name, kind))
    return fields


def _open_files(files: Sequence[str], columns: Columns, options: Mapping[str, Any]) -> Source:
    source: Source = open_files(files, columns=columns, **options)
    if columns.id is not None:
        source = IdentifiedSource(source, columns.id)
    return source if columns.weight is None else WeightedSource(source, columns.weight)


@final
class RejectedRecords:
    """Counts rejected records and remembers the first.

    >>> rejected = RejectedRecords()
    >>> rejected.note is None
    True
    """

    def __init__(self) -> None:
        self.total: int = 0
        self.first: DeadLetter | None = None

    def update(self, letters: Sequence[DeadLetter]) -> None:
        """Add the rejected records of a block."""
        self.total += len(letters)
        if self.first is None and letters:
            self.first = letters[0]

    @property
    def note(self) -> str | None:
        """A message about them, None if there are none."""
        first = self.first
        if first is None:
            return None
        if self.total == 1:
            return f"1 record was rejected: {first.place}: {first.detail}"
        return f"{self.total:,} records were rejected; the first, {first.place}: {first.detail}"


async def write_predictions(
    model: Model,
    files: Sequence[str],
    output: Path | TextIO,
    options: Mapping[str, Any] | None = None,
    last_targets: Sequence[Any] | None = None,
    ids: str | None = None,
) -> RejectedRecords:
    """Write a row for each sample, with the columns of `list_columns`; see `predict_files`.

    With ``ids``, the name of a column, a row ends with the id.

    A path ends in .csv or .jsonl, and is replaced once all predictions are written; an open file
    receives CSV.
    """
    if not isinstance(output, Path):
        return await _write_rows(model, files, output, options, last_targets, ids, as_csv=True)
    part, as_csv = output.with_name(f".{output.name}.part"), output.suffix == ".csv"
    with explain_write_errors(f"output {output}"):
        try:
            with part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
                given = options, last_targets, ids
                rejected = await _write_rows(model, files, file, *given, as_csv=as_csv)
            part.replace(output)
        finally:
            part.unlink(missing_ok=True)
    return rejected


async def _write_rows(
    model: Model,
    files: Sequence[str],
    file: TextIO,
    options: Mapping[str, Any] | None,
    last_targets: Sequence[Any] | None,
    ids: str | None,
    *,
    as_csv: bool,
) -> RejectedRecords:
    writer = csv.writer(file, lineterminator="\n")
    rejected, columns = RejectedRecords(), list_columns(model)
    columns = columns if ids is None else (*columns, "id")
    header_written = False
    predicted = predict_files(model, files, options, ids=ids, last_targets=last_targets)
    async with aclosing(predicted) as blocks:
        async for block, outputs in blocks:
            if as_csv and not header_written:
                writer.writerow(columns)
            header_written = True
            rejected.update(block.rejected)
            rows = _build_rows(model, block, outputs)
            if as_csv:
                writer.writerows((*row[:3], *map(_to_cell, row[3:])) for row in rows)
            else:
                file.writelines(
                    _encode_json(dict(zip(columns, row, strict=True))) + "\n" for row in rows
                )
    return rejected


def list_columns(model: Model) -> tuple[str, ...]:
    """Columns of a model's written predictions."""
    return COLUMNS if model.interval is None else (*COLUMNS, *INTERVAL_COLUMNS[model.task])


def _to_cell(value: Any) -> Any:
    """A value of CSV: probabilities and sets are JSON."""
    return _encode_json(value) if isinstance(value, dict | list) else value


def _encode_json(value: Any) -> str:
    return "" if value is None else msgspec.json.encode(value).decode()


def _build_rows(model: Model, block: Block, outputs: NDArray[np.float64]) -> Iterator[Row]:
    marks = block.marks[:-1]
    positions = np.where(marks[:, 2] > 0, marks[:, 2], marks[:, 1]).tolist()
    named = model.named(outputs).tolist()
    intervals = _build_intervals(model, outputs)
    ids = [()] * len(block) if block.ids is None else [(one,) for one in block.ids.tolist()]
    for position, name, values, interval, one in zip(
        positions, named, outputs.tolist(), intervals, ids, strict=True
    ):
        probabilities = None
        if model.task is Task.CLASSIFICATION:
            probabilities = {
                label: float(f"{value:.6g}")
                for label, value in zip(model.labels, values, strict=True)
            }
        yield block.source, position, name, probabilities, *interval, *one


def _build_intervals(model: Model, outputs: NDArray[np.float64]) -> list[tuple[Any, ...]]:
    """Bounds or set of each sample; nothing if the model has none."""
    if model.interval is None:
        return [()] * len(outputs)
    rows = model.intervals(outputs).tolist()
    if model.task is Task.REGRESSION:
        return [(low, high) if isfinite(low) else (None, None) for low, high in rows]
    return [([*compress(model.labels, row)],) for row in rows]


class EvaluationResult(NamedTuple):
    """Metrics of a model and of the baselines on the same samples."""

    samples: int
    measures: dict[str, Scores]  # by "model" and the names of the baselines
    labels: tuple[str, ...]  # those of the model, then those found in the files only
    known: int  # labels of the model
    confusion: NDArray[np.float64] | None  # shape (C, C + 1): true, predicted labels, no prediction
    pairs: RegressionEvaluation | None  # true and predicted values, if they were kept
    rejected: RejectedRecords

    @property
    def warning(self) -> str | None:
        """A message if no true label is known to the model: ``1`` differs from ``true``."""
        if self.confusion is None or self.confusion[: self.known].any():
            return None
        found, known = (
            ", ".join(map(repr, names[:_MAX_LABELS]))
            for names in (self.labels[self.known :], self.labels[: self.known])
        )
        return f"the model knows none of the labels in the files: {found}; its labels are {known}"

    def as_dict(self) -> dict[str, Any]:
        """The JSON report, as plain values."""
        values: dict[str, Any] = {
            "samples": self.samples,
            "measures": self.measures,
            "labels": self.labels,
        }
        if self.confusion is not None:
            values["confusion"] = self.confusion.tolist()
            values["classes"] = compute_per_class(self.labels, self.confusion)
        if self.pairs is not None:
            values["regression"] = self.pairs.as_dict()
        return values


async def evaluate_files(
    model: Model,
    files: Sequence[str],
    options: Mapping[str, Any] | None = None,
    *,
    target: str | None = None,
    weight: str | None = None,
    threshold: float | None = None,
    all_metrics: bool = False,
    keep_pairs: bool = False,
) -> EvaluationResult:
    """Score a model on labeled files, beside the baselines; nothing is learned.

    See `predict_files` for the arguments. Memory use is constant unless predictions must be kept:
    for ``threshold`` (predicted numbers closer than this to the true one are correct),
    ``all_metrics`` (such as ROC-AUC, which need all predictions at once), or ``keep_pairs`` (true
    and predicted numbers in the result). By ``weight``, samples count in all metrics and in the
    confusion matrix; those of weight 0 do not count.
    """
    if target is None and model.about.get("target") is None:
        raise ConfigurationError("target is not given, and the model does not know its own")
    if (horizon := model.about.get("horizon")) is not None:
        raise ConfigurationError(
            f"the model forecasts {describe_horizon(horizon)} ahead, but an evaluation is about "
            "the target of each sample itself: a replay with horizon scores forecasts"
        )
    if model.task is Task.REGRESSION:
        scorer: _ClassificationScorer | _RegressionScorer = _RegressionScorer(
            threshold, all_metrics=all_metrics, keep_pairs=keep_pairs
        )
    elif threshold is not None:
        raise ConfigurationError("threshold is given, but the model predicts labels")
    else:
        scorer = _ClassificationScorer(model, all_metrics=all_metrics)
    samples, rejected = 0, RejectedRecords()
    async with aclosing(
        predict_files(model, files, options, target=target, weight=weight, labeled=True)
    ) as blocks:
        async for block, outputs in blocks:
            rejected.update(block.rejected)
            truth, weights = block.target, block.weight
            if weights is not None and truth is not None:
                counted = weights > 0.0
                truth, outputs, weights = truth[counted], outputs[counted], weights[counted]
            if truth is not None and len(truth):
                samples += len(truth)
                scorer.update(truth, outputs, weights)
    if not samples:
        raise DataError(rejected.note or "the files hold no samples")
    return EvaluationResult(
        samples,
        scorer.measures(),
        tuple(scorer.labels),
        len(model.labels),
        scorer.confusion(),
        scorer.pairs,
        rejected,
    )


class _RegressionScorer:
    """A regression model and its baselines, scored side by side."""

    labels: Sequence[str] = ()

    def __init__(self, threshold: float | None, *, all_metrics: bool, keep_pairs: bool) -> None:
        self.model, self.simple = RegressionEvaluator(1), RegressionEvaluator(2)
        self.baselines = RegressionBaselines()
        self.all_metrics = all_metrics
        self.pairs: RegressionEvaluation | None = None
        if all_metrics or keep_pairs or threshold is not None:
            self.pairs = RegressionEvaluation(threshold=threshold)

    def update(
        self, truth: NDArray[Any], outputs: NDArray[np.float64], weight: Weights | None
    ) -> None:
        self.model.update(outputs.T, truth, weight=weight)
        self.simple.update(self.baselines.answers(truth), truth, weight=weight)
        if self.pairs is not None:
            weights = np.ones(len(truth)) if weight is None else weight
            pairs = zip(truth.tolist(), outputs[:, 0].tolist(), weights.tolist(), strict=True)
            for y, answer, w in pairs:
                self.pairs.add(y, answer, weight=w)

    def measures(self) -> dict[str, Scores]:
        more = self.pairs if self.all_metrics else None
        return _merge_measures(self.model, self.simple, self.baselines.names, more)

    def confusion(self) -> None:
        return None


class _ClassificationScorer:
    """A classification model and its baselines, scored side by side."""

    pairs: RegressionEvaluation | None = None

    def __init__(self, model: Model, *, all_metrics: bool) -> None:
        labels = model.labels
        self.decide, self.named = model.decide, model.named
        self.model, self.simple = ClassificationEvaluator(1), ClassificationEvaluator(2)
        self.baselines = ClassificationBaselines()
        self.labels = list(labels)
        self.known = len(labels)
        self.numbers = {name: number for number, name in enumerate(labels)}
        self.evaluation = Evaluation(labels) if all_metrics else None

    def update(
        self, truth: NDArray[Any], outputs: NDArray[np.float64], weight: Weights | None
    ) -> None:
        names = [match_spelling(name, self.numbers) for name in truth.tolist()]
        for name in names:
            if name not in self.numbers:
                self.numbers[name] = len(self.labels)
                self.labels.append(name)
        if self.evaluation is not None:
            answers = self.named(outputs).tolist()
            weights = np.ones(len(truth)) if weight is None else weight
            for name, answer, row, w in zip(names, answers, outputs, weights, strict=True):
                self.evaluation.add(name, answer, probabilities=row, weight=float(w))
        label = np.array([self.numbers[name] for name in names], np.int32)
        known = np.full(len(label), self.known, np.int32)
        classes = NONE_PREDICTED
        if self.known:
            classes = self.decide(outputs).astype(np.int32)[None]
        answers = outputs[None].astype(np.float32)
        self.model.update(answers, label, known, predicted=classes, weight=weight)
        simple = self.baselines.answers(label, known, len(self.labels))
        # Before the first true label the baselines predict nothing, rather than the first label.
        predicted = simple.any(axis=(0, 2))
        shown = (predicted * len(self.labels)).astype(np.int32)
        self.simple.update(simple, label, shown, weight=weight)

    def measures(self) -> dict[str, Scores]:
        return _merge_measures(self.model, self.simple, self.baselines.names, self.evaluation)

    def confusion(self) -> NDArray[np.float64]:
        """The confusion matrix, padded to all labels."""
        found = self.model.confusion(0)
        seen = len(found)
        matrix = np.zeros((len(self.labels), len(self.labels) + 1))
        matrix[:seen, :seen] = found[:, :seen]
        matrix[:seen, -1] = found[:, -1]
        return matrix


def _merge_measures(
    model: ClassificationEvaluator | RegressionEvaluator,
    simple: ClassificationEvaluator | RegressionEvaluator,
    names: Sequence[str],
    more: Evaluation | RegressionEvaluation | None,
) -> dict[str, Scores]:
    """Metrics of the model, with those of ``more``, and of the baselines with these names."""
    full = {} if more is None else nan_to_none(more.measures())
    return {
        "model": {**full, **nan_to_none(model.measures(0))},
        **{name: nan_to_none(simple.measures(track)) for track, name in enumerate(names)},
    }

"""What matters to a model: importance of columns, the biggest recent errors, the last sample."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from math import isfinite
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from streamnet.explanations import measure_importance
from streamnet.learning.serving import Served
from streamnet.modelfiles.model import Model
from streamnet.reporting.report import ColumnImportance, Insight, RecentError
from streamnet.samples import TIMES, Arrivals, Block, Task

Values = dict[str, str | float]
"""A sample; missing values are left out."""
MAX_SAMPLES = 256  # kept
_MAX_CELLS = 100_000  # samples times columns kept
_MAX_PREDICTIONS = 1 << 14  # for the importance of all columns
_MAX_COLUMNS = 512  # whose importance is measured: the first ones
_MIN_SAMPLES = 30  # for any importance
_MAX_ERRORS = 10


class _Part(NamedTuple):
    """Consecutive samples with what was served for each."""

    first: int  # number of the first one
    block: Block
    answers: NDArray[Any]  # probabilities (n, outputs), or numbers (n,)
    classes: NDArray[np.int32]  # class numbers where others than the most probable were predicted


class _Case(NamedTuple):
    """A recent sample whose truth is known."""

    part: _Part
    row: int
    truth: Any


@final
class RecentSamples:
    """The last samples with their predictions, and the labels that arrived for them.

    Called once per served block, it only keeps references; everything else is computed when it is
    asked for.
    """

    def __init__(self) -> None:
        self._parts: deque[_Part] = deque()
        self._labels: deque[Arrivals] = deque()
        self._samples = 0

    def __call__(self, served: Served) -> None:
        """Keep the last samples of a block."""
        block = served.predicted.encoded.block
        if block.arrivals is not None:
            self._labels.append(block.arrivals)
            while len(self._labels) > MAX_SAMPLES:
                self._labels.popleft()
        n = len(block)
        if not n or len(served.answers) != n:  # it was not scored
            return
        columns = len(block.schema.fields)
        most = max(1, min(MAX_SAMPLES, _MAX_CELLS // max(columns, 1)))
        start = max(0, n - most)
        answers, first = served.answers[start:], served.predicted.first + start
        classes = served.classes[start:]
        part = block.part(start, n) if start else block
        self._parts.append(_Part(first, part, answers, classes))
        self._samples += n - start
        while self._samples - len(self._parts[0].block) >= most:
            self._samples -= len(self._parts.popleft().block)

    def last(self) -> Values | None:
        """The last sample, without its target."""
        parts = list(self._parts)
        return read_sample(parts[-1].block, len(parts[-1].block) - 1) if parts else None

    def cases(self) -> list[_Case]:
        """The kept samples whose truth is known, the oldest first."""
        parts, labels = list(self._parts), list(self._labels)
        late = {
            record: truth
            for arrivals in labels
            for record, truth in zip(
                arrivals.record.tolist(), arrivals.target.tolist(), strict=True
            )
            if truth is not None
        }
        return [case for part in parts for case in _find_cases(part, late)]


def _find_cases(part: _Part, late: dict[int, Any]) -> Iterator[_Case]:
    targets = [None] * len(part.block) if part.block.target is None else part.block.target.tolist()
    for row, record in enumerate(part.block.marks[:-1, 1].tolist()):
        truth = targets[row]
        if truth is None or (isinstance(truth, float) and not isfinite(truth)):
            truth = late.get(record)
        if truth is not None:
            yield _Case(part, row, truth)


def read_sample(block: Block, row: int) -> Values:
    """A sample of a block as it can be sent again; missing values are left out."""
    schema = block.schema
    kinds = {field.name: field.kind for field in schema.fields}
    found: Values = {}
    for name, number in zip(schema.numbers, block.numbers[row].tolist(), strict=True):
        if isfinite(number):
            found[name] = _format_time(number) if kinds[name] in TIMES else number
    for name, words in zip(schema.words, block.words, strict=True):
        if words[row] is not None:
            found[name] = words[row]
    return {field.name: found[field.name] for field in schema.fields if field.name in found}


def _format_time(seconds: float) -> str | float:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat().removesuffix("+00:00")
    except (OverflowError, ValueError, OSError):  # years beyond those of a calendar
        return seconds


def build_insight(
    recent: RecentSamples, model: Model | None, task: Task, labels: Sequence[str]
) -> Insight:
    """Build what is known of the recent samples; ``labels`` names the classes by number."""
    cases = recent.cases()
    importance: list[ColumnImportance] = []
    used = 0
    if model is not None:
        importance, used = rank_columns(model, cases)
    return Insight(
        task=task,
        samples=len(cases),
        permuted=used,
        importance=importance,
        errors=find_errors(cases, labels),
        last=recent.last(),
    )


def find_errors(cases: Sequence[_Case], labels: Sequence[str]) -> list[RecentError]:
    """The biggest errors, the biggest first: the smallest probability of the truth, if labels."""
    numbers = {label: number for number, label in enumerate(labels)}
    found = [error for case in cases if (error := _build_error(case, numbers, labels)) is not None]
    return sorted(found, key=lambda error: -error.error)[:_MAX_ERRORS]


def _build_error(case: _Case, numbers: dict[str, int], labels: Sequence[str]) -> RecentError | None:
    part, row, truth = case
    answer = part.answers[row]
    prediction: str | float
    if part.answers.ndim == 1:
        error = abs(float(answer) - float(truth))
        prediction = float(answer)
    else:
        if not np.isfinite(answer).all():
            return None
        number = numbers.get(str(truth), len(answer))
        error = 1.0 - float(answer[number]) if number < len(answer) else 1.0
        decided = int(part.classes[row]) if len(part.classes) else -1
        prediction = labels[decided if decided >= 0 else int(answer.argmax())]
        if prediction == truth:
            return None
    if not isfinite(error):
        return None
    return RecentError(part.first + row, read_sample(part.block, row), truth, prediction, error)


def rank_columns(model: Model, cases: Sequence[_Case]) -> tuple[list[ColumnImportance], int]:
    """Rank columns by `permutation_importance` among recent samples.

    The work is bounded: the more columns, the fewer samples.

    Returns:
        The columns, the most important first, and how many samples were used; none with too few.
    """
    if cases and cases[-1].part.block.sparse is not None:
        return [], 0  # columns by number, each in few samples
    block, truths = _join_cases(cases)
    columns = [] if block is None else [*block.schema.numbers, *block.schema.words][:_MAX_COLUMNS]
    most = _MAX_PREDICTIONS // max(len(columns), 1)
    if block is None or min(len(block), most) < _MIN_SAMPLES:
        return [], 0
    start = max(0, len(block) - most)
    block, truths = block.part(start, len(block)), truths[start:]
    order = np.random.default_rng(0).permutation(len(block))
    losses = measure_importance(model, block, truths, columns, [order])
    found = [ColumnImportance(name, loss) for name, (loss,) in losses.items()]
    return sorted(found, key=lambda one: -one.loss), len(block)


def _join_cases(cases: Sequence[_Case]) -> tuple[Block | None, list[Any]]:
    """The samples as one block, those with the columns of the last one."""
    if not cases:
        return None, []
    schema = cases[-1].part.block.schema
    chosen = [case for case in cases if case.part.block.schema == schema]
    rows = [(case.part.block, case.row) for case in chosen]
    joined = Block(
        schema=schema,
        source="recent samples",
        numbers=np.array([block.numbers[row] for block, row in rows], np.float64),
        words=tuple(
            np.array([block.words[place][row] for block, row in rows], object)
            for place in range(len(schema.words))
        ),
        target=None,
        marks=np.zeros((len(rows) + 1, 3), np.int64),
    )
    return joined, [case.truth for case in chosen]

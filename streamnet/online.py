"""OnlineClassifier and OnlineRegressor: the population as one estimator that learns sample by sample."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Self
from typing import final

import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray

from streamnet.errors import DataError
from streamnet.learning.learner import ROUND
from streamnet.learning.learner import Learner
from streamnet.modelfiles.conform import conform
from streamnet.modelfiles.model import Model
from streamnet.networks.candidate import CandidateSettings
from streamnet.samples import Block
from streamnet.samples import Kind
from streamnet.samples import Sample
from streamnet.samples import Task
from streamnet.sources.columns import Columns
from streamnet.sources.rows import RowReader

__all__ = ("OnlineClassifier", "OnlineRegressor", "Samples")

_TARGET = "target"
Samples = Sequence[Sample] | ArrayLike
"""Many samples: dicts, or a matrix whose columns are called f0, f1, ..."""


class _Online:
    """What both estimators share: a learner of one task, with dicts going in.

    Args:
        candidates: Settings of each candidate; None is `default_population`.
        seed: Key of all random numbers; the same seed and samples give the same bits.
        kinds: How columns are understood, for those whose first value would mislead.
        learning: More settings of `Learner`.
    """

    _task: Task

    def __init__(
        self,
        candidates: Sequence[CandidateSettings] | None = None,
        *,
        seed: int = 0,
        kinds: Mapping[str, Kind] | None = None,
        **learning: Any,
    ) -> None:
        self._learner = Learner(task=self._task, candidates=candidates, seed=seed, **learning)
        columns = Columns(target=_TARGET, task=self._task, kinds=dict(kinds or {}))
        self._reader = RowReader(columns, name="samples")
        self._asker = RowReader(Columns(kinds=dict(kinds or {})), name="samples")
        self._fields: tuple[Any, ...] = ()

    # ------------------------------------------------------------- learning

    def learn_one(self, x: Sample, y: Any) -> None:
        """Answer, score and then learn one sample.

        Raises:
            DataError: If a value can't be read; nothing is learned then.
        """
        self._learn(self._reader.read((x,), (y,)))

    def partial_fit(self, X: Samples, y: Sequence[Any] | NDArray[Any]) -> Self:
        """Learn samples one after the other, in their order.

        Raises:
            DataError: If a value can't be read; the samples before it were learned.
        """
        rows = _rows(X)
        targets = np.asarray(y).tolist() if isinstance(y, np.ndarray) else list(y)
        if len(rows) != len(targets):
            raise DataError(f"X has {len(rows)} samples, but y has {len(targets)}")
        for block in self._reader.blocks(rows, targets):
            self._learn(block)
        return self

    def _learn(self, block: Block) -> None:
        start = 0
        while start < len(block):
            left = ROUND - self._learner.trainer.number % ROUND
            stop = min(len(block), start + left)
            part = block if stop - start == len(block) else block.part(start, stop)
            self._learner.learn(part, ends_round=stop - start == left)
            start = stop
        for letter in block.rejected:
            raise DataError(f"sample {letter.offset}: {letter.detail}")

    # -------------------------------------------------------------- answers

    def _outputs(self, rows: Sequence[Sample]) -> NDArray[np.floating]:
        """The champion's outputs, shape=(n, outputs in use); no rows before a first sample."""
        learner = self._learner
        if learner.trainer.number == 0 or not rows:
            return np.empty((0, 0))
        slot = learner.best()
        outputs = max(len(learner.encoder.labels), 1)
        parts = []
        for block in self._ask(rows):
            inputs = learner.encoder.transform(block)
            number = learner.trainer.number
            parts.append(learner.trainer.population.answer(slot, number, inputs, outputs))
        return np.concatenate(parts)[:, :outputs]

    def _ask(self, rows: Sequence[Sample]) -> list[Block]:
        fields = self._reader.schema.fields
        if fields is not self._fields:
            self._fields = fields
            self._names = {field.name for field in fields}
            state = {"fields": [[n, str(k)] for n, k in fields], "target": None, "task": None}
            self._asker.restore_state({**state, "records": 0})
        known = [
            row
            if self._names.issuperset(row)
            else {name: value for name, value in row.items() if name in self._names}
            for row in rows
        ]
        blocks = list(self._asker.blocks(known))
        for block in blocks:
            for letter in block.rejected:
                raise DataError(f"sample {letter.offset}: {letter.detail}")
        return [conform(block, fields) for block in blocks]

    def model(self) -> Model:
        """A copy of the champion, ready to be saved.

        Raises:
            NoCandidateError: If nothing was learned yet.
        """
        return self._learner.model()

    @property
    def served(self) -> dict[str, float]:
        """Measures of what was served: each sample answered before it was learned."""
        return self._learner.server.served.measures(0)

    @property
    def champion(self) -> CandidateSettings | None:
        """Settings of the candidate that answers now; None before the first sample."""
        member = self._learner.server.champion
        return None if member is None else member.settings


@final
class OnlineClassifier(_Online):
    """A population of networks that names labels and learns sample by sample.

    >>> classifier = OnlineClassifier(seed=1)
    >>> for i in range(300):
    ...     classifier.learn_one({"x": i % 5, "colour": "red" if i % 2 else "blue"}, i % 2)
    >>> classifier.predict_one({"x": 3, "colour": "red"})
    '1'
    >>> sorted(classifier.predict_proba_one({"x": 3, "colour": "red"}))
    ['0', '1']
    """

    _task = Task.CLASSIFICATION

    @property
    def classes_(self) -> list[str]:
        """Labels in order of first appearance."""
        return list(self._learner.encoder.labels)

    def predict_one(self, x: Sample) -> str | None:
        """The most likely label; None before the first sample."""
        outputs = self._outputs((x,))
        return self._learner.encoder.labels[int(outputs[0].argmax())] if len(outputs) else None

    def predict_proba_one(self, x: Sample) -> dict[str, float]:
        """The share of each label; empty before the first sample."""
        outputs = self._outputs((x,))
        if not len(outputs):
            return {}
        return dict(zip(self._learner.encoder.labels, outputs[0].tolist(), strict=True))

    def predict(self, X: Samples) -> NDArray[np.object_]:
        """The most likely label of each sample, shape=(n,); None before anything was learned."""
        rows = _rows(X)
        outputs = self._outputs(rows)
        if not len(outputs):
            return np.full(len(rows), None, object)
        return np.array(self.classes_, object)[outputs.argmax(axis=1)]

    def predict_proba(self, X: Samples) -> NDArray[np.floating]:
        """The share of each label, in the order of `classes_`, shape=(n, labels)."""
        return self._outputs(_rows(X))


@final
class OnlineRegressor(_Online):
    """A population of networks that predicts a number and learns sample by sample.

    >>> regressor = OnlineRegressor(seed=1)
    >>> for i in range(2000):
    ...     regressor.learn_one({"x": i % 10}, 3.0 * (i % 10))
    >>> abs(regressor.predict_one({"x": 4}) - 12.0) < 1.0
    True
    """

    _task = Task.REGRESSION

    def predict_one(self, x: Sample) -> float:
        """The number; 0.0 before the first sample."""
        return float(self.predict((x,))[0])

    def predict(self, X: Samples) -> NDArray[np.float64]:
        """The number for each sample, shape=(n,); 0.0 before anything was learned."""
        rows = _rows(X)
        outputs = self._outputs(rows)
        if not len(outputs):
            return np.zeros(len(rows))
        centre, spread = self._learner.encoder.scale
        return centre + spread * outputs[:, 0].astype(np.float64)


def _rows(samples: Samples) -> Sequence[Sample]:
    if isinstance(samples, Sequence) and (not samples or isinstance(samples[0], Mapping)):
        return samples
    matrix = np.asarray(samples)
    if matrix.ndim != 2:
        raise DataError(f"X has {matrix.ndim} dimensions, but must have 2")
    names = [f"f{column}" for column in range(matrix.shape[1])]
    return [dict(zip(names, row, strict=True)) for row in matrix.tolist()]

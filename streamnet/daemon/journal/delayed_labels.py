"""Predictions that wait for their labels, and the score of those whose labels arrived."""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic, time
from typing import Any, NamedTuple, final

import numpy as np

from streamnet.client.schemas import Outcome
from streamnet.daemon.predictions import Prediction
from streamnet.features.columns.category import match_spelling
from streamnet.metrics import ClassificationEvaluator, RegressionEvaluator


class PendingPrediction(NamedTuple):
    """A prediction waiting for its label."""

    line: str  # the sample as JSON, without target
    prediction: Prediction
    time: float  # when it was made, in seconds


@final
class PendingPredictions:
    """Pending predictions by ID, in the order they were made, and the fate of earlier ones.

    Predictions older than ``max_age`` expire, and so does the oldest of too many. The labels of as
    many IDs as may be pending are remembered.

    >>> table = PendingPredictions(max_pending=2, max_age=60.0)
    >>> for number in range(3):
    ...     table.add(str(number), PendingPrediction("{}", Prediction("a", None, 1), time=number))
    >>> table.join("0", "b")[0].value, table.join("1", "b")[0].value, table.join("1", "b")[0].value
    ('expired', 'joined', 'duplicate')
    >>> table.expire(62.0), len(table)
    (1, 0)
    """

    def __init__(self, *, max_pending: int, max_age: float) -> None:
        self.expired: int = 0
        self._waiting: OrderedDict[str, PendingPrediction] = OrderedDict()
        # Lists of one label, or of none if the prediction expired.
        self._settled: OrderedDict[str, list[Any]] = OrderedDict()
        self.limit(max_pending, max_age)

    def limit(self, max_pending: int, max_age: float) -> None:
        """Apply other bounds from now on; what is too old for them expires later."""
        self._max_pending = max_pending
        self._max_age = max_age
        while len(self._waiting) > max_pending:
            self._expire_one(next(iter(self._waiting)))
        while len(self._settled) > max_pending:
            self._settled.popitem(last=False)

    def __len__(self) -> int:
        return len(self._waiting)

    def get(self, identity: str) -> PendingPrediction | None:
        """The pending prediction of an ID; None if there is none."""
        return self._waiting.get(identity)

    def is_settled(self, identity: str) -> bool:
        """Whether the prediction of an ID got its label or expired, not long ago."""
        return identity in self._settled

    def is_number(self, identity: str) -> bool:
        """Whether the label of an ID is a number, as far as is known."""
        pending = self._waiting.get(identity)
        if pending is not None:
            return pending.prediction.probabilities is None
        return any(isinstance(label, float) for label in self._settled.get(identity, ()))

    def add(self, identity: str, pending: PendingPrediction) -> None:
        """Add a prediction with a new ID; the oldest one expires if there are too many."""
        self._waiting[identity] = pending
        if len(self._waiting) > self._max_pending:
            self._expire_one(next(iter(self._waiting)))

    def join(self, identity: str, label: Any) -> tuple[Outcome, PendingPrediction | None]:
        """Join a label with its prediction, which is returned if that is the outcome."""
        settled = self._settled.get(identity)
        if settled is not None:
            if not settled:
                return Outcome.EXPIRED, None
            return (Outcome.DUPLICATE if settled == [label] else Outcome.CONTRADICTORY), None
        pending = self._waiting.pop(identity, None)
        if pending is None:
            return Outcome.UNKNOWN, None
        self._settle(identity, [label])
        return Outcome.JOINED, pending

    def is_due(self, now: float) -> bool:
        """Whether a prediction is too old."""
        oldest = next(iter(self._waiting.values()), None)
        return oldest is not None and oldest.time + self._max_age <= now

    def expire(self, now: float) -> int:
        """Expire old predictions; return how many."""
        before = self.expired
        while self.is_due(now):
            self._expire_one(next(iter(self._waiting)))
        return self.expired - before

    def _expire_one(self, identity: str) -> None:
        del self._waiting[identity]
        self.expired += 1
        self._settle(identity, [])

    def _settle(self, identity: str, outcome: list[Any]) -> None:
        self._settled[identity] = outcome
        if len(self._settled) > self._max_pending:
            self._settled.popitem(last=False)

    def export_state(self) -> dict[str, Any]:
        """Export the state as JSON values."""
        return {
            "waiting": list(self._waiting.items()),
            "settled": list(self._settled.items()),
            "expired": self.expired,
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Restore a state, within the current bounds."""
        self._waiting = OrderedDict(
            (identity, PendingPrediction(line, Prediction(*prediction), time))
            for identity, (line, prediction, time) in state["waiting"]
        )
        self._settled = OrderedDict((identity, outcome) for identity, outcome in state["settled"])
        self.expired = state["expired"]
        self.limit(self._max_pending, self._max_age)


MAX_LABELS = 1024


@final
class DelayedLabelScore:
    """Score of remembered predictions, each as it was made, once its label arrives.

    Labels after the first 1,024 are not scored.

    >>> score = DelayedLabelScore()
    >>> score.measures()
    {}
    >>> score.add(Prediction("a", {"a": 0.75, "b": 0.25}, generation=1), "a")
    >>> score.add(Prediction("a", {"a": 0.75, "b": 0.25}, generation=1), "c")
    >>> score.measures()["accuracy"]
    0.5
    """

    def __init__(self) -> None:
        self._labels: dict[str, int] = {}
        self._evaluator: ClassificationEvaluator | RegressionEvaluator | None = None

    def add(self, prediction: Prediction, truth: str | float) -> None:
        """Score a prediction: a number if ``truth`` is one, else a label."""
        if isinstance(truth, str):
            self._add_label(prediction, truth)
            return
        if not isinstance(self._evaluator, RegressionEvaluator):
            self._evaluator = RegressionEvaluator(1)
        value = np.nan if prediction.value is None else float(prediction.value)
        self._evaluator.update([[value]], [truth])

    def _add_label(self, prediction: Prediction, truth: str) -> None:
        if not isinstance(self._evaluator, ClassificationEvaluator):
            self._evaluator = ClassificationEvaluator(1, whole=False)
        probabilities = prediction.probabilities or {}
        for label in probabilities:
            self._find_number(label)
        known = len(self._labels)
        row = np.zeros((1, 1, max(known, 1)), np.float32)
        for label, probability in probabilities.items():
            number = self._find_number(label)
            if number >= 0:
                row[0, 0, number] = probability
        alive = np.full((1, 1), prediction.value is not None, np.uint8)
        number = self._find_number(match_spelling(truth, probabilities))
        self._evaluator.update(row, [number], [known], alive)

    def _find_number(self, label: str) -> int:
        if label not in self._labels and len(self._labels) == MAX_LABELS:
            return -1
        return self._labels.setdefault(label, len(self._labels))

    def measures(self) -> dict[str, float]:
        """All metrics by name; empty before the first label."""
        return {} if self._evaluator is None else self._evaluator.measures(0)

    def export_state(self) -> dict[str, Any]:
        """Export the state."""
        evaluator = None if self._evaluator is None else self._evaluator.export_state()
        return {"labels": list(self._labels), "evaluator": evaluator}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Restore a state."""
        self._labels = {label: number for number, label in enumerate(state["labels"])}
        self._evaluator = None
        if state["evaluator"] is not None:
            kind = ClassificationEvaluator if state["labels"] else RegressionEvaluator
            self._evaluator = kind.restore_state(state["evaluator"])


_START = time() - monotonic()


def now() -> float:
    """Seconds since 1970, by the monotonic clock.

    The system time may be changed while a process runs, even by years. Predictions would then
    expire at once, or not for years.
    """
    return _START + monotonic()

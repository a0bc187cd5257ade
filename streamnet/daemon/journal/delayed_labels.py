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
from streamnet.samples import Task


class PendingPrediction(NamedTuple):
    """A prediction waiting for its label."""

    line: str  # the sample as JSON, without target
    prediction: Prediction
    time: float  # when it was made, in seconds


@final
class PendingPredictions:
    """Pending predictions and early labels by ID, in order, and the fate of earlier ones.

    What is older than ``max_age`` expires, and so does the oldest of too many predictions or early
    labels. The labels of as many IDs as may be pending are remembered.

    >>> table = PendingPredictions(max_pending=2, max_age=60.0)
    >>> for number in range(3):
    ...     table.add(str(number), PendingPrediction("{}", Prediction("a", None, 1), time=number))
    >>> [table.join(identity, "b", 3.0)[0].value for identity in ("0", "1", "1", "9")]
    ['expired', 'joined', 'duplicate', 'early']
    >>> table.take_early("9")
    'b'
    >>> table.expire(62.0), len(table)
    (1, 0)
    """

    def __init__(self, *, max_pending: int, max_age: float) -> None:
        self.expired: int = 0  # predictions
        self.unknown: int = 0  # early labels whose predictions never came
        self._waiting: OrderedDict[str, PendingPrediction] = OrderedDict()
        self._early: OrderedDict[str, tuple[Any, float]] = OrderedDict()  # label, and its time
        # Lists of one label, or of none if the prediction expired.
        self._settled: OrderedDict[str, list[Any]] = OrderedDict()
        self.limit(max_pending, max_age)

    def limit(self, max_pending: int, max_age: float) -> None:
        """Apply other bounds from now on; what is too old for them expires later."""
        self._max_pending = max_pending
        self._max_age = max_age
        while len(self._waiting) > max_pending:
            self._expire_one(next(iter(self._waiting)))
        while len(self._early) > max_pending:
            self._drop_early()
        while len(self._settled) > max_pending:
            self._settled.popitem(last=False)

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def early(self) -> int:
        """Number of labels that wait for their predictions."""
        return len(self._early)

    def get(self, identity: str) -> PendingPrediction | None:
        """The pending prediction of an ID; None if there is none."""
        return self._waiting.get(identity)

    def is_settled(self, identity: str) -> bool:
        """Whether the prediction of an ID got its label or expired, not long ago."""
        return identity in self._settled

    def is_known(self, identity: str) -> bool:
        """Whether an ID has its label, expired, or has an early label."""
        return identity in self._settled or identity in self._early

    def find_task(self, identity: str) -> Task | None:
        """Whether the label of an ID is a number; None if that is not known yet."""
        pending = self._waiting.get(identity)
        if pending is not None:
            return pending.prediction.task
        for label in self._settled.get(identity, ()):
            if isinstance(label, str):
                return Task.CLASSIFICATION
            return Task.REGRESSION if isinstance(label, float) else None
        return None

    def add(self, identity: str, pending: PendingPrediction) -> None:
        """Add a prediction with a new ID; the oldest one expires if there are too many."""
        self._waiting[identity] = pending
        if len(self._waiting) > self._max_pending:
            self._expire_one(next(iter(self._waiting)))

    def take_early(self, identity: str) -> Any:
        """Remove and return the label that came before a prediction; None if there is none."""
        label, _ = self._early.pop(identity, (None, None))
        return label

    def join(
        self, identity: str, label: Any, time: float
    ) -> tuple[Outcome, PendingPrediction | None]:
        """Join a label with its prediction, which is returned if that is the outcome.

        A label without a prediction waits for it.
        """
        settled = self._settled.get(identity)
        if identity in self._early:
            settled = [self._early[identity][0]]
        if settled is not None:
            if not settled:
                return Outcome.EXPIRED, None
            same = settled == [label] and type(settled[0]) is type(label)  # True equals 1
            return (Outcome.DUPLICATE if same else Outcome.CONTRADICTORY), None
        pending = self._waiting.pop(identity, None)
        if pending is None:
            self._early[identity] = label, time
            if len(self._early) > self._max_pending:
                self._drop_early()
            return Outcome.EARLY, None
        self.settle(identity, [label])
        return Outcome.JOINED, pending

    def is_due(self, now: float) -> bool:
        """Whether a prediction or an early label is too old."""
        return self._is_waiting_due(now) or self._is_early_due(now)

    def _is_waiting_due(self, now: float) -> bool:
        oldest = next(iter(self._waiting.values()), None)
        return oldest is not None and oldest.time + self._max_age <= now

    def _is_early_due(self, now: float) -> bool:
        oldest = next(iter(self._early.values()), None)
        return oldest is not None and oldest[1] + self._max_age <= now

    def expire(self, now: float) -> int:
        """Expire what is old; return how many predictions did."""
        before = self.expired
        while self._is_waiting_due(now):
            self._expire_one(next(iter(self._waiting)))
        while self._is_early_due(now):
            self._drop_early()
        return self.expired - before

    def _expire_one(self, identity: str) -> None:
        del self._waiting[identity]
        self.expired += 1
        self.settle(identity, [])

    def _drop_early(self) -> None:
        self._early.popitem(last=False)
        self.unknown += 1

    def settle(self, identity: str, outcome: list[Any]) -> None:
        """Remember the label of an ID, as a list of one, or of none if its prediction expired."""
        self._settled[identity] = outcome
        if len(self._settled) > self._max_pending:
            self._settled.popitem(last=False)

    def export_state(self) -> dict[str, Any]:
        """Export the state as JSON values."""
        return {
            "waiting": list(self._waiting.items()),
            "early": list(self._early.items()),
            "settled": list(self._settled.items()),
            "expired": self.expired,
            "unknown": self.unknown,
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Restore a state, within the current bounds."""
        self._waiting = OrderedDict(
            (identity, PendingPrediction(line, Prediction(*prediction), time))
            for identity, (line, prediction, time) in state["waiting"]
        )
        self._early = OrderedDict((identity, (label, t)) for identity, (label, t) in state["early"])
        self._settled = OrderedDict((identity, outcome) for identity, outcome in state["settled"])
        self.expired, self.unknown = state["expired"], state["unknown"]
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
        predicted = self._labels.get(str(prediction.value), -1)
        decided = np.full((1, 1), predicted, np.int32)
        self._evaluator.update(row, [number], [known], alive, decided)

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

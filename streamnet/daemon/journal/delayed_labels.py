"""Predictions that wait for their labels, and the score of those whose labels arrived.

Ages are measured by a clock that is immune to changes of the system time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic, time
from typing import Any, NamedTuple, final

import numpy as np

from streamnet.daemon.predictions import Answer, Outcome
from streamnet.errors import ConfigurationError
from streamnet.features.columns.category import match_spelling
from streamnet.metrics import ClassificationEvaluator, RegressionEvaluator

__all__ = (
    "Clock",
    "DelayedLabelScore",
    "PendingPrediction",
    "PendingPredictions",
    "now",
)


class PendingPrediction(NamedTuple):
    """A prediction that waits."""

    line: str  # the sample as JSON, without target
    answer: Answer
    time: float  # when it was made, in seconds


@final
class PendingPredictions:
    """Predictions by id, in the order in which they were made, and what became of earlier ones.

    What is older than ``max_age`` expires, and the oldest of too many. Of as many ids as there may
    be pending it is remembered what became of them.

    Args:
        max_pending: Predictions that may wait.
        max_age: Seconds that they may.

    Raises:
        ConfigurationError: If a number breaks its rule.

    >>> table = PendingPredictions(max_pending=2, max_age=60.0)
    >>> for number in range(3):
    ...     table.add(str(number), PendingPrediction("{}", Answer("a", None, 1), time=number))
    >>> table.join("0", "b")[0].value, table.join("1", "b")[0].value, table.join("1", "b")[0].value
    ('expired', 'joined', 'duplicate')
    >>> table.expire(62.0), len(table)
    (1, 0)
    """

    def __init__(self, *, max_pending: int, max_age: float) -> None:
        self.expired = 0
        self._waiting: OrderedDict[str, PendingPrediction] = OrderedDict()
        # The label that came, or a list of none if it expired.
        self._settled: OrderedDict[str, list[Any]] = OrderedDict()
        self.limit(max_pending, max_age)

    def limit(self, max_pending: int, max_age: float) -> None:
        """Use other limits from now on; what is too old for them expires with the time.

        Raises:
            ConfigurationError: If a number breaks its rule.
        """
        if max_pending < 1:
            raise ConfigurationError(f"max_pending is {max_pending}, but must be >= 1")
        if not max_age > 0:
            raise ConfigurationError(f"max_age is {max_age}, but must be > 0")
        self._max_pending = max_pending
        self._max_age = max_age
        while len(self._waiting) > max_pending:
            self._expire_one(next(iter(self._waiting)))
        while len(self._settled) > max_pending:
            self._settled.popitem(last=False)

    def __len__(self) -> int:
        return len(self._waiting)

    def get(self, identity: str) -> PendingPrediction | None:
        """The prediction of an id, None if none waits."""
        return self._waiting.get(identity)

    def is_settled(self, identity: str) -> bool:
        """Whether the prediction of an id has got its label or was given up, not long ago."""
        return identity in self._settled

    def is_number(self, identity: str) -> bool:
        """Whether the label of an id is a number, as far as is known."""
        pending = self._waiting.get(identity)
        if pending is not None:
            return pending.answer.shares is None
        return any(isinstance(label, float) for label in self._settled.get(identity, ()))

    def add(self, identity: str, pending: PendingPrediction) -> None:
        """Add a prediction under an id that is not there; the oldest makes room if need be."""
        self._waiting[identity] = pending
        if len(self._waiting) > self._max_pending:
            self._expire_one(next(iter(self._waiting)))

    def join(self, identity: str, label: Any) -> tuple[Outcome, PendingPrediction | None]:
        """What becomes of a label, and the prediction that it belongs to if it is joined.

        Args:
            identity: The prediction's id.
            label: Its label, as it is compared with another one.
        """
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
        """Whether one is too old."""
        oldest = next(iter(self._waiting.values()), None)
        return oldest is not None and oldest.time + self._max_age <= now

    def expire(self, now: float) -> int:
        """Give up what is too old; how many."""
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
        """All of it, as JSON can hold it."""
        return {
            "waiting": list(self._waiting.items()),
            "settled": list(self._settled.items()),
            "expired": self.expired,
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on as the table did whose state this is, within the limits of this one."""
        self._waiting = OrderedDict(
            (identity, PendingPrediction(line, Answer(*answer), time))
            for identity, (line, answer, time) in state["waiting"]
        )
        self._settled = OrderedDict((identity, outcome) for identity, outcome in state["settled"])
        self.expired = state["expired"]
        self.limit(self._max_pending, self._max_age)


MAX_LABELS = 1024


@final
class DelayedLabelScore:
    """Scores stored answers, each as it was given: no later model has a part in it.

    A label beyond the first 1,024 is not scored.

    >>> score = DelayedLabelScore()
    >>> score.measures()
    {}
    >>> score.add(Answer("a", {"a": 0.75, "b": 0.25}, generation=1), "a")
    >>> score.add(Answer("a", {"a": 0.75, "b": 0.25}, generation=1), "c")
    >>> score.measures()["accuracy"]
    0.5
    """

    def __init__(self) -> None:
        self._labels: dict[str, int] = {}
        self._evaluator: ClassificationEvaluator | RegressionEvaluator | None = None

    def add(self, answer: Answer, truth: str | float) -> None:
        """Score an answer: a number if ``truth`` is one, else a label."""
        if isinstance(truth, str):
            self._add_label(answer, truth)
        else:
            self._add_number(answer, truth)

    def _add_label(self, answer: Answer, truth: str) -> None:
        if not isinstance(self._evaluator, ClassificationEvaluator):
            self._evaluator = ClassificationEvaluator(1, whole=False)
        shares = answer.shares or {}
        for label in shares:
            self._number_of(label)
        known = len(self._labels)
        row = np.zeros((1, 1, max(known, 1)), np.float32)
        for label, share in shares.items():
            number = self._number_of(label)
            if number >= 0:
                row[0, 0, number] = share
        alive = np.full((1, 1), answer.value is not None, np.uint8)
        self._evaluator.update(
            row, [self._number_of(match_spelling(truth, shares))], [known], alive
        )

    def _number_of(self, label: str) -> int:
        if label not in self._labels and len(self._labels) == MAX_LABELS:
            return -1
        return self._labels.setdefault(label, len(self._labels))

    def _add_number(self, answer: Answer, truth: float) -> None:
        if not isinstance(self._evaluator, RegressionEvaluator):
            self._evaluator = RegressionEvaluator(1)
        value = np.nan if answer.value is None else float(answer.value)
        self._evaluator.update([[value]], [truth])

    def measures(self) -> dict[str, float]:
        """All measures by name; empty before the first label."""
        return {} if self._evaluator is None else self._evaluator.measures(0)

    def export_state(self) -> dict[str, Any]:
        """Everything needed to go on."""
        evaluator = None if self._evaluator is None else self._evaluator.export_state()
        return {"labels": list(self._labels), "evaluator": evaluator}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on as the score did whose state this is."""
        self._labels = {label: number for number, label in enumerate(state["labels"])}
        self._evaluator = None
        if state["evaluator"] is not None:
            kind = ClassificationEvaluator if state["labels"] else RegressionEvaluator
            self._evaluator = kind.restore_state(state["evaluator"])


@final
class Clock:
    """Seconds since 1970 as they were at the start, and as they have passed since.

    A machine's time may be set anew while a process runs: by years, where a clock was wrong. What
    waits for its label would be given up at once, all of it, or not for years.

    Args:
        wall: Seconds since 1970, read once.
        steady: Seconds that only ever grow.

    >>> clock = Clock(wall=lambda: 1e9, steady=iter([5.0, 7.5]).__next__)
    >>> clock()
    1000000002.5
    """

    def __init__(
        self, *, wall: Callable[[], float] = time, steady: Callable[[], float] = monotonic
    ) -> None:
        self._steady = steady
        self._start = wall() - steady()

    def __call__(self) -> float:
        """Seconds since 1970, never fewer than before."""
        return self._start + self._steady()


now = Clock()
"""The clock of this process."""

"""DeliveredScore: how good the predictions were that were given away, once their labels came."""

from __future__ import annotations

from typing import Any
from typing import final

import numpy as np

from streamnet.daemon.answers import Answer
from streamnet.evaluation import ClassificationEvaluator
from streamnet.evaluation import RegressionEvaluator
from streamnet.features.categories import as_spelled

__all__ = ("DeliveredScore",)

MOST_LABELS = 1024


@final
class DeliveredScore:
    """Scores stored answers, each as it was given: no later model has a part in it.

    A label beyond the first 1,024 is not scored.

    >>> score = DeliveredScore()
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
        self._evaluator.update(row, [self._number_of(as_spelled(truth, shares))], [known], alive)

    def _number_of(self, label: str) -> int:
        if label not in self._labels and len(self._labels) == MOST_LABELS:
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

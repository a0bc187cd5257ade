"""Small models with the methods of River, and a serializer whose bytes depend on nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from streamnet.guests import Guest
from streamnet.samples import Task

__all__ = ("Failing", "Frequencies", "Json", "Means", "guest_for")


class Frequencies:
    """Predicts labels by how often each was seen with the sample's word."""

    def __init__(self, counts: dict[str, dict[Any, float]] | None = None) -> None:
        self.counts = counts or {}

    def predict_proba_one(self, x: dict[str, Any]) -> dict[Any, float]:
        counts = self.counts.get(x.get("w", ""), {})
        return {label: count / sum(counts.values()) for label, count in counts.items()}

    def predict_one(self, x: dict[str, Any]) -> Any:
        found = self.predict_proba_one(x)
        return max(found, key=found.__getitem__) if found else None

    def learn_one(self, x: dict[str, Any], y: Any, w: float = 1.0) -> None:
        counts = self.counts.setdefault(x.get("w", ""), {})
        counts[y] = counts.get(y, 0.0) + w


class Means:
    """Predicts the mean target of the sample's word, and 0 before there is one."""

    def __init__(self, counts: dict[str, list[float]] | None = None) -> None:
        self.counts = counts or {}

    def predict_one(self, x: dict[str, Any]) -> float:
        total, count = self.counts.get(x.get("w", ""), (0.0, 0.0))
        return total / count if count else 0.0

    def learn_one(self, x: dict[str, Any], y: float, w: float = 1.0) -> None:
        total, count = self.counts.get(x.get("w", ""), (0.0, 0.0))
        self.counts[x.get("w", "")] = [total + w * y, count + w]


class Failing:
    """Predicts what it is told, or fails, at one sample.

    Args:
        at: Number of the sample.
        how: Returns what is predicted for it.
        usually: What is predicted for all others.
        learning: Whether it fails when it learns instead.
    """

    def __init__(
        self, at: int, how: Callable[[], Any], usually: Any, *, learning: bool = False
    ) -> None:
        self.at, self.how, self.usually, self.learning = at, how, usually, learning
        self.seen = self.learned = 0

    def predict_proba_one(self, x: dict[str, Any]) -> Any:
        del x
        self.seen += 1
        fails = self.seen == self.at + 1 and not self.learning
        return self.how() if fails else self.usually

    def predict_one(self, x: dict[str, Any]) -> Any:
        labels = isinstance(self.usually, dict)
        return next(iter(self.usually)) if labels else self.predict_proba_one(x)

    def learn_one(self, x: dict[str, Any], y: Any) -> None:
        del x, y
        self.learned += 1
        if self.learning and self.learned == self.at + 1:
            self.how()


class Json:
    """A serializer of the first two."""

    @staticmethod
    def dumps(model: Any) -> bytes:
        return json.dumps([type(model).__name__, model.counts]).encode()

    @staticmethod
    def loads(data: bytes) -> Any:
        name, counts = json.loads(data)
        return {"Frequencies": Frequencies, "Means": Means}[name](counts)


def guest_for(task: Task) -> Guest:
    """A guest that is kept in checkpoints."""
    model = Frequencies() if task is Task.CLASSIFICATION else Means()
    return Guest(model, serializer=Json)

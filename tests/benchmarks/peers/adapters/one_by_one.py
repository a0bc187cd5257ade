"""One by one: the loop of peers with ``predict_one`` and ``learn_one``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tests.benchmarks.peers.peer import NO_ANSWER, Answers, Learn
from tests.benchmarks.peers.rows import Rows

__all__ = ("OneByOne", "one_by_one")


class OneByOne(Protocol):
    """A learner as River defines it."""

    def predict_one(self, x: Mapping[str, Any], /) -> Any:
        """The answer to one sample; None before the first label."""

    def learn_one(self, x: Mapping[str, Any], y: Any, /) -> Any:
        """Learn one sample."""


def one_by_one(model: OneByOne, inputs: Sequence[Mapping[str, Any]], rows: Rows) -> Learn:
    """Test, then train, on each sample."""
    targets = rows.target.tolist()
    none = NO_ANSWER if rows.classification else 0.0

    def learn() -> Answers:
        answers = []
        for x, y in zip(inputs, targets, strict=True):
            answer = model.predict_one(x)
            answers.append(none if answer is None else answer)
            model.learn_one(x, y)
        return answers

    return learn

"""One by one: the loop of peers with ``predict_one`` and ``learn_one``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tests.benchmarks.peers.peer import NO_ANSWER, Answers, Learn, Scored
from tests.benchmarks.peers.rows import Rows

__all__ = ("OneByOne", "WithShares", "one_by_one", "with_shares")


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


class WithShares(OneByOne, Protocol):
    """A classifier that tells probabilities, from which its answers follow."""

    def predict_proba_one(self, x: Mapping[str, Any], /) -> Mapping[Any, float]:
        """The probability of each known label; empty before the first one."""


def with_shares(model: WithShares, inputs: Sequence[Mapping[str, Any]], rows: Rows) -> Learn:
    """Test, then train, on each sample, by the probabilities of labels."""
    targets, rarest = rows.target.tolist(), rows.rarest

    def learn() -> Scored:
        answers, scores = [], []
        for x, y in zip(inputs, targets, strict=True):
            shares = model.predict_proba_one(x)
            answers.append(max(shares, key=shares.__getitem__) if shares else NO_ANSWER)
            scores.append(float(shares.get(rarest, 0.0)))
            model.learn_one(x, y)
        return Scored(answers, scores)

    return learn

"""Baselines: what needs no learning, and what every learner must beat."""

from __future__ import annotations

from collections import Counter

from tests.benchmarks.peers.peer import BASELINES, BOTH, NO_ANSWER, Answers, Peer, Prepared
from tests.benchmarks.peers.rows import Rows

__all__ = ("PEERS", "no_change", "usual")


def no_change(rows: Rows) -> Answers:
    """The target of the sample before."""
    first = NO_ANSWER if rows.classification else 0.0
    return [first, *rows.target[:-1].tolist()]


def usual(rows: Rows) -> Answers:
    """The label most frequent so far, or the mean so far."""
    answers: list[float] = []
    counts: Counter[int] = Counter()
    total = 0.0
    for i, target in enumerate(rows.target.tolist()):
        if rows.classification:
            answers.append(counts.most_common(1)[0][0] if counts else NO_ANSWER)
            counts[target] += 1
        else:
            answers.append(total / i if i else 0.0)
            total += target
    return answers


PEERS = (
    Peer(
        BASELINES[0],
        "",
        BOTH,
        random=False,
        prepare=lambda rows, _: Prepared(lambda: no_change(rows), "repeats the last target"),
    ),
    Peer(
        BASELINES[1],
        "",
        BOTH,
        random=False,
        prepare=lambda rows, _: Prepared(lambda: usual(rows), "of all targets so far"),
    ),
)

"""Joining: the answers of several requests as those of one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from streamnet.daemon.shapes import Answers
from streamnet.daemon.shapes import LabelsReply

__all__ = ("all_answers", "all_outcomes")


def all_answers(parts: Sequence[Answers]) -> Answers:
    """Answers of any number of parts, one or more; a later part may know more labels.

    >>> first = Answers(["a"], [1], ["a"], [[1.0]])
    >>> second = Answers(["b", None], [2, 2], ["b", "a"], [[0.75, 0.25], [None, None]])
    >>> all_answers([first, second]).labels
    ['a', 'b']
    >>> all_answers([first, second]).probabilities
    [[1.0, 0.0], [0.25, 0.75], [None, None]]
    """
    labels = list(dict.fromkeys(label for part in parts for label in part.labels or ()))
    joined = Answers(
        list(chain.from_iterable(part.answers for part in parts)),
        list(chain.from_iterable(part.generations for part in parts)),
    )
    if all(part.labels is not None for part in parts):
        joined.labels = labels
        joined.probabilities = [row for part in parts for row in _shares(part, labels)]
    if any(part.intervals is not None for part in parts):
        joined.intervals = [row for part in parts for row in _intervals(part)]
    if all(part.explanations is not None for part in parts):
        joined.explanations = [row for part in parts for row in part.explanations or ()]
    return joined


def all_outcomes(parts: Sequence[LabelsReply]) -> LabelsReply:
    """Outcomes of any number of parts."""
    return LabelsReply([outcome for part in parts for outcome in part.outcomes])


def _shares(part: Answers, labels: list[str]) -> list[list[float | None]]:
    rows, known = part.probabilities or [], part.labels or []
    if known == labels:
        return rows
    # Of a label that a model did not know yet it gave nothing, if it gave an answer at all.
    return [
        [None] * len(labels)
        if None in row
        else [dict(zip(known, row, strict=True)).get(label, 0.0) for label in labels]
        for row in rows
    ]


def _intervals(part: Answers) -> list[list[float | None]]:
    return part.intervals or [[None, None] for _ in part.answers]

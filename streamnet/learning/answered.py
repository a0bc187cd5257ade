"""Answered: what candidates said about samples, beside what was true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from typing import final

import numpy as np
from msgspec import Struct
from msgspec.structs import astuple
from numpy.typing import NDArray

from streamnet.features.encoded import Encoded
from streamnet.learning.trainer import Scored
from streamnet.samples import Task

__all__ = ("Answered", "answered_of", "answers_of", "joined", "numbers_of")


@final
class Answered(Struct, frozen=True, eq=False, gc=False):
    """Consecutive samples with all that it takes to judge what was said about them."""

    first: int  # number of the first sample
    answers: NDArray[Any]  # shares (candidates, n, outputs), or numbers (candidates, n)
    alive: NDArray[np.uint8]  # shape=(candidates, n): 0 where a candidate had no finite answer
    truth: NDArray[Any]  # shape=(n,): class numbers, -1 for none; or numbers, NaN for none
    known: NDArray[np.int32]  # this and the next two as in Encoded: empty for the other task
    centre: NDArray[np.float64]
    spread: NDArray[np.float64]


def answered_of(scored: Scored, task: Task) -> Answered:
    """A block as it is judged."""
    encoded = scored.encoded
    return Answered(
        scored.first,
        answers_of(scored, task),
        scored.answers.alive,
        encoded.label if task is Task.CLASSIFICATION else numbers_of(encoded),
        encoded.known,
        encoded.centre,
        encoded.spread,
    )


def joined(parts: Sequence[Answered]) -> Answered:
    """Parts that follow each other as one."""
    firsts, answers, alive, *targets = zip(*map(astuple, parts), strict=True)
    return Answered(
        firsts[0],
        # In C order, which numpy does not promise: kernels are compiled for no other.
        np.ascontiguousarray(np.concatenate(answers, axis=1)),
        np.ascontiguousarray(np.concatenate(alive, axis=1)),
        # Of the other task there is nothing, over and over.
        *(np.concatenate(arrays) if len(arrays[0]) else arrays[0] for arrays in targets),
    )


def answers_of(scored: Scored, task: Task) -> NDArray[Any]:
    """Candidates' answers as a user understands them: shares, or numbers in the target's units.

    What stands for a candidate that gave no answer means nothing.
    """
    outputs = scored.answers.outputs
    if task is Task.CLASSIFICATION:
        return outputs
    return scored.encoded.units.numbers(outputs[:, :, 0], scored.answers.logarithmic)


def numbers_of(encoded: Encoded) -> NDArray[np.float64]:
    """The numbers to predict, NaN where there is none; shape=(n,)."""
    target = encoded.block.target
    return np.full(len(encoded.block), np.nan) if target is None else target

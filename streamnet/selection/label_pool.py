"""LabelPool: the arrays of one `LabelEnsemble`, or of two that are reckoned together."""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray

from streamnet.selection.label_mixers import MIXERS
from streamnet.selection.label_mixers import PAIR
from streamnet.selection.label_mixers import WIDTH
from streamnet.selection.opinion_pool import pool
from streamnet.selection.opinion_pool import scratch_of

__all__ = ("LabelPool",)


@final
class LabelPool:
    """What ensembles of the same candidates know, by ensemble, and what all of them count.

    There is always room for two; one that nobody uses hears no expert.

    Args:
        experts: How many each of them may hear.
        ensembles: How many are in use, one or two.
        follows: Whether one of them hears the expert that looks at the last label.
        balanced: Whether they answer as if all labels were equally frequent.

    >>> LabelPool(3, ensembles=1, follows=True, balanced=False).weights.shape
    (3, 2, 4)
    """

    def __init__(self, experts: int, *, ensembles: int, follows: bool, balanced: bool) -> None:
        self.ensembles = ensembles
        self.members = np.zeros((PAIR, experts), np.uint8)
        self.weights = np.zeros((experts, PAIR, MIXERS))  # those of an expert side by side
        self.squares = np.zeros_like(self.weights)
        self.final = np.zeros((PAIR, WIDTH))
        self.final_squares = np.zeros_like(self.final)
        self.losses = np.zeros((PAIR, 2, experts))
        self.combined = np.zeros((PAIR, 2, WIDTH + 1))
        self.chosen = np.zeros((PAIR, 2), np.int64)
        # By the last label, and a row for none.
        self.transitions = np.zeros((3 if follows else 0, 2))
        self.frequencies = np.zeros(2)
        self.last = np.array([2], np.int64)  # row of the last label
        self.counts = np.zeros(2 if balanced else 0)  # of all labels so far

    def make_room(self, classes: int) -> None:
        """Be able to count so many labels; arrays that have to grow are made anew."""
        room = len(self.frequencies)
        if classes <= room:
            return
        self.frequencies = np.append(self.frequencies, np.zeros(classes - room))
        if len(self.counts):
            self.counts = np.append(self.counts, np.zeros(classes - room))
        old = self.transitions
        self.transitions = np.zeros((classes + 1 if len(old) else 0, classes))
        self.transitions[:room, :room] = old[:room]
        self.transitions[-1:, :room] = old[-1:]
        if self.last[0] == room:
            self.last = np.array([classes], np.int64)  # of this one alone: a copy may be asked

    def serve(
        self,
        answers: NDArray[np.floating],
        alive: NDArray[np.uint8],
        truth: NDArray[np.int32],
        known: NDArray[np.int32],
        fading: float,
        margin: float,
        *,
        learns: bool,
    ) -> NDArray[np.float64]:
        """See `LabelEnsemble.serve`; shape=(ensembles, n, C)."""
        candidates, n, width = answers.shape
        self.make_room(width)
        served = np.zeros((self.ensembles, n, width))
        pool(
            answers,
            alive,
            truth,
            known,
            learns,
            fading,
            margin,
            self.members,
            self.weights,
            self.squares,
            self.final,
            self.final_squares,
            self.losses,
            self.combined,
            self.chosen,
            self.transitions,
            self.frequencies,
            self.last,
            self.counts,
            *scratch_of(candidates, width, answers.dtype),
            served,
        )
        return served

"""LabelEnsemble: the shares that many networks give to labels, combined into one answer."""

from __future__ import annotations

from typing import Any
from typing import Self
from typing import final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ModelFileError
from streamnet.repeated import repeated
from streamnet.selection.mixing import Mixing
from streamnet.selection.opinion_pool import MIXERS
from streamnet.selection.opinion_pool import pool
from streamnet.selection.opinion_pool import scratch_of

__all__ = ("LabelEnsemble",)

_NOTHING = np.empty(0, np.int32)  # stands for truths that nobody knows


@final
class LabelEnsemble(Mixing):
    """Combines what candidates say about labels by logarithmic opinion pools learned online.

    Each mixer gives a label the product of the experts' shares, each to the power of its weight,
    and moves the weights down the slope of its own log-loss. Log-loss also decides who is served:
    where shares mean little beyond which is the largest, fewer labels may be right.

    A balanced ensemble answers what the shares would be if all labels were equally frequent
    (Saerens, Latinne and Decaestecker 2002): each is divided by how often its label came. If they
    are true, the largest one gives the best balanced accuracy. What is learned is the same.

    Logarithms of float32 shares are reckoned as float32, all else as float64.

    >>> ensemble = LabelEnsemble(2)
    >>> right = np.tile([0.9, 0.1], (200, 1)), np.tile([0.5, 0.5], (200, 1))
    >>> truth, known = np.zeros(200, np.int32), np.full(200, 2, np.int32)
    >>> served = ensemble.serve(np.array(right), np.ones((2, 200), np.uint8), truth, known)
    >>> bool(served[-1, 0] > 0.9)
    True
    """

    _mixers = MIXERS
    _arrays = (*Mixing._arrays, "transitions", "frequencies", "last")

    def __init__(self, candidates: int, *, balanced: bool = False, **others: Any) -> None:
        self._balanced = balanced
        if balanced:
            self._arrays = (*self._arrays, "counts")
        super().__init__(candidates, **others)

    def _begin(self) -> None:
        self.weights = np.asfortranarray(self.weights)  # those of an expert side by side
        self.squares = np.asfortranarray(self.squares)
        # By the last label, and a row for none; nothing where that expert is not heard.
        self.transitions = np.zeros((3 if self.members[self.candidates] else 0, 2))
        self.frequencies = np.zeros(2)
        self.last = np.array([2], np.int64)  # row of the last label
        self.counts = np.zeros(2 if self._balanced else 0)  # of all labels so far

    def serve(
        self,
        answers: NDArray[np.floating],
        alive: NDArray[np.uint8],
        truth: NDArray[np.int32],
        known: NDArray[np.int32],
        *,
        learns: bool = True,
    ) -> NDArray[np.float64]:
        """Answer n samples in order, each before its truth is learned.

        Args:
            answers: shape=(candidates, n, C), shares; of sample i the first ``known[i]`` count.
            alive: shape=(candidates, n), 0 where a candidate has no finite answer.
            truth: shape=(n,), class numbers; -1 where there is none. Needed only to learn.
            known: shape=(n,), classes known before each sample.
            learns: Whether weights move and losses are noted.

        Returns:
            shape=(n, C), shares of the known classes; all 0 where none is known.
        """
        candidates, n, width = answers.shape
        self._make_room(width)
        served = np.zeros((n, width))
        pool(
            answers,
            alive,
            truth,
            known,
            learns,
            self.fading,
            self.margin,
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

    def answer(
        self, answers: NDArray[np.floating], alive: NDArray[np.uint8], known: int
    ) -> NDArray[np.float64]:
        """Answer samples of which each might be the next, as `serve` would; nothing changes.

        Any number of threads may ask at once, unless one of them learns.

        Args:
            answers: shape=(candidates, n, C), shares.
            alive: shape=(candidates, n), 0 where a candidate has no finite answer.
            known: Classes known.
        """
        _, n, width = answers.shape
        names = repeated(n, known, np.int32)
        # Room for more labels is made aside.
        asked = self if width <= len(self.frequencies) else self._aside()
        return asked.serve(answers, alive, _NOTHING, names, learns=False)

    def _make_room(self, classes: int) -> None:
        room = len(self.frequencies)
        if classes <= room:
            return
        self.frequencies = np.append(self.frequencies, np.zeros(classes - room))
        if self._balanced:
            self.counts = np.append(self.counts, np.zeros(classes - room))
        old = self.transitions
        self.transitions = np.zeros((classes + 1 if len(old) else 0, classes))
        self.transitions[:room, :room] = old[:room]
        self.transitions[-1:, :room] = old[-1:]
        if self.last[0] == room:
            self.last = np.array([classes], np.int64)  # of this one alone: see `_aside`

    def adopt(self, other: Mixing) -> None:
        """As of any ensemble, and how frequent each label is."""
        assert isinstance(other, LabelEnsemble)
        super().adopt(other)
        self._make_room(len(other.frequencies))
        self.frequencies[: len(other.frequencies)] = other.frequencies
        if self._balanced:
            counts = other.counts if other._balanced else other.frequencies
            self.counts[: len(counts)] = counts

    def balance(self) -> None:
        """Be balanced from now on, with what was counted so far, faded, in place of all."""
        if not self._balanced:
            self._balanced = True
            self._arrays = (*self._arrays, "counts")
            self.counts = self.frequencies.copy()

    @classmethod
    def _restored(cls, state: dict[str, Any]) -> Self:
        self = cls(**cls._settings_of(state), balanced="counts" in state)
        classes = np.size(state["frequencies"])
        if not 2 <= classes <= 1 << 16:
            raise ModelFileError(f"ensemble: it counts {classes} classes")
        self._make_room(classes)
        self._take_over(state)
        if not 0 <= self.last[0] <= classes:
            raise ModelFileError(f"ensemble: last is {self.last.tolist()}")
        return self
